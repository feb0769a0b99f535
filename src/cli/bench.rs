//! `granary bench`: loads a server and says how fast it is, what it took, and what changed.
//!
//! Part of the product, since whoever runs a server should be able to repeat what is claimed of
//! it. `docs/benchmarking.md` says what each figure means.

mod checkpoints;

mod compare;

mod connection;

mod content;

mod figures;

mod floor;

mod growth;

mod html;

mod life;

mod load;

mod machine;

mod measure;

mod nginx;

mod numbers;

mod operation;

mod options;

mod own_server;

mod pacer;

mod plan;

mod process;

mod recorder;

mod report;

mod silence;

mod sizes;

mod statistics;

mod suite;

mod table;

mod target;

mod trivial;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use super::{Ending, complain, say, serve};
use operation::Workload;
use report::Report;

/// Load a server and measure it.
///
/// Against a server by its URL, with the login of the other commands, or with `--self` against one
/// that is started for it on a temporary directory. The datasets of a load are removed at its end.
/// Of each load it tells throughput, latencies, errors, and, on the same machine, what the server
/// took. Every figure says what a success means for the bytes: of a granary that they are synced.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add files.
    Upload(options::Options),
    /// Fetch files in random order.
    Download(options::Options),
    /// Of 100 requests 50 fetch a file, 30 add one, 10 read and 5 set metadata, 5 list datasets.
    Mixed(options::Options),
    /// Set and read metadata in turn.
    Metadata(options::Options),
    /// List datasets, 100 a page.
    List(options::Options),
    /// Fetch the fields of datasets with the names of all their files.
    Retrieve(options::Options),
    /// Copy datasets.
    Copy(options::Options),
    /// Merge a dataset into a copy of another one, and delete the result for good.
    Merge(options::Options),
    /// Fetch datasets as zip archives.
    Archive(options::Options),
    // Described by the doc comment of its options.
    Compare(compare::Options),
    Suite(suite::Options),
    Growth(growth::Options),
    #[command(hide = true)]
    SinkServer(serve::Options),
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    match options.command {
        Command::Upload(options) => load(&options, Workload::Upload).await,
        Command::Download(options) => load(&options, Workload::Download).await,
        Command::Mixed(options) => load(&options, Workload::Mixed).await,
        Command::Metadata(options) => load(&options, Workload::Metadata).await,
        Command::List(options) => load(&options, Workload::List).await,
        Command::Retrieve(options) => load(&options, Workload::Retrieve).await,
        Command::Copy(options) => load(&options, Workload::Copy).await,
        Command::Merge(options) => load(&options, Workload::Merge).await,
        Command::Archive(options) => load(&options, Workload::Archive).await,
        Command::Compare(options) => compare::run(&options),
        Command::Suite(options) => Box::pin(unless_interrupted(suite::run(&options))).await,
        Command::Growth(options) => Box::pin(unless_interrupted(growth::run(&options))).await,
        Command::SinkServer(options) => serve::run_with(options, serve::Uploads::Discarded).await,
    }
}

async fn load(options: &options::Options, workload: Workload) -> anyhow::Result<Ending> {
    // Found out before the load, and not when its figures have nowhere to go.
    for path in [&options.json, &options.html].into_iter().flatten() {
        report::expect_writable(path)?;
    }
    if options.own || options.floor {
        let directory = options.dir.clone().unwrap_or_else(std::env::temp_dir);
        measure::warn_of_memory(&directory);
    }
    measure::warn_of_build();
    let report = Box::pin(measured(options, workload)).await?;
    say(table::table(&report).trim_end())?;
    write_files(&report, options)?;
    if report.is_clean() {
        return Ok(Ending::Complete);
    }
    complain("some requests failed, as the table says");
    Ok(Ending::Incomplete)
}

fn write_files(report: &Report, options: &options::Options) -> anyhow::Result<()> {
    if let Some(path) = &options.json {
        report.save(path)?;
    }
    if let Some(path) = &options.html {
        report::replace(path, html::page(report).as_bytes())?;
    }
    Ok(())
}

/// Measures; an interrupt ends that, and what was made on somebody's server is removed, unless there is a
/// second one. What was put on a plain server stays there.
async fn measured(options: &options::Options, workload: Workload) -> anyhow::Result<Report> {
    if options.own {
        return unless_interrupted(measure::measure(options, workload)).await;
    }
    let stop = Arc::default();
    let mut work = pin!(measure::measure_until(options, workload, &stop));
    tokio::select! {
        done = work.as_mut() => return done,
        heard = interrupted() => heard?,
    }
    stop.store(true, Ordering::Relaxed);
    complain("interrupted");
    tokio::select! {
        // Either way nothing is reported.
        _ = work => {}
        heard = interrupted() => heard?,
    }
    bail!(INTERRUPTED)
}

/// Does some work; an interrupt drops it, and with it the server that it may have started.
async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        done = work => return done,
        heard = interrupted() => heard?,
    }
    bail!(INTERRUPTED)
}

const INTERRUPTED: &str = "interrupted; nothing of the load was reported";

/// Waits for a signal to end. The end of a terminal is one, unless whoever began this ignores it, as
/// `nohup` does.
async fn interrupted() -> anyhow::Result<()> {
    let heed = |kind| signal(kind).context("cannot heed signals");
    let mut hang_up = if ignores_hangups() { None } else { Some(heed(SignalKind::hangup())?) };
    let terminal_ended = async {
        match &mut hang_up {
            Some(hang_up) => hang_up.recv().await,
            None => std::future::pending().await,
        }
    };
    let (mut terminate, mut interrupt) =
        (heed(SignalKind::terminate())?, heed(SignalKind::interrupt())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = terminal_ended => {}
    }
    Ok(())
}

/// Whether this process ignores SIGHUP, as the kernel says.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok());
    // The lowest bit is signal 1.
    ignored.is_some_and(|signals| signals & 1 != 0)
}
