//! Whether a target can take a source's layers as they are, instead of rows for each of its files.
//!
//! The source's layers come to lie above the target's. So what they say of a name that the target shows
//! would count for it: a file, a deletion, or metadata. Of such a name another layer, above both, says
//! what holds: the target keeps its own file, with its own metadata, and a file of the source with
//! another content comes along under a suffix. Where these are many, or it is not plain which suffix is
//! free, rows for each file are as good. And metadata that was made void in the source is void for all
//! layers below it.
//!
//! Folding, sweeping and absorbing change layers without a new revision, but only ever take away what
//! counts for nobody. So what is apart stays so, in the index that applies the merge and in every later
//! one; not in an earlier one, which is why the merge waits for a checkpoint behind this look.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::numbers::Numbers;
use super::{Both, Names, damaged_name};
use crate::bulk::Bulk;
use crate::dataset::Standing;
use crate::error::{MutationError, ReadError};
use crate::index::rows::FileRow;
use crate::limits::{APART_ROWS, CHANGE_BYTES_MAX, MERGE_ROWS_ABOVE_MAX, STACK_LAYERS_MAX};
use crate::model::change::{MergePlan, NewFile};
use crate::model::{Dataset, FileRecord, Filename, Usage};

/// What comes of joining the layers of both.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// What holds of the names of which both say something, by name.
    above: BTreeMap<Filename, NewFile>,
    /// Bytes of these names and their metadata.
    above_bytes: u64,
    numbers: Numbers,
    /// How much comes along in all.
    pub(super) brought: Usage,
}

/// Whether the stacks themselves allow it: not too deep together, with so many layers above both, and no
/// layer in both.
pub(super) fn may_be_joined(target: &Dataset, source: &Dataset, above: usize) -> bool {
    let is_void = source.stack.iter().any(|entry| entry.metadata_void);
    let is_shared = |layer| target.stack.iter().any(|entry| entry.layer == layer);
    let is_apart = !source.stack.iter().any(|entry| is_shared(entry.layer));
    // Both tops may be frozen for it, and a new one comes above them.
    let layers = target.stack.len() + source.stack.len() + above + 1;
    !is_void && is_apart && layers <= STACK_LAYERS_MAX
}

/// Looks what comes of joining the layers of both, on the revisions that the merge expects; `None` if
/// that is not worth it. What the names in both name must keep its row until the merge is applied.
///
/// # Errors
/// A name would make a file of a directory, or the reverse; a dataset moved; the index cannot be read.
pub(super) fn look(bulk: &Bulk, merge: &MergePlan) -> Result<Option<Joined>, MutationError> {
    let mut joined = Joined::default();
    let is_worth_it = joined.look_at_rows(bulk, merge)? && joined.look_at_metadata(bulk, merge)?;
    Ok(is_worth_it.then_some(joined))
}

impl Joined {
    /// Layers that come above both.
    pub(super) fn layers(&self) -> usize {
        usize::from(!self.above.is_empty())
    }

    /// The files of the layer above both.
    pub(super) fn into_above(self) -> Vec<NewFile> {
        self.above.into_values().collect()
    }

    /// `false` if it is not worth it.
    fn look_at_rows(&mut self, bulk: &Bulk, merge: &MergePlan) -> Result<bool, MutationError> {
        let mut after: Option<String> = None;
        loop {
            let both = Both::now(bulk, merge)?;
            let mut names = both.names()?;
            let tree = both.snapshot.tree(&both.source).map_err(ReadError::from)?;
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut last = None;
            for row in tree.rows_from(from).map_err(ReadError::from)?.take(APART_ROWS) {
                let row = row.map_err(ReadError::from)?;
                let own = match &row.row {
                    FileRow::File(_) => names.in_target(&exact(&row.name)?)?,
                    FileRow::Tombstone => both.snapshot.file(&both.target, &row.name)?,
                };
                let is_worth_it = match (own, &row.row) {
                    (None, FileRow::Tombstone) => true,
                    (None, FileRow::File(record)) => {
                        self.count(record);
                        true
                    }
                    (Some(own), FileRow::File(record)) if own.digest != record.digest => {
                        let metadata = tree.metadata_at(row.depth, &row.name);
                        let metadata = metadata.map_err(ReadError::from)?.unwrap_or_default();
                        let filename = exact(&row.name)?;
                        let file = NewFile { filename, record: *record, metadata };
                        self.keep_own(&both, &row.name, own)?
                            && self.bring_suffixed(&mut names, file)?
                    }
                    (Some(own), FileRow::File(_) | FileRow::Tombstone) => {
                        self.keep_own(&both, &row.name, own)?
                    }
                };
                if !is_worth_it {
                    return Ok(false);
                }
                last = Some(row.name);
            }
            let Some(last) = last else { return Ok(true) };
            after = Some(last);
        }
    }

    /// Metadata of a name of which the stack has no row: nothing leaves such, and if something did they must
    /// not count for the target's file. `false` if it is not worth it.
    fn look_at_metadata(&mut self, bulk: &Bulk, merge: &MergePlan) -> Result<bool, MutationError> {
        let mut after: Option<String> = None;
        loop {
            let both = Both::now(bulk, merge)?;
            let tree = both.snapshot.tree(&both.source).map_err(ReadError::from)?;
            // By name and not layer by layer, since a name's metadata may go to another one meanwhile.
            let names = tree.described_after(after.as_deref(), APART_ROWS);
            let mut names = names.map_err(ReadError::from)?;
            for name in &names {
                if let Some(own) = both.snapshot.file(&both.target, name)?
                    && !self.keep_own(&both, name, own)?
                {
                    return Ok(false);
                }
            }
            let Some(last) = names.pop_last() else { return Ok(true) };
            after = Some(last);
        }
    }

    /// The target keeps its own file of a name; `false` if that makes too many.
    fn keep_own(
        &mut self,
        both: &Both,
        name: &str,
        record: FileRecord,
    ) -> Result<bool, MutationError> {
        let filename = exact(name)?;
        if self.above.contains_key(&filename) {
            return Ok(true);
        }
        let tree = both.snapshot.tree(&both.target).map_err(ReadError::from)?;
        let metadata = tree.metadata(name).map_err(ReadError::from)?.unwrap_or_default();
        Ok(self.put_above(NewFile { filename, record, metadata }))
    }

    /// A file of the source comes along under the next free suffix; `false` if which one that is depends
    /// on more than is seen here, or there are too many.
    fn bring_suffixed(
        &mut self,
        names: &mut Names<'_>,
        file: NewFile,
    ) -> Result<bool, MutationError> {
        let Self { above, numbers, .. } = self;
        let mut is_plain = true;
        let filename = numbers.first_free(&file.filename, |name| {
            let in_source = names.source.look(name)?;
            is_plain = !matches!(in_source, Standing::File(_));
            let is_used = in_source == Standing::Directory || names.target_has(name)?;
            Ok::<_, ReadError>(is_plain && (is_used || above.contains_key(name)))
        })?;
        if !is_plain {
            return Ok(false);
        }
        self.count(&file.record);
        Ok(self.put_above(NewFile { filename, ..file }))
    }

    fn put_above(&mut self, file: NewFile) -> bool {
        let bytes = file.filename.as_str().len() + file.metadata.len();
        self.above_bytes =
            self.above_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.above.insert(file.filename.clone(), file);
        self.above.len() <= MERGE_ROWS_ABOVE_MAX && self.above_bytes <= CHANGE_BYTES_MAX
    }

    fn count(&mut self, record: &FileRecord) {
        self.brought = self.brought.plus(Usage { files: 1, bytes: record.length });
    }
}

fn exact(name: &str) -> Result<Filename, ReadError> {
    Filename::exact(name).ok_or_else(|| damaged_name(name))
}
