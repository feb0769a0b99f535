//! Appends groups, and makes room for them before it does.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, OpenMode};
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
        let mut file = SegmentFile {
            id: first,
            file,
            allocated: 0,
        };
        file.reserve(PAGE_BYTES, options).map_err(io_error)?;
        let end = start_segment(&*disk, key, &file, Sequence::ZERO.next())?;
        let segments = Arc::new(Segments::new(Arc::clone(&disk), key));
        segments.add(first, Arc::clone(&file.file), end.generation, end.offset);
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
            assert_eq!(
                record.sequence,
                last_sequence.next(),
                "a gap in the journal's sequences"
            );
            last_sequence = record.sequence;
        }
        if records.is_empty() {
            return Ok(Appended {
                blobs: Vec::new(),
                end: self.current.end,
                bytes: 0,
            });
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
        self.segments.set_end(end.segment, end.offset);
        Ok(Appended {
            blobs,
            end,
            bytes: end.offset - start.offset,
        })
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
            self.take_spare(PAGE_BYTES + bytes)
                .map(|spare| self.spare = Some(spare))
        };
        self.latched(reserved)
    }

    /// Starts a new segment now, so that the one before can be reclaimed; does nothing if the
    /// current one has no group yet.
    ///
    /// # Errors
    /// As [`Journal::append`].
    ///
    /// # Durability
    /// The new segment's header and name are synced.
    pub(crate) fn roll(&mut self) -> Result<(), AppendError> {
        self.check_not_failed()?;
        if self.is_current_empty() {
            return Ok(());
        }
        self.roll_for(0)
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
        let spare_fits = self
            .spare
            .as_ref()
            .is_some_and(|spare| spare.allocated >= PAGE_BYTES + bytes);
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
        self.segments
            .add(next.id, Arc::clone(&next.file), end.generation, end.offset);
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
            SegmentFile {
                id,
                file: file.map_err(append_error)?,
                allocated: 0,
            }
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
        self.current.file.file.write_all_at(&pieces, start.offset)?;
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
        self.file
            .allocate(self.allocated, length)
            .map_err(append_error)?;
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
    let header = SegmentHeader {
        segment: file.id,
        generation,
        first_sequence,
    };
    file.file
        .write_all_at(&[IoSlice::new(&header.encode(&key))], 0)?;
    file.file.sync_data()?;
    disk.sync_dir(DIRECTORY)?;
    Ok(Position {
        segment: file.id,
        generation,
        offset: PAGE_BYTES,
    })
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
    if matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
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
mod tests {
    use super::super::test_store::{KEY, TestStore, group, read_back};
    use super::*;
    use crate::disk::{Reached, SimulatedDisk};
    use crate::model::Digest;
    use crate::model::change::BlobPlace;

    #[test]
    fn what_was_appended_over_several_segments_replays_in_order() {
        let mut store = TestStore::new();
        while store.journal.segments().ids().len() < 4 {
            store.append_group();
        }
        let (journal, replayed) = store.reopen();
        assert_eq!(replayed, store.answered);
        assert_eq!(
            journal.last_sequence(),
            store.answered.last().unwrap().sequence
        );
        assert_eq!(journal.end(), store.journal.end());
        for id in journal.segments().ids() {
            let (found, expected) = (journal.segments(), store.journal.segments());
            assert_eq!(found.length(id), expected.length(id), "segment {}", id.0);
        }
        for blob in store.answered.iter().flat_map(|record| &record.blobs) {
            read_back(&journal, blob);
        }
    }

    #[test]
    fn a_replay_from_a_checkpoint_gives_what_follows_it() {
        let mut store = TestStore::new();
        for _group in 0..4 {
            store.append_group();
        }
        let (checkpoint, applied) = (store.journal.end(), store.answered.len());
        for _group in 0..4 {
            store.append_group();
        }
        let sequence = store.answered[applied - 1].sequence;
        let (_journal, replayed) = store.open_from(&store.disk, checkpoint, sequence).unwrap();
        assert_eq!(replayed, store.answered[applied..]);

        let end = store.journal.end();
        let last = store.journal.last_sequence();
        let (mut journal, replayed) = store.open_from(&store.disk, end, last).unwrap();
        assert_eq!(replayed, []);
        journal.append(&group(last.next(), 1)).unwrap();
    }

    #[test]
    fn a_group_larger_than_a_segment_has_one_for_itself() {
        let mut store = TestStore::new();
        store.append_group();
        let mut records = group(store.journal.last_sequence().next(), 2);
        let large = vec![5; usize::try_from(store.journal.options.segment_bytes).unwrap()];
        records[0].change = large;
        store.append(&records);
        store.append_group();
        assert_eq!(store.journal.segments().ids().len(), 3);
        assert_eq!(store.reopen().1, store.answered);
    }

    #[test]
    fn a_full_disk_refuses_a_group_and_takes_it_once_there_is_space() {
        let mut store = TestStore::new();
        store.append_group();
        store.disk.set_space(1 << 20, 0);
        let before = store.journal.end();
        let refused = loop {
            let records = group(store.journal.last_sequence().next(), 4);
            match store.journal.append(&records) {
                Ok(appended) => store.note(&records, &appended),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, AppendError::OutOfSpace), "{refused}");
        assert!(store.journal.end() >= before);
        let (_journal, replayed) = store.open_image(Reached::Nothing).unwrap();
        assert_eq!(replayed, store.answered);

        store.disk.set_space(1 << 20, 1 << 19);
        for _group in 0..8 {
            store.append_group();
        }
        let (_journal, replayed) = store.open_image(Reached::Nothing).unwrap();
        assert_eq!(replayed, store.answered);
    }

    #[test]
    fn space_that_was_put_aside_takes_groups_on_a_full_disk() {
        for groups_before in 0..8 {
            let mut store = TestStore::new();
            for _group in 0..groups_before {
                store.append_group();
            }
            let reserve = 3 * PAGE_BYTES;
            store.journal.ensure_space(reserve).unwrap();
            store.disk.set_space(1 << 20, 0);
            for _group in 0..3 {
                let records = group(store.journal.last_sequence().next(), 1);
                store.append(&records);
            }
            let (_journal, replayed) = store.open_image(Reached::Nothing).unwrap();
            assert_eq!(replayed, store.answered, "{groups_before} groups before");
        }
    }

    #[test]
    fn a_failure_is_final_until_the_journal_is_opened_again() {
        for failing in 1..=2 {
            let mut store = TestStore::new();
            store.append_group();
            store.journal.ensure_space(4 * PAGE_BYTES).unwrap();
            let operations = store.disk.operations();
            store
                .disk
                .fail_once(operations + failing, io::ErrorKind::Other);
            let records = group(store.journal.last_sequence().next(), 2);
            for attempt in 0..2 {
                let error = store.journal.append(&records).unwrap_err();
                assert!(
                    matches!(error, AppendError::Failed(_)),
                    "attempt {attempt}: {error}"
                );
            }
            assert!(store.journal.roll().is_err());
            assert!(store.journal.ensure_space(1).is_err());
            assert_eq!(
                store.disk.operations(),
                operations + failing,
                "nothing was tried again"
            );
        }
    }

    #[test]
    fn a_group_that_only_the_cache_holds_is_synced_before_it_is_replayed() {
        let mut store = TestStore::new();
        store.append_group();
        store.journal.ensure_space(4 * PAGE_BYTES).unwrap();
        store
            .disk
            .fail_once(store.disk.operations() + 2, io::ErrorKind::Other);
        let records = group(store.journal.last_sequence().next(), 2);
        store.journal.append(&records).unwrap_err();

        // The process starts again, the machine does not.
        let (journal, replayed) = store.reopen();
        assert_eq!(replayed.len(), store.answered.len() + 2);
        drop(journal);
        let (_journal, after_power_loss) = store.open_image(Reached::Nothing).unwrap();
        assert_eq!(after_power_loss, replayed);
    }

    #[test]
    fn a_segment_that_is_rolled_away_can_be_removed_and_its_readers_read_on() {
        let mut store = TestStore::new();
        store.append_group();
        let old = store.journal.end().segment;
        store.journal.roll().unwrap();
        store.journal.roll().unwrap();
        let segments = store.journal.segments();
        assert_eq!(segments.ids().len(), 2, "an empty segment is not rolled");

        let mut blobs = Vec::new();
        segments
            .blobs_of(old, |blob| {
                blobs.push(blob);
                true
            })
            .unwrap();
        let named = store
            .answered
            .iter()
            .flat_map(|record| record.blobs.iter().copied());
        let inside = |blob: &NewBlob| matches!(blob.place, BlobPlace::Segment { .. });
        assert_eq!(blobs, named.filter(inside).collect::<Vec<_>>());

        let file = segments.get(old).unwrap();
        segments.remove(old).unwrap();
        assert!(segments.get(old).is_none());
        let BlobPlace::Segment { offset, .. } = blobs[0].place else {
            panic!("{:?}", blobs[0])
        };
        let mut bytes = vec![0; usize::try_from(blobs[0].length).unwrap()];
        file.read_exact_at(&mut bytes, offset).unwrap();
        assert_eq!(Digest::of(&bytes), blobs[0].digest);

        let (end, last) = (store.journal.end(), store.journal.last_sequence());
        let image = store.disk.image(Reached::Nothing);
        let (_journal, replayed) = store.open_from(&image, end, last).unwrap();
        assert_eq!(replayed, []);
    }

    #[test]
    fn a_journal_that_holds_a_group_is_not_made_anew() {
        let mut store = TestStore::new();
        let disk: Arc<dyn Disk> = Arc::new(store.disk.clone());
        let options = store.journal.options;
        Journal::create(Arc::clone(&disk), [9; 32], options).unwrap();
        let (journal, start) = Journal::create(Arc::clone(&disk), KEY, options).unwrap();
        (store.journal, store.start) = (journal, start);
        store.append_group();
        let error = Journal::create(disk, [9; 32], options).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(store.reopen().1, store.answered);
    }

    #[test]
    #[should_panic(expected = "a gap in the journal's sequences")]
    fn a_gap_in_the_sequences_is_never_written() {
        let disk = Arc::new(SimulatedDisk::new());
        let options = TestStore::new().journal.options;
        let (mut journal, _start) = Journal::create(disk, KEY, options).unwrap();
        drop(journal.append(&group(Sequence(2), 1)));
    }

    #[test]
    fn a_journal_on_the_file_system_replays_too() {
        let temporary = tempfile::tempdir().unwrap();
        let disk = crate::disk::RealDisk::new(temporary.path().into()).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let options = TestStore::new().journal.options;
        let (mut journal, start) = Journal::create(Arc::clone(&disk), KEY, options).unwrap();
        let mut count = 0;
        while journal.segments().ids().len() < 3 {
            let records = group(journal.last_sequence().next(), 5);
            count += journal.append(&records).unwrap().blobs.len();
        }
        let end = journal.end();
        drop(journal);
        let mut replayed = 0;
        let apply = |group: super::super::ReplayedGroup| {
            replayed += group.records.len();
            Ok::<(), std::convert::Infallible>(())
        };
        let opened = Journal::open(disk, KEY, options, start, Sequence::ZERO, apply).unwrap();
        assert_eq!((replayed, opened.end()), (count, end));
    }
}
