//! The memory of all uploads in flight, counted in KiB.
//!
//! Nobody waits for long while holding a share: an upload waits with its first bytes in hand, and
//! later only tries, or waits again after it gave everything back; an archive's intake, which may
//! hold the members before, waits for an instant and then does without. So uploads cannot wait for
//! each other, however small the budget is.
//!
//! Who could only wait for long is refused at once: [`Queue`].

mod queue;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::byte_count;
use crate::counters::Counter;
use crate::error::MutationError;
use crate::sync::timeout;
pub(super) use queue::Patience;
use queue::Queue;

/// Bytes of one unit; a semaphore counts in `u32`, and a small file needs no finer measure.
const UNIT_BYTES: usize = 1 << 10;

/// Bounds the bytes that uploads hold in memory.
#[derive(Debug)]
pub(super) struct Budget {
    semaphore: Arc<Semaphore>,
    /// Units of the whole budget; nobody can be granted more.
    units: u32,
    patience: Patience,
    queue: Queue,
    /// Those who were refused, at once or after they waited in vain.
    refused: Counter,
}

impl Budget {
    /// Makes a budget of so many bytes, for which uploads wait with such patience.
    pub(super) fn new(bytes: usize, patience: Patience) -> Self {
        let units = units_of(bytes);
        Self {
            semaphore: Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(usize::MAX))),
            units,
            patience,
            queue: Queue::default(),
            refused: Counter::default(),
        }
    }

    /// Waits for a share of so many bytes, or of the whole budget where that is smaller.
    ///
    /// # Errors
    /// [`MutationError::Busy`] at once where too many wait already, or the others wait for too long;
    /// otherwise once the patience is at its end.
    pub(super) async fn acquire(&self, bytes: usize) -> Result<Share, MutationError> {
        let units = units_of(bytes).min(self.units);
        if let Some(share) = self.try_acquire_units(units) {
            return Ok(share);
        }
        let busy = |waiting| {
            self.refused.increment();
            MutationError::Busy { what: "upload memory", waiting }
        };
        let place = self.queue.enter(&self.patience).map_err(busy)?;
        let permit = Arc::clone(&self.semaphore).acquire_many_owned(units);
        if let Ok(Ok(permit)) = timeout(self.patience.wait_max, permit).await {
            return Ok(Share(Some(permit)));
        }
        Err(busy(place.ahead()))
    }

    /// Takes a share of so many bytes if that much is free now.
    pub(super) fn try_acquire(&self, bytes: usize) -> Option<Share> {
        self.try_acquire_units(units_of(bytes))
    }

    /// Takes a share of so many bytes if more than three quarters of the budget are free now.
    pub(super) fn try_acquire_of_plenty(&self, bytes: usize) -> Option<Share> {
        let (used, all) = self.used();
        if used >= all / 4 {
            return None;
        }
        self.try_acquire(bytes)
    }

    /// Takes a share of so many bytes, or none if it is not free within `wait_max`. Blocks.
    ///
    /// Parks the thread itself, since callers need not be threads of a runtime.
    pub(super) fn acquire_blocking(&self, bytes: usize, wait_max: Duration) -> Option<Share> {
        let wait_max = wait_max.min(self.patience.wait_max);
        let start = Instant::now();
        let permit = Arc::clone(&self.semaphore).acquire_many_owned(units_of(bytes));
        let mut permit = pin!(permit);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            if let Poll::Ready(permit) = permit.as_mut().poll(&mut Context::from_waker(&waker)) {
                return permit.ok().map(|permit| Share(Some(permit)));
            }
            let left = wait_max.saturating_sub(start.elapsed());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    }

    fn try_acquire_units(&self, units: u32) -> Option<Share> {
        let permit = Arc::clone(&self.semaphore).try_acquire_many_owned(units);
        permit.ok().map(|permit| Share(Some(permit)))
    }

    /// Whether an upload waits for memory.
    pub(super) fn is_short(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Makes a budget for which any number of uploads wait, each for so long.
    #[cfg(test)]
    pub(super) fn for_all(bytes: usize, wait_max: Duration) -> Self {
        let patience = Patience { waiting_max: usize::MAX, late_after: Duration::MAX, wait_max };
        Self::new(bytes, patience)
    }

    /// Uploads that wait, and those that were refused.
    pub(super) fn waiting(&self) -> (usize, u64) {
        (self.queue.len(), self.refused.get())
    }

    /// Bytes that are taken, and all that there are.
    pub(super) fn used(&self) -> (u64, u64) {
        let all = u64::from(self.units);
        let free = u64::try_from(self.semaphore.available_permits()).unwrap_or(u64::MAX);
        let unit = byte_count(UNIT_BYTES);
        (all.saturating_sub(free) * unit, all * unit)
    }

    /// Bytes that are free now.
    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.semaphore.available_permits() * UNIT_BYTES
    }
}

fn units_of(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// One upload's part of the budget; given back on drop. The default is no part at all.
#[derive(Debug, Default)]
pub(crate) struct Share(Option<OwnedSemaphorePermit>);

impl Share {
    /// Bytes that this share allows.
    pub(super) fn bytes(&self) -> usize {
        let units = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        units.saturating_mul(UNIT_BYTES)
    }

    /// Adds another share of the same budget.
    pub(super) fn merge(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(permit), Some(more)) => permit.merge(more),
            (none, other) => *none = none.take().or(other),
        }
    }

    /// Gives back what so many bytes do not need.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let excess = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT_BYTES));
            drop(permit.split(excess));
        }
    }
}

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_is_never_larger_than_the_budget() {
        let budget = Budget::for_all(4 << 10, Duration::ZERO);
        let share = budget.acquire(1 << 20).await.unwrap();
        assert_eq!(share.bytes(), 4 << 10);
        assert!(budget.try_acquire(1).is_none());
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told_to_come_back() {
        let budget = Budget::for_all(1 << 10, Duration::ZERO);
        let _all = budget.acquire(1).await.unwrap();
        let refused = budget.acquire(1).await;
        assert!(matches!(refused, Err(MutationError::Busy { .. })));
        assert!(!budget.is_short());
        // No bytes need no memory.
        budget.acquire(0).await.unwrap();
    }

    #[tokio::test]
    async fn who_would_wait_for_long_is_told_at_once() {
        let hour = Duration::from_hours(1);
        let patience = Patience { waiting_max: 1, late_after: hour, wait_max: hour };
        let budget = Arc::new(Budget::new(1 << 10, patience));
        let all = budget.acquire(1).await.unwrap();
        let other = Arc::clone(&budget);
        let waiting = tokio::spawn(async move { other.acquire(1).await });
        while !budget.is_short() {
            tokio::task::yield_now().await;
        }
        let refused = budget.acquire(1).await;
        assert!(matches!(refused, Err(MutationError::Busy { waiting: 1, .. })), "{refused:?}");
        drop(all);
        assert_eq!(waiting.await.unwrap().unwrap().bytes(), 1 << 10);
    }

    #[test]
    fn three_quarters_are_for_those_who_need_them() {
        let budget = Budget::for_all(8 << 10, Duration::ZERO);
        let first = budget.try_acquire_of_plenty(1 << 10).unwrap();
        let share = (first, budget.try_acquire_of_plenty(1 << 10).unwrap());
        assert!(budget.try_acquire_of_plenty(1).is_none());
        drop(share);
        assert!(budget.try_acquire_of_plenty(9 << 10).is_none());
        assert!(budget.try_acquire_of_plenty(8 << 10).is_some());
    }

    #[test]
    fn a_thread_that_waits_gets_what_comes_back() {
        let budget = Budget::for_all(2 << 10, Duration::MAX);
        assert!(budget.acquire_blocking(3 << 10, Duration::ZERO).is_none());
        let share = budget.acquire_blocking(2 << 10, Duration::ZERO).unwrap();
        assert!(budget.acquire_blocking(1, Duration::ZERO).is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.acquire_blocking(1 << 10, Duration::from_mins(10)));
            drop(share);
            assert_eq!(waiting.join().unwrap().unwrap().bytes(), 1 << 10);
        });
    }

    #[tokio::test]
    async fn shares_grow_shrink_and_come_back() {
        let budget = Budget::for_all(8 << 10, Duration::ZERO);
        let mut share = Share::default();
        share.merge(budget.try_acquire(2 << 10).unwrap());
        share.merge(budget.try_acquire(4 << 10).unwrap());
        assert_eq!((share.bytes(), budget.available()), (6 << 10, 2 << 10));
        share.shrink_to(1025);
        assert_eq!((share.bytes(), budget.available()), (2 << 10, 6 << 10));
        drop(share);
        assert_eq!(budget.available(), 8 << 10);
    }
}
