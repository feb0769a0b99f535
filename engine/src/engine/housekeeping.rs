//! What is done now and then beside the committer: sweeping what earlier starts left, compacting
//! segments, writing what was remembered in memory.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::committer::{Committer, Reply, Submission};
use crate::compaction::compact;
use crate::error::ReadError;
use crate::limits::{COMPACTION_PERIOD, TOUCHES_WRITTEN_EVERY};
use crate::model::change::{CatalogueChange, Change};
use crate::store::Store;

/// The housekeeping thread.
#[derive(Debug)]
pub(super) struct Housekeeping {
    stopping: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Housekeeping {
    pub(super) fn start(store: &Arc<Store>, committer: &Arc<Committer>) -> io::Result<Self> {
        let (stopping, stopped) = channel();
        let (store, committer) = (Arc::clone(store), Arc::clone(committer));
        let builder = std::thread::Builder::new().name("granary-keeper".into());
        let thread = builder.spawn(move || run(&store, &committer, &stopped))?;
        Ok(Self { stopping: Mutex::new(Some(stopping)), thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread; what it remembers is written first. Blocks.
    pub(super) fn stop(&self) {
        drop(self.stopping.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the housekeeping thread panicked");
        }
    }
}

fn run(store: &Arc<Store>, committer: &Committer, stopped: &Receiver<()>) {
    sweep(store);
    let mut touches_written = Instant::now();
    while matches!(stopped.recv_timeout(COMPACTION_PERIOD), Err(RecvTimeoutError::Timeout)) {
        if committer.refusal().is_some() {
            continue;
        }
        if let Err(error) = compact(store, committer) {
            tracing::warn!(%error, "compaction stopped; it starts again later");
        }
        if touches_written.elapsed() >= TOUCHES_WRITTEN_EVERY {
            write_touches(store, committer);
            touches_written = Instant::now();
        }
    }
    write_touches(store, committer);
}

/// Removes what uploads of earlier starts left (nothing of it was ever answered).
fn sweep(store: &Store) {
    let names = |digest: &_, file| -> Result<bool, ReadError> {
        Ok(store.snapshot()?.names_large_file(digest, file)?)
    };
    match store.blobs.sweep(&names) {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed what interrupted uploads left"),
        Err(error) => {
            tracing::warn!(%error, "what interrupted uploads left stays until the next start")
        }
    }
}

fn write_touches(store: &Store, committer: &Committer) {
    let (logins, nodes) = store.touches.take();
    if logins.is_empty() && nodes.is_empty() {
        return;
    }
    let change = Change::Catalogue(CatalogueChange::Touch { logins, nodes });
    let (reply, ticket) = Reply::new(None);
    let submitted = committer.submit(Submission { change, contents: Vec::new(), reply });
    if submitted.is_ok() && ticket.redeem_blocking().is_err() {
        tracing::warn!("times of logins and sightings were not written");
    }
}
