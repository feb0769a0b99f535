//! How soon does a store of a million files serve again?
//!
//! `clean` was shut down. `killed` is the data directory as it lay while the engine ran, 200 MB of
//! small files after its last checkpoint, which is near the most that opening ever replays. `warm`
//! has its files in the page cache, as after a process's end; `cold` not, as after a machine's. The
//! floors open the bare index with redb, and read and hash the bytes that are replayed. The target
//! is one second. If `clean` grew with what is stored, opening would be walking the index;
//! if `killed` did, the bound on the journal since the last checkpoint would be too high.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use granary_engine::model::DatasetId;
use granary_engine::{Engine, EngineOptions};
use rustix::fs::{Advice, fadvise};
use tokio::runtime::Runtime;

use crate::support::contest::{Contest, Contestant};
use crate::support::floor::length;
use crate::support::million::{LazyMillion, Million};
use crate::support::store::add;
use crate::support::{FILE_BYTES, noise, runtime, spread, unique};

/// Files of 20 KB after the last checkpoint, if there is time for so many before the next one.
const REPLAYED_FILES: u64 = 10_000;

/// Time for adding them; the index is copied in what is left.
const ADDING_MAX: Duration = Duration::from_secs(3);

/// File of the index.
const INDEX: &str = "index.redb";

/// Measures all variants.
pub(crate) fn bench(criterion: &mut Criterion, million: &Rc<LazyMillion>) {
    let measured = Duration::from_secs(1);
    // The killed one first: the store is still open.
    let killed = Contest {
        capability: "open",
        variants: ["killed_warm/1M", "killed_floor_read_blake3/1M"].map(str::to_owned),
        throughput: Throughput::Elements(1),
        measured,
    };
    killed.run(criterion, || killed_contestants(million));
    let clean = Contest {
        capability: "open",
        variants: ["clean_warm/1M", "clean_cold/1M", "clean_floor_redb/1M"].map(str::to_owned),
        throughput: Throughput::Elements(1),
        measured,
    };
    clean.run(criterion, || clean_contestants(million));
}

fn killed_contestants(million: &LazyMillion) -> [Contestant; 2] {
    let (left, replayed_bytes) = leave_behind(million);
    let (runtime, fresh) = (runtime(), million.store.directory().join("killed-once-more"));
    let segments = segments(&left);
    let open = move || {
        copy_store(&left, &fresh);
        let time = open_store(&fresh, false, &runtime);
        std::fs::remove_dir_all(&fresh).unwrap();
        time
    };
    let floor = move || {
        let mut buffer = vec![0; 1 << 20];
        let mut hasher = blake3::Hasher::new();
        let begun = Instant::now();
        let mut left = replayed_bytes;
        for segment in segments.iter().rev() {
            let file = File::open(segment).unwrap();
            let end = file.metadata().unwrap().len();
            let mut offset = 0;
            while left > 0 && offset + length(buffer.len()) <= end {
                file.read_exact_at(&mut buffer, offset).unwrap();
                hasher.update(&buffer);
                offset += length(buffer.len());
                left = left.saturating_sub(length(buffer.len()));
            }
        }
        std::hint::black_box(hasher.finalize());
        begun.elapsed()
    };
    [Box::new(open), Box::new(floor)]
}

/// Adds files and takes the data directory as it lies before the next checkpoint, after fewer files
/// where that one comes sooner; gives it and the bytes that were added.
#[expect(clippy::print_stdout, reason = "the figure means little without what is replayed")]
fn leave_behind(million: &Million) -> (PathBuf, u64) {
    let left = million.store.directory().join("killed");
    let dataset = million.store.dataset("since the last checkpoint");
    let mut files = REPLAYED_FILES;
    loop {
        make_directories(&left);
        if let Some(added) = taken(million, dataset, files, &left) {
            println!("took the index {added} files after its checkpoint");
            return (left, added * length(FILE_BYTES));
        }
        std::fs::remove_dir_all(&left).unwrap();
        files /= 2;
        assert!(files > 0, "the store checkpoints all the time");
    }
}

/// The same with so many files; `None` if the index was written meanwhile, so that what was copied is no
/// state that it ever had.
fn taken(million: &Million, dataset: DatasetId, files: u64, left: &Path) -> Option<u64> {
    let store = &million.store;
    let data = store.directory().join("data");
    let begun = || {
        // Durable before it returns, so that nothing is written behind it.
        store.runtime.block_on(store.engine.checkpoint()).unwrap();
        store.engine.figures().checkpoint_time.count()
    };
    let before = begun();
    let added = add_files(million, dataset, files);
    // The index first: a journal that reaches further than the index's checkpoint does no harm.
    std::fs::copy(data.join(INDEX), left.join(INDEX)).unwrap();
    copy_journal(&data, left, copy_file);
    (begun() == before + 1).then_some(added)
}

/// Adds so many files, or as many as there is time for; gives their number.
fn add_files(million: &Million, dataset: DatasetId, files: u64) -> u64 {
    let store = &million.store;
    let template: Arc<[u8]> = noise(FILE_BYTES).into();
    let begun = Instant::now();
    let (engine, added) = (store.engine.clone(), Arc::new(AtomicU64::new(0)));
    let counting = Arc::clone(&added);
    spread(&store.runtime, 64, files, move |_| {
        let (engine, template, added) =
            (engine.clone(), Arc::clone(&template), Arc::clone(&counting));
        let number = unique();
        let name = format!("files/{number:09}.png");
        async move {
            if begun.elapsed() < ADDING_MAX {
                add(&engine, dataset, &name, &template, number).await;
                added.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    added.load(Ordering::Relaxed)
}

fn clean_contestants(million: &LazyMillion) -> [Contestant; 3] {
    let store = &million.store;
    store.runtime.block_on(store.engine.shutdown());
    let (clean, bare) = (store.directory().join("clean"), store.directory().join("bare"));
    // The engine's handles keep the lock of the directory itself.
    copy_store(&store.directory().join("data"), &clean);
    std::fs::copy(clean.join(INDEX), &bare).unwrap();
    File::open(&bare).unwrap().sync_all().unwrap();
    let open = |cold: bool| -> Contestant {
        let (clean, runtime) = (clean.clone(), runtime());
        Box::new(move || open_store(&clean, cold, &runtime))
    };
    let floor = move || {
        let begun = Instant::now();
        let database = redb::Database::open(&bare).unwrap();
        let time = begun.elapsed();
        drop(database);
        time
    };
    [open(false), open(true), Box::new(floor)]
}

/// Opens a store and shuts it down again; the time until it serves.
fn open_store(directory: &Path, cold: bool, runtime: &Runtime) -> Duration {
    if cold {
        forget_cached(directory);
    }
    let begun = Instant::now();
    let engine = Engine::open(directory.into(), &EngineOptions::default()).unwrap();
    let snapshot = engine.snapshot().unwrap();
    let first = snapshot.datasets().unwrap().next().unwrap().unwrap();
    snapshot.files(&first).unwrap().next().unwrap().unwrap();
    let time = begun.elapsed();
    drop(snapshot);
    runtime.block_on(engine.shutdown());
    time
}

/// Copies a data directory.
fn copy_store(from: &Path, to: &Path) {
    make_directories(to);
    copy_file(&from.join(INDEX), &to.join(INDEX));
    // Where nothing was torn, opening changes nothing in the journal.
    copy_journal(from, to, |from, to| std::fs::hard_link(from, to).unwrap());
}

/// Makes the directories of a store.
fn make_directories(store: &Path) {
    for directory in ["", "journal", "blobs", "staging"] {
        std::fs::create_dir(store.join(directory)).unwrap();
    }
}

/// Copies the journal's segments and the store's identity in a way that is given.
fn copy_journal(from: &Path, to: &Path, copy: impl Fn(&Path, &Path)) {
    copy(&from.join("store"), &to.join("store"));
    for segment in segments(from) {
        copy(&segment, &to.join("journal").join(segment.file_name().unwrap()));
    }
}

/// Copies a file and syncs it, so that opening does not pay for it.
fn copy_file(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    File::open(to).unwrap().sync_all().unwrap();
}

/// The journal's segments, oldest first.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut segments = files(&directory.join("journal"));
    segments.sort();
    segments
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

/// Asks for a store's files to leave the page cache.
fn forget_cached(directory: &Path) {
    for file in files(directory).into_iter().chain(segments(directory)) {
        let file = File::open(file).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}
