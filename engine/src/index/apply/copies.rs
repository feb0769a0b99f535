//! Copies and merges: datasets that share layers.

use super::files::{top_layer, usage_of};
use super::{Applied, Group, Stop};
use crate::error::{MutationError, UniqueRule};
use crate::index::{IndexError, holdings};
use crate::model::change::{CopyTarget, MergePlan, NewFile, SourceAfterMerge};
use crate::model::dataset::StackEntry;
use crate::model::{Dataset, DatasetId, LayerId, Timestamp, Usage};

impl Group<'_> {
    /// Makes the top layer immutable by putting a new one above it; nothing if it says nothing.
    pub(super) fn freeze(&mut self, header: &mut Dataset) -> Result<(), IndexError> {
        let top = top_layer(header)?;
        if !self.layer_mut(top)?.is_empty() {
            let entry = StackEntry { layer: self.new_layer()?, metadata_void: false };
            header.stack.insert(0, entry);
            self.restacked.push(header.id);
        }
        Ok(())
    }

    /// The frozen layers of a dataset, each named by one stack more.
    fn share_layers(&mut self, header: &Dataset) -> Result<Vec<StackEntry>, IndexError> {
        let shared: Vec<StackEntry> = header.stack.iter().skip(1).copied().collect();
        for entry in &shared {
            self.layer_mut(entry.layer)?.stacks += 1;
        }
        Ok(shared)
    }

    /// Costs the same whatever the source holds: it shares the source's layers.
    pub(super) fn copy_dataset(
        &mut self,
        source: DatasetId,
        copy: &CopyTarget,
    ) -> Result<Applied, Stop> {
        let mut source = self.header(source)?;
        self.expect_room(source.project, source.usage())?;
        let mut made = self.plan_copy(&source, copy)?;
        self.freeze(&mut source)?;
        made.stack.extend(self.share_layers(&source)?);
        made.file_count = source.file_count;
        made.file_bytes = source.file_bytes;
        self.restack_header(source);
        Ok(self.enter_copy(made)?)
    }

    /// A copy of some files only: rows of its own.
    pub(super) fn copy_files(
        &mut self,
        source: DatasetId,
        source_revision: u64,
        copy: &CopyTarget,
        files: &[NewFile],
    ) -> Result<Applied, Stop> {
        let source = self.expect_revision(source, source_revision)?;
        self.expect_room(source.project, usage_of(files))?;
        let made = self.plan_copy(&source, copy)?;
        let made = self.put_files(made, files)?;
        Ok(self.enter_copy(made)?)
    }

    pub(super) fn expect_revision(
        &mut self,
        id: DatasetId,
        revision: u64,
    ) -> Result<Dataset, Stop> {
        let header = self.header(id)?;
        if header.revision == revision {
            Ok(header)
        } else {
            Err(MutationError::Moved { dataset: id }.into())
        }
    }

    /// The header of a copy with one empty layer; its name and version are free.
    pub(super) fn plan_copy(
        &mut self,
        source: &Dataset,
        copy: &CopyTarget,
    ) -> Result<Dataset, Stop> {
        let (name, version, previous_version) = if let Some(name) = &copy.new_name {
            (name.clone(), 1, None)
        } else {
            let highest = self.highest_version(source.project, &source.name)?;
            (source.name.clone(), highest + 1, Some(source.version))
        };
        self.expect_active_project(source.project)?;
        if copy.new_name.is_some() && self.highest_version(source.project, &name)? > 0 {
            return Err(MutationError::Taken { rule: UniqueRule::DatasetName }.into());
        }
        let id = DatasetId(self.next_number("dataset")?);
        let top = StackEntry { layer: self.new_layer()?, metadata_void: false };
        Ok(Dataset {
            id,
            name,
            version,
            previous_version,
            creator: copy.creator,
            creation_time: copy.at,
            deletion_time: None,
            file_count: 0,
            file_bytes: 0,
            revision: 0,
            stack: vec![top],
            description: source.description.clone(),
            project: source.project,
            licence: source.licence,
            tags: source.tags.clone(),
            is_public: source.is_public,
        })
    }

    pub(super) fn enter_copy(&mut self, made: Dataset) -> Result<Applied, IndexError> {
        self.enter_name(&made)?;
        holdings::enter_dataset(self.txn, &made)?;
        self.restacked.push(made.id);
        Ok(Applied::Dataset(Box::new(self.put_header(made))))
    }

    /// An empty target takes the source's layers as they are.
    pub(super) fn merge_shared(
        &mut self,
        target: DatasetId,
        source: DatasetId,
        after: SourceAfterMerge,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        let mut source = self.header(source)?;
        let mut target = self.header(target)?;
        if target.file_count > 0 || target.id == source.id {
            return Err(MutationError::Moved { dataset: target.id }.into());
        }
        self.expect_room_to_merge(&target, &source, after, source.usage())?;
        self.freeze(&mut source)?;
        for entry in std::mem::take(&mut target.stack) {
            self.release_layer(entry.layer)?;
        }
        target.stack = vec![StackEntry { layer: self.new_layer()?, metadata_void: false }];
        target.stack.extend(self.share_layers(&source)?);
        target.file_count = source.file_count;
        target.file_bytes = source.file_bytes;
        self.restack_header(source.clone());
        self.after_merge(source, after, at)?;
        Ok(Applied::Dataset(Box::new(self.put_header(target))))
    }

    /// Adds what a plan took from the source, if neither moved in what the plan relied on.
    pub(super) fn merge_files(
        &mut self,
        merge: &MergePlan,
        files: &[NewFile],
    ) -> Result<Applied, Stop> {
        let source = self.expect_revision(merge.source, merge.source_revision)?;
        let target = self.expect_revision(merge.target, merge.target_revision)?;
        self.expect_free(&target, files)?;
        self.expect_room_to_merge(&target, &source, merge.after, usage_of(files))?;
        let target = self.put_files(target, files)?;
        self.after_merge(source, merge.after, merge.at)?;
        Ok(Applied::Dataset(Box::new(self.put_header(target))))
    }

    /// A target takes the source's layers as they are, above its own, and perhaps a layer above both: a
    /// plan found that what the source's say of any name that is not in it is nothing to the target, and
    /// how much comes along in all.
    pub(super) fn join_layers(
        &mut self,
        merge: &MergePlan,
        above: Option<(LayerId, Usage)>,
    ) -> Result<Applied, Stop> {
        let mut source = self.expect_revision(merge.source, merge.source_revision)?;
        let mut target = self.expect_revision(merge.target, merge.target_revision)?;
        let brought = above.map_or(source.usage(), |(_, brought)| brought);
        self.expect_room_to_merge(&target, &source, merge.after, brought)?;
        self.freeze(&mut source)?;
        self.freeze(&mut target)?;
        target.stack.splice(1..1, self.share_layers(&source)?);
        if let Some((layer, _)) = above {
            target.stack.insert(1, StackEntry { layer, metadata_void: false });
        }
        target.file_count += brought.files;
        target.file_bytes += brought.bytes;
        self.restacked.push(target.id);
        self.restack_header(source.clone());
        self.after_merge(source, merge.after, merge.at)?;
        Ok(Applied::Dataset(Box::new(self.put_header(target))))
    }

    pub(super) fn after_merge(
        &mut self,
        source: Dataset,
        after: SourceAfterMerge,
        at: Timestamp,
    ) -> Result<(), IndexError> {
        match after {
            SourceAfterMerge::Keep => Ok(()),
            SourceAfterMerge::Destroy => self.soft_delete(source, at).map(drop),
            SourceAfterMerge::HardDelete => self.remove_dataset(&source),
        }
    }
}
