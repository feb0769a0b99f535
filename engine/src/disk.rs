//! The one port of the engine: the disk under journal, blobs and index.
//!
//! Paths are relative to the data directory, with `/` between parts. With [`RealDisk`] they are
//! files; with `SimulatedDisk` (feature `simulation`) the whole engine runs in memory and stops
//! at any operation. redb reaches the same port through an adapter in `index`.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

mod direct;

mod freeing;

mod promised;

mod real;

#[cfg(any(test, feature = "simulation"))]
mod simulated;

pub(crate) use promised::{PromisedDisk, Promises};
pub use real::RealDisk;
#[cfg(any(test, feature = "simulation"))]
pub use simulated::{At, Fault, Reached, SimulatedDisk, Stall};

/// How [`Disk::open`] treats a missing or present file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must be there.
    Existing,
    /// The file must be there, and is not written; it may lie on a file system that is read-only.
    ReadOnly,
    /// The file must not be there, and is made, empty.
    CreateNew,
}

/// Bytes of which offsets, lengths and addresses in memory are multiples where a file is written past
/// the page cache: a page, and so of every disk's block.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Whether a call failed for want of something that the process or the machine has too little of at the
/// moment, which tells nothing of what it was made on: open files, or memory.
pub(crate) fn is_for_want_of_means(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Space of the file system that holds the data directory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Space {
    pub total: u64,
    pub available: u64,
}

/// A data directory. Every call's errors are the disk's own; nothing may be assumed about what a
/// failed call did.
///
/// A name that was made, renamed or removed is durable only after [`Disk::sync_dir`] of the
/// directory that holds it; the top directory is `""`.
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Disk: Debug + Send + Sync + 'static {
    /// Opens a file for reading and writing.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Names of the files in a directory, in no order.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// Makes a directory if it is not there.
    fn create_dir(&self, directory: &str) -> io::Result<()>;

    /// Renames a file within the data directory; what was there goes.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file's name; open files keep the bytes. Of others they may be free a little later.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Whether bytes of removed files are on their way to be free.
    fn is_freeing(&self) -> bool {
        false
    }

    /// How many files may be removed before their removal waits until the bytes of others are free.
    fn freeing_room(&self) -> usize {
        usize::MAX
    }

    /// Makes the names in a directory durable.
    fn sync_dir(&self, directory: &str) -> io::Result<()>;

    /// Space of the file system.
    fn space(&self) -> io::Result<Space>;

    /// Notes that something was refused for want of space; who watches over the store is told.
    fn note_refusal(&self) {}

    /// Takes the lock of the data directory until the result is dropped (I10).
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process holds it.
    fn lock(&self) -> io::Result<Box<dyn Debug + Send + Sync>>;

    /// The data directory as a person would name it, for messages.
    fn display(&self) -> String;
}

/// Bytes of a file system that are left for the index, for a checkpoint and for what frees space.
///
/// Half of it takes the live half of a segment, see `segment_bytes` of the engine's options.
pub(crate) fn reserve_bytes(space: Space) -> u64 {
    (space.total / 20).clamp(4 << 20, 256 << 20)
}

/// Whether a write found no space: none on the file system, or none that its quotas leave to us. Those do
/// not show in [`Disk::space`], so that such a write is the first to tell.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether so many bytes may be written beside the journal: uploads on their way and their spools stop
/// at twice the reserve, so that it is there for the journal and the index (I7).
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] if not, and the disk's own.
pub(crate) fn expect_room(disk: &dyn Disk, bytes: u64) -> io::Result<()> {
    expect_left(disk, bytes, |reserve| reserve * 2)
}

/// Whether so many bytes may be written for an answer, which go when it is sent: half of the reserve
/// stays, so that reads go on where nothing may grow (I7).
///
/// # Errors
/// As for [`expect_room`].
pub(crate) fn expect_room_to_answer(disk: &dyn Disk, bytes: u64) -> io::Result<()> {
    expect_left(disk, bytes, |reserve| reserve / 2)
}

/// Whether so much is left beside these bytes, by the reserve.
fn expect_left(disk: &dyn Disk, bytes: u64, left: fn(u64) -> u64) -> io::Result<()> {
    let space = disk.space()?;
    if space.available < left(reserve_bytes(space)).saturating_add(bytes) {
        disk.note_refusal();
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// An open file. All calls may be made from many threads at once; their errors are the disk's own.
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait DiskFile: Debug + Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills the buffer from `offset`; [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// As [`DiskFile::read_exact_at`], but `false` instead of waiting for the disk.
    fn read_exact_at_nowait(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool>;

    /// Writes all pieces, one after the other, from `offset`. Not durable before
    /// [`DiskFile::sync_data`].
    fn write_all_at(&self, pieces: &[io::IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// As [`DiskFile::write_all_at`], of whole pages of 4 KiB that are synced soon, to a file that
    /// still has the name it was opened by. May wait for another file's, unless all pieces lie at
    /// pages' beginnings in memory.
    fn write_pages_at(&self, pieces: &[io::IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write_all_at(pieces, offset)
    }

    /// Cuts or extends with zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Reserves disk space for this range and extends the file over it with zeros.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is none; the file may have grown all the same.
    fn allocate(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Reserves disk space for a range, which may lie beyond the end, and changes neither content
    /// nor length. By itself a disk promises nothing here.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] if there is none; some of it may be reserved all the same.
    fn set_aside(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    /// Makes content and length durable. After an error nothing may be assumed about either, and
    /// it must not be tried again (I7).
    fn sync_data(&self) -> io::Result<()>;
}
