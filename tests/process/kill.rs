//! Kills the server again and again while many clients change everything that can be changed,
//! and compares: what a client was told is done is there after the restart, byte for byte; of the
//! one change that was under way everything is there or nothing.
//!
//! `GRANARY_KILLS` sets the number of kills (default 4), `GRANARY_SEED` the seed. The seed decides
//! what each client does and after how many answers the server is killed; how the requests of
//! different clients interleave it cannot.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use granary_engine::{Engine, EngineOptions};
use reqwest::Method;
use serde_json::json;

use crate::api::{Api, Body};
use crate::chance::{Chance, seed};
use crate::load::{self, Client, Counts, Progress};
use crate::server::{Server, binary, faults_in_log};
use crate::world::Everything;

const CLIENTS: usize = 12;

/// The store is checked whole after so many kills, and after the last one.
const CHECKED_EVERY: u64 = 10;

/// How long tidying up in the background may take.
const TIDY_TIME_MAX: Duration = Duration::from_mins(1);

/// What a run found, for its last line.
#[derive(Debug, Default)]
struct Report {
    kills: u64,
    kills_while_starting: u64,
    start_times: Vec<Duration>,
    contents_compared: u64,
    bytes_compared: u64,
    checks: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_kill_9_and_nothing_is_half_done() {
    let kills = std::env::var("GRANARY_KILLS").map_or(4, |kills| kills.parse().unwrap());
    let seed = seed(1);
    println!("{kills} kills with GRANARY_SEED={seed}");
    let mut chance = Chance::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let work = directory.path();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|id| Client::new(id, &mut chance)).collect();
    let mut report = Report::default();
    let mut server = Server::start(work);
    let shared = Api::new(&server.url).create_dataset("shared").await;
    for kill in 1..=kills {
        let answers = 1 + u64::try_from(chance.below(600)).unwrap();
        clients = work_until_killed(clients, server, shared, answers).await;
        report.kills += 1;
        if chance.percent(30) {
            kill_while_starting(work, &mut chance, &mut report);
        }
        server = Server::start(work);
        report.start_times.push(server.start_time);
        let is_checked = kill % CHECKED_EVERY == 0 || kill == kills;
        compare(&server, shared, &mut clients, &mut report).await;
        // What uploads of the former start had brought is swept.
        wait_for_empty(&work.join("data/staging"));
        if is_checked {
            server.kill();
            check(work).await;
            report.checks += 1;
            server = Server::start(work);
        }
    }
    remove_everything(work, &server).await;
    assert!(server.terminate().success());
    let none: [String; 0] = [];
    assert_eq!(faults_in_log(work), none);
    print_report(&report, clients, seed);
}

/// Lets the clients work and kills the server when so many changes were answered.
async fn work_until_killed(
    clients: Vec<Client>,
    server: Server,
    shared: u64,
    answers: u64,
) -> Vec<Client> {
    let api = Arc::new(Api::new(&server.url));
    let progress = Arc::new(Progress::default());
    let working = load::begin(clients, &api, shared, &progress);
    let as_planned = progress.reached(answers).await;
    server.kill();
    let clients = load::end(working).await;
    // A client that failed has told how by now; none is refused before the server dies.
    assert!(as_planned, "a client got no answer from a server that lived");
    clients
}

/// Kills the server at a random instant of its start, which is another crash for recovery.
fn kill_while_starting(work: &Path, chance: &mut Chance, report: &mut Report) {
    let mut starting = Server::spawn(work, &mut Command::new(binary()));
    let microseconds = u64::try_from(chance.below(40_000)).unwrap();
    if !starting.listens_within(Duration::from_micros(microseconds)) {
        report.kills_while_starting += 1;
    }
    starting.kill();
    report.kills += 1;
}

/// Everything that was answered is there, and nothing else.
async fn compare(server: &Server, shared: u64, clients: &mut [Client], report: &mut Report) {
    let api = Api::new(&server.url);
    let everything = Everything::see(&api, shared).await;
    for client in &mut *clients {
        client.settle(&everything);
    }
    let (contents, bytes) = load::compare_bytes(&api, shared, clients).await;
    report.contents_compared += contents;
    report.bytes_compared += bytes;
}

fn wait_for_empty(directory: &Path) {
    let begun = Instant::now();
    while fs::read_dir(directory).unwrap().next().is_some() {
        assert!(begun.elapsed() < TIDY_TIME_MAX, "{} is not empty", directory.display());
        std::thread::yield_now();
    }
}

/// Recomputes the invariants, with every content's digest.
async fn check(work: &Path) {
    let engine = Engine::open(work.join("data"), &EngineOptions::default()).unwrap();
    assert_eq!(engine.check(true).unwrap(), []);
    engine.shutdown().await;
}

/// Once no dataset is left, no large file is: whatever the kills interrupted, nothing leaked.
async fn remove_everything(work: &Path, server: &Server) {
    let api = Api::new(&server.url);
    let rows = api.post("datasets/list", json!({"include_inactive": true})).await.expect(200);
    for row in rows.as_array().unwrap() {
        let path = format!("datasets/{}/hard", row["pk"]);
        api.ask(Method::DELETE, &path, Body::None).await.expect(200);
    }
    wait_for_empty(&work.join("data/blobs"));
}

fn print_report(report: &Report, clients: Vec<Client>, seed: u64) {
    let mut counts = Counts::default();
    for client in clients {
        counts.add(client.counts);
    }
    assert!(report.kills_while_starting > 0 || report.kills < 50, "no start was killed");
    for (label, count) in &counts.answered {
        println!("{count:>8} {label} answered");
    }
    let mut times = report.start_times.clone();
    times.sort();
    let megabytes = report.bytes_compared / 1_000_000;
    println!("{:>8} reads compared under way", counts.read);
    println!("{:>8} in doubt, of which {} were made", counts.in_doubt, counts.made_after_all);
    println!("{:>8} contents of {megabytes} MB compared after starts", report.contents_compared);
    println!(
        "starts after a kill: median {:?}, slowest {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    println!(
        "{} kills ({} of them while starting), {} changes answered, 0 lost, 0 half done, \
         {} whole checks clean; GRANARY_SEED={seed}",
        report.kills,
        report.kills_while_starting,
        counts.answers(),
        report.checks
    );
}
