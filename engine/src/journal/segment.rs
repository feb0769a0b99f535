//! The segments of the journal, shared with everybody who reads contents from them.
//!
//! A reader takes the open file and needs nothing further: a removed segment's bytes stay as long
//! as somebody holds it. There may be more segments than files can be open (`open_files.rs`).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::model::change::{BlobPlace, NewBlob, SegmentId};

use super::frame::{Header, PAGE_BYTES, StoreKey};
use super::open_files::OpenFiles;
use super::reader::SegmentReader;

/// Directory of the segments' files.
pub(super) const DIRECTORY: &str = "journal";

/// All segments that hold groups or will.
#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    key: StoreKey,
    /// Held for a look-up or a change of the map, never while the disk is asked.
    known: RwLock<BTreeMap<SegmentId, Segment>>,
    /// Those that are open are known.
    files: OpenFiles,
}

/// What is known of a segment.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// `None` where its header is damaged: its contents are read as ever, its groups are not.
    generation: Option<u64>,
    /// Bytes up to the end of the last group; the writer keeps it true.
    end: u64,
    /// Bytes among them that never were a content's; `None` where an earlier process wrote some of it
    /// and nobody has counted yet.
    overhead: Option<u64>,
}

impl Segments {
    /// No segments yet, of which so many may be open at a time.
    pub(super) fn new(disk: Arc<dyn Disk>, key: StoreKey, open_max: usize) -> Self {
        let files = OpenFiles::at_most(open_max);
        Self { disk, key, known: RwLock::default(), files }
    }

    /// The file of a segment, for reading; `None` if there is no such segment any longer. Opens it
    /// where it is not open.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn get(&self, id: SegmentId) -> io::Result<Option<Arc<dyn DiskFile>>> {
        if let Some(file) = self.files.get(id) {
            return Ok(Some(file));
        }
        if !self.known().contains_key(&id) {
            return Ok(None);
        }
        let file = match self.disk.open(&path(id), OpenMode::ReadOnly) {
            Ok(file) => file,
            // It was removed in between, or somebody else removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Held until it is among the open ones, so that it is not removed from these before.
        let known = self.known();
        if known.contains_key(&id) {
            self.files.insert(id, Arc::clone(&file));
        }
        Ok(Some(file))
    }

    /// All segments, the oldest first; the last one is being written.
    pub(crate) fn ids(&self) -> Vec<SegmentId> {
        self.known().keys().copied().collect()
    }

    /// Bytes of a segment up to the end of its last group; 0 if there is no such segment.
    pub(crate) fn length(&self, id: SegmentId) -> u64 {
        self.known().get(&id).map_or(0, |segment| segment.end)
    }

    /// Bytes of a segment that are heads, changes and padding; `None` where that is to be
    /// [counted](Self::count_overhead) first.
    pub(crate) fn overhead(&self, id: SegmentId) -> Option<u64> {
        self.known().get(&id).and_then(|segment| segment.overhead)
    }

    /// Counts the bytes of a sealed segment that are heads, changes and padding, from its records; `None`
    /// if it was time to stop.
    ///
    /// # Errors
    /// As for [`Self::blobs_of`].
    pub(crate) fn count_overhead(
        &self,
        id: SegmentId,
        is_stopping: &dyn Fn() -> bool,
    ) -> io::Result<Option<u64>> {
        let (mut contents, mut is_whole) = (0, true);
        self.blobs_of(id, |blob| {
            contents += blob.length;
            is_whole = !is_stopping();
            is_whole
        })?;
        if !is_whole {
            return Ok(None);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let segment = known.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let overhead = segment.end.saturating_sub(contents);
        segment.overhead = Some(overhead);
        Ok(Some(overhead))
    }

    /// Removes a segment; [`Segments::sync_removals`] makes that durable. Whoever holds its file may read
    /// on.
    ///
    /// The caller sees to it that the last immediate commit of the index needs nothing of it (I3).
    pub(crate) fn remove(&self, id: SegmentId) -> io::Result<()> {
        // Not the last handle, which would free the bytes here.
        self.files.remove(id);
        self.disk.remove(&path(id))?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.files.remove(id);
        Ok(())
    }

    /// Makes removals durable.
    pub(crate) fn sync_removals(&self) -> io::Result<()> {
        self.disk.sync_dir(DIRECTORY)
    }

    /// Visits the contents that a sealed segment holds, in the order of their places, until
    /// `visit` says `false`. Reads headers and records, not the contents.
    ///
    /// # Errors
    /// The segment cannot be read, is not there, or is damaged ([`io::ErrorKind::InvalidData`]).
    /// Contents before the damage were visited.
    pub(crate) fn blobs_of(
        &self,
        id: SegmentId,
        mut visit: impl FnMut(NewBlob) -> bool,
    ) -> io::Result<()> {
        let segment = self.known().get(&id).copied();
        let Segment { generation, end, .. } = segment.ok_or(io::ErrorKind::NotFound)?;
        let file = self.get(id)?.ok_or(io::ErrorKind::NotFound)?;
        let damaged = |offset: u64| {
            let text = format!("journal segment {} is damaged at byte {offset}", id.0);
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let mut reader = SegmentReader::new(file, self.key, id)?;
        reader.generation = Some(generation.ok_or_else(|| damaged(0))?);
        reader.length = reader.length.min(end);
        let mut offset = PAGE_BYTES;
        while offset < end {
            let header = match reader.group_header(offset)? {
                Header::Valid(header) => header,
                // The zeros that were reserved and not used, unless a group was lost here.
                Header::Absent if reader.tail(offset)?.nonzero_end == offset => return Ok(()),
                Header::Absent | Header::Newer(_) => return Err(damaged(offset)),
            };
            let records = reader.records(&header)?.ok_or_else(|| damaged(offset))?;
            for blob in records.iter().flat_map(|record| &record.blobs) {
                if matches!(blob.place, BlobPlace::Segment { .. }) && !visit(*blob) {
                    return Ok(());
                }
            }
            offset = header.end().offset;
        }
        Ok(())
    }

    /// Adds a segment that was there before.
    pub(super) fn add(&self, id: SegmentId, generation: Option<u64>, end: u64) {
        self.insert(id, Segment { generation, end, overhead: None });
    }

    /// Adds a segment that holds nothing but its header, which is durable and ends here.
    pub(super) fn add_new(
        &self,
        id: SegmentId,
        file: Arc<dyn DiskFile>,
        generation: u64,
        end: u64,
    ) {
        self.insert(id, Segment { generation: Some(generation), end, overhead: Some(end) });
        self.files.insert(id, file);
    }

    fn insert(&self, id: SegmentId, segment: Segment) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id, segment);
    }

    /// Tells where a segment's last group ends, and how many bytes that this adds are no content's.
    pub(super) fn set_end(&self, id: SegmentId, end: u64, overhead: u64) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = known.get_mut(&id) {
            segment.end = end;
            segment.overhead = segment.overhead.map(|before| before + overhead);
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, BTreeMap<SegmentId, Segment>> {
        // Every change of the map is one call, so a panic elsewhere leaves it whole.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Path of a segment's file.
pub(super) fn path(id: SegmentId) -> String {
    format!("{DIRECTORY}/{:016x}.seg", id.0)
}

/// The segments that have a file, the oldest first; other files are nobody's business here.
pub(super) fn list(disk: &dyn Disk) -> io::Result<Vec<SegmentId>> {
    let names = disk.list(DIRECTORY)?;
    let mut ids: Vec<SegmentId> = names.iter().filter_map(|name| id_of(name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn id_of(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
    let id = SegmentId(u64::from_str_radix(digits, 16).ok()?);
    // Only the one spelling that `path` makes.
    (path(id) == format!("{DIRECTORY}/{name}")).then_some(id)
}
