//! The disk port on a directory of the file system.
//!
//! Directories are made with mode 700 and files with mode 600: contents and password hashes are
//! nobody else's business. Every call is the system call of its name, tried again only when a
//! signal broke it; nothing is buffered here.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev, retry_on_intr};

use super::direct::Direct;
use super::freeing::Freeing;
use super::{Disk, DiskFile, OpenMode, Space};

/// Pieces that one `pwritev` takes (`IOV_MAX` of Linux).
const PIECES_MAX: usize = 1024;

/// Bytes from which a file takes long to be freed, or many of them do.
const LARGE_BYTES: u64 = 256 << 10;

fn is_large(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() >= LARGE_BYTES)
}

/// Name of the file that carries the lock of the data directory (I10).
const LOCK_FILE: &str = "LOCK";

/// A data directory of the file system.
#[derive(Debug)]
pub struct RealDisk {
    directory: PathBuf,
    /// Whether files are opened so that nothing can be written to them.
    is_for_reading: bool,
    direct: Arc<Direct>,
    freeing: Freeing,
}

impl RealDisk {
    /// Takes a directory, which is made, durably, if it is absent.
    ///
    /// # Errors
    /// The directory cannot be made, or something else has its name.
    pub fn new(directory: PathBuf) -> io::Result<Self> {
        make_directories(&directory)?;
        Ok(Self::at(directory, false))
    }

    /// Takes a directory that is there, to read its files only; works on a file system that is
    /// mounted read-only. Everything that would change a file fails.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn for_reading(directory: PathBuf) -> io::Result<Self> {
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self::at(directory, true))
    }

    fn at(directory: PathBuf, is_for_reading: bool) -> Self {
        Self { directory, is_for_reading, direct: Arc::default(), freeing: Freeing::default() }
    }

    /// Refuses what a disk for reading does not do.
    fn expect_writable(&self) -> io::Result<()> {
        if self.is_for_reading { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// Takes a directory that is there; nothing is made.
    ///
    /// # Errors
    /// There is no such directory.
    pub(crate) fn existing(directory: PathBuf) -> io::Result<Self> {
        if !std::fs::metadata(&directory)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self::at(directory, false))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::ReadOnly && !self.is_for_reading)
            .create_new(mode == OpenMode::CreateNew)
            .mode(0o600)
            .open(self.path(path))?;
        Ok(Arc::new(RealFile { file, path: self.path(path), direct: Arc::clone(&self.direct) }))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.path(directory).read_dir()? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // A name that is no text is none of ours.
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.expect_writable()?;
        make_directory(&self.path(directory))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.expect_writable()?;
        self.direct.forget(&self.path(from));
        self.direct.forget(&self.path(to));
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.expect_writable()?;
        let path = self.path(path);
        self.direct.forget(&path);
        // Held over the removal, so that this frees nothing yet.
        let large = File::open(&path).ok().filter(is_large);
        std::fs::remove_file(path)?;
        if let Some(file) = large {
            self.freeing.close(file);
        }
        Ok(())
    }

    fn is_freeing(&self) -> bool {
        self.freeing.is_busy()
    }

    fn freeing_room(&self) -> usize {
        self.freeing.room()
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        sync_directory(&self.path(directory))
    }

    fn space(&self) -> io::Result<Space> {
        let figures = statvfs(&self.directory)?;
        Ok(Space {
            total: figures.f_blocks.saturating_mul(figures.f_frsize),
            available: figures.f_bavail.saturating_mul(figures.f_frsize),
        })
    }

    fn lock(&self) -> io::Result<Box<dyn Debug + Send + Sync>> {
        let path = self.path(LOCK_FILE);
        let made = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = match made {
            // A lock needs no more than that.
            Err(_) if self.is_for_reading => File::open(&path)?,
            made => made?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn display(&self) -> String {
        self.directory.display().to_string()
    }
}

/// An open file of the file system; closed when it is dropped.
#[derive(Debug)]
struct RealFile {
    file: File,
    /// The name that it was opened by, which it may have no longer.
    path: PathBuf,
    direct: Arc<Direct>,
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn read_exact_at_nowait(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let length = buffer.len();
        let mut pieces = [IoSliceMut::new(buffer)];
        let read =
            retry_on_intr(|| preadv2(&self.file, &mut pieces, offset, ReadWriteFlags::NOWAIT));
        match read {
            // Fewer bytes: the rest is not in the page cache, or the file ends, which the
            // waiting read finds out.
            Ok(bytes) => Ok(bytes == length),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write_all_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut pieces = pieces.to_vec();
        let mut rest = pieces.as_mut_slice();
        let mut offset = offset;
        // Passes over leading pieces that are empty.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let next = rest.get(..PIECES_MAX).unwrap_or(rest);
            let written = retry_on_intr(|| pwritev(&self.file, next, offset))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += u64::try_from(written).map_err(io::Error::other)?;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    fn write_pages_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        if self.direct.write(&self.file, &self.path, pieces, offset)? {
            return Ok(());
        }
        self.write_all_at(pieces, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let allocated =
            retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), offset, length));
        match allocated {
            Ok(()) => Ok(()),
            // The file system cannot reserve: the file is extended all the same, and a write may
            // then run out of space.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let end = offset.saturating_add(length);
                if self.len()? < end {
                    self.file.set_len(end)?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn set_aside(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| fallocate(&self.file, flags, offset, length)) {
            // The file system cannot reserve, or nothing was asked for.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Makes a directory and what is missing above it, each name durable.
fn make_directories(directory: &Path) -> io::Result<()> {
    let parent = match directory.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if directory.is_dir() {
        return Ok(());
    }
    make_directories(parent)?;
    make_directory(directory)?;
    sync_directory(parent)
}

fn make_directory(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => made,
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let temporary = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(temporary.path().join("a/b")).unwrap();
        (temporary, disk)
    }

    #[test]
    fn directories_and_files_are_the_owners_alone() {
        let (temporary, disk) = disk();
        disk.create_dir("names").unwrap();
        disk.create_dir("names").unwrap();
        disk.open("names/file", OpenMode::CreateNew).unwrap();

        for (path, expected) in [("a/b", 0o700), ("a/b/names", 0o700), ("a/b/names/file", 0o600)] {
            let mode = temporary.path().join(path).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, expected, "{path}");
        }
        assert_eq!(disk.list("names").unwrap(), ["file"]);
        assert_eq!(disk.list("").unwrap(), [""; 0]);
    }

    #[test]
    fn many_pieces_are_written_one_after_the_other() {
        let (_temporary, disk) = disk();
        let file = disk.open("file", OpenMode::CreateNew).unwrap();
        let texts: Vec<String> = (0..PIECES_MAX + 7).map(|number| number.to_string()).collect();
        let mut pieces = vec![IoSlice::new(&[])];
        pieces.extend(texts.iter().map(|text| IoSlice::new(text.as_bytes())));

        file.write_all_at(&pieces, 3).unwrap();
        file.write_all_at(&[IoSlice::new(&[])], 3).unwrap();

        let expected = texts.concat();
        let mut found = vec![0; expected.len()];
        file.read_exact_at(&mut found, 3).unwrap();
        assert_eq!(found, expected.as_bytes());
        file.sync_data().unwrap();
        disk.sync_dir("").unwrap();
    }

    #[test]
    fn a_read_beyond_the_end_is_an_error_and_never_a_guess() {
        let (_temporary, disk) = disk();
        let file = disk.open("file", OpenMode::CreateNew).unwrap();
        file.allocate(0, 10).unwrap();
        assert_eq!(file.len().unwrap(), 10);

        let mut buffer = [1; 11];
        assert!(!file.read_exact_at_nowait(&mut buffer, 0).unwrap());
        let error = file.read_exact_at(&mut buffer, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn space_that_is_set_aside_changes_neither_length_nor_content() {
        use std::os::unix::fs::MetadataExt;

        let (temporary, disk) = disk();
        let file = disk.open("file", OpenMode::CreateNew).unwrap();
        file.write_all_at(&[IoSlice::new(b"bytes")], 0).unwrap();
        file.set_aside(0, 1 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 5);
        let metadata = temporary.path().join("a/b/file").metadata().unwrap();
        assert!(metadata.blocks() * 512 >= 1 << 20, "{} blocks", metadata.blocks());
        let mut found = [0; 5];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"bytes");
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let (_temporary, disk) = disk();
        let first = disk.lock().unwrap();
        assert_eq!(disk.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        disk.lock().unwrap();
    }

    #[test]
    fn a_removed_file_stays_readable_while_it_is_open() {
        let (_temporary, disk) = disk();
        let file = disk.open("old", OpenMode::CreateNew).unwrap();
        file.write_all_at(&[IoSlice::new(b"bytes")], 0).unwrap();
        disk.rename("old", "new").unwrap();
        disk.remove("new").unwrap();

        let mut found = [0; 5];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, b"bytes");
        let missing = disk.open("new", OpenMode::Existing).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
