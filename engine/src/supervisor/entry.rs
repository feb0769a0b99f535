//! A dataset's entry in the registry: its counters, and the address of its actor while it lives.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Addr;
use dashmap::DashMap;
use tokio::sync::watch;

use crate::dataset::actor::DatasetActor;
use crate::error::MutationError;
use crate::limits::DATASET_QUEUE_MAX;
use crate::model::DatasetId;

/// Dataset id to entry.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: DashMap<DatasetId, Arc<Entry>>,
}

impl Registry {
    /// Takes a place in the dataset's queue.
    ///
    /// # Errors
    /// `Busy`: there is none.
    pub(crate) fn claim(&self, dataset: DatasetId) -> Result<Slot, MutationError> {
        // Counted under the map's lock, which `retire` needs too: an entry with a claim stays.
        let entry = self.entries.entry(dataset).or_insert_with(|| Arc::new(Entry::new(dataset)));
        let waiting = entry.waiting.fetch_add(1, Ordering::AcqRel);
        let slot = Slot {
            entry: Arc::clone(&entry),
            settled: Settled::default(),
            submitted: AtomicBool::new(false),
        };
        drop(entry);
        if waiting >= DATASET_QUEUE_MAX {
            return Err(MutationError::Busy { what: "the dataset", waiting });
        }
        Ok(slot)
    }

    /// Removes an entry that nobody waits at, so that its actor may end: two actors of one
    /// dataset never plan at once.
    pub(crate) fn retire(&self, entry: &Arc<Entry>) -> bool {
        let unused = |_: &DatasetId, at: &Arc<Entry>| {
            Arc::ptr_eq(at, entry) && at.waiting.load(Ordering::Acquire) == 0
        };
        self.entries.remove_if(&entry.dataset, unused).is_some()
    }

    /// Entries, each with at most one actor.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What is known of a dataset whose mutations are under way.
#[derive(Debug)]
pub(crate) struct Entry {
    dataset: DatasetId,
    /// Changes queued or in flight: the bound that a mailbox is not.
    waiting: AtomicUsize,
    /// Changes handed to the committer.
    submitted: AtomicU64,
    /// Changes that the committer has answered.
    settled: watch::Sender<u64>,
    address: Mutex<Option<Addr<DatasetActor>>>,
}

impl Entry {
    fn new(dataset: DatasetId) -> Self {
        Self {
            dataset,
            waiting: AtomicUsize::new(0),
            submitted: AtomicU64::new(0),
            settled: watch::Sender::new(0),
            address: Mutex::new(None),
        }
    }

    pub(crate) fn dataset(&self) -> DatasetId {
        self.dataset
    }

    fn address(&self) -> MutexGuard<'_, Option<Addr<DatasetActor>>> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor's address; starts one under the entry's lock if there is none.
    pub(crate) fn address_or_start(
        &self,
        start: impl FnOnce() -> Addr<DatasetActor>,
    ) -> Addr<DatasetActor> {
        self.address().get_or_insert_with(start).clone()
    }

    /// Forgets an actor that has died, unless its successor is there already.
    pub(crate) fn forget(&self, dead: &Addr<DatasetActor>) {
        let mut address = self.address();
        if address.as_ref() == Some(dead) {
            *address = None;
        }
    }

    /// Waits until everything submitted so far is settled.
    pub(crate) async fn all_settled(&self) {
        let submitted = self.submitted.load(Ordering::Acquire);
        let mut settled = self.settled.subscribe();
        // The sender lives in `self`, so the wait cannot end for want of one.
        drop(settled.wait_for(|settled| *settled >= submitted).await);
    }
}

/// Whether a change in flight has been answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settled(Arc<AtomicBool>);

impl Settled {
    pub(crate) fn is_settled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn settle(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A place in a dataset's queue, from before its message is sent until its change is answered.
#[derive(Debug)]
pub(crate) struct Slot {
    entry: Arc<Entry>,
    settled: Settled,
    submitted: AtomicBool,
}

impl Slot {
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Counts the change as in flight; gives the flag that tells when it no longer is.
    pub(crate) fn submitted(&self) -> Settled {
        if !self.submitted.swap(true, Ordering::AcqRel) {
            self.entry.submitted.fetch_add(1, Ordering::AcqRel);
        }
        self.settled.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.settled.settle();
        if *self.submitted.get_mut() {
            self.entry.settled.send_modify(|settled| *settled += 1);
        }
        self.entry.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
