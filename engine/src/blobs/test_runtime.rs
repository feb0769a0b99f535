//! A runtime for the tests of this module whose blocking pool is one thread, so that a test
//! decides what has run there and what has not.

use std::sync::mpsc;
use std::task::Poll;

use tokio::task::spawn_blocking;

/// Runs a test.
pub(crate) fn block_on(future: impl Future) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap()
        .block_on(future);
}

/// Waits until the blocking thread has done what it was given, what came of that, and what came
/// of that again.
pub(crate) async fn settle() {
    for _ in 0..3 {
        spawn_blocking(|| ()).await.unwrap();
    }
}

/// Polls a future once while the blocking thread is busy, and drops it.
pub(crate) async fn drop_half_way(future: impl Future) {
    let (release, held) = mpsc::channel::<()>();
    let busy = spawn_blocking(move || held.recv().unwrap_err());
    let mut future = Box::pin(future);
    let is_pending =
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending()));
    assert!(is_pending.await, "it did not wait for the blocking thread");
    drop(future);
    drop(release);
    busy.await.unwrap();
}
