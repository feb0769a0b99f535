//! What do contents cost that the store holds already, and what does a long one cost?
//!
//! `small`: 20 KB files from 64 clients, all of them new, and with every other one known. A known
//! content is hashed and looked up but not written, so the second must be the faster; if it were
//! not, the look-up before the disk would be in the way. `large`: one content of 256 MiB, streamed
//! as a request's body comes, beside writing and syncing the same bytes; if it fell below half of
//! that, hashing would have to move to a thread of its own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use granary_engine::model::DatasetId;

use crate::support::contest::{Contest, Contestant};
use crate::support::floor::{Appender, Way, create, length};
use crate::support::store::{Store, add};
use crate::support::{FILE_BYTES, noise, spread, stamp, unique};

const CLIENTS: u64 = 64;
const FILES: u64 = 2000;

/// Contents that are known from the start.
const KNOWN: u64 = 1000;
const LARGE_BYTES: usize = 256 << 20;

/// Bytes of a piece of a request's body.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes that the engine syncs at a time while a large content comes.
const SYNC_BYTES: usize = 8 << 20;

/// Measures all variants.
pub(crate) fn bench(criterion: &mut Criterion) {
    let small = Contest {
        capability: "ingest",
        variants: ["small_half_known/64", "small_new/64", "small_floor_same_groups/64"]
            .map(str::to_owned),
        throughput: Throughput::ElementsAndBytes {
            elements: FILES,
            bytes: FILES * length(FILE_BYTES),
        },
        measured: Duration::from_secs(4),
    };
    small.run(criterion, small_contestants);
    let large = Contest {
        capability: "ingest",
        variants: ["large/256MiB", "large_floor/256MiB"].map(str::to_owned),
        throughput: Throughput::Bytes(length(LARGE_BYTES)),
        measured: Duration::from_secs(4),
    };
    large.run(criterion, large_contestants);
}

/// The floor goes with what the engine wrote of new contents.
fn small_contestants() -> [Contestant; 3] {
    let store = Store::new();
    let dataset = store.dataset("set");
    let template: Arc<[u8]> = noise(FILE_BYTES).into();
    let (engine, from) = (store.engine.clone(), Arc::clone(&template));
    spread(&store.runtime, CLIENTS, KNOWN, move |piece| {
        let (engine, template) = (engine.clone(), Arc::clone(&from));
        let name = format!("known/{piece}.png");
        async move { add(&engine, dataset, &name, &template, known(piece)).await }
    });
    let (half_store, half_template) = (Rc::clone(&store), Arc::clone(&template));
    let half_known = move || {
        add_many(&half_store, dataset, &half_template, |piece, number| {
            // Clients take every 64th piece, so each has new and known ones by turns.
            if (piece / CLIENTS).is_multiple_of(2) { known(piece) } else { number }
        })
    };
    let (groups, place) = (Arc::clone(&store.groups), store.directory().to_path_buf());
    let all_new = move || {
        store.groups.lock().unwrap().clear();
        add_many(&store, dataset, &template, |_, number| number)
    };
    let appender = Appender::new();
    let floor =
        move || appender.append(&place, &groups.lock().unwrap().clone(), Way::PastPageCache);
    [Box::new(half_known), Box::new(all_new), Box::new(floor)]
}

/// Number of a content that is known.
fn known(piece: u64) -> u64 {
    u64::MAX - piece % KNOWN
}

/// Adds files; `content` tells a content's number from the file's place and number.
fn add_many(
    store: &Store,
    dataset: DatasetId,
    template: &Arc<[u8]>,
    content: fn(u64, u64) -> u64,
) -> Duration {
    let (engine, template) = (store.engine.clone(), Arc::clone(template));
    spread(&store.runtime, CLIENTS, FILES, move |piece| {
        let (engine, template) = (engine.clone(), Arc::clone(&template));
        async move {
            let number = unique();
            let name = format!("files/{number:09}.png");
            add(&engine, dataset, &name, &template, content(piece, number)).await;
        }
    })
}

fn large_contestants() -> [Contestant; 2] {
    let store = Store::new();
    let dataset = store.dataset("set");
    let content = Arc::new(noise(LARGE_BYTES));
    let (place, same) = (store.directory().to_path_buf(), Arc::clone(&content));
    let mut first = noise(CHUNK_BYTES);
    let engine = move || {
        stamp(&mut first, unique());
        let time = store.runtime.block_on(stream(&store, dataset, &first, &content));
        store.runtime.block_on(async {
            store.engine.delete_file(dataset, "large").await.unwrap();
            store.engine.checkpoint().await.unwrap();
        });
        time
    };
    let floor = move || {
        let path = place.join("floor");
        let begun = Instant::now();
        let file = create(&path);
        for (number, piece) in (0..).zip(same.chunks(SYNC_BYTES)) {
            let offset = number * length(SYNC_BYTES);
            std::os::unix::fs::FileExt::write_all_at(&file, piece, offset).unwrap();
            file.sync_data().unwrap();
        }
        let time = begun.elapsed();
        std::fs::remove_file(&path).unwrap();
        time
    };
    [Box::new(engine), Box::new(floor)]
}

/// Streams a content whose first chunk is given apart.
async fn stream(store: &Store, dataset: DatasetId, first: &[u8], content: &[u8]) -> Duration {
    let begun = Instant::now();
    let mut upload = store.engine.begin_upload(Some(length(content.len()))).await.unwrap();
    upload.write(first).await.unwrap();
    for chunk in content.chunks(CHUNK_BYTES).skip(1) {
        upload.write(chunk).await.unwrap();
    }
    let content = upload.finish().await.unwrap();
    store.engine.add_file(dataset, "large", content).await.unwrap();
    begun.elapsed()
}
