//! Opens a journal: replays what the checkpoint does not contain, tells a torn end from damage,
//! and repairs the former.
//!
//! All reading comes before the first change of a file, so damage leaves everything as it was.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::disk::{Disk, OpenMode};
use crate::limits::SEGMENTS_OPEN_MAX;
use crate::model::Sequence;
use crate::model::change::SegmentId;

use super::frame::{
    FORMAT_VERSION, GroupHeader, Header, PAGE_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, StoreKey,
    ZERO_PAGE,
};
use super::reader::{Found, SegmentReader};
use super::segment::{self, DIRECTORY, Segments};
use super::writer::{Current, Journal, SegmentFile};
use super::{JournalOpenError, JournalOptions, Position, ReplayedGroup};

impl Journal {
    /// Opens a journal and hands every group after the checkpoint to `apply`, in order.
    ///
    /// `applied` is the last sequence that the checkpoint contains. Segments before the
    /// checkpoint are kept for their contents; only their headers are looked at.
    ///
    /// # Errors
    /// See [`JournalOpenError`] and the module's table; whatever `apply` did is then to be
    /// dropped.
    ///
    /// # Durability
    /// Every group that `apply` saw is synced, and nothing is behind the last one.
    pub(crate) fn open<E>(
        disk: Arc<dyn Disk>,
        key: [u8; 32],
        options: JournalOptions,
        checkpoint: Position,
        applied: Sequence,
        apply: impl FnMut(ReplayedGroup) -> Result<(), E>,
    ) -> Result<Self, JournalOpenError<E>> {
        let key = StoreKey(key);
        let found = FoundSegments::read(&disk, key, checkpoint.segment)?;
        let segments = Segments::new(Arc::clone(&disk), key, options.segments_open_max);
        for (segment, generation, length) in &found.before {
            segments.add(*segment, *generation, *length);
        }
        for (header, reader) in &found.segments {
            segments.add(header.segment, Some(header.generation), reader.length);
        }
        let mut replay = Replay { last_sequence: applied, last_group: None, apply };
        let (end, last, torn_end) = replay.run(&found, checkpoint)?;
        if end.segment != checkpoint.segment || replay.last_group.is_some() {
            confirm(last, replay.last_group.as_ref()).map_err(JournalOpenError::Io)?;
        }
        cut_tail(last, end.offset, torn_end).map_err(JournalOpenError::Io)?;
        found.settle(&*disk, last).map_err(JournalOpenError::Io)?;
        segments.set_end(end.segment, end.offset, 0);
        let file = Arc::clone(&last.file);
        // It may have lost zeros at its end, which it has again.
        let allocated = last.length.max(end.offset);
        let file = SegmentFile { id: end.segment, file, allocated };
        Ok(Self {
            disk,
            key,
            options,
            segments: Arc::new(segments),
            current: Current { file, end },
            spare: None,
            last_sequence: replay.last_sequence,
            failed: false,
        })
    }
}

/// Where reading a journal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadTo {
    /// End of the last group.
    pub(crate) end: Position,
    /// Bytes behind it that a torn group left; opening the journal would cut them.
    pub(crate) torn_bytes: u64,
}

/// Reads every group after a checkpoint in order, and changes nothing: for a store that has failed
/// and is still to be read (I7), and for one that is checked.
///
/// # Errors
/// See [`JournalOpenError`]; `apply` has seen what lies before the place that is named.
pub(crate) fn read_groups<E>(
    disk: &Arc<dyn Disk>,
    key: [u8; 32],
    checkpoint: Position,
    applied: Sequence,
    apply: impl FnMut(ReplayedGroup) -> Result<(), E>,
) -> Result<ReadTo, JournalOpenError<E>> {
    let found = FoundSegments::read(disk, StoreKey(key), checkpoint.segment)?;
    let mut replay = Replay { last_sequence: applied, last_group: None, apply };
    let (end, _, torn_end) = replay.run(&found, checkpoint)?;
    Ok(ReadTo { end, torn_bytes: torn_end.saturating_sub(end.offset) })
}

/// The segments of a journal that nobody writes to, up to the place that reading came to, and
/// those whose headers fail their check. Changes nothing.
///
/// # Errors
/// The files cannot be read.
pub(crate) fn segments_for_reading(
    disk: &Arc<dyn Disk>,
    key: [u8; 32],
    end: Position,
) -> io::Result<(Segments, Vec<SegmentId>)> {
    let key = StoreKey(key);
    let segments = Segments::new(Arc::clone(disk), key, SEGMENTS_OPEN_MAX);
    let mut headless = Vec::new();
    for id in segment::list(&**disk)? {
        let file = disk.open(&segment::path(id), OpenMode::Existing)?;
        let reader = SegmentReader::new(file, key, id)?;
        match reader.segment_header() {
            Ok(Header::Valid(header)) => {
                segments.add(id, Some(header.generation), reader.length);
            }
            // A last file that was being made; reading says so if it is none.
            Ok(Header::Absent) if id > end.segment => {}
            Ok(Header::Absent | Header::Newer(_)) | Err(_) => {
                segments.add(id, None, reader.length);
                headless.push(id);
            }
        }
    }
    segments.set_end(end.segment, end.offset, 0);
    Ok((segments, headless))
}

/// The segments' files as a crash may leave them.
struct FoundSegments {
    /// Those before the checkpoint, with their generations, as far as these are known, and their bytes; too
    /// many to be open at once. They are there for their contents, which lie behind sound headers and others.
    before: Vec<(SegmentId, Option<u64>, u64)>,
    /// Those with a valid header from the checkpoint on, the oldest first.
    segments: Vec<(SegmentHeader, SegmentReader)>,
    /// A last file that was being made and never held a group.
    leftover: Option<SegmentId>,
}

impl FoundSegments {
    fn read<E>(
        disk: &Arc<dyn Disk>,
        key: StoreKey,
        checkpoint: SegmentId,
    ) -> Result<Self, JournalOpenError<E>> {
        let ids = match segment::list(&**disk) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            ids => ids.map_err(JournalOpenError::Io)?,
        };
        // From the checkpoint on none may be missing; before it any may have been reclaimed.
        let mut expected = checkpoint;
        for &id in ids.iter().filter(|id| **id >= checkpoint) {
            if id != expected {
                break;
            }
            expected = SegmentId(expected.0.saturating_add(1));
        }
        let last = ids.last().filter(|last| **last >= checkpoint);
        if last.is_none_or(|last| last.0.checked_add(1) != Some(expected.0)) {
            return Err(damaged(expected, 0, "its file is missing"));
        }
        let mut found = Self { before: Vec::new(), segments: Vec::new(), leftover: None };
        for id in ids {
            let reader = disk
                .open(&segment::path(id), OpenMode::Existing)
                .and_then(|file| SegmentReader::new(file, key, id));
            let mut reader = reader.map_err(JournalOpenError::Io)?;
            if id < checkpoint {
                let generation = generation_of_old(&reader)?;
                found.before.push((id, generation, reader.length));
                continue;
            }
            match reader.segment_header().map_err(JournalOpenError::Io)? {
                Header::Valid(header) => {
                    reader.generation = Some(header.generation);
                    found.segments.push((header, reader));
                }
                Header::Newer(version) => return Err(newer(version)),
                Header::Absent => {
                    // A header is synced before its segment's first group, so the last file
                    // without either was being made.
                    let is_last = SegmentId(id.0.saturating_add(1)) == expected;
                    let tail = reader.tail(0).map_err(JournalOpenError::Io)?;
                    if !is_last || id == checkpoint || tail.group_start.is_some() {
                        return Err(damaged(id, 0, "its header fails its checksum"));
                    }
                    found.leftover = Some(id);
                }
            }
        }
        Ok(found)
    }

    /// Makes contents and names durable that only the system's memory may hold, and removes what
    /// was left over.
    fn settle(&self, disk: &dyn Disk, last: &SegmentReader) -> io::Result<()> {
        last.file.sync_data()?;
        if let Some(id) = self.leftover {
            disk.remove(&segment::path(id))?;
        }
        disk.sync_dir(DIRECTORY)
    }
}

/// The generation of a segment from before the checkpoint; `None` if its header is damaged or cannot be read,
/// which is no reason not to serve what else there is.
fn generation_of_old<E>(reader: &SegmentReader) -> Result<Option<u64>, JournalOpenError<E>> {
    let segment = reader.segment.0;
    match reader.segment_header() {
        Ok(Header::Valid(header)) => Ok(Some(header.generation)),
        Ok(Header::Newer(version)) => Err(newer(version)),
        Ok(Header::Absent) => {
            tracing::error!(segment, "the header of a journal segment fails its checksum");
            Ok(None)
        }
        Err(error) => {
            tracing::error!(segment, %error, "the header of a journal segment cannot be read");
            Ok(None)
        }
    }
}

/// The replay under way.
struct Replay<F> {
    last_sequence: Sequence,
    /// The last group of the segment that was read last.
    last_group: Option<GroupHeader>,
    apply: F,
}

impl<F> Replay<F> {
    /// Replays everything; answers the end of the last group, its segment, and where the remains
    /// of a torn group behind it end.
    fn run<'a, E>(
        &mut self,
        found: &'a FoundSegments,
        checkpoint: Position,
    ) -> Result<(Position, &'a SegmentReader, u64), JournalOpenError<E>>
    where
        F: FnMut(ReplayedGroup) -> Result<(), E>,
    {
        let mut segments = found.segments.iter().peekable();
        while let Some((header, reader)) = segments.next() {
            let mut start = Position {
                segment: header.segment,
                generation: header.generation,
                offset: PAGE_BYTES,
            };
            if start.segment == checkpoint.segment {
                check_checkpoint(checkpoint, start, reader)?;
                start = checkpoint;
            }
            let (end, reason) = self.run_segment(start, reader)?;
            let Some((next, _reader)) = segments.peek() else {
                let tail = reader.tail(end.offset).map_err(JournalOpenError::Io)?;
                if let Some(group) = tail.group_start {
                    let reason = format!("{reason}, and a group follows at byte {group}");
                    return Err(damaged(end.segment, end.offset, reason));
                }
                return Ok((end, reader, tail.nonzero_end));
            };
            // A segment is sealed after its last group's sync, so that group cannot be torn.
            if next.first_sequence != self.last_sequence.next() {
                let reason = format!(
                    "{reason}, and the next segment starts at sequence {} where {} is expected",
                    next.first_sequence,
                    self.last_sequence.next()
                );
                return Err(damaged(end.segment, end.offset, reason));
            }
        }
        // Unreachable by way of `FoundSegments::read`, which finds the checkpoint's segment.
        Err(damaged(checkpoint.segment, 0, "its file is missing"))
    }

    /// Replays one segment up to the first place without a whole group, and says why it is none.
    fn run_segment<E>(
        &mut self,
        start: Position,
        reader: &SegmentReader,
    ) -> Result<(Position, &'static str), JournalOpenError<E>>
    where
        F: FnMut(ReplayedGroup) -> Result<(), E>,
    {
        let mut end = start;
        self.last_group = None;
        loop {
            let (header, records) = match reader.group(end.offset).map_err(JournalOpenError::Io)? {
                Found::Group(header, records) => (header, records),
                Found::Newer(version) => return Err(newer(version)),
                Found::Bad(reason) => return Ok((end, reason)),
            };
            let expected = self.last_sequence.next();
            if header.first_sequence != expected {
                let reason = format!(
                    "its group starts at sequence {} where {expected} is expected",
                    header.first_sequence
                );
                return Err(damaged(end.segment, end.offset, reason));
            }
            let last = records.last().map_or(expected, |record| record.sequence);
            end = header.end();
            (self.apply)(ReplayedGroup { records, end }).map_err(JournalOpenError::Apply)?;
            self.last_sequence = last;
            self.last_group = Some(header);
        }
    }
}

/// Checks that the checkpoint names a place in the segment that was found.
fn check_checkpoint<E>(
    checkpoint: Position,
    start: Position,
    reader: &SegmentReader,
) -> Result<(), JournalOpenError<E>> {
    if checkpoint.generation != start.generation {
        let reason = "it is another file than the one that the checkpoint names";
        return Err(damaged(start.segment, 0, reason));
    }
    if checkpoint.offset > reader.length.max(PAGE_BYTES) {
        let reason = format!("the file ends here, before the checkpoint at {}", checkpoint.offset);
        return Err(damaged(start.segment, reader.length, reason));
    }
    if checkpoint.offset < PAGE_BYTES || !checkpoint.offset.is_multiple_of(PAGE_BYTES) {
        return Err(damaged(
            start.segment,
            checkpoint.offset,
            "the checkpoint is no end of a group",
        ));
    }
    Ok(())
}

/// Writes what was found last once more, so that the coming sync covers it even if an earlier one
/// failed and the system holds its pages for written.
fn confirm(last: &SegmentReader, group: Option<&GroupHeader>) -> io::Result<()> {
    let (start, length) = match group {
        Some(group) => (group.start.offset, group.content_end() - group.start.offset),
        None => (0, u64::try_from(SEGMENT_HEADER_BYTES).map_err(io::Error::other)?),
    };
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    last.file.read_exact_at(&mut bytes, start)?;
    last.file.write_all_at(&[IoSlice::new(&bytes)], start)
}

/// Makes the file end behind its last group in nothing but zeros; synced by the caller.
fn cut_tail(last: &SegmentReader, start: u64, torn_end: u64) -> io::Result<()> {
    if last.length < start {
        // The last group lost zeros at its end; a checkpoint may name where they ended.
        last.file.set_len(start)?;
    }
    let mut offset = start;
    while offset < torn_end {
        let bytes = PAGE_BYTES.min(torn_end - offset);
        let zeros = ZERO_PAGE.get(..usize::try_from(bytes).map_err(io::Error::other)?);
        last.file.write_all_at(&[IoSlice::new(zeros.unwrap_or_default())], offset)?;
        offset += bytes;
    }
    Ok(())
}

fn damaged<E>(segment: SegmentId, offset: u64, reason: impl Into<String>) -> JournalOpenError<E> {
    JournalOpenError::Damaged { segment, offset, reason: reason.into() }
}

fn newer<E>(found: u32) -> JournalOpenError<E> {
    JournalOpenError::NewerFormat { found, known: FORMAT_VERSION }
}

#[cfg(test)]
mod tests;
