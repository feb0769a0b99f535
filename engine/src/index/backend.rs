//! redb's port to the disk, on ours.

use std::io::{self, IoSlice};
use std::sync::Arc;

use redb::StorageBackend;

use crate::disk::DiskFile;

/// The index's file as redb wants it.
#[derive(Debug)]
pub(crate) struct DiskBackend {
    file: Arc<dyn DiskFile>,
}

impl DiskBackend {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file }
    }
}

impl StorageBackend for DiskBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(&[IoSlice::new(data)], offset)
    }
}
