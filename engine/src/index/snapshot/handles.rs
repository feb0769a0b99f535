//! A dataset's file with a content, found from the content's digest.

use super::Snapshot;
use crate::error::ReadError;
use crate::index::rows::NamedBlob;
use crate::index::{IndexError, tables};
use crate::model::{Dataset, Digest, FileRecord, LayerId};

impl Snapshot {
    /// The first file, in order of name, that holds this content.
    ///
    /// What that takes depends on the dataset's layers and on its files with this very content: not on how many
    /// others it has, nor on whether the content is anywhere else in the store, of which nothing is to be told.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn file_by_digest(
        &self,
        dataset: &Dataset,
        digest: &Digest,
    ) -> Result<Option<(String, FileRecord)>, ReadError> {
        let mut first = First { snapshot: self, dataset, digest, found: None };
        let blobs = self.table(tables::BLOBS)?;
        let row = blobs.get(digest.as_bytes()).map_err(IndexError::from)?;
        let row = row.map(|row| NamedBlob::decode(row.value())).transpose();
        let layers = || dataset.stack.iter().map(|entry| entry.layer);
        // A few files stand in the content's own row.
        for naming in row.map_err(IndexError::from)?.iter().flat_map(|row| &row.namings) {
            if layers().any(|layer| layer == naming.layer) {
                first.look_at(&naming.name)?;
            }
        }
        for layer in layers() {
            self.look_within(layer, &mut first)?;
        }
        Ok(first.found)
    }

    /// The others that a layer has, in order of name, up to the first that the dataset shows.
    fn look_within(&self, layer: LayerId, first: &mut First<'_>) -> Result<(), ReadError> {
        let namings = self.table(tables::NAMINGS)?;
        let digest = first.digest.as_bytes();
        let entries = namings.range((digest, layer.0, "")..).map_err(IndexError::from)?;
        for entry in entries {
            let (key, ()) = entry.map(|(key, _)| (key, ())).map_err(IndexError::from)?;
            let (found, of, name) = key.value();
            if (found, of) != (digest, layer.0) || first.look_at(name)? {
                break;
            }
        }
        Ok(())
    }
}

/// The first file so far.
struct First<'a> {
    snapshot: &'a Snapshot,
    dataset: &'a Dataset,
    digest: &'a Digest,
    found: Option<(String, FileRecord)>,
}

impl First<'_> {
    /// Looks at a name that some layer gives to the content; whether none behind it can be the first.
    fn look_at(&mut self, name: &str) -> Result<bool, ReadError> {
        if self.found.as_ref().is_some_and(|(first, _)| first.as_str() <= name) {
            return Ok(true);
        }
        let shown = self.snapshot.file(self.dataset, name)?;
        let Some(record) = shown.filter(|record| record.digest == *self.digest) else {
            return Ok(false);
        };
        self.found = Some((name.to_owned(), record));
        Ok(true)
    }
}
