//! One measurement from beginning to end: server, datasets, files, runs, figures.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::task::spawn_blocking;

use super::super::client::Client;
use super::super::complain;
use super::super::open_files::OpenFiles;
use super::checkpoints::CheckpointWatch;
use super::content::Contents;
use super::figures::{Watch, run_of};
use super::floor::{self, Floor};
use super::load::{Drive, Driven, Extent, Phase, drive};
use super::machine;
use super::numbers::{random, ratio};
use super::operation::Workload;
use super::options::Options;
use super::own_server::{Mode, OwnServer, temporary};
use super::plan::Plan;
use super::process::{Processes, is_of_this_machine};
use super::report::{Latency, Report, Run};
use super::sizes::Sizes;
use super::target::{Address, DISCARDED, SYNCED, Target, UNKNOWN};
use super::trivial::Trivial;

/// How long the load tool's own ceiling is measured, and warmed up before.
const CEILING_TIME: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// Bytes of a round trip's request at most: beyond, it would measure copying and no way.
const ROUND_TRIP_BYTES_MAX: u64 = 64 << 10;

/// Files that the load tool may have open beside connections, generously.
const OTHER_FILES: u64 = 100;

/// Connections that store what the load will need.
const STORE_CONNECTIONS: u32 = 64;

/// Measures as the options say. Dropped before its end, it ends the server that it started.
///
/// # Errors
/// The server cannot be reached or refuses, or what the load needs could not be stored.
pub(crate) async fn measure(options: &Options, workload: Workload) -> anyhow::Result<Report> {
    measure_until(options, workload, &Arc::default()).await
}

/// The same; once the flag is set nothing more is measured, what was made on the server is removed, and
/// the outcome is an error.
///
/// # Errors
/// As for [`measure`].
pub(crate) async fn measure_until(
    options: &Options,
    workload: Workload,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Report> {
    options.check(workload)?;
    expect_open_files(options, workload)?;
    // The server and its directory go when this future is dropped, and the threads heed the flag.
    let _guard = StopOnDrop(Arc::clone(stop));
    let server = match (options.own, options.sink) {
        (true, false) => "own server".to_owned(),
        (true, true) => "own server that discards uploads".to_owned(),
        (false, _) => options.server.url.to_string(),
    };
    let directory = directory(options);
    let machine = machine::describe(options.own.then_some(directory.as_path()));
    let mut report = Report::begin(machine, server, options.settings(workload));
    if let Some(answer_bytes) = answer_of_nothing(options, workload) {
        report.ceiling = ceiling(options, workload, answer_bytes, stop).await?;
    }
    unless_stopped(stop)?;
    for number in 1..=options.runs {
        if options.runs > 1 {
            complain(format_args!("run {number} of {}", options.runs));
        }
        let (run, durability) = run(options, workload, stop).await?;
        unless_stopped(stop)?;
        report.durability = durability;
        report.runs.push(run);
    }
    if options.floor {
        report.floor = Some(floor(options, &directory, stop).await?);
    }
    Ok(report)
}

/// An error once the load was interrupted.
fn unless_stopped(stop: &AtomicBool) -> anyhow::Result<()> {
    ensure!(!stop.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// That as many files may be open as a load needs.
fn expect_open_files(options: &Options, workload: Workload) -> anyhow::Result<()> {
    let connections = options.connections;
    // A server that does nothing has the other ends of its connections in this process.
    let ends = if answer_of_nothing(options, workload).is_some() { 2 } else { 1 };
    let files = ends * u64::from(connections.max(STORE_CONNECTIONS)) + OTHER_FILES;
    ensure!(
        OpenFiles::granted().hold(files),
        "{connections} connections need {files} open files, more than the system grants; raise that \
         (ulimit -n {files}) or ask for fewer connections"
    );
    Ok(())
}

/// What the machine itself can do with files of the load's size.
async fn floor(
    options: &Options,
    directory: &Path,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Floor> {
    let (bytes, connections) = (options.size.mean(), options.connections);
    let round_trip = round_trip(bytes.min(ROUND_TRIP_BYTES_MAX), stop).await?;
    // Kept here, so that it goes with this future and not only with the thread that writes to it.
    let temporary = temporary("granary-floor-", directory)?;
    let at = temporary.path().to_path_buf();
    let measured = spawn_blocking(move || floor::measure(&at, bytes, connections, round_trip));
    Ok(measured.await.context("the floor broke")??)
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
        let durability = durability.unwrap_or_else(|| UNKNOWN.to_owned());
        let target = Target::plain(&options.server.url).await?;
        let numbers = (0..u64::from(options.datasets)).collect();
        let plan = plan(options, workload, target, numbers, u64::from_le_bytes(random()?));
        let processes = found_processes(&plan);
        return Ok((load(options, plan, processes, None, stop).await?, durability));
    }
    if options.own {
        let mode = if options.sink { Mode::Sink } else { Mode::Real };
        let server = OwnServer::start(&directory(options), mode).await?;
        let durability = match mode {
            Mode::Real => SYNCED.to_owned(),
            Mode::Sink => DISCARDED.to_owned(),
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
    let id = u64::from_le_bytes(random()?);
    let prefix = format!("granary-bench-{id:016x}");
    // Once it is set, nothing is made that would have to be removed.
    unless_stopped(stop)?;
    let run = target.renewing(client, async |target: Target| {
        let left = (!options.own).then(|| LeftBehind { prefix: Some(prefix.clone()) });
        let measured = async {
            let made = client.make_datasets(&options.project, &prefix, options.datasets).await?;
            let plan = plan(options, workload, target, made, id);
            let processes = processes.or_else(|| found_processes(&plan));
            let run = load(options, plan, processes, Some(client), stop).await;
            if !options.own {
                complain(removal(run.as_ref().err()));
            }
            run
        };
        let run = measured.await;
        if let Some(left) = left {
            left.remove(client).await;
        }
        run
    });
    Ok((run.await?, durability))
}

/// What is said before a load's datasets are removed: that may take minutes, in which the load is over and
/// nothing else is told.
fn removal(failure: Option<&anyhow::Error>) -> String {
    let reason = failure.map_or_else(String::new, |failure| format!("{failure:#}; "));
    format!("{reason}what the load made is being removed")
}

/// Datasets of a load on somebody's server; whoever drops this leaves them there, and says so.
struct LeftBehind {
    /// How their names begin.
    prefix: Option<String>,
}

impl LeftBehind {
    /// Removes them.
    async fn remove(mut self, client: &Client) {
        let Some(prefix) = self.prefix.clone() else { return };
        match client.remove_datasets(&prefix).await {
            Ok(()) => self.prefix = None,
            // What was measured is told all the same.
            Err(failure) => complain(failure),
        }
    }
}

impl Drop for LeftBehind {
    fn drop(&mut self) {
        if let Some(prefix) = &self.prefix {
            complain(format_args!(
                "the load's datasets may still be there; their names begin with {prefix}: find them \
                 with granary ls, and remove each with granary rm --hard"
            ));
        }
    }
}

fn found_processes(plan: &Plan) -> Option<Processes> {
    let Address { socket, .. } = plan.target.address;
    is_of_this_machine(socket.ip()).then(|| Processes::listening(socket)).flatten()
}

fn plan(
    options: &Options,
    workload: Workload,
    target: Target,
    datasets: Vec<u64>,
    run: u64,
) -> Plan {
    Plan {
        workload,
        target,
        sizes: options.size,
        duplicates: options.duplicates,
        datasets,
        files: options.settings(workload).files,
        in_blocks: false,
        run,
        contents: Contents::new(run),
    }
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
    let checkpoints = match client {
        Some(client) => Some(CheckpointWatch::begin(client, shape.rate).await),
        None => None,
    };
    let begin = watch.clone();
    let driven = driven(&plan, Phase::Load, shape, stop, move || begin.begin()).await?;
    let watched = watch.end();
    if watched.is_lost() {
        complain("the server's process ended under the load, so nothing is said of what it took");
    }
    unless_stopped(stop)?;
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

/// Bytes of an answer of the server that does nothing; none where no ceiling is measured.
fn answer_of_nothing(options: &Options, workload: Workload) -> Option<u64> {
    if options.no_ceiling {
        return None;
    }
    match (workload, options.size) {
        (Workload::Upload, _) => Some(2),
        (Workload::Download, Sizes::Fixed(bytes)) => Some(bytes),
        // One server has one answer, and all sizes are drawn; nor does it know other answers.
        (
            Workload::Download
            | Workload::Mixed
            | Workload::Metadata
            | Workload::List
            | Workload::Retrieve
            | Workload::Copy
            | Workload::Merge
            | Workload::Archive,
            _,
        ) => None,
    }
}

/// What the load tool reaches against a server that does nothing, in requests a second.
async fn ceiling(
    options: &Options,
    workload: Workload,
    answer_bytes: u64,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Option<f64>> {
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
    if recorder.failed() > 0 {
        complain(
            "the load tool's own ceiling is not known: requests to a server that does nothing failed",
        );
        return Ok(None);
    }
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
    let trivial = Trivial::start(answer_bytes, shape.threads)?;
    let plan = Plan::of_nothing(workload, trivial.address, sizes);
    let driven = driven(&Arc::new(plan), Phase::Load, shape, stop, || ()).await;
    drop(trivial);
    driven
}

/// Says what went wrong with the requests of a run, if anything did.
pub(crate) fn complain_of_errors(run: &Run, workload: Workload) {
    for (kind, errors) in &run.errors {
        complain(format_args!("{workload}: {kind}, {} times", errors.times));
    }
}

/// Says if what is measured with this program means little.
pub(crate) fn warn_of_build() {
    if cfg!(debug_assertions) {
        complain("this is a debug build, whose figures mean little; build it with --release");
    }
}

/// Says if what is measured there tells nothing of a disk.
pub(crate) fn warn_of_memory(directory: &Path) {
    if machine::file_system(directory) == "tmpfs" {
        complain(format_args!(
            "{} is in memory, where syncs cost nothing; name a directory on a disk with --dir",
            directory.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn before_the_datasets_are_removed_it_is_said_why_the_load_came_to_nothing() {
        assert_eq!(removal(None), "what the load made is being removed");
        let failure = anyhow!("connection refused").context("given up");
        let said = removal(Some(&failure));
        assert!(said.starts_with("given up: connection refused; "));
        assert!(said.ends_with("what the load made is being removed"));
    }
}
