//! What was appended replays; a full disk, a failure, a roll.

use super::super::test_store::{KEY, TestStore, group, open, read_back};
use super::*;
use crate::disk::{At, Fault, Reached, SimulatedDisk};
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
    assert_eq!(journal.last_sequence(), store.answered.last().unwrap().sequence);
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
    let (_journal, replayed) = open(&store.disk, checkpoint, sequence).unwrap();
    assert_eq!(replayed, store.answered[applied..]);

    let end = store.journal.end();
    let last = store.journal.last_sequence();
    let (mut journal, replayed) = open(&store.disk, end, last).unwrap();
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
        store.disk.fail(At::Operation(operations + failing), Fault::Io);
        let records = group(store.journal.last_sequence().next(), 2);
        for attempt in 0..2 {
            let error = store.journal.append(&records).unwrap_err();
            assert!(matches!(error, AppendError::Failed(_)), "attempt {attempt}: {error}");
        }
        assert!(store.journal.roll(0).is_err());
        assert!(store.journal.ensure_space(1).is_err());
        assert_eq!(store.disk.operations(), operations + failing, "nothing was tried again");
    }
}

#[test]
fn no_segment_is_begun_that_would_have_less_set_aside_than_is_wanted() {
    let mut store = TestStore::new();
    store.append_group();
    store.journal.ensure_space(4 * PAGE_BYTES).unwrap();
    let segment = store.journal.end().segment;
    store.disk.set_space(1 << 30, 3 * PAGE_BYTES);
    let refused = store.journal.roll(6 * PAGE_BYTES);
    assert!(matches!(refused, Err(AppendError::OutOfSpace)), "{refused:?}");
    assert!(store.journal.has_room(4 * PAGE_BYTES));
    assert_eq!(store.journal.end().segment, segment);
    store.disk.set_space(1 << 30, 32 * PAGE_BYTES);
    store.journal.roll(6 * PAGE_BYTES).unwrap();
    assert!(store.journal.has_room(6 * PAGE_BYTES));
    assert!(store.journal.end().segment > segment);
}

#[test]
fn what_a_segment_has_set_aside_is_enough_for_the_next_one() {
    let mut store = TestStore::new();
    store.append_group();
    // The segment's own rest; the disk has no other byte.
    store.journal.ensure_space(5 * PAGE_BYTES).unwrap();
    let segment = store.journal.end().segment;
    store.disk.set_space(1 << 30, 0);
    store.journal.roll(3 * PAGE_BYTES).unwrap();
    assert!(store.journal.end().segment > segment);
    assert!(store.journal.has_room(3 * PAGE_BYTES));

    let mut store = TestStore::new();
    store.append_group();
    store.journal.ensure_space(4 * PAGE_BYTES).unwrap();
    store.disk.set_space(1 << 30, 0);
    let refused = store.journal.roll(6 * PAGE_BYTES);
    assert!(matches!(refused, Err(AppendError::OutOfSpace)), "{refused:?}");
    assert!(store.journal.has_room(4 * PAGE_BYTES), "nothing was given back");
}

#[test]
fn a_group_that_only_the_cache_holds_is_synced_before_it_is_replayed() {
    let mut store = TestStore::new();
    store.append_group();
    store.journal.ensure_space(4 * PAGE_BYTES).unwrap();
    store.disk.fail(At::Operation(store.disk.operations() + 2), Fault::Io);
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
    store.journal.roll(0).unwrap();
    store.journal.roll(0).unwrap();
    let segments = store.journal.segments();
    assert_eq!(segments.ids().len(), 2, "an empty segment is not rolled");

    let mut blobs = Vec::new();
    segments
        .blobs_of(old, |blob| {
            blobs.push(blob);
            true
        })
        .unwrap();
    let named = store.answered.iter().flat_map(|record| record.blobs.iter().copied());
    let inside = |blob: &NewBlob| matches!(blob.place, BlobPlace::Segment { .. });
    assert_eq!(blobs, named.filter(inside).collect::<Vec<_>>());

    let file = segments.get(old).unwrap().unwrap();
    segments.remove(old).unwrap();
    segments.sync_removals().unwrap();
    assert!(segments.get(old).unwrap().is_none());
    let BlobPlace::Segment { offset, .. } = blobs[0].place else { panic!("{:?}", blobs[0]) };
    let mut bytes = vec![0; usize::try_from(blobs[0].length).unwrap()];
    file.read_exact_at(&mut bytes, offset).unwrap();
    assert_eq!(Digest::of(&bytes), blobs[0].digest);

    let (end, last) = (store.journal.end(), store.journal.last_sequence());
    let image = store.disk.image(Reached::Nothing);
    let (_journal, replayed) = open(&image, end, last).unwrap();
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
