//! A change on its way to the journal, and the answer on its way back.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::Span;

use super::debt::Debt;
use super::footing::{Basis, Entered, Standing};
use crate::blobs::StagedBlob;
use crate::error::MutationError;
use crate::in_flight::{Slot, change_span};
use crate::index::apply::Applied;
use crate::leases::Lease;
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
    /// Keeps the rows of what the change names and nothing pins until it is applied, whatever becomes
    /// meanwhile of whoever planned it (I3).
    pub(crate) lease: Option<Arc<Lease>>,
    pub(crate) reply: Reply,
    pub(crate) basis: Basis,
    /// What applying the change takes from rows that are there, beside what the change says itself: the
    /// texts of a header that is copied or written anew, the datasets of a project.
    pub(crate) follows: Debt,
}

impl Submission {
    /// A change that brings no content and is answered once it is applied.
    pub(crate) fn of(change: Change, reply: Reply) -> Self {
        let (contents, follows) = (Vec::new(), Debt::default());
        Self { change, contents, lease: None, reply, basis: Basis::Other, follows }
    }

    /// The same, of which more follows than the change says.
    pub(crate) fn following(self, follows: Debt) -> Self {
        Self { follows, ..self }
    }

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
    standing: Standing,
    /// Its place among what new files may be refused for.
    entered: Option<Entered>,
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
        let (sender, standing) = (Some(sender), Standing::Open);
        (Self { sender, slot, origin, span, standing, entered: None }, Ticket { receiver })
    }

    /// Notes how the change stands in the queue.
    pub(super) fn stands(&mut self, (standing, entered): (Standing, Option<Entered>)) {
        self.standing = standing;
        self.entered = entered;
    }

    /// The answer to a firm change that is durable: it was made. The change is settled later, when it
    /// is applied; `None` if applying it decides.
    pub(super) fn promise(&mut self) -> Option<Promised> {
        if self.standing == Standing::Open {
            return None;
        }
        if let Some(slot) = &mut self.slot {
            slot.answered();
        }
        self.sender.take().map(|sender| Promised { sender: Some(sender) })
    }

    /// Whether the change was promised to be made.
    pub(super) fn is_promised(&self) -> bool {
        self.sender.is_none()
    }

    /// Who asked for the change.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// The change as part of its request's trace.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Answers, if nothing was promised. The change is settled first, so that whoever reads the
    /// answer may rely on it.
    pub(crate) fn answer(mut self, verdict: Verdict) {
        drop(self.slot.take());
        drop(self.entered.take());
        if let Some(sender) = self.sender.take() {
            // The caller may have hung up; the change is durable either way.
            drop(sender.send(verdict));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            // Nobody knows whether it was made, so nothing may be planned as if it were settled.
            if let Some(entered) = self.entered.take() {
                entered.stay();
            }
            drop(sender.send(Err(outcome_unknown())));
        }
    }
}

fn outcome_unknown() -> MutationError {
    let cause = Arc::new(std::io::Error::other("the store stopped on the way"));
    MutationError::OutcomeUnknown { cause }
}

/// The answer to a change that will be made: given exactly once, if only to say that the outcome is
/// unknown.
#[derive(Debug)]
pub(super) struct Promised {
    sender: Option<oneshot::Sender<Verdict>>,
}

impl Promised {
    /// Gives it, now that readers will see the change.
    pub(super) fn keep(mut self) {
        self.answer(Ok(Applied::Done));
    }

    fn answer(&mut self, verdict: Verdict) {
        if let Some(sender) = self.sender.take() {
            // The caller may have hung up; the change is durable either way.
            drop(sender.send(verdict));
        }
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        self.answer(Err(outcome_unknown()));
    }
}

/// Redeemed once the change is durable and every read from then on sees it, or refused.
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
