//! Stalls: times in which nobody was answered although requests were under way.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::numbers::count;

/// A request that waits so long while nobody is answered is in a stall.
const STALL_MIN: Duration = Duration::from_millis(20);

/// Stalls that are remembered one by one; of the rest only their number, and the longest.
const STALLS_MAX: usize = 1_000;

/// A time in which nothing was answered although requests were under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) begun: Instant,
    pub(crate) length: Duration,
}

/// What is known of a load's stalls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stalls {
    /// The first ones.
    pub(crate) each: Vec<Stall>,
    pub(crate) count: u64,
    pub(crate) longest: Duration,
    /// Requests that were in one.
    pub(crate) requests: u64,
}

/// Watches for stalls over all threads of a load: while one of them is answered, there is none.
#[derive(Debug, Default)]
pub(crate) struct Silence(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    /// When somebody was answered last.
    last_answered: Option<Instant>,
    /// The last time without answers that was long enough for a stall.
    gap: Option<Gap>,
    stalls: Stalls,
}

/// From one answer to the next.
#[derive(Debug)]
struct Gap {
    begun: Instant,
    over: Instant,
    /// How long a request waited in it at most, as far as those are answered: a stall once it is long.
    waited: Duration,
    /// Requests that were due so long in it and do not count in a stall yet.
    due: u64,
    /// The longest that a request waited in it which is not measured; a stall once one that is was due in it.
    unmeasured: Option<Stall>,
}

impl Gap {
    /// What of it a request waited for.
    fn stall(&self, sent: Instant, answered: Instant) -> Stall {
        let begun = self.begun.max(sent);
        Stall { begun, length: self.over.min(answered).saturating_duration_since(begun) }
    }
}

impl Silence {
    /// A request that was measured has been answered. It is in a stall from when it was due, since in an open
    /// loop it may have waited for a connection; the stall itself is known from those that were sent.
    pub(crate) fn end(&self, intended: Instant, sent: Instant, answered: Instant) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the first answer the silence is its own request's.
        watched.last_answered.get_or_insert(sent);
        watched.answered(answered);
        watched.waited(intended, sent, answered);
    }

    /// One that was not measured has been: it does not count, but the stall that it waited in is one for those
    /// that do.
    pub(crate) fn end_unmeasured(&self, sent: Instant, answered: Instant) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.answered(answered);
        if let Some(gap) = &mut watched.gap {
            let stall = gap.stall(sent, answered);
            let longest = gap.unmeasured.filter(|longest| longest.length >= stall.length);
            gap.unmeasured = longest.or(Some(stall));
        }
    }

    /// The stalls until now.
    pub(crate) fn stalls(&self) -> Stalls {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stalls.clone()
    }
}

impl Watched {
    fn answered(&mut self, answered: Instant) {
        let before = *self.last_answered.get_or_insert(answered);
        if answered.saturating_duration_since(before) >= STALL_MIN {
            let (begun, over, waited) = (before, answered, Duration::ZERO);
            self.gap = Some(Gap { begun, over, waited, due: 0, unmeasured: None });
        }
        self.last_answered = Some(before.max(answered));
    }

    /// Notes a request that was under way in the last gap. The first one that is answered after it may
    /// have been sent late in it, so each that waited for longer lengthens the stall.
    fn waited(&mut self, intended: Instant, sent: Instant, answered: Instant) {
        let Self { gap: Some(gap), stalls, .. } = self else { return };
        let over = gap.over.min(answered);
        if over.saturating_duration_since(gap.begun.max(intended)) < STALL_MIN {
            return;
        }
        gap.due += 1;
        for stall in [gap.unmeasured.take(), Some(gap.stall(sent, answered))].into_iter().flatten()
        {
            if stall.length >= STALL_MIN && stall.length > gap.waited {
                stalls.note(stall, gap.waited.is_zero());
                gap.waited = stall.length;
            }
        }
        if !gap.waited.is_zero() {
            stalls.requests += std::mem::take(&mut gap.due);
        }
    }
}

impl Stalls {
    /// Notes a stall, or that the last one was longer than it seemed.
    fn note(&mut self, stall: Stall, is_new: bool) {
        self.longest = self.longest.max(stall.length);
        if is_new {
            self.count += 1;
            if self.each.len() < STALLS_MAX {
                self.each.push(stall);
            }
        } else if self.count == count(self.each.len())
            && let Some(last) = self.each.last_mut()
        {
            *last = stall;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_silence_while_requests_are_under_way() {
        let origin = Instant::now();
        let at = |millis| origin + Duration::from_millis(millis);
        let silence = Silence::default();
        silence.end(at(0), at(0), at(1));
        // Nobody asked anything for 100 ms: no stall.
        silence.end(at(100), at(100), at(101));
        assert_eq!(silence.stalls().count, 0);
        // Three were under way for 80 ms, one was sent when it was nearly over.
        for _ in 0..3 {
            silence.end(at(101), at(101), at(181));
        }
        silence.end(at(170), at(170), at(182));
        let Stalls { each, count, longest, requests } = silence.stalls();
        assert_eq!(each, [Stall { begun: at(101), length: Duration::from_millis(80) }]);
        assert_eq!((count, longest, requests), (1, Duration::from_millis(80), 3));
    }

    #[test]
    fn one_connection_sees_a_stall_although_it_sends_after_the_last_answer() {
        let origin = Instant::now();
        let at = |micros| origin + Duration::from_micros(micros);
        let silence = Silence::default();
        silence.end(at(0), at(0), at(1_000));
        silence.end(at(1_001), at(1_001), at(81_001));
        let Stalls { each, count, requests, .. } = silence.stalls();
        assert_eq!(each, [Stall { begun: at(1_001), length: Duration::from_millis(80) }]);
        assert_eq!((count, requests), (1, 1));
    }

    #[test]
    fn a_stall_is_as_long_as_who_waited_longest_says_whoever_is_answered_first() {
        let origin = Instant::now();
        let at = |millis| origin + Duration::from_millis(millis);
        let silence = Silence::default();
        silence.end(at(0), at(0), at(10));
        // All are answered after 90 ms of silence, in the reverse order of sending.
        for sent in [95, 60, 20, 5] {
            silence.end(at(sent), at(sent), at(100));
        }
        let Stalls { each, count, longest, requests } = silence.stalls();
        assert_eq!(each, [Stall { begun: at(10), length: Duration::from_millis(90) }]);
        assert_eq!((count, longest, requests), (1, Duration::from_millis(90), 3));
    }

    #[test]
    fn who_was_due_in_a_stall_was_in_it_although_no_connection_was_free() {
        let origin = Instant::now();
        let at = |millis| origin + Duration::from_millis(millis);
        let silence = Silence::default();
        silence.end(at(0), at(0), at(10));
        // One connection: it was silent up to 110 while a request became due every 10 ms.
        silence.end(at(10), at(10), at(110));
        for number in 2..=10 {
            silence.end(at(10 * number), at(108 + number), at(109 + number));
        }
        let Stalls { count, longest, requests, .. } = silence.stalls();
        // All up to the one that was due at 90.
        assert_eq!((count, longest, requests), (1, Duration::from_millis(100), 9));

        // What waited in the load tool alone is in no stall of the server.
        silence.end(at(150), at(190), at(191));
        assert_eq!((silence.stalls().count, silence.stalls().requests), (1, 9));
        // Unless one that was sent tells that it was silent: then it counts, too.
        silence.end(at(150), at(151), at(192));
        assert_eq!((silence.stalls().count, silence.stalls().requests), (2, 11));
    }

    #[test]
    fn answers_to_requests_that_are_not_measured_are_no_silence() {
        let origin = Instant::now();
        let at = |millis| origin + Duration::from_millis(millis);
        let silence = Silence::default();
        // Of the warm-up, and under way when measuring began at 50.
        for answered in [45, 60, 75] {
            silence.end_unmeasured(at(40), at(answered));
        }
        silence.end(at(50), at(50), at(90));
        assert_eq!(silence.stalls().count, 0);
    }

    #[test]
    fn a_stall_that_began_before_the_run_is_one_for_those_that_were_due_in_it() {
        let origin = Instant::now();
        let at = |millis| origin + Duration::from_millis(millis);
        let silence = Silence::default();
        silence.end_unmeasured(at(0), at(10));
        // Measuring begins at 50, and all connections wait for what was sent before.
        silence.end_unmeasured(at(12), at(110));
        silence.end_unmeasured(at(11), at(111));
        assert_eq!(silence.stalls().count, 0, "nobody who counts was in it");
        silence.end(at(50), at(112), at(113));
        silence.end(at(100), at(113), at(114));
        let Stalls { each, count, requests, .. } = silence.stalls();
        assert_eq!(each, [Stall { begun: at(11), length: Duration::from_millis(99) }]);
        assert_eq!((count, requests), (1, 1));
    }

    #[test]
    fn stalls_beyond_those_that_are_kept_are_counted_and_the_longest_is_known() {
        let origin = Instant::now();
        let silence = Silence::default();
        let mut now = origin;
        for number in 0..u64::try_from(STALLS_MAX).unwrap() + 5 {
            let sent = now;
            now += STALL_MIN + Duration::from_millis(number);
            silence.end(sent, sent, now);
        }
        let stalls = silence.stalls();
        assert_eq!((stalls.each.len(), stalls.count), (STALLS_MAX, 1_005));
        assert_eq!(stalls.longest, STALL_MIN + Duration::from_millis(1_004));
    }
}
