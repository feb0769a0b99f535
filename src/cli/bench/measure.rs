//! One measurement from beginning to end: server, datasets, files, runs, figures.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hyper::header::HeaderValue;
use tokio::task::spawn_blocking;

use super::super::client::Client;
use super::super::complain;
use super::checkpoints::CheckpointWatch;
use super::content::Contents;
use super::figures::{Watch, run_of};
use super::floor;
use super::load::{Drive, Driven, Extent, Phase, drive};
use super::machine;
use super::numbers::ratio;
use super::operation::Workload;
use super::options::Options;
use super::own_server::{Mode, OwnServer};
use super::plan::Plan;
use super::process::Processes;
use super::report::{Latency, Report, Run};
use super::sizes::Sizes;
use super::target::{Address, Dialect, SYNCED, Target};
use super::trivial::Trivial;

/// How long the load tool's own ceiling is measured, and warmed up before.
const CEILING_TIME: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// Bytes of a round trip's request at most: beyond, it would measure copying and no way.
const ROUND_TRIP_BYTES_MAX: u64 = 64 << 10;

/// Connections that store what the load will need.
const STORE_CONNECTIONS: u32 = 64;

/// Measures as the options say.
///
/// # Errors
/// The server cannot be reached or refuses, or what the load needs could not be stored.
pub(crate) async fn measure(options: &Options, workload: Workload) -> anyhow::Result<Report> {
    options.check(workload)?;
    let stop = Arc::new(AtomicBool::new(false));
    // The server and its directory go when this future is dropped, and the threads heed the flag.
    let _guard = StopOnDrop(Arc::clone(&stop));
    let server = match (options.own, options.sink) {
        (true, false) => "own server".to_owned(),
        (true, true) => "own server that discards uploads".to_owned(),
        (false, _) => options.server.url.to_string(),
    };
    let directory = directory(options);
    let machine = machine::describe(options.own.then_some(directory.as_path()));
    let mut report = Report::begin(machine, server, options.settings(workload));
    if !options.no_ceiling {
        report.ceiling = ceiling(options, workload, &stop).await?;
    }
    for number in 1..=options.runs {
        if options.runs > 1 {
            complain(format_args!("run {number} of {}", options.runs));
        }
        let (run, durability) = run(options, workload, &stop).await?;
        report.durability = durability;
        report.runs.push(run);
    }
    if options.floor {
        let sizes = options.size.of(0);
        let round_trip = round_trip(sizes.min(ROUND_TRIP_BYTES_MAX), &stop).await?;
        let connections = options.connections;
        let floor = move || floor::measure(&directory, sizes, connections, round_trip);
        report.floor = Some(spawn_blocking(floor).await.context("the floor broke")??);
    }
    Ok(report)
}

/// Tells the threads of a load to end.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where temporary data go.
fn directory(options: &Options) -> PathBuf {
    options.dir.clone().unwrap_or_else(std::env::temp_dir)
}

/// One run, and what a success of its server means.
async fn run(
    options: &Options,
    workload: Workload,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<(Run, String)> {
    if options.plain {
        let durability = options.durability.clone();
        let durability = durability.unwrap_or_else(|| "unknown to the load tool".to_owned());
        let target = Target::plain(&options.server.url).await?;
        let numbers = (0..u64::from(options.datasets)).collect();
        let plan = plan(options, workload, target, numbers)?;
        let processes = found_processes(options, &plan);
        return Ok((load(options, plan, processes, None, stop).await?, durability));
    }
    if options.own {
        let mode = if options.sink { Mode::Sink } else { Mode::Real };
        let server = OwnServer::start(&directory(options), mode).await?;
        let durability = match mode {
            Mode::Real => SYNCED.to_owned(),
            Mode::Sink => "none (the bodies are discarded)".to_owned(),
        };
        let processes = Some(Processes::one(server.process()));
        let run = on_api(options, workload, server.client(), durability, processes, stop).await?;
        server.stop().await?;
        return Ok(run);
    }
    let client = Client::new(&options.server)?;
    let durability = match options.durability.clone() {
        Some(durability) => durability,
        None => Target::durability_of(&client).await,
    };
    on_api(options, workload, &client, durability, None, stop).await
}

/// One run on a server of the API; its datasets are made before and removed afterwards.
async fn on_api(
    options: &Options,
    workload: Workload,
    client: &Client,
    durability: String,
    processes: Option<Processes>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<(Run, String)> {
    let target = Target::api(client).await?;
    let run = target.renewing(client, async |target: Target| {
        let id = random()?;
        let prefix = format!("granary-bench-{id:016x}");
        let datasets = client.make_datasets(&options.project, &prefix, options.datasets).await?;
        let mut plan = plan(options, workload, target, datasets)?;
        plan.run = id;
        let processes = processes.or_else(|| found_processes(options, &plan));
        let run = load(options, plan, processes, Some(client), stop).await;
        if !options.own {
            client.remove_datasets(&prefix).await.context("cannot remove the load's datasets")?;
        }
        run
    });
    Ok((run.await?, durability))
}

fn found_processes(options: &Options, plan: &Plan) -> Option<Processes> {
    let is_here = options.server.url.is_loopback();
    is_here.then(|| Processes::listening(plan.target.address.socket)).flatten()
}

fn plan(
    options: &Options,
    workload: Workload,
    target: Target,
    datasets: Vec<u64>,
) -> anyhow::Result<Plan> {
    let run = random()?;
    Ok(Plan {
        workload,
        target,
        sizes: options.size,
        duplicates: options.duplicates,
        datasets,
        files: options.settings(workload).files,
        in_blocks: false,
        run,
        contents: Contents::new(run),
    })
}

/// Stores what the load needs, sends the load, and makes figures of it.
async fn load(
    options: &Options,
    plan: Plan,
    processes: Option<Processes>,
    client: Option<&Client>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Run> {
    let plan = Arc::new(plan);
    if plan.stored() > 0 {
        store(&plan, options.threads, stop).await?;
    }
    let shape = options.drive();
    let watch = Watch::new(processes);
    let checkpoints = client.map(CheckpointWatch::begin);
    let begin = watch.clone();
    let driven = driven(&plan, Phase::Load, shape, stop, move || begin.begin()).await?;
    let watched = watch.end();
    ensure!(!driven.recorder.is_empty(), "nothing was measured; measure for a longer time");
    let checkpoints = match checkpoints {
        Some(checkpoints) => checkpoints.end(&driven.recorder).await,
        None => None,
    };
    Ok(run_of(&driven, &watched, checkpoints, plan.workload))
}

async fn store(plan: &Arc<Plan>, threads: u32, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let shape = Drive {
        connections: STORE_CONNECTIONS.max(threads),
        threads,
        rate: None,
        warm_up: Extent::Requests(0),
        measured: Extent::Requests(plan.stored()),
    };
    let stored = driven(plan, Phase::Store, shape, stop, || ()).await?;
    if let Some((kind, errors)) = stored.recorder.errors.iter().next() {
        bail!(
            "{} of {} files that the load needs could not be stored: {kind} {}",
            errors.times,
            plan.stored(),
            errors.example
        );
    }
    Ok(())
}

/// Sends a load from threads of its own.
///
/// # Errors
/// See [`drive`].
pub(crate) async fn driven(
    plan: &Arc<Plan>,
    phase: Phase,
    shape: Drive,
    stop: &Arc<AtomicBool>,
    on_origin: impl Fn() + Send + Sync + 'static,
) -> anyhow::Result<Driven> {
    let (plan, stop) = (Arc::clone(plan), Arc::clone(stop));
    let driven = spawn_blocking(move || drive(plan, phase, shape, stop, on_origin)).await;
    driven.context("the load broke; please report this")?
}

/// What the load tool reaches against a server that does nothing, in requests a second.
async fn ceiling(
    options: &Options,
    workload: Workload,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Option<f64>> {
    let answer_bytes = match workload {
        Workload::Upload => 2,
        Workload::Download => match options.size {
            Sizes::Fixed(bytes) => bytes,
            // One server has one answer, and all sizes are drawn.
            Sizes::Drawn(_) => return Ok(None),
        },
        Workload::Mixed
        | Workload::Metadata
        | Workload::List
        | Workload::Retrieve
        | Workload::Copy
        | Workload::Merge
        | Workload::Archive => return Ok(None),
    };
    let shape = Drive {
        warm_up: Extent::Time(CEILING_TIME.0),
        measured: Extent::Time(CEILING_TIME.1),
        rate: None,
        ..options.drive()
    };
    let shape = match options.requests {
        Some(_) => options.drive(),
        None => shape,
    };
    let shape = Drive { rate: None, ..shape };
    let driven = against_nothing(options.size, workload, answer_bytes, shape, stop).await?;
    let recorder = &driven.recorder;
    Ok(Some(ratio(super::numbers::float(recorder.requests()), recorder.length().as_secs_f64())))
}

/// A request and its answer on one connection, with a file's bytes in it.
async fn round_trip(bytes: u64, stop: &Arc<AtomicBool>) -> anyhow::Result<Latency> {
    let shape = Drive {
        connections: 1,
        threads: 1,
        rate: None,
        warm_up: Extent::Requests(200),
        measured: Extent::Requests(5_000),
    };
    let driven = against_nothing(Sizes::Fixed(bytes), Workload::Upload, 2, shape, stop).await?;
    Ok(Latency::of(&driven.recorder.latencies()))
}

async fn against_nothing(
    sizes: Sizes,
    workload: Workload,
    answer_bytes: u64,
    shape: Drive,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Driven> {
    let trivial = Trivial::start(answer_bytes)?;
    let address = Address {
        socket: trivial.address,
        host: HeaderValue::from_static("trivial"),
        base: String::new(),
    };
    let target = Target { address, dialect: Dialect::Plain, token: None };
    let plan = Plan {
        workload,
        target,
        sizes,
        duplicates: 0,
        datasets: vec![0],
        files: 1,
        in_blocks: false,
        run: 0,
        contents: Contents::new(0),
    };
    let driven = driven(&Arc::new(plan), Phase::Load, shape, stop, || ()).await;
    trivial.stop()?;
    driven
}

fn random() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Whether what is measured there says nothing about a disk.
pub(crate) fn warn_of_memory(directory: &Path) {
    if machine::file_system(directory) == "tmpfs" {
        complain(format_args!(
            "{} is in memory, where syncs cost nothing; name a directory on a disk with --dir",
            directory.display()
        ));
    }
}
