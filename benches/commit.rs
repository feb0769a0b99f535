//! How many small files a second become durable, from how many clients at once?
//!
//! The floor appends the very groups that the engine's journal synced in the run before, to a
//! file with its space reserved, with one fdatasync each, past the page cache as the journal does; a
//! second one does the same through the page cache, as most programs do, and a third writes as if every client
//! were in every group. The target is half the rate of a floor through the page cache, from 16 and from 64
//! clients. If the ratio to the first fell, the threads around the sync would be in its way; if only that to the
//! third did, groups would be too small, and waiting for more clients before a sync would be worth another
//! try.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};

use crate::support::contest::{Contest, Contestant};
use crate::support::floor::{Appender, Way, length};
use crate::support::store::{Store, add};
use crate::support::{FILE_BYTES, noise, spread, unique};

/// Bytes of a group beside its contents: a page.
const GROUP_OVERHEAD: usize = 4096;

/// Measures all variants.
pub(crate) fn bench(criterion: &mut Criterion) {
    for (variant, datasets, clients, files) in [
        ("one_dataset", 1, 1, 400),
        ("one_dataset", 1, 16, 2000),
        ("one_dataset", 1, 64, 2000),
        ("64_datasets", 64, 64, 2000),
    ] {
        let contest = Contest {
            capability: "commit",
            variants: [
                format!("{variant}/{clients}"),
                format!("{variant}_floor_full_groups/{clients}"),
                format!("{variant}_floor_through_page_cache/{clients}"),
                format!("{variant}_floor_same_groups/{clients}"),
            ],
            throughput: Throughput::ElementsAndBytes {
                elements: files,
                bytes: files * length(FILE_BYTES),
            },
            measured: Duration::from_secs(4),
        };
        contest.run(criterion, || contestants(datasets, clients, files));
    }
}

fn contestants(datasets: u64, clients: u64, files: u64) -> [Contestant; 4] {
    let store = Store::new();
    let datasets: Arc<[_]> =
        (0..datasets).map(|number| store.dataset(&format!("set {number}"))).collect();
    let template: Arc<[u8]> = noise(FILE_BYTES).into();
    let (groups, place) = (Arc::clone(&store.groups), store.directory().to_path_buf());
    let engine = move || {
        store.groups.lock().unwrap().clear();
        let (engine, datasets) = (store.engine.clone(), Arc::clone(&datasets));
        let template = Arc::clone(&template);
        spread(&store.runtime, clients, files, move |piece| {
            let index = usize::try_from(piece % length(datasets.len())).unwrap();
            let dataset = datasets.get(index).copied().unwrap();
            let (engine, template) = (engine.clone(), Arc::clone(&template));
            async move {
                let number = unique();
                add(&engine, dataset, &format!("files/{number:09}.png"), &template, number).await;
            }
        })
    };
    let appender = Arc::new(Appender::new());
    let same = |way| {
        let (appender, place, groups) = (Arc::clone(&appender), place.clone(), Arc::clone(&groups));
        move || appender.append(&place, &groups.lock().unwrap().clone(), way)
    };
    let (through, past) = (same(Way::ThroughPageCache), same(Way::PastPageCache));
    let group = usize::try_from(clients).unwrap() * FILE_BYTES + GROUP_OVERHEAD;
    let full = vec![group; usize::try_from(files / clients).unwrap()];
    let full_groups = move || appender.append(&place, &full, Way::PastPageCache);
    [Box::new(engine), Box::new(full_groups), Box::new(through), Box::new(past)]
}
