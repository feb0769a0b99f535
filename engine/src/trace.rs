//! What the store did, by name. Costs nothing without the feature `simulation`; with it tests
//! prove that their workloads leave nothing out.

#[cfg(feature = "simulation")]
use std::collections::BTreeSet;
#[cfg(feature = "simulation")]
use std::sync::{Mutex, PoisonError};

/// Rows of dead contents were removed.
pub(crate) const RECLAIMED: &str = "reclaimed contents";

/// Rows of layers that no stack names were removed.
pub(crate) const DROPPED: &str = "dropped a layer";

/// Layers of a dataset's own became one.
pub(crate) const ABSORBED: &str = "absorbed a layer";

/// A stack was folded.
pub(crate) const FOLDED: &str = "folded a stack";

/// Hidden rows of a stack were swept.
pub(crate) const SWEPT: &str = "swept a stack";

/// The index was made durable.
pub(crate) const CHECKPOINTED: &str = "made a checkpoint";

/// Files of dead large contents were removed.
pub(crate) const LARGE_REMOVED: &str = "removed large files";

/// Segments without live contents were removed.
pub(crate) const SEGMENTS_REMOVED: &str = "removed segments";

/// Old entries of the audit log were removed.
pub(crate) const ROTATED: &str = "rotated the audit log";

/// All that is done without a record in the journal.
#[cfg(feature = "simulation")]
pub(crate) const UNJOURNALED: [&str; 9] = [
    RECLAIMED,
    DROPPED,
    ABSORBED,
    FOLDED,
    SWEPT,
    CHECKPOINTED,
    LARGE_REMOVED,
    SEGMENTS_REMOVED,
    ROTATED,
];

/// What was done so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    #[cfg(feature = "simulation")]
    done: Mutex<BTreeSet<&'static str>>,
}

#[cfg(feature = "simulation")]
impl Trace {
    pub(crate) fn note(&self, what: &'static str) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
    }

    /// All that was noted.
    pub(crate) fn done(&self) -> BTreeSet<&'static str> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(not(feature = "simulation"))]
impl Trace {
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(crate) fn note(&self, _what: &'static str) {}
}
