//! What is not as it should be is told by name, and nothing is made of it.

use super::super::builder::Builder;
use super::super::pack::{Pack, PackWriter};
use super::super::state::ContentRow;
use super::*;
use crate::index::rows::BlobRow;
use crate::index::{Index, tables};
use crate::limits::{CHANGE_FILES_MAX, QUARANTINED_MAX};
use crate::quarantine::Fault;

async fn backed_up() -> (Engine, SimulatedDisk, SimulatedDisk) {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    fill(&engine).await;
    back_up(&engine, &backups, "one").await;
    (engine, disk, backups)
}

fn flip(file: &dyn DiskFile, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[std::io::IoSlice::new(&[byte[0] ^ 1])], at).unwrap();
}

fn restore_fails(backups: &SimulatedDisk) -> BackupError {
    let target = SimulatedDisk::new();
    let failed = restore_on(port(backups), &port(&target), &restore_options()).unwrap_err();
    // Whatever was made of it, it is no store, and a sound backup can be restored into it.
    let names = target.list("").unwrap();
    assert!(!names.contains(&"store".to_owned()), "{names:?}");
    let opened = Engine::open_on(port(&target), &options());
    assert_eq!(opened.is_err(), names.contains(&"store.restoring".to_owned()), "{names:?}");
    failed
}

#[tokio::test]
async fn a_damaged_byte_anywhere_is_noticed_and_its_file_named() {
    let (_engine, _disk, backups) = backed_up().await;
    let packs = backups.list("packs").unwrap();
    assert!(packs.len() > 2, "{packs:?}");
    let mut files: Vec<String> = packs.iter().map(|name| format!("packs/{name}")).collect();
    files.push(state_path("one"));
    for path in files {
        let file = backups.open(&path, OpenMode::Existing).unwrap();
        let length = file.len().unwrap();
        let places = (0..24).chain(length - 120..length).chain((24..length).step_by(4099));
        for at in places {
            flip(&*file, at);
            let failed = restore_fails(&backups).to_string();
            let is_named = failed.contains(&path) || failed.contains("format version");
            assert!(is_named, "{path} at {at}: {failed}");
            flip(&*file, at);
        }
        for length in [0, 10, length / 2, length - 1] {
            let whole = read_file(&backups, &path);
            file.set_len(length).unwrap();
            let failed = restore_fails(&backups).to_string();
            assert!(failed.contains(&path), "{path} cut to {length}: {failed}");
            file.write_all_at(&[std::io::IoSlice::new(&whole)], 0).unwrap();
        }
    }
    restore_new(&backups);
}

#[tokio::test]
async fn a_state_that_cannot_be_read_keeps_nobody_from_the_others() {
    let (engine, _disk, backups) = backed_up().await;
    back_up(&engine, &backups, "two").await;
    backups.open(&state_path("two"), OpenMode::Existing).unwrap().set_len(10).unwrap();

    let states = States::of(&backups).unwrap();
    let unreadable: Vec<String> = states.unreadable.iter().map(ToString::to_string).collect();
    assert!(unreadable[0].starts_with("backup two cannot be read: "), "{unreadable:?}");
    assert_eq!((states.readable.len(), unreadable.len()), (1, 1));

    let newest = restore_on(port(&backups), &port(&SimulatedDisk::new()), &restore_options());
    assert_eq!(newest.unwrap().state, "one");
    let two = RestoreOptions { state: Some("two".into()), ..restore_options() };
    let asked_for = restore_on(port(&backups), &port(&SimulatedDisk::new()), &two);
    assert!(matches!(asked_for.unwrap_err(), BackupError::Damaged { .. }));
    assert_eq!(back_up(&engine, &backups, "three").await.copied, 0);
}

#[tokio::test]
async fn a_missing_pack_is_told_before_anything_is_made_and_the_next_backup_heals() {
    let (engine, _disk, backups) = backed_up().await;
    let pack = backups.list("packs").unwrap().pop().unwrap();
    backups.remove(&format!("packs/{pack}")).unwrap();
    let failed = restore_fails(&backups);
    assert!(matches!(failed, BackupError::Incomplete { missing: 1.., .. }), "{failed}");

    // Who wants it all the same gets everything else.
    let incomplete = RestoreOptions { incomplete: true, ..restore_options() };
    let target = SimulatedDisk::new();
    let restored = restore_on(port(&backups), &port(&target), &incomplete).unwrap();
    assert!(restored.missing > 0);
    let twin = open(&target);
    let missing = twin.check(true).unwrap();
    assert_eq!(missing.len(), usize::try_from(restored.missing).unwrap());
    assert!(missing.iter().all(|finding| finding.invariant == "I2"), "{missing:?}");

    let again = back_up(&engine, &backups, "two").await;
    assert_eq!(again.copied, restored.missing);
    let one = RestoreOptions { state: Some("one".into()), ..restore_options() };
    restore_on(port(&backups), &port(&SimulatedDisk::new()), &one).unwrap();
}

#[tokio::test]
async fn an_incomplete_restore_passes_over_what_is_damaged_and_nothing_else() {
    let (_engine, _disk, backups) = backed_up().await;
    let incomplete = RestoreOptions { incomplete: true, ..restore_options() };
    let restored = || {
        let target = SimulatedDisk::new();
        (restore_on(port(&backups), &port(&target), &incomplete).unwrap(), target)
    };
    for pack in backups.list("packs").unwrap() {
        let path = format!("packs/{pack}");
        let file = backups.open(&path, OpenMode::Existing).unwrap();
        let length = file.len().unwrap();
        // A content, and the end of the table.
        for (at, is_content) in [(16, true), (length - 60, false)] {
            flip(&*file, at);
            let (report, target) = restored();
            assert!(report.passed_over[0].contains(&path), "{:?}", report.passed_over);
            assert_eq!(report.passed_over.len(), 1);
            assert!(!is_content || report.missing == 1, "{} of {path}", report.missing);
            let twin = open(&target);
            let found = twin.check(true).unwrap();
            assert_eq!(found.len(), usize::try_from(report.missing).unwrap(), "{found:?}");
            assert!(found.iter().all(|finding| finding.invariant == "I2"), "{found:?}");
            flip(&*file, at);
        }
    }
    assert_eq!(restored().0.passed_over, [""; 0]);

    // What another pack has too is whole, whichever of both comes first.
    let twice = [numbered(100, LARGE), numbered(200, 70_000)];
    let mut writer = PackWriter::create(&port(&backups)).unwrap();
    for bytes in &twice {
        writer.append(bytes).unwrap();
        assert!(writer.end_content(&Digest::of(bytes), u64::try_from(bytes.len()).unwrap()));
    }
    writer.seal().unwrap();
    let (mut copies, mut told) = (0, 0);
    for pack in backups.list("packs").unwrap() {
        let file = backups.open(&format!("packs/{pack}"), OpenMode::Existing).unwrap();
        let contents = Pack::open(&backups, &pack).unwrap().reader(&backups).unwrap().contents();
        for packed in contents.unwrap() {
            if twice.iter().any(|bytes| Digest::of(bytes) == packed.digest) {
                flip(&*file, packed.offset);
                let (report, _) = restored();
                assert_eq!(report.missing, 0);
                (copies, told) = (copies + 1, told + report.passed_over.len());
                flip(&*file, packed.offset);
            }
        }
    }
    assert_eq!((copies, told), (4, 2));
}

#[tokio::test]
async fn a_content_that_the_store_cannot_give_is_told_and_the_others_are_backed_up() {
    let (disk, backups) = (SimulatedDisk::new(), SimulatedDisk::new());
    let engine = open(&disk);
    let first = fill(&engine).await;
    let blob = disk.list("blobs").unwrap().pop().unwrap();
    flip(&*disk.open(&format!("blobs/{blob}"), OpenMode::Existing).unwrap(), 500_000);
    let report = copy(&begin(&engine).await, &backups, "one").await.unwrap();
    let rotten = Digest::of(&numbered(100, LARGE));
    assert_eq!(report.failed, 1);
    assert_eq!(report.failures.first().unwrap().0, rotten);
    assert_eq!(report.copied, report.state.contents - 1);
    let failed = restore_fails(&backups);
    assert!(matches!(
        failed,
        BackupError::Incomplete { missing: 1, first, .. } if first == rotten
    ));
    // The rest is there.
    let incomplete = RestoreOptions { incomplete: true, ..restore_options() };
    let target = SimulatedDisk::new();
    restore_on(port(&backups), &port(&target), &incomplete).unwrap();
    let twin = open(&target);
    assert!(twin.open_blob(&rotten).is_err());
    let snapshot = twin.snapshot().unwrap();
    let header = snapshot.dataset(first).unwrap().unwrap();
    let late = snapshot.file(&header, "late").unwrap().unwrap();
    twin.open_blob(&late.digest).unwrap().unwrap().verify(&mut |_| true).unwrap();
}

/// Before anybody has read it, and so found it missing.
#[tokio::test]
async fn what_a_restore_lacks_is_healed_by_whoever_uploads_it() {
    let (engine, _disk, backups) = backed_up().await;
    let snapshot = engine.snapshot().unwrap();
    for pack in backups.list("packs").unwrap() {
        backups.remove(&format!("packs/{pack}")).unwrap();
    }
    let incomplete = RestoreOptions { incomplete: true, ..restore_options() };
    let target = SimulatedDisk::new();
    let restored = restore_on(port(&backups), &port(&target), &incomplete).unwrap();
    assert!(restored.missing > 0);
    let twin = open(&target);
    let mut healed = BTreeSet::new();
    for dataset in snapshot.datasets().unwrap() {
        let dataset = dataset.unwrap();
        if dataset.deletion_time.is_some() {
            continue;
        }
        for file in snapshot.files(&dataset).unwrap() {
            let (_, record) = file.unwrap();
            let content = engine.open_blob(&record.digest).unwrap().unwrap();
            let mut upload = twin.begin_upload(Some(record.length)).await.unwrap();
            let mut chunks = content.stream(0..record.length);
            while let Some(chunk) = chunks.next().await.transpose().unwrap() {
                upload.write(&chunk).await.unwrap();
            }
            let content = upload.finish().await.unwrap();
            let name = format!("healed/{}", record.digest);
            if healed.insert(record.digest) {
                twin.add_file(dataset.id, &name, content).await.unwrap();
            }
        }
    }
    twin.shutdown().await;
    drop(twin);
    let twin = open(&target.restart());
    for digest in healed {
        let content = twin.open_blob(&digest).unwrap().unwrap();
        assert!(content.verify(&mut |_| true).unwrap().is_some(), "{digest}");
    }
}

/// A pack of small contents may hold more than the quarantine.
#[test]
fn what_a_restore_lacks_is_known_to_be_missing_however_much_it_is() {
    let target = port(&SimulatedDisk::new());
    let mut builder = Builder::create(&target, [0; 32], 1, &restore_options()).unwrap();
    let row = |number: usize| ContentRow {
        digest: Digest::of(&number.to_le_bytes()),
        length: 8,
        crc32: 0,
        count: 1,
        place: (0, 0),
    };
    let rows: Vec<ContentRow> = (0..QUARANTINED_MAX + 2).map(row).collect();
    for page in rows.chunks(CHANGE_FILES_MAX) {
        builder.add_absent(page).unwrap();
    }
    builder.finish().unwrap();

    let index = Index::open(&target, OpenMode::Existing, 4 << 20).unwrap();
    let quarantine = index.quarantine().unwrap();
    assert_eq!(quarantine.count(), QUARANTINED_MAX);
    let contents = index.read().unwrap().open_table(tables::BLOBS).unwrap();
    for row in rows {
        let stored = contents.get(row.digest.as_bytes()).unwrap().unwrap();
        let place = BlobRow::decode(stored.value()).unwrap().place;
        assert_eq!(quarantine.fault(&row.digest, place), Some(Fault::Missing));
    }
}

#[tokio::test]
async fn places_that_are_not_for_backups_are_refused_and_left_as_they_are() {
    let (engine, disk, backups) = backed_up().await;
    // The data directory itself, or any other that holds something.
    let before = disk.list("").unwrap();
    let locked = download(&disk).unwrap_err();
    assert!(matches!(locked, BackupError::Locked { .. }));
    engine.shutdown().await;
    drop(engine);
    let refused = download(&disk).unwrap_err();
    assert!(matches!(refused, BackupError::NotABackup { .. }), "{refused}");
    assert_eq!(disk.list("").unwrap(), before);

    // Backups of another store.
    let other = SimulatedDisk::new();
    let stranger = open(&other);
    let refused = copy(&begin(&stranger).await, &backups, "two").await.unwrap_err();
    assert!(matches!(refused, BackupError::OtherStore { .. }), "{refused}");

    // Two at once.
    let first = BackupDirectory::open_on(port(&backups), PACK).unwrap();
    let second = BackupDirectory::open_on(port(&backups), PACK).unwrap_err();
    assert!(matches!(second, BackupError::Locked { .. }), "{second}");
    drop(first);

    // Restoring twice, and restoring from what is no backup.
    let target = restore_new(&backups);
    let identity = read_file(&target, "store");
    let refused = restore_on(port(&backups), &port(&target), &restore_options()).unwrap_err();
    assert!(matches!(refused, BackupError::TargetNotEmpty { .. }), "{refused}");
    assert_eq!(read_file(&target, "store"), identity);
    let none = restore_on(port(&target), &port(&SimulatedDisk::new()), &restore_options());
    assert!(matches!(none.unwrap_err(), BackupError::NotABackup { .. }));
    let unknown = RestoreOptions { state: Some("never".into()), ..restore_options() };
    let none = restore_on(port(&backups), &port(&SimulatedDisk::new()), &unknown);
    assert!(matches!(none.unwrap_err(), BackupError::NoSuchState { .. }));
    let empty = SimulatedDisk::new();
    drop(BackupDirectory::open_on(port(&empty), PACK).unwrap());
    let none = restore_on(port(&empty), &port(&SimulatedDisk::new()), &restore_options());
    assert!(matches!(none.unwrap_err(), BackupError::Empty { .. }));
}

#[tokio::test]
async fn a_newer_format_is_refused_as_such() {
    let (_engine, _disk, backups) = backed_up().await;
    let pack = format!("packs/{}", backups.list("packs").unwrap().pop().unwrap());
    for path in [state_path("one"), pack] {
        let file = backups.open(&path, OpenMode::Existing).unwrap();
        let write = |version: u8| {
            file.write_all_at(&[std::io::IoSlice::new(&[version])], 8).unwrap();
        };
        write(2);
        let failed = restore_fails(&backups);
        assert!(matches!(failed, BackupError::NewerFormat { found: 2, known: 1, .. }), "{failed}");
        write(1);
    }
    let file = backups.open("granary-backup", OpenMode::Existing).unwrap();
    let text = b"granary backup\nformat 2\n";
    file.write_all_at(&[std::io::IoSlice::new(text)], 0).unwrap();
    let failed = restore_fails(&backups);
    assert!(matches!(failed, BackupError::NewerFormat { found: 2, .. }), "{failed}");
    let refused = download(&backups).unwrap_err();
    assert!(matches!(refused, BackupError::NewerFormat { found: 2, .. }), "{refused}");
}
