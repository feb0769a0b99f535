//! What the simulation promises: what lasts, what may, and what stops.

use super::*;

const PATTERNS: [Reached; 7] = [
    Reached::Nothing,
    Reached::Everything,
    Reached::Random(1),
    Reached::Random(2),
    Reached::Random(3),
    Reached::Torn(1),
    Reached::Torn(2),
];

fn write(file: &Arc<dyn DiskFile>, bytes: &[u8], offset: u64) {
    file.write_all_at(&[IoSlice::new(bytes)], offset).unwrap();
}

fn content(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(path, OpenMode::Existing).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

#[test]
fn a_content_lasts_after_its_sync_and_a_name_after_its_directorys() {
    let disk = SimulatedDisk::new();
    disk.create_dir("sub").unwrap();
    disk.create_dir("sub").unwrap();
    disk.sync_dir("").unwrap();
    let file = disk.open("sub/file", OpenMode::CreateNew).unwrap();
    write(&file, b"synced", 0);
    file.sync_data().unwrap();
    assert_eq!(content(&disk.image(Reached::Nothing), "sub/file"), None);
    assert_eq!(content(&disk.image(Reached::Everything), "sub/file").unwrap(), b"synced");

    disk.sync_dir("sub").unwrap();
    write(&file, b"S", 0);
    assert_eq!(content(&disk, "sub/file").unwrap(), b"Synced");
    assert_eq!(content(&disk.image(Reached::Nothing), "sub/file").unwrap(), b"synced");
    assert_eq!(content(&disk.image(Reached::Everything), "sub/file").unwrap(), b"Synced");
}

#[test]
fn a_pending_write_reaches_the_platter_by_whole_sectors() {
    let disk = SimulatedDisk::new();
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    file.allocate(0, 8192).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    write(&file, &[7; 4096], 100);

    let mut mixed = 0;
    for seed in 0..64 {
        let found = content(&disk.image(Reached::Random(seed)), "file").unwrap();
        assert_eq!(found, content(&disk.image(Reached::Random(seed)), "file").unwrap());
        assert_eq!(found.len(), 8192);
        let there = |range: std::ops::Range<usize>| found[range].contains(&7);
        for sector in 0..9 {
            let range = (sector * 512).max(100)..((sector + 1) * 512).min(4196);
            let whole = found[range.clone()].iter().all(|&byte| byte == 7);
            assert_eq!(whole, there(range), "seed {seed}, sector {sector}");
        }
        mixed += u32::from(there(0..8192) && found[100..4196].contains(&0));
    }
    assert!(mixed > 10, "torn in {mixed} of 64 images");
}

#[test]
fn a_file_that_moves_is_never_without_a_name() {
    for synced in ["", "from", "to"] {
        let disk = SimulatedDisk::new();
        disk.create_dir("from").unwrap();
        disk.create_dir("to").unwrap();
        disk.sync_dir("").unwrap();
        let file = disk.open("from/file", OpenMode::CreateNew).unwrap();
        write(&file, b"bytes", 0);
        file.sync_data().unwrap();
        disk.sync_dir("from").unwrap();
        disk.rename("from/file", "to/file").unwrap();
        disk.sync_dir(synced).unwrap();
        assert_eq!(disk.list("from").unwrap(), [""; 0]);

        for reached in PATTERNS {
            let image = disk.image(reached);
            let old = content(&image, "from/file");
            let new = content(&image, "to/file");
            assert!(old.is_some() || new.is_some(), "{synced:?} {reached:?}");
            assert!(synced != "to" || new.is_some(), "{synced:?} {reached:?}");
            assert_eq!(old.or(new).unwrap(), b"bytes");
        }
        disk.sync_dir("to").unwrap();
        disk.sync_dir("from").unwrap();
        assert_eq!(disk.image(Reached::Nothing).list("from").unwrap(), [""; 0]);
    }
}

#[test]
fn a_rename_over_a_file_leaves_the_old_or_the_new_content() {
    let disk = SimulatedDisk::new();
    for (name, bytes) in [("one", b"1"), ("two", b"2")] {
        let file = disk.open(name, OpenMode::CreateNew).unwrap();
        write(&file, bytes, 0);
        file.sync_data().unwrap();
    }
    disk.sync_dir("").unwrap();
    disk.rename("two", "one").unwrap();
    for reached in PATTERNS {
        let image = disk.image(reached);
        let renamed = content(&image, "two").is_none();
        assert_eq!(content(&image, "one").unwrap(), if renamed { b"2" } else { b"1" });
    }
}

#[test]
fn a_stopped_disk_stays_stopped_and_its_last_operation_is_pending() {
    let disk = SimulatedDisk::new();
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    disk.sync_dir("").unwrap();
    disk.stop_at(3);
    assert!(file.write_all_at(&[IoSlice::new(b"bytes")], 0).is_err());
    assert!(file.sync_data().is_err());
    assert!(file.read_exact_at(&mut [0], 0).is_err());
    assert!(disk.list("").is_err());
    assert!(disk.open("file", OpenMode::Existing).is_err());
    assert_eq!(disk.operations(), 3);

    assert_eq!(content(&disk.image(Reached::Nothing), "file").unwrap(), b"");
    assert_eq!(content(&disk.image(Reached::Everything), "file").unwrap(), b"bytes");
}

#[test]
fn the_same_seed_leaves_the_same_bytes() {
    let run = || {
        let disk = SimulatedDisk::with_seed(9);
        for name in ["a", "b", "c"] {
            let file = disk.open(name, OpenMode::CreateNew).unwrap();
            write(&file, &[1; 5000], 0);
        }
        disk.image(Reached::Torn(77))
    };
    let (one, other) = (run(), run());
    for name in ["a", "b", "c"] {
        assert_eq!(content(&one, name), content(&other, name));
    }
}

#[test]
fn a_torn_sector_holds_new_bytes_up_to_some_byte_and_old_ones_behind() {
    let disk = SimulatedDisk::new();
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    file.allocate(0, 512).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    write(&file, &[7; 512], 0);
    let torn = (0..64).filter(|seed| {
        let found = content(&disk.image(Reached::Torn(*seed)), "file").unwrap();
        let new = found.iter().take_while(|byte| **byte == 7).count();
        assert!(found[new..].iter().all(|byte| *byte == 0), "seed {seed}");
        (1..512).contains(&new)
    });
    assert!(torn.count() > 5);
}

#[test]
fn of_the_names_in_a_directory_any_may_reach_the_platter() {
    let disk = SimulatedDisk::new();
    for name in ["a", "b", "c"] {
        disk.open(name, OpenMode::CreateNew).unwrap();
    }
    let mut found: Vec<Vec<String>> =
        (0..200).map(|seed| disk.image(Reached::Random(seed)).list("").unwrap()).collect();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 8, "every subset: {found:?}");
}

#[test]
fn a_fault_meets_the_operation_that_was_named_and_the_next_one_works() {
    let disk = SimulatedDisk::new();
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    disk.fail(At::Operation(2), Fault::Full);
    let error = file.allocate(0, 10).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 0);
    file.allocate(0, 10).unwrap();
    assert_eq!(file.len().unwrap(), 10);

    disk.fail(At::Write(2), Fault::Io);
    write(&file, b"one", 0);
    assert!(file.write_all_at(&[IoSlice::new(b"two")], 0).is_err());
    disk.fail(At::Read(1), Fault::Io);
    assert!(file.read_exact_at(&mut [0; 3], 0).is_err());
    let mut found = [0; 3];
    file.read_exact_at(&mut found, 0).unwrap();
    assert_eq!(&found, b"one");
    disk.fail(At::Sync(1), Fault::Io);
    assert!(disk.sync_dir("").is_err());
    assert_eq!(disk.image(Reached::Nothing).list("").unwrap(), [""; 0]);
    disk.sync_dir("").unwrap();
    assert_eq!(disk.image(Reached::Nothing).list("").unwrap(), ["file"]);
    assert_eq!((disk.writes(), disk.reads(), disk.syncs()), (2, 2, 2));
}

#[test]
fn a_short_write_leaves_its_first_bytes() {
    let disk = SimulatedDisk::new();
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    disk.fail(At::Write(1), Fault::Short { bytes: 4 });
    let pieces = [IoSlice::new(b"abc"), IoSlice::new(b"def")];
    assert!(file.write_all_at(&pieces, 0).is_err());
    assert_eq!(content(&disk, "file").unwrap(), b"abcd");
    file.write_all_at(&pieces, 0).unwrap();
    assert_eq!(content(&disk, "file").unwrap(), b"abcdef");
}

#[test]
fn what_a_failed_sync_did_not_write_no_later_one_does() {
    let mut lost = 0;
    for seed in 0..32 {
        let disk = SimulatedDisk::with_seed(seed);
        let file = disk.open("file", OpenMode::CreateNew).unwrap();
        disk.sync_dir("").unwrap();
        write(&file, b"first", 0);
        disk.fail(At::Sync(2), Fault::Io);
        assert!(file.sync_data().is_err());
        assert_eq!(content(&disk, "file").unwrap(), b"first", "the cache still has it");
        file.sync_data().unwrap();
        let found = content(&disk.image(Reached::Nothing), "file").unwrap();
        lost += u32::from(found != b"first");

        write(&file, b"first", 0);
        file.sync_data().unwrap();
        assert_eq!(content(&disk.image(Reached::Nothing), "file").unwrap(), b"first");
    }
    assert!((1..32).contains(&lost), "lost {lost} times of 32");
}

#[test]
fn a_stalled_operation_waits_and_the_others_go_on() {
    let disk = SimulatedDisk::new();
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    disk.sync_dir("").unwrap();
    write(&file, b"bytes", 0);
    let stall = disk.stall(At::Sync(2));
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| file.sync_data());
        while !stall.is_reached() {
            std::thread::yield_now();
        }
        assert_eq!(content(&disk, "file").unwrap(), b"bytes");
        disk.open("other", OpenMode::CreateNew).unwrap();
        assert!(!syncing.is_finished());
        assert_eq!(content(&disk.image(Reached::Nothing), "file").unwrap(), b"");
        drop(stall);
        syncing.join().unwrap().unwrap();
    });
    assert_eq!(content(&disk.image(Reached::Nothing), "file").unwrap(), b"bytes");
}

#[test]
fn growing_beyond_the_space_is_refused_and_what_goes_gives_space_back() {
    let disk = SimulatedDisk::new();
    disk.set_space(100 * 4096, 10 * 4096);
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    file.allocate(0, 8 * 4096).unwrap();
    let error = file.write_all_at(&[IoSlice::new(&vec![1; 20_000])], 7 * 4096).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.space().unwrap(), Space { total: 100 * 4096, available: 2 * 4096 });

    file.set_len(4 * 4096 - 1).unwrap();
    assert_eq!(disk.space().unwrap().available, 6 * 4096);
    // A hole takes no space before it is written.
    file.set_len(50 * 4096).unwrap();
    assert_eq!(disk.space().unwrap().available, 6 * 4096);
    write(&file, b"in the hole", 20 * 4096 - 1);
    assert_eq!(disk.space().unwrap().available, 4 * 4096);
    write(&file, b"again", 20 * 4096);
    assert_eq!(disk.space().unwrap().available, 4 * 4096);
    disk.remove("file").unwrap();
    disk.sync_dir("").unwrap();
    write(&file, b"open", 0);
    drop(file);
    assert_eq!(disk.space().unwrap().available, 10 * 4096);
}

#[test]
fn one_lock_at_a_time_and_none_after_a_power_loss() {
    let disk = SimulatedDisk::new();
    let lock = disk.lock().unwrap();
    assert_eq!(disk.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    disk.image(Reached::Nothing).lock().unwrap();
    drop(lock);
    disk.lock().unwrap();
}

#[test]
fn a_process_that_has_ended_changes_nothing_for_the_next_one() {
    let before = SimulatedDisk::new();
    let held = before.lock().unwrap();
    let file = before.open("file", OpenMode::CreateNew).unwrap();
    write(&file, b"before", 0);
    before.fail(At::Write(2), Fault::Io);
    before.stop_at(before.operations());

    let disk = before.restart();
    assert_eq!(content(&disk, "file").unwrap(), b"before");
    let lock = disk.lock().unwrap();
    drop(held);
    assert_eq!(disk.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    let operations = disk.operations();
    file.write_all_at(&[IoSlice::new(b"after")], 0).unwrap_err();
    before.remove("file").unwrap_err();
    before.list("").unwrap_err();
    assert_eq!(disk.operations(), operations);
    let file = disk.open("file", OpenMode::Existing).unwrap();
    write(&file, b"A", 0);
    assert_eq!(content(&disk, "file").unwrap(), b"Aefore");
}
