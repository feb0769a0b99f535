//! The file as the store's: it is given with the last byte, and taken back after a refusal.
//!
//! Whatever refuses the change, the upload keeps its bytes (`pin`) until they are its own again.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::super::sync_names;
use super::{Record, Writer};
use crate::blobs::{
    BLOBS, PublishedFile, STAGING, byte_count, capped, large_path, remove_if_there,
};
use crate::disk::{DiskFile, OpenMode, expect_room};
use crate::error::ReadError;
use crate::limits::READ_CHUNK_BYTES;
use crate::model::Digest;
use crate::model::change::{BlobPlace, LargeFileId};
use crate::store::Store;

impl Writer {
    /// Gives the file, of which all is settled, the name of a large content, durably (I2). It goes back to
    /// its old name where it is not wanted, and after an error.
    pub(crate) fn publish(
        &mut self,
        file: LargeFileId,
        digest: Digest,
    ) -> io::Result<PublishedFile> {
        if self.is_given {
            self.regain()?;
        }
        self.state.append(&*self.disk, &Record::Publishing { file, digest })?;
        let own = self.id.data_path();
        // From here on it is the store's, until it is seen to have gone back: a rename that fails may have
        // been made.
        (self.is_given, self.pin) = (true, Some(self.blobs.pins().pin(digest)));
        let published = PublishedFile::renamed(&self.disk, &digest, file, own.clone());
        self.disk.rename(&own, &large_path(&digest, file))?;
        self.disk.sync_dir(BLOBS)?;
        // Its old name is not found again after a power cut: what has that name is a copy.
        self.disk.sync_dir(STAGING)?;
        Ok(published)
    }

    /// Makes the bytes the upload's own again, after a change that brought them to the store was
    /// refused when it was applied: the file is the store's by then, and others may rely on it, so it
    /// is copied. A refusal before that gives the file back, and costs nothing here.
    ///
    /// # Durability
    /// They are as durable as before when this returns.
    pub(crate) fn regain(&mut self) -> io::Result<()> {
        let own = self.id.data_path();
        let Some(given) = self.data.clone() else { return Ok(()) };
        if let Some(own) = self.own_file()? {
            if self.is_given {
                // Before another name is given, or the pin goes.
                sync_names(&*self.disk)?;
                // Not the one that is open: the name may be a copy's, made before something failed.
                (self.data, self.is_given, self.pin) = (Some(own), false, None);
            }
            return Ok(());
        }
        self.is_given = true;
        // Rather than to fill the disk with a part of it.
        expect_room(&*self.disk, self.terms.length)?;
        let path = self.id.copy_path();
        remove_if_there(&*self.disk, &path)?;
        let copied = self.copy(&*given, &path);
        if copied.is_err()
            && let Err(error) = remove_if_there(&*self.disk, &path)
        {
            tracing::warn!(id = %self.id, %error, "a part of a copy stays until the next start");
        }
        let copy = copied?;
        self.disk.rename(&path, &own)?;
        self.disk.sync_dir(STAGING)?;
        (self.data, self.is_given, self.pin) = (Some(copy), false, None);
        Ok(())
    }

    /// Copies the file, durably but for its name.
    fn copy(&self, given: &dyn DiskFile, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let copy = self.disk.open(path, OpenMode::CreateNew)?;
        let (mut buffer, mut place) = (vec![0; READ_CHUNK_BYTES], 0);
        while place < self.terms.length {
            let count = capped(self.terms.length - place, buffer.len());
            let piece = buffer.get_mut(..count).unwrap_or_default();
            given.read_exact_at(piece, place)?;
            expect_room(&*self.disk, byte_count(piece.len()))?;
            copy.write_all_at(&[IoSlice::new(piece)], place)?;
            place += byte_count(piece.len());
        }
        copy.sync_data()?;
        Ok(copy)
    }

    /// The file that has the upload's own name. One that cannot be looked at is no file that is gone.
    fn own_file(&self) -> io::Result<Option<Arc<dyn DiskFile>>> {
        match self.disk.open(&self.id.data_path(), OpenMode::Existing) {
            Ok(own) => Ok(Some(own)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Finds out what became of an upload whose file was about to become a large content. Tells
    /// whether the upload still is one.
    pub(super) fn take_back(
        &mut self,
        store: &Store,
        file: LargeFileId,
        digest: Digest,
    ) -> io::Result<bool> {
        let published = large_path(&digest, file);
        // Nobody removes the file while it is looked for what it is.
        self.pin = Some(self.blobs.pins().pin(digest));
        let is_here = self.own_file()?.is_some();
        match self.disk.open(&published, OpenMode::Existing) {
            // It was never renamed, or was renamed back; its own name tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_here => self.keep_own()?,
            // Or the change that brought it was refused, and the same content came in another file since:
            // the store has removed this one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(other) = self.file_of(store, digest)? else {
                    tracing::warn!(id = %self.id, "no bytes of an upload are left; it is given up");
                    return Ok(false);
                };
                (self.data, self.is_given) = (Some(other), true);
            }
            Err(error) => return Err(error),
            Ok(given) => match self.is_named(store, digest, file).map_err(io::Error::other)? {
                Some(true) => self.note_added(digest)?,
                // A copy was made, which has come whole: it gets this name last.
                Some(false) | None if is_here => self.keep_own()?,
                // The change that brought it was refused: it is the store's to remove, and is copied when
                // more comes, since a start waits for nothing so long.
                Some(false) => (self.data, self.is_given) = (Some(given), true),
                None => {
                    self.disk.rename(&published, &self.id.data_path())?;
                    self.keep_own()?;
                }
            },
        }
        Ok(true)
    }

    /// What has the upload's own name is its file, whatever becomes of others.
    fn keep_own(&mut self) -> io::Result<()> {
        sync_names(&*self.disk)?;
        self.pin = None;
        Ok(())
    }

    /// The file that the store has a content in, if it is in one that is not known as damaged.
    fn file_of(&self, store: &Store, digest: Digest) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let row = store.snapshot().and_then(|snapshot| snapshot.blob(&digest));
        let row = row.map_err(io::Error::other)?;
        let place = row.map(|row| row.place);
        let sound = place.filter(|place| store.quarantine.fault(&digest, *place).is_none());
        let Some(BlobPlace::Large(file)) = sound else { return Ok(None) };
        match self.disk.open(&large_path(&digest, file), OpenMode::Existing) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the dataset shows the upload's file with a content; `None` if the index does not have
    /// that content in this very file.
    fn is_named(
        &self,
        store: &Store,
        digest: Digest,
        file: LargeFileId,
    ) -> Result<Option<bool>, ReadError> {
        let snapshot = store.snapshot()?;
        let row = snapshot.blob(&digest)?;
        if row.is_none_or(|row| row.place != BlobPlace::Large(file)) {
            return Ok(None);
        }
        let (Some(dataset), Some(name)) =
            (snapshot.dataset(self.terms.dataset)?, self.terms.named())
        else {
            return Ok(Some(false));
        };
        let shown = snapshot.file(&dataset, name.as_str())?;
        Ok(Some(shown.is_some_and(|record| record.digest == digest)))
    }
}
