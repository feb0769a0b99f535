//! Stalls: times in which nobody was answered although requests were under way.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Nothing was answered for so long: a stall, if requests were under way.
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
    /// Requests that were under way in one.
    pub(crate) requests: u64,
}

/// Watches for stalls over all threads of a load: while one of them is answered, there is none.
#[derive(Debug, Default)]
pub(crate) struct Silence(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    /// When somebody was answered last, or measuring began.
    last_answered: Option<Instant>,
    /// When the last stall began and ended; requests that were sent before it were in it.
    last: Option<(Instant, Instant)>,
    stalls: Stalls,
}

impl Silence {
    /// Measuring begins.
    pub(crate) fn begin(&self, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last_answered.get_or_insert(at);
    }

    /// A request that was measured has been answered.
    pub(crate) fn end(&self, sent: Instant, answered: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end(sent, answered);
    }

    /// The stalls until now.
    pub(crate) fn stalls(&self) -> Stalls {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stalls.clone()
    }
}

impl Watched {
    fn end(&mut self, sent: Instant, answered: Instant) {
        let before = *self.last_answered.get_or_insert(sent);
        let length = answered.saturating_duration_since(before);
        // Under way all through the gap, so it was the server that was silent.
        if length >= STALL_MIN && sent <= before {
            self.last = Some((before, answered));
            self.stalls.count += 1;
            self.stalls.longest = self.stalls.longest.max(length);
            if self.stalls.each.len() < STALLS_MAX {
                self.stalls.each.push(Stall { begun: before, length });
            }
        }
        if let Some((begun, over)) = self.last
            && sent <= begun
            && answered >= over
        {
            self.stalls.requests += 1;
        }
        self.last_answered = Some(before.max(answered));
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
        silence.begin(origin);
        silence.end(at(0), at(1));
        // Nobody asked anything for 100 ms: no stall.
        silence.end(at(100), at(101));
        assert_eq!(silence.stalls().count, 0);
        // Three were under way for 80 ms, one was sent meanwhile.
        for _ in 0..3 {
            silence.end(at(101), at(181));
        }
        silence.end(at(150), at(182));
        let Stalls { each, count, longest, requests } = silence.stalls();
        assert_eq!(each, [Stall { begun: at(101), length: Duration::from_millis(80) }]);
        assert_eq!((count, longest, requests), (1, Duration::from_millis(80), 3));
    }

    #[test]
    fn stalls_beyond_those_that_are_kept_are_counted_and_the_longest_is_known() {
        let origin = Instant::now();
        let silence = Silence::default();
        silence.begin(origin);
        let mut now = origin;
        for number in 0..u64::try_from(STALLS_MAX).unwrap() + 5 {
            let sent = now;
            now += STALL_MIN + Duration::from_millis(number);
            silence.end(sent, now);
        }
        let stalls = silence.stalls();
        assert_eq!((stalls.each.len(), stalls.count), (STALLS_MAX, 1_005));
        assert_eq!(stalls.longest, STALL_MIN + Duration::from_millis(1_004));
    }
}
