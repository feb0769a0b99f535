//! Work between groups, a bounded step at a time: reclaiming what is dead, dropping layers that no
//! stack names, and what stacks want (`index/stacks.rs`).
//!
//! It keeps a group waiting for a step, or for some tens of milliseconds where groups leave much
//! behind, and gets its turns however busy the store is (`earned.rs`).

use std::time::{Duration, Instant};

use super::earned::Earned;
use super::index_thread::IndexThread;
use super::restacked::Restacked;
use crate::disk::{Space, reserve_bytes};
use crate::index::apply::Group;
use crate::index::audit::{self, Rotated};
use crate::index::reclaim::{DeadBlob, Reclaimed};
use crate::index::stacks::Job;
use crate::index::{Index, IndexError, reclaim, stacks, write_marks};
use crate::limits::BACKGROUND_ROWS_MAX;
use crate::model::{DatasetId, SetId, Timestamp};
use crate::trace;

/// How often the background looks for work that a pin or a lease held up.
const BACKGROUND_PERIOD: Duration = Duration::from_secs(1);

/// How long the background waits for another group after one: while groups follow each other it gets no
/// turn between them but those that they earn it.
const COURTESY: Duration = Duration::from_millis(2);

/// Time after which it has no further turn at once; a group waits for that and a step.
const TURNS_TIME_MAX: Duration = Duration::from_millis(30);

/// Bytes of the index for a row that a layer gets, generously.
const LAYER_ROW_BYTES: u64 = 1 << 10;

/// Bytes of new pages for one step, generously.
const STEP_BYTES: u64 = 4 << 20;

/// What a step of the background left to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Another step would find nothing to do.
    Nothing,
    /// Another step may find something to do at once.
    More,
    /// The disk is full, and somebody reads a state from before the last checkpoint: nothing was done, and
    /// nothing will be while that is read.
    Kept,
}

/// What waits to be done between groups.
#[derive(Debug)]
pub(super) struct Background {
    /// Whether a step may find something to do.
    wanted: bool,
    /// What the last step left.
    left: Left,
    /// Turns that it has waited for.
    earned: Earned,
    /// When it had its last turn.
    last_turn: Option<Instant>,
    restacked: Restacked,
    job: Option<Job>,
    jobs: u64,
    /// Datasets from this id on were not looked at since the store was opened, or had too little space.
    unlooked: Option<u64>,
    /// How far the step before came among the dead contents, if more lie behind.
    reclaimed_to: Option<DeadBlob>,
    /// Whether any went since the oldest was looked at.
    has_reclaimed: bool,
    is_short_of_space: bool,
}

impl Default for Background {
    fn default() -> Self {
        Self {
            wanted: true,
            left: Left::Nothing,
            earned: Earned::default(),
            last_turn: None,
            restacked: Restacked::default(),
            job: None,
            jobs: 0,
            unlooked: Some(0),
            reclaimed_to: None,
            has_reclaimed: false,
            is_short_of_space: false,
        }
    }
}

impl Background {
    /// How long the index thread may wait for a group.
    pub(super) fn wait(&self) -> Duration {
        match (self.wanted, self.earned.is_busy()) {
            (false, _) => BACKGROUND_PERIOD,
            (true, false) => Duration::ZERO,
            (true, true) => COURTESY,
        }
    }

    /// Whether it is its turn when nothing has come for a while.
    pub(super) fn is_due(&self) -> bool {
        self.wanted || self.last_turn.is_none_or(|last| last.elapsed() >= BACKGROUND_PERIOD)
    }

    /// What the last step left to be done.
    pub(super) fn left(&self) -> Left {
        self.left
    }

    /// Asks for a step soon.
    pub(super) fn wake(&mut self) {
        self.wanted = true;
    }

    /// Notes how far a step came among the dead contents; tells whether there is more to do at once. After the
    /// last of them it is the oldest's turn again if any went: what kept those may have ended meanwhile.
    fn note_reclaimed(&mut self, reclaimed: &Reclaimed) -> bool {
        let is_behind = self.reclaimed_to.is_some();
        self.has_reclaimed |= !reclaimed.gone.is_empty();
        self.reclaimed_to = reclaimed.reached;
        let is_over = reclaimed.reached.is_none();
        let has_reclaimed = is_over && std::mem::take(&mut self.has_reclaimed);
        !is_over || (has_reclaimed && is_behind)
    }

    pub(super) fn note_restacked(&mut self, datasets: Vec<DatasetId>) {
        for dataset in datasets {
            self.restacked.note(dataset);
        }
    }
}

impl IndexThread {
    /// Does what groups that were applied together, of so many rows in all, give the background the
    /// turns for.
    pub(super) fn take_turns(&mut self, groups: usize, rows: u64) -> Result<(), IndexError> {
        let background = &mut self.background;
        background.wanted = true;
        background.earned.note(groups, rows);
        let began = Instant::now();
        for _ in 0..background.earned.turns(background.left == Left::More) {
            self.work_in_background()?;
            if self.background.left != Left::More || began.elapsed() >= TURNS_TIME_MAX {
                break;
            }
        }
        Ok(())
    }

    /// One bounded step of whatever waits; stops wanting turns when nothing does.
    pub(super) fn work_in_background(&mut self) -> Result<(), IndexError> {
        self.background.earned.take_turn();
        self.background.last_turn = Some(Instant::now());
        let index = self.store.index.get();
        self.write_marks(&index)?;
        if !self.finds_pages(&index)? {
            (self.background.wanted, self.background.left) = (false, Left::Kept);
            return Ok(());
        }
        let oldest_lease = self.store.leases.oldest();
        let pins = self.store.blobs.pins();
        let after = self.background.reclaimed_to;
        let reclaimed = reclaim::reclaim_blobs(&index, pins, oldest_lease, after)?;
        let reclaiming = self.background.note_reclaimed(&reclaimed);
        for digest in &reclaimed.gone {
            self.store.forget_left(digest)?;
        }
        let dropped = reclaim::drop_layer_rows(&index, self.applied.sequence)?;
        let rotated = self.rotate_audit(&index)?;
        let stacked = self.stack_step(&index)?;
        self.look_at_some(&index)?;
        let looking = self.background.unlooked.is_some() || !self.background.restacked.is_empty();
        let rotating = rotated.is_some_and(|rotated| rotated.more);
        let has_more = reclaiming || dropped.is_some() || stacked.is_some() || looking || rotating;
        self.background.wanted = has_more;
        self.background.left = if has_more { Left::More } else { Left::Nothing };
        if !has_more {
            self.background.earned.settle();
        }
        if !reclaimed.gone.is_empty() {
            self.store.trace.note(trace::RECLAIMED);
        }
        if dropped.is_some() {
            self.store.trace.note(trace::DROPPED);
        }
        let reclaimed = u64::try_from(reclaimed.gone.len()).ok().filter(|rows| *rows > 0);
        let written = [reclaimed, dropped, stacked, rotated.map(|rotated| rotated.rows)];
        if written.iter().any(Option::is_some) {
            // The checkpoint has their pages to write too.
            self.since_checkpoint.note(0, written.into_iter().flatten().sum());
        }
        Ok(())
    }

    /// Sees to it that a step takes nothing of a disk that has little left: it finds pages free that were
    /// changed before the last checkpoint, unless somebody reads an earlier state. Then it is not to
    /// be done, and the next period looks again. Nor may changed pages wait in memory, which nobody
    /// counts.
    fn finds_pages(&mut self, index: &Index) -> Result<bool, IndexError> {
        let is_little =
            |space: Space| space.available < (reserve_bytes(space) / 2).saturating_add(STEP_BYTES);
        if !self.store.disk.space().is_ok_and(is_little) {
            return Ok(true);
        }
        if index.is_read_as_before() {
            return Ok(false);
        }
        if self.background.left == Left::Kept {
            // Nothing else may have changed since, but what was read is free with the next one only.
            self.since_checkpoint.note(0, 0);
        }
        if self.since_checkpoint.is_something() {
            self.begin_checkpoint()?;
        }
        self.settle()?;
        // By now somebody may read what the checkpoint has passed; one step more has its room.
        let is_enough = |space: Space| space.available >= STEP_BYTES;
        Ok(!index.is_read_as_before() || self.store.disk.space().is_ok_and(is_enough))
    }

    /// Rows that a stack's layers may get: they are written before others are freed, and where the disk has
    /// so little left that uploads are refused, what is left is for what frees at once (I7). When there is
    /// space again, what was put off is looked for.
    fn stack_rows_max(&mut self) -> u64 {
        let Ok(space) = self.store.disk.space() else { return u64::MAX };
        let reserve = reserve_bytes(space);
        let was_short = self.background.is_short_of_space;
        // Some way apart, or what was put off would be looked for again and again.
        let bound = reserve * if was_short { 3 } else { 2 };
        self.background.is_short_of_space = space.available < bound;
        if self.background.is_short_of_space {
            return space.available.saturating_sub(reserve / 2) / 2 / LAYER_ROW_BYTES;
        }
        if was_short {
            self.background.unlooked = Some(0);
        }
        u64::MAX
    }

    /// Takes away some of the audit log that is beyond its limits.
    fn rotate_audit(&mut self, index: &Index) -> Result<Option<Rotated>, IndexError> {
        let rotated = audit::rotate(index, self.audit, Timestamp::now())?;
        if let Some(Rotated { rows, last, more }) = rotated {
            self.store.trace.note(trace::ROTATED);
            if !more {
                tracing::info!(rows, last, "older entries of the audit log were rotated away");
            }
        }
        Ok(rotated)
    }

    /// Writes what was found damaged, and how far the scrub came.
    pub(super) fn write_marks(&mut self, index: &Index) -> Result<(), IndexError> {
        // Whoever began to read before a content was healed may have met the damage after that.
        for digest in self.store.quarantine.unwritten() {
            self.store.forget_left(&digest)?;
        }
        let marks = self.store.quarantine.take_unwritten();
        let scrub = self.store.scrub.take_unwritten();
        if marks.is_empty() && scrub.is_none() {
            return Ok(());
        }
        index.apply(|txn| write_marks(txn, &marks, scrub.as_ref()))?;
        let rows = u64::try_from(marks.len()).unwrap_or(u64::MAX);
        self.since_checkpoint.note(0, rows.saturating_add(1));
        Ok(())
    }

    /// Finds what an earlier start left to be done about stacks.
    fn look_at_some(&mut self, index: &Index) -> Result<(), IndexError> {
        if let Some(from) = self.background.unlooked {
            let (wanting, next) = stacks::wanting(index, from)?;
            self.background.note_restacked(wanting);
            self.background.unlooked = next;
        }
        Ok(())
    }

    /// Goes on with what a stack wants; gives the rows that this may have written, `None` if none wants
    /// anything.
    fn stack_step(&mut self, index: &Index) -> Result<Option<u64>, IndexError> {
        let rows_max = self.stack_rows_max();
        if let Some(job) = self.background.job.take_if(|job| job.rows() > rows_max) {
            let restacked = index.apply(|txn| {
                let mut rows = Group::begin(txn)?;
                rows.give_up(&job)?;
                rows.finish()
            })?;
            self.background.note_restacked(restacked);
            return Ok(Some(0));
        }
        if let Some(job) = self.background.job.take() {
            self.store.trace.note(job.trace());
            let applied = self.applied.sequence;
            let (left, restacked) = index.apply(|txn| {
                let mut rows = Group::begin(txn)?;
                let left = rows.continue_job(job, applied)?;
                Ok((left, rows.finish()?))
            })?;
            self.background.note_restacked(restacked);
            self.background.job = left;
            return Ok(u64::try_from(BACKGROUND_ROWS_MAX).ok());
        }
        let Some(dataset) = self.background.restacked.take() else {
            return Ok(None);
        };
        self.background.jobs += 1;
        let set = SetId::of_fold(self.applied.start, self.background.jobs);
        self.background.job = index.apply(|txn| {
            let mut rows = Group::begin(txn)?;
            let job = rows.begin_job(dataset, set, rows_max)?;
            // What was restacked here is in the job already.
            rows.finish()?;
            Ok(job)
        })?;
        Ok(Some(0))
    }
}
