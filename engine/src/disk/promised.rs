//! A disk of which some space is promised: to the index, for rows that it will take. It counts what was
//! refused for want of space.
//!
//! Whoever asks what is left hears of what is left beside that. The index writes its pages after the
//! changes were answered, and a full disk would then be the end of all changes (I7).

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Disk, DiskFile, OpenMode, Space};
use crate::counters::Counters;

/// Bytes that are promised.
#[derive(Debug, Default, Clone)]
pub(crate) struct Promises(Arc<AtomicU64>);

impl Promises {
    pub(crate) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Release);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The disk as it is seen beside what is promised.
#[derive(Debug)]
pub(crate) struct PromisedDisk {
    disk: Arc<dyn Disk>,
    promises: Promises,
    counters: Arc<Counters>,
}

impl PromisedDisk {
    pub(crate) fn new(disk: Arc<dyn Disk>, promises: Promises, counters: Arc<Counters>) -> Self {
        Self { disk, promises, counters }
    }
}

impl Disk for PromisedDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path, mode)
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
        let Space { total, available } = self.disk.space()?;
        Ok(Space { total, available: available.saturating_sub(self.promises.bytes()) })
    }

    fn note_refusal(&self) {
        self.counters.refused_for_space.increment();
    }

    fn lock(&self) -> io::Result<Box<dyn Debug + Send + Sync>> {
        self.disk.lock()
    }

    fn display(&self) -> String {
        self.disk.display()
    }
}
