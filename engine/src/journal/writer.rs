//! Appends groups, and makes room for them before it does.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, OpenMode, is_full};
use crate::model::Sequence;
use crate::model::change::SegmentId;

use super::frame::{
    GROUP_HEADER_BYTES, GroupHeader, PAGE_BYTES, SegmentHeader, StoreKey, ZERO_PAGE, page_end,
};
use super::record::{GroupSize, encode_record, payloads, place_blobs};
use super::segment::{self, DIRECTORY, Segments};
use super::{AppendError, Appended, JournalOptions, NewBlob, NewRecord, Position};

/// The journal, open for appending; owned by one thread.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) key: StoreKey,
    pub(super) options: JournalOptions,
    pub(super) segments: Arc<Segments>,
    pub(super) current: Current,
    /// The next segment's file, with space and without a header: a crash leaves nothing of it.
    pub(super) spare: Option<SegmentFile>,
    pub(super) last_sequence: Sequence,
    /// Set by the first failure and never cleared (I7).
    pub(super) failed: bool,
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) file: SegmentFile,
    /// Where the next group starts.
    pub(super) end: Position,
}

/// A segment's file and the space it has.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) id: SegmentId,
    pub(super) file: Arc<dyn DiskFile>,
    /// Bytes from the start for which space is reserved.
    pub(super) allocated: u64,
}

impl Journal {
    /// Makes the journal of a new store and answers where it starts. What is left of an earlier
    /// attempt that never held a group goes.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is a journal that holds anything.
    ///
    /// # Durability
    /// The first segment and all names are synced.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        key: [u8; 32],
        options: JournalOptions,
    ) -> io::Result<(Self, Position)> {
        let key = StoreKey(key);
        disk.create_dir(DIRECTORY)?;
        disk.sync_dir("")?;
        for id in segment::list(&*disk)? {
            let path = segment::path(id);
            if holds_groups(&*disk.open(&path, OpenMode::Existing)?)? {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.remove(&path)?;
        }
        let first = SegmentId(1);
        let file = disk.open(&segment::path(first), OpenMode::CreateNew)?;
        let mut file = SegmentFile { id: first, file, allocated: 0 };
        file.reserve(PAGE_BYTES, options).map_err(io_error)?;
        let end = start_segment(&*disk, key, &file, Sequence::ZERO.next())?;
        let segments = Arc::new(Segments::new(Arc::clone(&disk), key, options.segments_open_max));
        segments.add_new(first, Arc::clone(&file.file), end.generation, end.offset);
        let journal = Self {
            disk,
            key,
            options,
            segments,
            current: Current { file, end },
            spare: None,
            last_sequence: Sequence::ZERO,
            failed: false,
        };
        Ok((journal, end))
    }

    /// Appends a group.
    ///
    /// # Errors
    /// After [`AppendError::OutOfSpace`] nothing was written, and the next group may be appended.
    /// After [`AppendError::Failed`] only opening again tells whether the group is there (I7).
    ///
    /// # Durability
    /// The group is synced.
    ///
    /// # Panics
    /// The sequences do not go on where the last group ended: written down, that would be damage.
    pub(crate) fn append(&mut self, records: &[NewRecord]) -> Result<Appended, AppendError> {
        self.check_not_failed()?;
        let mut last_sequence = self.last_sequence;
        for record in records {
            assert_eq!(record.sequence, last_sequence.next(), "a gap in the journal's sequences");
            last_sequence = record.sequence;
        }
        if records.is_empty() {
            return Ok(Appended { blobs: Vec::new(), end: self.current.end, bytes: 0 });
        }
        let size = GroupSize::of(records);
        let content_bytes = u64::try_from(size.content_bytes())
            .map_err(|error| AppendError::Failed(io::Error::other(error)))?;
        self.make_room(page_end(content_bytes))?;
        let start = self.current.end;
        let written = self.write_group(records, size, start);
        let (blobs, end) = self.latched(written.map_err(AppendError::Failed))?;
        self.current.end = end;
        self.last_sequence = last_sequence;
        let bytes = end.offset - start.offset;
        self.segments.set_end(end.segment, end.offset, bytes.saturating_sub(contents_of(records)));
        Ok(Appended { blobs, end, bytes })
    }

    /// Where the next group starts, which is the end of all groups so far.
    pub(crate) fn end(&self) -> Position {
        self.current.end
    }

    /// The last record's sequence.
    pub(crate) fn last_sequence(&self) -> Sequence {
        self.last_sequence
    }

    /// The segments, for reading.
    pub(crate) fn segments(&self) -> Arc<Segments> {
        Arc::clone(&self.segments)
    }

    /// Reserves space, so that groups of this many bytes in all do not run out of it; at most a
    /// segment's worth. Costs nothing where the space is there.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub(crate) fn ensure_space(&mut self, bytes: u64) -> Result<(), AppendError> {
        self.check_not_failed()?;
        let bytes = page_end(bytes).min(self.options.segment_bytes.saturating_sub(PAGE_BYTES));
        let end = self.current.end.offset.saturating_add(bytes);
        let reserved = if end <= self.options.segment_bytes {
            self.current.file.reserve(end, self.options)
        } else {
            self.take_spare(PAGE_BYTES + bytes).map(|spare| self.spare = Some(spare))
        };
        self.latched(reserved)
    }

    /// Whether groups of this many bytes in all find their space set aside.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let bytes = page_end(bytes);
        let end = self.current.end.offset.saturating_add(bytes);
        let fits = end <= self.current.file.allocated.min(self.options.segment_bytes);
        fits || self.spare.as_ref().is_some_and(|spare| spare.allocated >= PAGE_BYTES + bytes)
    }

    /// Starts a new segment now, so that the one before can be reclaimed, with space for groups of so many
    /// bytes set aside; does nothing if the current one has no group yet.
    ///
    /// # Errors
    /// As [`Journal::append`].
    ///
    /// # Durability
    /// The new segment's header and name are synced.
    pub(crate) fn roll(&mut self, set_aside: u64) -> Result<(), AppendError> {
        self.check_not_failed()?;
        if self.is_current_empty() {
            return Ok(());
        }
        let set_aside = set_aside.min(self.options.segment_bytes.saturating_sub(PAGE_BYTES));
        match self.roll_for(set_aside) {
            Err(AppendError::OutOfSpace) => self.roll_into_the_rest(set_aside),
            rolled => rolled,
        }
    }

    /// Starts a new segment in the space that the current one has set aside, which would go back with the roll,
    /// if that is enough.
    fn roll_into_the_rest(&mut self, set_aside: u64) -> Result<(), AppendError> {
        let allocated = self.current.file.allocated;
        let rest = allocated.saturating_sub(PAGE_BYTES + set_aside);
        if rest < self.current.end.offset {
            return Err(AppendError::OutOfSpace);
        }
        let cut = self.current.file.cut_to(rest);
        self.latched(cut)?;
        let rolled = self.roll_for(set_aside);
        if matches!(rolled, Err(AppendError::OutOfSpace)) {
            let taken_back = self.current.file.reserve_to(allocated);
            // Where somebody else was quicker it is as if they had been before.
            if let Err(AppendError::Failed(error)) = self.latched(taken_back) {
                return Err(AppendError::Failed(error));
            }
        }
        rolled
    }

    fn is_current_empty(&self) -> bool {
        self.current.end.offset == PAGE_BYTES
    }

    fn check_not_failed(&self) -> Result<(), AppendError> {
        if self.failed {
            let text = "the journal failed before and was not opened again";
            return Err(AppendError::Failed(io::Error::other(text)));
        }
        Ok(())
    }

    /// Remembers a failure for good (I7).
    fn latched<T>(&mut self, result: Result<T, AppendError>) -> Result<T, AppendError> {
        self.failed |= matches!(result, Err(AppendError::Failed(_)));
        result
    }

    /// Sees to it that this many bytes fit, with space reserved, at the end.
    fn make_room(&mut self, bytes: u64) -> Result<(), AppendError> {
        let end = self.current.end.offset.saturating_add(bytes);
        if end > self.options.segment_bytes && !self.is_current_empty() {
            return self.roll_for(bytes);
        }
        let reserved = self.current.file.reserve(end, self.options);
        let spare_fits =
            self.spare.as_ref().is_some_and(|spare| spare.allocated >= PAGE_BYTES + bytes);
        match reserved {
            // The space that was put aside is just for this.
            Err(AppendError::OutOfSpace) if spare_fits => self.roll_for(bytes),
            reserved => self.latched(reserved),
        }
    }

    /// Starts the next segment with space for a group of this many bytes.
    fn roll_for(&mut self, bytes: u64) -> Result<(), AppendError> {
        let next = self.take_spare(PAGE_BYTES + bytes);
        let next = self.latched(next)?;
        let started = start_segment(&*self.disk, self.key, &next, self.last_sequence.next());
        let end = self.latched(started.map_err(AppendError::Failed))?;
        self.segments.add_new(next.id, Arc::clone(&next.file), end.generation, end.offset);
        let sealed = std::mem::replace(&mut self.current, Current { file: next, end });
        // What was reserved and not used goes back; a crash before that only costs its space.
        if sealed.file.allocated > sealed.end.offset {
            let cut = sealed.file.file.set_len(sealed.end.offset);
            self.latched(cut.map_err(AppendError::Failed))?;
        }
        Ok(())
    }

    /// Makes the next segment's file, or takes the one that was put aside, with space up to this
    /// byte.
    fn take_spare(&mut self, end: u64) -> Result<SegmentFile, AppendError> {
        let mut spare = if let Some(spare) = self.spare.take() {
            spare
        } else {
            let id = SegmentId(self.current.file.id.0 + 1);
            let file = self.disk.open(&segment::path(id), OpenMode::CreateNew);
            SegmentFile { id, file: file.map_err(append_error)?, allocated: 0 }
        };
        match spare.reserve(end, self.options) {
            Ok(()) => Ok(spare),
            Err(error) => {
                // Kept without the space, since its name is taken now.
                self.spare = Some(spare);
                Err(error)
            }
        }
    }

    fn write_group(
        &self,
        records: &[NewRecord],
        size: GroupSize,
        start: Position,
    ) -> io::Result<(Vec<Vec<NewBlob>>, Position)> {
        let blobs = place_blobs(records, size, start)?;
        let mut records_part = Vec::with_capacity(size.records_bytes);
        for (record, blobs) in records.iter().zip(&blobs) {
            encode_record(record, blobs, &mut records_part)?;
        }
        let header = GroupHeader {
            start,
            first_sequence: self.last_sequence.next(),
            record_count: u32::try_from(records.len()).map_err(io::Error::other)?,
            records_bytes: u64::try_from(records_part.len()).map_err(io::Error::other)?,
            payload_bytes: u64::try_from(size.payload_bytes).map_err(io::Error::other)?,
            records_hash: self.key.hash(&records_part),
        };
        let end = header.end();
        let header = header.encode(&self.key);
        debug_assert_eq!(header.len(), GROUP_HEADER_BYTES);
        let padding = page_end_padding(size.content_bytes());
        let mut pieces = vec![IoSlice::new(&header), IoSlice::new(&records_part)];
        pieces.extend(payloads(records).map(IoSlice::new));
        pieces.push(IoSlice::new(padding));
        self.current.file.file.write_pages_at(&pieces, start.offset)?;
        self.current.file.file.sync_data()?;
        Ok((blobs, end))
    }
}

impl SegmentFile {
    /// Reserves space up to this byte, and a step beyond it if the disk has that much.
    fn reserve(&mut self, end: u64, options: JournalOptions) -> Result<(), AppendError> {
        if end <= self.allocated {
            return Ok(());
        }
        let step = self.allocated.saturating_add(options.allocate_bytes);
        let ahead = step.min(options.segment_bytes).max(end);
        match self.reserve_to(ahead) {
            Err(AppendError::OutOfSpace) if ahead > end => self.reserve_to(end),
            reserved => reserved,
        }
    }

    fn reserve_to(&mut self, end: u64) -> Result<(), AppendError> {
        let length = end - self.allocated;
        match self.file.allocate(self.allocated, length).map_err(append_error) {
            Ok(()) => {
                self.allocated = end;
                Ok(())
            }
            Err(AppendError::OutOfSpace) => {
                // Some of it may be reserved all the same, and would be nobody's.
                self.cut_to(self.allocated)?;
                Err(AppendError::OutOfSpace)
            }
            failed => failed,
        }
    }

    /// Gives back what is reserved from this byte on.
    fn cut_to(&mut self, end: u64) -> Result<(), AppendError> {
        self.file.set_len(end).map_err(AppendError::Failed)?;
        self.allocated = end;
        Ok(())
    }
}

/// Writes a segment's header; it and the name are durable when this returns.
fn start_segment(
    disk: &dyn Disk,
    key: StoreKey,
    file: &SegmentFile,
    first_sequence: Sequence,
) -> io::Result<Position> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let generation = u64::from_le_bytes(random);
    let header = SegmentHeader { segment: file.id, generation, first_sequence };
    file.file.write_all_at(&[IoSlice::new(&header.encode(&key))], 0)?;
    file.file.sync_data()?;
    disk.sync_dir(DIRECTORY)?;
    Ok(Position { segment: file.id, generation, offset: PAGE_BYTES })
}

/// Bytes of contents in these records.
fn contents_of(records: &[NewRecord]) -> u64 {
    let bytes: usize = payloads(records).map(<[u8]>::len).sum();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The zeros between a group and the next page.
fn page_end_padding(content_bytes: usize) -> &'static [u8] {
    let length = content_bytes.next_multiple_of(ZERO_PAGE.len()) - content_bytes;
    ZERO_PAGE.get(..length).unwrap_or_default()
}

/// Whether anything but zeros follows a segment's first page, whatever the key.
fn holds_groups(file: &dyn DiskFile) -> io::Result<bool> {
    let length = file.len()?;
    let mut offset = PAGE_BYTES;
    while offset < length {
        let mut page = ZERO_PAGE;
        let bytes = usize::try_from(PAGE_BYTES.min(length - offset)).map_err(io::Error::other)?;
        let page = page.get_mut(..bytes).unwrap_or_default();
        file.read_exact_at(page, offset)?;
        if ZERO_PAGE.get(..bytes) != Some(page) {
            return Ok(true);
        }
        offset += PAGE_BYTES;
    }
    Ok(false)
}

fn append_error(error: io::Error) -> AppendError {
    if is_full(&error) {
        return AppendError::OutOfSpace;
    }
    AppendError::Failed(error)
}

fn io_error(error: AppendError) -> io::Error {
    match error {
        AppendError::OutOfSpace => io::ErrorKind::StorageFull.into(),
        AppendError::Failed(error) => error,
    }
}

#[cfg(test)]
mod tests;
