//! What is put off, what waits for it, and what a failure leaves.

use super::*;
use crate::disk::{At, Disk, Fault, OpenMode, Reached, SimulatedDisk};

const PAGE: usize = 4096;

fn page(byte: u8) -> Vec<u8> {
    vec![byte; PAGE]
}

fn file(disk: &SimulatedDisk) -> Arc<IndexFile> {
    let file = disk.open("index", OpenMode::CreateNew).unwrap();
    disk.sync_dir("").unwrap();
    file.set_len(8 * 4096).unwrap();
    file.sync_data().unwrap();
    Arc::new(IndexFile::new(Arc::new(disk.clone()), file))
}

/// What a commit does: pages, the header, a sync, the header, a sync.
fn commit(file: &IndexFile, byte: u8) {
    file.write(4096, &page(byte)).unwrap();
    file.write(3 * 4096, &page(byte + 1)).unwrap();
    file.write(0, &[byte; 320]).unwrap();
    file.sync().unwrap();
    file.write(0, &[byte + 1; 320]).unwrap();
    file.sync().unwrap();
}

fn read(file: &IndexFile, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read(offset, &mut bytes).unwrap();
    bytes
}

fn on_platter(disk: &SimulatedDisk, reached: Reached, offset: u64) -> u8 {
    let file = disk.image(reached).open("index", OpenMode::Existing).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0]
}

#[test]
fn what_is_put_off_is_seen_at_once_and_lasts_once_it_is_carried_out() {
    let disk = SimulatedDisk::new();
    let file = file(&disk);
    let syncs = disk.syncs();
    file.put_off().unwrap();
    commit(&file, 7);
    assert_eq!(disk.syncs(), syncs, "a sync was not put off");
    assert_eq!(read(&file, 4096, PAGE), page(7));
    assert_eq!(read(&file, 3 * 4096, PAGE), page(8));
    assert_eq!(read(&file, 0, 320), [8; 320]);
    assert_eq!(read(&file, 2 * 4096, PAGE), page(0));
    file.carry_out();
    file.settle().unwrap();
    assert!(file.is_settled().unwrap());
    assert_eq!(disk.syncs(), syncs + 2);
    for (offset, byte) in [(0, 8), (4096, 7), (3 * 4096, 8)] {
        assert_eq!(on_platter(&disk, Reached::Nothing, offset), byte);
    }
    file.write(4096, &page(9)).unwrap();
    assert_eq!(on_platter(&disk, Reached::Everything, 4096), 9);
    assert_eq!(on_platter(&disk, Reached::Nothing, 4096), 7);
}

/// The header that names the pages must not reach the platter before they do, nor may what comes
/// after a commit write to pages that the header before it still names.
#[test]
fn no_header_is_written_before_the_pages_last_and_nothing_before_the_header_does() {
    for stalled in [1, 2] {
        let disk = SimulatedDisk::new();
        let file = file(&disk);
        let stall = disk.stall(At::Sync(disk.syncs() + stalled));
        file.put_off().unwrap();
        commit(&file, 7);
        file.carry_out();
        while !stall.is_reached() {
            std::thread::yield_now();
        }
        assert!(!file.is_settled().unwrap());
        let header = on_platter(&disk, Reached::Everything, 0);
        assert_eq!(header, if stalled == 1 { 7 } else { 8 });
        assert_eq!(read(&file, 4096, PAGE), page(7));
        // Neither readers nor who has no room for a page wait.
        file.write(4096, &page(9)).unwrap();
        file.write(2 * 4096, &page(10)).unwrap();
        assert_eq!(on_platter(&disk, Reached::Everything, 4096), 7);
        assert_eq!(on_platter(&disk, Reached::Everything, 2 * 4096), 0);
        assert_eq!(read(&file, 4096, PAGE), page(9));
        assert_eq!(read(&file, 2 * 4096, PAGE), page(10));
        assert_eq!(read(&file, 3 * 4096, PAGE), page(8));
        let syncing = Arc::clone(&file);
        let later = std::thread::spawn(move || syncing.sync().unwrap());
        drop(stall);
        later.join().unwrap();
        assert_eq!(on_platter(&disk, Reached::Nothing, 0), 8);
        assert_eq!(on_platter(&disk, Reached::Nothing, 4096), 9);
        assert_eq!(on_platter(&disk, Reached::Nothing, 2 * 4096), 10);
    }
}

#[test]
fn a_sync_that_fails_behind_is_final() {
    for failing in [1, 2] {
        let disk = SimulatedDisk::new();
        let file = file(&disk);
        disk.fail(At::Sync(disk.syncs() + failing), Fault::Io);
        file.put_off().unwrap();
        commit(&file, 7);
        file.carry_out();
        file.settle().unwrap_err();
        file.is_settled().unwrap_err();
        file.put_off().unwrap_err();
        file.write(4096, &page(9)).unwrap_err();
        file.sync().unwrap_err();
        file.read(0, &mut [0; 320]).unwrap_err();
        assert!(on_platter(&disk, Reached::Everything, 0) <= 8);
    }
}

/// A sync beside the checkpoint may be the one that is told of a page that was lost.
#[test]
fn a_sync_that_fails_beside_what_is_carried_out_keeps_its_header_from_the_file() {
    let disk = SimulatedDisk::new();
    let file = file(&disk);
    let syncs = disk.syncs();
    let stall = disk.stall(At::Sync(syncs + 1));
    disk.fail(At::Sync(syncs + 2), Fault::Io);
    file.put_off().unwrap();
    commit(&file, 7);
    file.carry_out();
    while !stall.is_reached() {
        std::thread::yield_now();
    }
    file.set_len(16 * 4096).unwrap();
    file.sync().unwrap_err();
    file.is_settled().unwrap_err();
    // Nothing reaches the file any more once somebody has heard that all is over.
    let is_over = Arc::new(AtomicBool::new(false));
    let (waiting, over) = (Arc::clone(&file), Arc::clone(&is_over));
    let waiting = std::thread::spawn(move || {
        waiting.settle().unwrap_err();
        over.load(Ordering::SeqCst)
    });
    is_over.store(true, Ordering::SeqCst);
    drop(stall);
    assert!(waiting.join().unwrap());
    file.sync().unwrap_err();
    assert_eq!(on_platter(&disk, Reached::Everything, 0), 7);
}

#[test]
fn what_grows_the_file_is_synced_before_what_is_put_off() {
    let disk = SimulatedDisk::new();
    let file = file(&disk);
    let syncs = disk.syncs();
    file.put_off().unwrap();
    file.set_len(16 * 4096).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.syncs(), syncs + 1);
    commit(&file, 7);
    assert_eq!(disk.syncs(), syncs + 1);
    file.set_len(8 * 4096).unwrap();
    file.carry_out();
    file.settle().unwrap();
    assert_eq!(file.len().unwrap(), 8 * 4096);
}

#[test]
fn many_pages_are_synced_in_slices_and_those_without_room_lie_in_the_file() {
    let disk = SimulatedDisk::new();
    let file = file(&disk);
    let pages = u64::try_from((INDEX_PUT_OFF_BYTES_MAX + INDEX_SLICE_BYTES) / PAGE).unwrap();
    file.set_len((pages + 1) * 4096).unwrap();
    let (syncs, writes) = (disk.syncs(), disk.writes());
    file.put_off().unwrap();
    for number in (1..=pages).rev() {
        let byte = u8::try_from(number % 251).unwrap();
        file.write(number * 4096, &page(0)).unwrap();
        file.write(number * 4096, &page(byte)).unwrap();
    }
    let in_file = disk.writes() - writes;
    assert_eq!(in_file, 2 * u64::try_from(INDEX_SLICE_BYTES / PAGE).unwrap());
    let all_there = || {
        (1..=pages).all(|number| {
            let byte = u8::try_from(number % 251).unwrap();
            read(&file, number * 4096, PAGE) == page(byte)
        })
    };
    assert!(all_there());
    file.sync().unwrap();
    file.carry_out();
    file.settle().unwrap();
    assert!(all_there());
    let slices = u64::try_from(INDEX_PUT_OFF_BYTES_MAX / INDEX_SLICE_BYTES).unwrap();
    assert_eq!(disk.syncs() - syncs, slices);
    assert_eq!(disk.writes() - writes - in_file, slices, "neighbours are written together");
}

#[test]
fn the_file_grows_while_something_is_carried_out_unless_that_cuts_it() {
    for cuts in [false, true] {
        let disk = SimulatedDisk::new();
        let file = file(&disk);
        let stall = disk.stall(At::Sync(disk.syncs() + 1));
        file.put_off().unwrap();
        commit(&file, 7);
        if cuts {
            file.set_len(4 * 4096).unwrap();
        }
        file.carry_out();
        while !stall.is_reached() {
            std::thread::yield_now();
        }
        let growing = Arc::clone(&file);
        let grow = move || {
            growing.set_len(16 * 4096).unwrap();
            growing.sync().unwrap();
        };
        let growing = std::thread::spawn(grow);
        if cuts {
            drop(stall);
            growing.join().unwrap();
        } else {
            growing.join().unwrap();
            assert!(!file.is_settled().unwrap());
            drop(stall);
        }
        file.settle().unwrap();
        assert_eq!(file.len().unwrap(), 16 * 4096);
        assert_eq!(on_platter(&disk, Reached::Nothing, 0), 8);
    }
}

#[test]
fn a_file_that_is_cut_before_the_first_sync_leaves_that_put_off() {
    let disk = SimulatedDisk::new();
    let file = file(&disk);
    let syncs = disk.syncs();
    file.put_off().unwrap();
    file.set_len(4 * 4096).unwrap();
    commit(&file, 7);
    assert_eq!(disk.syncs(), syncs);
    assert_eq!(on_platter(&disk, Reached::Everything, 0), 0, "a header before its pages");
    file.carry_out();
    file.settle().unwrap();
    assert_eq!(disk.syncs(), syncs + 2);
}
