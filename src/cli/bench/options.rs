//! What can be typed behind `granary bench WORKLOAD`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use super::super::ServerOptions;
use super::load::{Drive, Extent};
use super::operation::Workload;
use super::report::Settings;
use super::sizes::Sizes;

/// Connections at most; more than a server takes at once.
const CONNECTIONS_MAX: u32 = 16_384;

/// Datasets at most; each is made by a request of its own.
const DATASETS_MAX: u32 = 10_000;

/// Threads at most.
const THREADS_MAX: u32 = 64;

/// Runs at most.
const RUNS_MAX: u32 = 100;

/// Files in each dataset where the load needs some and nothing else was asked for.
const FILES_DEFAULT: u64 = 1_000;

/// A load.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed")]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// Start a server for the load alone, on a temporary directory; both go away with the load. An
    /// address, as `GRANARY_URL` may give one to all commands, is not heeded then.
    #[arg(long = "self", conflicts_with = "plain")]
    pub(crate) own: bool,
    /// With --self: the server authenticates and permits as ever, and then discards what is
    /// uploaded. The difference is what storing costs. For uploads only.
    #[arg(long, requires = "own")]
    pub(crate) sink: bool,
    /// The server is no granary: PUT and GET below the URL, as `WebDAV` servers take them. For
    /// uploads and downloads; what was sent stays there.
    #[arg(long)]
    pub(crate) plain: bool,
    /// What a success of the server means for the bytes, as the report will say; for servers of
    /// which that is not known.
    #[arg(long, value_name = "TEXT")]
    pub(crate) durability: Option<String>,
    /// Directory for the data of --self and for measuring the floor; on the disk in question.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Name of the project that gets the datasets of the load, which are removed at the end.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) project: String,
    /// Bytes of a file (20480, 20K, 64M, 4G), or a set of images whose sizes are drawn from:
    /// imagenet, coco.
    #[arg(long, value_name = "SIZE", default_value = "20K")]
    pub(crate) size: Sizes,
    /// Of a hundred uploads so many have a content that the server knows.
    #[arg(long, value_name = "PERCENT", default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) duplicates: u8,
    /// Datasets over which the load is spread.
    #[arg(long, value_name = "NUMBER", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(DATASETS_MAX)))]
    pub(crate) datasets: u32,
    /// Files in each dataset before the load begins; 1000 where the load needs some.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) files: Option<u64>,
    /// Connections; in a closed loop each sends its next request when it has the last answer.
    #[arg(long, short, value_name = "NUMBER", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(crate) connections: u32,
    /// Requests a second, due at even times (an open loop); latency counts from when a request
    /// was due, whether or not the server was ready for it.
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Seconds that are measured.
    #[arg(long, short, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Seconds before that, which are not measured.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// Measure so many requests instead of a time; a tenth as many before are not measured.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["duration", "warmup"],
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,
    /// Runs, one after the other; with --self each has a server of its own.
    #[arg(long, value_name = "NUMBER", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(RUNS_MAX)))]
    pub(crate) runs: u32,
    /// Threads of the load tool.
    #[arg(long, value_name = "NUMBER", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(THREADS_MAX)))]
    pub(crate) threads: u32,
    /// Do not measure what the load tool itself reaches at most.
    #[arg(long)]
    pub(crate) no_ceiling: bool,
    /// Measure what the disk does at most, in the same minutes.
    #[arg(long)]
    pub(crate) floor: bool,
    /// Write the report to this file as JSON, for `granary bench compare`.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report to this file as one HTML page with plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.trim_end_matches('s').parse().ok();
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| *time <= Duration::from_hours(24 * 7))
        .ok_or_else(|| "a number of seconds is expected, such as 10 or 0.5".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e7).contains(rate));
    rate.ok_or_else(|| "a number of requests a second is expected, such as 5000".to_owned())
}

impl Options {
    /// Whether what was asked for goes together.
    ///
    /// # Errors
    /// It does not; says what does.
    pub(crate) fn check(&self, workload: Workload) -> anyhow::Result<()> {
        let adds = matches!(workload, Workload::Upload | Workload::Mixed);
        let simple = matches!(workload, Workload::Upload | Workload::Download);
        ensure!(
            !self.plain || simple,
            "--plain knows uploads and downloads only; leave it out for {workload}"
        );
        ensure!(
            !self.sink
                || (workload == Workload::Upload && self.files.is_none_or(|files| files == 0)),
            "--sink discards what is uploaded, so it goes with upload alone, without --files"
        );
        ensure!(
            self.duplicates == 0 || (adds && !self.sink),
            "--duplicates says what contents are added, so it goes with upload and mixed, without \
             --sink"
        );
        ensure!(
            self.durability.is_none() || !self.own,
            "what a success means is known of --self; leave --durability out"
        );
        ensure!(
            workload != Workload::Merge || self.datasets != 1,
            "a merge needs two datasets; say --datasets 2"
        );
        Ok(())
    }

    /// Files in each dataset before the load begins.
    fn files_before(&self, workload: Workload) -> u64 {
        let needed = workload.needs_files() || self.duplicates > 0;
        match self.files {
            Some(files) if needed => files.max(1),
            Some(files) => files,
            None if needed => FILES_DEFAULT,
            None => 0,
        }
    }

    /// How the load is sent.
    pub(crate) fn drive(&self) -> Drive {
        let (warm_up, measured) = match self.requests {
            Some(requests) => (Extent::Requests(requests.div_ceil(10)), Extent::Requests(requests)),
            None => (Extent::Time(self.warmup), Extent::Time(self.duration)),
        };
        let threads = self.threads.min(self.connections);
        Drive { connections: self.connections, threads, rate: self.rate, warm_up, measured }
    }

    /// What was asked for, as the report says it.
    pub(crate) fn settings(&self, workload: Workload) -> Settings {
        let said = |extent| match extent {
            Extent::Requests(requests) => format!("{requests} requests"),
            Extent::Time(time) => format!("{} s", time.as_secs_f64()),
        };
        let Drive { threads, warm_up, measured, .. } = self.drive();
        let (warm_up, extent) = (said(warm_up), said(measured));
        Settings {
            workload,
            sizes: self.size,
            duplicates: self.duplicates,
            datasets: self.datasets,
            files: self.files_before(workload),
            connections: self.connections,
            threads,
            rate: self.rate,
            extent,
            warm_up: Some(warm_up),
        }
    }
}
