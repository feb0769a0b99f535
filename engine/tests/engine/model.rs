//! Random sequences of operations, few names so that they collide, with reopenings and power cuts
//! between them: engine and reference agree after each, and the invariants hold at the end.
//!
//! `PROPTEST_CASES` sets the number of sequences. A failure found is kept below as a plain test.

use std::sync::Arc;

use granary_engine::disk::{Reached, SimulatedDisk};
use granary_engine::model::DatasetId;
use granary_engine::{Engine, SourceAfterMerge};
use proptest::prelude::*;

use crate::driver::{assert_agrees, assert_same, observe, run_on_both};
use crate::reference::{Content, Op, Reference};
use crate::support::{block_on, project, small_segments};

/// A step of a sequence.
#[derive(Debug, Clone)]
enum Step {
    Op(Op),
    Checkpoint,
    Reopen,
    PowerCut(Reached),
}

fn name() -> impl Strategy<Value = String> {
    let names = vec!["a", "b", "a-0001", "a.txt", "a-0001.txt", "d/x", "d/y", "d", "d/x/z"];
    prop::sample::select(names).prop_map(str::to_owned)
}

fn requested_name() -> impl Strategy<Value = String> {
    prop_oneof![8 => name(), 1 => Just("n/".to_owned()), 1 => Just("d/".to_owned())]
}

/// Few contents, so that they are shared; one of them has a file of its own.
fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        20 => (0..6u64).prop_map(|number| Content::numbered(number, 100)),
        3 => Just(Content::of(b"")),
        3 => (10..13u64).prop_map(|number| Content::numbered(number, 40_000)),
        1 => (20..22u64).prop_map(|number| Content::numbered(number, (1 << 20) + 1)),
    ]
}

fn after() -> impl Strategy<Value = SourceAfterMerge> {
    prop_oneof![
        3 => Just(SourceAfterMerge::Keep),
        1 => Just(SourceAfterMerge::Destroy),
        1 => Just(SourceAfterMerge::HardDelete),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let set = || prop_oneof![20 => 1..5u64, 3 => 5..9u64];
    let set_name = || prop::sample::select(vec!["s", "t", "u"]).prop_map(str::to_owned);
    let zip = || prop::sample::subsequence(vec!["a", "b", "z/1", "z/2", "z/3"], 1..4);
    let text = || "[xy]{0,2}";
    let only = || prop::collection::vec(name(), 0..5);
    prop_oneof![
        2 => set_name().prop_map(|name| Op::Create { name }),
        1 => (set(), set_name()).prop_map(|(set, name)| Op::Rename { set, name }),
        12 => (set(), requested_name(), content())
            .prop_map(|(set, name, content)| Op::Add { set, name, content }),
        2 => (set(), zip(), content()).prop_map(|(set, names, content)| {
            let members = names.into_iter().map(|name| (name.to_owned(), content.clone()));
            Op::AddZip { set, members: members.collect() }
        }),
        6 => (set(), name()).prop_map(|(set, name)| Op::Delete { set, name }),
        4 => (set(), name(), text())
            .prop_map(|(set, name, text)| Op::SetMetadata { set, name, text }),
        2 => set().prop_map(|set| Op::Clear { set }),
        4 => set().prop_map(|set| Op::Copy { set, new_name: None, only: None }),
        1 => (set(), set_name())
            .prop_map(|(set, name)| Op::Copy { set, new_name: Some(name), only: None }),
        1 => (set(), only())
            .prop_map(|(set, only)| Op::Copy { set, new_name: None, only: Some(only) }),
        5 => (set(), set(), after())
            .prop_map(|(target, source, after)| Op::Merge { target, source, after }),
        1 => set().prop_map(|set| Op::Destroy { set }),
        1 => Just(Op::DestroyAll),
        1 => set().prop_map(|set| Op::Reinstate { set }),
        1 => set().prop_map(|set| Op::HardDelete { set }),
        1 => set().prop_map(|set| Op::Purge { set }),
        2 => (set(), prop::collection::vec(name(), 0..4))
            .prop_map(|(set, names)| Op::DeleteMany { set, names }),
        2 => (set(), prop::sample::select(vec!["a", "d/", "d/x", "z/", "q"]))
            .prop_map(|(set, prefix)| Op::DeleteBelow { set, prefix: prefix.into() }),
        2 => (set(), prop::collection::btree_map(name(), text(), 0..4))
            .prop_map(|(set, texts)| Op::DescribeMany { set, texts }),
        4 => (set(), name(), requested_name())
            .prop_map(|(set, from, to)| Op::RenameFile { set, from, to }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => op().prop_map(Step::Op),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => prop_oneof![
            Just(Reached::Nothing),
            Just(Reached::Everything),
            any::<u64>().prop_map(Reached::Random),
        ]
        .prop_map(Step::PowerCut),
    ]
}

/// Runs the steps; every operation is answered, so nothing may be lost and nothing be new.
async fn run_steps(steps: &[Step]) {
    let mut disk = SimulatedDisk::new();
    let mut engine = Engine::open_on(Arc::new(disk.clone()), &small_segments()).unwrap();
    let within = project(&engine).await.unwrap();
    let mut reference = Reference::default();
    for name in ["s", "t"] {
        run_on_both(&engine, within, &mut reference, &Op::Create { name: name.into() }).await;
    }
    for step in steps {
        match step {
            Step::Op(op) => run_on_both(&engine, within, &mut reference, op).await,
            Step::Checkpoint => engine.checkpoint().await.unwrap(),
            Step::Reopen => {
                engine.shutdown().await;
                drop(engine);
                engine = Engine::open_on(Arc::new(disk.clone()), &small_segments()).unwrap();
            }
            Step::PowerCut(reached) => {
                disk.stop_at(disk.operations());
                engine.abandon();
                drop(engine);
                disk = disk.image(*reached);
                engine = Engine::open_on(Arc::new(disk.clone()), &small_segments()).unwrap();
            }
        }
        assert_same(&observe(&engine).await, &reference.sets, &format!("after {step:?}"));
    }
    assert_agrees(&engine, &reference, "at the end").await;
    assert!(engine.snapshot().unwrap().dataset(DatasetId(0)).unwrap().is_none());
    engine.shutdown().await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Overridden by the environment.
        cases: std::env::var("PROPTEST_CASES").map_or(250, |cases| cases.parse().unwrap()),
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_engine_does_what_plain_maps_do(steps in prop::collection::vec(step(), 1..40)) {
        block_on(run_steps(&steps));
    }
}

fn add(set: u64, name: &str, content: u64) -> Step {
    let content = Content::numbered(content, 100);
    Step::Op(Op::Add { set, name: name.into(), content })
}

/// The source's own `a-0001.txt` comes first in order of name, and keeps its name.
#[test]
fn a_merge_gives_no_suffix_that_the_source_brought_before() {
    let merge = Op::Merge { target: 1, source: 2, after: SourceAfterMerge::Keep };
    let steps = [add(1, "a.txt", 1), add(2, "a-0001.txt", 2), add(2, "a.txt", 3), Step::Op(merge)];
    block_on(run_steps(&steps));
}

/// An empty content takes no bytes of its segment, which must stay all the same.
#[test]
fn an_empty_file_outlives_the_segment_that_it_came_in() {
    let empty = Op::Add { set: 1, name: "a".into(), content: Content::of(b"") };
    let next = Op::Add { set: 1, name: "b".into(), content: Content::numbered(10, 60_000) };
    let power_cut = Step::PowerCut(Reached::Nothing);
    let steps = [Step::Op(empty), Step::Op(next), Step::Checkpoint, power_cut, Step::Checkpoint];
    block_on(run_steps(&steps));
}
