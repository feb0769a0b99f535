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
    /// Hidden ones count, and there may be a million: `go_on` is asked before each whether anybody still wants
    /// it.
    ///
    /// # Errors
    /// The index cannot be read, or that of `go_on`.
    pub fn file_by_digest<E: From<ReadError>>(
        &self,
        dataset: &Dataset,
        digest: &Digest,
        go_on: impl Fn() -> Result<(), E>,
    ) -> Result<Option<(String, FileRecord)>, E> {
        let mut first = First { snapshot: self, dataset, digest, found: None };
        let blobs = self.table(tables::BLOBS).map_err(ReadError::from)?;
        let row =
            blobs.get(digest.as_bytes()).map_err(IndexError::from).map_err(ReadError::from)?;
        let row = row.map(|row| NamedBlob::decode(row.value())).transpose();
        let layers = || dataset.stack.iter().map(|entry| entry.layer);
        // A few files stand in the content's own row.
        let row = row.map_err(IndexError::from).map_err(ReadError::from)?;
        for naming in row.iter().flat_map(|row| &row.namings) {
            if layers().any(|layer| layer == naming.layer) {
                first.look_at(&naming.name)?;
            }
        }
        for layer in layers() {
            self.look_within(layer, &mut first, &go_on)?;
        }
        Ok(first.found)
    }

    /// Whether more files name a content, hidden ones too, than stand in its own row, so that finding one may
    /// take long.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn has_many_files(&self, digest: &Digest) -> Result<bool, ReadError> {
        let blobs = self.table(tables::BLOBS)?;
        let row = blobs.get(digest.as_bytes()).map_err(IndexError::from)?;
        let row = row.map(|row| NamedBlob::decode(row.value())).transpose();
        Ok(row.map_err(IndexError::from)?.is_some_and(|row| row.has_others()))
    }

    /// The others that a layer has, in order of name, up to the first that the dataset shows.
    fn look_within<E: From<ReadError>>(
        &self,
        layer: LayerId,
        first: &mut First<'_>,
        go_on: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| ReadError::from(IndexError::from(error));
        let namings = self.table(tables::NAMINGS).map_err(ReadError::from)?;
        let digest = first.digest.as_bytes();
        for entry in namings.range((digest, layer.0, "")..).map_err(failed)? {
            go_on()?;
            let (key, ()) = entry.map(|(key, _)| (key, ())).map_err(failed)?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::SimulatedDisk;
    use crate::engine::rig::dataset;
    use crate::error::MutationError;
    use crate::{Engine, EngineOptions};

    #[tokio::test]
    async fn names_are_looked_at_while_somebody_waits() {
        let options = EngineOptions { arbiters: 1, ..EngineOptions::default() };
        let engine = Engine::open_on(Arc::new(SimulatedDisk::new()), &options).unwrap();
        let id = dataset(&engine).await;
        // More than stand in the content's own row.
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let staged = engine.begin_upload(Some(0)).await.unwrap().finish().await.unwrap();
            engine.add_file(id, name, staged).await.unwrap();
        }
        let snapshot = engine.snapshot().unwrap();
        let dataset = snapshot.dataset(id).unwrap().unwrap();
        let digest = Digest::of(b"");
        assert!(snapshot.has_many_files(&digest).unwrap());
        assert!(!snapshot.has_many_files(&Digest::of(b"of nobody")).unwrap());
        let found = snapshot.file_by_digest(&dataset, &digest, || Ok::<_, ReadError>(()));
        assert_eq!(found.unwrap().unwrap().0, "a");
        let ended = snapshot.file_by_digest(&dataset, &digest, || Err(MutationError::Panicked));
        assert!(matches!(ended, Err(MutationError::Panicked)));
        engine.shutdown().await;
    }
}
