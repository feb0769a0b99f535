//! Random sequences of operations, few names so that they collide, by one client and by several at
//! once, with reopenings, power cuts and faults of the disk between them: the engine shows what the
//! reference shows after each, and the invariants hold at the end.
//!
//! `PROPTEST_CASES` sets the number of sequences of each test; ten minutes or so take
//! `PROPTEST_CASES=50000 cargo test -p granary-engine --release --features simulation --test engine
//! model::`. A failure found is kept below as a plain test.

use granary_engine::SourceAfterMerge;
use granary_engine::disk::{Fault, Reached};
use proptest::prelude::*;

use crate::reference::{Content, Op};
use crate::sequence::{Step, run_steps};
use crate::support::block_on;

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
        3 => (set(), zip(), content(), any::<bool>()).prop_map(|(set, names, content, is_zip)| {
            let members = names.into_iter().map(|name| (name.to_owned(), content.clone()));
            let members = members.collect();
            if is_zip { Op::AddZip { set, members } } else { Op::AddTar { set, members } }
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
        5 => (set(), name(), content())
            .prop_map(|(set, name, content)| Op::Replace { set, name, content }),
        2 => (set(), name(), text())
            .prop_map(|(set, name, text)| Op::DescribeFirst { set, name, text }),
        5 => (set(), name(), content())
            .prop_map(|(set, name, content)| Op::Attach { set, members: vec![(name, content)] }),
    ]
}

/// What several clients may do at once; destroying and reinstating a project are two changes, and
/// what is attached is looked for before the change is made.
fn clients() -> impl Strategy<Value = Step> {
    let is_one = |op: &Op| !matches!(op, Op::DestroyAll | Op::Attach { .. });
    let op = op().prop_filter("one change", is_one);
    prop::collection::vec(op, 2..5).prop_map(Step::Clients)
}

fn reached() -> impl Strategy<Value = Reached> {
    prop_oneof![
        Just(Reached::Nothing),
        Just(Reached::Everything),
        any::<u64>().prop_map(Reached::Random),
        any::<u64>().prop_map(Reached::Torn),
    ]
}

fn fault() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        3 => Just(Fault::Io),
        2 => Just(Fault::Full),
        1 => (0..9000usize).prop_map(|bytes| Fault::Short { bytes }),
    ];
    (0..20u64, fault).prop_map(|(after, fault)| Step::Fault(after, fault))
}

/// One client, on a disk that fails with its machine only.
fn step_of_one() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => op().prop_map(Step::Op),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => reached().prop_map(Step::PowerCut),
    ]
}

/// Several clients, on a disk that fails.
fn step_of_many() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => op().prop_map(Step::Op),
        20 => clients(),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => reached().prop_map(Step::PowerCut),
        3 => fault(),
    ]
}

/// One client and datasets that have few names in common, so that merges take layers as they are.
/// The others' names are deleted, described and cleared too: nothing of that may count for them.
fn step_apart() -> impl Strategy<Value = Step> {
    let op = (1..4u64, 1..4u64).prop_flat_map(|(set, other)| {
        let names = move || {
            prop_oneof![
                4 => prop::sample::select(vec!["x", "y", "d/z"])
                    .prop_map(move |name| format!("{set}/{name}")),
                1 => prop::sample::select(vec!["common", "1/x", "2/x", "3/y"])
                    .prop_map(str::to_owned),
            ]
        };
        prop_oneof![
            10 => (names(), content())
                .prop_map(move |(name, content)| Op::Add { set, name, content }),
            4 => names().prop_map(move |name| Op::Delete { set, name }),
            3 => (names(), "[xy]{0,2}")
                .prop_map(move |(name, text)| Op::SetMetadata { set, name, text }),
            1 => Just(Op::Clear { set }),
            2 => Just(Op::Copy { set, new_name: None, only: None }),
            6 => after().prop_map(move |after| Op::Merge { target: set, source: other, after }),
            1 => Just(Op::Create { name: "u".into() }),
            1 => Just(Op::HardDelete { set }),
        ]
    });
    prop_oneof![
        30 => op.prop_map(Step::Op),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => reached().prop_map(Step::PowerCut),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(1000, |cases| cases.parse().unwrap()),
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_engine_does_what_plain_maps_do(
        steps in prop::collection::vec(step_of_one(), 1..40),
    ) {
        block_on(run_steps(&steps));
    }

    #[test]
    fn merges_of_datasets_with_few_names_in_common_do_what_plain_maps_do(
        steps in prop::collection::vec(step_apart(), 8..50),
    ) {
        block_on(run_steps(&steps));
    }

    #[test]
    fn what_clients_do_at_once_has_an_order_whatever_fails(
        steps in prop::collection::vec(step_of_many(), 1..16),
    ) {
        block_on(run_steps(&steps));
    }

    #[test]
    fn what_clients_do_at_once_has_an_order(
        steps in prop::collection::vec(clients(), 1..10),
    ) {
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
