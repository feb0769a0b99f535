//! A line of the log for every request, as long as there are not too many: a log has a bound as a
//! queue has, or it costs more than what it tells of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use granary_engine::counters::{ByThread, Counter};

use crate::metrics::LinesLeftOut;

/// Lines a second where nobody says otherwise.
const LINES_A_SECOND: u64 = 100;

/// Lines a second about requests that failed by the server's fault.
const FAILURES_A_SECOND: u64 = 100;

/// Lets so many lines a second through.
#[derive(Debug)]
pub(crate) struct AccessLog {
    started: Instant,
    answers: Bound,
    failures: Bound,
}

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The line.
    Line,
    /// The line, and that so many before it were left out.
    LineAfter(u64),
    /// Nothing.
    Nothing,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self::new(LINES_A_SECOND)
    }
}

impl AccessLog {
    /// A log with so many lines a second at most.
    pub(crate) fn new(lines_a_second: u64) -> Self {
        let (answers, failures) = (Bound::new(lines_a_second), Bound::new(FAILURES_A_SECOND));
        Self { started: Instant::now(), answers, failures }
    }

    /// Whether a line about a request is written; those that are not are counted.
    pub(super) fn admit(&self, is_failure: bool, left_out: &LinesLeftOut) -> Verdict {
        let (bound, left_out) = if is_failure {
            (&self.failures, &left_out.failures)
        } else {
            (&self.answers, &left_out.answers)
        };
        bound.admit(self.started.elapsed().as_secs(), left_out)
    }
}

#[derive(Debug)]
struct Bound {
    lines_a_second: u64,
    /// The second that is counted, one more than its number.
    second: AtomicU64,
    /// Lines of it that were let through, and a few more.
    lines: AtomicU64,
    /// Lines that were left out before it.
    left_out_before: AtomicU64,
}

impl Bound {
    fn new(lines_a_second: u64) -> Self {
        let nothing = || AtomicU64::new(0);
        let (second, lines, left_out_before) = (nothing(), nothing(), nothing());
        Self { lines_a_second, second, lines, left_out_before }
    }

    /// Threads that meet at the turn of a second may let a line too many through; nobody minds.
    fn admit(&self, now: u64, left_out: &ByThread<Counter>) -> Verdict {
        let mut before = 0;
        if self.second.load(Ordering::Relaxed) != now + 1
            && self.second.swap(now + 1, Ordering::Relaxed) != now + 1
        {
            self.lines.store(0, Ordering::Relaxed);
            let all = left_out.get();
            before = all.saturating_sub(self.left_out_before.swap(all, Ordering::Relaxed));
        }
        // Under load most are beyond the bound, and write nothing that all threads write.
        if self.lines.load(Ordering::Relaxed) >= self.lines_a_second
            || self.lines.fetch_add(1, Ordering::Relaxed) >= self.lines_a_second
        {
            left_out.increment();
            return Verdict::Nothing;
        }
        if before > 0 { Verdict::LineAfter(before) } else { Verdict::Line }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Line, LineAfter, Nothing};
    use super::*;

    #[test]
    fn what_is_beyond_the_bound_is_counted_and_told_once() {
        let (bound, left_out) = (Bound::new(2), ByThread::default());
        let verdicts: Vec<_> = (0..5).map(|_| bound.admit(7, &left_out)).collect();
        assert_eq!(verdicts, [Line, Line, Nothing, Nothing, Nothing]);
        assert_eq!(left_out.get(), 3);
        assert_eq!(bound.admit(9, &left_out), LineAfter(3));
        assert_eq!(bound.admit(9, &left_out), Line);
        assert_eq!(bound.admit(10, &left_out), Line);
    }

    #[test]
    fn with_a_bound_of_none_there_are_no_lines() {
        let (bound, left_out) = (Bound::new(0), ByThread::default());
        assert_eq!(bound.admit(0, &left_out), Nothing);
        assert_eq!(bound.admit(1, &left_out), Nothing);
    }
}
