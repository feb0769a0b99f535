//! Turns at work that only so many may do at once: some work, some wait, the others are refused.
//!
//! The queue's bound is what makes a refusal come at once, and bounds how long those wait who are not
//! refused: without it, ten times too many callers would all wait, most of them in vain.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::counters::Counter;
use crate::sync::timeout;

/// Gives turns in the order in which they were asked for; clones give the same ones.
#[derive(Debug, Clone)]
pub struct Turns {
    at_once: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    wait_max: Duration,
    at_once_max: usize,
    waiting_max: usize,
    refused: Arc<Counter>,
}

/// Leave to work until it is dropped.
#[derive(Debug)]
#[must_use = "another one's turn comes as soon as this is dropped"]
pub struct Turn(OwnedSemaphorePermit);

impl Turn {
    /// So many turns of those that were taken together; the others are given back.
    pub fn shrunk_to(mut self, count: usize) -> Self {
        self.0.split(count).map_or(self, Turn)
    }
}

impl Turns {
    /// Lets so many work at once, and so many wait for so long.
    pub fn new(at_once: usize, waiting_max: usize, wait_max: Duration) -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(at_once)),
            waiting: Arc::new(Semaphore::new(waiting_max)),
            wait_max,
            at_once_max: at_once,
            waiting_max,
            refused: Arc::default(),
        }
    }

    /// A turn if one is free now.
    pub fn try_take(&self) -> Option<Turn> {
        Arc::clone(&self.at_once).try_acquire_owned().ok().map(Turn)
    }

    /// Waits for a turn; `None` if too many wait already, or it did not come in time.
    ///
    /// # Cancellation
    /// A dropped future gives up its place.
    pub async fn take(&self) -> Option<Turn> {
        self.take_many(1).await
    }

    /// As [`Turns::take`], so many turns together, as where each is some memory. Nobody overtakes who waits for
    /// many.
    ///
    /// # Cancellation
    /// A dropped future gives up its place.
    pub async fn take_many(&self, count: u32) -> Option<Turn> {
        if let Ok(turns) = Arc::clone(&self.at_once).try_acquire_many_owned(count) {
            return Some(Turn(turns));
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            self.refused.increment();
            return None;
        };
        let turns = Arc::clone(&self.at_once).acquire_many_owned(count);
        let turn = timeout(self.wait_max, turns).await.ok().and_then(Result::ok).map(Turn);
        if turn.is_none() {
            self.refused.increment();
        }
        turn
    }

    /// Takes so many turns more, to be kept with some that were taken here, where they are free; otherwise
    /// these are given back as well. It never waits: some who have turns and wait for more would wait for each
    /// other.
    pub fn take_more(&self, mut turn: Turn, count: u32) -> Option<Turn> {
        let Ok(more) = Arc::clone(&self.at_once).try_acquire_many_owned(count) else {
            self.refused.increment();
            return None;
        };
        turn.0.merge(more);
        Some(turn)
    }

    /// Waits for a turn, however many wait already and however long it takes: for whoever has done what
    /// cannot be undone and only has to tell, where turns are short. There is always one in the end.
    ///
    /// # Cancellation
    /// A dropped future gives up its place.
    pub async fn take_after_all(&self) -> Option<Turn> {
        Arc::clone(&self.at_once).acquire_owned().await.ok().map(Turn)
    }

    /// Who works, and how many may.
    pub fn working(&self) -> (usize, usize) {
        let free = self.at_once.available_permits();
        (self.at_once_max.saturating_sub(free), self.at_once_max)
    }

    /// Who waits, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        let free = self.waiting.available_permits();
        (self.waiting_max.saturating_sub(free), self.waiting_max)
    }

    /// Those who got no turn.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn some_work_some_wait_and_the_others_are_refused() {
        let turns = Turns::new(1, 1, Duration::from_hours(1));
        let first = turns.take().await.unwrap();
        let waiting = turns.clone();
        let mut second = tokio::spawn(async move { waiting.take().await });
        while turns.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(turns.take().await.is_none(), "the one place to wait is taken");
        assert!(!second.is_finished());
        let behind = turns.clone();
        let third = tokio::spawn(async move { behind.take_after_all().await });
        drop(first);
        let second = (&mut second).await.unwrap().unwrap();
        assert_eq!(turns.waiting.available_permits(), 1);
        drop(second);
        drop(third.await.unwrap().unwrap());
        assert!(turns.take().await.is_some());
    }

    #[tokio::test]
    async fn of_many_turns_those_that_are_not_kept_come_back() {
        let turns = Turns::new(10, 0, Duration::ZERO);
        let many = turns.take_many(8).await.unwrap();
        assert!(turns.take_many(3).await.is_none());
        let kept = many.shrunk_to(2);
        assert_eq!(turns.working(), (2, 10));
        let kept = kept.shrunk_to(3);
        assert_eq!(turns.working(), (2, 10), "there are no more to keep");
        drop(kept);
        assert!(turns.take_many(10).await.is_some());
    }

    #[tokio::test]
    async fn who_asks_for_more_keeps_them_together_and_who_is_refused_gives_all_back() {
        let turns = Turns::new(10, 0, Duration::ZERO);
        let some = turns.take_many(3).await.unwrap();
        let more = turns.take_more(some, 4).unwrap();
        assert_eq!(turns.working(), (7, 10));
        assert!(turns.take_more(more, 4).is_none());
        assert_eq!(turns.working(), (0, 10));
    }

    #[tokio::test]
    async fn who_waits_too_long_or_goes_away_leaves_the_queue() {
        let turns = Turns::new(0, 1, Duration::ZERO);
        for _ in 0..3 {
            assert!(turns.take().await.is_none());
        }
        let turns = Turns::new(0, 1, Duration::from_hours(1));
        for _ in 0..3 {
            let mut gone = Box::pin(turns.take());
            let waits = std::future::poll_fn(|context| {
                std::task::Poll::Ready(gone.as_mut().poll(context).is_pending())
            });
            assert!(waits.await);
        }
    }
}
