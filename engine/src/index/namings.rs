//! From a content to the files that name it, and from a layer to the datasets whose stacks have it.
//!
//! Whoever sends a file asks first whether the server has its content where the sender may read it.
//! That is answered here without visiting files: the content's own row tells a few files that name
//! it, which costs an upload no row more, and [`tables::NAMINGS`] tells the
//! others. Whoever counts a content up or down keeps both true; whoever writes a header keeps
//! [`tables::LAYER_DATASETS`] true.

use std::collections::BTreeSet;

use redb::{ReadableTable, Table, WriteTransaction};

use super::rows::{FileRow, NamedBlob, Naming};
use super::{IndexError, tables};
use crate::codec;
use crate::model::dataset::StackEntry;
use crate::model::{Dataset, DatasetId, Digest, LayerId};

/// The files that name contents, beside those in the contents' own rows: [`tables::NAMINGS`], opened
/// when it is wanted first, as most groups do not.
pub(crate) struct Namings<'txn> {
    txn: &'txn WriteTransaction,
    table: Option<NamingTable<'txn>>,
}

type NamingTable<'txn> = Table<'txn, (&'static [u8; 32], u64, &'static str), ()>;

impl<'txn> Namings<'txn> {
    pub(crate) fn of(txn: &'txn WriteTransaction) -> Self {
        Self { txn, table: None }
    }

    fn table(&mut self) -> Result<&mut NamingTable<'txn>, IndexError> {
        let table = match self.table.take() {
            Some(table) => table,
            None => self.txn.open_table(tables::NAMINGS)?,
        };
        Ok(self.table.insert(table))
    }

    /// A row of a file names the content, beside those in the content's own row.
    pub(crate) fn enter(
        &mut self,
        digest: &Digest,
        layer: LayerId,
        name: &str,
    ) -> Result<(), IndexError> {
        self.table()?.insert((digest.as_bytes(), layer.0, name), ())?;
        Ok(())
    }

    /// A row of a file, none of those in the content's own row, names the content no longer.
    pub(crate) fn leave(
        &mut self,
        digest: &Digest,
        layer: LayerId,
        name: &str,
    ) -> Result<(), IndexError> {
        self.table()?.remove((digest.as_bytes(), layer.0, name))?;
        Ok(())
    }

    /// Takes one of the others, to stand in the content's own row.
    pub(crate) fn take_any(&mut self, digest: &Digest) -> Result<Option<Naming>, IndexError> {
        let table = self.table()?;
        let first = {
            let mut others = table.range::<(&[u8; 32], u64, &str)>((digest.as_bytes(), 0, "")..)?;
            let first = others.next().transpose()?;
            first.and_then(|(key, _)| {
                let (found, layer, name) = key.value();
                let naming = Naming { layer: LayerId(layer), name: name.to_owned() };
                (found == digest.as_bytes()).then_some(naming)
            })
        };
        if let Some(naming) = &first {
            table.remove((digest.as_bytes(), naming.layer.0, naming.name.as_str()))?;
        }
        Ok(first)
    }
}

/// A dataset's stack has changed.
pub(crate) fn restack(
    txn: &WriteTransaction,
    dataset: DatasetId,
    before: &[StackEntry],
    after: &[StackEntry],
) -> Result<(), IndexError> {
    let layers = |stack: &[StackEntry]| -> BTreeSet<LayerId> {
        stack.iter().map(|entry| entry.layer).collect()
    };
    // Most changes leave the stack alone.
    if before.iter().map(|entry| entry.layer).eq(after.iter().map(|entry| entry.layer)) {
        return Ok(());
    }
    let (before, after) = (layers(before), layers(after));
    let mut table = txn.open_table(tables::LAYER_DATASETS)?;
    for layer in before.difference(&after) {
        table.remove((layer.0, dataset.0))?;
    }
    for layer in after.difference(&before) {
        table.insert((layer.0, dataset.0), ())?;
    }
    Ok(())
}

/// The newest dataset that has a layer.
pub(crate) fn last_dataset_of(
    txn: &WriteTransaction,
    layer: LayerId,
) -> Result<Option<DatasetId>, IndexError> {
    let table = txn.open_table(tables::LAYER_DATASETS)?;
    let last = table.range((layer.0, 0)..=(layer.0, u64::MAX))?.next_back().transpose()?;
    Ok(last.map(|(key, _)| DatasetId(key.value().1)))
}

/// Fills both tables, and the contents' rows, from the rows of files and headers.
pub(crate) fn fill(txn: &WriteTransaction) -> Result<(), IndexError> {
    for row in txn.open_table(tables::DATASETS)?.iter()? {
        let dataset: Dataset = codec::decode(row?.1.value())?;
        restack(txn, dataset.id, &[], &dataset.stack)?;
    }
    let mut blobs = txn.open_table(tables::BLOBS)?;
    let mut namings = txn.open_table(tables::NAMINGS)?;
    for row in txn.open_table(tables::FILES)?.iter()? {
        let (key, row) = row?;
        let (layer, name) = key.value();
        let FileRow::File(record) = FileRow::decode(row.value())? else { continue };
        if !name_in_row(&mut blobs, &record.digest, layer, name)? {
            namings.insert((record.digest.as_bytes(), layer, name), ())?;
        }
    }
    Ok(())
}

/// Puts a file into its content's own row; `false` if there is no room for it.
fn name_in_row(
    blobs: &mut Table<'_, &'static [u8; 32], &'static [u8]>,
    digest: &Digest,
    layer: u64,
    name: &str,
) -> Result<bool, IndexError> {
    let mut blob = match blobs.get(digest.as_bytes())? {
        Some(row) => NamedBlob::decode(row.value())?,
        // The check tells what is wrong with such a store; opening it is not the place.
        None => return Ok(true),
    };
    if !blob.enter(LayerId(layer), name) {
        return Ok(false);
    }
    blobs.insert(digest.as_bytes(), blob.encode()?.as_slice())?;
    Ok(true)
}

/// Makes the contents' rows those of the version that knew no namings. For tests.
#[cfg(any(test, feature = "simulation"))]
pub(crate) fn forget_all(txn: &WriteTransaction) -> Result<(), IndexError> {
    let mut blobs = txn.open_table(tables::BLOBS)?;
    let mut rows = Vec::new();
    for entry in blobs.iter()? {
        let (digest, row) = entry?;
        let blob = NamedBlob { namings: Vec::new(), ..NamedBlob::decode(row.value())? };
        rows.push((*digest.value(), blob.encode()?));
    }
    for (digest, row) in rows {
        blobs.insert(&digest, row.as_slice())?;
    }
    Ok(())
}
