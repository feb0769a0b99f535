//! Applies groups, answers them, makes the index durable, and works in the background between.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::Queue;
use super::submission::{Reply, Verdict};
use crate::blobs::{Blobs, Pin};
use crate::error::MutationError;
use crate::index::apply::Group;
use crate::index::fold::{FoldJob, FoldOutcome};
use crate::index::rows::AppliedRow;
use crate::index::{Index, IndexError, reclaim, write_applied};
use crate::journal::{Position, Segments};
use crate::leases::Leases;
use crate::limits::{CHECKPOINT_AFTER, CHECKPOINT_CHANGES, CHECKPOINT_JOURNAL_BYTES};
use crate::model::change::{Change, NewBlob, SegmentId};
use crate::model::{DatasetId, Sequence, SetId};
use crate::store::SharedIndex;

/// How often the background looks for work that a pin or a lease held up.
const BACKGROUND_PERIOD: Duration = Duration::from_secs(1);

/// Groups in a row after which the background gets its turn however busy the store is.
const GROUPS_BEFORE_BACKGROUND: u32 = 8;

/// What the index thread is asked to do.
#[derive(Debug)]
pub(crate) enum IndexWork {
    /// A group that is durable in the journal.
    Group(JournaledGroup),
    /// Make the index durable now.
    Checkpoint(oneshot::Sender<Result<(), MutationError>>),
}

/// A change that is durable in the journal.
#[derive(Debug)]
pub(crate) struct Journaled {
    pub(crate) sequence: Sequence,
    pub(crate) change: Change,
    pub(crate) blobs: Vec<NewBlob>,
    /// Keep the contents that the change names until it is applied (I3).
    pub(crate) pins: Vec<Pin>,
    pub(crate) reply: Reply,
}

/// A synced group.
#[derive(Debug)]
pub(crate) struct JournaledGroup {
    pub(crate) records: Vec<Journaled>,
    pub(crate) end: Position,
    /// Bytes it takes in the journal.
    pub(crate) bytes: u64,
    /// Told the last applied change.
    pub(crate) applied: Arc<AtomicU64>,
}

/// What happened since the last checkpoint.
#[derive(Debug, Default)]
struct SinceCheckpoint {
    journal_bytes: u64,
    changes: u64,
    first: Option<Instant>,
}

impl SinceCheckpoint {
    fn note(&mut self, journal_bytes: u64, changes: u64) {
        self.journal_bytes += journal_bytes;
        self.changes += changes;
        self.first.get_or_insert_with(Instant::now);
    }

    fn is_due(&self) -> bool {
        self.journal_bytes >= CHECKPOINT_JOURNAL_BYTES
            || self.changes >= CHECKPOINT_CHANGES
            || self.first.is_some_and(|first| first.elapsed() >= CHECKPOINT_AFTER)
    }
}

/// The index thread's state.
#[derive(Debug)]
pub(crate) struct IndexThread {
    queue: Arc<Queue>,
    work: Receiver<IndexWork>,
    index: Arc<SharedIndex>,
    blobs: Arc<Blobs>,
    segments: Arc<Segments>,
    leases: Arc<Leases>,
    applied: AppliedRow,
    since_checkpoint: SinceCheckpoint,
    background: Background,
}

#[derive(Debug, Default)]
struct Background {
    /// Whether a step may find something to do.
    wanted: bool,
    groups_in_a_row: u32,
    restacked: VecDeque<DatasetId>,
    queued: HashSet<DatasetId>,
    fold: Option<FoldJob>,
    folds: u64,
}

impl Background {
    fn note_restacked(&mut self, datasets: Vec<DatasetId>) {
        for dataset in datasets {
            if self.queued.insert(dataset) {
                self.restacked.push_back(dataset);
            }
        }
    }
}

impl IndexThread {
    pub(crate) fn new(
        queue: Arc<Queue>,
        work: Receiver<IndexWork>,
        index: Arc<SharedIndex>,
        blobs: Arc<Blobs>,
        segments: Arc<Segments>,
        leases: Arc<Leases>,
        applied: AppliedRow,
    ) -> Self {
        let since_checkpoint = SinceCheckpoint::default();
        let background = Background { wanted: true, ..Background::default() };
        Self { queue, work, index, blobs, segments, leases, applied, since_checkpoint, background }
    }

    /// Runs until the journal thread has gone and everything it sent is applied.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.work_until_closed() {
            let cause = Arc::new(error.into_io());
            self.queue.fail(Arc::clone(&cause));
            self.index.fail();
            self.refuse_the_rest(&cause);
        }
    }

    fn work_until_closed(&mut self) -> Result<(), IndexError> {
        loop {
            let wait = if self.background.wanted { Duration::ZERO } else { BACKGROUND_PERIOD };
            match self.work.recv_timeout(wait) {
                Ok(IndexWork::Group(group)) => {
                    self.apply_and_answer(group)?;
                    self.background.wanted = true;
                    self.background.groups_in_a_row += 1;
                    if self.background.groups_in_a_row >= GROUPS_BEFORE_BACKGROUND {
                        self.work_in_background()?;
                    }
                }
                Ok(IndexWork::Checkpoint(done)) => {
                    self.checkpoint()?;
                    drop(done.send(Ok(())));
                }
                Err(RecvTimeoutError::Timeout) if self.background.wanted => {
                    self.work_in_background()?;
                }
                Err(RecvTimeoutError::Timeout) => self.background.wanted = true,
                Err(RecvTimeoutError::Disconnected) => return self.checkpoint(),
            }
            if self.since_checkpoint.is_due() {
                self.checkpoint()?;
            }
        }
    }

    /// I1: every answer stands below the line that makes the group visible, and the group came
    /// here durable.
    fn apply_and_answer(&mut self, group: JournaledGroup) -> Result<(), IndexError> {
        let index = self.index.get();
        match self.apply_group(&index, &group) {
            Ok((verdicts, restacked)) => {
                group.applied.store(self.applied.sequence.0, Ordering::Release);
                let changes = u64::try_from(group.records.len()).unwrap_or(u64::MAX);
                self.since_checkpoint.note(group.bytes, changes);
                self.background.note_restacked(restacked);
                for (record, verdict) in group.records.into_iter().zip(verdicts) {
                    drop(record.pins);
                    record.reply.answer(verdict);
                }
                Ok(())
            }
            Err(error) => {
                // Durable in the journal and not visible: replay decides (I7).
                let cause = Arc::new(std::io::Error::other(error.to_string()));
                for record in group.records {
                    let cause = Arc::clone(&cause);
                    record.reply.answer(Err(MutationError::OutcomeUnknown { cause }));
                }
                Err(error)
            }
        }
    }

    fn apply_group(
        &mut self,
        index: &Index,
        group: &JournaledGroup,
    ) -> Result<(Vec<Verdict>, Vec<DatasetId>), IndexError> {
        let mut applied = self.applied;
        applied.position = group.end;
        let result = index.apply(|txn| {
            let mut rows = Group::begin(txn)?;
            let mut verdicts = Vec::with_capacity(group.records.len());
            for record in &group.records {
                applied.sequence = record.sequence;
                verdicts.push(rows.apply(record.sequence, &record.change, &record.blobs)?);
            }
            let restacked = rows.finish()?;
            write_applied(txn, &applied)?;
            Ok((verdicts, restacked))
        })?;
        self.applied = applied;
        Ok(result)
    }

    /// One bounded step of whatever waits; stops wanting turns when nothing does.
    fn work_in_background(&mut self) -> Result<(), IndexError> {
        self.background.groups_in_a_row = 0;
        let index = self.index.get();
        let oldest_lease = self.leases.oldest();
        let reclaimed = reclaim::reclaim_blobs(&index, self.blobs.pins(), oldest_lease)?;
        let dropped = reclaim::drop_layer_rows(&index, self.applied.sequence)?;
        let folded = self.fold_step(&index)?;
        self.background.wanted = reclaimed || dropped || folded;
        if self.background.wanted {
            self.since_checkpoint.note(0, 0);
        }
        Ok(())
    }

    fn fold_step(&mut self, index: &Index) -> Result<bool, IndexError> {
        if let Some(job) = self.background.fold.take() {
            let (outcome, restacked) = index.apply(|txn| {
                let mut rows = Group::begin(txn)?;
                let outcome = rows.continue_fold(job)?;
                Ok((outcome, rows.finish()?))
            })?;
            self.background.note_restacked(restacked);
            if let FoldOutcome::More(job) = outcome {
                self.background.fold = Some(job);
            }
            return Ok(true);
        }
        let Some(dataset) = self.background.restacked.pop_front() else {
            return Ok(false);
        };
        self.background.queued.remove(&dataset);
        self.background.folds += 1;
        let set = SetId::of_fold(self.applied.start, self.background.folds);
        self.background.fold = index.apply(|txn| {
            let mut rows = Group::begin(txn)?;
            let job = rows.begin_fold(dataset, set)?;
            // What was restacked here is in the job already.
            rows.finish()?;
            Ok(job)
        })?;
        Ok(true)
    }

    /// Makes the index durable; then lets go of the bytes whose rows it no longer holds.
    fn checkpoint(&mut self) -> Result<(), IndexError> {
        let index = self.index.get();
        if self.since_checkpoint.first.is_some() {
            index.checkpoint(|txn| write_applied(txn, &self.applied))?;
            self.since_checkpoint = SinceCheckpoint::default();
        }
        let before = self.segments.ids().into_iter();
        let before: Vec<SegmentId> =
            before.filter(|segment| *segment < self.applied.position.segment).collect();
        let mut removable = reclaim::removable(&index, &before)?;
        // A file that will not go now goes with a later checkpoint; it costs space only.
        removable.large.retain(|(digest, file)| {
            let removed = self.blobs.remove_large(digest, *file);
            removed.inspect_err(|error| tracing::warn!(%digest, %error, "large file stays")).is_ok()
        });
        removable.segments.retain(|segment| {
            let removed = self.segments.remove(*segment);
            let segment = segment.0;
            removed.inspect_err(|error| tracing::warn!(segment, %error, "segment stays")).is_ok()
        });
        if !removable.large.is_empty() || !removable.segments.is_empty() {
            reclaim::forget_removed(&index, &removable)?;
            self.since_checkpoint.note(0, 0);
        }
        Ok(())
    }

    fn refuse_the_rest(&self, cause: &Arc<std::io::Error>) {
        while let Ok(work) = self.work.recv() {
            match work {
                IndexWork::Group(group) => {
                    for record in group.records {
                        let cause = Arc::clone(cause);
                        record.reply.answer(Err(MutationError::OutcomeUnknown { cause }));
                    }
                }
                IndexWork::Checkpoint(done) => {
                    drop(done.send(Err(MutationError::ReadOnly { cause: Arc::clone(cause) })));
                }
            }
        }
    }
}
