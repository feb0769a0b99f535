//! `granary bench compare`: what changed from one report to another, and whether it is noise.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter, Write};
use std::path::PathBuf;

use clap::Args;

use super::super::{Ending, say};
use super::numbers::{median, ratio};
use super::report::{Report, Run, ServerFigures};
use super::sizes::shown_bytes;
use super::statistics::{Interval, RUNS_MIN, bootstrap, welch};
use super::table::{grouped, heading, millis, rate};

/// Quantiles that are compared, beside throughput.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Say what changed between two reports, and whether it is more than noise.
///
/// With three runs or more in both files (`--runs 3`) a run is one observation: Welch's t test of
/// the logarithms. With fewer the seconds of the runs are drawn again (a block bootstrap), which
/// sees nothing of what differs from run to run. What holds 1 in its 95 percent interval is noise.
/// A and B are medians of the runs; B/A is the ratio of what is tested: of the geometric means, or of the
/// draws' middle.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The report before.
    before: PathBuf,
    /// The report after.
    after: PathBuf,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> anyhow::Result<Ending> {
    let (before, after) = (Report::load(&options.before)?, Report::load(&options.after)?);
    say(compared(&before, &after).trim_end())?;
    Ok(Ending::Complete)
}

/// One figure of both reports.
struct Figure {
    name: &'static str,
    more_is_better: bool,
    shown: fn(f64) -> String,
    of: fn(&Run) -> Option<f64>,
}

const FIGURES: [Figure; 7] = [
    Figure {
        name: "requests per s",
        more_is_better: true,
        shown: rate,
        of: |run| Some(run.per_second),
    },
    Figure {
        name: "p50 ms",
        more_is_better: false,
        shown: millis,
        of: |run| Some(run.latency.p50),
    },
    Figure {
        name: "p90 ms",
        more_is_better: false,
        shown: millis,
        of: |run| Some(run.latency.p90),
    },
    Figure {
        name: "p99 ms",
        more_is_better: false,
        shown: millis,
        of: |run| Some(run.latency.p99),
    },
    Figure {
        name: "server us/request",
        more_is_better: false,
        shown: |micros| format!("{micros:.1}"),
        of: |run| server(run).map(|server| server.processor_per_request),
    },
    Figure {
        name: "server memory",
        more_is_better: false,
        shown: |bytes| shown_bytes(super::numbers::whole(bytes)),
        of: |run| server(run)?.resident_most.map(super::numbers::float),
    },
    Figure {
        name: "written per byte",
        more_is_better: false,
        shown: |bytes| format!("{bytes:.3}"),
        of: |run| server(run).and_then(|server| server.written_per_byte),
    },
];

fn server(run: &Run) -> Option<&ServerFigures> {
    run.server.as_ref()
}

/// The comparison as text.
pub(crate) fn compared(before: &Report, after: &Report) -> String {
    let mut text = String::new();
    for (name, report) in [("A", before), ("B", after)] {
        let runs = report.runs.len();
        let (server, heading) = (&report.server, heading(report));
        let line = format!("{name}: {server}: {heading} ({})", report.durability_words());
        // A string takes whatever is written to it.
        writeln!(text, "{line}, {runs} run{}", if runs == 1 { "" } else { "s" }).ok();
    }
    for (name, report) in [("A", before), ("B", after)] {
        if !report.is_clean() {
            writeln!(text, "{name}: {}", failures(report)).ok();
        }
    }
    for difference in differences(before, after) {
        writeln!(text, "not the same: {difference}").ok();
    }
    let method = Method::of(before, after);
    writeln!(text, "{method}\n").ok();
    writeln!(text, "{:<18} {:>12} {:>12} {:>7}  {:<16} ", "", "A", "B", "B/A", "95% interval").ok();
    for (number, figure) in FIGURES.iter().enumerate() {
        let figures = |report: &Report| report.runs.iter().filter_map(figure.of).collect();
        let (first, second): (Vec<f64>, Vec<f64>) = (figures(before), figures(after));
        if first.is_empty() || second.is_empty() {
            continue;
        }
        let interval = method.interval(number, &first, &second);
        let (first, second) = (median(&first), median(&second));
        writeln!(
            text,
            "{:<18} {:>12} {:>12} {:>7.3}  {:<16} {}",
            figure.name,
            (figure.shown)(first),
            (figure.shown)(second),
            // The medians may lie otherwise than what is tested, and outside of its interval.
            interval.map_or_else(|| ratio(second, first), |found| found.middle),
            interval
                .map_or_else(String::new, |found| format!("{:.3} to {:.3}", found.low, found.high)),
            verdict(interval, figure.more_is_better)
        )
        .ok();
    }
    text
}

/// Which requests of a report failed.
fn failures(report: &Report) -> String {
    let failed: u64 = report.runs.iter().map(Run::failed).sum();
    let all = failed + report.runs.iter().map(|run| run.requests).sum::<u64>();
    let kinds: BTreeSet<&str> =
        report.runs.iter().flat_map(|run| run.errors.keys().map(String::as_str)).collect();
    let kinds = Vec::from_iter(kinds).join(", ");
    let (failed, all) = (grouped(failed), grouped(all));
    format!(
        "{failed} of {all} requests failed ({kinds}); the figures are of the others, so nothing is tested"
    )
}

/// How a change is told from noise.
enum Method {
    /// Welch's t test of the runs.
    Runs,
    /// A block bootstrap of the seconds; the intervals of the first figures.
    Seconds(Vec<Interval>),
    /// Some requests failed: what is left of them tells of other requests.
    Failed,
    TooShort,
}

impl Method {
    fn of(before: &Report, after: &Report) -> Self {
        if !before.is_clean() || !after.is_clean() {
            return Self::Failed;
        }
        if before.runs.len() >= RUNS_MIN && after.runs.len() >= RUNS_MIN {
            return Self::Runs;
        }
        bootstrap(&before.runs, &after.runs, &QUANTILES).map_or(Self::TooShort, Self::Seconds)
    }

    /// The interval of a figure, given by its place and by what the runs had of it.
    fn interval(&self, place: usize, before: &[f64], after: &[f64]) -> Option<Interval> {
        match self {
            Self::Runs => welch(before, after),
            Self::Seconds(intervals) => intervals.get(place).copied(),
            Self::Failed | Self::TooShort => None,
        }
    }
}

impl Display for Method {
    fn fmt(&self, text: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs => text.write_str("tested by Welch's t test of the runs"),
            Self::Seconds(_) => write!(
                text,
                "tested by a block bootstrap of the seconds; what differs from run to run is not \
                 seen (measure with --runs {RUNS_MIN} or more)"
            ),
            Self::Failed => text.write_str("not tested: requests failed"),
            Self::TooShort => write!(
                text,
                "not tested: too short; measure for longer, or with --runs {RUNS_MIN} or more"
            ),
        }
    }
}

fn verdict(interval: Option<Interval>, more_is_better: bool) -> &'static str {
    match interval {
        None => "not tested",
        Some(interval) if interval.holds_one() => "noise",
        Some(interval) if (interval.low > 1.0) == more_is_better => "better",
        Some(_) => "worse",
    }
}

/// What besides the server may explain a change.
fn differences(before: &Report, after: &Report) -> Vec<String> {
    let mut found = Vec::new();
    // The load's own heading tells both sides.
    if before.settings != after.settings && heading(before) != heading(after) {
        found.push("the loads".to_owned());
    }
    let (first, second) = (&before.settings, &after.settings);
    if first.threads != second.threads {
        found.push("the threads of the load tool".to_owned());
    }
    if let (Some(first), Some(second)) = (&first.warm_up, &second.warm_up)
        && first != second
    {
        found.push(format!("what came before and was not measured ({first}; {second})"));
    }
    if before.is_of_debug_build() != after.is_of_debug_build() {
        let (first, second) = (&before.granary, &after.granary);
        found.push(format!("how the program was built ({first}; {second})"));
    }
    if before.machine != after.machine {
        found.push(format!("the machines ({:?} and {:?})", before.machine, after.machine));
    }
    if before.durability != after.durability {
        let (first, second) = (&before.durability, &after.durability);
        found.push(format!("what a success means for the bytes ({first}; {second})"));
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::super::numbers::{count, float, fraction};
    use super::super::operation::Workload;
    use super::super::recorder::ErrorCount;
    use super::super::report::{ClientFigures, Latency, Machine, Settings, SliceFigures, Stalls};
    use super::super::sizes::Sizes;
    use super::*;

    /// A run of slices of a quarter of a second with about so many requests each.
    pub(crate) fn run(per_slice: u64, slices: u64) -> Run {
        let slices: Vec<SliceFigures> = (0..slices)
            .map(|number| {
                let jitter =
                    super::super::numbers::whole(fraction(number) * float(per_slice) / 10.0);
                SliceFigures {
                    bytes: 0,
                    errors: 0,
                    histogram: vec![(1_000.0, per_slice), (2_000.0 + float(number), jitter)],
                }
            })
            .collect();
        let requests: u64 = slices.iter().map(SliceFigures::requests).sum();
        let seconds = float(count(slices.len())) / 4.0;
        Run {
            seconds,
            requests,
            per_second: float(requests) / seconds,
            bytes: 0,
            bytes_per_second: 0.0,
            errors: BTreeMap::new(),
            latency: Latency { p50: 1_000.0, p90: 2_000.0, p99: 2_100.0, ..Latency::default() },
            operations: Vec::new(),
            stalls: Stalls { count: 0, longest: 0.0, share_of_requests: 0.0, each: Vec::new() },
            checkpoints: None,
            client: ClientFigures { processor_per_request: 10.0, sent_late_p99: 0.0 },
            server: None,
            histogram: Vec::new(),
            slice_seconds: 0.25,
            slices,
        }
    }

    pub(crate) fn report(runs: Vec<Run>) -> Report {
        let machine = Machine {
            kernel: "Linux 6".to_owned(),
            processor: "a <processor> & more".to_owned(),
            cores: 2,
            file_system: "ext4".to_owned(),
        };
        let settings = Settings {
            workload: Workload::Upload,
            sizes: Sizes::Fixed(20_480),
            duplicates: 0,
            datasets: 1,
            files: 0,
            connections: 64,
            threads: 1,
            rate: None,
            extent: "10 s".to_owned(),
            warm_up: Some("2 s".to_owned()),
        };
        let mut report = Report::begin(machine, "own server".to_owned(), settings);
        report.durability = "synced (each)".to_owned();
        report.runs = runs;
        report
    }

    fn verdict_of<'a>(text: &'a str, figure: &str) -> &'a str {
        let line = text.lines().find(|line| line.starts_with(figure)).unwrap();
        line.split_whitespace().last().unwrap()
    }

    #[test]
    fn a_change_that_is_none_is_called_noise() {
        let one = || report(vec![run(100, 40)]);
        let text = compared(&one(), &one());
        for figure in ["requests per s", "p50 ms", "p99 ms"] {
            assert_eq!(verdict_of(&text, figure), "noise", "{text}");
        }
        assert!(text.contains("block bootstrap"), "{text}");
    }

    #[test]
    fn a_faster_server_is_better_and_a_slower_one_worse() {
        let (slow, fast) = (report(vec![run(100, 40)]), report(vec![run(130, 40)]));
        assert_eq!(verdict_of(&compared(&slow, &fast), "requests per s"), "better");
        assert_eq!(verdict_of(&compared(&fast, &slow), "requests per s"), "worse");
    }

    #[test]
    fn with_three_runs_each_the_runs_are_compared() {
        let three = |speeds: [u64; 3]| report(speeds.map(|speed| run(speed, 4)).to_vec());
        let text = compared(&three([100, 104, 98]), &three([150, 154, 148]));
        assert!(text.contains("Welch"), "{text}");
        assert_eq!(verdict_of(&text, "requests per s"), "better", "{text}");
        let text = compared(&three([100, 150, 70]), &three([110, 160, 80]));
        assert_eq!(verdict_of(&text, "requests per s"), "noise", "{text}");
    }

    #[test]
    fn a_ratio_lies_within_its_interval_wherever_the_medians_lie() {
        let three = |speeds: [u64; 3]| report(speeds.map(|speed| run(speed, 4)).to_vec());
        // The medians say 1.5, the means 1.0.
        let text = compared(&three([100, 100, 150]), &three([99, 150, 150]));
        let line = text.lines().find(|line| line.starts_with("requests per s")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let figure = |place: usize| words[place].parse::<f64>().unwrap();
        let (ratio, low, high) = (figure(5), figure(6), figure(8));
        assert!(low < ratio && ratio < high && ratio < 1.2, "{line}");
    }

    #[test]
    fn the_servers_are_named() {
        let before = report(vec![run(100, 40)]);
        let mut after = before.clone();
        after.server = "http://localhost:8080/".to_owned();
        let text = compared(&before, &after);
        assert!(text.contains("A: own server: upload"), "{text}");
        assert!(text.contains("B: http://localhost:8080/: upload"), "{text}");
    }

    #[test]
    fn what_else_differs_is_told() {
        let before = report(vec![run(100, 40)]);
        let mut after = before.clone();
        after.durability = "none (discarded)".to_owned();
        after.settings.connections = 16;
        after.machine.cores = 8;
        after.settings.threads = 2;
        after.settings.warm_up = Some("0 s".to_owned());
        let text = compared(&before, &after);
        assert_eq!(text.matches("not the same").count(), 5, "{text}");
        after.granary = "0.1.0".to_owned();
        let mut debug = after.clone();
        debug.granary.push_str(" (debug build)");
        assert!(compared(&after, &debug).contains("how the program was built"));
        after.settings = Settings { warm_up: None, ..before.settings.clone() };
        assert!(
            !compared(&before, &after).contains("not measured ("),
            "an older file says nothing"
        );
        assert_eq!(compared(&before, &before).matches("not the same").count(), 0);
    }

    #[test]
    fn where_requests_failed_nothing_is_called_better() {
        let (slow, mut fast) = (report(vec![run(100, 40)]), report(vec![run(130, 40)]));
        let busy = ErrorCount { times: 7, example: String::new() };
        fast.runs[0].errors.insert("status 503".to_owned(), busy);
        let text = compared(&slow, &fast);
        assert!(text.contains("B: 7 of ") && text.contains("(status 503)"), "{text}");
        assert!(!text.contains("A: 7") && !text.contains("better"), "{text}");
        for figure in ["requests per s", "p50 ms", "p99 ms"] {
            assert_eq!(verdict_of(&text, figure), "tested", "{text}");
        }
        let three =
            |report: &Report| Report { runs: vec![report.runs[0].clone(); 3], ..report.clone() };
        for text in [text, compared(&three(&slow), &three(&fast))] {
            assert!(text.contains("not tested: requests failed"), "{text}");
            assert!(!text.contains("tested by") && !text.contains(" to "), "no interval: {text}");
        }
    }

    #[test]
    fn short_runs_are_shown_and_not_judged() {
        let one = || report(vec![run(100, 4)]);
        let text = compared(&one(), &one());
        assert!(text.contains("not tested: too short"), "{text}");
    }
}
