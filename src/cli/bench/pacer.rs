//! The clock of an open loop: says when each request is due, whatever became of those before.
//!
//! A timer of the kernel, since those of the runtime are good to a millisecond, which is longer
//! than many answers take.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// The clock wakes no more often than this, so that it costs little. Requests are due at their
/// own times all the same, and their latencies count from there.
const WAKE_INTERVAL_MIN: Duration = Duration::from_micros(100);

/// It looks at least this often whether the load has been stopped.
const WAKE_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Requests that are due and not taken yet, in two numbers, however many they are.
#[derive(Debug)]
pub(crate) struct Due {
    beat: Beat,
    /// Number of the request that is taken next.
    next: Cell<u64>,
    /// Number of the first that is not due yet.
    until: Cell<u64>,
    /// Whether nothing more becomes due.
    is_closed: Cell<bool>,
    changed: Notify,
}

impl Due {
    /// Nothing is due yet.
    pub(crate) fn new(beat: Beat) -> Self {
        Self {
            beat,
            next: Cell::new(beat.first),
            until: Cell::new(beat.first),
            is_closed: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// The next request that is due; waits for it. `None` when there will be none.
    pub(crate) async fn next(&self) -> Option<(u64, Instant)> {
        loop {
            let number = self.next.get();
            if number < self.until.get() {
                self.next.set(number.saturating_add(self.beat.stride));
                return Some((number, self.beat.time_of(number)));
            }
            if self.is_closed.get() {
                // Others may wait who were not told.
                self.changed.notify_one();
                return None;
            }
            self.changed.notified().await;
        }
    }

    /// Lets be taken what is due before this time; gives the number that is due next.
    fn advance(&self, now: Instant) -> u64 {
        let mut number = self.until.get();
        while number < self.beat.end && self.beat.time_of(number) < now {
            number = number.saturating_add(self.beat.stride);
            self.until.set(number);
            self.changed.notify_one();
        }
        number
    }

    fn close(&self) {
        self.is_closed.set(true);
        self.changed.notify_one();
    }

    /// Takes back what is due and was not taken; gives how many of those requests have this number or a
    /// higher one.
    pub(crate) fn take_back(&self, from: u64) -> u64 {
        let until = self.until.get();
        let taken_back = self.next.replace(until);
        let before = from.saturating_sub(taken_back).div_ceil(self.beat.stride);
        until.saturating_sub(taken_back).div_ceil(self.beat.stride).saturating_sub(before)
    }
}

/// Which requests of a rate are one thread's, and when they end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    /// When request number zero is due.
    pub(crate) begin: Instant,
    /// Requests in a second, over all threads.
    pub(crate) rate: f64,
    /// Number of this thread's first request.
    pub(crate) first: u64,
    /// From one request of this thread to its next.
    pub(crate) stride: u64,
    /// Number at which it ends.
    pub(crate) end: u64,
}

impl Beat {
    /// When a request is due.
    fn time_of(&self, number: u64) -> Instant {
        self.begin + Duration::from_secs_f64(super::numbers::float(number) / self.rate)
    }

    /// How long the clock waits before it looks for this number.
    fn wait(&self, number: u64, now: Instant) -> Duration {
        let wait = self.time_of(number).saturating_duration_since(now);
        wait.clamp(WAKE_INTERVAL_MIN, WAKE_INTERVAL_MAX)
    }
}

/// Lets requests be taken as they become due, until all are or `is_stopped` says so.
///
/// # Errors
/// The kernel has no timer for us.
pub(crate) async fn beat(due: &Due, mut is_stopped: impl FnMut() -> bool) -> io::Result<()> {
    let timer = Timer::new()?;
    loop {
        let now = Instant::now();
        let next = due.advance(now);
        if next >= due.beat.end || is_stopped() {
            break;
        }
        timer.wait(due.beat.wait(next, now)).await?;
    }
    due.close();
    Ok(())
}

/// A timer that is good to some microseconds.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "sound for a descriptor that is owned; what is new is unsafe"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self(timer))
    }

    async fn wait(&self, time: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: never, it_value: time };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut times = [0; 8];
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut times)?));
            if let Ok(read) = read {
                return read.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_of_a_thread_is_due_once_and_at_its_time() {
        let begin = Instant::now();
        let due = Due::new(Beat { begin, rate: 50_000.0, first: 1, stride: 3, end: 100 });
        beat(&due, || false).await.unwrap();
        let mut numbers = Vec::new();
        while let Some((number, at)) = due.next().await {
            assert_eq!(at, begin + Duration::from_micros(20 * number));
            numbers.push(number);
        }
        assert_eq!(numbers, (1..100).step_by(3).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_waits_learns_of_the_end() {
        let begin = Instant::now();
        let due = Due::new(Beat { begin, rate: 1.0, first: 0, stride: 1, end: 9 });
        let end = async { due.close() };
        let (first, second, ()) = tokio::join!(due.next(), due.next(), end);
        assert_eq!((first, second), (None, None));
    }

    #[tokio::test]
    async fn nothing_becomes_due_after_a_stop() {
        let begin = Instant::now();
        let due = Due::new(Beat { begin, rate: 1e6, first: 0, stride: 1, end: u64::MAX });
        let mut looks = 0;
        let is_stopped = || {
            looks += 1;
            looks > 2
        };
        beat(&due, is_stopped).await.unwrap();
        assert_eq!(due.next().await, Some((0, begin)));
        assert!(due.take_back(0) > 0);
        assert_eq!(due.next().await, None);
    }

    #[test]
    fn of_what_was_never_taken_what_would_not_have_been_measured_is_left_out() {
        let begin = Instant::now();
        for (first, from, wanted) in [(0, 0, 34), (0, 50, 17), (1, 50, 16), (2, 99, 0), (0, 200, 0)]
        {
            let due = Due::new(Beat { begin, rate: 1e6, first, stride: 3, end: 100 });
            // Long after the last of them is due: what comes after the end is not.
            due.advance(begin + Duration::from_secs(1));
            let counted = (first..100).step_by(3).filter(|number| *number >= from).count();
            assert_eq!(due.take_back(from), super::super::numbers::count(counted));
            assert_eq!(counted, wanted, "{first} {from}");
            assert_eq!(due.take_back(from), 0, "it is gone");
        }
    }

    #[test]
    fn the_clock_heeds_a_stop_however_rare_requests_are() {
        let begin = Instant::now();
        let shape = Beat { begin, rate: 0.001, first: 0, stride: 1, end: u64::MAX };
        assert_eq!(shape.wait(1, begin), Duration::from_secs(1));
        let shortly_before = begin + Duration::from_millis(999_900);
        assert_eq!(shape.wait(1, shortly_before), Duration::from_millis(100));
    }
}
