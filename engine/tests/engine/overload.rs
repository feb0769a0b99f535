//! More than the disk keeps up with: queues fill to their bounds, what is beyond them is refused at
//! once, whoever is not hit goes on, and everything that was taken is done in the end.

use std::sync::Arc;

use granary_engine::disk::{At, SimulatedDisk};
use granary_engine::limits::{CHANGES_QUEUED_MAX, DATASET_QUEUE_MAX, GROUP_CHANGES_MAX};
use granary_engine::model::DatasetId;
use granary_engine::{Engine, MutationError};
use tokio::task::JoinHandle;

use crate::faults::wait_until;
use crate::support::{add, dataset, names, options, project};

type Adding = JoinHandle<Result<String, MutationError>>;

/// Adds so many files at once, none of which can be answered while the disk stands still.
fn add_many(engine: &Engine, set: DatasetId, count: usize) -> Vec<Adding> {
    let add_one = |number: usize| {
        let engine = engine.clone();
        tokio::spawn(async move { add(&engine, set, &format!("file/{number:05}"), b"").await })
    };
    (0..count).map(add_one).collect()
}

fn is_busy<T>(result: &Result<T, MutationError>) -> bool {
    matches!(result, Err(MutationError::Busy { .. }))
}

#[tokio::test]
async fn a_dataset_that_is_behind_refuses_at_once_and_keeps_what_it_took() {
    let disk = SimulatedDisk::new();
    let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let hot = dataset(&engine, within, "hot").await.unwrap().id;
    let other = dataset(&engine, within, "other").await.unwrap().id;
    // So that the next sync is that of a change.
    engine.checkpoint().await.unwrap();
    let stall = disk.stall(At::Sync(disk.syncs() + 1));
    let taken = add_many(&engine, hot, DATASET_QUEUE_MAX);
    wait_until(|| is_busy(&engine.expect_room(hot))).await;
    assert!(is_busy(&add(&engine, hot, "one too many", b"x").await));
    engine.expect_room(other).unwrap();
    let elsewhere = add_many(&engine, other, 1);
    assert!(taken.iter().all(|adding| !adding.is_finished()), "I1: not before its sync");

    drop(stall);
    for adding in taken.into_iter().chain(elsewhere) {
        adding.await.unwrap().unwrap();
    }
    assert_eq!(names(&engine, hot).len(), DATASET_QUEUE_MAX);
    add(&engine, hot, "afterwards", b"x").await.unwrap();
    assert_eq!(engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_store_that_is_behind_refuses_at_once_and_keeps_what_it_took() {
    let disk = SimulatedDisk::new();
    let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
    let within = project(&engine).await.unwrap();
    let mut sets = Vec::new();
    // One group is in the journal's hands, the others are queued.
    for number in 0..=(CHANGES_QUEUED_MAX + GROUP_CHANGES_MAX) / DATASET_QUEUE_MAX {
        sets.push(dataset(&engine, within, &format!("set-{number}")).await.unwrap().id);
    }
    // So that the next sync is that of a change.
    engine.checkpoint().await.unwrap();
    let stall = disk.stall(At::Sync(disk.syncs() + 1));
    let mut sent = Vec::new();
    for set in &sets {
        sent.push((*set, add_many(&engine, *set, DATASET_QUEUE_MAX)));
    }
    let refused = |sent: &[(DatasetId, Vec<Adding>)]| {
        sent.iter().flat_map(|(_, all)| all).filter(|adding| adding.is_finished()).count()
    };
    let last = *sets.last().unwrap();
    wait_until(|| refused(&sent) > 0).await;
    assert!(is_busy(&engine.expect_room(last)), "before a content is taken too");

    drop(stall);
    for (set, all) in sent {
        let mut added = 0;
        for adding in all {
            match adding.await.unwrap() {
                Ok(_) => added += 1,
                refused => assert!(is_busy(&refused), "{refused:?}"),
            }
        }
        assert_eq!(names(&engine, set).len(), added, "what was refused was not made");
    }
    add(&engine, last, "afterwards", b"x").await.unwrap();
    assert_eq!(engine.check(true).unwrap(), []);
}
