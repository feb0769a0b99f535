//! What is done now and then beside the committer: sweeping what earlier starts left, compacting
//! segments, writing what was remembered in memory, giving up uploads that came no further.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::committer::{Committer, Reply, Submission};
use crate::compaction::{Compactor, Thrift};
use crate::error::MutationError;
use crate::error::ReadError;
use crate::limits::{COMPACTION_PERIOD, RESUMABLE_EXPIRED_EVERY, TOUCHES_WRITTEN_EVERY};
use crate::model::Timestamp;
use crate::model::change::{CatalogueChange, Change};
use crate::resumable::Resumables;
use crate::store::Store;

/// How long compaction rests at a time, at most: what a batch waited for others is none of its work.
const REST_MAX: Duration = Duration::from_secs(1);

/// The housekeeping thread.
#[derive(Debug)]
pub(super) struct Housekeeping {
    is_stopping: Arc<AtomicBool>,
    /// Its end wakes the thread.
    stopping: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Housekeeping {
    pub(super) fn start(
        store: &Arc<Store>,
        committer: &Arc<Committer>,
        compactor: &Arc<Mutex<Compactor>>,
        resumables: &Arc<Resumables>,
    ) -> io::Result<Self> {
        let (stopping, stopped) = channel();
        let is_stopping = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            store: Arc::clone(store),
            committer: Arc::clone(committer),
            compactor: Arc::clone(compactor),
            resumables: Arc::clone(resumables),
            is_stopping: Arc::clone(&is_stopping),
        };
        let builder = std::thread::Builder::new().name("granary-keeper".into());
        let thread = builder.spawn(move || keeper.run(&stopped))?;
        let (stopping, thread) = (Mutex::new(Some(stopping)), Mutex::new(Some(thread)));
        Ok(Self { is_stopping, stopping, thread })
    }

    /// Ends the thread soon; what it remembers is written first. Blocks.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        drop(self.stopping.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the housekeeping thread panicked");
        }
    }
}

/// What the thread works with.
#[derive(Debug)]
struct Keeper {
    store: Arc<Store>,
    committer: Arc<Committer>,
    /// Busy while somebody who asked for the space compacts.
    compactor: Arc<Mutex<Compactor>>,
    resumables: Arc<Resumables>,
    is_stopping: Arc<AtomicBool>,
}

impl Keeper {
    fn run(self, stopped: &Receiver<()>) {
        self.sweep();
        let (mut touches_written, mut expired) = (Instant::now(), Instant::now());
        while matches!(stopped.recv_timeout(COMPACTION_PERIOD), Err(RecvTimeoutError::Timeout)) {
            if expired.elapsed() >= RESUMABLE_EXPIRED_EVERY {
                self.resumables.expire(Timestamp::now());
                expired = Instant::now();
            }
            if self.committer.refusal().is_some() {
                continue;
            }
            let is_stopping = || self.is_stopping.load(Ordering::Acquire);
            // As long as the work took: what is left of the machine belongs to the clients.
            let rest = |took: Duration| {
                let _ended = stopped.recv_timeout(took.min(REST_MAX));
            };
            let compactor = match self.compactor.try_lock() {
                Ok(compactor) => Some(compactor),
                Err(TryLockError::Poisoned(compactor)) => Some(compactor.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(mut compactor) = compactor
                && let Err(error) = compactor.compact(Thrift::Usual, &is_stopping, &rest)
            {
                tracing::warn!(%error, "compaction stopped; it starts again later");
            }
            if touches_written.elapsed() >= TOUCHES_WRITTEN_EVERY {
                write_touches(&self.store, &self.committer);
                touches_written = Instant::now();
            }
        }
        write_touches(&self.store, &self.committer);
    }

    /// Removes what uploads of earlier starts left (nothing of it was ever answered).
    fn sweep(&self) {
        let names = |digest: &_, file| -> Result<bool, ReadError> {
            // What is not looked at before the end stays for the next start.
            let is_kept = self.is_stopping.load(Ordering::Acquire);
            Ok(is_kept || self.store.snapshot_as_applied()?.names_large_file(digest, file)?)
        };
        match self.store.blobs.sweep(&names) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "removed what interrupted uploads left"),
            Err(error) => {
                tracing::warn!(%error, "what interrupted uploads left stays until the next start");
            }
        }
    }
}

pub(super) fn write_touches(store: &Store, committer: &Committer) {
    let (logins, nodes) = store.touches.take();
    let seen = CatalogueChange::Touch { logins: logins.clone(), nodes: nodes.clone() };
    let has_seen = !logins.is_empty() || !nodes.is_empty();
    if has_seen && !is_written(committer, seen) {
        store.touches.take_back(&logins, &nodes);
    }
    let uses = store.touches.take_token_uses();
    let shown = CatalogueChange::TouchAccessTokens { uses: uses.clone() };
    if !uses.is_empty() && !is_written(committer, shown) {
        store.touches.take_back_token_uses(&uses);
    }
}

fn is_written(committer: &Committer, touches: CatalogueChange) -> bool {
    let (reply, ticket) = Reply::new(None);
    let submitted = committer.submit(Submission::of(Change::Catalogue(touches), reply));
    match submitted.and_then(|()| ticket.redeem_blocking()) {
        Ok(_) => true,
        // Of a full disk the log tells once.
        Err(MutationError::OutOfSpace) => false,
        Err(_) => {
            tracing::warn!("when users, nodes and access tokens were last seen was not written");
            false
        }
    }
}
