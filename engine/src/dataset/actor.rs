//! The actor of one dataset: plan, submit, return a ticket; no other logic. The planning and
//! submitting itself is the [`Planner`]'s.

mod rename;

use std::sync::Arc;

use actix::fut::{LocalBoxActorFuture, ready};
use actix::{
    Actor, ActorContext, ActorFutureExt, ActorResponse, AsyncContext, Context, Handler, WrapFuture,
};
use tokio::sync::oneshot;

use super::committed::{CommittedFiles, plan_settled};
use super::message::{
    AddFile, ClearDataset, CopyDataset, DeleteFile, DestroyDataset, Envelope, HardDeleteDataset,
    HoldDataset, Planned, PurgeDataset, ReinstateDataset, SetMetadata, UpdateDataset,
};
use super::plan::{NoPlan, View, plan_existing, plan_existing_if, plan_upload};
use super::planner::Planner;
use crate::committer::{Committer, Reply};
use crate::error::MutationError;
use crate::in_flight::{InFlight, Slot};
use crate::limits::{ACTOR_IDLE_MAX, HOLD_MAX};
use crate::model::change::Change;
use crate::model::{DatasetId, FileCondition, StoredFile, Timestamp};
use crate::store::Store;

/// What an actor is started with.
pub(crate) struct ActorParts {
    pub(crate) dataset: DatasetId,
    pub(crate) store: Arc<Store>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) in_flight: Arc<InFlight>,
    /// Lets the actor go if nobody needs it; nothing is sent to it from then on.
    pub(crate) retire: Box<dyn Fn() -> bool + Send>,
}

/// Serialises the mutations of one dataset.
pub(crate) struct DatasetActor {
    parts: ActorParts,
    planner: Planner,
    /// Whether a message came since the last look.
    used: bool,
}

impl std::fmt::Debug for DatasetActor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = formatter.debug_struct("DatasetActor");
        text.field("dataset", &self.parts.dataset).finish_non_exhaustive()
    }
}

impl DatasetActor {
    pub(crate) fn new(parts: ActorParts) -> Self {
        let (store, committer) = (Arc::clone(&parts.store), Arc::clone(&parts.committer));
        let planner = Planner::new(parts.dataset, store, committer);
        Self { parts, planner, used: true }
    }

    /// Ends an actor that nobody uses; costs nothing to start again.
    fn stop_if_idle(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::take(&mut self.used) && (self.parts.retire)() {
            ctx.stop();
        }
    }
}

impl Actor for DatasetActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(crate::limits::DATASET_QUEUE_MAX);
        ctx.run_interval(ACTOR_IDLE_MAX, Self::stop_if_idle);
        // A successor plans nothing until its predecessor's changes have settled: they are in
        // flight and in nobody's overlay.
        let in_flight = Arc::clone(&self.parts.in_flight);
        ctx.wait(async move { in_flight.all_settled().await }.into_actor(self));
    }
}

impl DatasetActor {
    /// Submits what was planned, or answers why it is refused; plans again what the first look could
    /// not decide.
    fn submit_or_plan_again<P: Send + 'static, T: Send + 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        planned: Result<P, NoPlan>,
        rule: impl Fn(&View<'_, CommittedFiles<'_>>) -> Result<P, NoPlan> + Send + 'static,
        submit: impl FnOnce(&mut Planner, P) -> Planned<T> + 'static,
    ) -> ActorResponse<Self, Planned<T>> {
        match planned {
            Ok(planned) => ActorResponse::reply(submit(&mut self.planner, planned)),
            Err(NoPlan::Refused(refusal)) => ActorResponse::reply(Err(refusal)),
            Err(NoPlan::TooLong) => {
                ActorResponse::r#async(self.stand_still_to_plan(ctx, rule, submit))
            }
            Err(NoPlan::Unsettled) => self.plan_when_settled(rule, submit),
        }
    }

    /// Plans again when what is in flight now has settled. Others go on meanwhile; only who is overtaken
    /// by changes of the same names once more has the dataset stand still.
    fn plan_when_settled<P: Send + 'static, T: Send + 'static>(
        &mut self,
        rule: impl Fn(&View<'_, CommittedFiles<'_>>) -> Result<P, NoPlan> + Send + 'static,
        submit: impl FnOnce(&mut Planner, P) -> Planned<T> + 'static,
    ) -> ActorResponse<Self, Planned<T>> {
        let in_flight = Arc::clone(&self.parts.in_flight);
        let settled = async move { in_flight.all_settled().await };
        // What waits for this is not to wait for the index's leisure too.
        self.parts.store.visibility.hurry();
        let again = settled.into_actor(self).then(move |(), actor: &mut Self, ctx| {
            actor.used = true;
            match actor.planner.plan(&rule) {
                Ok(planned) => ready(submit(&mut actor.planner, planned)).boxed_local(),
                Err(NoPlan::Refused(refusal)) => ready(Err(refusal)).boxed_local(),
                Err(NoPlan::TooLong | NoPlan::Unsettled) => {
                    actor.stand_still_to_plan(ctx, rule, submit)
                }
            }
        });
        ActorResponse::r#async(again)
    }

    /// Plans on the blocking pool, with nothing in flight and no message let in meanwhile: what
    /// must be visited would hold up the other datasets of this thread, and what is refused then is
    /// refused for what everybody sees.
    fn stand_still_to_plan<P: Send + 'static, T: Send + 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        rule: impl FnOnce(&View<'_, CommittedFiles<'_>>) -> Result<P, NoPlan> + Send + 'static,
        submit: impl FnOnce(&mut Planner, P) -> Planned<T> + 'static,
    ) -> LocalBoxActorFuture<Self, Planned<T>> {
        let (answer, answered) = oneshot::channel();
        let (in_flight, store, dataset) =
            (Arc::clone(&self.parts.in_flight), Arc::clone(&self.parts.store), self.parts.dataset);
        let plan = async move {
            in_flight.all_settled().await;
            let plan = tokio::task::spawn_blocking(move || {
                let snapshot = store.snapshot()?;
                let header = snapshot.dataset(dataset)?;
                let header = header.ok_or(MutationError::DatasetNotFound { dataset })?;
                plan_settled(&snapshot, &header, rule)
            });
            plan.await.unwrap_or(Err(MutationError::Panicked))
        };
        self.parts.store.visibility.hurry();
        ctx.wait(plan.into_actor(self).map(move |planned, actor, _| {
            actor.used = true;
            let submitted = planned.and_then(|planned| submit(&mut actor.planner, planned));
            // Whoever asked may have gone; what was submitted is done all the same.
            drop(answer.send(submitted));
        }));
        let answered = async move { answered.await.unwrap_or(Err(MutationError::Panicked)) };
        answered.into_actor(self).boxed_local()
    }
}

impl Handler<Envelope<AddFile>> for DatasetActor {
    type Result = ActorResponse<Self, Planned<StoredFile>>;

    fn handle(&mut self, envelope: Envelope<AddFile>, ctx: &mut Self::Context) -> Self::Result {
        let (AddFile { filename, content, terms }, slot) = match opened(&envelope) {
            Ok(opened) => opened,
            Err(refusal) => return ActorResponse::reply(Err(refusal)),
        };
        self.used = true;
        let planned = self.planner.plan_upload(&filename, &terms);
        let rule = move |view: &View<'_, CommittedFiles<'_>>| {
            Ok((plan_upload(view, &filename, &terms)?, None))
        };
        self.submit_or_plan_again(ctx, planned, rule, |planner, planned| {
            planner.submit_upload(planned, content, slot)
        })
    }
}

impl Handler<Envelope<DeleteFile>> for DatasetActor {
    type Result = ActorResponse<Self, Planned<StoredFile>>;

    fn handle(&mut self, envelope: Envelope<DeleteFile>, ctx: &mut Self::Context) -> Self::Result {
        let (DeleteFile { filename, condition }, slot) = match opened(&envelope) {
            Ok(opened) => opened,
            Err(refusal) => return ActorResponse::reply(Err(refusal)),
        };
        self.used = true;
        let planned = self.planner.plan_existing(&filename, &condition);
        let rule = move |view: &View<'_, CommittedFiles<'_>>| {
            plan_existing_if(view, &filename, &condition)
        };
        self.submit_or_plan_again(ctx, planned, rule, |planner, found| {
            planner.submit_deleted(found, slot)
        })
    }
}

impl Handler<Envelope<SetMetadata>> for DatasetActor {
    type Result = ActorResponse<Self, Planned<()>>;

    fn handle(&mut self, envelope: Envelope<SetMetadata>, ctx: &mut Self::Context) -> Self::Result {
        let (SetMetadata { filename, metadata, condition }, slot) = match opened(&envelope) {
            Ok(opened) => opened,
            Err(refusal) => return ActorResponse::reply(Err(refusal)),
        };
        self.used = true;
        let planned = self.planner.plan_existing(&filename, &FileCondition::default());
        let rule = move |view: &View<'_, CommittedFiles<'_>>| plan_existing(view, &filename);
        self.submit_or_plan_again(ctx, planned, rule, |planner, found| {
            planner.submit_metadata(found, metadata, condition, slot)
        })
    }
}

/// Handlers of messages that need no look at the files: the whole rule is applied with the change.
macro_rules! intentions {
    ($($message:ident, |$dataset:ident, $request:pat_param| $change:expr;)*) => {$(
        impl Handler<Envelope<$message>> for DatasetActor {
            type Result = Planned<()>;

            fn handle(&mut self, envelope: Envelope<$message>, _: &mut Self::Context) -> Self::Result {
                let ($request, slot) = opened(&envelope)?;
                let $dataset = self.parts.dataset;
                self.used = true;
                self.planner.submit_of_header($change, slot)
            }
        }
    )*};
}

intentions! {
    ClearDataset, |dataset, ClearDataset| Change::ClearDataset { dataset };
    UpdateDataset, |dataset, UpdateDataset { patch }| Change::UpdateDataset { dataset, patch };
    DestroyDataset, |dataset, DestroyDataset|
        Change::DestroyDataset { dataset, at: Timestamp::now() };
    ReinstateDataset, |dataset, ReinstateDataset| Change::ReinstateDataset { dataset };
    HardDeleteDataset, |dataset, HardDeleteDataset| Change::HardDeleteDataset { dataset };
    PurgeDataset, |dataset, PurgeDataset { deleted_at }|
        Change::PurgeDataset { dataset, deleted_at };
    CopyDataset, |dataset, CopyDataset { copy }| Change::CopyDataset { source: dataset, copy };
}

#[cfg(feature = "simulation")]
impl Handler<Envelope<super::message::BreakActor>> for DatasetActor {
    type Result = Planned<()>;

    #[expect(clippy::panic, reason = "what a bug in a handler does is what tests ask for")]
    fn handle(
        &mut self,
        envelope: Envelope<super::message::BreakActor>,
        _: &mut Self::Context,
    ) -> Self::Result {
        let _opened = opened(&envelope)?;
        panic!("the actor was asked to break")
    }
}

impl Handler<Envelope<HoldDataset>> for DatasetActor {
    type Result = Planned<()>;

    fn handle(&mut self, envelope: Envelope<HoldDataset>, ctx: &mut Self::Context) -> Self::Result {
        let (HoldDataset { granted, released }, slot) = opened(&envelope)?;
        self.used = true;
        let in_flight = Arc::clone(&self.parts.in_flight);
        let stand_still = async move {
            in_flight.all_settled().await;
            if granted.send(()).is_ok() {
                // Released, dropped, or out of time: the holder's change states what it expects.
                drop(tokio::time::timeout(HOLD_MAX, released).await);
            }
            drop(slot);
        };
        ctx.wait(stand_still.into_actor(self).map(|(), _, _| ()));
        let (reply, ticket) = Reply::new(None);
        drop(reply);
        Ok(((), ticket))
    }
}

fn opened<M>(envelope: &Envelope<M>) -> Result<(M, Slot), MutationError> {
    // A message that was sent twice, whose first handler panicked, or one whose sender has gone and hears
    // nothing of it.
    envelope.open().ok_or(MutationError::Panicked)
}
