//! What was answered and is not visible yet: whoever reads waits for it (I1).
//!
//! A new file that nothing in flight can have refused is answered as soon as it is in the journal
//! (`committer/footing.rs`); its rows follow. Nobody sees the difference, since a read that begins
//! after the answer waits until the index thread has come that far. Where nothing is behind, that
//! costs two loads.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::model::Sequence;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, wait_at_most};

/// How far answers and the index have come.
#[derive(Debug, Default)]
pub(crate) struct Visibility {
    /// The last change that was answered before it was applied.
    answered: AtomicU64,
    /// The last change that readers see; all of them once the index thread has gone.
    applied: AtomicU64,
    is_lacking: AtomicBool,
    state: Mutex<State>,
    /// Told where the index thread should not linger.
    hurried: Condvar,
    /// Told when readers see more.
    seen: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the index has failed: nothing is answered from then on that it has not applied.
    is_closed: bool,
    /// Whether somebody waits for what the index thread puts off.
    is_hurried: bool,
    /// Tasks that wait, and for which change.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    /// Threads that wait.
    blocked: usize,
}

impl Visibility {
    /// Of a store whose index holds the changes up to one.
    pub(crate) fn of(applied: Sequence) -> Self {
        let (answered, applied) = (AtomicU64::new(applied.0), AtomicU64::new(applied.0));
        Self { answered, applied, ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether readers see all that was answered before this is asked.
    pub(crate) fn is_complete(&self) -> bool {
        self.has(self.answered.load(Ordering::Acquire))
    }

    fn has(&self, sequence: u64) -> bool {
        self.applied.load(Ordering::Acquire) >= sequence
    }

    /// Waits until readers see all that was answered before this was asked.
    pub(crate) async fn complete(&self) {
        if let Some(waiting) = self.wait_for(self.answered.load(Ordering::Acquire)) {
            // Its other half goes only with the store.
            drop(waiting.await);
        }
    }

    /// As [`Visibility::complete`], for threads that may block.
    pub(crate) fn complete_blocking(&self) {
        self.reach_blocking(Sequence(self.answered.load(Ordering::Acquire)));
    }

    /// Waits until readers see a change that is in the journal. Blocks.
    pub(crate) fn reach_blocking(&self, sequence: Sequence) {
        if self.has(sequence.0) {
            return;
        }
        let mut state = self.state();
        while !self.has(sequence.0) {
            state.blocked += 1;
            self.hurried.notify_one();
            state = self.seen.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.blocked -= 1;
        }
    }

    fn wait_for(&self, sequence: u64) -> Option<oneshot::Receiver<()>> {
        if self.has(sequence) {
            return None;
        }
        let mut state = self.state();
        // Again, under the lock that the index thread takes to tell those who wait.
        if self.has(sequence) {
            return None;
        }
        let (told, waiting) = oneshot::channel();
        state.waiting.push((sequence, told));
        drop(state);
        self.hurried.notify_one();
        Some(waiting)
    }

    /// Notes that changes up to this one, which are in the journal, are about to be answered. `false`
    /// if they must not be, since the index has failed.
    pub(crate) fn answers(&self, upto: Sequence) -> bool {
        let state = self.state();
        if !state.is_closed {
            self.answered.store(upto.0, Ordering::Release);
        }
        !state.is_closed
    }

    /// Notes that readers see the changes up to this one.
    pub(crate) fn applied(&self, upto: Sequence) {
        // Once the index has ended nobody waits any longer, whatever comes.
        self.applied.fetch_max(upto.0, Ordering::AcqRel);
        let mut state = self.state();
        let seen: Vec<(u64, oneshot::Sender<()>)> =
            state.waiting.extract_if(.., |(wanted, _)| *wanted <= upto.0).collect();
        let has_blocked = state.blocked > 0;
        drop(state);
        if has_blocked {
            self.seen.notify_all();
        }
        for (_, told) in seen {
            // Whoever waited may have gone.
            told.send(()).ok();
        }
    }

    /// Ends answers before the index; gives the last change that was, or may have been, answered so.
    pub(crate) fn close(&self) -> Sequence {
        self.state().is_closed = true;
        Sequence(self.answered.load(Ordering::Acquire))
    }

    /// Lets everybody go on, for the index comes no further than to this change.
    pub(crate) fn end(&self, reached: Sequence) {
        let answered = self.close();
        self.is_lacking.store(answered > reached, Ordering::Release);
        self.applied(Sequence(u64::MAX));
    }

    /// Whether the index has ended without what was answered: what it says is not true then.
    pub(crate) fn is_lacking(&self) -> bool {
        self.is_lacking.load(Ordering::Acquire)
    }

    /// Has the index thread linger no longer: what it puts off is awaited.
    pub(crate) fn hurry(&self) {
        self.state().is_hurried = true;
        self.hurried.notify_one();
    }

    /// Waits so long at most, or until somebody waits for what is put off meanwhile.
    pub(crate) fn linger(&self, at_most: Duration) {
        let state = self.state();
        let is_awaited = state.is_hurried || state.blocked > 0 || !state.waiting.is_empty();
        let mut state =
            if is_awaited { state } else { wait_at_most(&self.hurried, state, at_most) };
        state.is_hurried = false;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::thread;

    use super::*;

    fn is_ready(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_read_waits_for_what_was_answered_before_it_and_for_no_more() {
        let visibility = Visibility::of(Sequence(5));
        assert!(visibility.is_complete());
        assert!(is_ready(pin!(visibility.complete())));
        assert!(visibility.answers(Sequence(6)));
        let mut first = pin!(visibility.complete());
        assert!(!is_ready(first.as_mut()));
        assert!(visibility.answers(Sequence(7)));
        let mut second = pin!(visibility.complete());
        assert!(!is_ready(second.as_mut()));
        visibility.applied(Sequence(6));
        assert!(is_ready(first));
        assert!(!is_ready(second.as_mut()));
        assert!(!visibility.is_complete());
        visibility.applied(Sequence(9));
        assert!(is_ready(second));
        assert!(visibility.is_complete());
    }

    #[test]
    fn threads_wait_too_and_nobody_waits_for_an_index_that_has_ended() {
        let visibility = Arc::new(Visibility::of(Sequence(0)));
        assert!(visibility.answers(Sequence(2)));
        let waiting = Arc::clone(&visibility);
        let waiting = thread::spawn(move || waiting.complete_blocking());
        visibility.applied(Sequence(1));
        // While it waits, it wakes up who lingers, however long that would be.
        while !waiting.is_finished() && visibility.state().blocked == 0 {
            thread::yield_now();
        }
        visibility.linger(Duration::MAX);
        assert_eq!(visibility.close(), Sequence(2));
        assert!(!visibility.answers(Sequence(3)));
        visibility.end(Sequence(2));
        waiting.join().unwrap();
        assert!(!visibility.is_lacking());
        visibility.applied(Sequence(3));
        visibility.reach_blocking(Sequence(1000));
    }

    #[test]
    fn an_index_that_ends_before_what_was_answered_is_told_of() {
        let visibility = Visibility::of(Sequence(0));
        assert!(visibility.answers(Sequence(2)));
        visibility.end(Sequence(1));
        assert!(visibility.is_lacking());
    }
}
