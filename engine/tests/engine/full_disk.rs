//! A disk that is full: only what grows the store is refused, deleting is enough, and the index never
//! wants for its pages (I7).

use std::time::Instant;

use granary_engine::disk::{At, Disk as _, Fault, Reached, SimulatedDisk, is_full};
use granary_engine::model::{DatasetId, DatasetPatch, LicenceId, NewDataset, ProjectId, UserId};
use granary_engine::{Engine, FileSelection, Health, IntakeError, MutationError, OpenError};

use crate::driver::add_zip;
use crate::faults::{open, store};
use crate::reference::Content;
use crate::support::{add, names, new_dataset, project, read};

/// A disk that is small, with this much of it free.
fn small_disk(available: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.set_space(64 << 20, available);
    disk
}

/// Adds files until there is no space; gives their number.
async fn fill(engine: &Engine, set: DatasetId) -> u64 {
    for number in 0..1000 {
        let content = Content::numbered(number, 200_000);
        match add(engine, set, &format!("fill/{number}"), &content.0).await {
            Ok(_) => {}
            Err(MutationError::OutOfSpace) => return number,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("the disk is never full")
}

#[tokio::test]
async fn a_full_disk_refuses_what_grows_and_more_space_is_enough() {
    let disk = small_disk(16 << 20);
    let (engine, set) = store(&disk).await;
    let filled = fill(&engine, set).await;
    assert!(filled > 10, "{filled} files");
    let large = add(&engine, set, "large", &vec![1; 20 << 20]).await;
    assert!(matches!(large, Err(MutationError::OutOfSpace)), "{large:?}");
    assert_eq!(engine.health(), Health::Ready);
    assert_eq!(read(&engine, set, "fill/0").await.unwrap(), *Content::numbered(0, 200_000).0);
    for number in 0..5 {
        engine.delete_file(set, &format!("fill/{number}")).await.unwrap();
    }
    engine.clear_dataset(set).await.unwrap();

    disk.set_space(64 << 20, 40 << 20);

    add(&engine, set, "more", &vec![2; 200_000]).await.unwrap();
    add(&engine, set, "large", &vec![1; 20 << 20]).await.unwrap();
    assert_eq!(engine.check(true).unwrap(), []);
    let image = disk.image(Reached::Nothing);
    engine.abandon();
    let engine = open(&image).unwrap();
    assert_eq!(names(&engine, set).len() as u64, 3 + filled - 5 + 2);
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_full_disk_takes_uploads_again_once_files_were_deleted() {
    let disk = small_disk(16 << 20);
    let (engine, set) = store(&disk).await;
    let filled = fill(&engine, set).await;
    for number in 0..filled - 1 {
        engine.delete_file(set, &format!("fill/{number}")).await.unwrap();
    }
    let begun = Instant::now();
    let mut again = 0;
    while again < filled / 2 {
        assert!(begun.elapsed().as_secs() < 60, "the space does not come back");
        engine.compact().await.unwrap();
        engine.checkpoint().await.unwrap();
        let content = Content::numbered(1000 + again, 200_000);
        match add(&engine, set, &format!("again/{again}"), &content.0).await {
            Ok(_) => again += 1,
            Err(MutationError::OutOfSpace) => tokio::task::yield_now().await,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(engine.health(), Health::Ready);
    let last = format!("fill/{}", filled - 1);
    let content = Content::numbered(filled - 1, 200_000);
    assert_eq!(read(&engine, set, &last).await.unwrap(), *content.0);
    assert_eq!(engine.check(true).unwrap(), []);
}

/// Whatever a start writes finds no space, or a sick disk: that is no damage, and the disk is all that wants
/// mending.
#[tokio::test]
async fn a_store_whose_disk_fails_a_start_is_not_called_damaged() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    let image = disk.image(Reached::Nothing);
    engine.abandon();
    let mut refused = 0;
    for fault in [Fault::Full, Fault::Io] {
        for operation in 1.. {
            let disk = image.image(Reached::Everything);
            let failing = disk.operations() + operation;
            disk.fail(At::Operation(failing), fault);
            match open(&disk) {
                Ok(engine) if disk.operations() < failing => {
                    engine.abandon();
                    break;
                }
                // Nobody needs what failed, or something in the background does.
                Ok(engine) => engine.abandon(),
                Err(OpenError::Io { source, .. }) => {
                    assert_eq!(is_full(&source), matches!(fault, Fault::Full), "{source:?}");
                    refused += 1;
                }
                Err(other) => panic!("{fault:?} at {operation}: {other:?}"),
            }
            let engine = open(&disk.image(Reached::Everything)).unwrap();
            assert_eq!(names(&engine, set).len(), 3);
            engine.abandon();
        }
    }
    assert!(refused > 10, "{refused}");
}

/// What is not there is damage: another directory would be another store.
#[tokio::test]
async fn a_store_without_its_index_is_called_damaged() {
    let disk = SimulatedDisk::new();
    let (engine, _) = store(&disk).await;
    let image = disk.image(Reached::Nothing);
    engine.abandon();
    image.remove("index.redb").unwrap();
    let refused = open(&image).unwrap_err();
    assert!(matches!(refused, OpenError::IndexDamaged { .. }), "{refused:?}");
}

/// Files of a batch, and bytes of each name: rows are what fills the disk.
const FILES_OF_A_BATCH: u64 = 1000;
const NAME_BYTES: usize = 900;

fn batch(number: u64) -> Vec<(String, Content)> {
    let rest = "n".repeat(NAME_BYTES);
    let member =
        |file| (format!("{number:03}/{file:03}{rest}"), Content::numbered(number << 20 | file, 20));
    (0..FILES_OF_A_BATCH).map(member).collect()
}

/// Adds batches of files until there is no space for the next one; gives their number.
async fn fill_with_rows(engine: &Engine, set: DatasetId) -> u64 {
    for number in 0..1000 {
        match add_zip(engine, set, &batch(number)).await {
            Ok(_) => {}
            Err(IntakeError::Mutation(MutationError::OutOfSpace)) => return number,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("the disk is never full")
}

/// A store whose disk the rows of files have filled; gives the number of batches.
async fn full_of_rows(disk: &SimulatedDisk) -> (Engine, DatasetId, u64) {
    disk.set_space(80 << 20, 79 << 20);
    let (engine, set) = store(disk).await;
    let filled = fill_with_rows(&engine, set).await;
    assert!(filled > 5, "{filled} batches");
    (engine, set, filled)
}

async fn delete_batch(engine: &Engine, set: DatasetId, number: u64) -> Result<(), MutationError> {
    delete_below(engine, set, format!("{number:03}/")).await.map(drop)
}

async fn delete_below(
    engine: &Engine,
    set: DatasetId,
    prefix: String,
) -> Result<u64, MutationError> {
    engine.delete_files(set, FileSelection::Prefix(prefix)).await
}

/// Deletions of many files in a row take more of the disk than the reserve before the background gives
/// any back.
#[tokio::test]
async fn deletions_of_many_files_wait_for_the_space_of_those_before() {
    let disk = SimulatedDisk::new();
    let (engine, set, filled) = full_of_rows(&disk).await;
    for number in 0..filled {
        delete_batch(&engine, set, number).await.unwrap();
    }
    assert_eq!(engine.health(), Health::Ready);
    assert_eq!(names(&engine, set).len(), 3);
    assert_eq!(engine.check(true).unwrap(), []);
}

/// As long as somebody reads an earlier state the index uses none of its pages again: its file grows with
/// whatever is done.
#[tokio::test]
async fn who_reads_on_a_full_disk_has_deletions_refused_and_the_index_never_fails() {
    let disk = SimulatedDisk::new();
    let (engine, set, filled) = full_of_rows(&disk).await;
    let earlier = engine.snapshot().unwrap();
    let mut deleted = 0;
    while deleted < filled {
        match delete_batch(&engine, set, deleted).await {
            Ok(()) => deleted += 1,
            Err(MutationError::OutOfSpace) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    // One at a time they go on for longer.
    let singly = batch(deleted).into_iter().filter(|_| deleted < filled);
    for (name, _) in singly {
        match engine.delete_file(set, &name).await {
            Ok(_) => {}
            Err(MutationError::OutOfSpace) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    for _ in 0..100 {
        engine.step_background().await.unwrap();
        engine.checkpoint().await.unwrap();
    }
    assert_eq!(engine.health(), Health::Ready);
    let header = earlier.dataset(set).unwrap().unwrap();
    let files = u64::try_from(earlier.files(&header).unwrap().count()).unwrap();
    assert_eq!(files, 3 + filled * FILES_OF_A_BATCH);
    drop(earlier);
    // What the file has grown by does not come back, and may have been the room for large deletions: few
    // files at a time are deleted with less, and give it back.
    for number in deleted..filled {
        match delete_batch(&engine, set, number).await {
            Ok(()) => {}
            Err(MutationError::OutOfSpace) => delete_in_portions(&engine, set, number).await,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(names(&engine, set).len(), 3);
    assert_eq!(engine.check(true).unwrap(), []);
}

/// When users were seen frees nothing, so it waits for space and takes nothing that is set aside.
#[tokio::test]
async fn times_of_logins_are_written_when_there_is_space() {
    let disk = SimulatedDisk::new();
    disk.set_space(80 << 20, 79 << 20);
    let (engine, _) = store(&disk).await;
    let user = UserId(7);
    engine.checkpoint().await.unwrap();
    disk.set_space(80 << 20, 300 << 10);
    let groups = || engine.figures().group_changes.count();
    let before = groups();
    engine.touch_login(user);
    for _ in 0..5 {
        engine.write_touches().await;
    }
    assert_eq!(groups(), before);
    disk.set_space(80 << 20, 40 << 20);
    engine.write_touches().await;
    assert_eq!(groups(), before + 1);
}

/// A deletion for which there would be room if nobody read an earlier state waits for who reads for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_wait_for_those_who_read_for_a_moment() {
    let disk = SimulatedDisk::new();
    let (engine, set, _) = full_of_rows(&disk).await;
    for (name, _) in batch(0).into_iter().take(200) {
        // More than an eighth of the reserve, and less than the quarter that stays while somebody reads.
        disk.set_space(80 << 20, 3 << 18);
        let begun = Instant::now();
        let earlier = engine.snapshot().unwrap();
        engine.checkpoint().await.unwrap();
        let deleting = engine.clone();
        let deleted = tokio::spawn(async move { deleting.delete_file(set, &name).await });
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        drop(earlier);
        let was_a_moment = begun.elapsed().as_millis() < 500;
        match deleted.await.unwrap() {
            Ok(_) => {}
            // A machine that stood still made it too long, and for a while nobody is waited for.
            Err(MutationError::OutOfSpace) if !was_a_moment => break,
            Err(refused) => panic!("{refused:?}"),
        }
    }
    assert_eq!(engine.health(), Health::Ready);
}

/// Deletes a batch ten files at a time, each as often as it is refused.
async fn delete_in_portions(engine: &Engine, set: DatasetId, number: u64) {
    let begun = Instant::now();
    for tens in 0..FILES_OF_A_BATCH / 10 {
        loop {
            match delete_below(engine, set, format!("{number:03}/{tens:02}")).await {
                Ok(_) => break,
                Err(MutationError::OutOfSpace) => {
                    assert!(begun.elapsed().as_secs() < 60, "the space does not come back");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

/// Makes datasets of the project with descriptions so long; gives their number once there is no space.
async fn fill_with_headers(engine: &Engine, within: (ProjectId, LicenceId), count: u64) -> u64 {
    for number in 0..count {
        let dataset = NewDataset {
            description: "x".repeat(3000),
            ..new_dataset(within, &format!("set {number}"))
        };
        match engine.create_dataset(dataset).await {
            Ok(_) => {}
            Err(MutationError::OutOfSpace) => return number,
            Err(other) => panic!("{other:?}"),
        }
    }
    count
}

/// All its headers are written anew at once, which takes as much of the disk again.
#[tokio::test]
async fn a_project_that_is_destroyed_on_a_full_disk_waits_for_space() {
    let disk = SimulatedDisk::new();
    disk.set_space(80 << 20, 79 << 20);
    let (engine, set) = store(&disk).await;
    let within = project(&engine).await.unwrap();
    let made = fill_with_headers(&engine, within, 2500).await;
    assert_eq!(made, 2500, "they have room");
    fill(&engine, set).await;
    engine.checkpoint().await.unwrap();
    disk.set_space(80 << 20, 1 << 20);

    let refused = engine.destroy_project(within.0).await;

    assert!(matches!(refused, Err(MutationError::OutOfSpace)), "{refused:?}");
    engine.checkpoint().await.unwrap();
    assert_eq!(engine.health(), Health::Ready);
    disk.set_space(160 << 20, 80 << 20);
    engine.destroy_project(within.0).await.unwrap();
    let deleted = engine.snapshot().unwrap().datasets().unwrap();
    assert_eq!(deleted.filter(|it| it.as_ref().unwrap().deletion_time.is_some()).count(), 2501);
    assert_eq!(engine.check(true).unwrap(), []);
}

/// A copy says little, and has all texts of its source, also of one that gets them at that moment.
#[tokio::test]
async fn copies_of_long_texts_are_refused_before_the_disk_is_full_of_them() {
    let disk = small_disk(24 << 20);
    let (engine, set) = store(&disk).await;
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..200 {
        let engine = engine.clone();
        changes.spawn(async move {
            if number == 0 {
                let long = Some("x".repeat(1 << 20));
                let patch = DatasetPatch { description: long, ..DatasetPatch::default() };
                return engine.update_dataset(set, patch).await;
            }
            engine.copy_dataset(set, None, None, None).await
        });
    }
    let outcomes = changes.join_all().await;
    let refused = |outcome: &Result<_, _>| matches!(outcome, Err(MutationError::OutOfSpace));
    for outcome in &outcomes {
        assert!(outcome.is_ok() || refused(outcome), "{outcome:?}");
    }
    assert!(outcomes.iter().any(refused));
    engine.checkpoint().await.unwrap();
    assert_eq!(engine.health(), Health::Ready);
    assert_eq!(engine.check(true).unwrap(), []);
}
