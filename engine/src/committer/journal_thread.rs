//! Appends groups and syncs them, one sync for whatever is queued.

mod room;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Span;

use super::ahead::Ahead;
use super::debt::{Debt, Debts};
use super::index_thread::{IndexWork, Journaled, JournaledGroup};
use super::queue::Queue;
use super::submission::{Promised, Submission};
use crate::blobs::{Pin, StagedBlob, StagedBody, byte_count};
use crate::counters::Counters;
use crate::disk::Disk;
use crate::error::MutationError;
use crate::journal::{AppendError, Journal, NewRecord, RecordBlob};
use crate::limits::ENCODED_BYTES_MAX;
use crate::model::change::{Change, NewBlob, SegmentId};
use crate::model::{Digest, Sequence, Timestamp};
use crate::noted::{EncodedNote, NotedChange};
use crate::store::SharedIndex;
use crate::sync::mpsc::SyncSender;
use crate::visibility::Visibility;
use room::{Admitted, InVain, SET_ASIDE_BYTES, following_of};

/// What the journal thread works on.
#[derive(Debug)]
pub(crate) struct JournalParts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) journal: Journal,
    pub(crate) queue: Arc<Queue>,
    pub(crate) index: SyncSender<IndexWork>,
    /// Free bytes below which nothing that grows the store is taken (I7).
    pub(crate) reserve_bytes: u64,
    pub(crate) counters: Arc<Counters>,
    pub(crate) debts: Arc<Debts>,
    /// The index as readers have it.
    pub(crate) rows: Arc<SharedIndex>,
    pub(crate) visibility: Arc<Visibility>,
}

/// The journal thread's state.
#[derive(Debug)]
pub(crate) struct JournalThread {
    parts: JournalParts,
    ahead: Ahead,
    /// The segment that was begun for want of space.
    given_up: Option<SegmentId>,
    /// The log has it that there is no space: it is told of that once, not with each group.
    has_told_of_no_space: bool,
    /// Whether space that is given back was just waited for in vain, and those who read an earlier state.
    waited_for_space: InVain,
    waited_for_readers: InVain,
}

impl JournalThread {
    pub(crate) fn new(parts: JournalParts) -> Self {
        let ahead = Ahead::new(parts.journal.last_sequence());
        Self {
            parts,
            ahead,
            given_up: None,
            has_told_of_no_space: false,
            waited_for_space: InVain::default(),
            waited_for_readers: InVain::default(),
        }
    }

    /// Runs until the queue is closed and empty, or the disk fails.
    pub(crate) fn run(mut self) {
        while let Some(group) = self.parts.queue.take_group() {
            let Some(group) = self.begin_segment_if_wanted(group) else { break };
            let Some(admitted) = self.refuse_growth_without_space(group) else { break };
            let committed = match admitted {
                Admitted::Whole(group) => self.commit(group),
                Admitted::ToTheReserve(group) => self.commit_within_the_reserve(group),
            };
            if committed.is_err() {
                // Without the index thread nothing can be answered; the first cause stays.
                self.parts
                    .queue
                    .fail(&Arc::new(std::io::Error::other("the index thread has ended")));
                break;
            }
        }
    }

    /// Goes on in a new segment where somebody asked for it, so that the one until now may be
    /// compacted; without space it goes on where it is. `None` ends the thread: the journal failed.
    fn begin_segment_if_wanted(&mut self, group: Vec<Submission>) -> Option<Vec<Submission>> {
        if self.parts.queue.take_new_segment_wish()
            && let Err(AppendError::Failed(error)) = self.parts.journal.roll(SET_ASIDE_BYTES)
        {
            self.refuse(group, &error);
            return None;
        }
        Some(group)
    }

    /// I7 for a group of which nothing reached the journal.
    fn refuse(&self, group: Vec<Submission>, error: &std::io::Error) {
        let cause = Arc::new(journal_failed(error));
        self.parts.queue.fail(&cause);
        for submission in group {
            submission.refuse(MutationError::ReadOnly { cause: Arc::clone(&cause) });
        }
    }

    /// Appends one group, syncs, hands it to the index thread, answers what is firm. `Err` ends the
    /// thread.
    fn commit(&mut self, group: Vec<Submission>) -> Result<(), ()> {
        self.wait_for_the_index();
        if let Some(refusal @ MutationError::ReadOnly { .. }) = self.parts.queue.refusal() {
            for submission in group {
                submission.refuse(refusal.clone());
            }
            return Err(());
        }
        let (group, changes) = encoded(group);
        let change_bytes = byte_count(changes.iter().map(Vec::len).sum());
        let follows = following_of(group.iter().map(|(submission, _)| submission));
        let records = self.records(&group, changes);
        let sequences: Vec<Sequence> = records.iter().map(|record| record.sequence).collect();
        let span = group_span(&group);
        let began = Instant::now();
        let syncing = tracing::debug_span!(target: "granary_engine::trace", parent: &span, "sync");
        let appended = syncing.in_scope(|| self.parts.journal.append(&records));
        drop(syncing);
        let appended = match appended {
            Ok(appended) => appended,
            Err(AppendError::OutOfSpace) => {
                self.parts.counters.refused_for_space.add(count_of(group.len()));
                for (submission, _) in group {
                    submission.refuse(MutationError::OutOfSpace);
                }
                return Ok(());
            }
            Err(AppendError::Failed(error)) => {
                self.fail(group, &error);
                return Err(());
            }
        };
        self.count_group(group.len(), appended.bytes, began.elapsed());
        let mut journaled = Vec::with_capacity(group.len());
        let parts = sequences.into_iter().zip(appended.blobs);
        for ((submission, note), (sequence, blobs)) in group.into_iter().zip(parts) {
            let Submission { change, contents, lease, reply, .. } = submission;
            // From here the journal owns the bytes; only the pins are still needed. A relocation enters
            // no content that the index does not hold, so nobody may rely on it.
            let relocates = matches!(change, Change::Relocate { .. });
            let pins =
                contents.into_iter().map(|content| into_pin(content, &blobs, relocates)).collect();
            journaled.push(Journaled { sequence, change, note, blobs, pins, lease, reply });
        }
        let firm: Vec<Promised> =
            journaled.iter_mut().filter_map(|record| record.reply.promise()).collect();
        let rows = journaled.iter().map(|record| record.change.row_count()).sum();
        let debt = Debt { rows, change_bytes }.plus(follows);
        self.ahead.note(self.parts.journal.last_sequence(), debt.change_bytes);
        let group = JournaledGroup {
            debt,
            is_answered: firm.len() == journaled.len(),
            records: journaled,
            end: appended.end,
            bytes: appended.bytes,
            synced: Instant::now(),
            span,
        };
        self.hand_over(group, firm)
    }

    /// I1: gives a durable group to the index thread, and answers what of it will be made whatever
    /// else happens; readers wait for it.
    fn hand_over(&self, group: JournaledGroup, firm: Vec<Promised>) -> Result<(), ()> {
        let is_answered = group.is_answered;
        let last = group.records.last().map(|record| record.sequence);
        self.parts.counters.groups_ahead.enter();
        self.parts.debts.incur(group.debt);
        self.parts.index.send(IndexWork::Group(group)).map_err(drop)?;
        if !is_answered {
            self.parts.visibility.hurry();
        }
        // Of the whole group, since readers get it whole.
        let last = last.filter(|_| !firm.is_empty());
        if last.is_some_and(|last| self.parts.visibility.answers(last)) {
            for promised in firm {
                promised.keep();
            }
        }
        Ok(())
    }

    /// Lets the index thread come so near that what is answered and not applied stays bounded.
    fn wait_for_the_index(&mut self) {
        let wanted = self.ahead.wanted(self.parts.journal.last_sequence());
        self.parts.visibility.reach_blocking(wanted);
    }

    fn count_group(&self, changes: usize, bytes: u64, time: Duration) {
        let counters = &self.parts.counters;
        counters.group_changes.record(count_of(changes));
        counters.group_bytes.record(bytes);
        counters.sync_time.record_time(time);
    }

    /// I7: nothing more is taken, and replay decides about this group.
    fn fail(&self, group: Vec<Noted>, error: &std::io::Error) {
        let cause = Arc::new(journal_failed(error));
        self.parts.queue.fail(&cause);
        for (Submission { contents, reply, .. }, _) in group {
            // Replay may find the record, so its large files must stay (I2); if it does not, the
            // next start's sweep takes them.
            contents.into_iter().map(StagedBlob::into_pin).for_each(drop);
            reply.answer(Err(MutationError::OutcomeUnknown { cause: Arc::clone(&cause) }));
        }
    }

    /// The group's records: each content once, however many of the group's changes bring it.
    fn records(&self, group: &[Noted], changes: Vec<Vec<u8>>) -> Vec<NewRecord> {
        let mut sequence = self.parts.journal.last_sequence();
        let mut in_group: HashSet<Digest> = HashSet::new();
        let mut records = Vec::with_capacity(group.len());
        for ((submission, _), change) in group.iter().zip(changes) {
            sequence = sequence.next();
            let relocates = matches!(submission.change, Change::Relocate { .. });
            let mut blobs = Vec::new();
            for content in &submission.contents {
                let known = content.is_brought() || in_group.contains(&content.digest());
                let (digest, crc32) = (content.digest(), content.crc32());
                match content.body() {
                    StagedBody::Known => {}
                    StagedBody::Memory(_) if known && !relocates => {
                        self.parts.counters.duplicates.increment();
                        self.parts.counters.duplicate_bytes.add(content.length());
                    }
                    StagedBody::Memory(bytes) => {
                        // A relocation enters no content, so no later change may rely on it.
                        if !relocates {
                            in_group.insert(digest);
                        }
                        blobs.push(RecordBlob::Payload { digest, crc32, bytes: bytes.clone() });
                    }
                    StagedBody::Large(file) => {
                        if !relocates {
                            in_group.insert(digest);
                        }
                        let length = content.length();
                        blobs.push(RecordBlob::Large { digest, length, crc32, file: *file });
                    }
                }
            }
            records.push(NewRecord { sequence, change, blobs });
        }
        records
    }
}

/// The pin of a content of a change whose record brought these.
fn into_pin(content: StagedBlob, brought: &[NewBlob], relocates: bool) -> Pin {
    let digest = content.digest();
    let is_brought = !relocates && brought.iter().any(|blob| blob.digest == digest);
    let pin = content.into_pin();
    if is_brought {
        pin.note_brought();
    }
    pin
}

fn count_of(changes: usize) -> u64 {
    u64::try_from(changes).unwrap_or(u64::MAX)
}

/// A group in a trace of its own, linked to the changes in it.
fn group_span(group: &[Noted]) -> Span {
    let changes = group.len();
    let span =
        tracing::debug_span!(target: "granary_engine::trace", parent: None, "group", changes);
    if !span.is_disabled() {
        for (submission, _) in group {
            span.follows_from(submission.reply.span());
        }
    }
    span
}

/// What a person is told of a failed write or sync.
fn journal_failed(error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("the journal failed: {error}"))
}

/// A change of a group, and what its record says of who asked for it.
type Noted = (Submission, Option<EncodedNote>);

/// The changes' bytes; a change beyond the codec's limit is refused.
fn encoded(group: Vec<Submission>) -> (Vec<Noted>, Vec<Vec<u8>>) {
    let mut accepted = Vec::with_capacity(group.len());
    let mut changes = Vec::with_capacity(group.len());
    // One for all, so that the audit log's times follow its order.
    let at = Timestamp::now();
    for submission in group {
        let origin = submission.reply.origin().filter(|_| submission.change.is_told());
        let note = origin.map(|origin| EncodedNote::of(at, origin)).transpose();
        let encoded = note.and_then(|note| {
            Ok((NotedChange::encode_with(&submission.change, note.as_ref())?, note))
        });
        if let Ok((change, note)) = encoded {
            changes.push(change);
            accepted.push((submission, note));
        } else {
            let limit = u64::try_from(ENCODED_BYTES_MAX).unwrap_or(u64::MAX);
            let refusal = MutationError::TooLarge { what: "the change", actual: limit, limit };
            submission.reply.answer(Err(refusal));
        }
    }
    (accepted, changes)
}
