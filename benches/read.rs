//! What does it cost to get a file of 20 KB whose bytes are in the page cache?
//!
//! A get is what a request does: a snapshot, the dataset, the file's row, the content's place, its
//! bytes, checked against their digest (I9). The floors read the same number of bytes at random
//! places of one file, from as many tasks, without and with the digest. If a get took much more
//! than the second, the look-ups would be worth a cache; as long as HTTP costs more than both,
//! they are not.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use granary_engine::Engine;
use granary_engine::model::DatasetId;

use crate::support::contest::{Contest, Contestant};
use crate::support::floor::{contents, length};
use crate::support::store::{Store, add};
use crate::support::{FILE_BYTES, noise, runtime, spread};

/// Files in the dataset.
const FILES: u64 = 10_000;

/// Files that are read in one run.
const READS: u64 = 20_000;

/// Measures all variants.
pub(crate) fn bench(criterion: &mut Criterion) {
    for clients in [1, 64] {
        let contest = Contest {
            capability: "read",
            variants: [
                format!("get_file/{clients}"),
                format!("floor_pread/{clients}"),
                format!("floor_pread_blake3/{clients}"),
            ],
            throughput: Throughput::ElementsAndBytes {
                elements: READS,
                bytes: READS * length(FILE_BYTES),
            },
            measured: Duration::from_secs(4),
        };
        contest.run(criterion, || contestants(clients));
    }
}

fn contestants(clients: u64) -> [Contestant; 3] {
    let store = Store::new();
    let dataset = store.dataset("set");
    let template: Arc<[u8]> = noise(FILE_BYTES).into();
    let (filling, from) = (store.engine.clone(), Arc::clone(&template));
    spread(&store.runtime, 64, FILES, move |number| {
        let (engine, template) = (filling.clone(), Arc::clone(&from));
        async move { add(&engine, dataset, &name(number), &template, number).await }
    });
    let bytes = contents(&store.directory().join("floor"), FILES, FILE_BYTES);
    let engine = move || {
        let engine = store.engine.clone();
        spread(&store.runtime, clients, READS, move |piece| {
            let engine = engine.clone();
            async move { get(&engine, dataset, &name(scattered(piece))).await }
        })
    };
    let floor = |with_digest: bool| -> Contestant {
        let (runtime, bytes) = (runtime(), Arc::clone(&bytes));
        Box::new(move || {
            let bytes = Arc::clone(&bytes);
            spread(&runtime, clients, READS, move |piece| {
                let bytes = Arc::clone(&bytes);
                async move {
                    let mut content = vec![0; FILE_BYTES];
                    let offset = scattered(piece) * length(FILE_BYTES);
                    bytes.read_exact_at(&mut content, offset).unwrap();
                    if with_digest {
                        std::hint::black_box(blake3::hash(&content));
                    }
                    std::hint::black_box(content);
                }
            })
        })
    };
    [Box::new(engine), floor(false), floor(true)]
}

fn name(number: u64) -> String {
    format!("files/{number:09}.png")
}

/// Visits the files in an order that no read-ahead knows.
fn scattered(piece: u64) -> u64 {
    piece.wrapping_mul(0x9e37_79b9_7f4a_7c15) % FILES
}

async fn get(engine: &Engine, dataset: DatasetId, name: &str) {
    let record = {
        let snapshot = engine.snapshot().unwrap();
        let header = snapshot.dataset(dataset).unwrap().unwrap();
        snapshot.file(&header, name).unwrap().unwrap()
    };
    let blob = engine.open_blob(&record.digest).unwrap().unwrap();
    let length = blob.length();
    let mut stream = blob.stream(0..length);
    while let Some(chunk) = stream.next().await {
        std::hint::black_box(chunk.unwrap());
    }
}
