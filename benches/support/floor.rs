//! What the machine alone can do, with the standard library and nothing else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use super::noise;

/// Bytes that one group may have here: the engine's bound and something for its headers.
const GROUP_BYTES_MAX: usize = 9 << 20;

/// Where memory, places and lengths begin and end for a write past the page cache.
const PAGE_BYTES: usize = 4096;

/// How groups are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As most programs write.
    ThroughPageCache,
    /// As the journal does, where the file system lets.
    PastPageCache,
}

/// Appends and syncs groups, each before the next.
#[derive(Debug)]
pub(crate) struct Appender {
    bytes: Vec<u8>,
    /// Where a page begins in them.
    begin: usize,
}

impl Appender {
    /// Prepares the bytes that are written.
    pub(crate) fn new() -> Self {
        let bytes = noise(GROUP_BYTES_MAX + PAGE_BYTES);
        let begin = bytes.as_ptr().align_offset(PAGE_BYTES);
        Self { bytes, begin }
    }

    /// Writes groups of these lengths, as whole pages, to a fresh file whose space is reserved, an
    /// fdatasync after each. Only the writes and the syncs are timed.
    pub(crate) fn append(&self, directory: &Path, groups: &[usize], way: Way) -> Duration {
        let path = directory.join("floor");
        let file = create(&path);
        let groups: Vec<_> =
            groups.iter().map(|group| group.next_multiple_of(PAGE_BYTES)).collect();
        let total: usize = groups.iter().sum();
        fallocate(&file, FallocateFlags::empty(), 0, length(total)).unwrap();
        file.sync_all().unwrap();
        let mut direct = OpenOptions::new();
        direct.write(true).custom_flags(OFlags::DIRECT.bits().cast_signed());
        let file = match way {
            Way::ThroughPageCache => file,
            Way::PastPageCache => direct.open(&path).unwrap_or(file),
        };
        let mut offset = 0;
        let begun = Instant::now();
        for group in groups {
            let bytes = self.bytes.get(self.begin..).and_then(|bytes| bytes.get(..group));
            file.write_all_at(bytes.unwrap(), offset).unwrap();
            file.sync_data().unwrap();
            offset += length(group);
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
