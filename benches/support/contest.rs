//! Things measured side by side: each iteration runs all of them, so that a disk which changes
//! its mind changes it for all, and ratios say more than figures.

use std::cell::{LazyCell, RefCell};
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};

/// Runs once and tells how long the part in question took.
pub(crate) type Contestant = Box<dyn FnMut() -> Duration>;

/// What is measured side by side.
pub(crate) struct Contest<const N: usize> {
    /// First part of the ids.
    pub(crate) capability: &'static str,
    /// The rest of the ids; the last one is what the others are compared with.
    pub(crate) variants: [String; N],
    /// What one run does.
    pub(crate) throughput: Throughput,
    /// How long each variant is measured, unless ten runs of all take longer.
    pub(crate) measured: Duration,
}

impl<const N: usize> Contest<N> {
    /// Measures each variant, running all of them every time, in order, and prints the medians of
    /// all runs and the ratios of the runs that went together. Sets up only if an id is wanted.
    pub(crate) fn run(self, criterion: &mut Criterion, setup: impl FnOnce() -> [Contestant; N]) {
        let setup = LazyCell::new(|| RefCell::new(setup()));
        let mut runs: Vec<[Duration; N]> = Vec::new();
        let mut group = criterion.benchmark_group(self.capability);
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(self.measured);
        group.throughput(self.throughput.clone());
        for (index, variant) in self.variants.iter().enumerate() {
            group.bench_function(variant, |bencher| {
                let contestants: &RefCell<[Contestant; N]> = &setup;
                bencher.iter_custom(|iterations| {
                    let mut total = Duration::ZERO;
                    for _ in 0..iterations {
                        let times = contestants.borrow_mut().each_mut().map(|run| run());
                        total += times.get(index).copied().unwrap_or_default();
                        runs.push(times);
                    }
                    total
                });
            });
        }
        group.finish();
        if !runs.is_empty() {
            self.print(&runs);
        }
    }

    #[expect(clippy::print_stdout, reason = "the table is the result")]
    fn print(&self, runs: &[[Duration; N]]) {
        println!(
            "| id | median of {} runs | per second | ratio of medians | median ratio [quartiles] |",
            runs.len()
        );
        println!("|---|---|---|---|---|");
        let reference = |times: &[Duration; N]| times.last().copied().unwrap_or_default();
        let common = median(runs.iter().map(|times| reference(times).as_secs_f64()));
        for (index, variant) in self.variants.iter().enumerate() {
            let own =
                |times: &[Duration; N]| times.get(index).copied().unwrap_or_default().as_secs_f64();
            let time = median(runs.iter().map(own));
            let paired = || runs.iter().map(|times| own(times) / reference(times).as_secs_f64());
            let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(paired(), share));
            println!(
                "| {}/{variant} | {} | {} | {:.2} | {middle:.2} [{low:.2}, {high:.2}] |",
                self.capability,
                duration(time),
                self.rate(time),
                time / common,
            );
        }
        println!();
    }

    fn rate(&self, seconds: f64) -> String {
        match self.throughput {
            Throughput::Elements(count) => format!("{:.0}", float(count) / seconds),
            Throughput::ElementsAndBytes { elements, bytes } => {
                format!("{:.0} ({:.0} MB)", float(elements) / seconds, float(bytes) / seconds / 1e6)
            }
            Throughput::Bytes(bytes) | Throughput::BytesDecimal(bytes) => {
                format!("{:.0} MB", float(bytes) / seconds / 1e6)
            }
            Throughput::Bits(bits) => format!("{:.0} Mbit", float(bits) / seconds / 1e6),
        }
    }
}

/// As near as a float comes; counts here are far below where that matters.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a list of some thousands"
)]
fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let place = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(place).copied().unwrap_or(f64::NAN)
}
