//! Reading: snapshots, contents, archives, spools. No read passes a mailbox.

use std::sync::Arc;

use super::Engine;
use super::housekeeping::write_touches;
use crate::archive::contents::ContentReader;
use crate::archive::kept::KeptManifests;
use crate::archive::manifest::{Manifest, ManifestWriter};
use crate::archive::{ArchiveFormat, PreparedArchive, Workshop};
use crate::backup::{self, Backup};
use crate::blobs::Blob;
use crate::error::ReadError;
use crate::index::snapshot::Snapshot;
use crate::limits::INTAKE_BYTES_MAX;
use crate::model::{Dataset, DatasetId, Digest};
use crate::spool::{Spool, SpoolUpload};
use crate::store::Store;

impl Engine {
    /// A committed state that holds all that was answered before, for reading (I1, I8). Blocks while
    /// the rows of files that were just added are written: tasks await [`Engine::caught_up`] and take
    /// [`Engine::snapshot_as_applied`].
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        Ok(self.inner.store.snapshot()?)
    }

    /// The latest committed state. New files may lack in it that were answered since
    /// [`Engine::caught_up`] was awaited, and contents that heal damaged ones with them; whatever else
    /// was answered is there.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn snapshot_as_applied(&self) -> Result<Snapshot, ReadError> {
        Ok(self.inner.store.snapshot_as_applied()?)
    }

    /// Whether nothing was answered that [`Engine::snapshot_as_applied`] does not show.
    pub fn is_caught_up(&self) -> bool {
        self.inner.store.visibility.is_complete()
    }

    /// Whether contents are known to be damaged: one that was brought once more may lack in
    /// [`Engine::snapshot_as_applied`], as new files may.
    pub fn has_damage(&self) -> bool {
        self.inner.store.quarantine.count() > 0
    }

    /// Waits until [`Engine::snapshot_as_applied`] shows all that was answered before this was asked:
    /// for as long as the rows of a few files take to be written, longer where a checkpoint is made.
    pub async fn caught_up(&self) {
        self.inner.store.visibility.complete().await;
    }

    /// Opens a content for reading; `None` if the store does not hold it. Blocks as
    /// [`Engine::snapshot`] does.
    ///
    /// # Errors
    /// The index or the content's file cannot be read.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>, ReadError> {
        self.inner.store.visibility.complete_blocking();
        self.inner.store.open_blob(digest)
    }

    /// Opens the content of a file that a snapshot shows; `None` if the store holds it no longer. Where it
    /// has moved since, or is damaged, the latest committed state says where it is.
    ///
    /// # Errors
    /// The index or the content's file cannot be read.
    pub fn open_blob_in(
        &self,
        snapshot: &Snapshot,
        digest: &Digest,
    ) -> Result<Option<Blob>, ReadError> {
        self.inner.store.open_blob_in(snapshot, digest)
    }

    /// A whole dataset as an archive of one committed state (I8), ready to be sent; `None` if
    /// there is no such dataset. Its contents are kept for hours however the dataset changes.
    ///
    /// # Errors
    /// The index cannot be read, or too many lists of files are being made.
    pub async fn prepare_archive(
        &self,
        dataset: DatasetId,
        format: ArchiveFormat,
    ) -> Result<Option<PreparedArchive>, ReadError> {
        let turn = self.inner.manifest_turns.take().await.ok_or(ReadError::Busy)?;
        let store = Arc::clone(&self.inner.store);
        let manifests = Arc::clone(&self.inner.manifests);
        let workshop = self.inner.workshop.clone();
        on_blocking_pool(move || {
            let _turn = turn;
            prepare(&store, &manifests, dataset, format, workshop)
        })
        .await
    }

    /// One committed state of the whole store for a backup (I8), with a lease on its contents, and
    /// `files` of the data directory that the engine does not know. Waits until the rows are
    /// copied.
    ///
    /// # Errors
    /// The index cannot be read, or there is no space for the copy of its rows.
    pub async fn begin_backup(&self, files: Vec<(String, Vec<u8>)>) -> Result<Backup, ReadError> {
        let inner = Arc::clone(&self.inner);
        on_blocking_pool(move || {
            if inner.committer.refusal().is_none() {
                write_touches(&inner.store, &inner.committer);
            }
            backup::begin(&inner.store, &inner.key, &files)
        })
        .await
    }

    /// A place for a response of any size: memory first, then a nameless file.
    pub fn spool(&self) -> Spool {
        Spool::for_answer(Arc::clone(&self.inner.store.disk))
    }

    /// A place for an archive that a client sends.
    pub fn begin_spool_upload(&self) -> SpoolUpload {
        let Store { disk, blobs, .. } = &*self.inner.store;
        SpoolUpload::new(Arc::clone(disk), Arc::clone(blobs), INTAKE_BYTES_MAX)
    }
}

async fn on_blocking_pool<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ReadError::Panicked))
}

fn prepare(
    store: &Arc<Store>,
    manifests: &KeptManifests,
    dataset: DatasetId,
    format: ArchiveFormat,
    workshop: Workshop,
) -> Result<Option<PreparedArchive>, ReadError> {
    let (snapshot, lease) = store.leased_snapshot()?;
    let Some(header) = snapshot.dataset(dataset)? else {
        return Ok(None);
    };
    let manifest = if let Some(manifest) = manifests.get(&header) {
        manifest
    } else {
        let manifest = Arc::new(manifest(store, &snapshot, &header)?);
        manifests.keep(&header, &manifest);
        manifest
    };
    drop(snapshot);
    let contents = Arc::clone(store);
    let open = move |digest: &Digest| -> Result<Box<dyn ContentReader>, ReadError> {
        let blob = contents.open_blob(digest)?;
        let gone = || ReadError::Gone { what: format!("the content {digest}") };
        Ok(Box::new(blob.ok_or_else(gone)?))
    };
    let (open, lease) = (Box::new(open), Box::new(lease));
    let header = Arc::unwrap_or_clone(header);
    Ok(Some(PreparedArchive::new(header, format, manifest, open, lease, workshop)))
}

fn manifest(store: &Store, snapshot: &Snapshot, dataset: &Dataset) -> Result<Manifest, ReadError> {
    let spooling = |source| ReadError::Io { what: "a spool", source };
    let mut manifest = ManifestWriter::new(Arc::clone(&store.disk));
    for file in snapshot.files(dataset)? {
        let (name, record) = file?;
        manifest.push(&name, &record).map_err(spooling)?;
    }
    manifest.finish().map_err(spooling)
}

impl ContentReader for Blob {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        Self::read_exact_at(self, buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_breaks_is_told_as_such() {
        let broken = on_blocking_pool::<()>(|| panic!("as this test wants it")).await;
        assert!(matches!(broken, Err(ReadError::Panicked)));
    }
}
