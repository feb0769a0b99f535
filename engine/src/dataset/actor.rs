//! The actor of one dataset: plan, submit, return a ticket; no other logic.

mod rename;

use std::sync::Arc;

use actix::{
    Actor, ActorContext, ActorFutureExt, ActorResponse, AsyncContext, Context, Handler, WrapFuture,
};
use tokio::sync::oneshot;

use super::committed::{CommittedFiles, plan_settled};
use super::message::{
    AddFile, ClearDataset, CopyDataset, DeleteFile, DestroyDataset, Envelope, HardDeleteDataset,
    HoldDataset, Planned, PurgeDataset, ReinstateDataset, SetMetadata, UpdateDataset,
};
use super::overlay::{Left, Overlay};
use super::plan::{NoPlan, View, plan_add_file, plan_existing};
use crate::blobs::StagedBlob;
use crate::committer::{Committer, Reply, Submission, Ticket};
use crate::error::MutationError;
use crate::in_flight::{InFlight, Slot};
use crate::limits::{ACTOR_IDLE_MAX, HOLD_MAX, PLAN_ROWS_MAX};
use crate::model::change::{Change, NewFile};
use crate::model::{DatasetId, Digest, FileRecord, Filename, StoredFile, Timestamp};
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
    overlay: Overlay,
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
        Self { parts, overlay: Overlay::default(), used: true }
    }

    /// Plans on what is committed and what is in flight. The overlay is tidied before the
    /// snapshot is taken, so nothing settled falls between the two.
    fn plan<T>(
        &mut self,
        rule: impl FnOnce(&View<'_, CommittedFiles<'_>>) -> Result<T, NoPlan>,
    ) -> Result<T, NoPlan> {
        self.used = true;
        self.overlay.forget_settled();
        let dataset = self.parts.dataset;
        let snapshot = self.parts.store.snapshot()?;
        let header = snapshot.dataset(dataset)?;
        let header = header.ok_or(MutationError::DatasetNotFound { dataset })?;
        let rows_max = PLAN_ROWS_MAX;
        let committed = CommittedFiles { snapshot: &snapshot, header: &header, rows_max };
        rule(&View { dataset, committed, overlay: &self.overlay, leaving: None })
    }

    /// The content that a change of an existing file expects; one look-up, whatever there is.
    fn plan_existing(&mut self, name: &str) -> Result<(Filename, Digest), MutationError> {
        self.plan(|view| plan_existing(view, name)).map_err(|no_plan| match no_plan {
            NoPlan::Refused(refusal) => refusal,
            NoPlan::TooLong => MutationError::Panicked,
        })
    }

    /// Queues a change in mailbox order; only the answer is awaited, and not by us.
    fn submit(&mut self, submission: Submission) -> Result<(), MutationError> {
        self.used = true;
        self.parts.committer.submit(submission)
    }

    fn submit_intention(&mut self, change: Change, slot: Slot) -> Planned<()> {
        slot.submitted();
        let (reply, ticket) = Reply::new(Some(slot));
        self.submit(Submission { change, contents: Vec::new(), reply })?;
        Ok(((), ticket))
    }

    /// Queues a change of files and remembers what it leaves of each name.
    fn submit_file_change(
        &mut self,
        submission: PlannedFileChange,
        slot: Slot,
    ) -> Result<Ticket, MutationError> {
        let PlannedFileChange { left, change, contents } = submission;
        let settled = slot.submitted();
        let (reply, ticket) = Reply::new(Some(slot));
        self.submit(Submission { change, contents, reply })?;
        for (filename, left) in left {
            self.overlay.insert(filename, left, settled.clone());
        }
        Ok(ticket)
    }

    /// Ends an actor that nobody uses; costs nothing to start again.
    fn stop_if_idle(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::take(&mut self.used) && (self.parts.retire)() {
            ctx.stop();
        }
    }
}

/// A change of files, ready for the committer.
struct PlannedFileChange {
    left: Vec<(Filename, Left)>,
    change: Change,
    contents: Vec<StagedBlob>,
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

impl Handler<Envelope<AddFile>> for DatasetActor {
    type Result = ActorResponse<Self, Planned<StoredFile>>;

    fn handle(&mut self, envelope: Envelope<AddFile>, ctx: &mut Self::Context) -> Self::Result {
        let (message, slot) = match opened(&envelope) {
            Ok(opened) => opened,
            Err(refusal) => return ActorResponse::reply(Err(refusal)),
        };
        match self.plan(|view| plan_add_file(view, message.filename.clone())) {
            Ok(filename) => {
                ActorResponse::reply(self.submit_added(filename, message.content, slot))
            }
            Err(NoPlan::Refused(refusal)) => ActorResponse::reply(Err(refusal)),
            Err(NoPlan::TooLong) => {
                let AddFile { filename, content } = message;
                self.plan_standing_still(
                    ctx,
                    |view| plan_add_file(view, filename),
                    |actor, filename| actor.submit_added(filename, content, slot),
                )
            }
        }
    }
}

impl DatasetActor {
    fn submit_added(
        &mut self,
        filename: Filename,
        content: StagedBlob,
        slot: Slot,
    ) -> Planned<StoredFile> {
        let digest = content.digest();
        let record = FileRecord {
            digest,
            length: content.length(),
            crc32: content.crc32(),
            creation_time: Timestamp::now(),
            compressible: content.compressible(),
        };
        let file = StoredFile { filename: filename.clone(), digest };
        let files = vec![NewFile { filename, record, metadata: String::new() }];
        let change = Change::AddFiles { dataset: self.parts.dataset, files };
        let left = vec![(file.filename.clone(), Left::File(digest))];
        let planned = PlannedFileChange { left, change, contents: vec![content] };
        let ticket = self.submit_file_change(planned, slot)?;
        Ok((file, ticket))
    }

    /// Plans on the blocking pool, with nothing in flight and no message let in meanwhile: what
    /// must be visited would hold up the other datasets of this thread.
    fn plan_standing_still<T: Send + 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        rule: impl FnOnce(&View<'_, CommittedFiles<'_>>) -> Result<T, NoPlan> + Send + 'static,
        submit: impl FnOnce(&mut Self, T) -> Planned<StoredFile> + 'static,
    ) -> ActorResponse<Self, Planned<StoredFile>> {
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
        ctx.wait(plan.into_actor(self).map(move |planned, actor, _| {
            let submitted = planned.and_then(|planned| submit(actor, planned));
            // Whoever asked may have gone; what was submitted is done all the same.
            drop(answer.send(submitted));
        }));
        let answered = async move { answered.await.unwrap_or(Err(MutationError::Panicked)) };
        ActorResponse::r#async(answered.into_actor(self))
    }
}

impl Handler<Envelope<DeleteFile>> for DatasetActor {
    type Result = Planned<StoredFile>;

    fn handle(&mut self, envelope: Envelope<DeleteFile>, _: &mut Self::Context) -> Self::Result {
        let (DeleteFile { filename }, slot) = opened(&envelope)?;
        let (filename, digest) = self.plan_existing(&filename)?;
        let file = StoredFile { filename: filename.clone(), digest };
        let change = Change::DeleteFile { dataset: self.parts.dataset, filename, expects: digest };
        let left = vec![(file.filename.clone(), Left::Absent)];
        let planned = PlannedFileChange { left, change, contents: Vec::new() };
        let ticket = self.submit_file_change(planned, slot)?;
        Ok((file, ticket))
    }
}

impl Handler<Envelope<SetMetadata>> for DatasetActor {
    type Result = Planned<()>;

    fn handle(&mut self, envelope: Envelope<SetMetadata>, _: &mut Self::Context) -> Self::Result {
        let (SetMetadata { filename, metadata }, slot) = opened(&envelope)?;
        let (filename, expects) = self.plan_existing(&filename)?;
        let change =
            Change::SetMetadata { dataset: self.parts.dataset, filename, expects, metadata };
        self.submit_intention(change, slot)
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
                self.submit_intention($change, slot)
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
    // Only a message that was sent twice could be missing, and then its first handler panicked.
    envelope.open().ok_or(MutationError::Panicked)
}
