//! Whether two sets of figures differ by more than chance: the ratio of the second to the first, each with
//! an interval of 95 percent.
//!
//! Where both sides have runs enough, a run is one observation, since runs are independent and
//! what lies within one is not: Welch's t interval of the mean logarithms. Otherwise pieces of
//! time are drawn again and again from the runs (a moving block bootstrap); that sees the noise
//! within a run and nothing of what differs from run to run.

use std::f64::consts::FRAC_PI_2;

use super::numbers::{count, float, index, mixed, ratio};
use super::report::Run;

/// Runs on each side from which on they are the observations.
pub(crate) const RUNS_MIN: usize = 3;

/// Seconds of a block: what happens within a second hangs together.
const BLOCK_SECONDS: f64 = 1.0;

/// Blocks of a side without which nothing is said.
const BLOCKS_MIN: f64 = 5.0;

/// How often blocks are drawn.
const DRAWS: u64 = 1_000;

/// Steps in which Student's distribution is summed up.
const STEPS: u32 = 4_000;

/// What lies outside of an interval, on either side.
const TAIL: f64 = 0.025;

/// What logarithms of the same figure may differ by when they are summed up.
const ROUNDING: f64 = 1e-12;

/// From and to, with 95 percent in between, and what is most likely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) middle: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    /// Whether a ratio of one, which is no change, lies within.
    pub(crate) fn holds_one(self) -> bool {
        self.low <= 1.0 && self.high >= 1.0
    }
}

/// The ratio of the means, from one figure for each run: Welch's interval of the logarithms.
/// Nothing if there are too few runs, figures that have no logarithm, or figures that differ although on
/// neither side any does from another: they cannot be from runs that are independent.
pub(crate) fn welch(before: &[f64], after: &[f64]) -> Option<Interval> {
    let usable =
        |figures: &[f64]| figures.len() >= RUNS_MIN && figures.iter().all(|figure| *figure > 0.0);
    if !usable(before) || !usable(after) {
        return None;
    }
    let (first, second) = (Sample::of_logarithms(before), Sample::of_logarithms(after));
    let difference = second.mean - first.mean;
    let (one, two) = (first.variance_of_mean(), second.variance_of_mean());
    let error = (one + two).sqrt();
    if error < ROUNDING {
        return (difference.abs() < ROUNDING).then_some(Interval {
            middle: 1.0,
            low: 1.0,
            high: 1.0,
        });
    }
    let freedom =
        (one + two).powi(2) / (one * one / (first.count - 1.0) + two * two / (second.count - 1.0));
    let reach = error * student_quantile(1.0 - TAIL, freedom);
    let [low, middle, high] = [difference - reach, difference, difference + reach].map(f64::exp);
    Some(Interval { middle, low, high })
}

struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    fn of_logarithms(figures: &[f64]) -> Self {
        let logarithms: Vec<f64> = figures.iter().map(|figure| figure.ln()).collect();
        let number = float(count(logarithms.len()));
        let mean = logarithms.iter().sum::<f64>() / number;
        let squares = logarithms.iter().map(|logarithm| (logarithm - mean).powi(2));
        Self { count: number, mean, variance: squares.sum::<f64>() / (number - 1.0) }
    }

    fn variance_of_mean(&self) -> f64 {
        self.variance / self.count
    }
}

/// The value that Student's distribution keeps below with this probability above one half.
///
/// Of an angle whose tangent is that value over the root of the degrees of freedom the density is
/// a power of the cosine, so it is summed up until the share is reached.
fn student_quantile(probability: f64, freedom: f64) -> f64 {
    let density = |angle: f64| angle.cos().powf(freedom - 1.0);
    let step = FRAC_PI_2 / f64::from(STEPS);
    let parts = (0..STEPS).map(|number| density(step * (f64::from(number) + 0.5)));
    let half: f64 = parts.clone().sum();
    let wanted = (2.0 * probability - 1.0) * half;
    let (mut sum, mut angle) = (0.0, 0.0);
    for part in parts {
        if sum + part >= wanted {
            // Within a step the density is as good as even.
            angle += step * ratio(wanted - sum, part);
            break;
        }
        sum += part;
        angle += step;
    }
    angle.tan() * freedom.sqrt()
}

/// A run's slices with latencies as numbers of a common list, for quick sums.
struct Pieces {
    /// Requests of each slice, and its latencies: which one of the list, and how often.
    slices: Vec<(u64, Vec<(usize, u64)>)>,
    slice_seconds: f64,
    /// Slices of a block.
    block: usize,
}

/// Figures of one draw: requests a second, then the latency at each of the quantiles.
type Figures = Vec<f64>;

/// Intervals of the ratios of throughput and of the latencies at these quantiles. Nothing if the
/// runs are too short.
pub(crate) fn bootstrap(before: &[Run], after: &[Run], quantiles: &[f64]) -> Option<Vec<Interval>> {
    let latencies = all_latencies(before.iter().chain(after));
    let pieces = |runs: &[Run]| -> Vec<Pieces> {
        runs.iter().map(|run| Pieces::of(run, &latencies)).collect()
    };
    let (before, after) = (pieces(before), pieces(after));
    let blocks = |side: &[Pieces]| {
        let each = side.iter().map(|run| float(count(run.slices.len())) / float(count(run.block)));
        each.sum::<f64>()
    };
    if blocks(&before) < BLOCKS_MIN || blocks(&after) < BLOCKS_MIN {
        return None;
    }
    let mut random = Random(1);
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); quantiles.len() + 1];
    for _ in 0..DRAWS {
        let first = draw(&before, &latencies, quantiles, &mut random);
        let second = draw(&after, &latencies, quantiles, &mut random);
        for ((ratios, first), second) in ratios.iter_mut().zip(first).zip(second) {
            ratios.push(ratio(second, first));
        }
    }
    Some(ratios.into_iter().map(interval).collect())
}

fn interval(mut ratios: Vec<f64>) -> Interval {
    ratios.sort_by(f64::total_cmp);
    let last = float(count(ratios.len().saturating_sub(1)));
    let at = |share: f64| {
        let place = index(super::numbers::whole(last * share));
        ratios.get(place).copied().unwrap_or_default()
    };
    Interval { middle: at(0.5), low: at(TAIL), high: at(1.0 - TAIL) }
}

/// As many slices as there are, drawn in blocks from runs that are drawn themselves.
fn draw(side: &[Pieces], latencies: &[f64], quantiles: &[f64], random: &mut Random) -> Figures {
    let mut counts = vec![0_u64; latencies.len()];
    let (mut requests, mut seconds) = (0, 0.0);
    for _ in side {
        let Some(run) = side.get(random.below(side.len())) else {
            continue;
        };
        let mut left = run.slices.len();
        while left > 0 {
            let start = random.below((run.slices.len() + 1).saturating_sub(run.block).max(1));
            let taken = run.slices.iter().skip(start).take(run.block.min(left));
            for (of_slice, pairs) in taken {
                requests += of_slice;
                seconds += run.slice_seconds;
                left -= 1;
                for (latency, times) in pairs {
                    if let Some(count) = counts.get_mut(*latency) {
                        *count += times;
                    }
                }
            }
        }
    }
    let mut figures = vec![ratio(float(requests), seconds)];
    figures.extend(quantiles.iter().map(|share| {
        let wanted = float(requests) * share;
        let mut seen = 0;
        let reached = counts.iter().position(|times| {
            seen += times;
            float(seen) >= wanted
        });
        reached.and_then(|place| latencies.get(place)).copied().unwrap_or_default()
    }));
    figures
}

fn all_latencies<'a>(runs: impl Iterator<Item = &'a Run>) -> Vec<f64> {
    let slices = runs.flat_map(|run| &run.slices);
    let pairs = slices.flat_map(|slice| &slice.histogram);
    let mut latencies: Vec<f64> = pairs.map(|(latency, _)| *latency).collect();
    latencies.sort_by(f64::total_cmp);
    latencies.dedup();
    latencies
}

impl Pieces {
    fn of(run: &Run, latencies: &[f64]) -> Self {
        // The last slice is mostly not a whole one.
        let whole = run.slices.len().saturating_sub(1);
        let slices = run.slices.iter().take(whole).map(|slice| {
            let place = |latency: f64| latencies.partition_point(|known| *known < latency);
            let pairs = slice.histogram.iter().map(|(latency, times)| (place(*latency), *times));
            (slice.requests(), pairs.collect())
        });
        let block = super::numbers::whole((BLOCK_SECONDS / run.slice_seconds).ceil());
        Self {
            slices: slices.collect(),
            slice_seconds: run.slice_seconds,
            block: index(block.max(1)),
        }
    }
}

/// Numbers that are the same in every comparison of the same files.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        index(mixed(self.0) % count(end).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::run;
    use super::*;

    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        for (freedom, wanted) in [(2.0, 4.303), (4.0, 2.776), (10.0, 2.228), (100.0, 1.984)] {
            let found = student_quantile(0.975, freedom);
            assert!((found - wanted).abs() < 0.001, "{freedom}: {found}");
        }
    }

    #[test]
    fn runs_that_scatter_as_much_as_they_differ_are_noise() {
        let interval = welch(&[100.0, 120.0, 90.0], &[105.0, 125.0, 95.0]).unwrap();
        assert!(interval.holds_one(), "{interval:?}");
    }

    #[test]
    fn runs_that_differ_more_than_they_scatter_are_no_noise() {
        let interval = welch(&[100.0, 101.0, 99.0], &[120.0, 121.0, 119.5]).unwrap();
        assert!(interval.low > 1.1 && interval.high < 1.3, "{interval:?}");
    }

    #[test]
    fn two_runs_are_too_few_for_a_test_of_runs() {
        assert_eq!(welch(&[100.0, 101.0], &[120.0, 121.0, 119.0]), None);
        assert_eq!(welch(&[0.0, 1.0, 1.0], &[1.0, 1.0, 1.0]), None);
    }

    #[test]
    fn figures_without_any_scatter_are_not_judged_unless_they_are_the_same() {
        assert_eq!(welch(&[300.0; 3], &[301.0; 3]), None);
        let same = welch(&[0.1; 3], &[0.1; 5]).unwrap();
        assert!(same.holds_one(), "{same:?}");
        assert!(welch(&[300.0; 3], &[301.0, 301.0, 301.1]).is_some());
    }

    #[test]
    fn an_interval_at_95_percent_misses_the_truth_about_once_in_twenty() {
        // Both sides are drawn from one distribution, so the true ratio is one.
        let mut seed = 0;
        let mut figure = || {
            seed += 1;
            100.0 + 20.0 * super::super::numbers::fraction(seed)
        };
        let missed = (0..400).filter(|_| {
            let mut side = || [figure(), figure(), figure(), figure()];
            let (before, after) = (side(), side());
            !welch(&before, &after).unwrap().holds_one()
        });
        let missed = missed.count();
        assert!((4..=36).contains(&missed), "{missed} of 400");
    }

    #[test]
    fn slices_of_one_speed_are_told_from_those_of_another() {
        let (slow, fast) = ([run(100, 40)], [run(120, 40)]);
        let intervals = bootstrap(&slow, &fast, &[0.5]).unwrap();
        assert!(intervals[0].low > 1.05 && intervals[0].high < 1.4, "{intervals:?}");
        let same = bootstrap(&slow, &slow, &[0.5, 0.99]).unwrap();
        assert!(same.iter().all(|interval| interval.holds_one()), "{same:?}");
    }

    #[test]
    fn a_run_of_a_second_is_too_short_for_a_test() {
        assert_eq!(bootstrap(&[run(100, 3)], &[run(120, 40)], &[0.5]), None);
    }
}
