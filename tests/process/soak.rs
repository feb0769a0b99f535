//! Hours in small: a mixed load with deletes and copies for long, and every minute what the process
//! and its directory have grown to. Ignored, since it takes as long as it is told to:
//!
//! ```text
//! GRANARY_BINARY=target/release/granary GRANARY_SOAK_MINUTES=30 \
//!     cargo test --locked --test process soak -- --ignored --nocapture
//! ```
//!
//! What it prints is to be looked at: all columns must be flat once the datasets are full. At the
//! end everything is compared as after a kill, and what is dead must be given back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::Api;
use crate::chance::{Chance, seed};
use crate::load::{self, Client, Progress};
use crate::server::{Server, faults_in_log};
use crate::world::Everything;

const CLIENTS: usize = 24;

/// Files of one dataset beyond which a client adds no more.
const FILES_MAX: usize = 400;

/// Between the changes of one client, so that the load is a mean one: some two hundred a second.
const PAUSE: Duration = Duration::from_millis(120);

/// What is dead may be so much of what is live, in percent; and a segment that is being written.
const DEAD_PERCENT_MAX: u64 = 30;
const SEGMENT_BYTES: u64 = 128 << 20;

/// How long tidying up may take once nobody works any more.
const TIDY_TIME_MAX: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half an hour; see the head of the file"]
async fn a_soak_keeps_everything_and_gives_dead_space_back() {
    let minutes = std::env::var("GRANARY_SOAK_MINUTES").map_or(30, |text| text.parse().unwrap());
    let seed = seed(1);
    println!("{minutes} minutes with GRANARY_SEED={seed}");
    let mut chance = Chance::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let api = Arc::new(Api::new(&server.url));
    let shared = api.create_dataset("shared").await;
    let clients = (0..CLIENTS).map(|number| {
        let mut client = Client::new(number, &mut chance);
        (client.pause, client.world.files_max) = (PAUSE, FILES_MAX);
        client
    });
    let progress = Arc::new(Progress::default());
    let working = load::begin(clients.collect(), &api, shared, &progress);
    let data = directory.path().join("data");
    print_head();
    for minute in 1..=minutes {
        let has_ended = progress.ended_within(Duration::from_mins(1)).await;
        if has_ended {
            // One that failed tells how; one that was refused must not have been.
            load::end(working).await;
            panic!("a client got no answer in minute {minute}, see {}", directory.keep().display());
        }
        print_line(&format!("{minute} min"), &server, &data, &progress);
    }
    progress.stop();
    let mut clients = load::end(working).await;

    let everything = Everything::see(&api, shared).await;
    for client in &mut clients {
        client.settle(&everything);
    }
    let (contents, bytes) = load::compare_bytes(&api, shared, &clients).await;
    println!("{contents} contents of {} MB compared", bytes / 1_000_000);
    let allowed = bytes + bytes * DEAD_PERCENT_MAX / 100 + SEGMENT_BYTES;
    let begun = Instant::now();
    while disk_bytes(&data) > allowed && begun.elapsed() < TIDY_TIME_MAX {
        tokio::task::yield_now().await;
    }
    print_line("idle", &server, &data, &progress);
    assert!(disk_bytes(&data) <= allowed, "dead space is not given back");
    assert!(server.terminate().success());
    let none: [String; 0] = [];
    assert_eq!(faults_in_log(directory.path()), none);
}

fn print_head() {
    println!(
        "{:>7} {:>8} {:>6} {:>9} {:>9} {:>6} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9}",
        "time",
        "rss MB",
        "files",
        "disk MB",
        "live MB",
        "dead %",
        "journal",
        "index",
        "ops/s",
        "upload",
        "p99 ms",
        "large p99"
    );
}

fn print_line(time: &str, server: &Server, data: &Path, progress: &Progress) {
    let live: usize = progress.live_contents().values().sum();
    let live = u64::try_from(live).unwrap();
    let disk = disk_bytes(data);
    let times = progress.take_times();
    let count: usize = times.values().map(Vec::len).sum();
    let dead = disk.saturating_sub(live) * 100 / live.max(1);
    let mb = |bytes: u64| bytes / 1_000_000;
    println!(
        "{time:>7} {:>8} {:>6} {:>9} {:>9} {dead:>6} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9}",
        mb(server.resident_bytes()),
        open_files(server.pid()),
        mb(disk),
        mb(live),
        mb(disk_bytes(&data.join("journal"))),
        mb(disk_bytes(&data.join("index.redb"))),
        count / 60,
        milliseconds(&times, "upload", 50),
        milliseconds(&times, "upload", 99),
        milliseconds(&times, "large upload", 99),
    );
}

fn milliseconds(times: &BTreeMap<&str, Vec<Duration>>, label: &str, percent: usize) -> String {
    let Some(times) = times.get(label) else { return "-".to_owned() };
    let mut times = times.clone();
    times.sort();
    format!("{:.1}", times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3)
}

/// Bytes that a file or all files of a directory take on the disk.
fn disk_bytes(path: &Path) -> u64 {
    // What is just being removed counts no more.
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    if !metadata.is_dir() {
        return metadata.blocks() * 512;
    }
    let entries = fs::read_dir(path).unwrap();
    entries.map(|entry| disk_bytes(&entry.unwrap().path())).sum()
}

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
