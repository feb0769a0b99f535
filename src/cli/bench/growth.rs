//! `granary bench growth`: what an upload, a download, memory and opening cost as more is stored.

mod fill;

mod picture;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;

use super::super::client::Client;
use super::super::{Ending, complain, say};
use super::checkpoints::CheckpointWatch;
use super::content::Contents;
use super::figures::{Watch, run_of};
use super::load::{Drive, Extent, Phase};
use super::machine;
use super::measure::{complain_of_errors, driven, warn_of_build, warn_of_memory};
use super::operation::Workload;
use super::own_server::{OwnServer, temporary};
use super::plan::Plan;
use super::process::Processes;
use super::report::{Run, replace};
use super::sizes::{Sizes, shown_bytes};
use super::table::grouped;
use super::target::Target;
use fill::Filled;

/// Files that are stored when the figures are taken.
const STEPS: [u64; 4] = [1_000, 100_000, 1_000_000, 10_000_000];

/// Bytes of a file that is uploaded.
const UPLOADED_BYTES: u64 = 20 << 10;

/// Connections of the load.
const CONNECTIONS: u32 = 64;

/// Measure what uploads, downloads, memory and opening cost with 1,000, 100,000, 1,000,000 and
/// 10,000,000 files stored.
///
/// A server of the load's own is filled with small files of contents that differ, ten thousand a
/// dataset, and opened anew at each step. Then small files are fetched at random from everything that
/// is stored, and files of 20 KiB added to a fresh dataset.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory for the data, on the disk in question; that for temporary files without it.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the data in this directory, and go on from what is stored there already: filling takes
    /// longer than measuring. Steps of fewer files are left out then.
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    keep: Option<PathBuf>,
    /// The first step that is measured, in files stored.
    #[arg(long, value_name = "FILES", default_value_t = 1_000)]
    from: u64,
    /// The last step that is measured, in files stored. Ten million take some 10 GB.
    #[arg(long, value_name = "FILES", default_value_t = 1_000_000)]
    to: u64,
    /// Seconds of each load.
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Write the plots to this directory, as SVG.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

/// What was measured with so many files stored.
#[derive(Debug)]
struct Step {
    files: u64,
    /// From the start of the process until it listened.
    opened: Duration,
    /// Bytes resident when it listened, and at most afterwards.
    resident: u64,
    resident_peak: u64,
    upload: Run,
    download: Run,
}

/// Runs the command.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Ending> {
    let wanted = wanted(options)?;
    let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let temporary = temporary("granary-bench-", &parent)?;
    let directory = options.keep.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    if let Some(at) = &options.svg {
        std::fs::create_dir_all(at).with_context(|| format!("cannot make {}", at.display()))?;
    }
    warn_of_memory(&directory);
    warn_of_build();
    say(machine::line(&directory))?;
    say(HEADING)?;
    let mut steps = Vec::new();
    for files in wanted {
        let Some(step) = measured(&directory, files, options.seconds).await? else {
            continue;
        };
        say(line(&step))?;
        steps.push(step);
    }
    if let Some(at) = options.svg.as_ref().filter(|_| !steps.is_empty()) {
        for (name, picture) in picture::all(&steps) {
            replace(&at.join(name), picture.as_bytes())?;
        }
    }
    let is_clean = steps.iter().all(|step| step.upload.failed() + step.download.failed() == 0);
    if is_clean && !steps.is_empty() {
        return Ok(Ending::Complete);
    }
    complain("not all was measured as it should be, as is said above");
    Ok(Ending::Incomplete)
}

/// The steps that are asked for.
fn wanted(options: &Options) -> anyhow::Result<Vec<u64>> {
    let mut steps = STEPS.to_vec();
    steps.retain(|files| (options.from..=options.to).contains(files));
    ensure!(
        !steps.is_empty(),
        "no step lies between --from {} and --to {}; they are {}",
        options.from,
        options.to,
        STEPS.map(grouped).join(", ")
    );
    Ok(steps)
}

/// Fills a server up to so many files, opens it anew, and takes the figures; none if more is stored
/// there already.
async fn measured(directory: &Path, files: u64, seconds: u32) -> anyhow::Result<Option<Step>> {
    let server = OwnServer::on(directory).await?;
    let stored = fill::stored(server.client()).await?;
    if stored > files {
        let (stored, files) = (grouped(stored), grouped(files));
        complain(format_args!("{stored} files are stored already, so {files} are not measured"));
        server.stop().await?;
        return Ok(None);
    }
    // One may be left of a run that was interrupted or failed.
    remove_uploaded(server.client()).await?;
    fill::up_to(server.client(), files).await?;
    fill::settled(&Processes::one(server.process())).await;
    server.stop().await?;

    let begun = Instant::now();
    let server = OwnServer::on(directory).await?;
    let opened = begun.elapsed();
    let processes = Processes::one(server.process());
    let resident = processes.usage().map_or(0, |usage| usage.resident);

    let client = server.client();
    let filled = Filled::find(client, files).await?;
    let target = Target::api(client).await?;
    let (upload, download) = target
        .renewing(client, async |target: Target| {
            // First: what is fetched is cached by then as it is in a server that has run for a while.
            let download =
                load(of_stored(target.clone(), filled), &processes, client, seconds).await?;
            let fresh = client.make_datasets("default", UPLOADED, 1).await?;
            let upload = load(of_new(target, fresh), &processes, client, seconds).await?;
            Ok((upload, download))
        })
        .await?;
    let resident_peak = processes.usage().map_or(0, |usage| usage.resident_peak);
    remove_uploaded(client).await?;
    server.stop().await?;
    Ok(Some(Step { files, opened, resident, resident_peak, upload, download }))
}

/// How the names of the datasets begin that uploads are measured with.
const UPLOADED: &str = "granary-growth-uploaded";

async fn remove_uploaded(client: &Client) -> anyhow::Result<()> {
    client.remove_datasets(UPLOADED).await.context("cannot remove the load's dataset")
}

fn of_stored(target: Target, filled: Filled) -> Plan {
    Plan {
        workload: Workload::Download,
        target,
        sizes: Sizes::Fixed(fill::FILE_BYTES),
        duplicates: 0,
        datasets: filled.datasets,
        files: filled.files_each,
        in_blocks: true,
        run: 0,
        contents: Contents::new(0),
    }
}

fn of_new(target: Target, datasets: Vec<u64>) -> Plan {
    // What an earlier run left of its contents must not be known to this one.
    let run = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let run = run.map_or(0, |time| time.subsec_nanos().into());
    Plan {
        workload: Workload::Upload,
        target,
        sizes: Sizes::Fixed(UPLOADED_BYTES),
        duplicates: 0,
        datasets,
        files: 0,
        in_blocks: false,
        run,
        contents: Contents::new(run),
    }
}

async fn load(
    plan: Plan,
    processes: &Processes,
    client: &Client,
    seconds: u32,
) -> anyhow::Result<Run> {
    let workload = plan.workload;
    let shape = Drive {
        connections: CONNECTIONS,
        threads: 1,
        rate: None,
        warm_up: Extent::Time(Duration::from_secs(1)),
        measured: Extent::Time(Duration::from_secs(seconds.into())),
    };
    let watch = Watch::new(Some(processes.clone()));
    let checkpoints = CheckpointWatch::begin(client, None).await;
    let begin = watch.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let driven = driven(&Arc::new(plan), Phase::Load, shape, &stop, move || begin.begin()).await?;
    let run = run_of(&driven, &watch.end(), checkpoints.end(&driven.recorder).await, workload);
    complain_of_errors(&run, workload);
    Ok(run)
}

const HEADING: &str = "files stored   opened   resident   at most   upload/s  p99 ms  us of a \
    processor  stop ms   get/s  p99 ms  us of a processor";

fn line(step: &Step) -> String {
    let processor =
        |run: &Run| run.server.as_ref().map_or(0.0, |server| server.processor_per_request);
    let checkpoints = step.upload.checkpoints.as_ref();
    let stopped = checkpoints.filter(|found| found.count > 0);
    let stopped =
        stopped.map_or_else(|| "-".to_owned(), |found| format!("{:.1}", found.stop_longest / 1e3));
    format!(
        "{:>12}  {:>6.2} s {:>10} {:>9}   {:>8.0} {:>7.1}  {:>17.1}  {:>7} {:>7.0} {:>7.1}  {:>17.1}",
        grouped(step.files),
        step.opened.as_secs_f64(),
        shown_bytes(step.resident),
        shown_bytes(step.resident_peak),
        step.upload.per_second,
        step.upload.latency.p99 / 1e3,
        processor(&step.upload),
        stopped,
        step.download.per_second,
        step.download.latency.p99 / 1e3,
        processor(&step.download),
    )
}
