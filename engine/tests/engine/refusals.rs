//! What is refused is refused for what everybody sees: a change that others in flight stand in the way
//! of is answered when these are durable, and may be looked at (I1, I5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use granary_engine::disk::{At, SimulatedDisk};
use granary_engine::model::DatasetId;
use granary_engine::{Engine, MutationError};
use tokio::task::JoinHandle;

use crate::faults::wait_until;
use crate::support::{add, dataset, names, options, project};

/// What of a file is asked for twice at once.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Add,
    Delete,
    Rename,
    Describe,
}

async fn ask(engine: &Engine, set: DatasetId, asked: Asked) -> Result<(), MutationError> {
    match asked {
        Asked::Add => add(engine, set, "new", b"new").await.map(drop),
        Asked::Delete => engine.delete_file(set, "old").await.map(drop),
        Asked::Rename => engine.rename_file(set, "old", "renamed").await.map(drop),
        Asked::Describe => engine.set_metadata(set, "old", "a text".into()).await,
    }
}

/// Asks while a sync stands still; tells what became of it, and whether the sync was done by then.
fn asking(
    engine: &Engine,
    set: DatasetId,
    asked: Asked,
    is_synced: &Arc<AtomicBool>,
) -> JoinHandle<(Result<(), MutationError>, bool)> {
    let (engine, is_synced) = (engine.clone(), Arc::clone(is_synced));
    tokio::spawn(async move {
        let outcome = ask(&engine, set, asked).await;
        (outcome, is_synced.load(Ordering::Acquire))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_waits_for_the_change_that_it_stands_on() {
    let twice = [Asked::Add, Asked::Delete, Asked::Rename].map(|asked| (asked, asked));
    for (first, second) in twice.into_iter().chain([(Asked::Delete, Asked::Describe)]) {
        let disk = SimulatedDisk::new();
        let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
        let within = project(&engine).await.unwrap();
        let set = dataset(&engine, within, "set").await.unwrap().id;
        add(&engine, set, "old", b"old").await.unwrap();

        // So that the next sync is that of the change.
        engine.checkpoint().await.unwrap();
        let is_synced = Arc::new(AtomicBool::new(false));
        let stall = disk.stall(At::Sync(disk.syncs() + 1));
        let changing = asking(&engine, set, first, &is_synced);
        wait_until(|| stall.is_reached()).await;
        if matches!(first, Asked::Add) {
            // What everybody sees refuses it: nobody has to wait for that.
            let taken = add(&engine, set, "old", b"").await;
            assert!(matches!(taken, Err(MutationError::FilenameTaken { .. })), "{taken:?}");
        }
        let refused = asking(&engine, set, second, &is_synced);
        // Time enough for an answer that does not wait.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        is_synced.store(true, Ordering::Release);
        drop(stall);

        changing.await.unwrap().0.unwrap();
        let (outcome, was_synced) = refused.await.unwrap();
        assert!(outcome.is_err(), "{first:?}, {second:?}");
        assert!(was_synced, "{first:?}, {second:?}: {outcome:?}");
        let shown = names(&engine, set);
        match first {
            Asked::Add => assert_eq!(shown, ["new", "old"]),
            Asked::Delete | Asked::Describe => assert_eq!(shown, [""; 0]),
            Asked::Rename => assert_eq!(shown, ["renamed"]),
        }
        assert_eq!(engine.check(true).unwrap(), []);
    }
}
