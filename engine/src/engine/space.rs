//! What takes the space, and giving back what serves nobody.

use std::sync::PoisonError;
use std::time::Instant;

use super::Engine;
use crate::committer::Left;
use crate::compaction::Thrift;
use crate::error::{MutationError, ReadError};
use crate::garbage::{self, Collected, CollectionProgress, Garbage};
use crate::limits::SPACE_WAIT_MAX;
use crate::model::change::SegmentId;
use crate::usage::{self, Usage, UsageProgress};

impl Engine {
    /// Measures what takes the space, by project and dataset; `None` if `progress` was told to stop.
    /// Reads all rows of contents and files beside everything else, and blocks: some microseconds a
    /// row.
    ///
    /// # Errors
    /// The index or the disk cannot be read.
    pub fn measure_usage(&self, progress: &UsageProgress) -> Result<Option<Usage>, ReadError> {
        usage::measure(&self.inner.store, progress)
    }

    /// What could be given back. Visits every content that no file names any longer, and blocks.
    ///
    /// # Errors
    /// The index or the disk cannot be read.
    pub fn garbage(&self) -> Result<Garbage, ReadError> {
        garbage::look(&self.inner.store)
    }

    /// Gives back now what serves nobody: removes rows of contents and layers that nothing names,
    /// moves live contents out of segments of which a tenth or more is dead, and lets go of the
    /// files. All in steps between which other changes have their turn; blocks until it is done, or
    /// soon after `progress` was told to stop.
    ///
    /// # Errors
    /// The store takes no changes, or cannot be read; what was given back stays given back.
    pub fn collect_garbage(
        &self,
        progress: &CollectionProgress,
    ) -> Result<Collected, MutationError> {
        let reclaimed = || self.inner.store.counters.reclaimed_bytes.get();
        let freed_before = reclaimed();
        let before = self.garbage()?;
        let mut left = self.settle(progress)?;
        // The one that is written now is among them, once it is no longer.
        let upto = self.snapshot()?.applied_position()?.unwrap_or(SegmentId(0));
        if !progress.is_stopped() && self.garbage()?.head_dead_bytes > 0 {
            self.inner.committer.begin_segment_blocking()?;
        }
        let mut moved_bytes = 0;
        while !progress.is_stopped() {
            progress.moving();
            let moved = self.compact_all(upto, progress)?;
            left = self.settle(progress)?;
            moved_bytes += moved;
            // Where space is short a round moves one segment only.
            if moved == 0 {
                break;
            }
        }
        if left == Left::Kept {
            tracing::warn!("rows stay: the disk is full, and an earlier state is being read");
        }
        let after = self.garbage()?;
        let freed_bytes = reclaimed() - freed_before;
        tracing::info!(freed_bytes, moved_bytes, "gave back what served nobody");
        Ok(Collected { before, after, freed_bytes, moved_bytes })
    }

    fn compact_all(
        &self,
        upto: SegmentId,
        progress: &CollectionProgress,
    ) -> Result<u64, MutationError> {
        let mut compactor = self.inner.compactor.lock().unwrap_or_else(PoisonError::into_inner);
        compactor.compact(Thrift::Greatest { upto }, &|| progress.is_stopped(), &|_| {})
    }

    /// Has the background do what waits, and lets go of what a checkpoint lets go of. Gives what the background
    /// left.
    fn settle(&self, progress: &CollectionProgress) -> Result<Left, MutationError> {
        let committer = &self.inner.committer;
        progress.removing_rows();
        let mut left = Left::More;
        while !progress.is_stopped() && left == Left::More {
            left = committer.step_blocking()?;
        }
        progress.letting_go();
        let disk = &*self.inner.store.disk;
        let mut files_left = u64::MAX;
        while !progress.is_stopped() {
            let began = Instant::now();
            // Others may remove files for as long as they like.
            let is_over = || progress.is_stopped() || began.elapsed() >= SPACE_WAIT_MAX;
            committer.give_back_blocking(disk, &is_over)?;
            let waiting = garbage::waiting_files(&self.inner.store)?;
            // A checkpoint lets go of so many files; those that will not go stay.
            if waiting == 0 || waiting >= files_left {
                break;
            }
            files_left = waiting;
        }
        Ok(left)
    }
}
