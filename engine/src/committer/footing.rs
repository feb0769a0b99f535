//! Which plans nothing can have refused any longer, so that they may be answered before they are
//! applied.
//!
//! Whether a change is made is decided when it is applied, from the rows alone. Of one change the
//! answer is known earlier: a new file, planned by its dataset's actor while nothing is in flight, in
//! the whole store, but such files and what touches no name. The plan saw all that was made before,
//! the overlay has the files of the same dataset, those of others are in nobody's way, and no quota
//! is to be kept. What is in flight and could have a file refused is counted here; how many there
//! were so far is what a plan stands on.
//!
//! ```text
//! actor:  footing (none in flight, n so far) -> snapshot -> plan
//! queue:  a new file: still n? firm, otherwise open
//!         another change: n + 1                     (under the queue's lock, which is the order)
//! ```

use std::sync::Arc;

use crate::model::change::Change;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What a plan stands on: a state to which nothing was on its way that may refuse a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footing(u64);

/// What a change was planned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// A new file by the plan of its dataset's actor, with its footing if it has one. Made or refused,
    /// it is in no other file's way: its actor gives its name to nobody while it is in flight.
    Upload(Option<Footing>),
    /// Anything else.
    Other,
}

/// Counts the changes that may refuse a new file.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    /// Those that were queued; changed under the queue's lock only.
    begun: AtomicU64,
    /// Those that are visible, or were refused.
    ended: AtomicU64,
}

impl Unsettled {
    /// What a plan stands on whose snapshot is taken after this; `None` while something is in flight
    /// for which a new file may be refused.
    pub(crate) fn footing(&self) -> Option<Footing> {
        // In this order: equal, all that had begun by the first look had ended.
        let ended = self.ended.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        (begun == ended).then_some(Footing(begun))
    }

    /// Tells how a change stands, and counts it if new files may be refused for it. To be called in
    /// the order of the queue.
    pub(super) fn enter(
        self: &Arc<Self>,
        change: &Change,
        basis: Basis,
    ) -> (Standing, Option<Entered>) {
        match basis {
            Basis::Upload(footing) => {
                let now = Footing(self.begun.load(Ordering::Acquire));
                let standing = if footing == Some(now) { Standing::Firm } else { Standing::Open };
                (standing, None)
            }
            Basis::Other if may_refuse_files(change) => {
                self.begun.fetch_add(1, Ordering::AcqRel);
                let entered = Entered { unsettled: Arc::clone(self), stays: false };
                (Standing::Open, Some(entered))
            }
            Basis::Other => (Standing::Open, None),
        }
    }
}

/// Whether what became of a change is known before it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It will be made.
    Firm,
    /// Applying it decides.
    Open,
}

/// A change that is counted as unsettled, until this is dropped: once it is visible, or refused.
#[derive(Debug)]
pub(crate) struct Entered {
    unsettled: Arc<Unsettled>,
    stays: bool,
}

impl Entered {
    /// Never ends: the store is about to fail, and what became of the change is not known.
    pub(super) fn stay(mut self) {
        self.stays = true;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if !self.stays {
            self.unsettled.ended.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Whether a file may be added or not for what a change leaves, or for its being refused.
fn may_refuse_files(change: &Change) -> bool {
    // Metadata belong to a file: they neither make nor take a name.
    let touches_no_name = matches!(
        change,
        Change::SetMetadata { .. } | Change::SetMetadataIf { .. } | Change::Witness { .. }
    );
    // Parts are of layers that no stack names, or tell where contents lie.
    !touches_no_name && !change.is_part()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DatasetId, SetId};

    const SET: DatasetId = DatasetId(1);

    fn file() -> Change {
        Change::AddFiles { dataset: SET, files: Vec::new() }
    }

    #[test]
    fn a_plan_is_firm_if_nothing_came_between_that_may_refuse_it() {
        let unsettled = Arc::new(Unsettled::default());
        let standing = |footing| unsettled.enter(&file(), Basis::Upload(footing)).0;
        let footing = unsettled.footing();
        assert!(footing.is_some());
        assert_eq!(standing(footing), Standing::Firm);
        // Beside others, firm or not, and beside what touches no name.
        assert_eq!(standing(None), Standing::Open);
        let part = Change::AbortSet { set: SetId::of_upload(1, 1) };
        assert!(unsettled.enter(&part, Basis::Other).1.is_none());
        assert_eq!(standing(footing), Standing::Firm);

        let clear = Change::ClearDataset { dataset: SET };
        let (cleared, clear) = unsettled.enter(&clear, Basis::Other);
        assert_eq!(cleared, Standing::Open);
        assert_eq!(standing(footing), Standing::Open);
        assert_eq!(unsettled.footing(), None);
        drop(clear);
        assert_eq!(standing(footing), Standing::Open);
        let later = unsettled.footing();
        assert_eq!(standing(later), Standing::Firm);
        // Files that nobody's actor planned are as any change.
        let many = unsettled.enter(&file(), Basis::Other);
        assert_eq!(standing(later), Standing::Open);
        drop(many);
        assert_eq!(standing(later), Standing::Open);
        assert!(unsettled.footing().is_some());
        let (_, unknown) = unsettled.enter(&file(), Basis::Other);
        unknown.unwrap().stay();
        assert_eq!(unsettled.footing(), None);
    }
}
