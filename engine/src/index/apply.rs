//! A change set to rows and counts, inside the transaction of its group.
//!
//! Every change first looks at all that it expects and only then writes, so a refusal touches
//! nothing (I6). Everything is resolved from the rows alone, in the order of the journal, so
//! replay gives the same store.

mod catalogue;

mod audit;

mod bulk;

mod copies;

mod counts;

mod files;

mod folding;

mod headers;

mod sets;

mod usage;

pub(crate) use counts::{Counts, LiveBytes, add_live_bytes, live_bytes_of, write_live_bytes};
pub(crate) use folding::Folding;

use usage::{Growth, Owner};

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;

use super::file_tree::FileTree;
use super::rows::LayerRow;
use super::tables;
use super::{IndexError, namings};
use crate::codec;
use crate::error::MutationError;
use crate::limits::GROUP_HEADER_BYTES_MAX;
use crate::model::change::{Change, NewBlob};
use crate::model::dataset::StackEntry;
use crate::model::{
    AccessToken, Dataset, DatasetId, Digest, LayerId, Licence, Membership, Node, Project,
    ProjectId, Sequence, Team, User,
};
use crate::noted::EncodedNote;

type Bytes = &'static [u8];
type FileTable<'txn> = Table<'txn, (u64, &'static str), Bytes>;

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Applied {
    Done,
    Dataset(Box<Dataset>),
    User(Box<User>),
    Team(Box<Team>),
    Membership(Box<Membership>),
    Project(Box<Project>),
    Licence(Box<Licence>),
    Node(Box<Node>),
    AccessToken(Box<AccessToken>),
}

/// Why a change was not applied.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An expectation failed; nothing was touched.
    Refused(MutationError),
    /// The index failed; the transaction must not be committed.
    Failed(IndexError),
}

impl From<MutationError> for Stop {
    fn from(error: MutationError) -> Self {
        Self::Refused(error)
    }
}

impl<E: Into<IndexError>> From<E> for Stop
where
    E: NotARefusal,
{
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Errors that end the index rather than refuse a change.
pub(crate) trait NotARefusal {}

impl NotARefusal for IndexError {}
impl NotARefusal for redb::StorageError {}
impl NotARefusal for redb::TableError {}
impl NotARefusal for codec::CodecError {}

/// A row that is read once, changed in memory and written when the group ends.
#[derive(Debug)]
struct Cached<T> {
    value: T,
    dirty: bool,
}

/// The transaction of one group: its tables, and the rows that many changes of a group share.
///
/// These are few, and hashing a number costs more than finding it among a few.
pub(crate) struct Group<'txn> {
    txn: &'txn WriteTransaction,
    files: FileTable<'txn>,
    metadata: FileTable<'txn>,
    counts: Counts<'txn>,
    datasets: Table<'txn, u64, Bytes>,
    layer_rows: Table<'txn, u64, Bytes>,
    headers: BTreeMap<DatasetId, Cached<Option<Dataset>>>,
    /// Bytes that these take, about.
    header_bytes: usize,
    /// Stacks as the group found them.
    stacks_before: BTreeMap<DatasetId, Vec<StackEntry>>,
    layers: BTreeMap<LayerId, Cached<LayerRow>>,
    /// Change of each segment's live bytes.
    live_bytes: LiveBytes,
    /// Contents that the change under way brings and that no row names yet.
    fresh: BTreeMap<Digest, NewBlob>,
    sequence: Sequence,
    /// Whether the change under way was answered as made: then its plan saw what it expects.
    is_promised: bool,
    /// Datasets whose stacks changed: there may be something to do about them.
    restacked: Vec<DatasetId>,
    /// Layers that a stack less names: what others could not do about theirs they may do now.
    released: BTreeSet<LayerId>,
    /// What became of the counts of datasets, by their projects.
    growth: BTreeMap<ProjectId, Growth>,
    /// Owners of projects, as far as they were looked up.
    owners: BTreeMap<ProjectId, Option<Owner>>,
    /// The rows that the audit log gets of this group.
    told: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Group<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Group").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl<'txn> Group<'txn> {
    /// Opens the tables that every group needs.
    pub(crate) fn begin(txn: &'txn WriteTransaction) -> Result<Self, IndexError> {
        Ok(Self {
            txn,
            files: txn.open_table(tables::FILES)?,
            metadata: txn.open_table(tables::METADATA)?,
            counts: Counts::of(txn)?,
            datasets: txn.open_table(tables::DATASETS)?,
            layer_rows: txn.open_table(tables::LAYERS)?,
            headers: BTreeMap::new(),
            header_bytes: 0,
            stacks_before: BTreeMap::new(),
            layers: BTreeMap::new(),
            live_bytes: LiveBytes::new(),
            fresh: BTreeMap::new(),
            sequence: Sequence::ZERO,
            is_promised: false,
            restacked: Vec::new(),
            released: BTreeSet::new(),
            growth: BTreeMap::new(),
            owners: BTreeMap::new(),
            told: Vec::new(),
        })
    }

    /// Applies one change whole, or refuses it and touches nothing but what it brought: contents
    /// that came with a refused change are kept, dead, until they are reclaimed. One that was made
    /// and has a note enters the audit log.
    ///
    /// # Errors
    /// The index failed; the transaction must be dropped.
    pub(crate) fn apply(
        &mut self,
        sequence: Sequence,
        change: &Change,
        note: Option<&EncodedNote>,
        blobs: &[NewBlob],
    ) -> Result<Result<Applied, MutationError>, IndexError> {
        self.sequence = sequence;
        if let Change::Relocate { moves } = change {
            self.relocate(moves, blobs)?;
            return Ok(Ok(Applied::Done));
        }
        self.fresh = blobs.iter().map(|blob| (blob.digest, *blob)).collect();
        self.remove_displaced(blobs)?;
        let verdict = match self.dispatch(change) {
            Ok(applied) => Ok(applied),
            Err(Stop::Refused(refusal)) => Err(refusal),
            Err(Stop::Failed(error)) => return Err(error),
        };
        self.bury_fresh()?;
        if let (Ok(applied), Some(note)) = (&verdict, note) {
            self.tell(change, applied, note)?;
        }
        self.bound_headers()?;
        Ok(verdict)
    }

    /// As [`Group::apply`], of a change that was answered as made. What its plan saw is not looked for
    /// once more where writing it shows whether that was true.
    ///
    /// # Errors
    /// It is not so, or the index failed; the transaction must be dropped.
    pub(crate) fn apply_promised(
        &mut self,
        sequence: Sequence,
        change: &Change,
        note: Option<&EncodedNote>,
        blobs: &[NewBlob],
    ) -> Result<Result<Applied, MutationError>, IndexError> {
        self.is_promised = true;
        let verdict = self.apply(sequence, change, note, blobs);
        self.is_promised = false;
        verdict
    }

    fn dispatch(&mut self, change: &Change) -> Result<Applied, Stop> {
        match change {
            Change::AddFiles { dataset, files } => self.add_files(*dataset, files),
            Change::DeleteFile { dataset, filename, expects } => {
                self.delete_file(*dataset, filename.as_str(), expects)
            }
            Change::SetMetadata { dataset, filename, expects, metadata } => {
                self.set_metadata(*dataset, filename.as_str(), expects, metadata)
            }
            Change::ClearDataset { dataset } => self.clear_dataset(*dataset),
            Change::CreateDataset { dataset, at } => self.create_dataset(dataset, *at),
            Change::UpdateDataset { dataset, patch } => self.update_dataset(*dataset, patch),
            Change::DestroyDataset { dataset, at } => self.destroy_dataset(*dataset, *at),
            Change::ReinstateDataset { dataset } => self.reinstate_dataset(*dataset),
            Change::HardDeleteDataset { dataset } => self.hard_delete_dataset(*dataset),
            Change::CopyDataset { source, copy } => self.copy_dataset(*source, copy),
            Change::CopyFiles { source, source_revision, copy, files } => {
                self.copy_files(*source, *source_revision, copy, files)
            }
            Change::MergeShared { target, source, after, at } => {
                self.merge_shared(*target, *source, *after, *at)
            }
            Change::MergeFiles { merge, files } => self.merge_files(merge, files),
            Change::MergeLayers { merge, .. } => self.join_layers(merge, None),
            Change::StageFiles { set, files } => self.stage_files(*set, files),
            Change::CommitSet { set, files, purpose } => self.commit_set(*set, *files, purpose),
            Change::AbortSet { set } => self.abort_set(*set),
            // The one is handled by the caller, which must not treat its contents as new ones; of the
            // other its note says it all.
            Change::Relocate { .. } | Change::Witness { .. } => Ok(Applied::Done),
            Change::Catalogue(change) => self.catalogue(change),
            Change::DeleteFiles { dataset, revision, filenames } => {
                self.delete_files(*dataset, *revision, filenames)
            }
            Change::SetManyMetadata { dataset, revision, entries } => {
                self.set_many_metadata(*dataset, *revision, entries)
            }
            Change::RenameFile { dataset, from, to, expects } => {
                self.rename_file(*dataset, from.as_str(), to, expects)
            }
            Change::PurgeDataset { dataset, deleted_at } => {
                self.purge_dataset(*dataset, *deleted_at)
            }
            Change::StageDeletions { set, files } => self.stage_deletions(*set, files),
            Change::StageMetadata { set, entries } => self.stage_metadata(*set, entries),
            Change::ReplaceFile { dataset, expects, file } => {
                self.replace_file(*dataset, expects, file)
            }
            Change::SetMetadataIf { dataset, filename, expects, condition, metadata } => {
                self.expect_condition(*dataset, filename.as_str(), expects, condition)?;
                self.set_metadata(*dataset, filename.as_str(), expects, metadata)
            }
        }
    }

    /// Writes the shared rows; tells which datasets' stacks changed.
    pub(crate) fn finish(mut self) -> Result<Vec<DatasetId>, IndexError> {
        self.settle_growth()?;
        self.write_headers()?;
        for layer in &self.released {
            // One of those that have it: the one that is copied next, most likely.
            self.restacked.extend(namings::last_dataset_of(self.txn, *layer)?);
        }
        for (id, layer) in &self.layers {
            if layer.dirty {
                self.layer_rows.insert(id.0, codec::encode(&layer.value)?.as_slice())?;
            }
        }
        write_live_bytes(self.txn, &self.live_bytes)?;
        super::audit::append(self.txn, &self.told)?;
        Ok(self.restacked)
    }

    /// Writes the headers that changed, and forgets all of them.
    fn write_headers(&mut self) -> Result<(), IndexError> {
        for (id, header) in std::mem::take(&mut self.headers) {
            if header.dirty {
                let before = self.stacks_before.get(&id).map_or(&[][..], Vec::as_slice);
                let after = header.value.as_ref().map_or(&[][..], |dataset| &dataset.stack);
                namings::restack(self.txn, id, before, after)?;
                match &header.value {
                    Some(dataset) => {
                        self.datasets.insert(id.0, codec::encode(dataset)?.as_slice())?;
                    }
                    None => {
                        self.datasets.remove(id.0)?;
                    }
                }
            }
        }
        self.stacks_before.clear();
        self.header_bytes = 0;
        Ok(())
    }

    /// Writes headers before the group ends where there are too many to be kept: one change may touch all
    /// datasets of a project, and each may have long texts.
    fn bound_headers(&mut self) -> Result<(), IndexError> {
        if self.header_bytes > GROUP_HEADER_BYTES_MAX { self.write_headers() } else { Ok(()) }
    }

    /// Gives out the next number of a kind.
    fn next_number(&mut self, kind: &str) -> Result<u64, IndexError> {
        next_number(self.txn, kind)
    }

    /// A dataset's header as the changes so far left it.
    fn header(&mut self, id: DatasetId) -> Result<Dataset, Stop> {
        self.load_header(id)?;
        self.loaded_header(id).cloned()
    }

    /// Reads a dataset's header where no change so far did.
    fn load_header(&mut self, id: DatasetId) -> Result<(), IndexError> {
        if !self.headers.contains_key(&id) {
            let value: Option<Dataset> = match self.datasets.get(id.0)? {
                Some(row) => Some(codec::decode(row.value())?),
                None => None,
            };
            if let Some(dataset) = &value {
                self.stacks_before.insert(id, dataset.stack.clone());
            }
            self.keep_header(id, Cached { value, dirty: false });
        }
        Ok(())
    }

    /// A header that is loaded, where it is.
    fn loaded_header(&self, id: DatasetId) -> Result<&Dataset, Stop> {
        let header = self.headers.get(&id).and_then(|header| header.value.as_ref());
        header.ok_or(Stop::Refused(MutationError::DatasetNotFound { dataset: id }))
    }

    /// Replaces a header; its revision grows.
    fn put_header(&mut self, mut dataset: Dataset) -> Dataset {
        dataset.revision += 1;
        self.note_growth(dataset.id, Some(&dataset));
        let cached = Cached { value: Some(dataset.clone()), dirty: true };
        self.keep_header(dataset.id, cached);
        dataset
    }

    /// Replaces a header of which only the layers changed, not what they show: no plan that was
    /// made on it is wrong, so its revision stays.
    fn restack_header(&mut self, dataset: Dataset) {
        self.keep_header(dataset.id, Cached { value: Some(dataset), dirty: true });
    }

    fn remove_header(&mut self, id: DatasetId) {
        self.note_growth(id, None);
        self.keep_header(id, Cached { value: None, dirty: true });
    }

    fn keep_header(&mut self, id: DatasetId, header: Cached<Option<Dataset>>) {
        self.header_bytes += bytes_kept(&header);
        let replaced = self.headers.insert(id, header);
        self.header_bytes -= replaced.as_ref().map_or(0, bytes_kept);
    }

    /// A header, which is not kept, as the changes so far left it: for those who look at many.
    fn look_at_header(&self, id: DatasetId) -> Result<Option<Dataset>, IndexError> {
        if let Some(header) = self.headers.get(&id) {
            return Ok(header.value.clone());
        }
        let row = self.datasets.get(id.0)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }

    fn tree<'a>(
        &'a self,
        stack: &'a [StackEntry],
    ) -> FileTree<'a, FileTable<'txn>, FileTable<'txn>> {
        FileTree::new(&self.files, &self.metadata, stack)
    }

    /// A layer's counts, to be read.
    fn layer(&self, id: LayerId) -> Result<LayerRow, IndexError> {
        if let Some(layer) = self.layers.get(&id) {
            return Ok(layer.value);
        }
        let row = self.layer_rows.get(id.0)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?.unwrap_or_default())
    }

    /// A layer's counts, to be changed in place.
    fn layer_mut(&mut self, id: LayerId) -> Result<&mut LayerRow, IndexError> {
        if !self.layers.contains_key(&id) {
            let row = self.layer_rows.get(id.0)?;
            let value = row.map(|row| codec::decode(row.value())).transpose()?.unwrap_or_default();
            self.layers.insert(id, Cached { value, dirty: false });
        }
        match self.layers.get_mut(&id) {
            Some(layer) => {
                layer.dirty = true;
                Ok(&mut layer.value)
            }
            None => Err(IndexError::Contradiction(format!("layer {id} is not cached"))),
        }
    }

    /// A new, empty layer that one stack names.
    fn new_layer(&mut self) -> Result<LayerId, IndexError> {
        let id = LayerId(self.next_number("layer")?);
        let value = LayerRow { stacks: 1, ..LayerRow::default() };
        self.layers.insert(id, Cached { value, dirty: true });
        Ok(id)
    }

    /// A stack names the layer no longer; with none left its rows are removed in the background.
    fn release_layer(&mut self, id: LayerId) -> Result<(), IndexError> {
        let layer = self.layer_mut(id)?;
        layer.stacks = layer.stacks.saturating_sub(1);
        if layer.stacks == 0 {
            self.txn.open_table(tables::DROPPED_LAYERS)?.insert(id.0, ())?;
        } else {
            self.released.insert(id);
        }
        Ok(())
    }

    /// Inserts a row under a new id.
    fn put_record<T: Serialize>(
        &self,
        table: TableDefinition<'static, u64, Bytes>,
        id: u64,
        record: &T,
    ) -> Result<(), IndexError> {
        self.txn.open_table(table)?.insert(id, codec::encode(record)?.as_slice())?;
        Ok(())
    }
}

/// Bytes of memory that a header takes, about, with its stack as it was.
fn bytes_kept(header: &Cached<Option<Dataset>>) -> usize {
    let texts =
        |it: &Dataset| it.name.len() + it.text_bytes() + 2 * size_of_val(it.stack.as_slice());
    size_of::<Dataset>() + header.value.as_ref().map_or(0, texts)
}

/// Gives out the next number of a kind; none is used twice.
pub(crate) fn next_number(txn: &WriteTransaction, kind: &str) -> Result<u64, IndexError> {
    let mut numbers = txn.open_table(tables::NUMBERS)?;
    let next = numbers.get(kind)?.map_or(0, |last| last.value()) + 1;
    numbers.insert(kind, next)?;
    Ok(next)
}
