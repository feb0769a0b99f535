//! A change on its way to the journal, and the answer on its way back.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::Span;

use crate::blobs::StagedBlob;
use crate::error::MutationError;
use crate::in_flight::{Slot, change_span};
use crate::index::apply::Applied;
use crate::model::Origin;
use crate::model::change::Change;
use crate::sync::receive;

/// What became of a change.
pub(crate) type Verdict = Result<Applied, MutationError>;

/// A change, the contents it brings, and who awaits it.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) change: Change,
    pub(crate) contents: Vec<StagedBlob>,
    pub(crate) reply: Reply,
}

impl Submission {
    /// Refuses a change that never reached the journal. Its contents are let go of first: who hears
    /// of it finds the file of an upload that goes on where it was.
    pub(crate) fn refuse(self, error: MutationError) {
        let Self { contents, reply, .. } = self;
        drop(contents);
        reply.answer(Err(error));
    }
}

/// The promise of an answer: given exactly once, if only to say that the outcome is unknown.
#[derive(Debug)]
pub(crate) struct Reply {
    sender: Option<oneshot::Sender<Verdict>>,
    /// The change's place among its dataset's changes in flight.
    slot: Option<Slot>,
    origin: Option<Arc<Origin>>,
    span: Span,
}

impl Reply {
    /// A reply and the ticket that awaits it; whoever asked for a place asked for the change.
    pub(crate) fn new(slot: Option<Slot>) -> (Self, Ticket) {
        let origin = slot.as_ref().and_then(|slot| slot.origin().cloned());
        Self::with(slot, origin)
    }

    /// As [`Reply::new`], for a change without a place that somebody asked for.
    pub(crate) fn to(origin: Option<Arc<Origin>>) -> (Self, Ticket) {
        Self::with(None, origin)
    }

    fn with(slot: Option<Slot>, origin: Option<Arc<Origin>>) -> (Self, Ticket) {
        let (sender, receiver) = oneshot::channel();
        let span = slot.as_ref().map_or_else(change_span, |slot| slot.span().clone());
        (Self { sender: Some(sender), slot, origin, span }, Ticket { receiver })
    }

    /// Who asked for the change.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// The change as part of its request's trace.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Answers. The change is settled first, so that whoever reads the answer may rely on it.
    pub(crate) fn answer(mut self, verdict: Verdict) {
        drop(self.slot.take());
        if let Some(sender) = self.sender.take() {
            // The caller may have hung up; the change is durable either way.
            drop(sender.send(verdict));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            let cause = Arc::new(std::io::Error::other("the store stopped on the way"));
            drop(sender.send(Err(MutationError::OutcomeUnknown { cause })));
        }
    }
}

/// Redeemed once the change is durable and visible, or refused.
#[derive(Debug)]
#[must_use = "whoever drops a ticket never learns what became of the change"]
pub(crate) struct Ticket {
    receiver: oneshot::Receiver<Verdict>,
}

impl Ticket {
    /// Awaits the answer. Dropping the future changes nothing about the change itself.
    pub(crate) async fn redeem(self) -> Verdict {
        // A reply always answers; only a process that is going down drops it unanswered.
        self.receiver.await.unwrap_or(Err(MutationError::Stopping))
    }

    /// As [`Ticket::redeem`], for threads that may block.
    pub(crate) fn redeem_blocking(self) -> Verdict {
        receive(self.receiver).unwrap_or(Err(MutationError::Stopping))
    }
}
