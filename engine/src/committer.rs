//! The only writer: journals groups of changes, applies them, answers them.
//!
//! Two threads in a row. The journal thread takes whatever is queued, appends it as one group and
//! syncs once; the index thread applies the group in one transaction that readers see at once,
//! and only then answers (I1). While group n is applied, group n+1 is being synced. Now and then
//! the index thread makes the index itself durable, and between groups it does the background's
//! work in bounded steps.

mod index_thread;

mod journal_thread;

mod queue;

mod submission;

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub(crate) use submission::{Reply, Submission, Ticket, Verdict};

use crate::blobs::Blobs;
use crate::disk::Disk;
use crate::error::MutationError;
use crate::index::rows::AppliedRow;
use crate::journal::Journal;
use crate::leases::Leases;
use crate::limits::GROUPS_AHEAD_MAX;
use crate::model::change::Change;
use crate::store::SharedIndex;
use index_thread::{IndexThread, IndexWork};
use journal_thread::JournalThread;
use queue::Queue;

/// What the committer's threads work on.
#[derive(Debug)]
pub(crate) struct CommitterParts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) journal: Journal,
    pub(crate) index: Arc<SharedIndex>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) applied: AppliedRow,
    /// Free bytes below which nothing that grows the store is taken (I7).
    pub(crate) reserve_bytes: u64,
}

/// Handle to the committer's threads.
#[derive(Debug)]
pub(crate) struct Committer {
    queue: Arc<Queue>,
    /// Given up when the committer stops, so that the index thread sees the end.
    work: Mutex<Option<SyncSender<IndexWork>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Committer {
    /// Starts both threads.
    pub(crate) fn start(parts: CommitterParts) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (work, receiver) = sync_channel(GROUPS_AHEAD_MAX);
        let segments = parts.journal.segments();
        let journal_thread = JournalThread::new(
            Arc::clone(&parts.disk),
            parts.journal,
            Arc::clone(&queue),
            work.clone(),
            parts.reserve_bytes,
        );
        let index_thread = IndexThread::new(
            Arc::clone(&queue),
            receiver,
            parts.index,
            parts.blobs,
            segments,
            parts.leases,
            parts.applied,
        );
        let journal = std::thread::Builder::new().name("granary-journal".into());
        let index = std::thread::Builder::new().name("granary-index".into());
        let threads = vec![
            journal.spawn(move || journal_thread.run())?,
            index.spawn(move || index_thread.run())?,
        ];
        Ok(Self { queue, work: Mutex::new(Some(work)), threads: Mutex::new(threads) })
    }

    /// Queues a change. Never waits; the ticket is redeemed once the change is durable and
    /// visible (I1).
    ///
    /// # Errors
    /// Nothing was queued: too much is, or the store takes no changes.
    pub(crate) fn submit(&self, submission: Submission) -> Result<(), MutationError> {
        self.queue.push(submission)
    }

    /// Queues a change that no dataset's actor planned, and awaits it.
    pub(crate) async fn commit(&self, change: Change) -> Verdict {
        let (reply, ticket) = Reply::new(None);
        self.submit(Submission { change, contents: Vec::new(), reply })?;
        ticket.redeem().await
    }

    /// Makes the index durable now.
    pub(crate) async fn checkpoint(&self) -> Result<(), MutationError> {
        let (done, waiting) = oneshot::channel();
        let work = self.work().clone().ok_or(MutationError::Stopping)?;
        let sent = tokio::task::spawn_blocking(move || work.send(IndexWork::Checkpoint(done)));
        match sent.await {
            Ok(Ok(())) => waiting.await.unwrap_or(Err(MutationError::Stopping)),
            Ok(Err(_)) | Err(_) => Err(MutationError::Stopping),
        }
    }

    fn work(&self) -> MutexGuard<'_, Option<SyncSender<IndexWork>>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no change is taken, if none is.
    pub(crate) fn refusal(&self) -> Option<MutationError> {
        self.queue.refusal()
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
        self.queue.fail(Arc::new(io::Error::other("abandoned")));
        self.stop();
    }
}
