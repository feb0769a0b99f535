//! Large JSON bodies of changes that wait, and those of others meanwhile.

use std::sync::Arc;

use granary_engine::disk::{At, SimulatedDisk, Stall};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use crate::support::{Dataset, Server};

/// Yields until something holds, a bounded number of times.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..10_000_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to that");
}

/// Lets a dataset stand still for those who change many files of it, with a change that is not synced.
async fn held_still(
    server: &Server,
    disk: &SimulatedDisk,
    dataset: &Dataset,
) -> (Stall, JoinHandle<()>) {
    // Or the next sync may be that of a checkpoint, which is due a few seconds after a change.
    server.engine.checkpoint().await.unwrap();
    let paused = disk.stall(At::Sync(disk.syncs() + 1));
    let (client, path) = (dataset.client.clone(), dataset.path(""));
    let changing = tokio::spawn(async move {
        client.patch(&path, &json!({"tags": "t"})).await.is(200);
    });
    until(|| paused.is_reached()).await;
    (paused, changing)
}

/// Metadata of files that are not there, of so many texts of so many bytes, and the change of which waits.
async fn wait_with(
    server: &Server,
    dataset: &Dataset,
    texts: usize,
    bytes: usize,
) -> JoinHandle<()> {
    let planned = || {
        let works = server.engine.figures().works;
        works.iter().find(|work| work.name == "bulk_changes").unwrap().running
    };
    let before = planned();
    let text = "x".repeat(bytes);
    let metadata = (0..texts).map(|number| (number.to_string(), Value::from(text.as_str())));
    let body = json!({"metadata": metadata.collect::<Map<_, _>>()});
    let (client, path) = (dataset.client.clone(), dataset.path("/metadata-multi"));
    let waiting = tokio::spawn(async move {
        client.post(&path, &body).await.is(404);
    });
    until(|| waiting.is_finished() || planned() > before).await;
    assert!(!waiting.is_finished(), "its dataset stands still");
    waiting
}

#[tokio::test]
async fn large_bodies_of_changes_that_wait_keep_no_others_from_being_read() {
    let disk = Arc::new(SimulatedDisk::new());
    let server = Server::on(Arc::clone(&disk)).await;
    let (still, other) = (server.add_dataset("still").await, server.add_dataset("other").await);
    let (paused, changing) = held_still(&server, &disk, &still).await;
    let waiting =
        [wait_with(&server, &still, 1, 70 << 10), wait_with(&server, &still, 1, 70 << 10)];
    let [first, second] = waiting;
    let waiting = [first.await, second.await];

    let claim =
        |number| json!({"filename": format!("{number}"), "handle": "0".repeat(64), "size": 1});
    let body = json!({"files": (0..1000).map(claim).collect::<Vec<_>>()});
    other.client.post(&other.path("/files-check"), &body).await.is(200);

    assert!(waiting.iter().all(|change| !change.is_finished()));
    drop(paused);
    changing.await.unwrap();
    for change in waiting {
        change.await.unwrap();
    }
}

#[tokio::test]
async fn the_largest_bodies_of_changes_that_wait_keep_others_out() {
    let disk = Arc::new(SimulatedDisk::new());
    let server = Server::on(Arc::clone(&disk)).await;
    let (still, other) = (server.add_dataset("still").await, server.add_dataset("other").await);
    let (paused, changing) = held_still(&server, &disk, &still).await;
    let waiting = [
        wait_with(&server, &still, 16, 1_000_000).await,
        wait_with(&server, &still, 16, 1_000_000).await,
    ];

    // The third waits until it is told to come back, which need not take its time.
    tokio::time::pause();
    let body = json!({"only_files": vec!["x".repeat(1000); 3000]});
    other.client.post(&other.path("/copy"), &body).await.is(503);
    tokio::time::resume();

    drop(paused);
    changing.await.unwrap();
    for change in waiting {
        change.await.unwrap();
    }
    other.client.post(&other.path("/copy"), &body).await.is(200);
}
