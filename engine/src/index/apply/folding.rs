//! The rows that folding, sweeping and absorbing write; the rules are in [`crate::index::fold`] and its
//! neighbours.

use redb::ReadableTable;

use super::{FileTable, Group, Stop};
use crate::codec;
use crate::index::file_tree::FileTree;
use crate::index::rows::{FileRow, LayerRow, SetRow};
use crate::index::{IndexError, tables};
use crate::model::dataset::StackEntry;
use crate::model::{Dataset, DatasetId, LayerId, Sequence, SetId};

/// What a folded layer says of a name.
#[derive(Debug)]
pub(crate) struct Folding {
    pub(crate) row: Option<FileRow>,
    pub(crate) metadata: Option<String>,
}

impl<'txn> Group<'txn> {
    pub(crate) fn header_if_any(&mut self, id: DatasetId) -> Result<Option<Dataset>, IndexError> {
        match self.header(id) {
            Ok(header) => Ok(Some(header)),
            Err(Stop::Refused(_)) => Ok(None),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// The counts of a stack's layers, the top one first.
    pub(crate) fn layer_rows(&self, header: &Dataset) -> Result<Vec<LayerRow>, IndexError> {
        header.stack.iter().map(|entry| self.layer(entry.layer)).collect()
    }

    /// Whether a layer has metadata.
    pub(crate) fn describes(&self, layer: LayerId) -> Result<bool, IndexError> {
        Ok(self.layer(layer)?.metadata_rows > 0)
    }

    /// Contents that lose their last row from here on are dead since this change.
    pub(crate) fn die_at(&mut self, applied: Sequence) {
        self.sequence = applied;
    }

    /// Has the background look at a dataset's stack once more.
    pub(crate) fn look_again(&mut self, dataset: DatasetId) {
        self.restacked.push(dataset);
    }

    pub(crate) fn file_table(&self) -> &FileTable<'txn> {
        &self.files
    }

    /// Removes what a layer says of a name; tells whether it was anything.
    pub(crate) fn remove_row(&mut self, layer: LayerId, name: &str) -> Result<bool, IndexError> {
        let removed = match self.files.remove((layer.0, name))? {
            Some(row) => Some(codec::decode::<FileRow>(row.value())?),
            None => None,
        };
        if let Some(row) = removed {
            self.layer_mut(layer)?.rows -= 1;
            if let FileRow::File(record) = row {
                self.count_down(&record.digest, layer, name)?;
            }
        }
        let described = self.metadata.remove((layer.0, name))?.is_some();
        if described {
            self.layer_mut(layer)?.metadata_rows -= 1;
        }
        Ok(removed.is_some() || described)
    }

    /// Puts the row of a name from one layer into another, which has none of that name.
    pub(crate) fn move_row(
        &mut self,
        (from, to): (LayerId, LayerId),
        name: &str,
        row: &FileRow,
    ) -> Result<(), IndexError> {
        if let FileRow::File(record) = row {
            self.relabel(&record.digest, (from, to), name)?;
        }
        self.files.remove((from.0, name))?;
        self.layer_mut(from)?.rows -= 1;
        self.files.insert((to.0, name), codec::encode(row)?.as_slice())?;
        self.layer_mut(to)?.rows += 1;
        Ok(())
    }

    /// What a layer itself says of a name.
    pub(crate) fn row_of(&self, layer: LayerId, name: &str) -> Result<Option<FileRow>, IndexError> {
        let row = self.files.get((layer.0, name))?;
        Ok(row.map(|row| FileRow::decode(row.value())).transpose()?)
    }

    /// Whether a layer itself has a row or metadata of a name.
    pub(crate) fn says_of(&self, layer: LayerId, name: &str) -> Result<bool, IndexError> {
        let key = (layer.0, name);
        Ok(self.files.get(key)?.is_some() || self.metadata.get(key)?.is_some())
    }

    /// Takes a name's metadata out of a layer, as it is stored.
    pub(crate) fn take_text(
        &mut self,
        layer: LayerId,
        name: &str,
    ) -> Result<Option<Vec<u8>>, IndexError> {
        let text = self.metadata.remove((layer.0, name))?.map(|row| row.value().to_vec());
        if text.is_some() {
            self.layer_mut(layer)?.metadata_rows -= 1;
        }
        Ok(text)
    }

    /// Puts a name's metadata into a layer as [`Group::take_text`] gave it.
    pub(crate) fn put_text(
        &mut self,
        layer: LayerId,
        name: &str,
        text: &[u8],
    ) -> Result<(), IndexError> {
        if self.metadata.insert((layer.0, name), text)?.is_none() {
            self.layer_mut(layer)?.metadata_rows += 1;
        }
        Ok(())
    }

    /// A layer that was taken off its only stack.
    pub(crate) fn release_swept(&mut self, layer: LayerId) -> Result<(), IndexError> {
        self.release_layer(layer)
    }

    /// A header whose layers changed and not what they show; its stack may want more.
    pub(crate) fn put_restacked(&mut self, header: Dataset) {
        self.restacked.push(header.id);
        self.restack_header(header);
    }

    pub(crate) fn fold_tree<'a>(
        &'a self,
        run: &'a [StackEntry],
    ) -> FileTree<'a, FileTable<'txn>, FileTable<'txn>> {
        self.tree(run)
    }

    pub(crate) fn metadata_table(&self) -> &FileTable<'txn> {
        &self.metadata
    }

    pub(crate) fn freeze_top(&mut self, header: &mut Dataset) -> Result<(), IndexError> {
        self.freeze(header)?;
        self.restack_header(header.clone());
        Ok(())
    }

    /// A detached layer, entered among the sets so that opening drops it after a crash.
    pub(crate) fn begin_folding(&mut self, set: SetId) -> Result<LayerId, IndexError> {
        let layer = self.new_layer()?;
        self.put_record(tables::SETS, set.0, &SetRow { layer, files: 0, bytes: 0 })?;
        Ok(layer)
    }

    fn folding_layer(&self, set: SetId) -> Result<LayerId, IndexError> {
        let table = self.txn.open_table(tables::SETS)?;
        match table.get(set.0)? {
            Some(row) => Ok(codec::decode::<SetRow>(row.value())?.layer),
            None => Err(IndexError::Contradiction(format!("fold {set} has lost its layer"))),
        }
    }

    pub(crate) fn write_folded(
        &mut self,
        layer: LayerId,
        name: &str,
        folding: Folding,
    ) -> Result<(), IndexError> {
        if let Some(row) = folding.row {
            if let FileRow::File(record) = row {
                self.count_up(&record.digest, layer, name)?;
            }
            self.files.insert((layer.0, name), codec::encode(&row)?.as_slice())?;
            self.layer_mut(layer)?.rows += 1;
        }
        if let Some(metadata) = folding.metadata {
            self.put_metadata(layer, name, &metadata)?;
        }
        Ok(())
    }

    /// The new layer takes the run's place; the run's layers lose this stack.
    pub(crate) fn finish_folding(
        &mut self,
        set: SetId,
        header: Dataset,
        run: &[StackEntry],
    ) -> Result<(), IndexError> {
        self.txn.open_table(tables::SETS)?.remove(set.0)?;
        for entry in run {
            self.release_layer(entry.layer)?;
        }
        self.restacked.push(header.id);
        self.restack_header(header);
        Ok(())
    }

    /// The layer goes; the dataset may still want a fold, of the layers that it has now.
    pub(crate) fn abandon_folding(
        &mut self,
        set: SetId,
        dataset: DatasetId,
    ) -> Result<(), IndexError> {
        self.restacked.push(dataset);
        let layer = self.folding_layer(set)?;
        self.txn.open_table(tables::SETS)?.remove(set.0)?;
        self.release_layer(layer)
    }
}
