//! Stacks become shallow and let go of what they hide, without anybody seeing a difference.

use granary_engine::disk::{Reached, SimulatedDisk};
use granary_engine::limits::{METADATA_BYTES_MAX, STACK_LAYERS_MAX};
use granary_engine::model::DatasetId;
use granary_engine::{Engine, SourceAfterMerge};

use crate::background::{LARGE, files_in, open, tidy_until};
use crate::driver::{assert_agrees, run_on_both};
use crate::reference::{Content, Op, Reference};
use crate::support::project;

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

/// Files whose texts are more than a step of the background takes, in a layer above a larger one: a text
/// without its file's row above or beside it would count for nobody.
#[tokio::test]
async fn long_texts_stay_with_their_files() {
    for after in [SourceAfterMerge::Keep, SourceAfterMerge::HardDelete] {
        let disk = SimulatedDisk::new();
        let engine = open(&disk);
        let within = project(&engine).await.unwrap();
        let mut reference = Reference::default();
        let member = |number: u64| (format!("f/{number:03}"), Content::numbered(number, 10));
        let mut ops = vec![
            Op::Create { name: "one".into() },
            Op::AddZip { set: 1, members: (0..300).map(member).collect() },
            Op::Create { name: "two".into() },
        ];
        for number in 0..8 {
            let (name, content) = (format!("u/{number}"), Content::numbered(1000 + number, 10));
            ops.push(Op::Add { set: 2, name: name.clone(), content });
            ops.push(Op::SetMetadata { set: 2, name, text: "x".repeat(METADATA_BYTES_MAX) });
        }
        ops.push(Op::Merge { target: 1, source: 2, after });
        for op in &ops {
            run_on_both(&engine, within, &mut reference, op).await;
        }
        while engine.step_background().await.unwrap() {
            assert_agrees(&engine, &reference, "after a step").await;
        }
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
async fn what_a_copy_shows_is_reclaimed_when_it_has_gone() {
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
    run_on_both(&engine, within, &mut reference, &Op::HardDelete { set: 2 }).await;
    tidy_until(&engine, || files_in(&disk, "blobs") == 0).await;
    assert_agrees(&engine, &reference, "without the copy").await;
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
