//! How far a check is, for whoever shows it, and the way to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::Halt;

/// What a check does, in this order.
const STAGES: [&str; 7] = [
    "starting",
    "reading the index's pages",
    "reading the journal",
    "comparing rows",
    "counting files of datasets",
    "reading segments of the journal",
    "looking at contents",
];

/// A step of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Pages,
    Replay,
    Rows,
    Datasets,
    Segments,
    Contents,
}

/// How far a check is. All numbers are for showing; `done` and `total` start anew with each stage.
#[derive(Debug, Default)]
pub struct CheckProgress {
    stage: AtomicUsize,
    done: AtomicU64,
    total: AtomicU64,
    bytes: AtomicU64,
    contents: AtomicU64,
    files: AtomicU64,
    is_stopped: AtomicBool,
}

impl CheckProgress {
    /// What is being done, in words.
    pub fn stage(&self) -> &'static str {
        STAGES.get(self.stage.load(Ordering::Relaxed)).copied().unwrap_or_default()
    }

    /// Things of this stage that are dealt with.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Things of this stage, about; 0 if nobody knows.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes of contents that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Contents that were looked at so far.
    pub fn contents(&self) -> u64 {
        self.contents.load(Ordering::Relaxed)
    }

    /// Rows of files that were read so far; a shared one counts once.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Ends the check soon.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to end.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self, stage: Stage, total: u64) {
        let number = match stage {
            Stage::Pages => 1,
            Stage::Replay => 2,
            Stage::Rows => 3,
            Stage::Datasets => 4,
            Stage::Segments => 5,
            Stage::Contents => 6,
        };
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.stage.store(number, Ordering::Relaxed);
    }

    /// Notes things of the stage that are dealt with.
    pub(super) fn advance(&self, things: u64) -> Result<(), Halt> {
        self.done.fetch_add(things, Ordering::Relaxed);
        if self.is_stopped() { Err(Halt::Stopped) } else { Ok(()) }
    }

    pub(super) fn note_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_content(&self) {
        self.contents.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
