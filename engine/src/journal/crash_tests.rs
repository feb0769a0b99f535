//! Stops the disk at every operation of a workload, and of the recovery that follows, and opens
//! what a power loss leaves.

use std::sync::Arc;

use crate::disk::{Reached, SimulatedDisk};
use crate::model::Sequence;

use super::test_store::{KEY, OPTIONS, answered, group, open};
use super::{AppendError, Journal, NewRecord, Position, ReplayedRecord};

const PATTERNS: [Reached; 8] = [
    Reached::Nothing,
    Reached::Everything,
    Reached::Random(1),
    Reached::Random(2),
    Reached::Torn(3),
    Reached::Torn(4),
    Reached::Torn(5),
    Reached::Random(6),
];

/// What the outside knows when the disk has stopped.
#[derive(Default)]
struct Outcome {
    /// Where the journal starts, once it is made.
    start: Option<Position>,
    answered: Vec<ReplayedRecord>,
    /// The group that was on its way.
    unanswered: Vec<NewRecord>,
}

/// Makes a journal and appends until three segments are begun, one of them by rolling early.
fn work(disk: &SimulatedDisk) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok((mut journal, start)) = Journal::create(Arc::new(disk.clone()), KEY, OPTIONS) else {
        return outcome;
    };
    outcome.start = Some(start);
    for number in 0..14 {
        let first = journal.last_sequence().next();
        outcome.unanswered = group(first, 1 + first.0 % 5);
        let prepared = match number {
            4 => journal.ensure_space(20 << 10),
            9 => journal.roll(0),
            _ => Ok(()),
        };
        let appended = prepared.and_then(|()| journal.append(&outcome.unanswered));
        match appended {
            Ok(appended) => outcome.answered.extend(answered(&outcome.unanswered, &appended)),
            Err(AppendError::Failed(_)) => return outcome,
            Err(AppendError::OutOfSpace) => panic!("the disk has space"),
        }
        outcome.unanswered.clear();
    }
    assert!(journal.segments().ids().len() >= 3, "the workload must roll");
    outcome
}

fn stopped_at(operation: u64) -> (SimulatedDisk, Outcome) {
    let disk = SimulatedDisk::new();
    disk.stop_at(operation);
    let outcome = work(&disk);
    (disk, outcome)
}

fn operations() -> u64 {
    let disk = SimulatedDisk::new();
    work(&disk);
    disk.operations()
}

/// Opens, checks that all that was answered is there and at most the unanswered group besides,
/// and appends.
fn check(image: &SimulatedDisk, outcome: &Outcome, case: &str) {
    let Some(start) = outcome.start else {
        Journal::create(Arc::new(image.clone()), KEY, OPTIONS).unwrap();
        return;
    };
    let (mut journal, replayed) =
        open(image, start, Sequence::ZERO).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    let (sure, rest) = replayed.split_at(outcome.answered.len());
    assert_eq!(sure, outcome.answered, "{case}");
    if !rest.is_empty() {
        let changes: Vec<_> = rest.iter().map(|record| &record.change).collect();
        let sent: Vec<_> = outcome.unanswered.iter().map(|record| &record.change).collect();
        assert_eq!(changes, sent, "{case}");
    }
    let appended = group(journal.last_sequence().next(), 3);
    journal.append(&appended).unwrap();
    let image = image.image(Reached::Nothing);
    let (_journal, again) =
        open(&image, start, Sequence::ZERO).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    assert_eq!(again[..replayed.len()], replayed, "{case}");
    assert_eq!(again.len(), replayed.len() + appended.len(), "{case}");
}

#[test]
fn every_answered_group_survives_a_crash_at_any_operation() {
    for operation in 1..=operations() + 1 {
        let (disk, outcome) = stopped_at(operation);
        for reached in PATTERNS {
            check(&disk.image(reached), &outcome, &format!("operation {operation}, {reached:?}"));
        }
    }
}

#[test]
fn a_crash_of_the_recovery_loses_nothing_either() {
    for operation in 1..=operations() {
        let (disk, outcome) = stopped_at(operation);
        let Some(start) = outcome.start else { continue };
        for reached in [Reached::Everything, Reached::Random(7), Reached::Torn(8)] {
            for recovery_operation in 1.. {
                let image = disk.image(reached);
                image.stop_at(recovery_operation);
                let is_recovered = open(&image, start, Sequence::ZERO).is_ok();
                for reached_again in &PATTERNS[..5] {
                    let case = format!(
                        "operation {operation}, {reached:?}, then {recovery_operation}, \
                         {reached_again:?}"
                    );
                    check(&image.image(*reached_again), &outcome, &case);
                }
                if is_recovered {
                    break;
                }
            }
        }
    }
}
