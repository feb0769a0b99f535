//! Dataset id to live actor: starts, finds, restarts and ends them.
//!
//! actix bounds a mailbox by its senders and restarts nobody, so both are done here. A dataset's
//! entry holds our own counter of changes that are queued or in flight, taken before a message is
//! sent. An actor whose handler panicked is forgotten; its successor plans nothing until what the
//! dead one planned has settled, gets the messages that were merely queued, and whoever sent the
//! one that broke it is told.

#[cfg(test)]
mod actix_facts;

mod arbiters;

pub(crate) mod delivery;

pub(crate) mod entry;

use std::io;
use std::sync::Arc;

use actix::{Actor, Addr, Handler};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::committer::Committer;
use crate::dataset::actor::{ActorParts, DatasetActor};
use crate::dataset::message::{Envelope, HoldDataset, Planned, Request};
use crate::error::MutationError;
use crate::model::{DatasetId, Origin};
use crate::store::Store;
use arbiters::Arbiters;
use delivery::{Address, Died, Withdrawal, deliver};
use entry::{Entry, Registry};

/// Routes changes to the actors of their datasets.
#[derive(Debug)]
pub(crate) struct Supervisor {
    store: Arc<Store>,
    committer: Arc<Committer>,
    registry: Arc<Registry<Addr<DatasetActor>>>,
    arbiters: Arbiters,
}

impl Supervisor {
    /// Starts the threads that run actors.
    pub(crate) fn start(
        store: Arc<Store>,
        committer: Arc<Committer>,
        arbiters: usize,
    ) -> io::Result<Self> {
        let arbiters = Arbiters::start(arbiters)?;
        Ok(Self { store, committer, registry: Arc::default(), arbiters })
    }

    /// Sends a message to a dataset's actor, which is started if it is not there, and awaits
    /// what it planned.
    ///
    /// # Errors
    /// The actor's refusal; `Busy` before anything was queued, or if the dataset stands still for
    /// too long; `Panicked` if the message broke it.
    pub(crate) async fn ask<M>(&self, dataset: DatasetId, message: M) -> Planned<M::Planned>
    where
        M: Request,
        DatasetActor: Handler<Envelope<M>>,
    {
        self.ask_for(None, dataset, message).await
    }

    /// As [`Supervisor::ask`], for somebody of whom the audit log is to tell.
    pub(crate) async fn ask_for<M>(
        &self,
        origin: Option<&Arc<Origin>>,
        dataset: DatasetId,
        message: M,
    ) -> Planned<M::Planned>
    where
        M: Request,
        DatasetActor: Handler<Envelope<M>>,
    {
        let claimed = self.registry.claim(dataset);
        let counters = &self.store.counters;
        let (entry, slot) = claimed.inspect_err(|_full| counters.refused_by_dataset.increment())?;
        let envelope = Envelope::new(message, slot.asked_by(origin));
        let _withdrawal = Withdrawal(&envelope);
        let start = || self.start_actor(&entry);
        if let Some(planned) = deliver(&entry, &envelope, start).await {
            return planned;
        }
        // A stopped store has no threads for actors: that is no fault of the message.
        if let Some(stopping @ MutationError::Stopping) = self.committer.refusal() {
            return Err(stopping);
        }
        tracing::error!(%dataset, "a request broke its dataset's actor");
        Err(MutationError::Panicked)
    }

    /// Whether a change of the dataset would be refused for want of a place.
    pub(crate) fn is_full(&self, dataset: DatasetId) -> bool {
        self.registry.is_full(dataset)
    }

    /// Whether changes of the dataset wait.
    pub(crate) fn has_waiting(&self, dataset: DatasetId) -> bool {
        self.registry.has_waiting(dataset)
    }

    /// Makes a dataset stand still, with nothing in flight, until the hold is dropped.
    ///
    /// # Errors
    /// `Busy` if it does not come to that in time, be it for another hold or for what is in flight.
    pub(crate) async fn hold(&self, dataset: DatasetId) -> Result<Hold, MutationError> {
        let (granted, granting) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let until = Instant::now() + HoldDataset::WAIT_MAX;
        let ((), ticket) = self.ask(dataset, HoldDataset { granted, released }).await?;
        drop(ticket);
        match tokio::time::timeout_at(until, granting).await {
            Ok(Ok(())) => Ok(Hold { _release: release }),
            Ok(Err(_)) => Err(MutationError::Panicked),
            Err(_) => Err(MutationError::Busy { what: "the dataset", waiting: 1 }),
        }
    }

    fn start_actor(&self, entry: &Arc<Entry<Addr<DatasetActor>>>) -> Addr<DatasetActor> {
        let counters = &self.store.counters;
        counters.actors_started.increment();
        if entry.has_lost_one() {
            counters.actors_restarted.increment();
        }
        let parts = ActorParts {
            dataset: entry.dataset(),
            store: Arc::clone(&self.store),
            committer: Arc::clone(&self.committer),
            in_flight: Arc::clone(entry.in_flight()),
            retire: {
                let (registry, entry) = (Arc::clone(&self.registry), Arc::clone(entry));
                Box::new(move || registry.retire(&entry))
            },
        };
        DatasetActor::start_in_arbiter(self.arbiters.next(), move |_| DatasetActor::new(parts))
    }

    /// Actors that are alive.
    pub(crate) fn actor_count(&self) -> usize {
        self.registry.len()
    }

    /// Changes of all datasets that are queued or in flight.
    pub(crate) fn in_flight_count(&self) -> usize {
        self.registry.in_flight_count()
    }

    /// Ends all actors and their threads; nothing may be asked afterwards. Blocks.
    pub(crate) fn stop(&self) {
        self.arbiters.stop();
    }
}

impl<M> Address<M> for Addr<DatasetActor>
where
    M: Request,
    DatasetActor: Handler<Envelope<M>>,
{
    async fn send(&self, envelope: Envelope<M>) -> Result<Planned<M::Planned>, Died> {
        // Closed, since no time-out was asked of actix.
        self.send(envelope).await.map_err(|_error| Died)
    }
}

/// Keeps a dataset's actor from planning.
#[derive(Debug)]
#[must_use = "the dataset goes on as soon as the hold is dropped"]
pub(crate) struct Hold {
    _release: oneshot::Sender<()>,
}
