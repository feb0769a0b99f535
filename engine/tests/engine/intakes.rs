//! Archives that come in beside other clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use granary_engine::Engine;
use granary_engine::disk::SimulatedDisk;
use granary_engine::model::DatasetId;

use crate::driver::{Outcome, run};
use crate::power_cut::open;
use crate::reference::{Content, Op};
use crate::support::{add, dataset, names, project};

/// Adds files one by one until it is told to stop; gives their number.
async fn keep_adding(engine: Engine, set: DatasetId, stop: Arc<AtomicBool>) -> usize {
    let mut added = 0;
    while !stop.load(Ordering::Acquire) {
        add(&engine, set, &format!("single/{added}"), b"single").await.unwrap();
        added += 1;
    }
    added
}

/// Its names are looked at early, while others may still change the dataset.
#[tokio::test]
async fn an_archive_is_taken_in_while_its_dataset_changes() {
    let engine = open(&SimulatedDisk::new()).unwrap();
    let within = project(&engine).await.unwrap();
    let set = dataset(&engine, within, "set").await.unwrap().id;
    let stop = Arc::new(AtomicBool::new(false));
    let adding = tokio::spawn(keep_adding(engine.clone(), set, Arc::clone(&stop)));
    let members = |archive: &str| {
        let member =
            |number: u64| (format!("{archive}/{number}"), Content::numbered(number % 5, 10));
        (0..1100).map(member).collect::<Vec<_>>()
    };
    for round in 0..3 {
        let zip = Op::AddZip { set: set.0, members: members(&format!("zip{round}")) };
        let tar = Op::AddTar { set: set.0, members: members(&format!("tar{round}")) };
        for op in [zip, tar] {
            let outcome = run(&engine, within, &op).await;
            assert!(matches!(outcome, Outcome::Done(_)), "round {round}: {outcome:?}");
        }
    }
    stop.store(true, Ordering::Release);
    let added = adding.await.unwrap();
    assert_eq!(names(&engine, set).len(), 6 * 1100 + added);
    assert_eq!(engine.check(true).unwrap(), []);
    engine.shutdown().await;
}
