//! A disk that remembers which groups the engine synced, so that the floor can write the same.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use granary_engine::disk::{Disk, DiskFile, OpenMode, RealDisk, Space};

/// Bytes of each group that was synced, in order.
pub(crate) type Groups = Arc<Mutex<Vec<usize>>>;

/// The real disk, with an eye on the journal.
#[derive(Debug)]
pub(crate) struct RecordingDisk {
    disk: RealDisk,
    groups: Groups,
}

impl RecordingDisk {
    /// Watches a disk.
    pub(crate) fn new(disk: RealDisk, groups: Groups) -> Self {
        Self { disk, groups }
    }
}

impl Disk for RecordingDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, mode)?;
        if !path.starts_with("journal/") {
            return Ok(file);
        }
        let groups = Arc::clone(&self.groups);
        Ok(Arc::new(RecordingFile { file, groups, unsynced: Mutex::new(0) }))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.disk.create_dir(directory)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn is_freeing(&self) -> bool {
        self.disk.is_freeing()
    }

    fn freeing_room(&self) -> usize {
        self.disk.freeing_room()
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.disk.sync_dir(directory)
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }

    fn lock(&self) -> io::Result<Box<dyn Debug + Send + Sync>> {
        self.disk.lock()
    }

    fn display(&self) -> String {
        self.disk.display()
    }
}

#[derive(Debug)]
struct RecordingFile {
    file: Arc<dyn DiskFile>,
    groups: Groups,
    unsynced: Mutex<usize>,
}

impl RecordingFile {
    fn note(&self, pieces: &[IoSlice<'_>]) {
        *self.unsynced.lock().unwrap() += pieces.iter().map(|piece| piece.len()).sum::<usize>();
    }
}

impl DiskFile for RecordingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn read_exact_at_nowait(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        self.file.read_exact_at_nowait(buffer, offset)
    }

    fn write_all_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.note(pieces);
        self.file.write_all_at(pieces, offset)
    }

    fn write_pages_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.note(pieces);
        self.file.write_pages_at(pieces, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        self.file.allocate(offset, length)
    }

    fn set_aside(&self, offset: u64, length: u64) -> io::Result<()> {
        self.file.set_aside(offset, length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let group = std::mem::take(&mut *self.unsynced.lock().unwrap());
        self.groups.lock().unwrap().push(group);
        self.file.sync_data()
    }
}
