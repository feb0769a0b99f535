//! A dataset's entry in the registry: its counters, and the address of its actor while it lives.

use std::sync::{Arc, PoisonError};

use crate::error::MutationError;
use crate::in_flight::{InFlight, Slot};
use crate::model::DatasetId;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Map, Mutex, MutexGuard, visit};

/// Dataset id to entry; `A` is the address of an actor.
#[derive(Debug)]
pub(crate) struct Registry<A> {
    entries: Map<DatasetId, Arc<Entry<A>>>,
}

impl<A> Default for Registry<A> {
    fn default() -> Self {
        Self { entries: Map::default() }
    }
}

impl<A: Clone + PartialEq> Registry<A> {
    /// Takes a place in the dataset's queue.
    ///
    /// # Errors
    /// `Busy`: there is none.
    pub(crate) fn claim(&self, dataset: DatasetId) -> Result<(Arc<Entry<A>>, Slot), MutationError> {
        // Counted under the map's lock, which `retire` needs too: an entry with a claim stays.
        let entry = self.entries.entry(dataset).or_insert_with(|| Arc::new(Entry::new(dataset)));
        let slot = entry.in_flight.claim()?;
        Ok((Arc::clone(&entry), slot))
    }

    /// Whether changes of the dataset wait.
    pub(crate) fn has_waiting(&self, dataset: DatasetId) -> bool {
        self.entries.get(&dataset).is_some_and(|entry| entry.in_flight.waiting() > 0)
    }

    /// Whether a change of the dataset would be refused for want of a place.
    pub(crate) fn is_full(&self, dataset: DatasetId) -> bool {
        self.entries.get(&dataset).is_some_and(|entry| entry.in_flight.is_full())
    }

    /// Removes an entry that nobody waits at, so that its actor may end: two actors of one
    /// dataset never plan at once.
    pub(crate) fn retire(&self, entry: &Arc<Entry<A>>) -> bool {
        let unused =
            |_: &DatasetId, at: &Arc<Entry<A>>| Arc::ptr_eq(at, entry) && at.in_flight.is_unused();
        self.entries.remove_if(&entry.dataset, unused).is_some()
    }

    /// Changes of all datasets that are queued or in flight.
    pub(crate) fn in_flight_count(&self) -> usize {
        let mut count = 0;
        visit(&self.entries, |entry| count += entry.in_flight.waiting());
        count
    }

    /// Entries, each with at most one actor.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What is known of a dataset whose mutations are under way.
#[derive(Debug)]
pub(crate) struct Entry<A> {
    dataset: DatasetId,
    in_flight: Arc<InFlight>,
    address: Mutex<Option<A>>,
    /// Whether an actor of it has died.
    has_lost_one: AtomicBool,
}

impl<A: Clone + PartialEq> Entry<A> {
    fn new(dataset: DatasetId) -> Self {
        let (in_flight, address) = (Arc::default(), Mutex::new(None));
        Self { dataset, in_flight, address, has_lost_one: AtomicBool::new(false) }
    }

    pub(crate) fn dataset(&self) -> DatasetId {
        self.dataset
    }

    pub(crate) fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    fn address(&self) -> MutexGuard<'_, Option<A>> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor's address; starts one under the entry's lock if there is none.
    pub(crate) fn address_or_start(&self, start: impl FnOnce() -> A) -> A {
        self.address().get_or_insert_with(start).clone()
    }

    /// Whether an actor of it has died, so that the next one takes its place.
    pub(crate) fn has_lost_one(&self) -> bool {
        self.has_lost_one.load(Ordering::Relaxed)
    }

    /// Forgets an actor that has died, unless its successor is there already.
    pub(crate) fn forget(&self, dead: &A) {
        let mut address = self.address();
        if address.as_ref() == Some(dead) {
            *address = None;
            self.has_lost_one.store(true, Ordering::Relaxed);
        }
    }
}
