//! The disk stops at every sync and at its operations in between; on reopening everything that
//! was answered is there, what was not is there whole or not at all (I1, I6), and counts, bytes
//! and names fit together (I2 to I4, `check`).
//!
//! `GRANARY_CRASH_EVERY=1` stops at every single operation and looks at all images of each, which
//! takes an hour or so: `GRANARY_CRASH_EVERY=1 cargo test -p granary-engine --release --features
//! simulation --test engine crash:: -- --nocapture`. A failure names its point, and
//! `GRANARY_CRASH_AT='Operation(57)'` stops there and nowhere else, a hundred times.

use std::collections::BTreeMap;

use granary_engine::disk::SimulatedDisk;
use granary_engine::{Engine, SourceAfterMerge};

use crate::power_cut::{Act, Stop, Thoroughness, run_until_stopped, stop_everywhere};
use crate::records::{CHANGES, FIRST_OF_TOKENS, FIRST_WITHOUT_DATASETS};
use crate::reference::{Content, Op};
use crate::support::block_on;

fn create(name: &str) -> Op {
    Op::Create { name: name.into() }
}

/// Adds bytes that are told from others by `number`.
fn add(set: u64, name: &str, number: u64, length: usize) -> Op {
    Op::Add { set, name: name.into(), content: Content::numbered(number, length) }
}

fn delete(set: u64, name: &str) -> Op {
    Op::Delete { set, name: name.into() }
}

fn describe(set: u64, name: &str, text: &str) -> Op {
    Op::SetMetadata { set, name: name.into(), text: text.into() }
}

fn describe_many(set: u64, names: &[&str], text: &str) -> Op {
    let texts = names.iter().map(|name| ((*name).to_owned(), text.to_owned())).collect();
    Op::DescribeMany { set, texts }
}

fn rename(set: u64, from: &str, to: &str) -> Op {
    Op::RenameFile { set, from: from.into(), to: to.into() }
}

fn replace(set: u64, name: &str, number: u64, length: usize) -> Op {
    Op::Replace { set, name: name.into(), content: Content::numbered(number, length) }
}

fn describe_first(set: u64, name: &str, text: &str) -> Op {
    Op::DescribeFirst { set, name: name.into(), text: text.into() }
}

fn attach(set: u64, members: &[(&str, u64, usize)]) -> Op {
    let member = |&(name, number, length): &(&str, u64, usize)| {
        (name.to_owned(), Content::numbered(number, length))
    };
    Op::Attach { set, members: members.iter().map(member).collect() }
}

fn copy(set: u64, new_name: Option<&str>, only: Option<&[&str]>) -> Op {
    let only = only.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Op::Copy { set, new_name: new_name.map(str::to_owned), only }
}

fn merge(target: u64, source: u64, after: SourceAfterMerge) -> Op {
    Op::Merge { target, source, after }
}

const SMALL: Thoroughness =
    Thoroughness { operations_every: 8, recovery_every: 16, all_images: true };

const RECORDS: Thoroughness =
    Thoroughness { operations_every: 8, recovery_every: 32, all_images: false };

const LONG: Thoroughness =
    Thoroughness { operations_every: 24, recovery_every: 32, all_images: false };

const LARGE_TO_COMPARE: Thoroughness =
    Thoroughness { operations_every: 24, recovery_every: 1000, all_images: false };

/// Bytes of a content that gets a file of its own.
const LARGE: usize = (1 << 20) + 1;

#[test]
fn what_was_answered_of_single_files_survives_a_power_cut() {
    stop_everywhere(&single_files(), SMALL);
}

fn single_files() -> Vec<Act> {
    vec![
        Act::Do(create("one")),
        Act::Do(add(1, "a", 1, 100)),
        Act::Together((2..6).map(|number| add(1, &format!("d/{number}"), number, 9000)).collect()),
        Act::Do(add(1, "large", 10, LARGE)),
        Act::Do(add(1, "empty", 0, 0)),
        Act::Do(add(1, "again", 10, LARGE)),
        Act::Do(describe(1, "a", "first")),
        Act::CheckpointBeside(vec![delete(1, "a"), add(1, "beside", 17, 9000)]),
        Act::Do(add(1, "a", 11, 60_000)),
        Act::Together(vec![add(1, "x", 12, 70_000), add(1, "y", 12, 70_000), delete(1, "d/3")]),
        Act::Do(describe(1, "a", "second")),
        Act::Do(delete(1, "large")),
        Act::Do(delete(1, "again")),
        Act::Shrink { directory: "blobs", files_max: 0 },
        Act::Do(add(1, "large", 10, LARGE)),
        Act::Do(add(1, "another", 13, LARGE + 100)),
        Act::Do(delete(1, "x")),
        Act::Do(delete(1, "y")),
        Act::Do(add(1, "x", 12, 70_000)),
        Act::Checkpoint,
        Act::Do(Op::Clear { set: 1 }),
        Act::Do(delete(1, "another")),
        Act::Do(describe(1, "x", "comes along")),
        Act::Together(vec![rename(1, "x", "moved/x"), rename(1, "empty", "n/")]),
        Act::Do(describe_many(1, &["moved/x", "large"], "told at once")),
        Act::Do(replace(1, "a", 14, 9000)),
        Act::Together(vec![replace(1, "large", 15, LARGE), replace(1, "moved/x", 12, 70_000)]),
        Act::Do(describe_first(1, "a", "only once")),
        Act::Do(attach(1, &[("again/a", 14, 9000), ("again/large", 15, LARGE)])),
        Act::Do(delete(1, "a")),
        Act::CheckpointBeside(vec![replace(1, "large", 18, LARGE), replace(1, "a", 16, 100)]),
        Act::Checkpoint,
        Act::Do(Op::DeleteMany { set: 1, names: vec!["a".into(), "large".into()] }),
        Act::Do(Op::DeleteBelow { set: 1, prefix: "d/".into() }),
    ]
}

#[test]
fn what_was_answered_of_whole_datasets_survives_a_power_cut() {
    stop_everywhere(&whole_datasets(), SMALL);
}

fn whole_datasets() -> Vec<Act> {
    vec![
        Act::Do(create("one")),
        Act::Do(create("two")),
        Act::Do(create("three")),
        Act::Together(vec![
            add(1, "a.txt", 1, 100),
            add(1, "b", 2, 3000),
            add(2, "a.txt", 3, 100),
            add(2, "own", 4, 50_000),
        ]),
        Act::Do(describe(1, "b", "of b")),
        Act::Do(copy(1, None, None)),
        Act::Do(delete(4, "b")),
        Act::Do(add(4, "c", 5, 40_000)),
        Act::Do(copy(1, Some("part"), Some(&["b", "nowhere"]))),
        Act::Do(merge(3, 1, SourceAfterMerge::Keep)),
        Act::Do(attach(3, &[("own", 4, 50_000), ("b2", 2, 3000)])),
        Act::Do(replace(3, "b", 6, 2000)),
        Act::Checkpoint,
        Act::Do(Op::Clear { set: 3 }),
        Act::Do(merge(2, 4, SourceAfterMerge::Destroy)),
        Act::Do(merge(5, 3, SourceAfterMerge::HardDelete)),
        Act::Do(Op::Destroy { set: 1 }),
        Act::Do(Op::Rename { set: 2, name: "renamed".into() }),
        Act::Do(Op::AddZip {
            set: 5,
            members: (20..26)
                .map(|number| (format!("zip/{number}"), Content::numbered(number, 5000)))
                .collect(),
        }),
        Act::Do(Op::Reinstate { set: 1 }),
        Act::Do(Op::HardDelete { set: 5 }),
        Act::Checkpoint,
        Act::Do(copy(2, None, None)),
        Act::Together(vec![Op::HardDelete { set: 2 }, add(1, "last", 30, 10)]),
        Act::Do(Op::DestroyAll),
        Act::Do(add(1, "later", 31, 10)),
        Act::Do(Op::Destroy { set: 1 }),
        Act::Do(Op::Purge { set: 1 }),
    ]
}

/// Merges that take a source's layers as they are, and what is done to either side afterwards.
#[test]
fn what_was_answered_of_merges_by_layers_survives_a_power_cut() {
    stop_everywhere(&merges_by_layers(), SMALL);
}

fn merges_by_layers() -> Vec<Act> {
    vec![
        Act::Do(create("one")),
        Act::Do(create("two")),
        Act::Together(vec![
            add(1, "a/1", 1, 100),
            add(1, "a/2", 2, 3000),
            add(2, "b/1", 3, 100),
            add(2, "b/2", 2, 3000),
        ]),
        Act::Do(describe(1, "a/2", "of a")),
        Act::Do(describe(2, "b/1", "of b")),
        Act::Do(copy(1, None, None)),
        Act::Do(delete(1, "a/1")),
        Act::Do(add(1, "a/3", 4, 9000)),
        Act::CheckpointBeside(vec![merge(2, 1, SourceAfterMerge::Keep)]),
        Act::Together(vec![delete(2, "a/2"), add(1, "a/1", 5, 200), describe(2, "b/2", "later")]),
        Act::Do(copy(2, None, None)),
        Act::Checkpoint,
        Act::Do(Op::DeleteMany { set: 4, names: vec!["a/3".into(), "b/1".into(), "b/2".into()] }),
        Act::Do(add(4, "b/1", 6, 300)),
        Act::Do(add(4, "c", 7, 300)),
        Act::Do(merge(4, 3, SourceAfterMerge::HardDelete)),
        Act::Do(Op::HardDelete { set: 2 }),
        Act::Do(Op::Clear { set: 4 }),
        Act::Checkpoint,
        Act::Do(Op::HardDelete { set: 4 }),
    ]
}

/// Merges of layers that say something of the same names: the target keeps its own.
#[test]
fn what_was_answered_of_merges_with_names_in_both_survives_a_power_cut() {
    stop_everywhere(&merges_with_names_in_both(), SMALL);
}

fn merges_with_names_in_both() -> Vec<Act> {
    vec![
        Act::Do(create("one")),
        Act::Do(create("two")),
        Act::Together(vec![
            add(1, "both/same", 1, 100),
            add(1, "both/other.txt", 2, 3000),
            add(1, "gone", 3, 50),
            add(1, "described", 4, 60),
            add(1, "own", 5, 9000),
            add(2, "both/same", 1, 100),
            add(2, "both/other.txt", 6, 200),
            add(2, "both/other-0001.txt", 7, 300),
            add(2, "gone", 8, 70),
            add(2, "described", 9, 10),
        ]),
        Act::Do(describe(1, "both/same", "of one")),
        Act::Do(describe(1, "both/other.txt", "comes along")),
        Act::Do(describe(1, "described", "of one")),
        Act::Do(describe(2, "both/other.txt", "of two")),
        Act::Do(copy(1, None, None)),
        // The rows below stay, so these leave something behind.
        Act::Do(delete(1, "gone")),
        Act::Do(delete(1, "described")),
        Act::CheckpointBeside(vec![merge(2, 1, SourceAfterMerge::Keep)]),
        Act::Together(vec![
            delete(2, "both/other.txt"),
            describe(2, "both/same", "later"),
            add(1, "both/later", 10, 100),
        ]),
        Act::Do(copy(2, None, None)),
        Act::Checkpoint,
        Act::Do(add(4, "both/later", 11, 200)),
        Act::Do(merge(4, 1, SourceAfterMerge::HardDelete)),
        Act::Do(Op::HardDelete { set: 2 }),
        Act::Do(Op::Clear { set: 4 }),
        Act::Checkpoint,
        Act::Do(Op::HardDelete { set: 4 }),
    ]
}

/// Users, teams, memberships, projects, licences and nodes, beside a dataset; and the tables that
/// the version before did not have.
#[test]
fn what_was_answered_of_other_records_survives_a_power_cut() {
    stop_everywhere(&other_records(), RECORDS);
}

fn other_records() -> Vec<Act> {
    let records =
        |numbers: std::ops::Range<usize>| numbers.map(|number| Act::Do(Op::Record { number }));
    let mut workload = vec![Act::Do(create("one")), Act::Do(add(1, "a", 1, 100))];
    workload.extend(records(0..10));
    let rotated = Act::Until { done: "rotated the audit log" };
    workload.extend([Act::Touch, Act::Witness, rotated, Act::ReopenAsOlder]);
    workload.extend(records(10..FIRST_WITHOUT_DATASETS));
    workload.extend([Act::Checkpoint, Act::Do(Op::HardDelete { set: 1 })]);
    workload.extend(records(FIRST_WITHOUT_DATASETS..FIRST_OF_TOKENS));
    workload.push(Act::ReopenAsOlder);
    workload.extend(records(FIRST_OF_TOKENS..CHANGES));
    workload.extend([Act::Touch, Act::Witness]);
    workload
}

/// More files than one change holds: a zip, a merge and a copy that travel in parts.
#[test]
fn a_large_set_is_there_whole_or_not_at_all_after_a_power_cut() {
    stop_everywhere(&large_sets(), LARGE_TO_COMPARE);
}

fn large_sets() -> Vec<Act> {
    let member = |number: u64| (format!("{number:04}"), Content::numbered(number % 7, 20));
    let names: Vec<String> = (0..1026).map(|number| member(number).0).collect();
    vec![
        Act::Do(create("one")),
        Act::Do(create("two")),
        Act::Do(create("three")),
        Act::Do(add(1, "zzz", 1, 10)),
        Act::Do(add(2, "0007", 2, 10)),
        Act::Do(add(3, "0007", 2, 10)),
        Act::Do(Op::AddZip { set: 1, members: (0..1026).map(member).collect() }),
        Act::Checkpoint,
        Act::Do(merge(2, 1, SourceAfterMerge::Keep)),
        // Which suffix is free is not plain now.
        Act::Do(add(1, "0007-0001", 3, 10)),
        Act::Do(merge(3, 1, SourceAfterMerge::Keep)),
        Act::Do(Op::Copy { set: 2, new_name: None, only: Some(names) }),
        Act::Do(Op::HardDelete { set: 2 }),
    ]
}

/// A tar that travels in parts, and one whose last name is taken: its parts are given up.
#[test]
fn a_tar_is_taken_in_whole_or_not_at_all_after_a_power_cut() {
    stop_everywhere(&tars(), LARGE_TO_COMPARE);
}

fn tars() -> Vec<Act> {
    let member = |number: u64| (format!("t/{number:04}"), Content::numbered(number % 7, 20));
    let few = |from: u64| {
        (from..from + 3).map(move |number| (format!("f/{number}"), Content::numbered(number, 9000)))
    };
    let mut refused: Vec<_> = (2000..3030).map(member).collect();
    refused.push(("taken".into(), Content::numbered(9, 10)));
    vec![
        Act::Do(create("one")),
        Act::Do(add(1, "taken", 1, 10)),
        Act::Do(Op::AddTar { set: 1, members: few(0).collect() }),
        Act::Do(Op::AddTar { set: 1, members: (0..1026).map(member).collect() }),
        Act::Do(Op::AddTar { set: 1, members: refused }),
        Act::Do(Op::AddTar {
            set: 1,
            members: few(10).chain([("t/large".into(), Content::numbered(8, LARGE))]).collect(),
        }),
        Act::Do(Op::DeleteBelow { set: 1, prefix: "t/".into() }),
    ]
}

/// As many deletions and texts: layers that hide and describe what lies below.
#[test]
fn a_large_deletion_is_made_whole_or_not_at_all_after_a_power_cut() {
    stop_everywhere(&large_deletions(), LARGE_TO_COMPARE);
}

fn large_deletions() -> Vec<Act> {
    let member = |number: u64| (format!("d/{number:04}"), Content::numbered(number % 7, 20));
    let members: Vec<(String, Content)> = (0..1100).map(member).collect();
    let names: Vec<String> = members.iter().map(|(name, _)| name.clone()).collect();
    let texts: BTreeMap<String, String> =
        names.iter().map(|name| (name.clone(), "text".to_owned())).collect();
    vec![
        Act::Do(create("one")),
        Act::Do(add(1, "kept", 1, 10)),
        Act::Do(Op::AddZip { set: 1, members: members.clone() }),
        Act::Checkpoint,
        Act::Do(Op::DescribeMany { set: 1, texts: texts.clone() }),
        Act::Do(copy(1, None, None)),
        Act::Do(Op::DeleteMany { set: 1, names: names[..1030].to_vec() }),
        Act::Do(add(1, "d/0001", 2, 10)),
        Act::Do(Op::DeleteBelow { set: 2, prefix: "d/".into() }),
        // Nobody shares these: the layer of texts goes to that of the files, and what is hidden is swept.
        Act::Do(create("own")),
        Act::Do(Op::AddZip { set: 3, members }),
        Act::Do(Op::DescribeMany { set: 3, texts }),
        Act::Until { done: "absorbed a layer" },
        Act::Do(Op::DeleteBelow { set: 3, prefix: "d/0".into() }),
        Act::Until { done: "swept a stack" },
        Act::Checkpoint,
        Act::Compact,
        Act::Checkpoint,
    ]
}

/// Deep stacks, hidden rows and dead segments: the background folds, drops and reclaims.
#[test]
fn what_the_background_does_survives_a_power_cut() {
    stop_everywhere(&in_the_background(), LONG);
}

fn in_the_background() -> Vec<Act> {
    let mut workload = vec![Act::Do(create("one"))];
    for round in 0..10 {
        let current = 1 + round;
        workload.extend([
            Act::Do(add(current, &format!("f{round}"), round, 30_000)),
            Act::Do(describe(current, &format!("f{round}"), "text")),
            Act::Do(add(current, "turns", 100 + round, 20_000)),
            Act::Do(copy(current, None, None)),
            Act::Do(delete(current + 1, "turns")),
        ]);
        if round % 3 == 2 {
            workload.push(Act::Do(Op::HardDelete { set: current - 1 }));
        }
        if round % 4 == 3 {
            workload.push(Act::Checkpoint);
        }
    }
    workload.extend(
        (1..11).filter(|set| ![2, 5, 8].contains(set)).map(|set| Act::Do(Op::HardDelete { set })),
    );
    workload.extend([Act::Compact, Act::Checkpoint, Act::Compact]);
    workload.push(Act::Do(Op::HardDelete { set: 11 }));
    // All is dead: what stays is the head and the file that is ready to follow it.
    workload.push(Act::Shrink { directory: "journal", files_max: 2 });
    workload
}

/// Every kind of change, and everything that is done without a record in the journal.
#[test]
fn the_workloads_leave_nothing_out() {
    let workloads = [
        single_files(),
        whole_datasets(),
        merges_by_layers(),
        merges_with_names_in_both(),
        other_records(),
        large_sets(),
        tars(),
        large_deletions(),
        in_the_background(),
    ];
    let mut left = Engine::all_that_is_done();
    for workload in workloads {
        let disk = SimulatedDisk::new();
        let end = block_on(run_until_stopped(&workload, Stop::Never, &disk));
        left.retain(|kind| !end.done.contains(kind));
    }
    assert!(left.is_empty(), "no workload does these: {left:?}");
}
