//! Whether what is stored is what it should be: the check, the scrub, the quarantine.

use std::collections::BTreeSet;

use super::Engine;
use crate::check::{self, CheckProgress, CheckReport, Finding, Hit, Stopped, files_of};
use crate::error::ReadError;
use crate::model::{Digest, Timestamp};
use crate::quarantine::Fault;
use crate::scrub::ScrubState;

/// A content in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Name of the content.
    pub digest: Digest,
    /// Bytes.
    pub length: u64,
    /// What is wrong with it.
    pub fault: Fault,
    /// When that was found.
    pub since: Timestamp,
    /// The first files that name it.
    pub files: Vec<Hit>,
    /// How many files name it, counted up to a bound.
    pub file_count: u64,
}

impl Engine {
    /// As [`Engine::check_store`], the findings alone.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn check(&self, deep: bool) -> Result<Vec<Finding>, ReadError> {
        let report = self.check_store(deep, &CheckProgress::default())?;
        // Nobody has the progress to stop it with.
        Ok(report.map_or_else(|Stopped| Vec::new(), |report| report.findings))
    }

    /// Recomputes the invariants from what is stored and tells what is wrong: counts against rows
    /// (I4), places against files (I2), and, if `deep`, every content against its digest (I9).
    /// Contents that are found damaged go into quarantine. Runs beside everything else, blocks,
    /// and reads everything; all rows are read in one snapshot, for a second or so a million.
    ///
    /// # Errors
    /// The index cannot be read. [`Stopped`] if `progress` was told to stop.
    pub fn check_store(
        &self,
        deep: bool,
        progress: &CheckProgress,
    ) -> Result<Result<CheckReport, Stopped>, ReadError> {
        check::check(&self.inner.store, deep, progress)
    }

    /// What is known of the scrub, which reads all contents in the background.
    pub fn scrub(&self) -> ScrubState {
        self.inner.scrub.state()
    }

    /// Begins a pass of the scrub now, unless one is under way.
    pub fn begin_scrub(&self) {
        self.inner.scrub.begin();
    }

    /// The contents in quarantine, in order of digest. Visits all rows of files if there are any,
    /// and blocks.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, ReadError> {
        let snapshot = self.snapshot()?;
        let mut quarantined = Vec::new();
        for (digest, mark) in self.inner.store.quarantine.all() {
            // One that was healed stands elsewhere by now.
            if let Some(row) = snapshot.blob(&digest)?.filter(|row| row.place == mark.place) {
                let (length, fault, since) = (row.length, mark.fault, mark.since);
                let (files, file_count) = (Vec::new(), 0);
                quarantined.push(Quarantined { digest, length, fault, since, files, file_count });
            }
        }
        let damaged: BTreeSet<Digest> = quarantined.iter().map(|content| content.digest).collect();
        let (mut hits, _) = files_of(&snapshot, &damaged, || Ok::<_, ReadError>(()))?;
        for content in &mut quarantined {
            if let Some(hits) = hits.remove(&content.digest) {
                (content.files, content.file_count) = (hits.told, hits.count);
            }
        }
        Ok(quarantined)
    }
}
