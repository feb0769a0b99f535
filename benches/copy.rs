//! Does a copy of a million files cost what a copy of ten does?
//!
//! Datasets of three sizes in one store are copied by turns, a new version each time: as they are,
//! and with a file added before each copy, so that layers must be frozen and stacks folded. The
//! last is what the others are compared with. The target is a ratio of medians of at most 1.5; if
//! it grew with the size, a copy would be visiting rows.

use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

use crate::support::contest::{Contest, Contestant};
use crate::support::million::{LazyMillion, SIZES};
use crate::support::store::add;
use crate::support::unique;

/// Measures all variants.
pub(crate) fn bench(criterion: &mut Criterion, million: &Rc<LazyMillion>) {
    for (variant, adds) in [("unchanged", false), ("after_an_add", true)] {
        let contest = Contest {
            capability: "copy",
            variants: SIZES.map(|size| format!("{variant}/{size}")),
            throughput: Throughput::Elements(1),
            measured: Duration::from_secs(3),
        };
        contest.run(criterion, || [0, 1, 2].map(|index| contestant(million, index, adds)));
    }
}

fn contestant(million: &Rc<LazyMillion>, index: usize, adds: bool) -> Contestant {
    let million = Rc::clone(million);
    let dataset = million.datasets.get(index).copied().unwrap();
    Box::new(move || {
        let store = &million.store;
        store.runtime.block_on(async {
            if adds {
                let number = unique();
                let name = format!("more/{number:09}.txt");
                add(&store.engine, dataset, &name, &[0; 8], number).await;
            }
            let begun = Instant::now();
            store.engine.copy_dataset(dataset, None, None, None).await.unwrap();
            begun.elapsed()
        })
    })
}
