//! What does it cost to merge a dataset into another one?
//!
//! 100,000 files come into a copy of 100,000 others. `disjoint`: they share no name, so layers are
//! shared and no row is written. `same_names`: all names are the same with other contents, so each
//! comes under a suffix, and there is a new row for each. The floor writes as many rows of such
//! names into a bare redb in one durable transaction, which is the last variant. If `disjoint` came
//! near to it, sharing would be broken; if `same_names` were many times as much, planning would be
//! what costs.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use granary_engine::SourceAfterMerge;
use granary_engine::model::DatasetId;
use redb::{Database, TableDefinition};

use crate::support::contest::{Contest, Contestant};
use crate::support::store::Store;
use crate::support::unique;

/// Files of each dataset.
const FILES: u64 = 100_000;

/// Bytes of a row, as those of a file have beside their name.
const ROW_BYTES: usize = 64;

const ROWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rows");

/// Measures all variants.
pub(crate) fn bench(criterion: &mut Criterion) {
    let contest = Contest {
        capability: "merge",
        variants: ["disjoint/100k", "same_names/100k", "floor_redb/100k"].map(str::to_owned),
        throughput: Throughput::Elements(FILES),
        measured: Duration::from_secs(3),
    };
    contest.run(criterion, contestants);
}

fn contestants() -> [Contestant; 3] {
    let store = Store::new();
    let [target, others, same] = ["target", "others", "same"].map(|name| store.dataset(name));
    store.fill(target, 0..FILES);
    store.fill(others, FILES..2 * FILES);
    store.fill_with(same, 0..FILES, 2 * FILES);
    let directory = store.directory().to_path_buf();
    let merge = |source| merge(Rc::clone(&store), target, source);
    [merge(others), merge(same), Box::new(move || floor(&directory))]
}

/// Merges into a fresh copy, which then goes for good; only the merge is timed.
fn merge(store: Rc<Store>, target: DatasetId, source: DatasetId) -> Contestant {
    Box::new(move || {
        let engine = &store.engine;
        store.runtime.block_on(async {
            let copy = engine.copy_dataset(target, None, None, None).await.unwrap().id;
            let begun = Instant::now();
            engine.merge_datasets(copy, source, SourceAfterMerge::Keep).await.unwrap();
            let time = begun.elapsed();
            engine.hard_delete_dataset(copy).await.unwrap();
            // What it leaves to the background is not to be in the next figure.
            while engine.step_background().await.unwrap() {}
            engine.checkpoint().await.unwrap();
            time
        })
    })
}

#[expect(clippy::disallowed_methods, reason = "a database of its own")]
fn floor(directory: &Path) -> Duration {
    let path: PathBuf = directory.join(format!("bare-{}", unique()));
    let database = Database::create(&path).unwrap();
    let begun = Instant::now();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(ROWS).unwrap();
        for number in 0..FILES {
            let name = format!("files/{number:09}-1.txt");
            table.insert(name.as_str(), [7; ROW_BYTES].as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
    let time = begun.elapsed();
    drop(database);
    std::fs::remove_file(path).unwrap();
    time
}
