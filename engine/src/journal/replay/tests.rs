//! What is torn, what is damaged, and that damage changes nothing.

use std::ops::Range;

use super::super::test_store::{KEY, OPTIONS, TestStore, group, open};
use super::super::{AppendError, NewRecord, RecordBlob, ReplayedRecord};
use super::*;
use crate::disk::{Reached, SimulatedDisk};
use crate::model::Digest;

/// A store of two groups and a last one whose content ends here, with its start.
fn store_with_last_group() -> (TestStore, Range<u64>, Vec<ReplayedRecord>) {
    let mut store = TestStore::new();
    store.append(&group(Sequence(1), 3));
    store.append(&group(Sequence(4), 2));
    let (start, earlier) = (store.journal.end(), store.answered.clone());
    store.append(&group(Sequence(6), 8));
    let header = reader(&store, start.segment).group_header(start.offset).unwrap();
    let Header::Valid(header) = header else { panic!("{header:?}") };
    assert!(header.content_end() - start.offset > PAGE_BYTES, "more than a page can tear");
    (store, start.offset..header.content_end(), earlier)
}

fn reader(store: &TestStore, segment: SegmentId) -> SegmentReader {
    let segments = store.journal.segments();
    let file = segments.get(segment).unwrap().unwrap();
    let mut reader = SegmentReader::new(file, StoreKey(KEY), segment).unwrap();
    reader.generation = Some(store.journal.end().generation);
    reader
}

fn bytes(disk: &SimulatedDisk, segment: SegmentId) -> Vec<u8> {
    let file = disk.open(&segment::path(segment), OpenMode::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The disk with some bytes of a segment changed.
fn changed(
    store: &TestStore,
    segment: SegmentId,
    range: Range<u64>,
    change: impl Fn(u8) -> u8,
) -> SimulatedDisk {
    let disk = store.disk.image(Reached::Nothing);
    let file = disk.open(&segment::path(segment), OpenMode::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
    file.read_exact_at(&mut bytes, range.start).unwrap();
    bytes = bytes.into_iter().map(change).collect();
    file.write_all_at(&[IoSlice::new(&bytes)], range.start).unwrap();
    file.sync_data().unwrap();
    disk
}

/// Opens a journal that must be damaged, and says where; nothing may have been changed.
fn damage(disk: &SimulatedDisk, store: &TestStore) -> (SegmentId, u64) {
    let operations = disk.operations();
    match open(disk, store.start, Sequence::ZERO) {
        Err(JournalOpenError::Damaged { segment, offset, .. }) => {
            assert_eq!(disk.operations(), operations, "a damaged journal was changed");
            (segment, offset)
        }
        other => panic!("not found to be damaged: {other:?}"),
    }
}

#[test]
fn a_last_group_torn_at_any_byte_is_cut_and_the_journal_goes_on() {
    let (store, last, earlier) = store_with_last_group();
    let segment = store.start.segment;
    for torn_at in last.clone() {
        let cut = store.disk.image(Reached::Nothing);
        let file = cut.open(&segment::path(segment), OpenMode::Existing).unwrap();
        file.set_len(torn_at).unwrap();
        let zeroed = changed(&store, segment, torn_at..last.end, |_byte| 0);
        let garbage = changed(&store, segment, torn_at..last.end, |byte| !byte);

        for (kind, disk) in [("cut", cut), ("zeroed", zeroed), ("garbage", garbage)] {
            let (mut journal, replayed) = open(&disk, store.start, Sequence::ZERO).unwrap();
            assert_eq!(replayed, earlier, "{kind} at {torn_at}");
            assert_eq!(journal.end().offset, last.start, "{kind} at {torn_at}");
            let found = bytes(&disk, segment);
            let from = usize::try_from(last.start).unwrap().min(found.len());
            assert!(found[from..].iter().all(|byte| *byte == 0), "{kind} at {torn_at}");

            journal.append(&group(journal.last_sequence().next(), 1)).unwrap();
            let image = disk.image(Reached::Nothing);
            let (_journal, replayed) = open(&image, store.start, Sequence::ZERO).unwrap();
            assert_eq!(replayed.len(), earlier.len() + 1, "{kind} at {torn_at}");
        }
    }
}

#[test]
fn any_changed_byte_of_an_earlier_group_is_damage_and_changes_nothing() {
    let mut store = TestStore::new();
    let mut groups = Vec::new();
    while store.journal.segments().ids().len() < 3 {
        let end = store.journal.end();
        let first = store.journal.last_sequence().next();
        store.append(&group(first, 2));
        let reader = reader(&store, end.segment);
        // The first group of a segment starts where the roll before it ended.
        if let Header::Valid(header) = reader.group_header(end.offset).unwrap() {
            groups.push((header.start, header.content_end()));
        }
    }
    assert!(groups.len() > 4);
    for (start, content_end) in groups {
        for byte in start.offset..content_end {
            let disk = changed(&store, start.segment, byte..byte + 1, |byte| byte ^ 0x10);
            let place = (start.segment, start.offset);
            assert_eq!(damage(&disk, &store), place, "byte {byte}");
        }
    }
}

#[test]
fn zeros_that_a_last_group_lost_stay_where_a_checkpoint_may_name_their_end() {
    let (store, last, _) = store_with_last_group();
    let disk = store.disk.image(Reached::Nothing);
    let segment = store.journal.end().segment;
    let file = disk.open(&segment::path(segment), OpenMode::Existing).unwrap();
    file.set_len(last.end).unwrap();
    let (mut journal, _) = open(&disk, store.start, Sequence::ZERO).unwrap();
    assert!(journal.end().offset > last.end, "the end of a page");
    disk.set_space(1 << 30, 0);
    let refused = journal.ensure_space(PAGE_BYTES);
    assert!(matches!(refused, Err(AppendError::OutOfSpace)), "{refused:?}");
    let (end, sequence) = (journal.end(), journal.last_sequence());
    drop(journal);
    open(&disk, end, sequence).unwrap();
}

#[test]
fn an_earlier_group_that_was_zeroed_or_cut_off_is_damage() {
    let mut store = TestStore::new();
    let mut ends = vec![store.journal.end()];
    while store.journal.segments().ids().len() < 3 {
        store.append_group();
        ends.push(store.journal.end());
    }
    let in_first: Vec<_> = ends.iter().filter(|end| end.segment == store.start.segment).collect();
    for pair in in_first.windows(2) {
        let segment = store.start.segment;
        let zeroed = changed(&store, segment, pair[0].offset..pair[1].offset, |_byte| 0);
        assert_eq!(damage(&zeroed, &store), (segment, pair[0].offset));

        let cut = store.disk.image(Reached::Nothing);
        let file = cut.open(&segment::path(segment), OpenMode::Existing).unwrap();
        file.set_len(pair[0].offset).unwrap();
        assert_eq!(damage(&cut, &store), (segment, pair[0].offset));
    }
}

#[test]
fn a_sealed_segment_without_its_last_group_is_damage_even_before_an_empty_one() {
    let mut store = TestStore::new();
    store.append_group();
    let before = store.journal.end();
    store.append_group();
    let after = store.journal.end();
    store.journal.roll(0).unwrap();
    let disk = changed(&store, before.segment, before.offset..after.offset, |_byte| 0);
    assert_eq!(damage(&disk, &store), (before.segment, before.offset));
}

#[test]
fn a_header_that_fails_its_check_is_damage_where_groups_depend_on_it() {
    let mut store = TestStore::new();
    while store.journal.segments().ids().len() < 3 {
        store.append_group();
    }
    for segment in store.journal.segments().ids() {
        for byte in 0..u64::try_from(SEGMENT_HEADER_BYTES).unwrap() {
            let disk = changed(&store, segment, byte..byte + 1, |byte| byte ^ 1);
            assert_eq!(damage(&disk, &store), (segment, 0), "byte {byte}");
        }
    }
}

#[test]
fn a_header_from_before_the_checkpoint_costs_no_content() {
    let mut store = TestStore::new();
    while store.journal.segments().ids().len() < 3 {
        store.append_group();
    }
    let (end, last) = (store.journal.end(), store.journal.last_sequence());
    for segment in store.journal.segments().ids().into_iter().filter(|id| *id < end.segment) {
        let disk = changed(&store, segment, 0..1, |byte| byte ^ 1);
        let (journal, _replayed) = open(&disk, end, last).unwrap();
        let segments = journal.segments();
        assert!(segments.get(segment).unwrap().is_some());
        // Its groups are another matter: they may be an earlier file's.
        let kind = segments.blobs_of(segment, |_| true).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_missing_segment_is_damage_and_one_before_the_checkpoint_may_be_missing() {
    let mut store = TestStore::new();
    while store.journal.segments().ids().len() < 3 {
        store.append_group();
    }
    let (end, last) = (store.journal.end(), store.journal.last_sequence());
    for segment in store.journal.segments().ids() {
        let disk = store.disk.image(Reached::Nothing);
        disk.remove(&segment::path(segment)).unwrap();
        if segment < end.segment {
            let (journal, _replayed) = open(&disk, end, last).unwrap();
            assert_eq!(journal.end(), end);
            assert_eq!(damage(&disk, &store), (segment, 0));
        } else {
            let operations = disk.operations();
            assert!(open(&disk, end, last).is_err());
            assert_eq!(disk.operations(), operations);
        }
    }
}

#[test]
fn a_checkpoint_that_names_another_file_or_a_place_beyond_the_end_is_damage() {
    let mut store = TestStore::new();
    store.append_group();
    let (end, last) = (store.journal.end(), store.journal.last_sequence());
    let wrong = [
        Position { generation: end.generation ^ 1, ..end },
        Position { offset: end.offset + (1 << 20), ..end },
        Position { offset: end.offset + 1, ..end },
        Position { segment: SegmentId(end.segment.0 + 1), ..end },
    ];
    for checkpoint in wrong {
        let opened = open(&store.disk, checkpoint, last);
        let is_damage = matches!(opened, Err(JournalOpenError::Damaged { .. }));
        assert!(is_damage, "{checkpoint:?}: {opened:?}");
    }
    let gap = open(&store.disk, store.start, last);
    assert!(matches!(gap, Err(JournalOpenError::Damaged { .. })), "{gap:?}");
}

#[test]
fn a_group_that_was_uploaded_as_a_content_is_never_taken_for_one() {
    let (mut store, last, _earlier) = store_with_last_group();
    let copied = bytes(&store.disk, store.start.segment);
    let range = usize::try_from(last.start).unwrap()..usize::try_from(last.end).unwrap();
    // What comes before the copy makes it start on a page.
    let mut content = copied[range].to_vec();
    content.resize(content.len().next_multiple_of(4096), 0);
    let header_bytes = 128 + 24 + 6 + 64;
    let mut bytes = vec![1; 4096 - header_bytes];
    bytes.extend(&content);
    let sequence = store.journal.last_sequence().next();
    let digest = Digest::of(&bytes);
    let payload = RecordBlob::Payload { digest, crc32: 0, bytes: bytes.into() };
    let forged = NewRecord { sequence, change: b"upload".to_vec(), blobs: vec![payload] };
    let start = store.journal.end();
    store.append(&[forged]);
    assert_eq!(store.journal.end().segment, start.segment);
    let written = self::bytes(&store.disk, start.segment);
    let first_page = usize::try_from(start.offset + PAGE_BYTES).unwrap();
    assert!(written[first_page..].starts_with(b"granaryG"), "the copy starts on a page");

    assert_eq!(store.reopen().1, store.answered);
    // Torn, the group is cut, and the copy inside it does not make that damage.
    let torn = changed(&store, start.segment, start.offset..start.offset + 1, |byte| !byte);
    let (journal, replayed) = open(&torn, store.start, Sequence::ZERO).unwrap();
    assert_eq!(replayed.len(), store.answered.len() - 1);
    assert_eq!(journal.end(), start);
}

#[test]
fn a_stale_group_of_an_earlier_file_is_never_taken_for_one() {
    let (store, last, _earlier) = store_with_last_group();
    let segment = store.start.segment;
    let stale = bytes(&store.disk, segment);

    let disk = SimulatedDisk::new();
    let (mut journal, start) = Journal::create(Arc::new(disk.clone()), KEY, OPTIONS).unwrap();
    assert_eq!(start.segment, segment);
    journal.append(&group(Sequence(1), 3)).unwrap();
    let file = disk.open(&segment::path(segment), OpenMode::Existing).unwrap();
    let end = journal.end().offset;
    let from = usize::try_from(end).unwrap();
    file.write_all_at(&[IoSlice::new(&stale[from..])], end).unwrap();
    assert!(last.start > end, "whole stale groups were written");

    let (reopened, replayed) = open(&disk, start, Sequence::ZERO).unwrap();
    assert_eq!(replayed.len(), 3);
    assert_eq!(reopened.end(), journal.end());
}

#[test]
fn what_is_left_of_a_segment_that_was_being_made_is_removed() {
    let mut store = TestStore::new();
    store.append_group();
    let next = SegmentId(store.start.segment.0 + 1);
    for content in [&b""[..], b"granaryS and then a crash", &[0; 5000]] {
        let file = store.disk.open(&segment::path(next), OpenMode::CreateNew).unwrap();
        file.write_all_at(&[IoSlice::new(content)], 0).unwrap();
        store.disk.sync_dir(DIRECTORY).unwrap();
        let (journal, replayed) = store.reopen();
        assert_eq!(replayed, store.answered);
        assert_eq!(journal.segments().ids(), [store.start.segment]);
        assert_eq!(store.disk.list(DIRECTORY).unwrap().len(), 1);
    }
}

#[test]
fn an_error_of_the_caller_ends_the_replay_and_changes_nothing() {
    let (store, _last, _earlier) = store_with_last_group();
    let operations = store.disk.operations();
    let disk = Arc::new(store.disk.clone());
    let opened = Journal::open(disk, KEY, OPTIONS, store.start, Sequence::ZERO, |_group| Err("no"));
    assert!(matches!(opened, Err(JournalOpenError::Apply("no"))), "{opened:?}");
    assert_eq!(store.disk.operations(), operations);
}

#[test]
fn a_last_group_without_the_zeros_behind_it_can_be_checkpointed() {
    let (store, last, _earlier) = store_with_last_group();
    let disk = store.disk.image(Reached::Nothing);
    let file = disk.open(&segment::path(store.start.segment), OpenMode::Existing).unwrap();
    file.set_len(last.end).unwrap();

    let (journal, replayed) = open(&disk, store.start, Sequence::ZERO).unwrap();
    assert_eq!(replayed, store.answered);
    let (end, applied) = (journal.end(), journal.last_sequence());
    drop(journal);
    let image = disk.image(Reached::Nothing);
    let (mut journal, replayed) = open(&image, end, applied).unwrap();
    assert_eq!(replayed, []);
    journal.append(&group(applied.next(), 2)).unwrap();
}
