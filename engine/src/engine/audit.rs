//! On whose behalf changes are asked for, and what is remembered of those that were none.

use std::sync::Arc;

use actix::Handler;

use super::Engine;
use crate::bulk::Bulk;
use crate::dataset::actor::DatasetActor;
use crate::dataset::message::{Envelope, Planned, Request};
use crate::error::MutationError;
use crate::model::change::Change;
use crate::model::{DatasetId, Origin, Subject};

impl Engine {
    /// This handle to the store, each of whose changes enters the audit log with this origin.
    ///
    /// # Durability
    /// The entry is in the log exactly if the change is in the store: both are one record of the
    /// journal and one transaction of the index.
    #[must_use]
    pub fn on_behalf_of(self, origin: Origin) -> Self {
        Self { origin: Some(Arc::new(origin)), ..self }
    }

    /// Enters what changed nothing into the audit log: a login, a refusal.
    ///
    /// # Errors
    /// The store takes no changes; without space it takes no entry either.
    pub async fn witness(&self, origin: Origin, subject: Subject) -> Result<(), MutationError> {
        let change = Change::Witness { subject };
        self.inner.committer.commit(change, Some(Arc::new(origin))).await.map(drop)
    }

    /// Asks a dataset's actor, for whom this handle is.
    pub(super) async fn ask<M>(&self, dataset: DatasetId, message: M) -> Planned<M::Planned>
    where
        M: Request,
        DatasetActor: Handler<Envelope<M>>,
    {
        self.inner.supervisor.ask_for(self.origin.as_ref(), dataset, message).await
    }

    /// What bulk changes work with, for whom this handle is.
    pub(crate) fn bulk(&self) -> Bulk {
        Bulk { origin: self.origin.clone(), ..self.inner.bulk.clone() }
    }
}
