//! What goes on beside the changes: bytes that nobody names any longer go, and never too early;
//! stacks become shallow and segments dense without anybody seeing a difference.

use std::io::Read as _;
use std::sync::Arc;

use granary_engine::disk::{At, Disk, Reached, SimulatedDisk};
use granary_engine::limits::STACK_LAYERS_MAX;
use granary_engine::model::{DatasetId, Digest, LicenceId, ProjectId};
use granary_engine::{ArchiveFormat, Engine, SourceAfterMerge};

use crate::driver::{assert_agrees, run_on_both, zip_of};
use crate::faults::wait_until;
use crate::reference::{Content, Op, Reference};
use crate::space::collect;
use crate::support::{add, content, dataset, names, options, project, read, small_segments};

fn open(disk: &SimulatedDisk) -> Engine {
    Engine::open_on(Arc::new(disk.clone()), &small_segments()).unwrap()
}

fn files_in(disk: &SimulatedDisk, directory: &str) -> usize {
    disk.list(directory).unwrap().len()
}

/// Compacts and checkpoints until something holds.
async fn tidy_until(engine: &Engine, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed().as_secs() < 60, "it never came to that");
        engine.compact().await.unwrap();
        engine.checkpoint().await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// Bytes of a content that gets a file of its own.
const LARGE: usize = 3 << 19;

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

/// Thirty versions, each a little different: metadata, deletions and names that come back lie in
/// many layers.
#[tokio::test]
async fn a_deep_stack_becomes_shallow_and_shows_the_same() {
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let within = project(&engine).await.unwrap();
    let mut reference = Reference::default();
    let mut ops = vec![Op::Create { name: "set".into() }];
    for round in 0..30u64 {
        let set = round + 1;
        let name = |number: u64| format!("f{}", number % 7);
        let content = Content::numbered(round, 500);
        ops.push(Op::Delete { set, name: name(round) });
        ops.push(Op::Add { set, name: name(round), content: content.clone() });
        ops.push(Op::Add { set, name: format!("only/{round}"), content });
        ops.push(Op::SetMetadata { set, name: name(round + 3), text: format!("{round}") });
        if round % 11 == 10 {
            ops.push(Op::Clear { set });
        }
        ops.push(Op::Delete { set, name: name(round + 5) });
        ops.push(Op::Copy { set, new_name: None, only: None });
    }
    for op in &ops {
        // Some deletions find nothing; that is refused by both.
        run_on_both(&engine, within, &mut reference, op).await;
    }
    let layers = || {
        let snapshot = engine.snapshot().unwrap();
        snapshot.datasets().unwrap().map(|header| header.unwrap().layer_count()).max().unwrap()
    };
    tidy_until(&engine, || layers() <= STACK_LAYERS_MAX + 1).await;
    assert_agrees(&engine, &reference, "folded").await;

    disk.stop_at(disk.operations());
    engine.abandon();
    drop(engine);
    let engine = open(&disk.image(Reached::Nothing));
    assert_agrees(&engine, &reference, "folded, after a power cut").await;
}

/// `clear` voids what was said before it, and a fold of many layers goes right through that.
#[tokio::test]
async fn layers_before_and_after_a_clear_become_one() {
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let within = project(&engine).await.unwrap();
    let mut reference = Reference::default();
    let named = |name: &str, content: u64| (name.to_owned(), Content::numbered(content, 10));
    let letters = ["a", "b", "c", "d", "e", "g"].map(|name| named(name, 1));
    let many = (0..294).map(|number| named(&format!("f/{number:03}"), number));
    let say =
        |name: &str, text: &str| Op::SetMetadata { set: 1, name: name.into(), text: text.into() };
    let add = |name: &str, content: u64| Op::Add {
        set: 1,
        name: name.into(),
        content: Content::numbered(content, 10),
    };
    let delete = |name: &str| Op::Delete { set: 1, name: name.into() };
    // More files than one change has: a layer of its own, much larger than all that comes above it.
    let rounds = [
        vec![
            Op::Create { name: "set".into() },
            Op::AddZip { set: 1, members: letters.into_iter().chain(many).collect() },
            say("a", "0"),
        ],
        vec![say("b", "1"), say("e", "1"), delete("c")],
        vec![Op::Clear { set: 1 }, say("a", "2"), say("d", "2")],
        vec![add("c", 2), say("c", "3"), say("d", "3")],
        vec![delete("a"), add("a", 3), delete("g")],
        vec![say("b", "5"), delete("d")],
    ];
    for round in rounds {
        for op in round.iter().chain([&Op::Copy { set: 1, new_name: None, only: None }]) {
            run_on_both(&engine, within, &mut reference, op).await;
        }
    }
    let layers = |engine: &Engine| {
        let snapshot = engine.snapshot().unwrap();
        snapshot.dataset(DatasetId(1)).unwrap().unwrap().layer_count()
    };
    // Others share them, so these are left alone; then nobody does any longer.
    while engine.step_background().await.unwrap() {}
    assert_eq!(layers(&engine), 8);
    for set in 2..8 {
        run_on_both(&engine, within, &mut reference, &Op::HardDelete { set }).await;
    }
    disk.stop_at(disk.operations());
    engine.abandon();
    drop(engine);

    let engine = open(&disk.image(Reached::Everything));
    while engine.step_background().await.unwrap() {}
    assert_eq!(layers(&engine), 3);
    assert_agrees(&engine, &reference, "folded").await;
    for op in [add("g", 4), add("d", 4)] {
        run_on_both(&engine, within, &mut reference, &op).await;
    }
    assert_agrees(&engine, &reference, "with what was deleted before").await;
}

#[tokio::test]
async fn padding_alone_is_no_reason_to_write_contents_again() {
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    // One a group, each of which takes 16 KiB: much more than a fifth is no content's.
    for number in 0..100 {
        let content = Content::numbered(number, 10_000);
        add(&engine, set, &format!("{number:03}"), &content.0).await.unwrap();
    }
    assert!(files_in(&disk, "journal") > 2);
    engine.compact().await.unwrap();
    assert_eq!(engine.figures().compacted_bytes, 0);
    disk.stop_at(disk.operations());
    engine.abandon();
    drop(engine);

    // Another start knows no better by itself what of a segment has died.
    let disk = disk.image(Reached::Everything);
    let engine = open(&disk);
    for _ in 0..50 {
        engine.compact().await.unwrap();
    }
    assert_eq!(engine.figures().compacted_bytes, 0);

    for number in (0..100).filter(|number| number % 3 != 0) {
        engine.delete_file(set, &format!("{number:03}")).await.unwrap();
    }
    tidy_until(&engine, || engine.figures().compacted_bytes > 0).await;
}

/// Their rows in the index would be all that is written.
#[tokio::test]
async fn very_short_contents_move_if_somebody_asks_for_the_space() {
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let within = project(&engine).await.unwrap();
    let mut reference = Reference::default();
    let members = (0..1000).map(|number| (format!("{number:03}"), Content::numbered(number, 100)));
    let ops = [
        Op::Create { name: "set".into() },
        Op::AddZip { set: 1, members: members.collect() },
        Op::Create { name: "another".into() },
        Op::AddZip { set: 2, members: vec![("large".into(), Content::numbered(1, 60_000))] },
    ];
    for op in &ops {
        run_on_both(&engine, within, &mut reference, op).await;
    }
    for number in (0..1000).filter(|number| number % 5 < 2) {
        let op = Op::Delete { set: 1, name: format!("{number:03}") };
        run_on_both(&engine, within, &mut reference, &op).await;
    }
    for _ in 0..20 {
        engine.checkpoint().await.unwrap();
        engine.compact().await.unwrap();
    }
    assert_eq!(engine.figures().compacted_bytes, 0);

    let collected = collect(&engine).await;

    assert!(collected.moved_bytes > 0, "{collected:?}");
    assert_agrees(&engine, &reference, "collected").await;
}

#[tokio::test]
async fn compaction_moves_what_lives_and_lets_the_rest_go() {
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    for number in 0..200 {
        let content = Content::numbered(number, 3000);
        add(&engine, set, &format!("{number:03}"), &content.0).await.unwrap();
    }
    add(&engine, set, "empty", b"").await.unwrap();
    let full = files_in(&disk, "journal");
    for number in (0..200).filter(|number| number % 10 != 0) {
        engine.delete_file(set, &format!("{number:03}")).await.unwrap();
    }

    // Live contents are less than two segments' worth, deletions take some too.
    tidy_until(&engine, || files_in(&disk, "journal") <= full / 2).await;

    assert_eq!(engine.check(true).unwrap(), []);
    disk.stop_at(disk.operations());
    engine.abandon();
    drop(engine);
    for reached in [Reached::Nothing, Reached::Everything, Reached::Random(1)] {
        let engine = open(&disk.image(reached));
        for number in (0..200).step_by(10) {
            let held = read(&engine, set, &format!("{number:03}")).await.unwrap();
            assert_eq!(held, *Content::numbered(number, 3000).0);
        }
        assert_eq!(read(&engine, set, "empty").await.unwrap(), b"");
        assert_eq!(engine.check(true).unwrap(), [], "{reached:?}");
    }
}

/// A thousand and some of many files, three of them large, in one change.
async fn delete_many(engine: &Engine, reference: &mut Reference) {
    let within = project(engine).await.unwrap();
    let member = |directory: &str, number: u64, content: u64| {
        (format!("{directory}/{number:04}"), Content::numbered(content, 100))
    };
    let members = (0..5000).map(|number| member("kept", number, number % 7));
    let members = members.chain((0..1100).map(|number| member("gone", number, 100 + number)));
    let mut ops = vec![
        Op::Create { name: "set".into() },
        Op::AddZip { set: 1, members: members.collect() },
        Op::DescribeMany {
            set: 1,
            texts: (0..1100).map(|number| (format!("gone/{number:04}"), "text".into())).collect(),
        },
    ];
    for number in 10..13 {
        let name = format!("gone/large/{number}");
        ops.push(Op::Add { set: 1, name, content: Content::numbered(number, LARGE) });
    }
    ops.push(Op::DeleteBelow { set: 1, prefix: "gone/".into() });
    for op in &ops {
        run_on_both(engine, within, reference, op).await;
    }
}

/// Far from enough to fold the layer of the files that were kept.
#[tokio::test]
async fn what_a_large_deletion_hides_is_reclaimed() {
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let mut reference = Reference::default();
    delete_many(&engine, &mut reference).await;
    let layers = || {
        let snapshot = engine.snapshot().unwrap();
        snapshot.dataset(DatasetId(1)).unwrap().unwrap().layer_count()
    };

    // The mutable layer, and that of the files.
    tidy_until(&engine, || files_in(&disk, "blobs") == 0 && layers() == 2).await;

    assert_agrees(&engine, &reference, "swept").await;
}

#[tokio::test]
async fn what_a_large_deletion_hides_is_reclaimed_after_another_start() {
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let mut reference = Reference::default();
    delete_many(&engine, &mut reference).await;
    disk.stop_at(disk.operations());
    engine.abandon();
    drop(engine);

    let disk = disk.image(Reached::Nothing);
    let engine = open(&disk);

    tidy_until(&engine, || files_in(&disk, "blobs") == 0).await;
    assert_agrees(&engine, &reference, "swept after another start").await;
}

/// The copy shows what the dataset hides; once it has gone, nobody does.
#[tokio::test]
async fn what_a_copy_shows_is_not_reclaimed() {
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let mut reference = Reference::default();
    let within = project(&engine).await.unwrap();
    let large = Content::numbered(10, LARGE);
    let members = (0..5000).map(|number| (format!("{number:04}"), Content::numbered(1, 10)));
    for op in [
        Op::Create { name: "set".into() },
        Op::AddZip { set: 1, members: members.collect() },
        Op::Add { set: 1, name: "0/large".into(), content: large },
        Op::Copy { set: 1, new_name: None, only: None },
        Op::DeleteBelow { set: 1, prefix: "0".into() },
        Op::DeleteBelow { set: 1, prefix: "1".into() },
    ] {
        run_on_both(&engine, within, &mut reference, &op).await;
    }
    for _ in 0..5 {
        engine.checkpoint().await.unwrap();
    }
    assert_agrees(&engine, &reference, "beside a copy").await;
    assert_eq!(files_in(&disk, "blobs"), 1);
}

/// What a merge by layers was planned on must be what a replay begins with: the background took
/// tombstones away since the checkpoint, and put back they would hide the target's file (I1).
#[tokio::test]
async fn a_merge_by_layers_is_replayed_on_the_layers_that_it_was_planned_on() {
    let disk = SimulatedDisk::new();
    let engine = open(&disk);
    let mut reference = Reference::default();
    let within = project(&engine).await.unwrap();
    let member = |number: u64| (format!("h/{number:02}"), Content::numbered(number, 10));
    for op in [
        Op::Create { name: "source".into() },
        Op::Create { name: "target".into() },
        Op::AddZip { set: 1, members: (0..32).map(member).collect() },
        Op::Copy { set: 1, new_name: None, only: None },
        Op::HardDelete { set: 3 },
    ] {
        run_on_both(&engine, within, &mut reference, &op).await;
    }
    engine.checkpoint().await.unwrap();
    for number in 0..16 {
        let delete = Op::Delete { set: 1, name: member(number).0 };
        run_on_both(&engine, within, &mut reference, &delete).await;
    }
    while engine.step_background().await.unwrap() {}
    let content = Content::numbered(40, 10);
    let merge = Op::Merge { target: 2, source: 1, after: SourceAfterMerge::Keep };
    let ops = [
        Op::Add { set: 2, name: member(1).0, content: content.clone() },
        Op::Add { set: 2, name: "t".into(), content },
        merge,
    ];
    for op in ops {
        run_on_both(&engine, within, &mut reference, &op).await;
    }
    assert!(engine.done().contains("MergeLayers"));
    disk.stop_at(disk.operations());
    engine.abandon();
    let engine = open(&disk.image(Reached::Nothing));
    assert_agrees(&engine, &reference, "replayed").await;
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
