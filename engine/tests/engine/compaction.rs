//! Segments become dense where that is worth the writing, without anybody seeing a difference.

use granary_engine::disk::{Reached, SimulatedDisk};
use granary_engine::model::Digest;

use crate::background::{files_in, open, tidy_until};
use crate::driver::{assert_agrees, run_on_both};
use crate::reference::{Content, Op, Reference};
use crate::space::collect;
use crate::support::{add, dataset, project, read};

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

    let before = engine.snapshot().unwrap();
    // Live contents are less than two segments' worth, deletions take some too.
    tidy_until(&engine, || files_in(&disk, "journal") <= full / 2).await;

    // Whoever looks in an earlier state finds them where they are now, and not what is gone.
    let content = |number| Content::numbered(number, 3000).0;
    for number in (0..200).step_by(10) {
        let blob = engine.open_blob_in(&before, &Digest::of(&content(number))).unwrap().unwrap();
        assert_eq!(blob.stream(0..3000).next().await.unwrap().unwrap(), *content(number));
    }
    drop(before);

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
