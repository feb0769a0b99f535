//! A disk in memory for the tests of this module: it logs, fails where it is told to, and can
//! pretend that nothing is cached.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile, OpenMode, PAGE_BYTES, Space};

use super::{Blobs, byte_count};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MemoryDisk {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    shared: Arc<Shared>,
}

/// What the disk and its files share.
#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Vec<String>>,
    fails_on: Mutex<Option<(String, io::ErrorKind)>>,
    is_uncached: AtomicBool,
    /// Reads that had to wait.
    waited_reads: AtomicUsize,
}

impl Shared {
    /// Logs an operation, and fails it if the test wants so.
    fn step(&self, line: String) -> io::Result<()> {
        let fails_on = self.fails_on.lock().unwrap();
        let result = match &*fails_on {
            Some((start, kind)) if line.starts_with(start) => Err(io::Error::from(*kind)),
            _ => Ok(()),
        };
        self.log.lock().unwrap().push(line);
        result
    }
}

impl MemoryDisk {
    /// A disk with the directories of blobs.
    pub(crate) fn prepared() -> Arc<Self> {
        let disk = Arc::new(Self::default());
        Blobs::prepare(&*disk).unwrap();
        disk
    }

    /// Paths of all files, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.files.lock().unwrap().keys().cloned().collect()
    }

    /// Bytes of a file.
    pub(crate) fn content(&self, path: &str) -> Vec<u8> {
        self.files.lock().unwrap()[path].bytes.lock().unwrap().clone()
    }

    /// Flips one byte of a file.
    pub(crate) fn damage(&self, path: &str, offset: usize) {
        let files = self.files.lock().unwrap();
        files[path].bytes.lock().unwrap()[offset] ^= 0x40;
    }

    /// Operations since the last call.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.log.lock().unwrap())
    }

    /// Fails every operation whose line in the log starts like this.
    pub(crate) fn fail_on(&self, start: &str) {
        self.fail_with(start, io::ErrorKind::Other);
    }

    /// As [`MemoryDisk::fail_on`], with this error.
    pub(crate) fn fail_with(&self, start: &str, kind: io::ErrorKind) {
        *self.shared.fails_on.lock().unwrap() = Some((start.to_owned(), kind));
    }

    /// From now on no read is answered without waiting.
    pub(crate) fn forget_cache(&self) {
        self.shared.is_uncached.store(true, Ordering::Relaxed);
    }

    /// Reads that had to wait.
    pub(crate) fn waited_reads(&self) -> usize {
        self.shared.waited_reads.load(Ordering::Relaxed)
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.shared.step(format!("open {path}"))?;
        let mut files = self.files.lock().unwrap();
        let found = files.get(path).cloned();
        match (mode, found) {
            (OpenMode::Existing | OpenMode::ReadOnly, Some(file)) => Ok(file),
            (OpenMode::Existing | OpenMode::ReadOnly, None) => Err(io::ErrorKind::NotFound.into()),
            (OpenMode::CreateNew, Some(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew, None) => {
                let file = Arc::new(MemoryFile {
                    path: path.to_owned(),
                    bytes: Mutex::default(),
                    shared: self.shared.clone(),
                });
                files.insert(path.to_owned(), file.clone());
                Ok(file)
            }
        }
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{directory}/");
        let paths = self.paths().into_iter();
        Ok(paths.filter_map(|path| path.strip_prefix(&prefix).map(str::to_owned)).collect())
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.shared.step(format!("create_dir {directory}"))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.shared.step(format!("rename {from} {to}"))?;
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.shared.step(format!("remove {path}"))?;
        let removed = self.files.lock().unwrap().remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.shared.step(format!("sync_dir {directory}"))
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space { total: 1 << 40, available: 1 << 40 })
    }

    fn lock(&self) -> io::Result<Box<dyn Debug + Send + Sync>> {
        Ok(Box::new(()))
    }

    fn display(&self) -> String {
        "memory".to_owned()
    }
}

/// A file of [`MemoryDisk`]; lives on without its name while it is open.
#[derive(Debug)]
struct MemoryFile {
    /// The path it was made under, for the log.
    path: String,
    bytes: Mutex<Vec<u8>>,
    shared: Arc<Shared>,
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(byte_count(self.bytes.lock().unwrap().len()))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.shared.waited_reads.fetch_add(1, Ordering::Relaxed);
        self.copy_to(buffer, offset)
    }

    fn read_exact_at_nowait(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        if self.shared.is_uncached.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.copy_to(buffer, offset).map(|()| true)
    }

    fn write_all_at(&self, pieces: &[io::IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.shared.step(format!("write {}", self.path))?;
        self.put(pieces, offset);
        Ok(())
    }

    fn write_pages_at(&self, pieces: &[io::IoSlice<'_>], offset: u64) -> io::Result<()> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        assert!(length.is_multiple_of(PAGE_BYTES) && offset.is_multiple_of(4096));
        self.shared.step(format!("write pages of {}", self.path))?;
        self.put(pieces, offset);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap();
        self.bytes.lock().unwrap().resize(length, 0);
        Ok(())
    }

    fn allocate(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.shared.step(format!("sync {}", self.path))
    }
}

impl MemoryFile {
    fn put(&self, pieces: &[io::IoSlice<'_>], offset: u64) {
        let mut bytes = self.bytes.lock().unwrap();
        let mut position = usize::try_from(offset).unwrap();
        for piece in pieces {
            let end = position + piece.len();
            let length = bytes.len().max(end);
            bytes.resize(length, 0);
            bytes[position..end].copy_from_slice(piece);
            position = end;
        }
    }

    fn copy_to(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.shared.step(format!("read {}", self.path))?;
        let bytes = self.bytes.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let found = bytes.get(start..start + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
