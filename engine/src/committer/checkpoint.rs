//! Checkpoints: making the index durable while changes go on, and letting go of what it does not want.

use std::time::Instant;

use super::debt::Debt;
use super::index_thread::{IndexThread, MadeDurable};
use crate::index::reclaim::Removable;
use crate::index::{Index, IndexError, reclaim, write_applied};
use crate::model::change::SegmentId;
use crate::trace;

/// A checkpoint that is being made durable.
#[derive(Debug)]
pub(super) struct Settling {
    /// Whether there was anything to write.
    pub(super) is_made: bool,
    /// Bytes of the journal that opening replays until it is durable, and no longer.
    pub(super) journal_bytes: u64,
    /// What it takes off the index.
    pub(super) debt: Debt,
    /// Bytes whose rows it does not hold.
    pub(super) removable: Removable,
    /// Who is told.
    pub(super) asked: Vec<MadeDurable>,
}

impl IndexThread {
    /// Begins to make the index durable: changes go on while its pages are synced. What waits for
    /// that is done by [`IndexThread::settle`].
    pub(super) fn begin_checkpoint(&mut self) -> Result<(), IndexError> {
        let began = Instant::now();
        self.settle()?;
        let index = self.store.index.get();
        self.write_marks(&index)?;
        let mut is_made = false;
        let journal_bytes = self.since_checkpoint.journal_bytes();
        if self.since_checkpoint.is_something() {
            let commit_began = Instant::now();
            index.begin_checkpoint(|txn| write_applied(txn, &self.applied))?;
            self.since_checkpoint.checkpointed(commit_began.elapsed());
            self.store.counters.checkpoint_time.record_time(began.elapsed());
            self.store.counters.checkpoints_settling.set(1);
            is_made = true;
        }
        if !self.asking.is_empty() {
            index.hurry();
        }
        let before = self.store.segments.ids().into_iter();
        let before: Vec<SegmentId> =
            before.filter(|segment| *segment < self.applied.position.segment).collect();
        // As of this checkpoint: what later changes doom is still in it.
        let removable = reclaim::removable(&index, &before)?;
        let asked = std::mem::take(&mut self.asking);
        let debt = std::mem::take(&mut self.debt);
        self.settling = Some(Settling { is_made, journal_bytes, debt, removable, asked });
        Ok(())
    }

    /// Waits until the checkpoint that was begun is durable, if one was; then lets go of the bytes
    /// whose rows it does not hold.
    pub(super) fn settle(&mut self) -> Result<(), IndexError> {
        let Some(settling) = &mut self.settling else { return Ok(()) };
        let index = self.store.index.get();
        index.settle()?;
        self.debts.pay(std::mem::take(&mut settling.debt));
        let (is_made, removable) = (settling.is_made, std::mem::take(&mut settling.removable));
        if is_made {
            self.store.counters.checkpoints_settling.set(0);
            self.store.counters.checkpointed(self.since_checkpoint.journal_bytes());
            self.store.trace.note(trace::CHECKPOINTED);
        }
        self.remove(&index, removable)?;
        let asked = self.settling.take().map_or_else(Vec::new, |settling| settling.asked);
        for asked in asked {
            drop(asked.send(Ok(())));
        }
        Ok(())
    }

    pub(super) fn settle_if_done(&mut self) -> Result<(), IndexError> {
        if self.settling.is_some() && self.store.index.get().is_settled()? {
            self.settle()?;
        }
        Ok(())
    }

    fn remove(&mut self, index: &Index, mut removable: Removable) -> Result<(), IndexError> {
        // A file that will not go now goes with a later checkpoint; it costs space only.
        let reclaimed = &self.store.counters.reclaimed_bytes;
        removable.large.retain(|(digest, file)| {
            let bytes = self.store.blobs.open_large(digest, *file).and_then(|file| file.len());
            let removed = self.store.blobs.remove_large(digest, *file);
            if removed.is_ok() {
                reclaimed.add(bytes.unwrap_or_default());
            }
            removed.inspect_err(|error| tracing::warn!(%digest, %error, "large file stays")).is_ok()
        });
        removable.segments.retain(|segment| {
            let bytes = self.store.segments.length(*segment);
            let removed = self.store.segments.remove(*segment);
            if removed.is_ok() {
                reclaimed.add(bytes);
            }
            let segment = segment.0;
            removed.inspect_err(|error| tracing::warn!(segment, %error, "segment stays")).is_ok()
        });
        if !removable.large.is_empty() || !removable.segments.is_empty() {
            reclaim::forget_removed(index, &removable)?;
            self.note_removed(&removable);
            self.since_checkpoint.note(0, 0);
        }
        Ok(())
    }

    fn note_removed(&self, removed: &Removable) {
        if !removed.large.is_empty() {
            self.store.trace.note(trace::LARGE_REMOVED);
        }
        if !removed.segments.is_empty() {
            self.store.trace.note(trace::SEGMENTS_REMOVED);
        }
    }
}
