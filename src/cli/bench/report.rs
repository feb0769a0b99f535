//! What a measurement says, as the JSON file has it. Times are in microseconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use hdrhistogram::Histogram;
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use super::checkpoints::Checkpoints;
use super::floor::Floor;
use super::numbers::{float, median, ratio};
use super::operation::{Operation, Workload};
use super::recorder::ErrorCount;
use super::sizes::Sizes;
use super::target::UNKNOWN;

/// Version of the file's layout.
const LAYOUT: u32 = 1;

/// One measurement: the same load, once or several times.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) layout: u32,
    /// Version of the load tool.
    pub(crate) granary: String,
    pub(crate) taken_at: String,
    pub(crate) machine: Machine,
    pub(crate) server: String,
    /// What a success of this server means for the bytes.
    pub(crate) durability: String,
    pub(crate) settings: Settings,
    /// Requests a second that the load tool reaches against a server that does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ceiling: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<Floor>,
    pub(crate) runs: Vec<Run>,
}

/// Where it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: u64,
    /// Of the server's data, if the load tool started it.
    pub(crate) file_system: String,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) workload: Workload,
    pub(crate) sizes: Sizes,
    /// Of a hundred uploads so many had a content that was there already.
    pub(crate) duplicates: u8,
    pub(crate) datasets: u32,
    /// Files that each dataset had before.
    pub(crate) files: u64,
    pub(crate) connections: u32,
    pub(crate) threads: u32,
    /// Requests a second in an open loop; none in a closed one.
    pub(crate) rate: Option<f64>,
    /// The load's length, in words.
    pub(crate) extent: String,
    /// The same of what came before and was not measured; files of the first versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warm_up: Option<String>,
}

/// One run of the load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    /// Requests that succeeded.
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    /// Contents sent or received.
    pub(crate) bytes: u64,
    pub(crate) bytes_per_second: f64,
    pub(crate) errors: BTreeMap<String, ErrorCount>,
    pub(crate) latency: Latency,
    pub(crate) operations: Vec<OperationFigures>,
    pub(crate) stalls: Stalls,
    /// If the server tells of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoints: Option<Checkpoints>,
    pub(crate) client: ClientFigures,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerFigures>,
    /// Latencies of the whole run and how often each was.
    pub(crate) histogram: Vec<(f64, u64)>,
    pub(crate) slice_seconds: f64,
    pub(crate) slices: Vec<SliceFigures>,
}

/// Percentiles of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// One kind of request within a load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OperationFigures {
    pub(crate) operation: Operation,
    /// Requests that succeeded.
    pub(crate) requests: u64,
    /// Those that failed, beside those that were due and never sent; files of the first versions do not say.
    #[serde(default)]
    pub(crate) failed: Option<u64>,
    pub(crate) per_second: f64,
    pub(crate) latency: Latency,
}

/// Times in which nothing was answered although requests were under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stalls {
    pub(crate) count: u64,
    pub(crate) longest: f64,
    /// Share of all requests that were under way in one.
    pub(crate) share_of_requests: f64,
    /// Seconds since the run began, and the length, of each.
    pub(crate) each: Vec<(f64, f64)>,
}

/// What the load tool itself took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClientFigures {
    pub(crate) processor_per_request: f64,
    /// From the time at which a request was due to the time at which it was sent.
    pub(crate) sent_late_p99: f64,
}

/// What the server took, if it runs on the same machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerFigures {
    pub(crate) processor_per_request: f64,
    /// Cores that it kept busy.
    pub(crate) cores: f64,
    /// Bytes of memory at the end of the run, and at most since the process began, which may have been long
    /// before it.
    pub(crate) resident: u64,
    pub(crate) resident_peak: u64,
    /// At most at any look during the run; earlier reports have none.
    #[serde(default)]
    pub(crate) resident_most: Option<u64>,
    /// Bytes written to the disk in the run; unknown for another user's process.
    pub(crate) written: Option<u64>,
    /// Those for each byte of contents that was sent.
    pub(crate) written_per_byte: Option<f64>,
    /// Since the run began, in seconds: resident bytes and busy cores.
    pub(crate) course: Vec<(f64, u64, f64)>,
}

/// One slice of a run's time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SliceFigures {
    pub(crate) bytes: u64,
    pub(crate) errors: u64,
    /// Latencies and how often each was.
    pub(crate) histogram: Vec<(f64, u64)>,
}

impl Latency {
    /// The percentiles of a histogram of nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| float(histogram.value_at_quantile(quantile)) / 1e3;
        Self {
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: float(histogram.max()) / 1e3,
        }
    }
}

impl Run {
    /// Requests that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().map(|errors| errors.times).sum()
    }
}

impl SliceFigures {
    /// Requests that succeeded.
    pub(crate) fn requests(&self) -> u64 {
        self.histogram.iter().map(|(_, times)| times).sum()
    }
}

/// What a load tool says of itself that was built without optimisation.
const DEBUG_BUILD: &str = " (debug build)";

/// Of the load tool; one that was built without optimisation says so, as its figures mean little.
fn version() -> String {
    let debug = if cfg!(debug_assertions) { DEBUG_BUILD } else { "" };
    format!("{}{debug}", env!("CARGO_PKG_VERSION"))
}

/// What all layouts have.
#[derive(Deserialize)]
struct Layout {
    layout: u32,
}

/// The latency that this share of the requests kept below, from pairs of latency and count.
pub(crate) fn quantile(pairs: &[(f64, u64)], share: f64) -> f64 {
    let all: u64 = pairs.iter().map(|(_, times)| times).sum();
    let wanted = float(all) * share;
    let mut seen = 0;
    for (latency, times) in pairs {
        seen += times;
        if float(seen) >= wanted && seen > 0 {
            return *latency;
        }
    }
    pairs.last().map_or(0.0, |(latency, _)| *latency)
}

impl Report {
    /// A report without its runs.
    pub(crate) fn begin(machine: Machine, server: String, settings: Settings) -> Self {
        Self {
            layout: LAYOUT,
            granary: version(),
            taken_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            machine,
            server,
            durability: String::new(),
            settings,
            ceiling: None,
            floor: None,
            runs: Vec::new(),
        }
    }

    /// The middle of a figure over the runs.
    pub(crate) fn median(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        median(&self.runs.iter().map(figure).collect::<Vec<_>>())
    }

    /// Whether the load tool, and a server of its own, were built without optimisation.
    pub(crate) fn is_of_debug_build(&self) -> bool {
        self.granary.ends_with(DEBUG_BUILD)
    }

    /// Whether every request of every run succeeded.
    pub(crate) fn is_clean(&self) -> bool {
        self.runs.iter().all(|run| run.errors.is_empty())
    }

    /// What a success means for the bytes, without the particulars.
    pub(crate) fn durability_words(&self) -> &str {
        if self.durability == UNKNOWN {
            return "unknown";
        }
        self.durability.split(['(', ':']).next().unwrap_or_default().trim_end()
    }

    /// Share of the load tool's own ceiling that was reached.
    pub(crate) fn share_of_ceiling(&self) -> Option<f64> {
        self.ceiling.map(|ceiling| ratio(self.median(|run| run.per_second), ceiling))
    }

    /// Reads a report from its file.
    ///
    /// # Errors
    /// It cannot be read, is none, or of a newer layout.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let no_report = || format!("{} is no report of granary bench --json", path.display());
        let Layout { layout } = serde_json::from_slice(&text).with_context(no_report)?;
        anyhow::ensure!(
            layout <= LAYOUT,
            "{} was written by a newer granary; compare with that one",
            path.display()
        );
        let report: Self = serde_json::from_slice(&text).with_context(no_report)?;
        anyhow::ensure!(!report.runs.is_empty(), "{} holds no run", path.display());
        Ok(report)
    }

    /// Writes the report to a file, in place of what was there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        replace(path, &serde_json::to_vec(self)?)
    }
}

/// That a file can be written there, as far as that is known before it is; nothing is made.
///
/// # Errors
/// It cannot.
pub(crate) fn expect_writable(path: &Path) -> anyhow::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    let at = if path.exists() { path } else { directory };
    let writable = access(at, Access::WRITE_OK).map_err(std::io::Error::from);
    writable.with_context(|| format!("cannot write {}", path.display()))?;
    anyhow::ensure!(!path.is_dir(), "cannot write {}: it is a directory", path.display());
    Ok(())
}

/// Writes a file that replaces what has its name.
///
/// # Errors
/// The file cannot be written.
#[expect(clippy::disallowed_methods, reason = "a report can be made again; it is no store")]
pub(crate) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_a_newer_layout_is_named_as_that_whatever_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        for (text, said) in [
            (r#"{"layout": 1000, "runs": "elsewhere"}"#, "newer granary"),
            (r#"{"layout": 1, "runs": "elsewhere"}"#, "no report"),
            ("[]", "no report"),
        ] {
            replace(&path, text.as_bytes()).unwrap();
            let error = Report::load(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_a_success_means_is_said_in_few_words_that_do_not_say_the_reverse() {
        let mut report = super::super::compare::tests::report(Vec::new());
        for (durability, words) in [
            (super::super::target::SYNCED, "synced"),
            (UNKNOWN, "unknown"),
            (super::super::target::DISCARDED, "none"),
            ("not synced", "not synced"),
            ("not synced: it is nginx", "not synced"),
        ] {
            durability.clone_into(&mut report.durability);
            assert_eq!(report.durability_words(), words);
        }
    }

    #[test]
    fn a_quantile_is_the_latency_that_this_share_kept_below() {
        let pairs = [(1.0, 50), (2.0, 40), (10.0, 9), (100.0, 1)];
        for (share, wanted) in [(0.5, 1.0), (0.51, 2.0), (0.9, 2.0), (0.99, 10.0), (0.999, 100.0)] {
            assert!((quantile(&pairs, share) - wanted).abs() < 1e-9, "{share}");
        }
        assert!(quantile(&[], 0.5).abs() < 1e-9);
    }
}
