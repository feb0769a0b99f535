use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, stream};
use granary_engine::limits::INTAKES_STREAMED_MAX;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::support::{Answer, Client, Server};

/// A body that begins so, as it would over a connection, and then stands still; a permit is added once it is
/// waited for.
fn stands_still(start: &[u8], waited_for: &Arc<Semaphore>) -> Body {
    let state = (Bytes::copy_from_slice(start), Arc::clone(waited_for));
    Body::from_stream(stream::unfold(state, async |(mut start, waited_for)| {
        if !start.is_empty() {
            let piece = start.split_to(start.len().min(64 << 10));
            return Some((Ok::<_, Infallible>(piece), (start, waited_for)));
        }
        waited_for.add_permits(1);
        std::future::pending().await
    }))
}

/// A body that never ends and lets nobody wait; a permit is added once its first bytes are taken.
fn flows(taken: &Arc<Semaphore>) -> Body {
    let state = (0u64, Arc::clone(taken));
    Body::from_stream(stream::unfold(state, async |(frames, taken)| {
        taken.add_permits(usize::from(frames == 1));
        tokio::task::yield_now().await;
        Some((Ok::<_, Infallible>(Bytes::from_static(&[7; 64])), (frames + 1, taken)))
    }))
}

/// Sends such bodies, all at the same time, until so many are waited for.
async fn slow_uploads(
    client: &Client,
    path: impl Fn(usize) -> String,
    start: &[u8],
    counts: (usize, usize),
) -> Vec<JoinHandle<Answer>> {
    uploads(client, path, |waited_for| stands_still(start, waited_for), counts).await
}

/// Sends bodies, all at the same time, until so many permits were added.
async fn uploads(
    client: &Client,
    path: impl Fn(usize) -> String,
    body: impl Fn(&Arc<Semaphore>) -> Body,
    (count, until): (usize, usize),
) -> Vec<JoinHandle<Answer>> {
    let waited_for = Arc::new(Semaphore::new(0));
    let send = |number| {
        let (client, path) = (client.clone(), path(number));
        let body = body(&waited_for);
        tokio::spawn(async move { client.upload(&path, body).await })
    };
    let uploads = (0..count).map(send).collect();
    let until = u32::try_from(until).unwrap();
    drop(waited_for.acquire_many(until).await.unwrap());
    uploads
}

fn tar_of(name: &str, content: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(content.len()).unwrap());
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn slow_senders_of_tars_keep_no_other_tar_out() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let path = dataset.path("/files-multi");
    let start = &tar_of("slow", "never ends")[..600];
    let slow = (INTAKES_STREAMED_MAX, INTAKES_STREAMED_MAX);
    let slow = slow_uploads(&dataset.client, |_| path.clone(), start, slow).await;
    for name in ["quick", "quicker"] {
        let answer = dataset.client.upload(&path, tar_of(name, "here")).await.json(200);
        assert_eq!(answer[0]["filename"], name);
        assert_eq!(dataset.content(name).await.is(200).body, "here");
    }
    // What is refused is told all the same.
    dataset.client.upload(&path, tar_of("quick", "again")).await.is(400);
    assert!(slow.iter().all(|upload| !upload.is_finished()));
    slow.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn announced_contents_of_which_nothing_comes_keep_no_upload_waiting() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let announces = dataset.client.with("Content-Length", "1048576");
    let path = |number| dataset.path(&format!("/files/slow-{number}"));
    // As many as the memory of all uploads would be enough for.
    let slow = slow_uploads(&announces, path, b"", (200, 96)).await;
    dataset.add("quick", "here").await.is(200);
    assert_eq!(dataset.names().await, ["quick"]);
    slow.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn large_contents_that_flow_keep_no_small_one_out() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let announces = dataset.client.with("Content-Length", "1073741824");
    let path = |number| dataset.path(&format!("/files/large-{number}"));
    // Together they have the memory of all uploads.
    let large = uploads(&announces, path, flows, (96, 96)).await;
    for name in ["quick", "quicker"] {
        dataset.add(name, "here").await.is(200);
    }
    assert!(large.iter().all(|upload| !upload.is_finished()));
    large.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn large_json_bodies_that_stand_still_keep_no_other_out() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let path = |_| "/v1/datasets/list".to_owned();
    let slow = slow_uploads(&dataset.client, path, &vec![b' '; (64 << 10) + 1], (70, 2)).await;
    // As `granary push` asks.
    let claim =
        |number| json!({"filename": format!("{number}"), "handle": "0".repeat(64), "size": 1});
    let body = json!({"files": (0..1000).map(claim).collect::<Vec<_>>()});
    dataset.client.post(&dataset.path("/files-check"), &body).await.is(200);
    assert!(slow.iter().all(|list| !list.is_finished()));
    slow.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn of_the_largest_json_bodies_only_so_many_come_at_a_time() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let path = |_| "/v1/datasets/list".to_owned();
    let slow = slow_uploads(&dataset.client, path, &vec![b' '; 16 << 20], (4, 4)).await;
    let check = json!({"files": [], "more": " ".repeat(64 << 10)});
    let check = async || dataset.client.post(&dataset.path("/files-check"), &check).await;

    // It waits until it is told to come back, which need not take its time.
    tokio::time::pause();
    check().await.is(503);
    tokio::time::resume();

    slow.iter().for_each(JoinHandle::abort);
    for list in slow {
        list.await.map(drop).unwrap_err();
    }
    check().await.is(400);
}

/// None of those that come side by side waits for what the others have.
#[tokio::test]
async fn of_many_of_the_largest_json_bodies_at_once_some_are_read_whole() {
    let server = Server::start().await;
    let client = server.add_dataset("cats").await.client;
    let blanks = Bytes::from(vec![b' '; 64 << 10]);
    let body = |_: &Arc<Semaphore>| {
        let pieces =
            stream::iter(vec![blanks.clone(); 250]).chain(stream::iter([Bytes::from("{}")]));
        Body::from_stream(pieces.then(async |piece| {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(piece)
        }))
    };
    // Who would wait waits no time.
    tokio::time::pause();
    let lists = uploads(&client, |_| "/v1/datasets/list".to_owned(), body, (12, 0)).await;
    let mut whole = 0;
    for list in lists {
        let status = list.await.unwrap().status.as_u16();
        // What was read whole is not said to be JSON.
        assert!([415, 503].contains(&status), "{status}");
        whole += usize::from(status == 415);
    }
    assert!((4..12).contains(&whole), "{whole}");
}
