//! What benchmarks share: a store on a real disk, contents, tasks, and measuring side by side.

pub(crate) mod contest;

pub(crate) mod floor;

pub(crate) mod million;

pub(crate) mod recording;

pub(crate) mod store;

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Bytes of the common file: a small picture.
pub(crate) const FILE_BYTES: usize = 20_480;

/// A fresh directory on the disk in question: `GRANARY_BENCH_DIR`, or below `target`.
pub(crate) fn directory() -> TempDir {
    let parent = std::env::var_os("GRANARY_BENCH_DIR");
    let parent = parent.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&parent).unwrap();
    TempDir::with_prefix_in("bench-", parent).unwrap()
}

/// The runtime that callers run on, with a thread for each core.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// A number that no call before gave.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Bytes that do not compress, the same in every run.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// Makes a content one that no other number gives.
pub(crate) fn stamp(content: &mut [u8], number: u64) {
    let stamp = number.to_le_bytes();
    content.get_mut(..stamp.len()).unwrap().copy_from_slice(&stamp);
}

/// Does a number of pieces of work from some tasks at once; the wall time of it all.
pub(crate) fn spread<F, W>(runtime: &Runtime, tasks: u64, pieces: u64, work: F) -> Duration
where
    F: Fn(u64) -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let begun = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..tasks)
            .map(|task| {
                let work = work.clone();
                tokio::spawn(async move {
                    let share = pieces / tasks + u64::from(task < pieces % tasks);
                    for piece in 0..share {
                        work(task + piece * tasks).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    begun.elapsed()
}
