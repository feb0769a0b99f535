//! Whether a target can take a source's layers as they are, instead of rows for each of its files.
//!
//! The source's layers would come to lie above the target's. So what they say of any name must be
//! nothing to the target: a file, a deletion, or metadata of a name that the target shows would
//! count for it. And metadata that was made void in the source is void for all layers below it.
//!
//! Folding and sweeping change layers without a new revision, but only ever take away what counts for
//! nobody. So what is apart stays so, in the index that applies the merge and in every later one; not
//! in an earlier one, which is why the merge waits for a checkpoint behind this look.

use std::ops::Bound;

use super::{Both, damaged_name, expected};
use crate::bulk::Bulk;
use crate::error::{MutationError, ReadError};
use crate::index::rows::FileRow;
use crate::limits::{APART_ROWS, STACK_LAYERS_MAX};
use crate::model::change::MergePlan;
use crate::model::{Dataset, Filename};

/// Whether the stacks themselves allow it: not too deep together, and no layer in both.
pub(super) fn may_be_joined(target: &Dataset, source: &Dataset) -> bool {
    let is_void = source.stack.iter().any(|entry| entry.metadata_void);
    let is_shared = |layer| target.stack.iter().any(|entry| entry.layer == layer);
    let is_apart = !source.stack.iter().any(|entry| is_shared(entry.layer));
    // Both tops may be frozen for it, and a new one comes above them.
    let layers = target.stack.len() + source.stack.len() + 1;
    !is_void && is_apart && layers <= STACK_LAYERS_MAX
}

/// Whether no name of the source stands in the way of one of the target's, on the revisions that
/// the merge expects.
///
/// # Errors
/// One would make a file of a directory, or the reverse; a dataset moved; the index cannot be read.
pub(super) fn are_apart(bulk: &Bulk, merge: &MergePlan) -> Result<bool, MutationError> {
    Ok(rows_are_apart(bulk, merge)? && metadata_is_apart(bulk, merge)?)
}

fn rows_are_apart(bulk: &Bulk, merge: &MergePlan) -> Result<bool, MutationError> {
    let mut after: Option<String> = None;
    let mut parent_before = String::new();
    loop {
        let snapshot = bulk.store.snapshot()?;
        let target = expected(&snapshot, merge.target, merge.target_revision)?;
        let source = expected(&snapshot, merge.source, merge.source_revision)?;
        let both = Both { snapshot: &snapshot, target: &target, source: &source };
        let tree = snapshot.tree(&source).map_err(ReadError::from)?;
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for row in tree.rows_from(from).map_err(ReadError::from)?.take(APART_ROWS) {
            let row = row.map_err(ReadError::from)?;
            if both.in_target(&row.name)?.is_some() {
                return Ok(false);
            }
            if matches!(row.row, FileRow::File(_)) {
                let filename = Filename::exact(&row.name).ok_or_else(|| damaged_name(&row.name))?;
                both.expect_no_directory(&filename)?;
                // Neighbours mostly lie in the same directory.
                let parent = row.name.rsplit_once('/').map_or("", |(parent, _)| parent);
                if parent != parent_before {
                    both.expect_directories(&filename, |_| false)?;
                    parent.clone_into(&mut parent_before);
                }
            }
            last = Some(row.name);
        }
        let Some(last) = last else { return Ok(true) };
        after = Some(last);
    }
}

fn metadata_is_apart(bulk: &Bulk, merge: &MergePlan) -> Result<bool, MutationError> {
    let mut at = (0, None::<String>);
    let mut stack_before = Vec::new();
    loop {
        let snapshot = bulk.store.snapshot()?;
        let target = expected(&snapshot, merge.target, merge.target_revision)?;
        let source = expected(&snapshot, merge.source, merge.source_revision)?;
        let tree = snapshot.tree(&source).map_err(ReadError::from)?;
        if source.stack != stack_before {
            // Layers were folded; which were looked at is not known any longer.
            at = (0, None);
            stack_before.clone_from(&source.stack);
        }
        let (depth, after) = &at;
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let Some(names) = tree.described_from(*depth, from).map_err(ReadError::from)? else {
            return Ok(true);
        };
        let mut last = None;
        for name in names.take(APART_ROWS) {
            let name = name.map_err(ReadError::from)?;
            if snapshot.file(&target, &name)?.is_some() {
                return Ok(false);
            }
            last = Some(name);
        }
        at = if last.is_some() { (*depth, last) } else { (depth + 1, None) };
    }
}
