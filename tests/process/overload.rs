//! More than the server can do: who is accepted is answered in bounded time, everybody else is
//! refused at once and told when to come back, memory stays in its budget, and when it is over the
//! server is as fast as before. What was answered is there, and what was refused is not.
//!
//! In the gate bounds are small, so that few clients are too many, and only answers are counted. At
//! ten times the rate that the server sustains, with figures to be looked at:
//!
//! ```text
//! GRANARY_BINARY=target/release/granary GRANARY_OVERLOAD=upload:262144 \
//!     cargo test --locked --test process ten_times -- --ignored --nocapture
//! ```
//!
//! `GRANARY_OVERLOAD` may be `login` as well, or have another number of bytes. The clients need
//! processors too: what the server does for a request must be much more than what the client does.
//! `GRANARY_OVERLOAD_CLIENTS` bounds how many requests are under way at once (15,000 otherwise): far
//! more than the machine has processors for measures the clients instead of the server.
//! `GRANARY_WRAPPER` names a program that is started with the server's command line, and may give
//! it a part of a processor.

mod figures;

mod wire;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::api::Api;
use crate::server::{Server, binary, faults_in_log};
use figures::{Figures, Sampler};
use wire::{Answer, Load, Wires};

/// Clients of a load that the server sustains.
const CLIENTS: usize = 64;

/// Requests under way beyond which the clients send no more: they have open files of their own.
const UNDER_WAY_MAX: usize = 15_000;

const MEBIBYTE: u64 = 1 << 20;

/// Bytes that the server may have in memory: uploads in flight, the cache of the index, and the rest.
const MEMORY_MAX: u64 = (96 + 256 + 128) * MEBIBYTE;

/// Bytes of a connection with a request, in memory.
const CONNECTION_MEMORY_MAX: u64 = 80 << 10;

fn start(work: &std::path::Path, connections: usize) -> Server {
    let wrapper = std::env::var_os("GRANARY_WRAPPER");
    let mut command = wrapper.map_or_else(
        || Command::new(binary()),
        |wrapper| {
            let mut command = Command::new(wrapper);
            command.arg(binary());
            command
        },
    );
    command.env("GRANARY_CONNECTIONS", connections.to_string());
    Server::spawn(work, &mut command).listening()
}

/// What a dataset shows is what was answered, exactly.
async fn assert_nothing_is_missing(api: &Api, dataset: u64, answered: &BTreeSet<String>) {
    let shown = api.get(&format!("datasets/{dataset}")).await.expect(200);
    let shown: BTreeSet<String> = shown["files"].as_object().unwrap().keys().cloned().collect();
    let missing: Vec<_> = answered.difference(&shown).take(3).collect();
    let uncalled: Vec<_> = shown.difference(answered).take(3).collect();
    assert!(missing.is_empty(), "answered and not there: {missing:?}");
    assert!(uncalled.is_empty(), "refused and there all the same: {uncalled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_is_refused_at_once_and_everybody_accepted_is_served() {
    const PLACES: usize = 8;
    const ACCEPTED: u64 = 400;
    const REFUSED: u64 = 100;
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), PLACES);
    let api = Api::new(&server.url);
    let dataset = api.create_dataset("hot").await;
    let load = Load::upload(dataset, 20_000);
    let wires = Arc::new(Wires::new(&server.url, &api.token(), load));
    drop(api);
    let (accepted, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..4 * PLACES {
        let wires = Arc::clone(&wires);
        let (accepted, refused) = (Arc::clone(&accepted), Arc::clone(&refused));
        clients.spawn(async move {
            let mut names = Vec::new();
            let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
            while count(&accepted) < ACCEPTED || count(&refused) < REFUSED {
                // A connection of its own, so that none is idle and gives way.
                match wires.ask_once().await {
                    Answer::Done(name) => {
                        names.push(name);
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                    Answer::ComeBack => drop(refused.fetch_add(1, Ordering::Relaxed)),
                    Answer::GaveWay => {}
                    other @ Answer::Broken(_) => panic!("{other:?}"),
                }
            }
            names
        });
    }
    let answered: BTreeSet<String> = clients.join_all().await.into_iter().flatten().collect();

    let api = Api::new(&server.url);
    assert_nothing_is_missing(&api, dataset, &answered).await;
    for number in 0..100 {
        api.upload(dataset, &format!("afterwards/{number}"), vec![number; 100]).await.expect(200);
    }
    assert!(server.terminate().success());
    assert_eq!(faults_in_log(directory.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_beyond_those_that_may_wait_are_refused_at_once() {
    let cores = available_parallelism().unwrap().get();
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), 16_384);
    let wires = Arc::new(Wires::new(&server.url, "", Load::Login));
    let mut clients = JoinSet::new();
    // On each core one is looked at while a hundred wait.
    for _ in 0..cores * 200 {
        let wires = Arc::clone(&wires);
        clients.spawn(async move { wires.ask_once().await });
    }
    let answers = clients.join_all().await;
    let count =
        |wanted: fn(&Answer) -> bool| answers.iter().filter(|answer| wanted(answer)).count();
    let done = count(|answer| matches!(answer, Answer::Done(_)));
    let refused = count(|answer| matches!(answer, Answer::ComeBack));
    assert_eq!(done + refused, answers.len(), "{answers:?}");
    assert!(done >= cores, "{done} of {}", answers.len());
    assert!(refused > 0, "all of {} logins waited", answers.len());
    assert!(server.resident_bytes() < MEMORY_MAX);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and measures; see the head of the file"]
async fn ten_times_what_it_sustains_is_refused_or_answered_in_time() {
    let load = std::env::var("GRANARY_OVERLOAD").unwrap_or_else(|_| "upload:262144".to_owned());
    let span = Duration::from_secs(15);
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), 16_384);
    let api = Api::new(&server.url);
    let dataset = api.create_dataset("hot").await;
    let load = Load::parse(&load, dataset);
    let wires = Arc::new(Wires::new(&server.url, &api.token(), load));

    let before = sustained(&wires, span).await;
    println!("before: {:.0} a second, {}", before.rate(), before.latencies());
    let sampler = Sampler::begin(server.pid());
    let during = overloaded(&wires, before.rate() * 10.0, span).await;
    let memory = sampler.end();
    println!("at {:.0} a second, for {span:?}:", before.rate() * 10.0);
    println!("  accepted: {:.0} a second, {}", during.rate(), during.latencies());
    println!("  refused: {}, {}", during.refused(), during.refusal_latencies());
    println!("  broken: {}, not sent: {}", during.broken, during.not_sent);
    println!(
        "  memory: {} MiB at most, {} requests at once",
        memory / MEBIBYTE,
        during.at_once_max
    );
    let mut answered = before.names;
    answered.extend(during.names);
    for second in 1..=10 {
        let after = sustained(&wires, Duration::from_secs(1)).await;
        println!("after {second} s: {:.0} a second, {}", after.rate(), after.latencies());
        answered.extend(after.names);
    }
    if matches!(load, Load::Upload { .. }) && during.broken == 0 {
        assert_nothing_is_missing(&api, dataset, &answered).await;
        println!("{} files answered and there", answered.len());
    }
    let connections = u64::try_from(during.at_once_max).unwrap();
    assert!(memory < MEMORY_MAX + connections * CONNECTION_MEMORY_MAX, "{memory} bytes");
    assert!(server.terminate().success());
    assert_eq!(faults_in_log(directory.path()), [""; 0]);
}

/// As fast as a few clients get answers.
async fn sustained(wires: &Arc<Wires>, span: Duration) -> Figures {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let wires = Arc::clone(wires);
        clients.spawn(async move {
            let mut figures = Figures::default();
            while begun.elapsed() < span {
                let asked = Instant::now();
                figures.note(wires.ask().await, asked.elapsed());
            }
            figures
        });
    }
    let mut all = Figures::default();
    for figures in clients.join_all().await {
        all.add(figures);
    }
    all.over(begun.elapsed())
}

/// So many requests a second, whether or not the ones before are answered. Latencies count from the
/// time at which a request was due.
async fn overloaded(wires: &Arc<Wires>, rate: f64, span: Duration) -> Figures {
    let under_way_max = std::env::var("GRANARY_OVERLOAD_CLIENTS");
    let under_way_max = under_way_max.map_or(UNDER_WAY_MAX, |text| text.parse().unwrap());
    let begun = Instant::now();
    let mut all = Figures::default();
    let mut under_way = JoinSet::new();
    let mut sent: u32 = 0;
    while begun.elapsed() < span {
        let due = begun + Duration::from_secs_f64(f64::from(sent) / rate);
        while let Some(done) = under_way.try_join_next() {
            let (answer, time) = done.unwrap();
            all.note(answer, time);
        }
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        sent += 1;
        all.at_once_max = all.at_once_max.max(under_way.len());
        if under_way.len() >= under_way_max {
            all.not_sent += 1;
            continue;
        }
        let wires = Arc::clone(wires);
        under_way.spawn(async move { (wires.ask().await, due.elapsed()) });
    }
    let mut all = all.over(begun.elapsed());
    while let Some(done) = under_way.join_next().await {
        let (answer, time) = done.unwrap();
        all.note_late(answer, time);
    }
    all
}
