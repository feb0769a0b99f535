//! The only writer: journals groups of changes, applies them, answers them.
//!
//! Two threads in a row. The journal thread takes whatever is queued, appends it as one group and
//! syncs once; the index thread applies what is synced, a group or several, in one transaction that
//! readers see at once, and answers. A new file whose plan nothing can have refused any longer
//! ([`footing`]) is answered as soon as it is synced: readers wait for its rows (`visibility.rs`), so
//! that an answer is durable and visible either way (I1). Now and then the index thread makes the
//! index itself durable, and between groups it does the background's work in bounded steps.

mod ahead;

mod background;

mod checkpoint;

mod earned;

mod footing;

mod index_thread;

mod journal_thread;

mod queue;

mod removing;

mod restacked;

mod since_checkpoint;

mod debt;

mod submission;

mod weight;

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

pub(crate) use background::Left;
pub(crate) use debt::Debt;
pub(crate) use footing::{Basis, Footing};
pub(crate) use index_thread::IndexParts;
pub(crate) use submission::{Reply, Submission, Ticket, Verdict};

use crate::counters::Counters;
use crate::disk::{Disk, Promises};
use crate::error::MutationError;
use crate::journal::Journal;
use crate::limits::GROUPS_AHEAD_MAX;
use crate::model::change::{CatalogueChange, Change};
use crate::model::{Origin, Sequence, SetId};
use crate::sync::mpsc::{SyncSender, sync_channel};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Mutex, MutexGuard};
use crate::visibility::Visibility;
use debt::Debts;
use index_thread::{IndexThread, IndexWork, MadeDurable, Until};
use journal_thread::{JournalParts, JournalThread};
use queue::Queue;

/// How often it is looked whether what is on its way to be given back has been.
const GIVEN_BACK_PERIOD: Duration = Duration::from_millis(2);

/// What the committer's threads work on.
#[derive(Debug)]
pub(crate) struct CommitterParts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) journal: Journal,
    pub(crate) readers: IndexParts,
    /// Free bytes below which nothing that grows the store is taken (I7).
    pub(crate) reserve_bytes: u64,
    /// Told of the space that rows on their way to the index will take.
    pub(crate) promises: Promises,
}

/// Handle to the committer's threads.
#[derive(Debug)]
pub(crate) struct Committer {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    debts: Arc<Debts>,
    /// Given up when the committer stops, so that the index thread sees the end.
    work: Mutex<Option<SyncSender<IndexWork>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Committer {
    /// Starts both threads.
    pub(crate) fn start(parts: CommitterParts) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (work, receiver) = sync_channel(GROUPS_AHEAD_MAX);
        let CommitterParts { disk, journal, readers, reserve_bytes, promises } = parts;
        let journal_queue = Arc::clone(&queue);
        let debts = Arc::new(Debts::new(promises));
        let counters = Arc::clone(&readers.store.counters);
        let journal_thread = JournalThread::new(JournalParts {
            disk,
            journal,
            queue: journal_queue,
            index: work.clone(),
            reserve_bytes,
            counters: Arc::clone(&counters),
            debts: Arc::clone(&debts),
            rows: Arc::clone(&readers.store.index),
            visibility: Arc::clone(&readers.store.visibility),
        });
        let visibility = Arc::clone(&readers.store.visibility);
        let index_thread =
            IndexThread::new(Arc::clone(&queue), receiver, readers, Arc::clone(&debts));
        let journal = thread::Builder::new().name("granary-journal".into());
        let index = thread::Builder::new().name("granary-index".into());
        let (journal_guard, index_guard) =
            (FailOnPanic::of(&queue, None), FailOnPanic::of(&queue, Some(visibility)));
        let threads = vec![
            journal.spawn(move || journal_guard.run(|| journal_thread.run()))?,
            index.spawn(move || index_guard.run(|| index_thread.run()))?,
        ];
        let (work, threads) = (Mutex::new(Some(work)), Mutex::new(threads));
        Ok(Self { queue, counters, debts, work, threads })
    }

    /// Queues a change. Never waits; the ticket is redeemed once the change is durable and
    /// visible (I1).
    ///
    /// # Errors
    /// Nothing was queued: too much is, or the store takes no changes.
    pub(crate) fn submit(&self, submission: Submission) -> Result<(), MutationError> {
        let pushed = self.queue.push(submission);
        if matches!(pushed, Err(MutationError::Busy { .. })) {
            self.counters.refused_by_journal.increment();
        }
        pushed
    }

    /// What a plan stands on whose snapshot is taken after this; `None` while something is in flight
    /// that may have it refused.
    pub(crate) fn footing(&self) -> Option<Footing> {
        self.queue.footing()
    }

    /// Queues the end of a set that is given up, whatever else is queued: refused, what was staged
    /// of it would stay on the disk until the next start.
    ///
    /// # Errors
    /// The store takes no changes.
    pub(crate) fn give_up(&self, set: SetId) -> Result<(), MutationError> {
        let (reply, _ticket) = Reply::new(None);
        let change = Change::AbortSet { set };
        self.queue.push_though_full(Submission::of(change, reply))
    }

    /// Queues a change that no dataset's actor planned, and awaits it.
    pub(crate) async fn commit(&self, change: Change, origin: Option<Arc<Origin>>) -> Verdict {
        self.commit_following(change, Debt::default(), origin).await
    }

    /// As [`Committer::commit`], of a change of which more follows than it says.
    pub(crate) async fn commit_following(
        &self,
        change: Change,
        follows: Debt,
        origin: Option<Arc<Origin>>,
    ) -> Verdict {
        let (reply, ticket) = Reply::to(origin);
        self.submit(Submission::of(change, reply).following(follows))?;
        ticket.redeem().await
    }

    /// Makes the index durable now, and lets go of what that lets go of.
    pub(crate) async fn checkpoint(&self) -> Result<(), MutationError> {
        let work = self.work().clone().ok_or(MutationError::Stopping)?;
        let ask = move || ask_for_checkpoint(&work, Until::Removed);
        let asked = tokio::task::spawn_blocking(ask).await;
        let waiting = asked.unwrap_or(None).ok_or_else(|| self.gone())?;
        waiting.await.unwrap_or_else(|_gone| Err(self.gone()))
    }

    /// As [`Committer::checkpoint`], for threads that may block.
    #[cfg(all(test, feature = "interleavings"))]
    pub(crate) fn checkpoint_blocking(&self) -> Result<(), MutationError> {
        self.ask_blocking(Until::Removed)
    }

    /// Makes the index durable now, whatever there is to be removed after that. Blocks.
    pub(crate) fn make_durable_blocking(&self) -> Result<(), MutationError> {
        self.ask_blocking(Until::Durable)
    }

    /// Makes the index durable now, and waits until what that lets go of has given back its bytes, or until
    /// `is_over`. Blocks.
    pub(crate) fn give_back_blocking(
        &self,
        disk: &dyn Disk,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), MutationError> {
        self.make_durable_blocking()?;
        let is_awaited = || self.debts.is_removing() || disk.is_freeing();
        // A store that stops gives back no more.
        while is_awaited() && !is_over() && self.refusal().is_none() {
            thread::sleep(GIVEN_BACK_PERIOD);
        }
        Ok(())
    }

    fn ask_blocking(&self, until: Until) -> Result<(), MutationError> {
        let work = self.work().clone().ok_or(MutationError::Stopping)?;
        let waiting = ask_for_checkpoint(&work, until).ok_or_else(|| self.gone())?;
        drop(work);
        crate::sync::receive(waiting).unwrap_or_else(|_gone| Err(self.gone()))
    }

    /// Has a step of the background's work done now; tells what it left. Blocks while groups wait to be
    /// applied.
    pub(crate) fn step_blocking(&self) -> Result<Left, MutationError> {
        let work = self.work().clone().ok_or(MutationError::Stopping)?;
        let (done, waiting) = oneshot::channel();
        work.send(IndexWork::Step(done)).map_err(|_gone| self.gone())?;
        drop(work);
        crate::sync::receive(waiting).unwrap_or_else(|_gone| Err(self.gone()))
    }

    /// Has the journal go on in a new segment, with a change that changes nothing. Blocks.
    pub(crate) fn begin_segment_blocking(&self) -> Result<(), MutationError> {
        self.queue.want_new_segment();
        let (logins, nodes) = (Vec::new(), Vec::new());
        let change = Change::Catalogue(CatalogueChange::Touch { logins, nodes });
        let (reply, ticket) = Reply::new(None);
        self.submit(Submission::of(change, reply))?;
        ticket.redeem_blocking().map(drop)
    }

    fn work(&self) -> MutexGuard<'_, Option<SyncSender<IndexWork>>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes that are queued for the journal.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Why no change is taken, if none is.
    pub(crate) fn refusal(&self) -> Option<MutationError> {
        self.queue.refusal()
    }

    /// Why the index's thread is not there: it failed, or the store stops.
    fn gone(&self) -> MutationError {
        self.refusal().unwrap_or(MutationError::Stopping)
    }

    /// Whether a change would be refused for want of a place.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Takes nothing more, finishes what is queued, makes the index durable and ends both
    /// threads. Blocks until then.
    pub(crate) fn stop(&self) {
        self.queue.close();
        drop(self.work().take());
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // The journal thread's end tells the index thread that nothing more comes.
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a committer thread panicked");
            }
        }
    }

    /// Ends both threads as a power cut would: nothing queued is finished, nothing is made
    /// durable. For crash tests, whose disk has stopped already.
    #[cfg(feature = "simulation")]
    pub(crate) fn abandon(&self) {
        self.queue.fail(&Arc::new(io::Error::other("abandoned")));
        self.stop();
    }
}

/// Blocks while groups wait to be applied; nothing if the index's thread is gone.
fn ask_for_checkpoint(work: &SyncSender<IndexWork>, until: Until) -> Option<CheckpointMade> {
    let (done, waiting) = oneshot::channel();
    let asked = MadeDurable { until, done };
    work.send(IndexWork::Checkpoint(asked)).ok().map(|()| waiting)
}

type CheckpointMade = oneshot::Receiver<Result<(), MutationError>>;

/// Ends the store for changes if its thread panics: a bug of ours must not leave callers waiting.
#[derive(Debug)]
struct FailOnPanic {
    queue: Arc<Queue>,
    /// Of the thread that readers wait for.
    visibility: Option<Arc<Visibility>>,
}

impl FailOnPanic {
    fn of(queue: &Arc<Queue>, visibility: Option<Arc<Visibility>>) -> Self {
        Self { queue: Arc::clone(queue), visibility }
    }

    fn run(self, work: impl FnOnce()) {
        work();
        drop(self);
    }
}

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.queue.fail(&Arc::new(io::Error::other("a thread of the committer panicked")));
            if let Some(visibility) = &self.visibility {
                visibility.end(Sequence::ZERO);
            }
        }
    }
}
