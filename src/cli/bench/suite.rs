//! `granary bench suite`: the project's targets, measured in rounds, each as a ratio of figures of
//! one round.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, Parser};

use super::super::{Ending, complain, say};
use super::floor::{Floor, settle};
use super::machine;
use super::measure::{complain_of_errors, measure, warn_of_build, warn_of_memory};
use super::nginx::Nginx;
use super::numbers::median;
use super::operation::{Operation, Workload};
use super::options;
use super::report::{Report, Run};
use super::target::{DISCARDED, SYNCED};

/// Measure the project's targets on this machine, and say which are met.
///
/// Each round measures everything once; a row's figure is the median over the rounds of ratios
/// within one round, since the speed of a disk drifts. Where nginx is installed its PUT and
/// static files are measured by the same tool. Rows that need a large store take minutes and are
/// measured with --long only. Nothing else should run meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory for the data, on the disk in question; that for temporary files without it.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Rounds.
    #[arg(long, value_name = "NUMBER", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Seconds of each load.
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Measure the rows that need a large store, too.
    #[arg(long)]
    long: bool,
    /// Only rows whose names hold this text.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// Which figures are good.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Told beside another row, without a target of its own.
    None,
}

/// One target.
struct Row {
    name: &'static str,
    what: &'static str,
    bound: Bound,
}

const fn row(name: &'static str, what: &'static str, bound: Bound) -> Row {
    Row { name, what, bound }
}

use Bound::{AtLeast, AtMost};

const ROWS: [Row; 20] = [
    row("upload/sink", "upload of 20 KiB, 64 connections, over the sink", AtLeast(0.5)),
    row("upload/nginx", "... over nginx PUT, which does not sync", AtLeast(1.5)),
    row("upload/datasets", "... over 64 datasets, over one dataset", AtLeast(0.9)),
    row(
        "upload/p99",
        "... p99 at 70% of the rate outside checkpoints, over a sync's",
        AtMost(10.0),
    ),
    row("upload/p99/all", "... p99 of all requests then, over a sync's", Bound::None),
    row(
        "upload/p99/stop",
        "... how long a checkpoint stops changes then at most, ms",
        AtMost(200.0),
    ),
    row("upload/written", "... bytes written a byte sent", AtMost(1.2)),
    row("upload/processor", "... server's processor time, over the sink's", AtMost(2.0)),
    row("upload/processor/paced", "... at 70% of the rate, over the sink's then", Bound::None),
    row("upload/one", "one connection, over 1 / (fdatasync + round trip)", AtLeast(0.6)),
    row("upload/200k", "200 KiB, 16 connections, over a sync every 4 MiB", AtLeast(0.6)),
    row("upload/large", "one file of 1 GiB (--long: 4 GiB), over dd conv=fdatasync", AtLeast(0.6)),
    row("upload/known", "known contents, over the sink", AtLeast(0.8)),
    row("download/20k", "get of 20 KiB, 64 connections, over nginx", AtLeast(0.6)),
    row("download/64m", "get of 64 MiB, over nginx", AtLeast(0.8)),
    row("copy", "copy of 10,000 files (--long: 1,000,000), ms", AtMost(20.0)),
    row("retrieve", "a dataset of 10,000 files (--long: 100,000), MB/s", AtLeast(100.0)),
    row("merge", "--long: 100,000 files merged into 100,000, s", AtMost(2.0)),
    row("delete", "--long: that deleted for good, not its contents, s", AtMost(2.0)),
    row("stall", "--long: longest stall or stop with 1,000,000 blobs, ms", AtMost(200.0)),
];

/// What a success of each server in the rows means for the bytes.
const DURABILITIES: [(&str, &str); 3] =
    [("granary", SYNCED), ("sink", DISCARDED), ("nginx", "not synced (the kernel writes later)")];

/// What is measured at a share of the peak.
const PACED_KEYS: [&str; 4] =
    ["upload/processor/paced", "upload/p99/all", "upload/p99", "upload/p99/stop"];

/// Runs the command.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Ending> {
    let mut suite = Suite { options, reached: BTreeMap::new(), is_clean: true };
    let names = ROWS.map(|row| row.name);
    ensure!(
        suite.wants(&names),
        "no row's name holds {:?}; the names are {}",
        options.only,
        names.join(", ")
    );
    let directory = suite.directory();
    warn_of_memory(&directory);
    warn_of_build();
    say(machine::line(&directory))?;
    let nginx = Nginx::start(&directory).await;
    if let Err(error) = &nginx {
        complain(format_args!("nginx is not measured: {error:#}"));
    }
    let nginx = nginx.ok();
    for number in 1..=options.rounds {
        complain(format_args!("round {number} of {}", options.rounds));
        suite.round(nginx.as_ref()).await?;
    }
    say(suite.table().trim_end())?;
    if suite.is_clean {
        return Ok(Ending::Complete);
    }
    complain(
        "some requests failed; the rounds in which they did are not in the rows they belong to",
    );
    Ok(Ending::Incomplete)
}

struct Suite<'a> {
    options: &'a Options,
    /// By name of the row: its figure in each round, if there is one.
    reached: BTreeMap<&'static str, Vec<Option<f64>>>,
    /// Whether all requests succeeded.
    is_clean: bool,
}

/// A load as it is typed.
#[derive(Debug, Parser)]
struct Typed {
    #[command(flatten)]
    options: options::Options,
}

impl Suite<'_> {
    fn directory(&self) -> PathBuf {
        self.options.dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    fn wants(&self, names: &[&str]) -> bool {
        names.iter().any(|name| name.contains(&self.options.only))
    }

    /// Notes a row's figure in this round, if there is one.
    fn reach(&mut self, name: &'static str, figure: Option<f64>) {
        self.reached.entry(name).or_default().push(figure);
    }

    /// Measures a load that could be typed so.
    async fn load(&mut self, workload: Workload, typed: &str) -> anyhow::Result<Report> {
        let mut arguments: Vec<String> =
            ["bench", "--no-ceiling", "--dir"].map(str::to_owned).into();
        arguments.push(self.directory().display().to_string());
        arguments.extend(typed.split_whitespace().map(str::to_owned));
        if !typed.contains("--requests") {
            let seconds = self.options.seconds;
            arguments.extend(["--warmup", "1", "--duration"].map(str::to_owned));
            arguments.push(seconds.to_string());
        }
        let typed = Typed::try_parse_from(arguments)?;
        let directory = self.directory();
        let settled = tokio::task::spawn_blocking(move || settle(&directory)).await;
        settled.context("syncing broke")?.context("cannot sync the file system")?;
        let report = measure(&typed.options, workload).await?;
        report.runs.iter().for_each(|run| complain_of_errors(run, workload));
        self.is_clean &= report.is_clean();
        Ok(report)
    }

    async fn round(&mut self, nginx: Option<&Nginx>) -> anyhow::Result<()> {
        if self.wants(&[
            "upload/sink",
            "upload/nginx",
            "upload/datasets",
            "upload/p99",
            "upload/p99/all",
            "upload/p99/stop",
            "upload/written",
            "upload/processor",
            "upload/processor/paced",
            "upload/known",
        ]) {
            self.uploads(nginx).await?;
        }
        if self.wants(&["upload/one"]) {
            self.one_connection().await?;
        }
        if self.wants(&["upload/200k", "upload/large"]) {
            self.large_uploads().await?;
        }
        if self.wants(&["download/20k", "download/64m"])
            && let Some(nginx) = nginx
        {
            self.downloads(nginx).await?;
        }
        if self.wants(&["copy", "retrieve"]) {
            self.whole_datasets().await?;
        }
        if self.options.long && self.wants(&["merge", "delete", "stall"]) {
            self.large_stores().await?;
        }
        Ok(())
    }

    async fn uploads(&mut self, nginx: Option<&Nginx>) -> anyhow::Result<()> {
        // First, since the sink leaves the disk in peace meanwhile: the kernel goes on writing what it took.
        let mut put = None;
        if let Some(nginx) = nginx {
            put =
                Some(self.load(Workload::Upload, &format!("--plain --url {}", nginx.url())).await?);
            nginx.clear()?;
        }
        let sink = self.load(Workload::Upload, "--self --sink").await?;
        let one = self.load(Workload::Upload, "--self --floor").await?;
        let peak = speed(&one);
        self.reach("upload/sink", over(peak, speed(&sink)));
        self.reach("upload/processor", over(processor(&one), processor(&sink)));
        self.reach("upload/written", middle(&one, |run| run.server.as_ref()?.written_per_byte));
        self.reach("upload/nginx", over(peak, put.as_ref().and_then(speed)));
        // Soon after the peak that it is a share of.
        match peak {
            Some(peak) => self.paced_uploads(peak * 0.7).await?,
            None => {
                for key in PACED_KEYS {
                    self.reach(key, None);
                }
            }
        }
        let many = self.load(Workload::Upload, "--self --datasets 64").await?;
        self.reach("upload/datasets", over(speed(&many), peak));
        let known = self.load(Workload::Upload, "--self --duplicates 100").await?;
        self.reach("upload/known", over(speed(&known), speed(&sink)));
        Ok(())
    }

    /// An open loop.
    async fn paced_uploads(&mut self, rate: f64) -> anyhow::Result<()> {
        let rate = format!("--rate {rate:.0}");
        let paced = self.load(Workload::Upload, &format!("--self --floor {rate}")).await?;
        let paced_sink = self.load(Workload::Upload, &format!("--self --sink {rate}")).await?;
        self.reach("upload/processor/paced", over(processor(&paced), processor(&paced_sink)));
        let sync = paced.floor.as_ref().map(|floor| floor.sync.p99);
        let all = middle(&paced, |run| Some(run.latency.p99));
        self.reach("upload/p99/all", over(all, sync));
        // Where no checkpoint was begun, all requests were outside one.
        let others = middle(&paced, |run| match run.checkpoints.as_ref()? {
            checkpoints if checkpoints.count == 0 => Some(run.latency.p99),
            checkpoints => checkpoints.others.map(|others| others.p99),
        });
        self.reach("upload/p99", over(others, sync));
        let stop = |run: &Run| {
            let begun = run.checkpoints.as_ref().filter(|checkpoints| checkpoints.count > 0);
            begun.map(|checkpoints| checkpoints.stop_longest / 1e3)
        };
        self.reach("upload/p99/stop", middle(&paced, stop));
        Ok(())
    }

    async fn one_connection(&mut self) -> anyhow::Result<()> {
        let report = self.load(Workload::Upload, "--self --floor -c 1").await?;
        if let Some(Floor { sync, round_trip, .. }) = &report.floor {
            let possible = 1e6 / (sync.p50 + round_trip.p50);
            self.reach("upload/one", over(speed(&report), Some(possible)));
        }
        Ok(())
    }

    async fn large_uploads(&mut self) -> anyhow::Result<()> {
        let sixteen = self.load(Workload::Upload, "--self --floor -c 16 --size 200K").await?;
        if let Some(floor) = &sixteen.floor {
            self.reach("upload/200k", over(bytes(&sixteen), Some(floor.sequential)));
        }
        let size = if self.options.long { "4G" } else { "1G" };
        let typed = format!("--self --floor -c 1 --requests 1 --size {size}");
        let large = self.load(Workload::Upload, &typed).await?;
        if let Some(floor) = &large.floor {
            self.reach("upload/large", over(bytes(&large), Some(floor.whole)));
        }
        Ok(())
    }

    async fn downloads(&mut self, nginx: &Nginx) -> anyhow::Result<()> {
        let url = nginx.url();
        for (row, load) in
            [("download/20k", "-c 64 --files 1000"), ("download/64m", "-c 4 --files 4 --size 64M")]
        {
            let own = self.load(Workload::Download, &format!("--self {load}")).await?;
            let other = format!("--plain --url {url} {load}");
            let other = self.load(Workload::Download, &other).await?;
            self.reach(row, over(bytes(&own), bytes(&other)));
            nginx.clear()?;
        }
        Ok(())
    }

    async fn whole_datasets(&mut self) -> anyhow::Result<()> {
        let files = if self.options.long { 1_000_000 } else { 10_000 };
        let typed = format!("--self -c 1 --size 1K --requests 100 --files {files}");
        let copies = self.load(Workload::Copy, &typed).await?;
        self.reach("copy", middle(&copies, |run| Some(run.latency.p50 / 1e3)));
        let files = files.min(100_000);
        let typed = format!("--self -c 2 --size 1K --requests 50 --files {files}");
        let retrieved = self.load(Workload::Retrieve, &typed).await?;
        self.reach("retrieve", bytes(&retrieved).map(|bytes| bytes / 1e6));
        Ok(())
    }

    async fn large_stores(&mut self) -> anyhow::Result<()> {
        let typed = "--self -c 1 --size 1K --requests 3 --files 100000 --datasets 2";
        let merged = self.load(Workload::Merge, typed).await?;
        self.reach("merge", seconds(&merged, Operation::Merge));
        self.reach("delete", seconds(&merged, Operation::HardDelete));
        let typed = "--self --size 1K --files 1000000";
        let filled = self.load(Workload::Upload, typed).await?;
        // What the clients saw, and by the server's own clock what waits for a checkpoint, which is not
        // everything: the longer of the two.
        let longest = middle(&filled, |run| {
            let stopped = run.checkpoints.as_ref().map_or(0.0, |found| found.stop_longest);
            let longest = run.stalls.longest.max(stopped);
            let is_known = run.checkpoints.as_ref().is_some_and(|found| found.count > 0);
            (is_known || longest > 0.0).then_some(longest / 1e3)
        });
        self.reach("stall", longest);
        Ok(())
    }

    fn table(&self) -> String {
        let durability = |(server, meaning)| format!("durability of {server}: {meaning}");
        let mut lines = DURABILITIES.map(durability).to_vec();
        lines.push(format!("{:<64} {:>10} {:>9}  {:<12} rounds", "", "target", "reached", ""));
        for row in ROWS.iter().filter(|row| self.wants(&[row.name])) {
            let reached = self.reached.get(row.name).map_or(&[][..], Vec::as_slice);
            lines.push(line(row, reached));
        }
        lines.join("\n")
    }
}

/// A row of the table; a round without a figure is a dash in it.
fn line(row: &Row, rounds: &[Option<f64>]) -> String {
    let target = match row.bound {
        AtLeast(bound) => format!(">= {bound}"),
        AtMost(bound) => format!("<= {bound}"),
        Bound::None => String::new(),
    };
    let reached: Vec<f64> = rounds.iter().copied().flatten().collect();
    if reached.is_empty() {
        return format!("{:<64} {target:>10} {:>9}  not measured", row.what, "");
    }
    let figure = median(&reached);
    let verdict = match row.bound {
        AtLeast(bound) if figure >= bound => "met",
        AtMost(bound) if figure <= bound => "met",
        AtLeast(_) | AtMost(_) => "MISSED",
        Bound::None => "",
    };
    let shown = |round: &Option<f64>| round.map_or_else(|| "-".to_owned(), |it| format!("{it:.2}"));
    let rounds: Vec<String> = rounds.iter().map(shown).collect();
    format!("{:<64} {target:>10} {figure:>9.2}  {verdict:<12} {}", row.what, rounds.join(" "))
}

/// The middle of a figure over a report's runs; none where it is lacking or requests failed, since
/// what it then says is of the others alone.
fn middle(report: &Report, figure: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    let figures: Option<Vec<f64>> = report.runs.iter().map(figure).collect();
    figures.filter(|_| report.is_clean()).map(|figures| median(&figures))
}

fn over(of: Option<f64>, by: Option<f64>) -> Option<f64> {
    let (of, by) = of.zip(by)?;
    (by > 0.0).then(|| of / by)
}

fn speed(report: &Report) -> Option<f64> {
    middle(report, |run| Some(run.per_second))
}

fn bytes(report: &Report) -> Option<f64> {
    middle(report, |run| Some(run.bytes_per_second))
}

fn processor(report: &Report) -> Option<f64> {
    middle(report, |run| Some(run.server.as_ref()?.processor_per_request))
}

fn seconds(report: &Report, operation: Operation) -> Option<f64> {
    middle(report, |run| {
        let found = run.operations.iter().find(|figures| figures.operation == operation)?;
        Some(found.latency.p50 / 1e6)
    })
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::{report, run};
    use super::super::recorder::ErrorCount;
    use super::*;

    #[test]
    fn a_target_is_met_or_missed_by_the_middle_round() {
        let [at_least, at_most] = [AtLeast(0.5), AtMost(2.0)].map(|bound| row("a", "b", bound));
        let line = |row: &Row, rounds: &[f64]| {
            line(row, &rounds.iter().copied().map(Some).collect::<Vec<_>>())
        };
        assert!(line(&at_least, &[0.4, 0.6, 0.51]).contains(" met"));
        assert!(line(&at_least, &[0.4, 0.6, 0.49]).contains(" MISSED"));
        assert!(line(&at_most, &[1.0, 2.0, 9.0]).contains(" met"));
        assert!(line(&at_most, &[1.0, 2.1, 9.0]).contains(" MISSED"));
        assert!(line(&at_most, &[]).contains("not measured"));
        let told = line(&row("a", "b", Bound::None), &[3.0]);
        assert!(told.contains("3.00") && !told.contains("met") && !told.contains("MISSED"));
    }

    #[test]
    fn a_round_without_a_figure_is_seen_in_its_row() {
        let row = row("a", "b", AtMost(2.0));
        let told = line(&row, &[Some(1.5), None, Some(3.5)]);
        assert!(told.contains("2.50") && told.ends_with("1.50 - 3.50"), "{told}");
        assert!(line(&row, &[None, None]).ends_with("not measured"));
    }

    #[test]
    fn a_load_of_which_requests_failed_reaches_nothing() {
        let mut report = report(vec![run(100, 4), run(100, 4)]);
        assert!(speed(&report).is_some_and(|speed| speed > 0.0));
        assert_eq!(seconds(&report, Operation::Merge), None, "it has no merge");
        let busy = ErrorCount { times: 1, example: String::new() };
        report.runs[1].errors.insert("status 503".to_owned(), busy);
        assert_eq!(speed(&report), None);
        assert_eq!(over(Some(1.0), speed(&report)), None);
        assert_eq!(over(Some(1.0), Some(0.0)), None, "nothing to divide by");
    }

    #[test]
    fn above_the_rows_it_is_said_what_a_success_means_for_the_bytes() {
        let only = String::new();
        let options = Options { dir: None, rounds: 1, seconds: 1, long: false, only };
        let suite = Suite { options: &options, reached: BTreeMap::new(), is_clean: true };
        let table = suite.table();
        let durabilities: Vec<&str> =
            table.lines().take_while(|line| line.starts_with("durability of ")).collect();
        assert!(durabilities.iter().any(|line| line.starts_with("durability of granary: synced")));
        assert!(durabilities.iter().any(|line| line.starts_with("durability of sink: none")));
        assert!(
            durabilities.iter().any(|line| line.starts_with("durability of nginx: not synced"))
        );
        assert_eq!(table.lines().count(), durabilities.len() + 1 + ROWS.len());
    }

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }
}
