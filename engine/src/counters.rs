//! Numbers that are counted while the store works and read now and then.
//!
//! Counting is one or two additions to an atomic, in no order with anything else: nobody decides
//! anything by these numbers, so they are the standard library's atomics, which the interleavings
//! need not see. What they mean, and the present state beside them, is told by
//! [`Engine::figures`](crate::Engine::figures). What every request counts is counted [`ByThread`].

mod by_thread;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use by_thread::ByThread;

use crate::limits::{GROUP_BYTES_MAX, GROUP_CHANGES_MAX};

/// Only ever grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts so many.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are at present.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less; each must have entered.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sets another value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of times, in nanoseconds: from a tenth of a millisecond to half a minute.
pub static TIMES: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Upper bounds of the number of changes in a group.
static GROUP_CHANGES: [u64; 7] = [1, 4, 16, 64, 256, 1024, at_most(GROUP_CHANGES_MAX)];

/// Upper bounds of the bytes of a group in the journal. A content larger than a group's bound may
/// make one alone, hence the last but one.
static GROUP_BYTES: [u64; 7] =
    [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, GROUP_BYTES_MAX];

#[expect(clippy::as_conversions, reason = "widening, in a constant")]
const fn at_most(bound: usize) -> u64 {
    bound as u64
}

/// How values are distributed: their number between fixed bounds, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, values up to it and beyond the one before, and one for what is beyond
    /// all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// No values yet; `bounds` grow.
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Of times, in nanoseconds.
    pub fn of_times() -> Self {
        Self::new(&TIMES)
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time, in nanoseconds.
    pub fn record_time(&self, time: Duration) {
        self.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What was counted so far.
    pub fn read(&self) -> Distribution {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Distribution { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// What a histogram had counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    bounds: &'static [u64],
    counts: Vec<u64>,
    sum: u64,
}

impl Distribution {
    /// This and what another histogram with the same bounds had counted.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self
    }

    /// Each bound with the number of values up to it.
    pub fn up_to(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let bounds = self.bounds.iter().copied().zip(&self.counts);
        bounds.scan(0_u64, |below, (bound, count)| {
            *below += count;
            Some((bound, *below))
        })
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

/// Everything that the store counts.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) group_changes: Histogram,
    /// Bytes in the journal.
    pub(crate) group_bytes: Histogram,
    /// Writing a group and syncing it.
    pub(crate) sync_time: Histogram,
    /// From a group's sync to the moment at which readers see it, waiting for others included.
    pub(crate) apply_time: Histogram,
    pub(crate) checkpoint_time: Histogram,
    /// Groups that are synced and not yet applied.
    pub(crate) groups_ahead: Gauge,
    /// Checkpoints whose pages are being written and synced.
    pub(crate) checkpoints_settling: Gauge,
    /// When the index was last made durable, in nanoseconds since `opened`.
    checkpointed: Gauge,
    opened: Instant,
    /// Bytes of the journal that the index's last checkpoint does not hold.
    pub(crate) uncheckpointed_bytes: Gauge,
    /// Contents that came and were there already.
    pub(crate) duplicates: Counter,
    /// Their bytes.
    pub(crate) duplicate_bytes: Counter,
    pub(crate) actors_started: Counter,
    /// Of those, the ones that took the place of one that had died.
    pub(crate) actors_restarted: Counter,
    pub(crate) refused_by_dataset: Counter,
    pub(crate) refused_by_journal: Counter,
    /// Changes, uploads and answers refused for want of disk space.
    pub(crate) refused_for_space: Counter,
    /// Bytes of segments and large files that were given back to the disk.
    pub(crate) reclaimed_bytes: Counter,
    /// Bytes of contents that compaction moved.
    pub(crate) compacted_bytes: Counter,
    pub(crate) snapshots_open: ByThread<Gauge>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            group_changes: Histogram::new(&GROUP_CHANGES),
            group_bytes: Histogram::new(&GROUP_BYTES),
            sync_time: Histogram::of_times(),
            apply_time: Histogram::of_times(),
            checkpoint_time: Histogram::of_times(),
            groups_ahead: Gauge::default(),
            checkpoints_settling: Gauge::default(),
            checkpointed: Gauge::default(),
            opened: Instant::now(),
            uncheckpointed_bytes: Gauge::default(),
            duplicates: Counter::default(),
            duplicate_bytes: Counter::default(),
            actors_started: Counter::default(),
            actors_restarted: Counter::default(),
            refused_by_dataset: Counter::default(),
            refused_by_journal: Counter::default(),
            refused_for_space: Counter::default(),
            reclaimed_bytes: Counter::default(),
            compacted_bytes: Counter::default(),
            snapshots_open: ByThread::default(),
        }
    }
}

impl Counters {
    /// Notes that the index was made durable, all but so many bytes of the journal.
    pub(crate) fn checkpointed(&self, uncheckpointed_bytes: u64) {
        let since = u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.checkpointed.set(since);
        self.uncheckpointed_bytes.set(uncheckpointed_bytes);
    }

    /// How long ago that was; opening ends with it.
    pub(crate) fn checkpoint_age(&self) -> Duration {
        let at = Duration::from_nanos(self.checkpointed.get());
        self.opened.elapsed().saturating_sub(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_at_every_bound_that_it_does_not_exceed() {
        let histogram = Histogram::new(&[1, 10, 100]);
        for value in [0, 1, 2, 10, 11, 1000] {
            histogram.record(value);
        }
        let read = histogram.read();
        assert_eq!(read.up_to().collect::<Vec<_>>(), [(1, 2), (10, 4), (100, 5)]);
        assert_eq!((read.count(), read.sum()), (6, 1024));
        let twice = read.clone().and(&read);
        assert_eq!(twice.up_to().collect::<Vec<_>>(), [(1, 4), (10, 8), (100, 10)]);
        assert_eq!((twice.count(), twice.sum()), (12, 2048));
    }

    #[test]
    fn bounds_grow() {
        for bounds in [&TIMES[..], &GROUP_CHANGES, &GROUP_BYTES] {
            assert!(bounds.is_sorted_by(|before, after| before < after), "{bounds:?}");
        }
    }
}
