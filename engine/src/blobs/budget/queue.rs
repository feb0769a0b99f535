//! Who waits for upload memory, in order, so that nobody begins to wait who would wait for long.
//!
//! How fast memory comes back depends on the disk, so a number of uploads alone bounds no time: as
//! soon as the one at the head has waited for long, the next ones are told to come back, at once
//! and not after a wait that is in vain.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long, and with how many others, an upload waits.
#[derive(Debug, Clone, Copy)]
pub(in crate::blobs) struct Patience {
    /// Uploads that may wait at a time.
    pub(in crate::blobs) waiting_max: usize,
    /// How long the one at the head may have waited while others still join.
    pub(in crate::blobs) late_after: Duration,
    /// How long anybody waits.
    pub(in crate::blobs) wait_max: Duration,
}

impl Patience {
    /// Nobody waits.
    pub(in crate::blobs) const NONE: Self =
        Self { waiting_max: 0, late_after: Duration::ZERO, wait_max: Duration::ZERO };
}

/// The uploads that wait.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Since when each waits, by its number.
    waiting: BTreeMap<u64, Instant>,
}

impl Queue {
    /// Joins those who wait, until the place is dropped.
    ///
    /// # Errors
    /// How many wait, if that are too many or the first one has waited for too long.
    pub(super) fn enter(&self, patience: &Patience) -> Result<Place<'_>, usize> {
        let mut state = self.state();
        let ahead = state.waiting.len();
        let head = state.waiting.first_key_value();
        let is_late = head.is_some_and(|(_, since)| since.elapsed() >= patience.late_after);
        if is_late || ahead >= patience.waiting_max {
            return Err(ahead);
        }
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, Instant::now());
        Ok(Place { queue: self, number, ahead })
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one call, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who wait; given up on drop, also by who goes away while waiting.
#[derive(Debug)]
pub(super) struct Place<'queue> {
    queue: &'queue Queue,
    number: u64,
    ahead: usize,
}

impl Place<'_> {
    /// How many waited when this one came.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.state().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn who_would_be_one_too_many_is_refused_until_another_one_leaves() {
        let queue = Queue::default();
        let patience = Patience { waiting_max: 2, late_after: HOUR, wait_max: HOUR };
        let first = queue.enter(&patience).unwrap();
        let second = queue.enter(&patience).unwrap();
        assert_eq!((first.ahead(), second.ahead()), (0, 1));
        assert_eq!(queue.enter(&patience).unwrap_err(), 2);
        drop(first);
        let third = queue.enter(&patience).unwrap();
        drop((second, third));
        assert!(queue.is_empty());
    }

    #[test]
    fn nobody_joins_while_the_head_is_late_however_few_wait() {
        let queue = Queue::default();
        let late = Patience { waiting_max: 9, late_after: Duration::ZERO, wait_max: HOUR };
        let first = queue.enter(&late).unwrap();
        assert_eq!(queue.enter(&late).unwrap_err(), 1);
        let patient = Patience { late_after: HOUR, ..late };
        let second = queue.enter(&patient).unwrap();
        drop(first);
        // The next one is the head, and late as well.
        assert_eq!(queue.enter(&late).unwrap_err(), 1);
        drop(second);
        assert!(queue.enter(&late).is_ok());
    }
}
