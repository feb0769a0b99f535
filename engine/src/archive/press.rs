//! Compression side by side: work goes in, and what comes of it comes out in the same order.
//!
//! The [`Press`] is one for all archives. It has a place for each core; where they are all taken,
//! an archive does its work itself, so it always gets on and nothing waits for a place. What an
//! archive holds is bounded by its [`Line`]. Who did the work, and when, is not to be seen in the
//! outcome.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::CompressError;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::gzip::{ArchiveLevel, Deflater};
use super::output::Stop;
use crate::error::ReadError;

/// The compressors of all archives; clones are handles to the same.
#[derive(Debug, Clone)]
pub(crate) struct Press {
    level: ArchiveLevel,
    places: Arc<Semaphore>,
    places_max: usize,
    /// Compressors that nobody uses; never more than have been used at once.
    idle: Arc<Mutex<Vec<Deflater>>>,
}

impl Press {
    /// A press with so many places.
    pub(crate) fn new(level: ArchiveLevel, places: usize) -> Self {
        Self {
            level,
            places: Arc::new(Semaphore::new(places)),
            places_max: places,
            idle: Arc::default(),
        }
    }

    fn with_deflater<T>(&self, work: impl FnOnce(&mut Deflater) -> T) -> T {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut deflater = idle.unwrap_or_else(|| Deflater::new(self.level));
        let outcome = work(&mut deflater);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() <= self.places_max {
            idle.push(deflater);
        }
        outcome
    }
}

/// What has come, or is to come, of work.
#[derive(Debug)]
enum Outcome<T> {
    Here(Result<T, CompressError>),
    UnderWay(oneshot::Receiver<Result<T, CompressError>>),
}

/// The work of one archive, in its order.
#[derive(Debug)]
pub(crate) struct Line<T> {
    press: Press,
    outcomes: VecDeque<Outcome<T>>,
}

impl<T: Send + 'static> Line<T> {
    /// A line without work.
    pub(crate) fn new(press: Press) -> Self {
        Self { press, outcomes: VecDeque::new() }
    }

    /// Whether nothing is in the line.
    pub(crate) fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Puts an outcome behind what is under way.
    pub(crate) fn put(&mut self, outcome: T) {
        self.outcomes.push_back(Outcome::Here(Ok(outcome)));
    }

    /// Has work done on the blocking pool if there is a place for it, or else does it at once.
    pub(crate) fn work(
        &mut self,
        work: impl FnOnce(&mut Deflater) -> Result<T, CompressError> + Send + 'static,
    ) {
        let place = Arc::clone(&self.press.places).try_acquire_owned();
        let (Ok(place), Ok(runtime)) = (place, Handle::try_current()) else {
            self.outcomes.push_back(Outcome::Here(self.press.with_deflater(work)));
            return;
        };
        let (done, outcome) = oneshot::channel();
        let press = self.press.clone();
        drop(runtime.spawn_blocking(move || {
            let outcome = press.with_deflater(work);
            drop(place);
            // The archive may have been given up meanwhile.
            done.send(outcome).ok();
        }));
        self.outcomes.push_back(Outcome::UnderWay(outcome));
    }

    /// The first outcome if it is there; waits for it if more wait behind it than are useful.
    pub(crate) fn next(&mut self) -> Result<Option<T>, Stop> {
        let is_full = self.outcomes.len() > self.press.places_max;
        match self.outcomes.pop_front() {
            Some(Outcome::UnderWay(mut outcome)) if !is_full => match outcome.try_recv() {
                Ok(outcome) => sound(outcome).map(Some),
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.outcomes.push_front(Outcome::UnderWay(outcome));
                    Ok(None)
                }
                Err(oneshot::error::TryRecvError::Closed) => Err(broken("it broke off")),
            },
            Some(outcome) => awaited(outcome).map(Some),
            None => Ok(None),
        }
    }

    /// The first outcome, waited for; `None` if the line is empty.
    pub(crate) fn next_awaited(&mut self) -> Result<Option<T>, Stop> {
        self.outcomes.pop_front().map(awaited).transpose()
    }
}

fn awaited<T>(outcome: Outcome<T>) -> Result<T, Stop> {
    match outcome {
        Outcome::Here(outcome) => sound(outcome),
        Outcome::UnderWay(outcome) => {
            sound(outcome.blocking_recv().map_err(|_broke_off| broken("it broke off"))?)
        }
    }
}

fn sound<T>(outcome: Result<T, CompressError>) -> Result<T, Stop> {
    outcome.map_err(broken)
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Stop {
    Stop::Failed(ReadError::Io {
        what: "what the compressor made of an archive",
        source: io::Error::other(error),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A press whose archives do all work themselves.
    pub(crate) fn no_places() -> Press {
        Press::new(ArchiveLevel::default(), 0)
    }

    /// The first piece of work ends only after the last one was begun.
    #[tokio::test]
    async fn outcomes_come_in_order_whoever_is_ready_first() {
        let outcomes = tokio::task::spawn_blocking(|| {
            let mut line = Line::new(Press::new(ArchiveLevel::default(), 2));
            let (go_on, wait) = std::sync::mpsc::channel();
            line.work(move |_| {
                wait.recv().unwrap();
                Ok(0)
            });
            line.work(|_| Ok(1));
            // Both places are taken, or the second is free again; the order is the same.
            line.work(|_| Ok(2));
            line.put(3);
            go_on.send(()).unwrap();
            let mut outcomes = Vec::new();
            while let Some(outcome) = line.next_awaited().unwrap() {
                outcomes.push(outcome);
            }
            assert!(line.is_empty() && line.next().unwrap().is_none());
            outcomes
        });
        assert_eq!(outcomes.await.unwrap(), [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn what_is_not_ready_is_waited_for_only_if_the_line_is_full() {
        let waited = tokio::task::spawn_blocking(|| {
            let mut line = Line::new(Press::new(ArchiveLevel::default(), 1));
            let (go_on, wait) = std::sync::mpsc::channel::<()>();
            line.work(move |_| {
                wait.recv().ok();
                Ok(0)
            });
            assert_eq!(line.next().unwrap(), None);
            drop(go_on);
            line.put(1);
            assert_eq!(line.next().unwrap(), Some(0));
            line.next().unwrap()
        });
        assert_eq!(waited.await.unwrap(), Some(1));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_not_an_end() {
        let outcome = tokio::task::spawn_blocking(|| {
            let mut line = Line::<u8>::new(Press::new(ArchiveLevel::default(), 1));
            line.work(|_| panic!("a bug of ours"));
            line.next_awaited().map(drop)
        });
        assert!(matches!(outcome.await.unwrap(), Err(Stop::Failed(ReadError::Io { .. }))));
    }
}
