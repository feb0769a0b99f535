//! A dataset's committed files, as plans look at them.

use std::ops::Bound;

use super::overlay::Overlay;
use super::plan::{Committed, View, plan_add_file};
use crate::error::{MutationError, ReadError};
use crate::index::snapshot::Snapshot;
use crate::model::{Dataset, Digest, Filename, RequestedFilename};

/// The files of one dataset in one state.
#[derive(Debug)]
pub(crate) struct CommittedFiles<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) header: &'a Dataset,
}

impl Committed for CommittedFiles<'_> {
    fn file(&self, name: &str) -> Result<Option<Digest>, ReadError> {
        Ok(self.snapshot.file(self.header, name)?.map(|record| record.digest))
    }

    fn first_from(&self, from: Bound<&str>) -> Result<Option<String>, ReadError> {
        let mut files = self.snapshot.tree(self.header).files_from(from)?;
        Ok(files.next().transpose()?.map(|(name, _)| name))
    }
}

/// Whether all these names may be added to a dataset that has nothing in flight.
///
/// # Errors
/// The first that may not.
pub(crate) fn plan_free_names(
    snapshot: &Snapshot,
    header: &Dataset,
    names: &[&Filename],
) -> Result<(), MutationError> {
    let overlay = Overlay::default();
    let committed = CommittedFiles { snapshot, header };
    let view = View { dataset: header.id, committed, overlay: &overlay };
    for name in names {
        plan_add_file(&view, RequestedFilename::Named((*name).clone()))?;
    }
    Ok(())
}
