//! Reading: snapshots, contents, archives, spools. No read passes a mailbox.

use std::sync::Arc;

use super::Engine;
use crate::archive::contents::ContentReader;
use crate::archive::manifest::ManifestWriter;
use crate::archive::{Archive, ArchiveFormat};
use crate::blobs::Blob;
use crate::check::{self, Finding};
use crate::error::ReadError;
use crate::index::snapshot::Snapshot;
use crate::limits::INTAKE_BYTES_MAX;
use crate::model::{DatasetId, Digest};
use crate::spool::{Spool, SpoolUpload};
use crate::store::Store;

impl Engine {
    /// The latest committed state, for reading (I8).
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        Ok(self.inner.store.snapshot()?)
    }

    /// Opens a content for reading; `None` if the store does not hold it.
    ///
    /// # Errors
    /// The index or the content's file cannot be read.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>, ReadError> {
        self.inner.store.open_blob(digest)
    }

    /// A whole dataset as an archive of one committed state (I8); `None` if there is no such
    /// dataset. The archive keeps its contents for hours however the dataset changes.
    ///
    /// # Errors
    /// The index cannot be read, or too many archives are under way.
    pub async fn archive(
        &self,
        dataset: DatasetId,
        format: ArchiveFormat,
    ) -> Result<Option<Archive>, ReadError> {
        let permits = Arc::clone(&self.inner.archive_permits);
        let permit = permits.try_acquire_owned().map_err(|_full| ReadError::Busy)?;
        let store = Arc::clone(&self.inner.store);
        let started =
            tokio::task::spawn_blocking(move || start_archive(&store, dataset, format, permit));
        started.await.unwrap_or_else(|_panicked| {
            Err(ReadError::Gone { what: "the archive's builder".into() })
        })
    }

    /// A place for a response of any size: memory first, then a nameless file.
    pub fn spool(&self) -> Spool {
        Spool::new(Arc::clone(&self.inner.store.disk))
    }

    /// A place for an archive that a client sends.
    pub fn begin_spool_upload(&self) -> SpoolUpload {
        SpoolUpload::new(Arc::clone(&self.inner.store.disk), INTAKE_BYTES_MAX)
    }

    /// Recomputes the invariants from one committed state and tells what is wrong: counts against
    /// rows (I4), places against files (I2), and, if `deep`, every content against its digest
    /// (I9). Blocks, and reads everything.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn check(&self, deep: bool) -> Result<Vec<Finding>, ReadError> {
        check::check(&self.inner.store, deep)
    }
}

fn start_archive(
    store: &Arc<Store>,
    dataset: DatasetId,
    format: ArchiveFormat,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> Result<Option<Archive>, ReadError> {
    let (snapshot, lease) = store.leased_snapshot()?;
    let Some(header) = snapshot.dataset(dataset)? else {
        return Ok(None);
    };
    let spooling = |source| ReadError::Io { what: "a spool", source };
    let mut manifest = ManifestWriter::new(Arc::clone(&store.disk));
    for file in snapshot.files(&header)? {
        let (name, record) = file?;
        manifest.push(&name, &record).map_err(spooling)?;
    }
    let manifest = manifest.finish().map_err(spooling)?;
    drop(snapshot);
    let contents = Arc::clone(store);
    let open = move |digest: &Digest| -> Result<Box<dyn ContentReader>, ReadError> {
        let blob = contents.open_blob(digest)?;
        let gone = || ReadError::Gone { what: format!("the content {digest}") };
        Ok(Box::new(blob.ok_or_else(gone)?))
    };
    let archive =
        Archive::start(header, manifest, Box::new(open), format, Box::new((lease, permit)));
    archive.map(Some)
}

impl ContentReader for Blob {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        Self::read_exact_at(self, buffer, offset)
    }
}
