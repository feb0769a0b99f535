//! What goes on beside the changes: bytes that nobody names any longer go, and never too early.

use std::io::Read as _;
use std::sync::Arc;

use granary_engine::disk::{At, Disk, Fault, Reached, SimulatedDisk};
use granary_engine::limits::BACKGROUND_ROWS_MAX;
use granary_engine::model::{DatasetId, Digest, LicenceId, ProjectId};
use granary_engine::{ArchiveFormat, Engine, Health, SourceAfterMerge, StagedBlob};

use crate::driver::zip_of;
use crate::faults::wait_until;
use crate::reference::Content;
use crate::support::{add, content, dataset, names, options, project, read, small_segments};

pub fn open(disk: &SimulatedDisk) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), &small_segments()).unwrap()
}

pub fn files_in(disk: &SimulatedDisk, directory: &str) -> usize {
    disk.list(directory).unwrap().len()
}

/// Compacts and checkpoints until something holds.
pub async fn tidy_until(engine: &Engine, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed().as_secs() < 60, "it never came to that");
        engine.compact().await.unwrap();
        engine.checkpoint().await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// Bytes of a content that gets a file of its own.
pub const LARGE: usize = 3 << 19;

async fn store(disk: &SimulatedDisk) -> (Engine, DatasetId) {
    let engine = open(disk);
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    for number in 0..8 {
        add(&engine, set, &format!("small/{number}"), &Content::numbered(number, 50_000).0)
            .await
            .unwrap();
    }
    for number in 10..13 {
        add(&engine, set, &format!("large/{number}"), &Content::numbered(number, LARGE).0)
            .await
            .unwrap();
    }
    (engine, set)
}

#[tokio::test]
async fn bytes_that_nobody_names_any_longer_go() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    let copy = engine.copy_dataset(set, None, None, None).await.unwrap().id;
    for name in names(&engine, set) {
        engine.delete_file(set, &name).await.unwrap();
    }
    for _ in 0..5 {
        engine.checkpoint().await.unwrap();
    }
    assert_eq!(files_in(&disk, "blobs"), 3, "the copy names them");
    assert_eq!(engine.check(true).unwrap(), []);

    engine.hard_delete_dataset(copy).await.unwrap();
    engine.hard_delete_dataset(set).await.unwrap();

    // The head of the journal, and the file that is ready to follow it, stay.
    let gone = || files_in(&disk, "blobs") == 0 && files_in(&disk, "journal") <= 2;
    tidy_until(&engine, gone).await;
    assert_eq!(engine.check(true).unwrap(), []);
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "another").await.unwrap().id;
    add(&engine, set, "again", &Content::numbered(10, LARGE).0).await.unwrap();
    assert_eq!(read(&engine, set, "again").await.unwrap(), *Content::numbered(10, LARGE).0);
}

/// Contents without a file that somebody still holds.
async fn dead_and_pinned(engine: &Engine, files: usize) -> Vec<StagedBlob> {
    let within = project(engine).await.unwrap();
    let set = dataset(engine, within, "set").await.unwrap().id;
    let mut pinned = Vec::new();
    for number in 0..files {
        let bytes = format!("content {number}").into_bytes();
        add(engine, set, &number.to_string(), &bytes).await.unwrap();
        pinned.push(content(engine, &bytes).await.unwrap());
    }
    for number in 0..files {
        engine.delete_file(set, &number.to_string()).await.unwrap();
    }
    pinned
}

/// A tar pins so many known contents until the member behind them is whole, however long that takes.
#[tokio::test]
async fn contents_that_are_pinned_for_long_hide_none_that_may_go() {
    let engine = open(&SimulatedDisk::new());
    let files = BACKGROUND_ROWS_MAX + 20;
    let mut pinned = dead_and_pinned(&engine, files).await;
    let last = pinned.pop();
    let dead = || engine.garbage().unwrap().contents;
    while engine.step_background().await.unwrap() {}
    assert_eq!(dead(), u64::try_from(files).unwrap());

    drop(last);
    while engine.step_background().await.unwrap() {}
    assert_eq!(dead(), u64::try_from(pinned.len()).unwrap());

    drop(pinned);
    while dead() > 0 {
        engine.step_background().await.unwrap();
    }
}

/// Whoever needs the space has the background do all that it can.
#[tokio::test]
async fn what_is_pinned_no_longer_goes_with_the_steps_that_are_under_way() {
    let engine = open(&SimulatedDisk::new());
    let files = BACKGROUND_ROWS_MAX + 20;
    let pinned = dead_and_pinned(&engine, files).await;
    while engine.garbage().unwrap().contents < files as u64 {
        engine.step_background().await.unwrap();
    }
    // Steps, until one has passed the first of them and not the others.
    while !engine.step_background().await.unwrap() {}
    drop(pinned);
    while engine.step_background().await.unwrap() {}
    assert_eq!(engine.garbage().unwrap().contents, 0);
}

/// The row of a dead content outlives a checkpoint, since an upload still holds it; when it goes,
/// its bytes wait for a checkpoint of its own (I3): the next start may believe a row it finds.
#[tokio::test]
async fn bytes_go_only_once_the_removal_of_their_row_is_durable() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    let bytes = Content::numbered(10, LARGE).0;
    let held = content(&engine, &bytes).await.unwrap();
    engine.delete_file(set, "large/10").await.unwrap();
    // Until there is nothing else to make durable.
    for _ in 0..4 {
        engine.checkpoint().await.unwrap();
    }
    assert_eq!(files_in(&disk, "blobs"), 3);
    let syncs = disk.syncs();
    drop(held);
    tidy_until(&engine, || files_in(&disk, "blobs") == 2).await;
    assert!(disk.syncs() > syncs, "the file went, and nothing was made durable before");
    disk.stop_at(disk.operations());
    engine.abandon();
    drop(engine);

    let engine = open(&disk.image(Reached::Everything));

    add(&engine, set, "again", &bytes).await.unwrap();
    assert!(read(&engine, set, "again").await.unwrap() == *bytes);
    assert_eq!(engine.check(true).unwrap(), []);
}

/// The directory of the removed segments is that of new ones.
#[tokio::test]
async fn no_sync_that_fails_while_files_go_is_passed_over() {
    for failing in 1_u64.. {
        let disk = SimulatedDisk::new();
        let (engine, set) = store(&disk).await;
        engine.hard_delete_dataset(set).await.unwrap();
        let at = disk.syncs() + failing;
        disk.fail(At::Sync(at), Fault::Io);
        let goes_on = || files_in(&disk, "blobs") > 0 || files_in(&disk, "journal") > 2;
        assert!(goes_on());
        let mut is_sound = true;
        while is_sound && goes_on() {
            is_sound = engine.compact().await.is_ok() && engine.checkpoint().await.is_ok();
        }
        if disk.syncs() < at {
            assert!(failing > 1, "nothing was synced");
            break;
        }
        wait_until(|| matches!(engine.health(), Health::ReadOnly { .. })).await;
    }
}

#[tokio::test]
async fn an_archive_under_way_keeps_the_bytes_of_its_state() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    let archive = engine.prepare_archive(set, ArchiveFormat::Zip).await.unwrap().unwrap();
    let mut archive = archive.start(None).await.unwrap();
    let mut bytes = archive.next().await.unwrap().unwrap().to_vec();
    engine.hard_delete_dataset(set).await.unwrap();
    for _ in 0..50 {
        engine.compact().await.unwrap();
        engine.checkpoint().await.unwrap();
    }
    assert_eq!(files_in(&disk, "blobs"), 3);

    while let Some(chunk) = archive.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }

    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    assert_eq!(zip.len(), 11);
    for number in 0..13 {
        let (name, length) = match number {
            0..8 => (format!("small/{number}"), 50_000),
            8..10 => continue,
            _ => (format!("large/{number}"), LARGE),
        };
        let mut held = Vec::new();
        zip.by_name(&name).unwrap().read_to_end(&mut held).unwrap();
        assert!(held == *Content::numbered(number, length).0, "{name}");
    }
    drop(archive);
    let gone = || files_in(&disk, "blobs") == 0 && files_in(&disk, "journal") <= 2;
    tidy_until(&engine, gone).await;
    assert_eq!(engine.check(true).unwrap(), []);
}

/// One upload was cut off on its way, one had arrived and was never named.
#[tokio::test]
async fn what_interrupted_uploads_left_is_swept() {
    let disk = SimulatedDisk::new();
    let (engine, set) = store(&disk).await;
    let mut upload = engine.begin_upload(None).await.unwrap();
    upload.write(&vec![1; 4 << 20]).await.unwrap();
    let arrived = content(&engine, &vec![2; 2 << 20]).await.unwrap();
    disk.stop_at(disk.operations());
    let disk = disk.image(Reached::Everything);
    engine.abandon();
    drop((upload, arrived));
    assert_eq!((files_in(&disk, "staging"), files_in(&disk, "blobs")), (1, 4));

    let engine = open(&disk);

    tidy_until(&engine, || files_in(&disk, "staging") == 0 && files_in(&disk, "blobs") == 3).await;
    assert_eq!(names(&engine, set).len(), 11);
    assert_eq!(engine.check(true).unwrap(), []);
}

/// A dataset of 300 files, more than one part of a large change has, whose contents are its own. All of
/// them are in its top layer, so that a file that is deleted leaves no hidden row behind.
async fn of_two_parts(
    engine: &Engine,
    within: (ProjectId, LicenceId),
    name: &str,
    from: u64,
) -> DatasetId {
    let set = dataset(engine, within, name).await.unwrap().id;
    for from in [from, from + 150] {
        let members = (from..from + 150)
            .map(|number| (format!("{number:05}"), Content::numbered(number, 10)))
            .collect::<Vec<_>>();
        let mut upload = engine.begin_spool_upload();
        upload.write(&zip_of(&members)).await.unwrap();
        engine.add_files(set, upload.finish().await.unwrap()).await.unwrap();
    }
    set
}

fn queued(engine: &Engine) -> u64 {
    let queues = engine.figures().queues;
    queues.iter().find(|queue| queue.name == "journal").unwrap().length
}

/// Parts name contents of the source before the end asks whether it is as it was. One that is deleted
/// there meanwhile is dead when its part is applied, and must not have been reclaimed by then (I3).
#[tokio::test(flavor = "multi_thread")]
async fn what_a_part_of_a_merge_names_is_kept_whatever_its_source_loses() {
    let disk = SimulatedDisk::new();
    // Segments that are never full: whatever syncs here is the journal's, a group each.
    let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let source = of_two_parts(&engine, within, "source", 0).await;
    let other = of_two_parts(&engine, within, "other", 1000).await;
    let (target, aside) = (
        dataset(&engine, within, "target").await.unwrap().id,
        dataset(&engine, within, "aside").await.unwrap().id,
    );
    add(&engine, target, "own", b"own").await.unwrap();
    add(&engine, aside, "own", b"own").await.unwrap();
    while engine.step_background().await.unwrap() {}
    engine.checkpoint().await.unwrap();

    // While one group waits for its sync, everything else queues: two parts of another merge, a
    // deletion, and two parts that name what it deletes. The next group has the first part and the
    // deletion, the one after it the rest.
    let first = disk.stall(At::Sync(disk.syncs() + 1));
    let adding = tokio::spawn({
        let engine = engine.clone();
        async move { add(&engine, source, "last", b"last").await }
    });
    wait_until(|| first.is_reached()).await;
    let merging = |target, source| {
        let engine = engine.clone();
        tokio::spawn(
            async move { engine.merge_datasets(target, source, SourceAfterMerge::Keep).await },
        )
    };
    let ahead = merging(aside, other);
    wait_until(|| queued(&engine) == 2).await;
    let merged = merging(target, source);
    wait_until(|| queued(&engine) == 4).await;
    let deleting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.delete_file(source, "00007").await }
    });
    wait_until(|| queued(&engine) == 5).await;
    let second = disk.stall(At::Sync(disk.syncs() + 2));
    drop(first);
    adding.await.unwrap().unwrap();
    deleting.await.unwrap().unwrap();
    wait_until(|| second.is_reached()).await;
    while engine.step_background().await.unwrap() {}
    drop(second);

    ahead.await.unwrap().unwrap();
    merged.await.unwrap().unwrap();
    let found = names(&engine, target);
    assert!(!found.contains(&"00007".to_owned()), "the source had lost it");
    assert_eq!(found.len(), 1 + 300);
    assert_eq!(engine.check(true).unwrap(), []);
    // Nothing keeps it any longer.
    while engine.step_background().await.unwrap() {}
    let digest = Digest::of(&Content::numbered(7, 10).0);
    assert!(engine.open_blob(&digest).unwrap().is_none());
}
