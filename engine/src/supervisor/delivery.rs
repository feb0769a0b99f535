//! Brings a message to the actor of its dataset, which may be starting, ending or dying meanwhile.

use std::pin::pin;

use super::entry::Entry;
use crate::dataset::message::{Envelope, Planned, Request};
use crate::error::MutationError;
use crate::limits::ACTOR_ATTEMPTS_MAX;
use crate::sync::timeout;

/// An actor has died, with the message in its mailbox or in its hands.
#[derive(Debug)]
pub(crate) struct Died;

/// The way to one actor: an actix address.
pub(crate) trait Address<M: Request>: Clone + PartialEq {
    /// Puts an envelope into the actor's mailbox and awaits what the actor planned.
    async fn send(&self, envelope: Envelope<M>) -> Result<Planned<M::Planned>, Died>;
}

/// Takes a message back out of the mailbox where whoever sent it goes away before an actor began with it:
/// nobody waits for it, and what it holds is there for others. Its place is taken until the actor comes to it, so
/// that there are no more of them than places.
pub(crate) struct Withdrawal<'a, M>(pub(crate) &'a Envelope<M>);

impl<M> Drop for Withdrawal<'_, M> {
    fn drop(&mut self) {
        // It comes to nothing where the message was answered.
        self.0.withdraw();
    }
}

/// Delivers a message, which waits in a mailbox as long as one of its kind does; `start` starts an actor where
/// there is none. `None` if the message broke its actor, or no actor can be started.
pub(crate) async fn deliver<A: Address<M>, M: Request>(
    entry: &Entry<A>,
    envelope: &Envelope<M>,
    start: impl Fn() -> A,
) -> Option<Planned<M::Planned>> {
    // Once more whenever an actor died with our message unopened in its mailbox.
    for _ in 0..ACTOR_ATTEMPTS_MAX {
        let address = entry.address_or_start(&start);
        let mut sending = pin!(address.send(envelope.again()));
        let sent = match timeout(M::WAIT_MAX, &mut sending).await {
            Ok(sent) => sent,
            // Still in the mailbox of a dataset that stands still: taken back, so that what
            // it holds, upload memory above all, is there for other datasets. What is left in the mailbox
            // has its place there.
            Err(_) if envelope.withdraw() => {
                return Some(Err(MutationError::Busy { what: "the dataset", waiting: 1 }));
            }
            Err(_) => sending.await,
        };
        let Err(Died) = sent else { return sent.ok() };
        entry.forget(&address);
        if !envelope.is_unopened() {
            break;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::super::entry::Registry;
    use super::*;
    use crate::dataset::message::{ClearDataset, HoldDataset};
    use crate::limits::{HOLD_WAIT_MAX, MAILBOX_WAIT_MAX};
    use crate::model::DatasetId;

    /// A message that waits for no time at all.
    #[derive(Debug)]
    struct Impatient(#[expect(dead_code, reason = "held, not read")] Arc<()>);

    impl Request for Impatient {
        type Planned = ();
        const WAIT_MAX: Duration = Duration::ZERO;
    }

    /// The mailbox of a dataset that stands still.
    #[derive(Clone)]
    struct Still(Arc<Mutex<Vec<Envelope<Impatient>>>>);

    impl PartialEq for Still {
        fn eq(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }
    }

    impl Address<Impatient> for Still {
        async fn send(&self, envelope: Envelope<Impatient>) -> Result<Planned<()>, Died> {
            self.0.lock().unwrap().push(envelope);
            pending().await
        }
    }

    #[tokio::test]
    async fn a_message_is_taken_back_from_a_dataset_that_stands_still_as_soon_as_its_kind_says() {
        assert_eq!(ClearDataset::WAIT_MAX, MAILBOX_WAIT_MAX);
        assert_eq!(HoldDataset::WAIT_MAX, HOLD_WAIT_MAX);
        let registry = Registry::default();
        let still = Still(Arc::default());
        let (entry, slot) = registry.claim(DatasetId(1)).unwrap();
        let held = Arc::new(());
        let envelope = Envelope::new(Impatient(Arc::clone(&held)), slot);
        let planned = deliver(&entry, &envelope, || still.clone()).await;
        assert!(matches!(planned, Some(Err(MutationError::Busy { .. }))));
        assert_eq!(Arc::strong_count(&held), 1, "what it held is there for others");
        drop(envelope);
        assert_eq!(entry.in_flight().waiting(), 1, "it lies in the mailbox");
        let left = still.0.lock().unwrap().pop().unwrap();
        assert!(left.open().is_none());
        assert_eq!(entry.in_flight().waiting(), 0, "an actor has found that");
    }
}
