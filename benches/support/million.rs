//! One store with datasets of very different sizes, made once for all who ask.

use std::cell::LazyCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use granary_engine::model::DatasetId;

use super::store::Store;

/// Sizes of the datasets, each with names and contents of its own.
pub(crate) const SIZES: [u64; 3] = [1_000_000, 10_000, 10];

/// Files that one archive brings: all of a dataset, so that it is one layer, as if they had come
/// one by one.
const STEP: u64 = 1_000_000;

/// The store, made when it is first wanted.
pub(crate) type LazyMillion = LazyCell<Million>;

/// A store that holds a little more than a million files.
#[derive(Debug)]
pub(crate) struct Million {
    pub(crate) store: Rc<Store>,
    /// In the order of [`SIZES`].
    pub(crate) datasets: [DatasetId; 3],
}

impl Million {
    /// Fills a store. Takes a while.
    #[expect(clippy::print_stdout, reason = "whoever waits wants to know why")]
    pub(crate) fn fill() -> Self {
        let begun = Instant::now();
        let store = Store::new();
        let mut first = 0;
        let datasets = SIZES.map(|size| {
            let dataset = store.dataset(&format!("{size} files"));
            for begin in (first..first + size).step_by(usize::try_from(STEP).unwrap()) {
                store.fill(dataset, begin..(begin + STEP).min(first + size));
            }
            first += size;
            dataset
        });
        println!("filled a store with {first} files in {:.1} s", begun.elapsed().as_secs_f64());
        wait_for_background();
        store.runtime.block_on(store.engine.checkpoint()).unwrap();
        println!("the background was done after {:.1} s", begun.elapsed().as_secs_f64());
        Self { store, datasets }
    }
}

/// Waits until the process uses next to no processor time: until layers are folded.
fn wait_for_background() {
    let (pause, mut before, mut quiet) = (Duration::from_millis(250), ticks(), 0);
    while quiet < 4 {
        std::thread::sleep(pause);
        let now = ticks();
        quiet = if now - before <= 2 { quiet + 1 } else { 0 };
        before = now;
    }
}

/// Processor time that the process has used, in hundredths of a second.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // The 14th and 15th field of all, which `proc(5)` calls utime and stime.
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|field| field.parse::<u64>().unwrap()).sum()
}
