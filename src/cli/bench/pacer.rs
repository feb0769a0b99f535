//! The clock of an open loop: says when each request is due, whatever became of those before.
//!
//! A timer of the kernel, since those of the runtime are good to a millisecond, which is longer
//! than many answers take.

use std::cell::RefCell;
use std::collections::VecDeque;
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

/// Requests that are due and not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Number and time of each; nothing more will come when it is closed.
    queue: RefCell<(VecDeque<(u64, Instant)>, bool)>,
    changed: Notify,
}

impl Due {
    /// The next request that is due; waits for it. `None` when there will be none.
    pub(crate) async fn next(&self) -> Option<(u64, Instant)> {
        loop {
            {
                let mut queue = self.queue.borrow_mut();
                if let Some(next) = queue.0.pop_front() {
                    return Some(next);
                }
                if queue.1 {
                    // Others may wait who were not told.
                    self.changed.notify_one();
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn put(&self, number: u64, at: Instant) {
        self.queue.borrow_mut().0.push_back((number, at));
        self.changed.notify_one();
    }

    fn close(&self) {
        self.queue.borrow_mut().1 = true;
        self.changed.notify_one();
    }

    /// Takes back what is due and was not taken; gives how many requests that were.
    pub(crate) fn take_back(&self) -> usize {
        std::mem::take(&mut self.queue.borrow_mut().0).len()
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

    /// Puts what is due before this time, from a number on; gives the number that is due next.
    fn put_before(&self, until: Instant, mut number: u64, due: &Due) -> u64 {
        while number < self.end && self.time_of(number) < until {
            due.put(number, self.time_of(number));
            number = number.saturating_add(self.stride);
        }
        number
    }

    /// How long the clock waits before it looks for this number.
    fn wait(&self, number: u64, now: Instant) -> Duration {
        let wait = self.time_of(number).saturating_duration_since(now);
        wait.clamp(WAKE_INTERVAL_MIN, WAKE_INTERVAL_MAX)
    }
}

/// Puts requests into the queue as they become due, until all are or `over_since` gives an end. What
/// was due before that is sent all the same: leaving it out would leave out the slowest.
///
/// # Errors
/// The kernel has no timer for us.
pub(crate) async fn beat(
    beat: Beat,
    due: &Due,
    mut over_since: impl FnMut(Instant) -> Option<Instant>,
) -> io::Result<()> {
    let timer = Timer::new()?;
    let mut number = beat.first;
    while number < beat.end {
        let now = Instant::now();
        let over = over_since(now);
        number = beat.put_before(over.unwrap_or(now), number, due);
        if over.is_some() {
            break;
        }
        timer.wait(beat.wait(number, now)).await?;
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
        let shape = Beat { begin, rate: 50_000.0, first: 1, stride: 3, end: 100 };
        let due = Due::default();
        beat(shape, &due, |_| None).await.unwrap();
        let mut numbers = Vec::new();
        while let Some((number, at)) = due.next().await {
            assert_eq!(at, begin + Duration::from_micros(20 * number));
            numbers.push(number);
        }
        assert_eq!(numbers, (1..100).step_by(3).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_waits_learns_of_the_end() {
        let due = Due::default();
        let end = async { due.close() };
        let (first, second, ()) = tokio::join!(due.next(), due.next(), end);
        assert_eq!((first, second), (None, None));
    }

    #[tokio::test]
    async fn what_was_due_when_time_was_up_is_sent_or_counted() {
        let begin = Instant::now();
        let shape = Beat { begin, rate: 1e6, first: 0, stride: 1, end: u64::MAX };
        let due = Due::default();
        let mut looks = 0;
        let over_since = |now| {
            looks += 1;
            (looks > 2).then_some(now)
        };
        beat(shape, &due, over_since).await.unwrap();
        assert_eq!(due.next().await, Some((0, begin)));
        assert!(due.take_back() > 0);
        assert_eq!(due.next().await, None);
    }

    #[tokio::test]
    async fn what_became_due_since_the_last_look_is_sent_and_nothing_that_is_due_later() {
        let begin = Instant::now();
        let shape = Beat { begin, rate: 1e6, first: 0, stride: 1, end: u64::MAX };
        let due = Due::default();
        let end = begin + Duration::from_micros(4);
        beat(shape, &due, |_| Some(end)).await.unwrap();
        for number in 0..4 {
            assert_eq!(due.next().await, Some((number, begin + Duration::from_micros(number))));
        }
        assert_eq!(due.next().await, None);
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
