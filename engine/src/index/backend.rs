//! redb's port to the disk, on ours.

mod file;

mod memory;

use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use crate::disk::{Disk, DiskFile};
pub(crate) use file::IndexFile;
pub(crate) use memory::MemoryBackend;

/// The index's file as redb wants it.
#[derive(Debug)]
pub(crate) struct DiskBackend {
    file: Arc<IndexFile>,
}

impl DiskBackend {
    pub(crate) fn new(disk: Arc<dyn Disk>, file: Arc<dyn DiskFile>) -> Self {
        Self { file: Arc::new(IndexFile::new(disk, file)) }
    }

    /// The file itself, for whoever puts off its syncs.
    pub(crate) fn file(&self) -> Arc<IndexFile> {
        Arc::clone(&self.file)
    }
}

impl StorageBackend for DiskBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }
}
