//! A dataset's committed files, as plans look at them.

use std::ops::Bound;

use super::free_names::FreeNames;
use super::overlay::Overlay;
use super::plan::{Committed, NoPlan, View};
use crate::error::{MutationError, ReadError};
use crate::index::file_tree::Below;
use crate::index::snapshot::Snapshot;
use crate::model::{Dataset, Digest, Filename};

/// The files of one dataset in one state.
#[derive(Debug)]
pub(crate) struct CommittedFiles<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) header: &'a Dataset,
    /// Rows that one look may visit.
    pub(crate) rows_max: usize,
}

impl Committed for CommittedFiles<'_> {
    fn file(&self, name: &str) -> Result<Option<Digest>, ReadError> {
        Ok(self.snapshot.file(self.header, name)?.map(|record| record.digest))
    }

    fn first_below(&self, prefix: &str, from: Bound<&str>) -> Result<Below, ReadError> {
        Ok(self.snapshot.tree(self.header)?.first_below(prefix, from, self.rows_max)?)
    }
}

/// Runs a rule on a dataset that has nothing in flight, however much it must visit. For the
/// blocking pool.
///
/// # Errors
/// The rule's refusal.
pub(crate) fn plan_settled<T>(
    snapshot: &Snapshot,
    header: &Dataset,
    rule: impl FnOnce(&View<'_, CommittedFiles<'_>>) -> Result<T, NoPlan>,
) -> Result<T, MutationError> {
    let overlay = Overlay::default();
    let committed = CommittedFiles { snapshot, header, rows_max: usize::MAX };
    let view = View { dataset: header.id, committed, overlay: &overlay, leaving: None };
    rule(&view).map_err(|no_plan| match no_plan {
        NoPlan::Refused(refusal) => refusal,
        // Neither can be: nothing bounds the look, and nothing is in flight.
        NoPlan::TooLong | NoPlan::Unsettled => {
            MutationError::Busy { what: "the dataset", waiting: usize::MAX }
        }
    })
}

/// Whether all these names may be added to a dataset that has nothing in flight.
///
/// # Errors
/// One that may not.
pub(crate) fn plan_free_names(
    snapshot: &Snapshot,
    header: &Dataset,
    names: &[&Filename],
) -> Result<(), MutationError> {
    let mut free = FreeNames::of(snapshot.tree(header).map_err(ReadError::from)?);
    let mut names = names.to_vec();
    names.sort_unstable_by(|one, other| one.tree_order(other));
    for name in names {
        free.look(name).map_err(ReadError::from)?.expect_free(name)?;
    }
    Ok(())
}
