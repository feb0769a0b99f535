//! Files of segments that are open for reading, as many as the process has room for.
//!
//! A store of ten terabytes has 80,000 segments, where a process may have 20,000 files open, and
//! connections need theirs. So those that nobody has read for a while are closed, and opened again
//! when somebody reads them, which takes some microseconds: no more than the read itself, whose
//! bytes are seldom cached then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::disk::DiskFile;
use crate::model::change::SegmentId;

/// Open files by their segments; the one to be closed is found by giving each a second chance.
#[derive(Debug)]
pub(super) struct OpenFiles {
    max: usize,
    held: RwLock<Held>,
}

#[derive(Debug)]
struct Held {
    files: BTreeMap<SegmentId, OpenFile>,
    /// Where to go on looking for one that is not read.
    hand: SegmentId,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<dyn DiskFile>,
    /// Whether it was read since the hand passed.
    is_read: AtomicBool,
}

impl OpenFiles {
    /// Room for so many files, one at least.
    pub(super) fn at_most(max: usize) -> Self {
        let held = Held { files: BTreeMap::new(), hand: SegmentId(0) };
        Self { max: max.max(1), held: RwLock::new(held) }
    }

    pub(super) fn get(&self, id: SegmentId) -> Option<Arc<dyn DiskFile>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let open = held.files.get(&id)?;
        // Written once and not by every reader, who would take the line from each other's caches.
        if !open.is_read.load(Ordering::Relaxed) {
            open.is_read.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&open.file))
    }

    /// Keeps a file open; one that nobody has read for a while is closed for it, once its readers
    /// are done.
    pub(super) fn insert(&self, id: SegmentId, file: Arc<dyn DiskFile>) {
        let open = OpenFile { file, is_read: AtomicBool::new(false) };
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let before = held.files.insert(id, open);
        let closed = if held.files.len() > self.max { held.take_idle(id) } else { None };
        drop(held);
        // The system is asked to close them when nobody waits for the map.
        drop((before, closed));
    }

    pub(super) fn remove(&self, id: SegmentId) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let removed = held.files.remove(&id);
        drop(held);
        drop(removed);
    }
}

impl Held {
    /// Takes out the next file from the hand on that was not read since the hand passed it.
    fn take_idle(&mut self, except: SegmentId) -> Option<OpenFile> {
        // Twice around: the first time may find that all were read.
        let order = self.files.range(self.hand..).chain(self.files.range(..self.hand));
        let rounds = order.clone().chain(order);
        let is_idle = |(id, open): &(&SegmentId, &OpenFile)| {
            **id != except && !open.is_read.swap(false, Ordering::Relaxed)
        };
        let idle = *rounds.into_iter().find(is_idle)?.0;
        self.hand = idle;
        self.files.remove(&idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;
    use crate::disk::{Disk, OpenMode};

    fn file() -> Arc<dyn DiskFile> {
        MemoryDisk::prepared().open("file", OpenMode::CreateNew).unwrap()
    }

    fn open(files: &OpenFiles) -> Vec<u64> {
        files.held.read().unwrap().files.keys().map(|id| id.0).collect()
    }

    #[test]
    fn what_is_read_stays_open_and_what_is_not_is_closed() {
        let files = OpenFiles::at_most(3);
        for id in 1..=3 {
            files.insert(SegmentId(id), file());
        }
        assert!(files.get(SegmentId(1)).is_some() && files.get(SegmentId(3)).is_some());
        files.insert(SegmentId(4), file());
        assert_eq!(open(&files), [1, 3, 4], "2 was not read");
        assert!(files.get(SegmentId(2)).is_none());
        assert!(files.get(SegmentId(3)).is_some());
        files.insert(SegmentId(5), file());
        assert_eq!(open(&files), [1, 3, 5], "the hand went on from 2");
        files.remove(SegmentId(1));
        files.insert(SegmentId(6), file());
        assert_eq!(open(&files), [3, 5, 6], "there was room");
    }

    #[test]
    fn where_all_are_read_one_is_closed_all_the_same_and_never_the_new_one() {
        let files = OpenFiles::at_most(2);
        for id in 1..=100 {
            files.insert(SegmentId(id), file());
            for open in open(&files) {
                assert!(files.get(SegmentId(open)).is_some());
            }
            assert!(files.get(SegmentId(id)).is_some());
            assert!(open(&files).len() <= 2);
        }
        let alone = OpenFiles::at_most(0);
        alone.insert(SegmentId(1), file());
        alone.insert(SegmentId(2), file());
        assert_eq!(open(&alone), [2]);
    }

    #[test]
    fn a_reader_keeps_a_file_that_is_closed_meanwhile() {
        let files = OpenFiles::at_most(1);
        files.insert(SegmentId(1), file());
        let held = files.get(SegmentId(1)).unwrap();
        files.insert(SegmentId(2), file());
        assert_eq!(open(&files), [2]);
        assert_eq!(held.len().unwrap(), 0);
    }
}
