//! What is queued for the journal: the journal thread takes whatever is there as one group.
//!
//! No timer: while one group syncs the next one gathers, so the sync itself is the window.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

use super::submission::Submission;
use crate::blobs::StagedBody;
use crate::error::MutationError;
use crate::limits::{CHANGES_IN_FLIGHT_MAX, GROUP_BYTES_MAX, GROUP_CHANGES_MAX};
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
        let mut state = self.state();
        let waiting = state.submissions.len();
        let refusal = if let Some(refusal) = refusal(&state) {
            refusal
        } else if waiting >= CHANGES_IN_FLIGHT_MAX {
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
