//! Compression side by side: work goes in, and what comes of it comes out in the same order.
//!
//! The [`Press`] is one for all archives. It has a worker for each core, and as many pieces of
//! work wait beside them, so that no core stands still while an archive gathers its next piece.
//! Where no more may wait an archive does its work itself, so it always gets on. What an archive
//! holds is bounded by its [`Line`]. Who did the work, and when, is not to be seen in the outcome.
//!
//! A slow reader's archive has pieces that are done and cannot go. Those beyond the first of each archive
//! are bounded over all archives: whoever may have no more waits for its own first piece, whose work
//! somebody does already or has done. Nobody waits for what others have, so nobody waits for ever.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::CompressError;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::gzip::{ArchiveLevel, Deflater};
use super::output::Stop;
use crate::error::ReadError;
use crate::limits::PIECES_AHEAD_MAX;

/// A piece of work for any worker.
type Job = Box<dyn FnOnce(&mut Deflater) + Send>;

/// The compressors of all archives; clones are handles to the same.
#[derive(Debug, Clone)]
pub(crate) struct Press(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    level: ArchiveLevel,
    workers_max: usize,
    /// Leave for pieces beyond the first of each archive.
    ahead: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Workers that run on the blocking pool.
    workers: usize,
    /// Work that waits for one of them; at most as much as there are workers.
    waiting: VecDeque<Job>,
    /// Compressors that nobody uses; never more than have been used at once.
    idle: Vec<Deflater>,
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, waiting, idle } = self;
        write!(formatter, "{workers} workers, {} waiting, {} idle", waiting.len(), idle.len())
    }
}

/// Who is to do a piece of work.
enum Taker {
    /// A worker that runs already.
    Somebody,
    /// A worker that is to be started with it.
    NewWorker(Job),
    /// Whoever brought it.
    Oneself(Job),
}

impl Press {
    /// A press with so many workers.
    pub(crate) fn new(level: ArchiveLevel, workers_max: usize) -> Self {
        let ahead = Arc::new(Semaphore::new(PIECES_AHEAD_MAX));
        Self(Arc::new(Shared { level, workers_max, ahead, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a job done by a worker if one may take it, or else does it at once.
    fn take(&self, job: Job) {
        let Ok(runtime) = Handle::try_current() else {
            return self.do_oneself(job);
        };
        match self.taker(job) {
            Taker::Somebody => {}
            Taker::NewWorker(job) => {
                let press = self.clone();
                drop(runtime.spawn_blocking(move || press.run_worker(job)));
            }
            Taker::Oneself(job) => self.do_oneself(job),
        }
    }

    fn taker(&self, job: Job) -> Taker {
        let mut state = self.state();
        if state.workers < self.0.workers_max {
            state.workers += 1;
            return Taker::NewWorker(job);
        }
        if state.waiting.len() < self.0.workers_max {
            state.waiting.push_back(job);
            return Taker::Somebody;
        }
        Taker::Oneself(job)
    }

    fn do_oneself(&self, job: Job) {
        let mut deflater = self.deflater();
        job(&mut deflater);
        self.keep(deflater);
    }

    /// Works until nothing waits.
    fn run_worker(&self, first: Job) {
        let mut deflater = self.deflater();
        let mut next = Some(first);
        while let Some(job) = next {
            // Whoever waits for it learns that it broke off, as its end of the channel is gone.
            if catch_unwind(AssertUnwindSafe(|| job(&mut deflater))).is_err() {
                deflater = Deflater::new(self.0.level);
            }
            let mut state = self.state();
            next = state.waiting.pop_front();
            if next.is_none() {
                state.workers -= 1;
            }
        }
        self.keep(deflater);
    }

    fn deflater(&self) -> Deflater {
        let idle = self.state().idle.pop();
        idle.unwrap_or_else(|| Deflater::new(self.0.level))
    }

    fn keep(&self, deflater: Deflater) {
        let mut state = self.state();
        if state.idle.len() <= self.0.workers_max {
            state.idle.push(deflater);
        }
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
    /// For outcomes behind the first, as far as there was leave for them.
    ahead: Vec<OwnedSemaphorePermit>,
}

impl<T: Send + 'static> Line<T> {
    /// A line without work.
    pub(crate) fn new(press: Press) -> Self {
        Self { press, outcomes: VecDeque::new(), ahead: Vec::new() }
    }

    /// Whether nothing is in the line.
    pub(crate) fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Puts an outcome behind what is under way.
    pub(crate) fn put(&mut self, outcome: T) {
        self.push(Outcome::Here(Ok(outcome)));
    }

    /// Has work done by a worker if one may take it, or else does it at once.
    pub(crate) fn work(
        &mut self,
        work: impl FnOnce(&mut Deflater) -> Result<T, CompressError> + Send + 'static,
    ) {
        let (done, outcome) = oneshot::channel();
        self.push(Outcome::UnderWay(outcome));
        self.press.take(Box::new(move |deflater| {
            // The archive may have been given up meanwhile.
            if !done.is_closed() {
                done.send(work(deflater)).ok();
            }
        }));
    }

    fn push(&mut self, outcome: Outcome<T>) {
        if !self.outcomes.is_empty() {
            self.ahead.extend(Arc::clone(&self.press.0.ahead).try_acquire_owned());
        }
        self.outcomes.push_back(outcome);
    }

    fn pop(&mut self) -> Option<Outcome<T>> {
        let first = self.outcomes.pop_front();
        self.ahead.truncate(self.outcomes.len().saturating_sub(1));
        first
    }

    /// Whether more wait behind the first outcome than are useful, or than there is leave for.
    fn is_full(&self) -> bool {
        let behind = self.outcomes.len().saturating_sub(1);
        self.outcomes.len() > self.press.0.workers_max || behind > self.ahead.len()
    }

    /// The first outcome if it is there; waits for it if the line is full.
    pub(crate) fn next(&mut self) -> Result<Option<T>, Stop> {
        if !self.is_full()
            && let Some(Outcome::UnderWay(outcome)) = self.outcomes.front_mut()
        {
            let outcome = match outcome.try_recv() {
                Ok(outcome) => sound(outcome).map(Some),
                Err(oneshot::error::TryRecvError::Empty) => return Ok(None),
                Err(oneshot::error::TryRecvError::Closed) => Err(broken("it broke off")),
            };
            self.pop();
            return outcome;
        }
        self.next_awaited()
    }

    /// The first outcome, waited for; `None` if the line is empty.
    pub(crate) fn next_awaited(&mut self) -> Result<Option<T>, Stop> {
        self.pop().map(awaited).transpose()
    }
}

fn awaited<T>(outcome: Outcome<T>) -> Result<T, Stop> {
    match outcome {
        Outcome::Here(outcome) => sound(outcome),
        // What is there already need not be waited for, which only blocking threads may do.
        Outcome::UnderWay(mut outcome) => sound(match outcome.try_recv() {
            Ok(outcome) => outcome,
            Err(_) => outcome.blocking_recv().map_err(|_broke_off| broken("it broke off"))?,
        }),
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

    /// A press without workers, whose archives do all work themselves.
    pub(crate) fn no_workers() -> Press {
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
            // Both workers are busy, or the second is free again; the order is the same.
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
            let mut line = Line::new(Press::new(ArchiveLevel::default(), 1));
            line.work(|_| panic!("a bug of ours"));
            line.work(|_| Ok(2));
            let broken = line.next_awaited();
            (broken.map(drop), line.next_awaited().unwrap())
        });
        let (broken, next) = outcome.await.unwrap();
        assert!(matches!(broken, Err(Stop::Failed(ReadError::Io { .. }))));
        assert_eq!(next, Some(2), "the worker lives on");
    }

    /// Each archive packs as much ahead as it may behind a first piece that takes its time; then this one
    /// goes to a reader who takes no more.
    #[test]
    fn archives_whose_readers_pause_hold_a_few_pieces_all_together() {
        let press = Press::new(ArchiveLevel::default(), 32);
        let paused = |_| {
            let mut line = Line::new(press.clone());
            let (done, first) = oneshot::channel();
            line.push(Outcome::UnderWay(first));
            while !line.is_full() {
                assert_eq!(line.next().unwrap(), None);
                line.work(|_| Ok(()));
            }
            done.send(Ok(())).unwrap();
            line.next().unwrap().unwrap();
            line
        };
        let mut lines: Vec<Line<()>> = (0..64).map(paused).collect();
        let held: usize = lines.iter().map(|line| line.outcomes.len()).sum();
        assert!(held <= PIECES_AHEAD_MAX + lines.len(), "{held}");
        assert_eq!(lines[0].outcomes.len(), 32, "the first had leave for all that is of use");

        // Whoever has no leave gets on, and what an archive had is for the others when it ends.
        let mut late = lines.pop().unwrap();
        drop(lines);
        late.work(|_| Ok(()));
        while late.next_awaited().unwrap().is_some() {}
        assert_eq!(press.0.ahead.available_permits(), PIECES_AHEAD_MAX);
    }
}
