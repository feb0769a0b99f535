//! What the machine alone can do, with the standard library and nothing else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};

use super::noise;

/// Bytes that one group may have here: the engine's bound and something for its headers.
const GROUP_BYTES_MAX: usize = 9 << 20;

/// Appends and syncs groups, each before the next.
#[derive(Debug)]
pub(crate) struct Appender {
    bytes: Vec<u8>,
}

impl Appender {
    /// Prepares the bytes that are written.
    pub(crate) fn new() -> Self {
        Self { bytes: noise(GROUP_BYTES_MAX) }
    }

    /// Writes groups of these lengths to a fresh file whose space is reserved, an fdatasync after
    /// each. Only the writes and the syncs are timed.
    pub(crate) fn append(&self, directory: &Path, groups: &[usize]) -> Duration {
        let path = directory.join("floor");
        let file = create(&path);
        let total: usize = groups.iter().sum();
        fallocate(&file, FallocateFlags::empty(), 0, length(total)).unwrap();
        file.sync_all().unwrap();
        let mut offset = 0;
        let begun = Instant::now();
        for group in groups {
            file.write_all_at(self.bytes.get(..*group).unwrap(), offset).unwrap();
            file.sync_data().unwrap();
            offset += length(*group);
        }
        let time = begun.elapsed();
        std::fs::remove_file(path).unwrap();
        time
    }
}

/// A file of contents without gaps, for reading at will.
pub(crate) fn contents(path: &Path, count: u64, bytes: usize) -> Arc<File> {
    let file = create(path);
    let content = noise(bytes);
    for number in 0..count {
        file.write_all_at(&content, number * length(bytes)).unwrap();
    }
    file.sync_all().unwrap();
    Arc::new(file)
}

/// A fresh file that is read and written.
pub(crate) fn create(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap()
}

/// Bytes in memory as a length of a file.
pub(crate) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap()
}
