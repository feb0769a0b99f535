//! The file that says how far an upload came, however long it is written to.

use super::super::record::{Record, StateFile};
use super::*;
use crate::disk::OpenMode;
use crate::model::change::LargeFileId;

/// Records before a file is made anew.
const RECORDS_MAX: u64 = (1 << 20) / 64;

const FILE: LargeFileId = LargeFileId { start: 1, number: 2 };

fn progress(offset: u64) -> Record {
    Record::Progress { offset, at: Timestamp(offset.cast_signed()) }
}

/// A file of so many records, all of which are durable: one that tells of another name, and what came.
fn state_of(records: u64) -> (SimulatedDisk, ResumableId) {
    let disk = SimulatedDisk::new();
    disk.create_dir(STAGING).unwrap();
    disk.sync_dir("").unwrap();
    let id = ResumableId::draw().unwrap();
    let mut state = StateFile::create(&disk, id, &terms(DatasetId(1), b"content")).unwrap();
    disk.sync_dir(STAGING).unwrap();
    let publishing = Record::Publishing { file: FILE, digest: Digest::of(b"content") };
    state.append(&disk, &publishing).unwrap();
    for offset in 1..records {
        state.append(&disk, &progress(offset)).unwrap();
    }
    (disk, id)
}

/// Of a file that has place for one record more: without any.
fn full(disk: &SimulatedDisk, id: ResumableId) -> StateFile {
    let (mut state, _) = StateFile::open(disk, id).unwrap().unwrap();
    state.append(disk, &progress(RECORDS_MAX - 1)).unwrap();
    state
}

fn assert_says(disk: &SimulatedDisk, id: ResumableId, offset: u64, case: &str) {
    let (state, found) = StateFile::open(disk, id).unwrap().expect(case);
    assert_eq!(found, terms(DatasetId(1), b"content"));
    let known = state.known();
    assert_eq!(known.progress, Some((offset, Timestamp(offset.cast_signed()))), "{case}");
    assert_eq!(known.publishing, Some((FILE, Digest::of(b"content"))), "{case}");
    assert_eq!(known.added, None);
}

#[test]
fn a_file_stays_short_and_says_the_same() {
    let (disk, id) = state_of(2 * RECORDS_MAX + 10);
    assert_says(&disk, id, 2 * RECORDS_MAX + 9, "");
    let state = disk.open(&id.state_path(), OpenMode::ReadOnly).unwrap();
    assert!(state.len().unwrap() < 8192, "{}", state.len().unwrap());
    assert_eq!(disk.list(STAGING).unwrap().len(), 1);
}

#[test]
fn a_power_cut_while_a_file_is_made_anew_loses_no_record_that_was_told() {
    let (nearly_full, id) = state_of(RECORDS_MAX - 1);
    for is_restarted in [false, true] {
        let (mut stop, mut told) = (1, RECORDS_MAX - 1);
        while told < RECORDS_MAX + 2 {
            let mut disk = nearly_full.image(Reached::Everything);
            let mut state = full(&disk, id);
            told = RECORDS_MAX - 1;
            if is_restarted {
                // The last of the directory, after which the new file has its name.
                disk.fail(At::Sync(disk.syncs() + 2), Fault::Io);
                state.append(&disk, &progress(RECORDS_MAX)).unwrap_err();
                disk = disk.restart();
                (state, _) = StateFile::open(&disk, id).unwrap().unwrap();
            }
            disk.stop_at(disk.operations() + stop);
            while told < RECORDS_MAX + 2 && state.append(&disk, &progress(told + 1)).is_ok() {
                told += 1;
            }
            for reached in [Reached::Nothing, Reached::Everything, Reached::Torn(stop)] {
                let image = disk.image(reached);
                let case = format!("stopped at {stop}, {reached:?}, restarted: {is_restarted}");
                let (state, _) = StateFile::open(&image, id).unwrap().expect(&case);
                // One more may have been written, and not told.
                let found = state.known().progress.unwrap().0;
                assert!([told, told + 1].contains(&found), "{case}: {found} after {told}");
                assert_says(&image, id, found, &case);
            }
            stop += 1;
        }
        assert!(stop > 6, "there is something to stop at");
    }
}

/// An error of the disk while it is made anew is one of that record, and the next one goes on.
#[test]
fn a_file_that_could_not_be_made_anew_takes_the_next_record() {
    let (nearly_full, id) = state_of(RECORDS_MAX - 1);
    // Its old part is removed; made, written, synced, renamed, its name synced; the record, and its sync.
    for failed in 1..=8 {
        let disk = nearly_full.image(Reached::Everything);
        let mut state = full(&disk, id);
        disk.fail(At::Operation(disk.operations() + failed), Fault::Full);
        state.append(&disk, &progress(RECORDS_MAX)).unwrap_err();
        state.append(&disk, &progress(RECORDS_MAX + 1)).unwrap();
        assert_says(&disk.image(Reached::Nothing), id, RECORDS_MAX + 1, "");
    }
}
