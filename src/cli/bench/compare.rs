//! `granary bench compare`: what changed from one report to another, and whether it is noise.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter, Write};
use std::path::PathBuf;

use clap::Args;

use super::super::{Ending, say};
use super::numbers::{median, ratio};
use super::operation::Operation;
use super::report::{Latency, Report, Run, ServerFigures};
use super::sizes::shown_bytes;
use super::statistics::{Interval, RUNS_MIN, bootstrap, welch};
use super::table::{grouped, heading, millis, rate};

/// Quantiles that are compared, beside throughput.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Say what changed between two reports, and whether it is more than noise.
///
/// With three runs or more in both files (`--runs 3`) a run is one observation: Welch's t test of
/// the logarithms. With fewer the seconds of the runs are drawn again (a block bootstrap), which
/// sees nothing of what differs from run to run, so that what it calls better or worse has a star. What holds
/// 1 in its 95 percent interval is noise; of twenty figures that did not change one does not, by chance.
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

/// What a run has of a figure.
type Of = Box<dyn Fn(&Run) -> Option<f64>>;

/// One figure of both reports.
struct Figure {
    name: String,
    more_is_better: bool,
    shown: fn(f64) -> String,
    of: Of,
}

impl Figure {
    fn time(
        name: impl Into<String>,
        shown: fn(f64) -> String,
        of: impl Fn(&Run) -> Option<f64> + 'static,
    ) -> Self {
        Self { name: name.into(), more_is_better: false, shown, of: Box::new(of) }
    }
}

/// Those of whole runs; the first are those that the bootstrap knows, in its order.
fn figures() -> Vec<Figure> {
    vec![
        Figure {
            name: "requests per s".to_owned(),
            more_is_better: true,
            shown: rate,
            of: Box::new(|run| Some(run.per_second)),
        },
        Figure::time("p50 ms", millis, |run| Some(run.latency.p50)),
        Figure::time("p90 ms", millis, |run| Some(run.latency.p90)),
        Figure::time("p99 ms", millis, |run| Some(run.latency.p99)),
        Figure::time("p99.9 ms", millis, |run| Some(run.latency.p999)),
        Figure::time("max ms", millis, |run| Some(run.latency.max)),
        Figure::time("longest stall ms", millis, |run| Some(run.stalls.longest)),
        Figure::time(
            "server us/request",
            |micros| format!("{micros:.1}"),
            |run| server(run).map(|server| server.processor_per_request),
        ),
        Figure::time(
            "server memory",
            |bytes| shown_bytes(super::numbers::whole(bytes)),
            |run| server(run)?.resident_most.map(super::numbers::float),
        ),
        Figure::time(
            "written per byte",
            |bytes| format!("{bytes:.3}"),
            |run| server(run).and_then(|server| server.written_per_byte),
        ),
    ]
}

/// Those of each kind of request, where there are several.
fn figures_of_operations(before: &Report, after: &Report) -> Vec<Figure> {
    let runs = before.runs.iter().chain(&after.runs);
    let operations: BTreeSet<Operation> =
        runs.flat_map(|run| run.operations.iter().map(|figures| figures.operation)).collect();
    if operations.len() < 2 {
        return Vec::new();
    }
    let figures = operations.into_iter().flat_map(|operation| {
        let of = move |latency: fn(&Latency) -> f64| {
            move |run: &Run| {
                let mut all = run.operations.iter();
                let found = all.find(|of| of.operation == operation && of.requests > 0)?;
                Some(latency(&found.latency))
            }
        };
        [
            Figure::time(format!("{operation} p50 ms"), millis, of(|latency| latency.p50)),
            Figure::time(format!("{operation} p99 ms"), millis, of(|latency| latency.p99)),
        ]
    });
    figures.collect()
}

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
    writeln!(text, "{:<19} {:>12} {:>12} {:>7}  {:<16} ", "", "A", "B", "B/A", "95% interval").ok();
    let all = figures().into_iter().chain(figures_of_operations(before, after));
    for (number, figure) in all.enumerate() {
        let figures = |report: &Report| report.runs.iter().filter_map(&figure.of).collect();
        let (first, second): (Vec<f64>, Vec<f64>) = (figures(before), figures(after));
        // What neither has, as stalls where there were none, is no figure.
        if first.iter().chain(&second).all(|figure| *figure == 0.0) {
            continue;
        }
        let are_both_there = !first.is_empty() && !second.is_empty();
        let interval = method.interval(number, &first, &second).filter(|_| are_both_there);
        // The medians may lie otherwise than what is tested, and outside of its interval.
        let has_ratio = are_both_there && median(&first) > 0.0;
        let medians = has_ratio.then(|| ratio(median(&second), median(&first)));
        let ratio = interval.map(|found| found.middle).or(medians);
        let shown = |figures: &[f64]| match figures {
            [] => "-".to_owned(),
            figures => (figure.shown)(median(figures)),
        };
        writeln!(
            text,
            "{:<19} {:>12} {:>12} {:>7}  {:<16} {}",
            figure.name,
            shown(&first),
            shown(&second),
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}")),
            interval
                .map_or_else(String::new, |found| format!("{:.3} to {:.3}", found.low, found.high)),
            method.verdict(interval, figure.more_is_better)
        )
        .ok();
    }
    if let Method::Seconds(_) = method {
        writeln!(text, "* within these runs: others of the same two may differ as much").ok();
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

    /// Better or worse; with a star where what differs from run to run was not seen.
    fn verdict(&self, interval: Option<Interval>, more_is_better: bool) -> &'static str {
        let Some(interval) = interval else { return "not tested" };
        if interval.holds_one() {
            return "noise";
        }
        let is_better = (interval.low > 1.0) == more_is_better;
        match (self, is_better) {
            (Self::Seconds(_), true) => "better*",
            (Self::Seconds(_), false) => "worse*",
            (Self::Runs | Self::Failed | Self::TooShort, true) => "better",
            (Self::Runs | Self::Failed | Self::TooShort, false) => "worse",
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
    use super::super::report::{
        ClientFigures, Machine, OperationFigures, Settings, SliceFigures, Stalls,
    };
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
        assert_eq!(verdict_of(&compared(&slow, &fast), "requests per s"), "better*");
        assert_eq!(verdict_of(&compared(&fast, &slow), "requests per s"), "worse*");
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
    fn what_only_one_side_has_is_shown() {
        let (still, mut stalled) = (report(vec![run(100, 40)]), report(vec![run(100, 40)]));
        stalled.runs[0].stalls.longest = 500_000.0;
        let text = compared(&stalled, &still);
        let line = text.lines().find(|line| line.starts_with("longest stall ms")).unwrap();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>()[3..],
            ["500", "0.000", "0.000", "not", "tested"]
        );
    }

    #[test]
    fn each_kind_of_request_is_compared_where_there_are_several() {
        let kinds = |slow: f64| {
            let of = |operation, p50| OperationFigures {
                operation,
                requests: 10,
                failed: Some(0),
                per_second: 1.0,
                latency: Latency { p50, p99: p50, ..Latency::default() },
            };
            let mut run = run(100, 40);
            run.operations = vec![of(Operation::Copy, 500.0), of(Operation::Merge, slow)];
            report(vec![run.clone(), run.clone(), run])
        };
        let text = compared(&kinds(1_000.0), &kinds(3_000.0));
        let ratio = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.strip_prefix(name).unwrap().split_whitespace().nth(2).unwrap().to_owned()
        };
        assert_eq!(
            (ratio("copy p50 ms").as_str(), ratio("merge p50 ms").as_str()),
            ("1.000", "3.000")
        );
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
