//! Contents of files: taken in, kept from removal, published, read, swept.
//!
//! An [`Upload`] becomes a [`StagedBlob`], whose bytes are in memory (the journal will carry
//! them), in a published file of their own (I2), or known already and dropped. A [`Pin`] keeps a
//! content's row from being removed meanwhile (I3). [`Blob`] reads what the index names. Nothing
//! here knows the index: whether a content is known or named is asked through a closure.
//!
//! Two directories belong to this module. `staging` holds what is on its way and means nothing
//! after a restart, but for the uploads that go on (`resumable.rs`), whose files the sweep leaves; `blobs` holds one file for each large content, named by digest, start number
//! of the process and a running number.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::counters::Counters;
use crate::disk::{Disk, DiskFile, OpenMode, is_full};
use crate::error::{MutationError, ReadError};
use crate::limits::{
    SPOOL_KEPT_BYTES_MAX, UPLOAD_LATE_AFTER, UPLOAD_MEMORY_BYTES, UPLOAD_WAIT_MAX,
    UPLOADS_WAITING_MAX,
};
use crate::model::Digest;
use crate::model::change::LargeFileId;

mod budget;

mod buffer;

mod compressible;

mod from_reader;

mod large;

mod pin;

mod read;

mod read_buffer;

mod spares;

mod stage;

mod upload;

#[cfg(test)]
pub(crate) mod memory_disk;

#[cfg(test)]
pub(crate) mod test_runtime;

pub(crate) use budget::Share;
pub(crate) use buffer::{BUFFER_BYTES_MAX, CountedBuffer, write_run};
pub(crate) use compressible::is_compressible;
pub(crate) use from_reader::StageError;
pub(crate) use large::{Hashes, PublishedFile, StagingFile, blob_path as large_path};
pub(crate) use pin::{Pin, Pins};
pub use read::{Blob, BlobStream};
pub use stage::StagedBlob;
pub(crate) use stage::StagedBody;
pub(crate) use upload::Upload;

use budget::{Budget, Patience};
use spares::Spares;

/// Directory of what is on its way.
pub(crate) const STAGING: &str = "staging";

/// Directory of the large contents.
pub(crate) const BLOBS: &str = "blobs";

/// How the names of spools' files in [`STAGING`] begin; each lives for an instant only.
pub(crate) const SPOOL_PREFIX: &str = "spool-";

/// The contents' side of the store: one of it in a process.
#[derive(Debug)]
pub(crate) struct Blobs {
    disk: Arc<dyn Disk>,
    pins: Pins,
    /// Bounds the memory of all uploads in flight.
    budget: Budget,
    /// Bounds the memory of archives that have come, or come; nobody waits for it.
    archive_budget: Budget,
    spares: Arc<Spares>,
    counters: Arc<Counters>,
    /// Number of this process's start; larger than that of every start before (I10).
    start: u64,
    /// Number of the next staging file; unique within the start.
    next_number: AtomicU64,
    /// Whether large files stay that nothing names.
    keeps_large: AtomicBool,
}

impl Blobs {
    /// Makes the contents' side over a disk that [`Blobs::prepare`] has seen.
    pub(crate) fn new(disk: Arc<dyn Disk>, start: u64) -> Arc<Self> {
        Self::counting(disk, start, Arc::default())
    }

    /// As [`Blobs::new`], where others count with it.
    pub(crate) fn counting(disk: Arc<dyn Disk>, start: u64, counters: Arc<Counters>) -> Arc<Self> {
        let patience = Patience {
            waiting_max: UPLOADS_WAITING_MAX,
            late_after: UPLOAD_LATE_AFTER,
            wait_max: UPLOAD_WAIT_MAX,
        };
        Self::with(disk, start, Budget::new(UPLOAD_MEMORY_BYTES, patience), counters)
    }

    #[cfg(test)]
    fn with_budget(disk: Arc<dyn Disk>, start: u64, budget: Budget) -> Arc<Self> {
        Self::with(disk, start, budget, Arc::default())
    }

    fn with(disk: Arc<dyn Disk>, start: u64, budget: Budget, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            disk,
            pins: Pins::new(),
            budget,
            archive_budget: Budget::new(SPOOL_KEPT_BYTES_MAX, Patience::NONE),
            spares: Arc::default(),
            counters,
            start,
            next_number: AtomicU64::new(0),
            keeps_large: AtomicBool::new(false),
        })
    }

    /// Makes the directories, durably.
    pub(crate) fn prepare(disk: &dyn Disk) -> io::Result<()> {
        disk.create_dir(BLOBS)?;
        disk.create_dir(STAGING)?;
        disk.sync_dir("")
    }

    /// The pins of all contents.
    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// What is counted here and wherever else the store works.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Uploads that wait for memory, and uploads that did so in vain.
    pub(crate) fn waiting(&self) -> (usize, u64) {
        self.budget.waiting()
    }

    /// Bytes of upload memory that are taken, and all of it.
    pub(crate) fn memory(&self) -> (u64, u64) {
        self.budget.used()
    }

    /// Memory of the budget for what can do with less, so it has some only where there is plenty.
    pub(crate) fn try_memory(&self, bytes: usize) -> Option<Share> {
        self.budget.try_acquire_of_plenty(bytes)
    }

    /// Memory for an archive on its way in, if there is some left.
    pub(crate) fn try_archive_memory(&self, bytes: usize) -> Option<Share> {
        self.archive_budget.try_acquire(bytes)
    }

    /// Bytes of the memory for archives that are taken.
    #[cfg(test)]
    pub(crate) fn archive_memory(&self) -> u64 {
        self.archive_budget.used().0
    }

    /// Opens the file of a large content.
    pub(crate) fn open_large(
        &self,
        digest: &Digest,
        file: LargeFileId,
    ) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&large::blob_path(digest, file), OpenMode::Existing)
    }

    /// Keeps all large files of earlier starts, whether anything names them or not, for as long as this
    /// process lives: somebody whom nobody can ask may have one.
    pub(crate) fn keep_large(&self) {
        self.keeps_large.store(true, Ordering::Relaxed);
    }

    /// Whether a large file that nothing names is to stay.
    pub(crate) fn is_kept(&self, file: LargeFileId) -> bool {
        file.start < self.start && self.keeps_large.load(Ordering::Relaxed)
    }

    /// Removes the file of a large content; readers that have it open keep the bytes.
    ///
    /// # Durability
    /// None: a name that comes back after a crash is named by no row, and the sweep takes it.
    pub(crate) fn remove_large(&self, digest: &Digest, file: LargeFileId) -> io::Result<()> {
        remove_if_there(&*self.disk, &large::blob_path(digest, file))
    }

    /// Removes what earlier starts left: everything staged, and the large files that `referenced`
    /// denies. Returns how many files went.
    ///
    /// Runs beside live writers and readers: files of this start are never touched. `referenced`
    /// must say yes for a file that no row names any longer but that is still to be kept for a
    /// reader (I3); its removal is the matter of whoever keeps it. Files whose names are not ours
    /// stay, and those that are kept ([`Blobs::keep_large`]).
    pub(crate) fn sweep(
        &self,
        referenced: &dyn Fn(&Digest, LargeFileId) -> Result<bool, ReadError>,
    ) -> Result<usize, ReadError> {
        let mut removed = 0;
        for name in self.list(STAGING)? {
            let is_of_this_start =
                large::parse_staging_name(&name).map(|id| id.start == self.start);
            // A spool of this start that loses its name a moment early does not miss it.
            // Names that are not ours stay, those of uploads that go on among them.
            if is_of_this_start == Some(false) || name.starts_with(SPOOL_PREFIX) {
                self.sweep_file(&format!("{STAGING}/{name}"))?;
                removed += 1;
            }
        }
        for name in self.list(BLOBS)? {
            let Some((digest, id)) = large::parse_blob_name(&name) else {
                tracing::warn!(name, "a file among the large contents is not ours; it stays");
                continue;
            };
            if id.start < self.start && !self.is_kept(id) && !referenced(&digest, id)? {
                self.sweep_file(&format!("{BLOBS}/{name}"))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The content that a name among the large contents stands for, if its file is of an earlier
    /// start or `all` count; an error if the name is not ours.
    pub(crate) fn earlier_large_file(
        &self,
        name: &str,
        all: bool,
    ) -> Result<Option<(Digest, LargeFileId)>, ()> {
        let (digest, id) = large::parse_blob_name(name).ok_or(())?;
        Ok((all || id.start < self.start).then_some((digest, id)))
    }

    fn list(&self, directory: &'static str) -> Result<Vec<String>, ReadError> {
        let listed = self.disk.list(directory);
        listed.map_err(|source| ReadError::Io { what: directory, source })
    }

    fn sweep_file(&self, path: &str) -> Result<(), ReadError> {
        remove_if_there(&*self.disk, path)
            .map_err(|source| ReadError::Io { what: "a leftover file, to remove it", source })
    }

    /// A name for a large file that no other has.
    pub(crate) fn next_id(&self) -> LargeFileId {
        LargeFileId { start: self.start, number: self.next_number.fetch_add(1, Ordering::Relaxed) }
    }
}

/// Removes a file's name; that it is gone already is what the caller wants.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &str) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// What a caller is told when bytes on their way in could not be kept.
pub(crate) fn staging_error(error: io::Error) -> MutationError {
    if is_full(&error) {
        MutationError::OutOfSpace
    } else {
        MutationError::Staging { cause: Arc::new(error) }
    }
}

/// What a caller is told who goes on with an upload after an error or a dropped future.
pub(crate) fn abandoned() -> MutationError {
    staging_error(io::Error::other("the upload was given up before"))
}

/// Runs a step of an upload on the blocking pool.
pub(crate) async fn on_blocking_pool<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, MutationError> + Send + 'static,
) -> Result<T, MutationError> {
    let outcome = tokio::task::spawn_blocking(step).await;
    outcome.map_err(|error| staging_error(io::Error::other(error)))?
}

/// A length in memory as a length on disk.
pub(crate) fn byte_count(length: usize) -> u64 {
    // Saturates where `usize` is wider than 64 bits, which no platform's is.
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A length on disk as a length in memory, at most `limit`.
pub(crate) fn capped(length: u64, limit: usize) -> usize {
    usize::try_from(length).map_or(limit, |length| length.min(limit))
}

#[cfg(test)]
mod tests {
    use super::memory_disk::MemoryDisk;
    use super::*;

    fn put(disk: &MemoryDisk, path: &str) {
        disk.open(path, OpenMode::CreateNew).unwrap();
    }

    fn id(start: u64, number: u64) -> LargeFileId {
        LargeFileId { start, number }
    }

    #[test]
    fn sweep_takes_what_earlier_starts_left_and_nothing_else() {
        let disk = MemoryDisk::prepared();
        let (named, dead) = (Digest::of(b"named"), Digest::of(b"dead"));
        let kept = [
            large::blob_path(&named, id(4, 1)),
            large::blob_path(&dead, id(5, 0)),
            large::staging_path(id(5, 1)),
            "blobs/notes.txt".to_owned(),
            "staging/notes.txt".to_owned(),
        ];
        let leftovers = [
            large::blob_path(&named, id(4, 2)),
            large::blob_path(&dead, id(4, 1)),
            large::staging_path(id(4, 7)),
            "staging/spool-12".to_owned(),
        ];
        for path in kept.iter().chain(&leftovers) {
            put(&disk, path);
        }
        let blobs = Blobs::new(disk.clone(), 5);

        let removed = blobs.sweep(&|digest, file| Ok(*digest == named && file == id(4, 1)));

        assert_eq!(removed.unwrap(), leftovers.len());
        let mut expected = kept.to_vec();
        expected.sort();
        assert_eq!(disk.paths(), expected);
    }

    #[test]
    fn sweep_that_cannot_ask_removes_no_large_file() {
        let disk = MemoryDisk::prepared();
        put(&disk, &large::blob_path(&Digest::of(b"x"), id(1, 1)));
        let blobs = Blobs::new(disk.clone(), 2);
        assert!(blobs.sweep(&|_, _| Err(ReadError::Busy)).is_err());
        assert_eq!(disk.paths().len(), 1);
    }

    #[test]
    fn sweep_that_keeps_large_files_removes_what_is_staged_only() {
        let disk = MemoryDisk::prepared();
        let large = large::blob_path(&Digest::of(b"x"), id(1, 1));
        for path in [&large, &large::staging_path(id(1, 2))] {
            put(&disk, path);
        }
        let blobs = Blobs::new(disk.clone(), 2);
        blobs.keep_large();
        assert!(blobs.is_kept(id(1, 1)) && !blobs.is_kept(id(2, 1)));
        assert_eq!(blobs.sweep(&|_, _| Ok(false)).unwrap(), 1);
        assert_eq!(disk.paths(), [large]);
    }

    #[test]
    fn removing_a_large_file_twice_is_no_error() {
        let disk = MemoryDisk::prepared();
        let digest = Digest::of(b"x");
        put(&disk, &large::blob_path(&digest, id(1, 1)));
        let blobs = Blobs::new(disk.clone(), 1);
        blobs.open_large(&digest, id(1, 1)).unwrap();
        blobs.remove_large(&digest, id(1, 1)).unwrap();
        blobs.remove_large(&digest, id(1, 1)).unwrap();
        assert!(blobs.open_large(&digest, id(1, 1)).is_err());
    }
}
