//! What the background does about a dataset's stack: layers of its own [absorb](super::absorb) each
//! other, hidden rows of its own are [swept](super::sweep) away, layers that others share are
//! [folded](super::fold). All of it goes in bounded steps, one stack at a time.

use super::absorb::{AbsorbJob, AbsorbOutcome, Budget};
use super::apply::Group;
use super::fold::{FoldJob, FoldOutcome, choose_run};
use super::rows::LayerRow;
use super::sweep::{SweepJob, SweepOutcome, wants_sweep};
use super::{Index, IndexError, tables};
use crate::codec;
use crate::limits::BACKGROUND_ROWS_MAX;
use crate::model::{Dataset, DatasetId, Sequence, SetId};
use crate::trace;

/// What is being done about a stack.
#[derive(Debug)]
pub(crate) enum Job {
    Absorb(AbsorbJob),
    Sweep(SweepJob),
    Fold(FoldJob),
}

impl Job {
    /// Rows that it writes at most before it frees others.
    pub(crate) fn rows(&self) -> u64 {
        match self {
            Self::Absorb(job) => job.rows(),
            Self::Sweep(_) => 0,
            Self::Fold(job) => job.rows(),
        }
    }

    /// What the store has done when a step of it is done.
    pub(crate) fn trace(&self) -> &'static str {
        match self {
            Self::Absorb(_) => trace::ABSORBED,
            Self::Sweep(_) => trace::SWEPT,
            Self::Fold(_) => trace::FOLDED,
        }
    }
}

/// Datasets from an id on about whose stacks something is to be done, and the id from which on none were
/// looked at. After an opening nobody remembers which stacks had changed.
pub(crate) fn wanting(
    index: &Index,
    from: u64,
) -> Result<(Vec<DatasetId>, Option<u64>), IndexError> {
    let txn = index.read()?;
    let (datasets, layers) = (txn.open_table(tables::DATASETS)?, txn.open_table(tables::LAYERS)?);
    let mut wanting = Vec::new();
    let mut looked_at = 0;
    let mut next = None;
    for entry in datasets.range(from..)?.take(BACKGROUND_ROWS_MAX) {
        let (id, header) = entry?;
        looked_at += 1;
        next = id.value().checked_add(1);
        let header: Dataset = codec::decode(header.value())?;
        let mut rows = Vec::with_capacity(header.stack.len());
        for entry in &header.stack {
            let row = layers.get(entry.layer.0)?;
            rows.push(row.map(|row| codec::decode(row.value())).transpose()?.unwrap_or_default());
        }
        let folds = |(top, frozen): (&LayerRow, &[LayerRow])| {
            choose_run(frozen, *top, header.file_count).is_some()
        };
        if AbsorbJob::of(&header, &rows).is_some()
            || wants_sweep(&rows, header.file_count)
            || rows.split_first().is_some_and(folds)
        {
            wanting.push(header.id);
        }
    }
    Ok((wanting, next.filter(|_| looked_at == BACKGROUND_ROWS_MAX)))
}

impl Group<'_> {
    /// Begins what is to be done about a dataset's stack, if it writes so many rows at most.
    pub(crate) fn begin_job(
        &mut self,
        dataset: DatasetId,
        set: SetId,
        rows_max: u64,
    ) -> Result<Option<Job>, IndexError> {
        let Some(header) = self.header_if_any(dataset)? else {
            return Ok(None);
        };
        let rows = self.layer_rows(&header)?;
        if wants_sweep(&rows, header.file_count) {
            return Ok(Some(Job::Sweep(SweepJob::of(&header))));
        }
        let absorbing = AbsorbJob::of(&header, &rows).filter(|job| job.rows() <= rows_max);
        if let Some(job) = absorbing {
            return Ok(Some(Job::Absorb(job)));
        }
        Ok(self.begin_fold(header, &rows, set, rows_max)?.map(Job::Fold))
    }

    /// Does a bounded part; what dies, dies with the last applied change. Gives what is left.
    pub(crate) fn continue_job(
        &mut self,
        job: Job,
        applied: Sequence,
    ) -> Result<Option<Job>, IndexError> {
        Ok(match job {
            Job::Absorb(job) => {
                match self.continue_absorbing(&job, applied, Budget::BACKGROUND)? {
                    AbsorbOutcome::More(job) => Some(Job::Absorb(job)),
                    AbsorbOutcome::Done => None,
                }
            }
            Job::Sweep(job) => {
                let dataset = job.dataset();
                match self.continue_sweep(job, applied)? {
                    SweepOutcome::More(job) => Some(Job::Sweep(job)),
                    SweepOutcome::Done => self.after_sweep(dataset)?.map(Job::Absorb),
                }
            }
            Job::Fold(job) => match self.continue_fold(job)? {
                FoldOutcome::More(job) => Some(Job::Fold(job)),
                FoldOutcome::Done => None,
            },
        })
    }

    /// Once what hides much is gone, layers become one, whether or not a little was left that could be
    /// swept.
    fn after_sweep(&mut self, dataset: DatasetId) -> Result<Option<AbsorbJob>, IndexError> {
        let Some(header) = self.header_if_any(dataset)? else { return Ok(None) };
        let rows = self.layer_rows(&header)?;
        Ok(AbsorbJob::of(&header, &rows))
    }

    /// Gives up what is being done, for it would write too much; there may be less to do.
    pub(crate) fn give_up(&mut self, job: &Job) -> Result<(), IndexError> {
        match job {
            // What was done so far is as good as the rest would be.
            Job::Absorb(job) => {
                self.look_again(job.dataset());
                Ok(())
            }
            Job::Sweep(_) => Ok(()),
            Job::Fold(job) => self.give_fold_up(job),
        }
    }
}
