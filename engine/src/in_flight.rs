//! Counts the changes of one dataset that are queued or in flight: the bound that a mailbox is not,
//! and how anybody knows that a dataset has come to rest.
//!
//! A [`Slot`] is taken before a message is sent and travels with it, through the actor's plan and
//! the committer's queue, until the change is applied or refused. It counts against the bound until
//! the change is answered, which may be earlier.

use std::sync::Arc;

use tokio::sync::Notify;
use tracing::Span;

use crate::error::MutationError;
use crate::limits::DATASET_QUEUE_MAX;
use crate::model::Origin;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The counters of one dataset.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Changes queued or in flight that are not answered.
    waiting: AtomicUsize,
    /// Changes handed to the committer.
    submitted: AtomicU64,
    /// Changes that the committer has applied, or refused.
    settled: AtomicU64,
    /// Tells those who wait that one more has settled; hardly ever anybody does.
    told: Notify,
}

impl InFlight {
    /// Takes a place.
    ///
    /// # Errors
    /// `Busy`: there is none.
    pub(crate) fn claim(self: &Arc<Self>) -> Result<Slot, MutationError> {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
        let counters = Arc::clone(self);
        let (settled, submitted) = (Settled::default(), AtomicBool::new(false));
        let span = change_span();
        let slot = Slot { counters, settled, submitted, is_answered: false, origin: None, span };
        if waiting >= DATASET_QUEUE_MAX {
            return Err(MutationError::Busy { what: "the dataset", waiting });
        }
        Ok(slot)
    }

    /// Whether the next one would find no place.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Acquire) >= DATASET_QUEUE_MAX
    }

    /// Changes queued or in flight that are not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether nobody waits and nothing is in flight.
    pub(crate) fn is_unused(&self) -> bool {
        // In this order: whoever is answered and not settled was submitted before.
        self.waiting.load(Ordering::Acquire) == 0
            && self.settled.load(Ordering::Acquire) >= self.submitted.load(Ordering::Acquire)
    }

    /// Waits until everything submitted so far is settled.
    pub(crate) async fn all_settled(&self) {
        let submitted = self.submitted.load(Ordering::Acquire);
        loop {
            // Before the look, so that it hears of whatever settles after it.
            let told = self.told.notified();
            if self.settled.load(Ordering::Acquire) >= submitted {
                return;
            }
            told.await;
        }
    }
}

/// Whether a change in flight has been applied, or refused.
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

/// A change as part of the trace of the request that asks for it, from its place in a queue to its
/// answer; the group that makes it durable is linked to it.
pub(crate) fn change_span() -> Span {
    tracing::debug_span!(target: "granary_engine::trace", "change")
}

/// A place in a dataset's queue, from before its message is sent until its change is applied or
/// refused.
#[derive(Debug)]
pub(crate) struct Slot {
    counters: Arc<InFlight>,
    settled: Settled,
    submitted: AtomicBool,
    is_answered: bool,
    origin: Option<Arc<Origin>>,
    span: Span,
}

impl Slot {
    /// Notes who asks.
    #[must_use]
    pub(crate) fn asked_by(mut self, origin: Option<&Arc<Origin>>) -> Self {
        self.origin = origin.cloned();
        self
    }

    /// Who asks.
    pub(crate) fn origin(&self) -> Option<&Arc<Origin>> {
        self.origin.as_ref()
    }

    /// The change as part of its request's trace.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Counts the change as in flight; gives the flag that tells when it no longer is.
    pub(crate) fn submitted(&self) -> Settled {
        if !self.submitted.swap(true, Ordering::AcqRel) {
            self.counters.submitted.fetch_add(1, Ordering::AcqRel);
        }
        self.settled.clone()
    }
}

impl Slot {
    /// Gives the place to another change, since nobody waits for this one any longer.
    pub(crate) fn answered(&mut self) {
        if !std::mem::replace(&mut self.is_answered, true) {
            self.counters.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.settled.settle();
        if *self.submitted.get_mut() {
            self.counters.settled.fetch_add(1, Ordering::AcqRel);
            self.counters.told.notify_waiters();
        }
        self.answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_counts_until_a_slot_is_dropped() {
        let counters = Arc::new(InFlight::default());
        let slots: Vec<Slot> = (0..DATASET_QUEUE_MAX).map(|_| counters.claim().unwrap()).collect();
        assert!(counters.is_full());
        assert!(matches!(counters.claim(), Err(MutationError::Busy { .. })));
        drop(slots);
        assert!(!counters.is_full());
        assert!(counters.is_unused());
        assert!(counters.claim().is_ok());
    }

    #[test]
    fn what_is_answered_takes_no_place_and_is_in_use_until_it_settles() {
        let counters = Arc::new(InFlight::default());
        let mut slots: Vec<Slot> =
            (0..DATASET_QUEUE_MAX).map(|_| counters.claim().unwrap()).collect();
        for slot in &mut slots {
            assert!(!slot.submitted().is_settled());
            slot.answered();
        }
        assert_eq!(counters.waiting(), 0);
        assert!(!counters.is_full());
        assert!(!counters.is_unused());
        drop(slots);
        assert_eq!(counters.waiting(), 0);
        assert!(counters.is_unused());
    }

    #[tokio::test]
    async fn a_dataset_is_at_rest_once_what_was_submitted_is_settled() {
        let counters = Arc::new(InFlight::default());
        counters.all_settled().await;
        let (merely_queued, in_flight) = (counters.claim().unwrap(), counters.claim().unwrap());
        let settled = in_flight.submitted();
        let mut rest = Box::pin(counters.all_settled());
        assert!(futures_ready(&mut rest).is_none());
        drop(in_flight);
        assert!(settled.is_settled());
        rest.await;
        drop(merely_queued);
    }

    /// Polls once.
    fn futures_ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
