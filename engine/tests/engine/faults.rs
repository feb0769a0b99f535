//! What fails, and what goes on: a disk's errors make the store read-only and lose nothing (I7),
//! damage stops opening and changes nothing, a broken actor is one request's matter.

use std::io::IoSlice;
use std::sync::Arc;

use granary_engine::disk::{At, Disk, Fault, OpenMode, Reached, SimulatedDisk};
use granary_engine::model::DatasetId;
use granary_engine::{Engine, EngineOptions, Health, MutationError, OpenError};

use crate::reference::Content;
use crate::support::{add, dataset, names, options, project, read};

/// A store with one dataset and a file in it, and nothing left to do in the background.
pub async fn store(disk: &SimulatedDisk) -> (Engine, DatasetId) {
    let engine = open(disk).unwrap();
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap();
    for number in 0..3 {
        add(&engine, set.id, &format!("kept/{number}"), &[number; 1000]).await.unwrap();
    }
    engine.checkpoint().await.unwrap();
    (engine, set.id)
}

pub fn open(disk: &SimulatedDisk) -> Result<Engine, OpenError> {
    Engine::open_on(Arc::new(disk.clone()), &options())
}

/// What it replayed is not confirmed: taken into the index's file it would never be.
#[tokio::test]
async fn an_opening_that_fails_leaves_nothing_that_the_next_one_takes_for_durable() {
    let mut failed = 0;
    // What a sync that failed has reached is the disk's to choose.
    for (sync, seed) in (1..=6).flat_map(|sync| (0..8).map(move |seed| (sync, seed))) {
        let disk = SimulatedDisk::with_seed(seed);
        let (engine, set) = store(&disk).await;
        disk.fail(At::Sync(disk.syncs() + 1), Fault::Io);
        add(&engine, set, "doubtful", &[9; 2000]).await.unwrap_err();
        engine.abandon();
        drop(engine);
        disk.fail(At::Sync(disk.syncs() + sync), Fault::Io);
        match open(&disk) {
            Ok(engine) => engine.abandon(),
            Err(_) => failed += 1,
        }
        let engine = open(&disk).unwrap();
        let mut seen = names(&engine, set);
        if let Ok(name) = add(&engine, set, "same content", &[9; 2000]).await {
            seen.push(name);
        }
        engine.abandon();
        drop(engine);
        let engine = open(&disk.image(Reached::Nothing)).unwrap();
        for name in seen {
            let length = read(&engine, set, &name).await.map(|content| content.len());
            let story = format!("sync {sync}, seed {seed}, {name}: {length:?}");
            assert!(matches!(length, Some(1000 | 2000)), "{story}");
        }
        engine.abandon();
    }
    assert!(failed > 0);
}

#[tokio::test]
async fn a_failure_of_the_journal_makes_the_store_read_only_and_loses_nothing() {
    let mut unknown = 0;
    for operation in 1..=3 {
        let disk = SimulatedDisk::new();
        let (engine, set) = store(&disk).await;
        disk.fail(At::Operation(disk.operations() + operation), Fault::Io);
        let mut answered = vec!["kept/0".to_owned(), "kept/1".into(), "kept/2".into()];
        let mut in_doubt = None;
        for number in 0..3 {
            let name = format!("new/{number}");
            match add(&engine, set, &name, &[number; 2000]).await {
                Ok(_) => answered.push(name),
                Err(MutationError::OutcomeUnknown { .. }) => in_doubt = Some(name),
                Err(MutationError::ReadOnly { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        unknown += usize::from(in_doubt.is_some());
        assert!(matches!(engine.health(), Health::ReadOnly { .. }), "operation {operation}");
        let refused = engine.delete_file(set, "kept/0").await;
        assert!(matches!(refused, Err(MutationError::ReadOnly { .. })));
        assert_eq!(names(&engine, set), answered, "nothing unanswered is visible");
        assert_eq!(read(&engine, set, "kept/2").await.unwrap(), [2; 1000]);

        let image = disk.image(Reached::Random(operation));
        engine.abandon();
        let engine = open(&image).unwrap();
        let found = names(&engine, set);
        let whole: Vec<String> = answered.iter().cloned().chain(in_doubt).collect();
        assert!(found == answered || found == whole, "{found:?}");
        assert_eq!(engine.check(true).unwrap(), []);
        add(&engine, set, "after", b"after").await.unwrap();
    }
    assert!(unknown > 0, "none of the failures met a group on its way");
}

/// redb fails its reads too after an I/O error; readers then get what the journal says.
#[tokio::test]
async fn a_failure_of_the_index_leaves_reads_and_loses_nothing() {
    let mut failed = 0;
    for operation in 1..=8 {
        let disk = SimulatedDisk::new();
        let (engine, set) = store(&disk).await;
        add(&engine, set, "journaled", b"not in a checkpoint").await.unwrap();
        let rights_version = engine.rights_version();
        disk.fail(At::Operation(disk.operations() + operation), Fault::Io);
        if engine.checkpoint().await.is_ok() {
            continue;
        }
        failed += 1;
        wait_until(|| matches!(engine.health(), Health::ReadOnly { .. })).await;
        // Until the index is open again reads may fail, and never tell anything else.
        let mut found = None;
        wait_until(|| {
            found = names_if_readable(&engine, set);
            found.is_some()
        })
        .await;
        assert_eq!(found.unwrap(), ["journaled", "kept/0", "kept/1", "kept/2"]);
        // What the journal brings may be rights, which are kept by who asked.
        wait_until(|| engine.rights_version() > rights_version).await;
        assert_eq!(read(&engine, set, "journaled").await.unwrap(), b"not in a checkpoint");
        let refused = add(&engine, set, "refused", b"").await;
        assert!(matches!(refused, Err(MutationError::ReadOnly { .. })));

        let image = disk.image(Reached::Random(operation));
        engine.abandon();
        let engine = open(&image).unwrap();
        assert_eq!(names(&engine, set), ["journaled", "kept/0", "kept/1", "kept/2"]);
        assert_eq!(engine.check(true).unwrap(), []);
    }
    assert!(failed > 1, "a checkpoint writes and syncs");
}

/// redb fails for good when a page cannot be read, though nobody changes anything: the store says so,
/// and reads go on.
#[tokio::test]
async fn a_read_of_the_index_that_fails_makes_the_store_read_only_and_leaves_reads() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    engine.abandon();
    let mut failed = 0;
    for read in 1..=8 {
        let disk = disk.image(Reached::Everything);
        let nothing_cached = EngineOptions { index_cache_bytes: 0, ..options() };
        let engine = Engine::open_on(Arc::new(disk.clone()), &nothing_cached).unwrap();
        disk.fail(At::Read(disk.reads() + read), Fault::Io);
        if names_if_readable(&engine, set).is_some() {
            engine.abandon();
            continue;
        }
        failed += 1;
        wait_until(|| matches!(engine.health(), Health::ReadOnly { .. })).await;
        wait_until(|| names_if_readable(&engine, set).is_some()).await;
        let refused = add(&engine, set, "refused", b"").await;
        assert!(matches!(refused, Err(MutationError::ReadOnly { .. })));
        engine.abandon();
        let engine = open(&disk.image(Reached::Nothing)).unwrap();
        assert_eq!(names(&engine, set), ["kept/0", "kept/1", "kept/2"]);
    }
    assert!(failed > 0, "the index is read from its file");
}

/// While the index's pages are being synced changes go on: they are answered, seen, and in the
/// journal, whichever of the two states the next start finds in the index.
#[tokio::test]
async fn changes_go_on_while_a_checkpoint_is_synced_and_outlive_it() {
    for sync in 1..=2 {
        let disk = SimulatedDisk::new();
        let (engine, set) = store(&disk).await;
        add(&engine, set, "before", b"before").await.unwrap();
        let stall = disk.stall(At::Sync(disk.syncs() + sync));
        let asked = engine.clone();
        let checkpoint = tokio::spawn(async move { asked.checkpoint().await });
        wait_until(|| stall.is_reached()).await;
        add(&engine, set, "meanwhile", b"meanwhile").await.unwrap();
        engine.delete_file(set, "kept/1").await.unwrap();
        assert!(!checkpoint.is_finished(), "told before its sync");
        let left = ["before", "kept/0", "kept/2", "meanwhile"];
        assert_eq!(names(&engine, set), left);
        for reached in [Reached::Nothing, Reached::Everything, Reached::Torn(sync)] {
            let engine = open(&disk.image(reached)).unwrap();
            assert_eq!(names(&engine, set), left, "{reached:?}");
            assert_eq!(engine.check(true).unwrap(), []);
            engine.abandon();
        }
        drop(stall);
        checkpoint.await.unwrap().unwrap();
        disk.stop_at(disk.operations());
        engine.abandon();
        let engine = open(&disk.image(Reached::Nothing)).unwrap();
        assert_eq!(names(&engine, set), left);
        assert_eq!(engine.check(true).unwrap(), []);
    }
}

/// Nobody waits for such a sync; that it failed is found all the same, and what was answered
/// meanwhile is kept (I7).
#[tokio::test]
async fn a_sync_of_a_checkpoint_that_fails_while_changes_go_on_is_final() {
    for sync in 1..=2 {
        let disk = SimulatedDisk::new();
        let (engine, set) = store(&disk).await;
        add(&engine, set, "before", b"before").await.unwrap();
        let number = disk.syncs() + sync;
        disk.fail(At::Sync(number), Fault::Io);
        let stall = disk.stall(At::Sync(number));
        let asked = engine.clone();
        let checkpoint = tokio::spawn(async move { asked.checkpoint().await });
        wait_until(|| stall.is_reached()).await;
        add(&engine, set, "meanwhile", b"meanwhile").await.unwrap();
        drop(stall);
        checkpoint.await.unwrap().unwrap_err();
        wait_until(|| matches!(engine.health(), Health::ReadOnly { .. })).await;
        let refused = add(&engine, set, "refused", b"").await;
        assert!(matches!(refused, Err(MutationError::ReadOnly { .. })));
        let image = disk.image(Reached::Random(sync));
        engine.abandon();
        let engine = open(&image).unwrap();
        assert_eq!(names(&engine, set), ["before", "kept/0", "kept/1", "kept/2", "meanwhile"]);
        assert_eq!(engine.check(true).unwrap(), []);
    }
}

/// A group that waits for its sync holds back its own answers, and no reader.
#[tokio::test]
async fn a_sync_that_stalls_holds_back_answers_and_no_reads() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    let stall = disk.stall(At::Sync(disk.syncs() + 1));
    let adding = |name: &'static str| {
        let engine = engine.clone();
        tokio::spawn(async move { add(&engine, set, name, name.as_bytes()).await })
    };
    let first = adding("first");
    wait_until(|| stall.is_reached()).await;
    let second = adding("second");
    assert_eq!(read(&engine, set, "kept/1").await.unwrap(), [1; 1000]);
    assert_eq!(names(&engine, set), ["kept/0", "kept/1", "kept/2"], "I1: not before its sync");
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!(engine.health(), Health::Ready);

    drop(stall);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(names(&engine, set), ["first", "kept/0", "kept/1", "kept/2", "second"]);
}

/// The next start must not stand on names that a failed sync left in the system's memory only.
#[tokio::test]
async fn a_store_that_was_made_with_a_failed_sync_lasts_once_it_answers() {
    let syncs = {
        let disk = SimulatedDisk::new();
        open(&disk).unwrap().abandon();
        disk.syncs()
    };
    let mut failed = 0;
    for sync in 1..=syncs {
        let disk = SimulatedDisk::with_seed(sync);
        disk.fail(At::Sync(sync), Fault::Io);
        match open(&disk) {
            Ok(engine) => engine.abandon(),
            Err(_) => failed += 1,
        }
        let disk = disk.restart();
        let engine = open(&disk).unwrap();
        let within = project(&engine).await.unwrap();
        let set = dataset(&engine, within, "set").await.unwrap();
        add(&engine, set.id, "answered", b"bytes").await.unwrap();
        disk.stop_at(disk.operations());
        engine.abandon();
        let engine = open(&disk.image(Reached::Nothing));
        let engine = engine.unwrap_or_else(|error| panic!("sync {sync}: {error}"));
        assert_eq!(read(&engine, set.id, "answered").await.unwrap(), b"bytes", "sync {sync}");
        engine.abandon();
    }
    assert!(failed > 5, "making a store syncs often, and {failed} failed");
}

/// What is left of a making is told from somebody else's files, wherever the next one stops.
#[test]
fn a_making_that_is_interrupted_twice_starts_again() {
    let operations = {
        let disk = SimulatedDisk::new();
        open(&disk).unwrap().abandon();
        disk.operations()
    };
    for first in (1..operations).step_by(4) {
        for second in 1..9 {
            let disk = SimulatedDisk::new();
            disk.stop_at(first);
            drop(open(&disk).map(|engine| engine.abandon()));
            let disk = disk.image(Reached::Everything);
            disk.stop_at(second);
            drop(open(&disk).map(|engine| engine.abandon()));
            for seed in 0..6 {
                let engine = open(&disk.image(Reached::Random(seed)));
                let engine = engine.unwrap_or_else(|error| {
                    panic!("stopped at {first}, then at {second}, seed {seed}: {error}")
                });
                engine.abandon();
            }
        }
    }
}

#[tokio::test]
async fn a_store_whose_format_is_being_raised_survives_a_power_cut() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    engine.shutdown().await;
    drop(engine);
    let at = bytes(&disk, "store").windows(8).position(|window| window == b"format 4").unwrap();
    overwrite(&disk, "store", at, b"format 3");
    for operation in 1..8 {
        let disk = disk.image(Reached::Everything);
        disk.stop_at(operation);
        drop(open(&disk).map(|engine| engine.abandon()));
        for reached in (0..3).flat_map(|seed| [Reached::Random(seed), Reached::Torn(seed)]) {
            let image = disk.image(reached);
            let engine = open(&image).unwrap();
            assert!(bytes(&image, "store").windows(8).any(|window| window == b"format 4"));
            assert_eq!(read(&engine, set, "kept/1").await.unwrap(), [1; 1000]);
            engine.abandon();
        }
    }
}

/// A part of a group on the platter is no group.
#[tokio::test]
async fn a_short_write_of_a_group_leaves_nothing_of_it() {
    for bytes in [0, 1, 100, 4096, 5000] {
        let disk = SimulatedDisk::new();
        let (engine, set) = store(&disk).await;
        disk.fail(At::Write(disk.writes() + 1), Fault::Short { bytes });
        let refused = add(&engine, set, "short", &[7; 9000]).await;
        assert!(matches!(refused, Err(MutationError::OutcomeUnknown { .. })), "{refused:?}");
        assert!(matches!(engine.health(), Health::ReadOnly { .. }));
        engine.abandon();
        for reached in [Reached::Everything, Reached::Torn(bytes as u64)] {
            let engine = open(&disk.image(reached)).unwrap();
            assert_eq!(names(&engine, set), ["kept/0", "kept/1", "kept/2"], "{bytes} bytes");
            assert_eq!(engine.check(true).unwrap(), []);
            add(&engine, set, "short", &[7; 9000]).await.unwrap();
        }
    }
}

fn names_if_readable(engine: &Engine, set: DatasetId) -> Option<Vec<String>> {
    let snapshot = engine.snapshot().ok()?;
    let header = snapshot.dataset(set).ok()??;
    let files = snapshot.files(&header).ok()?;
    files.map(|file| file.ok().map(|(name, _)| name)).collect()
}

/// Waits for what another thread does.
pub async fn wait_until(mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed().as_secs() < 60, "it never came to that");
        tokio::task::yield_now().await;
    }
}

/// All bytes of a file.
fn bytes(disk: &SimulatedDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn overwrite(disk: &SimulatedDisk, path: &str, at: usize, with: &[u8]) {
    let file = disk.open(path, OpenMode::Existing).unwrap();
    file.write_all_at(&[IoSlice::new(with)], at as u64).unwrap();
    file.sync_data().unwrap();
}

#[tokio::test]
async fn a_journal_that_is_damaged_before_its_end_stops_opening_and_stays_as_it_is() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    for number in 0..4 {
        add(&engine, set, &format!("{number}"), &Content::numbered(77 + number, 3000).0)
            .await
            .unwrap();
    }
    let disk = disk.image(Reached::Everything);
    engine.abandon();
    let segment = format!("journal/{}", disk.list("journal").unwrap().iter().min().unwrap());
    let content = Content::numbered(78, 3000).0;
    let held = bytes(&disk, &segment);
    let at = held.windows(content.len()).position(|window| *window == *content).unwrap();
    overwrite(&disk, &segment, at + 1000, b"rot");
    let damaged = bytes(&disk, &segment);

    match open(&disk) {
        Err(OpenError::JournalDamaged { segment: 1, offset, .. }) => {
            assert!(offset <= at as u64, "offset {offset}");
        }
        other => panic!("{other:?}"),
    }

    assert!(bytes(&disk, &segment) == damaged);
    overwrite(&disk, &segment, at + 1000, &content[1000..1003]);
    let engine = open(&disk).unwrap();
    assert_eq!(names(&engine, set).len(), 7);
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_content_that_rotted_is_told_and_others_are_read() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    add(&engine, set, "rotten", &Content::numbered(77, 3000).0).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    let segment = format!("journal/{}", disk.list("journal").unwrap().iter().min().unwrap());
    let content = Content::numbered(77, 3000).0;
    let held = bytes(&disk, &segment);
    let at = held.windows(content.len()).position(|window| *window == *content).unwrap();
    overwrite(&disk, &segment, at + 1000, b"rot");

    let engine = open(&disk).unwrap();

    assert_eq!(engine.check(false).unwrap(), [], "nobody has read it");
    // Whoever has looked knows, and tells it from then on.
    for is_deep in [true, false] {
        let findings = engine.check(is_deep).unwrap();
        let invariants: Vec<&str> = findings.iter().map(|finding| finding.invariant).collect();
        assert_eq!(invariants, ["I9"]);
    }
    assert_eq!(read(&engine, set, "kept/1").await.unwrap(), [1; 1000]);
}

#[tokio::test]
async fn a_store_in_use_is_not_opened_twice() {
    let disk = SimulatedDisk::new();
    let (engine, _) = store(&disk).await;
    assert!(matches!(open(&disk), Err(OpenError::Locked { .. })));
    engine.shutdown().await;
    drop(engine);
    assert!(open(&disk).is_ok());

    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().into(), &options()).unwrap();
    let second = Engine::open(directory.path().into(), &options());
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    drop(engine);
    assert!(Engine::open(directory.path().into(), &options()).is_ok());
}

#[tokio::test]
async fn a_newer_store_and_a_foreign_directory_are_left_alone() {
    let disk = SimulatedDisk::new();
    let (engine, _) = store(&disk).await;
    engine.shutdown().await;
    drop(engine);
    let identity = bytes(&disk, "store");
    let at = identity.windows(8).position(|window| window == b"format 4").unwrap();
    overwrite(&disk, "store", at, b"format 9");
    let newer = open(&disk);
    assert!(matches!(newer, Err(OpenError::NewerFormat { found: 9, known: 4 })), "{newer:?}");

    let directory = tempfile::tempdir().unwrap();
    let photo = directory.path().join("photo.png");
    let mut options_for_photo = std::fs::OpenOptions::new();
    options_for_photo.write(true).create_new(true).open(&photo).unwrap();
    let foreign = Engine::open(directory.path().into(), &options());
    assert!(matches!(foreign, Err(OpenError::NotAStore { .. })), "{foreign:?}");
    assert!(photo.exists());
}

#[tokio::test]
async fn a_broken_actor_is_one_requests_matter() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    let other = dataset(&engine, project(&engine).await.unwrap(), "other").await.unwrap().id;
    let mut asked = Vec::new();
    for number in 0..200u32 {
        let engine = engine.clone();
        asked.push(tokio::spawn(async move {
            if number % 50 == 25 {
                let broken = engine.break_actor(set).await;
                assert!(matches!(broken, Err(MutationError::Panicked)), "{broken:?}");
            } else {
                let dataset = if number % 2 == 0 { set } else { other };
                add(&engine, dataset, &format!("{number}"), &number.to_le_bytes()).await.unwrap();
            }
        }));
    }
    for asked in asked {
        asked.await.unwrap();
    }
    assert_eq!(names(&engine, set).len(), 3 + 100);
    assert_eq!(names(&engine, other).len(), 96);
    engine.delete_file(set, "kept/0").await.unwrap();
    assert_eq!(engine.check(true).unwrap(), []);
}
