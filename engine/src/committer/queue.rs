//! What is queued for the journal: the journal thread takes whatever is there as one group.
//!
//! No timer: while one group syncs the next one gathers, so the sync itself is the window.
//!
//! Parts of large sets, and what compaction moves, stand in a queue of their own: each has hundreds of
//! rows, and whoever adds one file meanwhile is not to wait for all of them. A group takes one such part
//! beside the other changes, a few where there are none. That changes no order that anybody relies on:
//! a set is committed, by a change in the other queue, when all its parts were answered.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

use super::footing::{Footing, Unsettled};
use super::submission::Submission;
use super::weight::{group_bytes, text_bytes};
use crate::error::MutationError;
use crate::limits::{
    CHANGES_QUEUED_MAX, GROUP_BYTES_MAX, GROUP_CHANGES_MAX, GROUP_PARTS_MAX, TEXT_BYTES_QUEUED_MAX,
};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The queue into the journal thread.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    /// What is in flight that new files may be refused for.
    unsettled: Arc<Unsettled>,
    /// Whether nothing is taken any longer. As the next one changed under the lock, and read without
    /// it: an upload looks at both before its content is taken.
    refuses: AtomicBool,
    /// Whether too much is queued for another change.
    is_full: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    submissions: VecDeque<Queued>,
    /// Parts of large changes, and what gives such sets up, which must come behind their parts.
    parts: VecDeque<Queued>,
    /// Bytes of the texts of what is queued, parts left out: of these there are few at a time.
    text_bytes: u64,
    /// Set once and for ever: nothing more is taken (I7).
    failure: Option<Arc<io::Error>>,
    closed: bool,
    /// Whether the journal thread waits for changes: telling it costs a system call.
    is_awaited: bool,
    /// Whether somebody wants the journal to go on in a new segment.
    new_segment: bool,
}

#[derive(Debug)]
struct Queued {
    submission: Submission,
    /// Bytes of its texts.
    text_bytes: u64,
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

    fn push_within(
        &self,
        queued_max: usize,
        mut submission: Submission,
    ) -> Result<(), MutationError> {
        let is_part = submission.change.is_part();
        let text_bytes = text_bytes(&submission.change);
        let mut state = self.state();
        let waiting = state.len();
        let refusal = if let Some(refusal) = refusal(&state) {
            refusal
        } else if waiting >= queued_max || !is_part && state.is_full_with(text_bytes) {
            MutationError::Busy { what: "the server", waiting }
        } else {
            let Submission { change, reply, basis, .. } = &mut submission;
            reply.stands(self.unsettled.enter(change, *basis));
            let queued = Queued { submission, text_bytes };
            if is_part {
                state.parts.push_back(queued);
            } else {
                state.text_bytes += text_bytes;
                state.submissions.push_back(queued);
            }
            self.note_room(&state);
            let is_awaited = std::mem::take(&mut state.is_awaited);
            drop(state);
            if is_awaited {
                self.filled.notify_one();
            }
            return Ok(());
        };
        drop(state);
        submission.reply.answer(Err(refusal.clone()));
        Err(refusal)
    }

    /// What a plan stands on whose snapshot is taken after this.
    pub(crate) fn footing(&self) -> Option<Footing> {
        self.unsettled.footing()
    }

    /// Changes that are queued.
    pub(crate) fn len(&self) -> usize {
        self.state().len()
    }

    /// Waits for changes and takes as many as one group may hold; `None` once it is closed and
    /// empty, or has failed.
    pub(crate) fn take_group(&self) -> Option<Vec<Submission>> {
        let mut state = self.state();
        while state.len() == 0 {
            if state.closed || state.failure.is_some() {
                return None;
            }
            state.is_awaited = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let State { submissions, parts, text_bytes, .. } = &mut *state;
        let mut group = Gathered::default();
        group.take_from(submissions, GROUP_CHANGES_MAX);
        *text_bytes -= group.text_bytes;
        if group.changes.is_empty() {
            group.take_from(parts, GROUP_PARTS_MAX);
        } else {
            // Whatever the others bring: parts come on with each group.
            group.changes.extend(parts.pop_front().map(|part| part.submission));
        }
        self.note_room(&state);
        Some(group.changes)
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
        let mut state = self.state();
        state.closed = true;
        self.refuses.store(true, Ordering::Release);
        drop(state);
        self.filled.notify_all();
    }

    /// Ends the store for changes (I7): what is queued is refused, it never reached the journal.
    pub(crate) fn fail(&self, cause: &Arc<io::Error>) {
        let mut state = self.state();
        if state.failure.is_none() {
            tracing::error!(error = %cause, "the store is read-only from now on");
            state.failure = Some(Arc::clone(cause));
            self.refuses.store(true, Ordering::Release);
        }
        let mut refused: Vec<Queued> = state.submissions.drain(..).collect();
        refused.extend(state.parts.drain(..));
        state.text_bytes = 0;
        self.note_room(&state);
        drop(state);
        self.filled.notify_all();
        for Queued { submission, .. } in refused {
            submission.reply.answer(Err(MutationError::ReadOnly { cause: Arc::clone(cause) }));
        }
    }

    /// Whether too much is queued for another change.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    /// Notes whether there is room, for those who look without the lock.
    fn note_room(&self, state: &State) {
        let is_full = state.len() >= CHANGES_QUEUED_MAX || state.is_full_with(1);
        // Written where it changes only: others keep it in their caches.
        if self.is_full.load(Ordering::Relaxed) != is_full {
            self.is_full.store(is_full, Ordering::Release);
        }
    }

    /// Why no change is taken, if none is.
    pub(crate) fn refusal(&self) -> Option<MutationError> {
        if !self.refuses.load(Ordering::Acquire) {
            return None;
        }
        refusal(&self.state())
    }
}

impl State {
    fn len(&self) -> usize {
        self.submissions.len() + self.parts.len()
    }

    /// Whether there is no room for so many bytes of texts; for the first change there always is.
    fn is_full_with(&self, text_bytes: u64) -> bool {
        self.text_bytes > 0 && self.text_bytes + text_bytes > TEXT_BYTES_QUEUED_MAX
    }
}

/// A group that is being put together.
#[derive(Default)]
struct Gathered {
    changes: Vec<Submission>,
    bytes: u64,
    /// Those of them that are texts.
    text_bytes: u64,
}

impl Gathered {
    /// Takes up to so many, as long as the group's contents and texts fit; the first fits always.
    fn take_from(&mut self, queue: &mut VecDeque<Queued>, changes_max: usize) {
        for _ in 0..changes_max {
            let Some(Queued { submission, text_bytes }) = queue.front() else { return };
            self.bytes = self.bytes.saturating_add(group_bytes(submission, *text_bytes));
            if self.bytes > GROUP_BYTES_MAX && !self.changes.is_empty() {
                return;
            }
            self.text_bytes += text_bytes;
            self.changes.extend(queue.pop_front().map(|next| next.submission));
        }
    }
}

fn refusal(state: &State) -> Option<MutationError> {
    if let Some(cause) = &state.failure {
        return Some(MutationError::ReadOnly { cause: Arc::clone(cause) });
    }
    state.closed.then_some(MutationError::Stopping)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::blobs::Blobs;
    use crate::blobs::memory_disk::MemoryDisk;
    use crate::committer::{Debt, Reply};
    use crate::disk::Disk;
    use crate::limits::INLINE_BYTES_MAX;
    use crate::model::change::{Change, CopyTarget};
    use crate::model::{DatasetId, Digest, Filename, SetId, Timestamp};

    fn submission(change: Change) -> Submission {
        Submission::of(change, Reply::new(None).0)
    }

    fn small() -> Submission {
        submission(Change::ClearDataset { dataset: DatasetId(1) })
    }

    fn part(number: u64) -> Change {
        Change::StageFiles { set: SetId::of_upload(1, number), files: Vec::new() }
    }

    fn give_up(number: u64) -> Change {
        Change::AbortSet { set: SetId::of_upload(1, number) }
    }

    fn changes(queue: &Queue) -> Vec<Change> {
        queue.take_group().unwrap().into_iter().map(|submission| submission.change).collect()
    }

    /// A change with so many bytes of texts.
    fn text(dataset: u64, bytes: u64) -> Submission {
        let metadata = "x".repeat(usize::try_from(bytes).unwrap() - "name".len());
        let (filename, expects) = (Filename::exact("name").unwrap(), Digest([0; 32]));
        let dataset = DatasetId(dataset);
        submission(Change::SetMetadata { dataset, filename, expects, metadata })
    }

    #[test]
    fn texts_are_bounded_in_the_queue_and_in_a_group() {
        let queue = Queue::default();
        let one = GROUP_BYTES_MAX / 4;
        for number in 0..TEXT_BYTES_QUEUED_MAX / one {
            queue.push(text(number, one)).unwrap();
        }
        assert!(queue.is_full());
        assert!(matches!(queue.push(text(0, one)), Err(MutationError::Busy { .. })));
        // What gives a set up, and its parts, are not refused for what others bring.
        queue.push(submission(part(1))).unwrap();
        queue.push_though_full(submission(give_up(1))).unwrap();
        assert_eq!(queue.take_group().unwrap().len(), 4 + 1);
        assert!(!queue.is_full());
        queue.push(text(0, one)).unwrap();
        let mut taken = 0;
        while queue.len() > 0 {
            taken += queue.take_group().unwrap().len();
        }
        assert!(!queue.is_full() && taken > 4);
        let huge = TEXT_BYTES_QUEUED_MAX + 1;
        queue.push(text(0, huge)).unwrap();
        assert_eq!(queue.take_group().unwrap().len(), 1, "one that is alone always fits");
    }

    #[test]
    fn copies_weigh_in_a_group_what_the_header_of_their_source_does() {
        let queue = Queue::default();
        let follows = Debt { rows: 0, change_bytes: GROUP_BYTES_MAX / 8 };
        let copy = CopyTarget { new_name: None, creator: None, at: Timestamp(0) };
        for _ in 0..64 {
            let copy = Change::CopyDataset { source: DatasetId(1), copy: copy.clone() };
            queue.push(submission(copy).following(follows)).unwrap();
        }
        assert!(!queue.is_full(), "while they wait they are small");
        assert_eq!(queue.take_group().unwrap().len(), 7);
    }

    #[test]
    fn a_full_queue_takes_nothing_but_what_gives_up_a_set() {
        let queue = Queue::default();
        for _ in 0..CHANGES_QUEUED_MAX {
            assert!(!queue.is_full());
            queue.push(small()).unwrap();
        }
        assert!(queue.is_full());
        assert!(matches!(queue.push(small()), Err(MutationError::Busy { .. })));
        queue.push_though_full(submission(give_up(1))).unwrap();
        let mut taken = 0;
        while taken <= CHANGES_QUEUED_MAX {
            taken += queue.take_group().unwrap().len();
        }
        assert_eq!(taken, CHANGES_QUEUED_MAX + 1);
        queue.push(small()).unwrap();
    }

    #[test]
    fn parts_of_large_changes_come_one_a_group_while_others_wait_and_in_their_order() {
        let queue = Queue::default();
        let parts: Vec<Change> = (1..=8).map(part).chain([give_up(8)]).collect();
        for part in &parts {
            queue.push(submission(part.clone())).unwrap();
        }
        let one = small().change;
        for expected in &parts[..2] {
            queue.push(small()).unwrap();
            queue.push(small()).unwrap();
            assert_eq!(changes(&queue), [one.clone(), one.clone(), expected.clone()]);
        }
        assert_eq!(changes(&queue), parts[2..2 + GROUP_PARTS_MAX]);
        queue.close();
        let mut left = Vec::new();
        while let Some(group) = queue.take_group() {
            left.extend(group.into_iter().map(|submission| submission.change));
        }
        assert_eq!(left, parts[2 + GROUP_PARTS_MAX..]);
    }

    #[test]
    fn parts_come_on_however_much_the_others_bring() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let blobs = Blobs::new(disk, 1);
        let length = usize::try_from(INLINE_BYTES_MAX).unwrap();
        let large = |number: u8| {
            let mut bytes = Cursor::new(vec![number; length]);
            let content = blobs.stage_reader(&mut bytes, INLINE_BYTES_MAX, &|_| Ok(false)).unwrap();
            Submission { contents: vec![content], ..small() }
        };
        let queue = Queue::default();
        for number in 0..20 {
            queue.push(large(number)).unwrap();
        }
        queue.push(Submission { change: part(1), ..large(20) }).unwrap();
        queue.push(submission(give_up(1))).unwrap();
        for expected in [part(1), give_up(1)] {
            let group = changes(&queue);
            assert!(group.len() > 4);
            assert_eq!(group.last(), Some(&expected));
        }
    }

    #[test]
    fn a_failure_refuses_parts_too() {
        let queue = Queue::default();
        queue.push(submission(part(1))).unwrap();
        queue.push(small()).unwrap();
        assert!(queue.refusal().is_none());
        queue.fail(&Arc::new(io::Error::other("the disk")));
        assert!(matches!(queue.refusal(), Some(MutationError::ReadOnly { .. })));
        assert!(matches!(queue.push(small()), Err(MutationError::ReadOnly { .. })));
        assert_eq!(queue.len(), 0);
        assert!(queue.take_group().is_none());
    }

    #[test]
    fn a_queue_that_failed_is_not_full_and_one_that_is_closed_says_so() {
        let queue = Queue::default();
        queue.push(text(0, TEXT_BYTES_QUEUED_MAX)).unwrap();
        assert!(queue.is_full() && queue.refusal().is_none());
        queue.close();
        assert!(matches!(queue.refusal(), Some(MutationError::Stopping)));
        queue.fail(&Arc::new(io::Error::other("the disk")));
        assert!(!queue.is_full(), "what was queued is refused");
        assert!(matches!(queue.refusal(), Some(MutationError::ReadOnly { .. })));
    }
}
