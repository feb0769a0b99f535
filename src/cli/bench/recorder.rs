//! What happened to the requests of a load, in bounded memory: histograms, slices of time, errors.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::operation::Operation;

/// Longest latency that is told apart, in nanoseconds; longer ones count as this.
const LATENCY_NANOS_MAX: u64 = 3_600_000_000_000;

/// Digits of a latency that the histograms of a whole run keep: an error of a thousandth.
pub(crate) const DIGITS: u8 = 3;

/// Digits that the histogram of a slice keeps, of which there are many: an error of a hundredth.
const SLICE_DIGITS: u8 = 2;

/// Slices of a run; when there are more, neighbours are put together.
const SLICES_MAX: usize = 256;

/// Length of the first slices.
const SLICE_TIME: Duration = Duration::from_millis(100);

/// Kinds of errors that are told apart; a server could make up any number.
const ERRORS_MAX: usize = 32;

/// Kind of the error that a request is which was due and for which no connection was free.
const LEFT_OUT: &str = "due and never sent";

/// One request, as it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What was asked for.
    pub(crate) operation: Operation,
    /// When it should have been sent: in a closed loop that is when it was.
    pub(crate) intended: Instant,
    /// When it was sent.
    pub(crate) sent: Instant,
    /// When its answer was complete.
    pub(crate) answered: Instant,
    /// Bytes of contents, sent or received; or what went wrong.
    pub(crate) outcome: Result<u64, Trouble>,
}

/// Why a request did not succeed.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    /// The same words for all of a kind, so that they can be counted.
    pub(crate) kind: String,
    /// What the server said of this one, or nothing.
    pub(crate) said: String,
}

/// Errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorCount {
    pub(crate) times: u64,
    /// What was said of the first one.
    pub(crate) example: String,
}

/// What happened in one slice of time.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) latencies: Histogram<u64>,
    pub(crate) bytes: u64,
    pub(crate) errors: u64,
}

/// What happened to the requests of one kind.
#[derive(Debug)]
pub(crate) struct OfOperation {
    /// From the intended time, of those that succeeded.
    pub(crate) latencies: Histogram<u64>,
    /// Those that did not, beside those that could not be sent.
    pub(crate) failed: u64,
}

/// All that is remembered of a run, or of one thread's part of it.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// When the run began: slices count from here.
    origin: Instant,
    pub(crate) slice_time: Duration,
    pub(crate) slices: Vec<Slice>,
    pub(crate) by_operation: BTreeMap<Operation, OfOperation>,
    /// How late the load tool itself was: from the intended time to the sending.
    pub(crate) lateness: Histogram<u64>,
    /// By kind.
    pub(crate) errors: BTreeMap<String, ErrorCount>,
    pub(crate) bytes: u64,
    last_answered: Instant,
}

impl Recorder {
    /// Nothing has happened yet.
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            origin,
            slice_time: SLICE_TIME,
            slices: Vec::new(),
            by_operation: BTreeMap::new(),
            lateness: histogram(DIGITS),
            errors: BTreeMap::new(),
            bytes: 0,
            last_answered: origin,
        }
    }

    /// Takes a request that has ended.
    pub(crate) fn take(&mut self, ended: Ended) {
        self.last_answered = self.last_answered.max(ended.answered);
        let at = ended.answered.saturating_duration_since(self.origin);
        let latency = nanos(ended.answered.saturating_duration_since(ended.intended));
        let lateness = nanos(ended.sent.saturating_duration_since(ended.intended));
        self.lateness.record(lateness).ok();
        let of_operation = self.by_operation.entry(ended.operation).or_default();
        match &ended.outcome {
            Ok(_) => drop(of_operation.latencies.record(latency)),
            Err(_) => of_operation.failed += 1,
        }
        let slice = self.slice(at);
        match ended.outcome {
            Ok(bytes) => {
                slice.latencies.record(latency).ok();
                slice.bytes += bytes;
                self.bytes += bytes;
            }
            Err(Trouble { kind, said }) => {
                slice.errors += 1;
                self.count_error(kind, ErrorCount { times: 1, example: said });
            }
        }
    }

    /// Counts requests that were due and could not be sent.
    pub(crate) fn leave_out(&mut self, times: u64) {
        let example =
            "no connection was free until long after the load's end; ask for a lower rate";
        let errors = ErrorCount { times, example: example.to_owned() };
        self.count_error(LEFT_OUT.to_owned(), errors);
    }

    /// Requests that were due and could not be sent, which are among those that failed.
    pub(crate) fn left_out(&self) -> u64 {
        self.errors.get(LEFT_OUT).map_or(0, |errors| errors.times)
    }

    /// Requests that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().map(|errors| errors.times).sum()
    }

    /// Puts another thread's part to this one.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        // A thread to which no request fell has no origin of its own.
        if self.is_empty() {
            self.origin = other.origin;
        }
        while self.slice_time < other.slice_time {
            self.halve();
        }
        while other.slice_time < self.slice_time {
            other.halve();
        }
        for (number, theirs) in other.slices.into_iter().enumerate() {
            match self.slices.get_mut(number) {
                Some(ours) => ours.absorb(&theirs),
                None => self.slices.push(theirs),
            }
        }
        for (operation, theirs) in other.by_operation {
            let ours = self.by_operation.entry(operation).or_default();
            // Both have the same bounds, so it cannot fail.
            ours.latencies.add(theirs.latencies).ok();
            ours.failed += theirs.failed;
        }
        self.lateness.add(other.lateness).ok();
        for (kind, errors) in other.errors {
            self.count_error(kind, errors);
        }
        self.bytes += other.bytes;
        self.last_answered = self.last_answered.max(other.last_answered);
    }

    /// When the run began.
    pub(crate) fn origin(&self) -> Instant {
        self.origin
    }

    /// From the beginning to the last answer.
    pub(crate) fn length(&self) -> Duration {
        self.last_answered.saturating_duration_since(self.origin)
    }

    /// Whether nothing was recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_operation.is_empty() && self.errors.is_empty()
    }

    /// Requests that succeeded.
    pub(crate) fn requests(&self) -> u64 {
        self.by_operation.values().map(|of| of.latencies.len()).sum()
    }

    /// The latencies of all operations in one histogram.
    pub(crate) fn latencies(&self) -> Histogram<u64> {
        let mut all = histogram(DIGITS);
        for of_operation in self.by_operation.values() {
            all.add(&of_operation.latencies).ok();
        }
        all
    }

    /// The slice that a time falls into.
    fn slice(&mut self, at: Duration) -> &mut Slice {
        let mut number = self.slice_number(at);
        while number >= SLICES_MAX {
            self.halve();
            number = self.slice_number(at);
        }
        while self.slices.len() < number {
            self.slices.push(Slice::new());
        }
        if self.slices.len() == number {
            self.slices.push(Slice::new());
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "it was pushed just before if it was not there"
        )]
        &mut self.slices[number]
    }

    fn slice_number(&self, at: Duration) -> usize {
        let number = at.as_nanos() / self.slice_time.as_nanos().max(1);
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    /// Puts neighbouring slices together.
    fn halve(&mut self) {
        self.slice_time *= 2;
        let mut halved: Vec<Slice> = Vec::with_capacity(self.slices.len() / 2 + 1);
        for (number, slice) in std::mem::take(&mut self.slices).into_iter().enumerate() {
            match halved.last_mut() {
                Some(before) if number % 2 == 1 => before.absorb(&slice),
                Some(_) | None => halved.push(slice),
            }
        }
        self.slices = halved;
    }

    fn count_error(&mut self, kind: String, errors: ErrorCount) {
        let kind = if self.errors.len() < ERRORS_MAX || self.errors.contains_key(&kind) {
            kind
        } else {
            "other errors".to_owned()
        };
        match self.errors.entry(kind) {
            Entry::Occupied(mut known) => known.get_mut().times += errors.times,
            Entry::Vacant(new) => drop(new.insert(errors)),
        }
    }
}

impl Slice {
    fn new() -> Self {
        Self { latencies: histogram(SLICE_DIGITS), bytes: 0, errors: 0 }
    }

    fn absorb(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).ok();
        self.bytes += other.bytes;
        self.errors += other.errors;
    }
}

impl Default for OfOperation {
    fn default() -> Self {
        Self { latencies: histogram(DIGITS), failed: 0 }
    }
}

/// A histogram of nanoseconds that grows as it needs to.
pub(crate) fn histogram(digits: u8) -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "only more than five digits are refused")]
    let mut histogram = Histogram::new(digits).expect("a histogram of few digits");
    histogram.auto(true);
    histogram
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).clamp(1, LATENCY_NANOS_MAX)
}

/// The counts of a histogram as pairs of a latency in microseconds and how often it was.
pub(crate) fn pairs(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let recorded = histogram.iter_recorded();
    recorded
        .map(|value| {
            let micros =
                Duration::from_nanos(histogram.median_equivalent(value.value_iterated_to()));
            // Three digits behind the point are more than the histogram keeps.
            ((micros.as_secs_f64() * 1e9).round() / 1e3, value.count_since_last_iteration())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(origin: Instant, intended: u64, sent: u64, answered: u64) -> Ended {
        let at = |millis| origin + Duration::from_millis(millis);
        Ended {
            operation: Operation::Upload,
            intended: at(intended),
            sent: at(sent),
            answered: at(answered),
            outcome: Ok(100),
        }
    }

    #[test]
    fn latency_counts_from_the_time_at_which_a_request_should_have_been_sent() {
        let origin = Instant::now();
        let mut recorder = Recorder::new(origin);
        // A server that stands still for a second while a request is due every 10 ms: the
        // connection gets to them late, and each is then answered within a millisecond.
        recorder.take(ended(origin, 0, 0, 1_000));
        for number in 1..100 {
            recorder.take(ended(origin, number * 10, 999 + number, 1_000 + number));
        }
        let latencies = recorder.latencies();
        let millis = |quantile| latencies.value_at_quantile(quantile) / 1_000_000;
        assert!((540..=560).contains(&millis(0.5)), "half waited for {} ms", millis(0.5));
        assert!((990..=1_001).contains(&millis(0.99)), "the slowest for {} ms", millis(0.99));
        assert!(recorder.lateness.max() >= 980_000_000, "and the tool says how late it sent");
    }

    #[test]
    fn what_failed_is_known_of_each_kind_of_request() {
        let origin = Instant::now();
        let mut recorder = Recorder::new(origin);
        recorder.take(ended(origin, 0, 0, 1));
        let refused = Trouble { kind: "status 503".to_owned(), said: String::new() };
        let failing = Ended { outcome: Err(refused), ..ended(origin, 0, 0, 1) };
        recorder.take(Ended { operation: Operation::Merge, ..failing });
        let mut all = Recorder::new(origin);
        all.absorb(recorder);
        let of = |operation| {
            let of = &all.by_operation[&operation];
            (of.latencies.len(), of.failed)
        };
        assert_eq!((of(Operation::Upload), of(Operation::Merge)), ((1, 0), (0, 1)));
        assert_eq!((all.requests(), all.failed()), (1, 1));
    }

    #[test]
    fn a_long_run_keeps_a_bounded_number_of_slices_and_loses_no_request() {
        let origin = Instant::now();
        let mut recorder = Recorder::new(origin);
        for number in 0..20_000 {
            recorder.take(ended(origin, number * 10, number * 10, number * 10 + 1));
        }
        assert!(recorder.slices.len() <= SLICES_MAX);
        assert_eq!(recorder.slice_time, SLICE_TIME * 8);
        let counted: u64 = recorder.slices.iter().map(|slice| slice.latencies.len()).sum();
        assert_eq!((counted, recorder.requests(), recorder.bytes), (20_000, 20_000, 2_000_000));
    }

    #[test]
    fn parts_of_several_threads_make_one_whole() {
        let origin = Instant::now();
        let mut all = Recorder::new(origin);
        all.take(ended(origin, 0, 0, 50));
        let mut other = Recorder::new(origin);
        // Long enough for slices of another length.
        other.take(ended(origin, 40_000, 40_000, 40_010));
        let busy = Trouble { kind: "status 503".to_owned(), said: "busy".to_owned() };
        other.take(Ended { outcome: Err(busy), ..ended(origin, 0, 0, 5) });
        all.absorb(other);
        assert_eq!(all.requests(), 2);
        assert_eq!(all.errors["status 503"].times, 1);
        assert_eq!(all.length(), Duration::from_millis(40_010));
        assert_eq!(all.slices.iter().map(|slice| slice.latencies.len()).sum::<u64>(), 2);
    }

    #[test]
    fn errors_of_any_number_of_kinds_are_counted_in_bounded_memory() {
        let mut recorder = Recorder::new(Instant::now());
        for number in 0..1_000 {
            let one = ErrorCount { times: 1, example: String::new() };
            recorder.count_error(format!("error {number}"), one);
        }
        assert!(recorder.errors.len() <= ERRORS_MAX + 1);
        assert_eq!(recorder.errors.values().map(|errors| errors.times).sum::<u64>(), 1_000);
    }
}
