//! What is refused is refused for what everybody sees: a change that others in flight stand in the way
//! of is answered when these are durable, and may be looked at (I1, I5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use granary_engine::disk::{At, SimulatedDisk};
use granary_engine::model::{DatasetId, Quota, RequestedFilename, UploadTerms};
use granary_engine::{Engine, MutationError};
use tokio::task::JoinHandle;

use crate::faults::wait_until;
use crate::support::{add, content, dataset, names, options, project};

/// What of a file is asked for twice at once.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Add,
    Delete,
    Rename,
    Describe,
    Replace,
}

async fn ask(engine: &Engine, set: DatasetId, asked: Asked) -> Result<(), MutationError> {
    match asked {
        Asked::Add => add(engine, set, "new", b"new").await.map(drop),
        Asked::Delete => engine.delete_file(set, "old").await.map(drop),
        Asked::Rename => engine.rename_file(set, "old", "renamed").await.map(drop),
        Asked::Describe => engine.set_metadata(set, "old", "a text".into()).await,
        Asked::Replace => replace(engine, set, b"new").await,
    }
}

async fn replace(engine: &Engine, set: DatasetId, bytes: &[u8]) -> Result<(), MutationError> {
    let terms = UploadTerms { replaces: true, ..UploadTerms::default() };
    let content = content(engine, bytes).await?;
    let requested = RequestedFilename::parse("old").unwrap();
    engine.upload_file(set, requested, content, terms).await.map(drop)
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
            Asked::Delete | Asked::Describe | Asked::Replace => assert_eq!(shown, [""; 0]),
            Asked::Rename => assert_eq!(shown, ["renamed"]),
        }
        assert_eq!(engine.check(true).unwrap(), []);
    }
}

/// Whether changes wait for the journal.
fn are_waiting(engine: &Engine) -> bool {
    let queues = engine.figures().queues;
    queues.iter().any(|queue| queue.name == "journal" && queue.length > 0)
}

/// A file of which a replacement is refused, for want of room in its team, when it is in the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_file_behind_a_refused_replacement_is_done_or_may_be_repeated() {
    for asked in [Asked::Delete, Asked::Rename, Asked::Describe, Asked::Replace] {
        let disk = SimulatedDisk::new();
        let engine = Engine::open_on(Arc::new(disk.clone()), &options()).unwrap();
        let within = project(&engine).await.unwrap();
        let set = dataset(&engine, within, "set").await.unwrap().id;
        add(&engine, set, "old", b"old").await.unwrap();
        let team = engine.snapshot().unwrap().teams().unwrap().next().unwrap().unwrap().id;
        engine.set_quota(team, Quota { files: None, bytes: Some(3) }).await.unwrap();

        engine.checkpoint().await.unwrap();
        let is_synced = Arc::new(AtomicBool::new(false));
        let stall = disk.stall(At::Sync(disk.syncs() + 1));
        let replacing = {
            let engine = engine.clone();
            tokio::spawn(async move { replace(&engine, set, b"longer").await })
        };
        wait_until(|| stall.is_reached()).await;
        let behind = asking(&engine, set, asked, &is_synced);
        wait_until(|| are_waiting(&engine)).await;
        drop(stall);

        let replaced = replacing.await.unwrap();
        assert!(matches!(replaced, Err(MutationError::QuotaExceeded { .. })), "{replaced:?}");
        let (outcome, _) = behind.await.unwrap();
        let shown = names(&engine, set);
        match asked {
            Asked::Delete => {
                outcome.unwrap();
                assert_eq!(shown, [""; 0]);
            }
            Asked::Rename => {
                outcome.unwrap();
                assert_eq!(shown, ["renamed"]);
            }
            Asked::Describe | Asked::Replace | Asked::Add => {
                assert!(matches!(outcome, Err(MutationError::Moved { .. })), "{outcome:?}");
                assert_eq!(shown, ["old"]);
                ask(&engine, set, asked).await.unwrap();
            }
        }
        assert_eq!(engine.check(true).unwrap(), []);
    }
}
