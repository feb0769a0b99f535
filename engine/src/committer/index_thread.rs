//! Applies groups, answers them, and between them has the index made durable and the background's
//! work done.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::Span;

use super::background::{Background, Left};
use super::checkpoint::Settling;
use super::debt::{Debt, Debts};
use super::queue::Queue;
use super::removing::Removing;
use super::since_checkpoint::SinceCheckpoint;
use super::submission::{Reply, Verdict};
use crate::blobs::Pin;
use crate::disk::reserve_bytes;
use crate::error::MutationError;
use crate::index::apply::Group;
use crate::index::audit::AuditLimits;
use crate::index::rows::AppliedRow;
use crate::index::{Index, IndexError, write_applied};
use crate::journal::Position;
use crate::leases::Lease;
use crate::limits::{LINGER, ROWS_APPLIED_TOGETHER};
use crate::model::change::{Change, NewBlob};
use crate::model::{DatasetId, Sequence};
use crate::noted::EncodedNote;
use crate::recovery;
use crate::store::Store;
use crate::sync::mpsc::{Receiver, RecvTimeoutError};
use crate::sync::{caught, receive_within};

/// What the index thread is asked to do.
#[derive(Debug)]
pub(crate) enum IndexWork {
    /// A group that is durable in the journal.
    Group(JournaledGroup),
    /// Make the index durable now.
    Checkpoint(MadeDurable),
    /// Do a step of the background's work now; the answer tells what it left.
    Step(oneshot::Sender<Result<Left, MutationError>>),
}

/// What is waited for after a checkpoint was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// It is durable.
    Durable,
    /// And the files that it lets go of are gone.
    Removed,
}

/// Who asked for a checkpoint.
#[derive(Debug)]
pub(crate) struct MadeDurable {
    pub(crate) until: Until,
    pub(crate) done: oneshot::Sender<Result<(), MutationError>>,
}

/// A change that is durable in the journal.
#[derive(Debug)]
pub(crate) struct Journaled {
    pub(crate) sequence: Sequence,
    pub(crate) change: Change,
    /// Who asked for it, for the audit log.
    pub(crate) note: Option<EncodedNote>,
    pub(crate) blobs: Vec<NewBlob>,
    /// These keep the contents that the change names until it is applied (I3).
    pub(crate) pins: Vec<Pin>,
    pub(crate) lease: Option<Arc<Lease>>,
    pub(crate) reply: Reply,
}

/// A synced group.
#[derive(Debug)]
pub(crate) struct JournaledGroup {
    pub(crate) records: Vec<Journaled>,
    /// What it leaves the index to take.
    pub(crate) debt: Debt,
    /// Whether all of them are answered once they are here.
    pub(crate) is_answered: bool,
    pub(crate) end: Position,
    /// Bytes it takes in the journal.
    pub(crate) bytes: u64,
    pub(crate) synced: Instant,
    /// The group in a trace.
    pub(crate) span: Span,
}

/// What the index thread works on.
#[derive(Debug)]
pub(crate) struct IndexParts {
    pub(crate) store: Arc<Store>,
    pub(crate) applied: AppliedRow,
    /// The store's key, and the bytes that an index opened for reading may cache (I7).
    pub(crate) key: [u8; 32],
    pub(crate) index_cache_bytes: usize,
    /// How much of the audit log is kept.
    pub(crate) audit: AuditLimits,
}

/// The index thread's state.
#[derive(Debug)]
pub(crate) struct IndexThread {
    queue: Arc<Queue>,
    work: Receiver<IndexWork>,
    /// What was received behind groups that are applied together.
    next: Option<IndexWork>,
    pub(super) store: Arc<Store>,
    pub(super) applied: AppliedRow,
    key: [u8; 32],
    index_cache_bytes: usize,
    pub(super) audit: AuditLimits,
    pub(super) since_checkpoint: SinceCheckpoint,
    pub(super) settling: Option<Settling>,
    /// Who asked for the checkpoint that is to be begun once the one on its way is durable.
    pub(super) asking: Vec<MadeDurable>,
    pub(super) removing: Removing,
    pub(super) background: Background,
    pub(super) debts: Arc<Debts>,
    /// Of groups that were applied since the last checkpoint was begun.
    pub(super) debt: Debt,
}

/// A change that was promised must be made: `footing.rs` says why nothing can refuse it. If that were
/// wrong, going on would lose it in silence.
fn expect_kept(record: &Journaled, verdict: &Verdict) -> Result<(), IndexError> {
    match verdict {
        Err(refusal) if record.reply.is_promised() => {
            let (sequence, refusal) = (record.sequence.0, Box::new(refusal.clone()));
            Err(IndexError::PromiseBroken { sequence, refusal })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn panicked() -> IndexError {
    IndexError::Contradiction("applying a change panicked".into())
}

/// Groups that are applied together, in the trace of the first.
fn apply_span(groups: &[JournaledGroup]) -> Span {
    let first = groups.first().map_or_else(Span::none, |group| group.span.clone());
    let applying = tracing::debug_span!(target: "granary_engine::trace", parent: &first, "apply");
    for group in groups.iter().skip(1) {
        applying.follows_from(&group.span);
    }
    applying
}

/// Bytes of changed pages that are taken to find their place on any disk.
const PAGES_FEW_BYTES: u64 = 1 << 20;

/// How often the index thread looks whether a checkpoint is durable, or bytes are free, where nothing else
/// wakes it.
const WATCHING_PERIOD: Duration = Duration::from_millis(2);

impl IndexThread {
    pub(crate) fn new(
        queue: Arc<Queue>,
        work: Receiver<IndexWork>,
        parts: IndexParts,
        debts: Arc<Debts>,
    ) -> Self {
        let IndexParts { store, applied, key, index_cache_bytes, audit } = parts;
        let since_checkpoint = SinceCheckpoint::default();
        let background = Background::default();
        Self {
            queue,
            work,
            next: None,
            store,
            applied,
            key,
            index_cache_bytes,
            audit,
            since_checkpoint,
            settling: None,
            asking: Vec::new(),
            removing: Removing::default(),
            background,
            debts,
            debt: Debt::default(),
        }
    }

    /// How long to wait for work.
    fn wait(&self) -> Duration {
        let is_removing = self.removing.is_wanted();
        if is_removing && self.store.disk.freeing_room() > 0 {
            return Duration::ZERO;
        }
        let wait = self.background.wait();
        let is_watched = is_removing || self.settling.is_some();
        if is_watched { wait.min(WATCHING_PERIOD) } else { wait }
    }

    /// Runs until the journal thread has gone and everything it sent is applied.
    pub(crate) fn run(mut self) {
        // A bug of ours ends it as a failed disk does: what was answered must not go unseen.
        let worked = caught(|| self.work_until_closed());
        if let Err(error) = worked.unwrap_or_else(|_panic| Err(panicked())) {
            let cause = Arc::new(std::io::Error::other(error.to_text()));
            self.queue.fail(&cause);
            self.store.counters.checkpoints_settling.set(0);
            let asked = self.settling.take().map_or_else(Vec::new, |settling| settling.asked);
            let asked = asked.into_iter().chain(self.removing.give_up());
            for asked in asked.chain(self.asking.drain(..)) {
                drop(asked.done.send(Err(MutationError::ReadOnly { cause: Arc::clone(&cause) })));
            }
            self.debts.note_removing(false);
            // From here on nothing is answered that readers will not see.
            let last = self.store.visibility.close().max(self.applied.sequence);
            let is_reopened = caught(|| self.reopen_for_reading(last)).unwrap_or(false);
            // A replay refuses what was refused here, whatever was promised.
            let reaches = is_reopened && !matches!(error, IndexError::PromiseBroken { .. });
            self.store.visibility.end(if reaches { last } else { self.applied.sequence });
            self.refuse_the_rest(&cause);
        }
    }

    /// redb fails reads too after an I/O error, so readers get the last checkpoint with the
    /// journal replayed in memory up to a change; where that fails, they go on failing (I7).
    fn reopen_for_reading(&self, last: Sequence) -> bool {
        let failed = self.store.index.get();
        // What is on its way may reach the file no longer once the other one reads it.
        drop(failed.settle());
        let disk = &self.store.disk;
        match recovery::open_for_reading(disk, self.key, self.index_cache_bytes, last) {
            Ok(index) => {
                // The directory stays this process's own (I10).
                self.store.index.replace(match failed.lock() {
                    Some(lock) => index.keep(lock),
                    None => index,
                });
                // The journal may have brought rights that the index had not.
                self.store.rights_version.fetch_add(1, Ordering::Release);
                tracing::warn!("the index is open for reading only");
                true
            }
            Err(error) => {
                tracing::error!(%error, "the index cannot be read");
                false
            }
        }
    }

    fn work_until_closed(&mut self) -> Result<(), IndexError> {
        loop {
            match self.receive() {
                Ok(IndexWork::Group(group)) => {
                    let groups = self.gather(group);
                    let count = groups.len();
                    let rows = groups.iter().map(|group| group.debt.rows).sum();
                    self.apply_and_answer(groups)?;
                    self.take_turns(count, rows)?;
                }
                Ok(IndexWork::Checkpoint(asked)) => {
                    // Whoever asks again and again must not keep the background from its period.
                    self.background.wake();
                    self.asking.push(asked);
                    // Not a part of the one on its way, which does not hold what was asked for.
                    self.store.index.get().hurry();
                }
                Ok(IndexWork::Step(done)) => {
                    self.work_in_background()?;
                    drop(done.send(Ok(self.background.left())));
                }
                Err(RecvTimeoutError::Timeout) if self.background.is_due() => {
                    self.work_in_background()?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.begin_checkpoint()?;
                    self.settle()?;
                    return self.remove_last();
                }
            }
            self.settle_if_done()?;
            self.remove_some()?;
            let is_wanted = !self.asking.is_empty() || self.since_checkpoint.is_due();
            // Nobody waits for the disk while there is room for more.
            let is_overdue = self.since_checkpoint.is_overdue() || self.is_short_of_pages();
            if is_wanted && self.settling.is_none() || is_overdue {
                self.begin_checkpoint()?;
                self.settle_if_done()?;
            }
        }
    }

    /// Whether the pages that were changed since the last checkpoint, which are there twice, may take
    /// what is left of the disk.
    fn is_short_of_pages(&self) -> bool {
        let wanted = self.since_checkpoint.page_bytes();
        if wanted < PAGES_FEW_BYTES {
            return false;
        }
        // A disk that does not say is not short.
        let Ok(space) = self.store.disk.space() else { return false };
        let left = space.available.saturating_sub(reserve_bytes(space) / 2);
        wanted > left / 2
    }

    fn receive(&mut self) -> Result<IndexWork, RecvTimeoutError> {
        match self.next.take() {
            Some(work) => Ok(work),
            None => receive_within(&self.work, self.wait()),
        }
    }

    /// A group and those behind it, to be applied together. Where nobody waits for what they make it
    /// lets a few more come: rows that are written together cost less, and so does waking up once.
    fn gather(&mut self, first: JournaledGroup) -> Vec<JournaledGroup> {
        if first.is_answered {
            self.store.visibility.linger(LINGER);
        }
        let mut rows = first.debt.rows;
        let mut groups = vec![first];
        while rows < ROWS_APPLIED_TOGETHER {
            match self.work.try_recv() {
                Ok(IndexWork::Group(group)) => {
                    rows += group.debt.rows;
                    groups.push(group);
                }
                Ok(other) => {
                    self.next = Some(other);
                    break;
                }
                // Whoever waits next hears of the end.
                Err(_) => break,
            }
        }
        groups
    }

    /// I1: every answer that is given here stands below the line that makes the groups visible, and
    /// they came here durable.
    fn apply_and_answer(&mut self, groups: Vec<JournaledGroup>) -> Result<(), IndexError> {
        let index = self.store.index.get();
        let counters = Arc::clone(&self.store.counters);
        let applying = apply_span(&groups);
        // A panic must not drop the groups, as if they were settled, before the store has failed.
        let outcome = caught(|| applying.in_scope(|| self.apply_groups(&index, &groups)));
        let outcome = outcome.unwrap_or_else(|_panic| Err(panicked()));
        drop(applying);
        for _ in &groups {
            counters.groups_ahead.leave();
        }
        match outcome {
            Ok((verdicts, restacked)) => {
                self.note_rights(&groups);
                // First: whoever sees a group finds it counted.
                for group in &groups {
                    counters.apply_time.record_time(group.synced.elapsed());
                }
                self.store.visibility.applied(self.applied.sequence);
                for group in &groups {
                    self.since_checkpoint.note(group.bytes, group.debt.rows);
                    self.debt = self.debt.plus(group.debt);
                }
                let on_its_way =
                    self.settling.as_ref().map_or(0, |settling| settling.journal_bytes);
                let uncheckpointed = self.since_checkpoint.journal_bytes() + on_its_way;
                counters.uncheckpointed_bytes.set(uncheckpointed);
                self.background.note_restacked(restacked);
                let records = groups.into_iter().flat_map(|group| group.records);
                for (record, verdict) in records.zip(verdicts) {
                    if verdict.is_ok() {
                        self.store.trace.note(record.change.kind());
                    }
                    drop((record.pins, record.lease));
                    record.reply.answer(verdict);
                }
                Ok(())
            }
            Err(error) => {
                // Durable in the journal and not visible: replay decides (I7).
                let cause = Arc::new(std::io::Error::other(error.to_text()));
                // First: whoever hears of it finds a store that takes nothing more.
                self.queue.fail(&cause);
                for record in groups.into_iter().flat_map(|group| group.records) {
                    let cause = Arc::clone(&cause);
                    record.reply.answer(Err(MutationError::OutcomeUnknown { cause }));
                }
                Err(error)
            }
        }
    }

    /// Tells those who read rights before that they may have changed, before anybody is answered.
    fn note_rights(&self, groups: &[JournaledGroup]) {
        let mut changes = groups.iter().flat_map(|group| &group.records);
        if changes.any(|record| record.change.touches_rights()) {
            self.store.rights_version.fetch_add(1, Ordering::Release);
        }
    }

    fn apply_groups(
        &mut self,
        index: &Index,
        groups: &[JournaledGroup],
    ) -> Result<(Vec<Verdict>, Vec<DatasetId>), IndexError> {
        let mut applied = self.applied;
        let result = index.apply(|txn| {
            let mut rows = Group::begin(txn)?;
            let mut verdicts = Vec::new();
            for group in groups {
                applied.position = group.end;
                for record in &group.records {
                    applied.sequence = record.sequence;
                    let Journaled { sequence, change, note, blobs, .. } = record;
                    let note = note.as_ref();
                    let is_promised = record.reply.is_promised();
                    let apply = if is_promised { Group::apply_promised } else { Group::apply };
                    let verdict = apply(&mut rows, *sequence, change, note, blobs)?;
                    expect_kept(record, &verdict)?;
                    verdicts.push(verdict);
                }
            }
            let restacked = rows.finish()?;
            write_applied(txn, &applied)?;
            Ok((verdicts, restacked))
        })?;
        self.applied = applied;
        for blob in groups.iter().flat_map(|group| &group.records).flat_map(|record| &record.blobs)
        {
            self.store.forget_left(&blob.digest)?;
        }
        Ok(result)
    }

    fn refuse_the_rest(&mut self, cause: &Arc<std::io::Error>) {
        while let Some(work) = self.next.take().or_else(|| self.work.recv().ok()) {
            match work {
                IndexWork::Group(group) => {
                    for record in group.records {
                        let cause = Arc::clone(cause);
                        record.reply.answer(Err(MutationError::OutcomeUnknown { cause }));
                    }
                }
                IndexWork::Checkpoint(asked) => {
                    drop(
                        asked.done.send(Err(MutationError::ReadOnly { cause: Arc::clone(cause) })),
                    );
                }
                IndexWork::Step(done) => {
                    drop(done.send(Err(MutationError::ReadOnly { cause: Arc::clone(cause) })));
                }
            }
        }
    }
}
