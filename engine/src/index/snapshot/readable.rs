//! Whether somebody may read a content somewhere, found from its digest alone.
//!
//! A content is readable to who may read a dataset that shows a file with it: a row that a
//! deletion hides does not count, nor does a content that is kept until it is reclaimed.

use std::collections::HashMap;
use std::sync::Arc;

use redb::ReadOnlyTable;

use super::Snapshot;
use crate::error::ReadError;
use crate::index::rows::NamedBlob;
use crate::index::{IndexError, tables};
use crate::limits::{NAMINGS_VISITED_MAX, SEARCHED_DATASETS_MAX};
use crate::model::{Dataset, DatasetId, Digest, FileRecord, LayerId};

type Namings = ReadOnlyTable<(&'static [u8; 32], u64, &'static str), ()>;
type Permission<'a> = Box<dyn FnMut(&Dataset) -> Result<bool, ReadError> + 'a>;
type LayerDatasets = ReadOnlyTable<(u64, u64), ()>;

/// Looks for contents in the datasets that somebody may read; remembers what it learned of
/// datasets, for the next content.
pub struct ContentSearch<'a> {
    snapshot: &'a Snapshot,
    blobs: ReadOnlyTable<&'static [u8; 32], &'static [u8]>,
    namings: Namings,
    layer_datasets: LayerDatasets,
    may_read: Permission<'a>,
    /// The datasets that were met; `None` for those that may not be read.
    datasets: HashMap<DatasetId, Option<Arc<Dataset>>>,
    /// What was found of contents: asking for one a hundred thousand times at once takes no longer
    /// than asking once, so that how long the answer takes does not tell of contents of others.
    found: HashMap<Digest, Option<FileRecord>>,
    /// Layer in which the last content was found: files that come together lie together.
    last: Option<LayerId>,
}

impl std::fmt::Debug for ContentSearch<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ContentSearch").finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Begins a search among the datasets, soft-deleted ones too, that `may_read` permits.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn search_contents<'a>(
        &'a self,
        may_read: impl FnMut(&Dataset) -> Result<bool, ReadError> + 'a,
    ) -> Result<ContentSearch<'a>, ReadError> {
        Ok(ContentSearch {
            snapshot: self,
            blobs: self.table(tables::BLOBS)?,
            namings: self.table(tables::NAMINGS)?,
            layer_datasets: self.table(tables::LAYER_DATASETS)?,
            may_read: Box::new(may_read),
            datasets: HashMap::new(),
            found: HashMap::new(),
            last: None,
        })
    }
}

impl ContentSearch<'_> {
    /// A file with this content that may be read. Gives up, as if there were none, after some
    /// thousands of files, layers and datasets that may not be read or do not show it.
    ///
    /// # Errors
    /// The index, or a right, cannot be read.
    pub fn find(&mut self, digest: &Digest) -> Result<Option<FileRecord>, ReadError> {
        if let Some(found) = self.found.get(digest) {
            return Ok(*found);
        }
        let found = self.look_for(digest)?;
        self.found.insert(*digest, found);
        Ok(found)
    }

    fn look_for(&mut self, digest: &Digest) -> Result<Option<FileRecord>, ReadError> {
        let row = self.blobs.get(digest.as_bytes()).map_err(IndexError::from)?;
        let Some(row) = row else { return Ok(None) };
        let blob = NamedBlob::decode(row.value()).map_err(IndexError::from)?;
        if blob.row.count == 0 {
            return Ok(None);
        }
        let mut visits_left = NAMINGS_VISITED_MAX;
        for naming in &blob.namings {
            let shown = self.shown(digest, naming.layer, &naming.name, &mut visits_left)?;
            if let Some(record) = shown {
                self.last = Some(naming.layer);
                return Ok(Some(record));
            }
        }
        if !blob.has_others() {
            return Ok(None);
        }
        if let Some(last) = self.last
            && let Some(record) = self.find_within(digest, last, &mut visits_left)?
        {
            return Ok(Some(record));
        }
        self.find_anywhere(digest, &mut visits_left)
    }

    fn find_anywhere(
        &mut self,
        digest: &Digest,
        visits_left: &mut usize,
    ) -> Result<Option<FileRecord>, ReadError> {
        let mut from = 0;
        while visit(visits_left) {
            let Some(layer) = self.next_layer(digest, from)? else { return Ok(None) };
            if let Some(record) = self.find_within(digest, layer, visits_left)? {
                self.last = Some(layer);
                return Ok(Some(record));
            }
            from = layer.0.saturating_add(1);
        }
        Ok(None)
    }

    /// The first layer from this one on that has a file with the content.
    fn next_layer(&self, digest: &Digest, from: u64) -> Result<Option<LayerId>, ReadError> {
        let rest = self.namings.range((digest.as_bytes(), from, "")..).map_err(IndexError::from)?;
        let Some(next) = rest.into_iter().next() else { return Ok(None) };
        let (key, _) = next.map_err(IndexError::from)?;
        let (found, layer, _) = key.value();
        Ok((found == digest.as_bytes()).then_some(LayerId(layer)))
    }

    /// A file of a layer with this content that may be read.
    fn find_within(
        &mut self,
        digest: &Digest,
        layer: LayerId,
        visits_left: &mut usize,
    ) -> Result<Option<FileRecord>, ReadError> {
        if !self.has_reader(layer, visits_left)? {
            return Ok(None);
        }
        let entries = self.namings.range_owned((digest.as_bytes(), layer.0, "")..);
        for entry in entries.map_err(IndexError::from)? {
            let (key, _) = entry.map_err(IndexError::from)?;
            let (found, of, name) = key.value();
            if (found, of) != (digest.as_bytes(), layer.0) || !visit(visits_left) {
                break;
            }
            if let Some(record) = self.shown(digest, layer, name, visits_left)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The file of this name and layer, if a dataset that may be read shows it with this content.
    fn shown(
        &mut self,
        digest: &Digest,
        layer: LayerId,
        name: &str,
        visits_left: &mut usize,
    ) -> Result<Option<FileRecord>, ReadError> {
        for id in self.datasets_of(layer)? {
            if !visit(visits_left) {
                break;
            }
            let Some(dataset) = self.readable(id?)? else { continue };
            let file = self.snapshot.file(&dataset, name)?;
            if let Some(record) = file.filter(|record| record.digest == *digest) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Whether any dataset with this layer may be read.
    fn has_reader(&mut self, layer: LayerId, visits_left: &mut usize) -> Result<bool, ReadError> {
        for id in self.datasets_of(layer)? {
            if !visit(visits_left) {
                break;
            }
            if self.readable(id?)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The datasets with this layer in their stacks.
    fn datasets_of(
        &self,
        layer: LayerId,
    ) -> Result<impl Iterator<Item = Result<DatasetId, ReadError>> + use<>, ReadError> {
        let range = (layer.0, 0)..=(layer.0, u64::MAX);
        let entries = self.layer_datasets.range_owned(range).map_err(IndexError::from)?;
        Ok(entries.map(|entry| {
            let (key, _) = entry.map_err(IndexError::from)?;
            Ok(DatasetId(key.value().1))
        }))
    }

    fn readable(&mut self, id: DatasetId) -> Result<Option<Arc<Dataset>>, ReadError> {
        if let Some(known) = self.datasets.get(&id) {
            return Ok(known.clone());
        }
        if self.datasets.len() >= SEARCHED_DATASETS_MAX {
            self.datasets.clear();
        }
        let dataset = match self.snapshot.dataset(id)? {
            Some(dataset) if (self.may_read)(&dataset)? => {
                Some(Arc::new(Arc::unwrap_or_clone(dataset).without_texts()))
            }
            Some(_) | None => None,
        };
        self.datasets.insert(id, dataset.clone());
        Ok(dataset)
    }
}

/// Takes one of the visits that are left, if there is one.
fn visit(left: &mut usize) -> bool {
    let is_left = *left > 0;
    *left = left.saturating_sub(1);
    is_left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::rig::{attach, run};
    use crate::model::DatasetPatch;

    #[test]
    fn a_search_remembers_no_texts_of_datasets() {
        run(async |engine, dataset| {
            attach(engine, dataset, "one", ["a".to_owned()].into_iter()).await;
            let long = Some("x".repeat(1000));
            let patch =
                DatasetPatch { description: long.clone(), tags: long, ..DatasetPatch::default() };
            engine.update_dataset(dataset, patch).await.unwrap();
            let snapshot = engine.snapshot().unwrap();
            let mut search = snapshot.search_contents(|it| Ok(it.text_bytes() == 2000)).unwrap();
            assert!(search.find(&Digest::of(b"one")).unwrap().is_some());
            let kept: Vec<usize> =
                search.datasets.values().flatten().map(|it| it.text_bytes()).collect();
            assert_eq!(kept, [0]);
        });
    }
}
