//! What a check finds: what is wrong, what it hits, and what to do about it.

use std::collections::BTreeSet;

use super::CheckProgress;
use crate::limits::CHECK_FINDINGS_MAX;
use crate::model::{DatasetId, Digest};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The invariant of `ARCHITECTURE.md` that is broken, such as `"I4"`.
    pub invariant: &'static str,
    /// What is wrong, and where.
    pub what: String,
    /// What to do about it.
    pub advice: &'static str,
    /// The content that is damaged, if one is.
    pub content: Option<Digest>,
    /// What of it users see: the first datasets or files that are hit.
    pub hits: Vec<Hit>,
    /// How many are hit in all.
    pub hit_count: u64,
    /// Whether files that name the content were not looked for to the end, because damaged ones have too many:
    /// more may be hit than that, also where none are told.
    pub hits_cut: bool,
}

/// A dataset or file that a finding hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Primary key of the dataset.
    pub dataset: DatasetId,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The file; `None` means the dataset as a whole.
    pub filename: Option<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// What is wrong, the first ones of each kind.
    pub findings: Vec<Finding>,
    /// How much more is wrong that is not listed.
    pub unlisted: u64,
    /// What is worth knowing and no harm, such as files that the next start removes.
    pub notes: Vec<String>,
    /// Whether all contents were read.
    pub is_deep: bool,
    /// Rows of files that were read; a shared one counts once.
    pub files: u64,
    /// Contents that were looked at.
    pub contents: u64,
    /// Bytes of contents that were read.
    pub bytes_read: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.unlisted == 0
    }
}

/// What to do about a kind of finding.
pub(super) mod advice {
    /// Of a content whose bytes are wrong.
    pub(crate) const CONTENT: &str = "upload the same content again, under any name in any dataset: \
        that heals it everywhere; or restore the data directory from a backup";

    /// Of rows that contradict each other.
    pub(crate) const ROWS: &str = "keep a copy of the data directory, restore it from a backup, and \
        please report this with the log: no disk does it, so it is a fault of granary or of memory";

    /// Of bytes of the index or the journal that the disk changed.
    pub(crate) const DISK: &str =
        "copy what can be read, test the disk, and restore the data directory from a backup";
}

/// Collects findings, so many at most.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    unlisted: u64,
    notes: Vec<String>,
    /// Contents with a finding, so that none is told twice.
    contents: BTreeSet<Digest>,
}

impl Findings {
    /// Notes rows that contradict each other.
    pub(super) fn rows(&mut self, invariant: &'static str, what: String) {
        self.push(invariant, what, advice::ROWS, None);
    }

    /// Notes rows of a dataset that contradict each other.
    pub(super) fn dataset(&mut self, what: String, hit: Hit) {
        if self.push("I8", what, advice::ROWS, None)
            && let Some(last) = self.list.last_mut()
        {
            last.hits.push(hit);
            last.hit_count = 1;
        }
    }

    /// Notes damage of the disk in what is no content.
    pub(super) fn disk(&mut self, invariant: &'static str, what: String) {
        self.push(invariant, what, advice::DISK, None);
    }

    /// Notes a content that is damaged.
    pub(super) fn content(&mut self, invariant: &'static str, digest: Digest, what: String) {
        if self.contents.insert(digest) {
            self.push(invariant, what, advice::CONTENT, Some(digest));
        }
    }

    /// Notes a content that rows name and that has no row.
    pub(super) fn unknown(&mut self, digest: Digest, what: String) {
        if self.contents.insert(digest) {
            self.push("I2", what, advice::ROWS, Some(digest));
        }
    }

    /// Notes what is no harm.
    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < CHECK_FINDINGS_MAX {
            self.notes.push(note);
        }
    }

    /// More of what is listed already.
    pub(super) fn unlisted(&mut self, count: u64) {
        self.unlisted = self.unlisted.saturating_add(count);
    }

    pub(super) fn list_mut(&mut self) -> &mut [Finding] {
        &mut self.list
    }

    fn push(
        &mut self,
        invariant: &'static str,
        what: String,
        advice: &'static str,
        content: Option<Digest>,
    ) -> bool {
        let has_room = self.list.len() < CHECK_FINDINGS_MAX;
        if has_room {
            let (hits, hit_count, hits_cut) = (Vec::new(), 0, false);
            self.list.push(Finding { invariant, what, advice, content, hits, hit_count, hits_cut });
        } else {
            self.unlisted(1);
        }
        has_room
    }

    pub(super) fn into_report(self, is_deep: bool, progress: &CheckProgress) -> CheckReport {
        CheckReport {
            findings: self.list,
            unlisted: self.unlisted,
            notes: self.notes,
            is_deep,
            files: progress.files(),
            contents: progress.contents(),
            bytes_read: progress.bytes_read(),
        }
    }
}
