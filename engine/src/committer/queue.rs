//! What is queued for the journal: the journal thread takes whatever is there as one group.
//!
//! No timer: while one group syncs the next one gathers, so the sync itself is the window.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

use super::submission::Submission;
use crate::blobs::StagedBody;
use crate::error::MutationError;
use crate::limits::{CHANGES_QUEUED_MAX, GROUP_BYTES_MAX, GROUP_CHANGES_MAX};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The queue into the journal thread.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    submissions: VecDeque<Submission>,
    /// Set once and for ever: nothing more is taken (I7).
    failure: Option<Arc<io::Error>>,
    closed: bool,
    /// Whether somebody wants the journal to go on in a new segment.
    new_segment: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a change; never waits.
    pub(crate) fn push(&self, submission: Submission) -> Result<(), MutationError> {
        self.push_within(CHANGES_QUEUED_MAX, submission)
    }

    /// Queues a change however many are queued already: for one that gives up what was queued
    /// before, of which there are as few as there are large sets.
    pub(crate) fn push_though_full(&self, submission: Submission) -> Result<(), MutationError> {
        self.push_within(usize::MAX, submission)
    }

    fn push_within(&self, queued_max: usize, submission: Submission) -> Result<(), MutationError> {
        let mut state = self.state();
        let waiting = state.submissions.len();
        let refusal = if let Some(refusal) = refusal(&state) {
            refusal
        } else if waiting >= queued_max {
            MutationError::Busy { what: "the server", waiting }
        } else {
            state.submissions.push_back(submission);
            drop(state);
            self.filled.notify_one();
            return Ok(());
        };
        drop(state);
        submission.reply.answer(Err(refusal.clone()));
        Err(refusal)
    }

    /// Changes that are queued.
    pub(crate) fn len(&self) -> usize {
        self.state().submissions.len()
    }

    /// Waits for changes and takes as many as one group may hold; `None` once it is closed and
    /// empty, or has failed.
    pub(crate) fn take_group(&self) -> Option<Vec<Submission>> {
        let mut state = self.state();
        while state.submissions.is_empty() {
            if state.closed || state.failure.is_some() {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(next) = state.submissions.front() {
            bytes += payload_bytes(next);
            let full = bytes > GROUP_BYTES_MAX || group.len() >= GROUP_CHANGES_MAX;
            if full && !group.is_empty() {
                break;
            }
            group.extend(state.submissions.pop_front());
        }
        Some(group)
    }

    /// Asks that the next group goes into a new segment of the journal.
    pub(crate) fn want_new_segment(&self) {
        self.state().new_segment = true;
    }

    /// Whether somebody asked for a new segment since this was asked last.
    pub(crate) fn take_new_segment_wish(&self) -> bool {
        std::mem::take(&mut self.state().new_segment)
    }

    /// Takes nothing more; what is queued will still be done.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
    }

    /// Ends the store for changes (I7): what is queued is refused, it never reached the journal.
    pub(crate) fn fail(&self, cause: &Arc<io::Error>) {
        let mut state = self.state();
        if state.failure.is_none() {
            tracing::error!(error = %cause, "the store is read-only from now on");
            state.failure = Some(Arc::clone(cause));
        }
        let refused: Vec<Submission> = state.submissions.drain(..).collect();
        drop(state);
        self.filled.notify_all();
        for submission in refused {
            submission.reply.answer(Err(MutationError::ReadOnly { cause: Arc::clone(cause) }));
        }
    }

    /// Whether too much is queued for another change.
    pub(crate) fn is_full(&self) -> bool {
        self.state().submissions.len() >= CHANGES_QUEUED_MAX
    }

    /// Why no change is taken, if none is.
    pub(crate) fn refusal(&self) -> Option<MutationError> {
        refusal(&self.state())
    }
}

fn refusal(state: &State) -> Option<MutationError> {
    if let Some(cause) = &state.failure {
        return Some(MutationError::ReadOnly { cause: Arc::clone(cause) });
    }
    state.closed.then_some(MutationError::Stopping)
}

/// Bytes that the submission adds to the journal beside its change.
pub(crate) fn payload_bytes(submission: &Submission) -> u64 {
    let contents = submission.contents.iter();
    contents
        .map(
            |content| {
                if matches!(content.body(), StagedBody::Memory(_)) { content.length() } else { 0 }
            },
        )
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committer::Reply;
    use crate::model::SetId;
    use crate::model::change::Change;

    fn submission() -> Submission {
        let change = Change::AbortSet { set: SetId::of_upload(1, 1) };
        Submission { change, contents: Vec::new(), reply: Reply::new(None).0 }
    }

    #[test]
    fn a_full_queue_takes_nothing_but_what_gives_up_a_set() {
        let queue = Queue::default();
        for _ in 0..CHANGES_QUEUED_MAX {
            assert!(!queue.is_full());
            queue.push(submission()).unwrap();
        }
        assert!(queue.is_full());
        assert!(matches!(queue.push(submission()), Err(MutationError::Busy { .. })));
        queue.push_though_full(submission()).unwrap();
        let mut taken = 0;
        while taken <= CHANGES_QUEUED_MAX {
            taken += queue.take_group().unwrap().len();
        }
        assert_eq!(taken, CHANGES_QUEUED_MAX + 1);
        queue.push(submission()).unwrap();
    }
}
