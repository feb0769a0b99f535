//! Checkpoints: making the index durable while changes go on. What one lets go of is removed after it
//! (`removing.rs`).

use std::time::Instant;

use super::debt::Debt;
use super::index_thread::{IndexThread, MadeDurable, Until};
use crate::index::reclaim::Removable;
use crate::index::{IndexError, reclaim, write_applied};
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
    /// Who is told once it is durable, or once that is gone.
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
        let is_kept = |file| self.store.blobs.is_kept(file);
        let removable = reclaim::removable(&index, &before, is_kept)?;
        let removable = self.removing.new_of(removable);
        let asked = std::mem::take(&mut self.asking);
        let debt = std::mem::take(&mut self.debt);
        self.settling = Some(Settling { is_made, journal_bytes, debt, removable, asked });
        Ok(())
    }

    /// Waits until the checkpoint that was begun is durable, if one was; from then on the bytes whose
    /// rows it does not hold may go.
    pub(super) fn settle(&mut self) -> Result<(), IndexError> {
        if self.settling.is_none() {
            return Ok(());
        }
        self.store.index.get().settle()?;
        let Some(settling) = self.settling.take() else { return Ok(()) };
        if settling.is_made {
            self.store.counters.checkpoints_settling.set(0);
            self.store.counters.checkpointed(self.since_checkpoint.journal_bytes());
            self.store.trace.note(trace::CHECKPOINTED);
        }
        let (waiting, told) =
            settling.asked.into_iter().partition(|asked| asked.until == Until::Removed);
        self.removing.add(settling.removable, waiting);
        self.debts.note_removing(self.removing.is_wanted());
        // Behind that, so that who needs space finds one or the other.
        self.debts.pay(settling.debt);
        let told: Vec<MadeDurable> = told;
        for asked in told {
            drop(asked.done.send(Ok(())));
        }
        Ok(())
    }

    pub(super) fn settle_if_done(&mut self) -> Result<(), IndexError> {
        if self.settling.is_some() && self.store.index.get().is_settled()? {
            self.settle()?;
        }
        Ok(())
    }
}
