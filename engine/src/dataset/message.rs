//! Every message to a dataset's actor, one struct each, with its promise.
//!
//! A message travels in an [`Envelope`]: the actor takes it out when it begins, so a sender whose
//! actor died knows whether its message was the one that was being handled or merely queued.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix::Message;
use tokio::sync::oneshot;

use crate::blobs::StagedBlob;
use crate::committer::Ticket;
use crate::error::MutationError;
use crate::in_flight::Slot;
use crate::limits::{HOLD_WAIT_MAX, MAILBOX_WAIT_MAX};
use crate::model::change::CopyTarget;
use crate::model::{
    DatasetPatch, FileCondition, RequestedFilename, StoredFile, Timestamp, UploadTerms,
};
use crate::sync::{Mutex, MutexGuard};

/// A message and its place in the dataset's queue.
#[derive(Debug)]
pub(crate) struct Envelope<M> {
    letter: Arc<Mutex<Letter<M>>>,
}

#[derive(Debug)]
enum Letter<M> {
    Sealed(M, Slot),
    /// Its sender has gone, or waits no longer.
    Withdrawn(#[expect(dead_code, reason = "held, not read")] Slot),
    Opened,
}

impl<M> Envelope<M> {
    pub(crate) fn new(message: M, slot: Slot) -> Self {
        Self { letter: Arc::new(Mutex::new(Letter::Sealed(message, slot))) }
    }

    /// Another envelope for the same message: whichever is opened first holds it.
    pub(crate) fn again(&self) -> Self {
        Self { letter: Arc::clone(&self.letter) }
    }

    fn letter(&self) -> MutexGuard<'_, Letter<M>> {
        self.letter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the message out; `None` if that was done before, or it was withdrawn.
    pub(crate) fn open(&self) -> Option<(M, Slot)> {
        match std::mem::replace(&mut *self.letter(), Letter::Opened) {
            Letter::Sealed(message, slot) => Some((message, slot)),
            Letter::Withdrawn(_) | Letter::Opened => None,
        }
    }

    /// Whether the message is still in it: no actor began to handle it.
    pub(crate) fn is_unopened(&self) -> bool {
        matches!(*self.letter(), Letter::Sealed(..))
    }

    /// Takes the message away, if no actor began to handle it; its place stays taken until one finds that.
    /// Says whether it was there.
    pub(crate) fn withdraw(&self) -> bool {
        let mut letter = self.letter();
        let (left, message) = match std::mem::replace(&mut *letter, Letter::Opened) {
            Letter::Sealed(message, slot) => (Letter::Withdrawn(slot), Some(message)),
            other @ (Letter::Withdrawn(_) | Letter::Opened) => (other, None),
        };
        *letter = left;
        drop(letter);
        // It goes with the lock released.
        message.is_some()
    }
}

/// What a handler answers: a refusal, or what it planned with a ticket for the rest.
pub(crate) type Planned<T> = Result<(T, Ticket), MutationError>;

impl<M: Request> Message for Envelope<M> {
    type Result = Planned<M::Planned>;
}

/// A message and what its plan already tells.
pub(crate) trait Request: Send + 'static {
    /// Known as soon as the change is planned.
    type Planned: Send + 'static;

    /// How long it waits in the mailbox of a dataset that stands still.
    const WAIT_MAX: Duration = MAILBOX_WAIT_MAX;
}

/// Adds one file, or puts it in another's place; the ticket is redeemed once it is durable (I1).
#[derive(Debug)]
pub(crate) struct AddFile {
    pub(crate) filename: RequestedFilename,
    pub(crate) content: StagedBlob,
    pub(crate) terms: UploadTerms,
}

/// Removes one file; the ticket is redeemed once the removal is durable (I1).
#[derive(Debug)]
pub(crate) struct DeleteFile {
    pub(crate) filename: String,
    pub(crate) condition: FileCondition,
}

/// Gives one file another name; the ticket is redeemed once that is durable (I1).
#[derive(Debug)]
pub(crate) struct RenameFile {
    pub(crate) from: String,
    pub(crate) to: RequestedFilename,
}

/// Sets one file's metadata; the ticket is redeemed once it is durable (I1).
#[derive(Debug)]
pub(crate) struct SetMetadata {
    pub(crate) filename: String,
    pub(crate) metadata: String,
    pub(crate) condition: FileCondition,
}

/// Makes all metadata empty.
#[derive(Debug)]
pub(crate) struct ClearDataset;

/// Changes header fields.
#[derive(Debug)]
pub(crate) struct UpdateDataset {
    pub(crate) patch: DatasetPatch,
}

/// Soft-deletes the dataset.
#[derive(Debug)]
pub(crate) struct DestroyDataset;

/// Takes a soft deletion back.
#[derive(Debug)]
pub(crate) struct ReinstateDataset;

/// Removes the dataset for good.
#[derive(Debug)]
pub(crate) struct HardDeleteDataset;

/// Removes the dataset for good if it is soft-deleted since this very time.
#[derive(Debug)]
pub(crate) struct PurgeDataset {
    pub(crate) deleted_at: Timestamp,
}

/// Copies the dataset with all files that are in it when the copy's turn comes.
#[derive(Debug)]
pub(crate) struct CopyDataset {
    pub(crate) copy: CopyTarget,
}

/// Makes the actor stand still once all it planned has settled, until `released` is dropped or
/// sent, or its time is up.
#[derive(Debug)]
pub(crate) struct HoldDataset {
    pub(crate) granted: oneshot::Sender<()>,
    pub(crate) released: oneshot::Receiver<()>,
}

/// Panics in its handler, as a bug would.
#[cfg(feature = "simulation")]
#[derive(Debug)]
pub(crate) struct BreakActor;

#[cfg(feature = "simulation")]
impl Request for BreakActor {
    type Planned = ();
}

macro_rules! requests {
    ($($message:ty => $planned:ty),* $(,)?) => {$(
        impl Request for $message {
            type Planned = $planned;
        }
    )*};
}

requests! {
    AddFile => StoredFile,
    DeleteFile => StoredFile,
    RenameFile => StoredFile,
    SetMetadata => (),
    ClearDataset => (),
    UpdateDataset => (),
    DestroyDataset => (),
    ReinstateDataset => (),
    HardDeleteDataset => (),
    PurgeDataset => (),
    CopyDataset => (),
}

impl Request for HoldDataset {
    type Planned = ();

    // The change that it is for has come whole, or is planned at length.
    const WAIT_MAX: Duration = HOLD_WAIT_MAX;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_flight::InFlight;

    #[test]
    fn a_withdrawn_message_is_gone_and_its_place_is_taken_until_somebody_finds_that() {
        let in_flight = Arc::new(InFlight::default());
        let held = Arc::new(());
        let envelope = Envelope::new(Arc::clone(&held), in_flight.claim().unwrap());
        let delivered = envelope.again();
        envelope.withdraw();
        drop(envelope);
        assert_eq!((Arc::strong_count(&held), in_flight.waiting()), (1, 1));
        assert!(!delivered.is_unopened() && delivered.open().is_none());
        assert_eq!(in_flight.waiting(), 0);

        let envelope = Envelope::new((), in_flight.claim().unwrap());
        let opened = envelope.again().open();
        envelope.withdraw();
        assert!(opened.is_some() && in_flight.waiting() == 1, "it is the actor's by then");
    }
}
