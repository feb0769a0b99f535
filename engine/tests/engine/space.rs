//! What takes the space, and what is given back to who asks for it.

use std::sync::Arc;

use granary_engine::disk::{Disk, Reached, SimulatedDisk};
use granary_engine::model::DatasetId;
use granary_engine::{
    ArchiveFormat, Collected, CollectionProgress, DatasetUsage, Engine, EngineOptions,
    MutationError, Usage, UsageProgress,
};
use tokio::task::JoinHandle;

use crate::driver::{add_zip, zip_of};
use crate::reference::Content;
use crate::support::{add, dataset, options, project, read, small_segments};

fn open(disk: &SimulatedDisk) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), &small_segments()).unwrap()
}

fn measure(engine: &Engine) -> Usage {
    engine.measure_usage(&UsageProgress::default()).unwrap().unwrap()
}

fn of(usage: &Usage, dataset: DatasetId) -> &DatasetUsage {
    usage.largest.iter().find(|usage| usage.dataset == dataset).unwrap()
}

pub async fn collect(engine: &Engine) -> Collected {
    let engine = engine.clone();
    let collected =
        tokio::task::spawn_blocking(move || engine.collect_garbage(&CollectionProgress::default()));
    collected.await.unwrap().unwrap()
}

#[tokio::test]
async fn what_datasets_take_adds_up_to_what_is_stored() {
    let engine = open(&SimulatedDisk::new());
    let within = project(&engine).await.unwrap();
    let one = dataset(&engine, within, "one").await.unwrap().id;
    let two = dataset(&engine, within, "two").await.unwrap().id;
    let (mine, shared, theirs) =
        (Content::numbered(1, 1 << 21), Content::numbered(2, 50_000), Content::numbered(3, 30_000));
    add(&engine, one, "mine", &mine.0).await.unwrap();
    add(&engine, one, "shared", &shared.0).await.unwrap();
    add(&engine, two, "also", &shared.0).await.unwrap();
    add(&engine, two, "theirs", &theirs.0).await.unwrap();
    let copy = engine.copy_dataset(one, None, None, None).await.unwrap().id;

    let usage = measure(&engine);

    let stored: u64 = (1 << 21) + 50_000 + 30_000;
    assert_eq!((usage.contents, usage.content_bytes), (3, stored));
    assert_eq!((usage.large_bytes, usage.unnamed), (1 << 21, 0));
    assert_eq!((usage.datasets, usage.taken.files), (3, 6));
    assert_eq!(usage.taken.file_bytes, 2 * ((1 << 21) + 50_000) + 80_000);
    assert_eq!(usage.taken.stored_bytes, stored);
    // A copy shares all evenly, and nothing is its own; of what two rows name each has a half.
    for shared in [one, copy] {
        let taken = of(&usage, shared).taken;
        assert_eq!((taken.stored_bytes, taken.alone_bytes), (u64::midpoint(1 << 21, 25_000), 0));
    }
    let taken = of(&usage, two).taken;
    assert_eq!((taken.files, taken.file_bytes), (2, 80_000));
    assert_eq!((taken.stored_bytes, taken.alone_bytes), (25_000 + 30_000, 30_000));
    assert_eq!(usage.projects.len(), 1);
    assert_eq!((usage.projects[0].datasets, usage.projects[0].taken), (3, usage.taken));
    let space = (usage.index_bytes, usage.journal_bytes, usage.journal_live_bytes);
    assert!(space.0 > 0 && space.1 > space.2 && space.2 == 80_000, "{space:?}");

    engine.hard_delete_dataset(copy).await.unwrap();
    collect(&engine).await;
    assert_eq!(of(&measure(&engine), one).taken.alone_bytes, 1 << 21);
}

#[tokio::test]
async fn many_rows_and_layers_are_measured_in_pages() {
    let engine = open(&SimulatedDisk::new());
    let within = project(&engine).await.unwrap();
    let one = dataset(&engine, within, "one").await.unwrap().id;
    for number in 0..20 {
        add(&engine, one, &format!("{number}"), &Content::numbered(number, 3000).0).await.unwrap();
        if number % 5 == 0 {
            engine.copy_dataset(one, None, None, None).await.unwrap();
        }
    }
    let usage = measure(&engine);
    assert_eq!((usage.datasets, usage.content_bytes), (5, 60_000));
    // Parts of bytes are cut off once a dataset.
    assert!((59_995..=60_000).contains(&usage.taken.stored_bytes), "{usage:?}");
    let stopped = UsageProgress::default();
    stopped.stop();
    assert!(engine.measure_usage(&stopped).unwrap().is_none());
}

/// What the background moves from layer to layer counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_measured_while_layers_become_one_is_what_is_there() {
    let engine = open(&SimulatedDisk::new());
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    for (archive, files) in [(0, 900), (1, 600), (2, 400)] {
        let member = |number: u64| {
            (format!("{number:03}/{archive}"), Content::numbered(archive * 1000 + number, 10))
        };
        let mut upload = engine.begin_spool_upload();
        upload.write(&zip_of(&(0..files).map(member).collect::<Vec<_>>())).await.unwrap();
        engine.add_files(set, upload.finish().await.unwrap()).await.unwrap();
        let (measuring, mut measured) = (engine.clone(), 0);
        let measured = tokio::task::spawn_blocking(move || {
            let layers =
                || measuring.snapshot().unwrap().dataset(set).unwrap().unwrap().layer_count();
            while layers() > 2 || measured < 10 {
                let Usage { taken, content_bytes, .. } = measure(&measuring);
                let share = taken.stored_bytes;
                assert!((content_bytes - 1..=content_bytes).contains(&share), "{taken:?}");
                assert_eq!(taken.alone_bytes, content_bytes);
                measured += 1;
            }
        });
        while engine.step_background().await.unwrap() {}
        measured.await.unwrap();
    }
}

/// Contents that come to two segments.
const CONTENTS: u64 = 60;

/// Every other of many contents has died.
async fn half_dead(disk: &SimulatedDisk, options: &EngineOptions) -> (Engine, DatasetId) {
    let engine = Engine::open_on(Arc::new(disk.clone()), options).unwrap();
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    for number in 0..CONTENTS {
        let name = format!("{number}");
        add(&engine, set, &name, &Content::numbered(number, 30_000).0).await.unwrap();
    }
    add(&engine, set, "large", &Content::numbered(100, 3 << 19).0).await.unwrap();
    for number in (1..CONTENTS).step_by(2) {
        engine.delete_file(set, &format!("{number}")).await.unwrap();
    }
    engine.delete_file(set, "large").await.unwrap();
    (engine, set)
}

async fn assert_all_there(engine: &Engine, set: DatasetId) {
    for number in (0..CONTENTS).step_by(2) {
        let there = read(engine, set, &format!("{number}")).await.unwrap();
        assert!(there == *Content::numbered(number, 30_000).0, "{number}");
    }
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_collection_gives_back_what_died_and_nothing_else() {
    let disk = SimulatedDisk::new();
    let (engine, set) = half_dead(&disk, &options()).await;

    let Collected { after, .. } = collect(&engine).await;

    assert_eq!((after.contents, after.large_files, after.empty_segments), (0, 0, 0), "{after:?}");
    assert_eq!((after.layers, after.sparse_segments), (0, 0), "{after:?}");
    let usage = measure(&engine);
    // Some of it the background may have given back before.
    assert!(usage.journal_bytes < CONTENTS / 2 * 33_000 + 100_000, "{usage:?}");
    assert_eq!((usage.contents, usage.unnamed, usage.large_bytes), (CONTENTS / 2, 0, 0));
    assert_eq!(disk.list("blobs").unwrap(), Vec::<String>::new());
    assert_all_there(&engine, set).await;
    // Once more there is nothing to give back, and nothing is written for it.
    let again = collect(&engine).await;
    assert_eq!(again.moved_bytes, 0, "{again:?}");
}

#[tokio::test]
async fn a_content_that_is_twice_in_one_change_keeps_one_file() {
    let disk = SimulatedDisk::new();
    let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    let content = Content::numbered(1, 3 << 19);
    let members = ["one", "two"].map(|name| (name.to_owned(), content.clone()));
    add_zip(&engine, set, &members).await.unwrap();
    let cut = disk.image(Reached::Nothing);

    collect(&engine).await;

    assert_eq!(disk.list("blobs").unwrap().len(), 1);
    assert_both_there(&engine, set, &content).await;
    engine.abandon();
    // The journal is applied once more, beside the sweep of what earlier starts left.
    let engine = Engine::open_on(Arc::new(cut.clone()), &options()).unwrap();
    assert_both_there(&engine, set, &content).await;
    collect(&engine).await;
    assert_eq!(cut.list("blobs").unwrap().len(), 1);
    assert_both_there(&engine, set, &content).await;
}

async fn assert_both_there(engine: &Engine, set: DatasetId, content: &Content) {
    for name in ["one", "two"] {
        assert!(read(engine, set, name).await.unwrap() == *content.0, "{name}");
    }
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_collection_that_power_cuts_loses_nothing() {
    // Segments of one content each: padding makes what is moved as sparse as it was.
    let disk = SimulatedDisk::new();
    let (engine, set) = half_dead(&disk, &small_segments()).await;
    let begun = disk.operations();
    collect(&engine).await;
    let ended = disk.operations();
    drop(engine);
    // At some of its operations, as the whole takes some hundreds.
    for step in 0..6 {
        let disk = SimulatedDisk::new();
        let (engine, _) = half_dead(&disk, &small_segments()).await;
        disk.stop_at(disk.operations() + (ended - begun) * step / 6);
        let collecting = engine.clone();
        let progress = CollectionProgress::default();
        let work = move || collecting.collect_garbage(&progress).is_ok();
        tokio::task::spawn_blocking(work).await.unwrap();
        disk.stop_at(disk.operations());
        engine.abandon();
        drop(engine);
        let engine = open(&disk.image(Reached::Random(step)));
        assert_all_there(&engine, set).await;
        collect(&engine).await;
        assert_all_there(&engine, set).await;
    }
}

#[tokio::test]
async fn what_an_archive_reads_is_told_and_stays() {
    let engine = open(&SimulatedDisk::new());
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    add(&engine, set, "file", &Content::numbered(1, 40_000).0).await.unwrap();
    let archive = engine.prepare_archive(set, ArchiveFormat::Zip).await.unwrap().unwrap();
    engine.hard_delete_dataset(set).await.unwrap();

    let Collected { after, .. } = collect(&engine).await;

    assert_eq!((after.contents, after.content_bytes), (1, 40_000));
    assert_eq!((after.held_contents, after.held_bytes), (1, 40_000));
    drop(archive);
    assert_eq!(collect(&engine).await.after.contents, 0);
}

/// A store in which a large file was deleted on a disk that takes for ever to free it.
async fn with_a_large_deletion(disk: &SimulatedDisk) -> Engine {
    let engine = open(disk);
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    add(&engine, set, "large", &Content::numbered(1, 2 << 20).0).await.unwrap();
    disk.set_slow_to_free(true);
    engine.delete_file(set, "large").await.unwrap();
    while engine.step_background().await.unwrap() {}
    assert_eq!(engine.garbage().unwrap().large_files, 1);
    engine
}

/// A collection that has come to where it waits for removed files.
async fn collection_that_lets_go(
    engine: &Engine,
) -> (Arc<CollectionProgress>, JoinHandle<Result<Collected, MutationError>>) {
    let progress = Arc::new(CollectionProgress::default());
    let collecting = {
        let (engine, progress) = (engine.clone(), Arc::clone(&progress));
        tokio::task::spawn_blocking(move || engine.collect_garbage(&progress))
    };
    while progress.stage() != "letting go of files" {
        tokio::task::yield_now().await;
    }
    (progress, collecting)
}

#[tokio::test]
async fn a_stop_waits_for_no_removed_file_and_the_next_start_removes_what_is_left() {
    let disk = SimulatedDisk::new();
    with_a_large_deletion(&disk).await.shutdown().await;

    let disk = disk.restart();
    let engine = open(&disk);
    assert_eq!(engine.garbage().unwrap().large_files, 1);
    disk.set_slow_to_free(false);
    collect(&engine).await;
    assert_eq!(engine.garbage().unwrap().large_files, 0);
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_collection_that_is_told_to_stop_waits_for_no_removed_file() {
    let disk = SimulatedDisk::new();
    let engine = with_a_large_deletion(&disk).await;
    let (progress, collecting) = collection_that_lets_go(&engine).await;
    progress.stop();
    collecting.await.unwrap().unwrap();
    assert_eq!(engine.garbage().unwrap().large_files, 1);
}

#[tokio::test]
async fn a_collection_ends_with_the_store() {
    let disk = SimulatedDisk::new();
    let engine = with_a_large_deletion(&disk).await;
    let (_progress, collecting) = collection_that_lets_go(&engine).await;
    engine.shutdown().await;
    drop(collecting.await.unwrap());
}
