//! Large sets: parts go to a layer that no stack names; one small change puts it on the stack.

use redb::ReadableTable;

use super::{Applied, Group, Stop};
use crate::codec;
use crate::index::rows::SetRow;
use crate::index::{IndexError, tables};
use crate::model::change::{FileMetadata, HiddenFile, NewFile, SetPurpose};
use crate::model::dataset::StackEntry;
use crate::model::{Dataset, SetId};

impl Group<'_> {
    pub(super) fn stage_files(&mut self, set: SetId, files: &[NewFile]) -> Result<Applied, Stop> {
        let mut row = self.set_or_new(set)?;
        for file in files {
            self.put_file(row.layer, file)?;
            row.files += 1;
            row.bytes += file.record.length;
        }
        self.put_set(set, &row)?;
        Ok(Applied::Done)
    }

    pub(super) fn stage_deletions(
        &mut self,
        set: SetId,
        files: &[HiddenFile],
    ) -> Result<Applied, Stop> {
        let mut row = self.set_or_new(set)?;
        for file in files {
            self.put_tombstone(row.layer, file.filename.as_str())?;
            row.files += 1;
            row.bytes += file.length;
        }
        self.put_set(set, &row)?;
        Ok(Applied::Done)
    }

    pub(super) fn stage_metadata(
        &mut self,
        set: SetId,
        entries: &[FileMetadata],
    ) -> Result<Applied, Stop> {
        let mut row = self.set_or_new(set)?;
        for entry in entries {
            self.put_metadata(row.layer, entry.filename.as_str(), &entry.metadata)?;
            row.files += 1;
        }
        self.put_set(set, &row)?;
        Ok(Applied::Done)
    }

    fn set_or_new(&mut self, set: SetId) -> Result<SetRow, IndexError> {
        match self.set(set)? {
            Some(row) => Ok(row),
            None => Ok(SetRow { layer: self.new_layer()?, files: 0, bytes: 0 }),
        }
    }

    /// Makes a set visible whole. Refused, it stays as it is: whoever staged it tries again or gives it up.
    pub(super) fn commit_set(
        &mut self,
        set: SetId,
        files: u64,
        purpose: &SetPurpose,
    ) -> Result<Applied, Stop> {
        let Some(row) = self.set(set)?.filter(|row| row.files == files) else {
            let reason = format!("large set {set} is committed and not complete");
            return Err(Stop::Failed(IndexError::Contradiction(reason)));
        };
        let applied = self.put_set_to_use(&row, purpose)?;
        self.txn.open_table(tables::SETS)?.remove(set.0)?;
        Ok(applied)
    }

    fn put_set_to_use(&mut self, row: &SetRow, purpose: &SetPurpose) -> Result<Applied, Stop> {
        match purpose {
            SetPurpose::AddFiles { dataset, revision } => {
                let target = self.expect_revision(*dataset, *revision)?;
                self.expect_room(target.project, row.usage())?;
                let target = self.stack_set(target, row)?;
                self.put_header(target);
                Ok(Applied::Done)
            }
            SetPurpose::Merge(merge) => {
                let source = self.expect_revision(merge.source, merge.source_revision)?;
                let target = self.expect_revision(merge.target, merge.target_revision)?;
                self.expect_room_to_merge(&target, &source, merge.after, row.usage())?;
                let target = self.stack_set(target, row)?;
                self.after_merge(source, merge.after, merge.at)?;
                Ok(Applied::Dataset(Box::new(self.put_header(target))))
            }
            SetPurpose::MergeLayers { merge, brought } => {
                self.join_layers(merge, Some((row.layer, *brought)))
            }
            SetPurpose::Copy { source, source_revision, copy } => {
                let source = self.expect_revision(*source, *source_revision)?;
                self.expect_room(source.project, row.usage())?;
                let made = self.plan_copy(&source, copy)?;
                let made = self.stack_set(made, row)?;
                Ok(self.enter_copy(made)?)
            }
            SetPurpose::DeleteFiles { dataset, revision } => {
                let mut target = self.expect_revision(*dataset, *revision)?;
                self.stack_layer(&mut target, row)?;
                target.file_count -= row.files;
                target.file_bytes -= row.bytes;
                self.put_header(target);
                Ok(Applied::Done)
            }
            SetPurpose::SetMetadata { dataset, revision } => {
                let mut target = self.expect_revision(*dataset, *revision)?;
                self.stack_layer(&mut target, row)?;
                self.put_header(target);
                Ok(Applied::Done)
            }
        }
    }

    fn stack_set(&mut self, mut header: Dataset, row: &SetRow) -> Result<Dataset, IndexError> {
        self.stack_layer(&mut header, row)?;
        header.file_count += row.files;
        header.file_bytes += row.bytes;
        Ok(header)
    }

    /// Puts the set's layer right below a new top: above all that was there, so that what it says
    /// of a name counts whatever was said before.
    fn stack_layer(&mut self, header: &mut Dataset, row: &SetRow) -> Result<(), IndexError> {
        self.freeze(header)?;
        header.stack.insert(1, StackEntry { layer: row.layer, metadata_void: false });
        self.restacked.push(header.id);
        Ok(())
    }

    pub(super) fn abort_set(&mut self, set: SetId) -> Result<Applied, Stop> {
        if let Some(row) = self.set(set)? {
            self.drop_set(set, &row)?;
        }
        Ok(Applied::Done)
    }

    /// Drops every set whose commit has not come; after a crash none will.
    pub(crate) fn drop_unfinished_sets(&mut self) -> Result<u64, IndexError> {
        let mut sets = Vec::new();
        for entry in self.txn.open_table(tables::SETS)?.iter()? {
            let (id, row) = entry?;
            sets.push((SetId(id.value()), codec::decode::<SetRow>(row.value())?));
        }
        for (set, row) in &sets {
            self.drop_set(*set, row)?;
        }
        Ok(u64::try_from(sets.len()).unwrap_or(u64::MAX))
    }

    fn drop_set(&mut self, set: SetId, row: &SetRow) -> Result<(), IndexError> {
        self.txn.open_table(tables::SETS)?.remove(set.0)?;
        self.release_layer(row.layer)
    }

    fn set(&self, set: SetId) -> Result<Option<SetRow>, IndexError> {
        let table = self.txn.open_table(tables::SETS)?;
        let row = table.get(set.0)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }

    fn put_set(&self, set: SetId, row: &SetRow) -> Result<(), IndexError> {
        self.put_record(tables::SETS, set.0, row)
    }
}

#[cfg(test)]
mod tests;
