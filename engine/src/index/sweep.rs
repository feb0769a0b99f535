//! Reclaims what a dataset's own layers hide from each other, in place and in bounded steps.
//!
//! A large deletion is a layer of tombstones above the files it hides. Where no other dataset
//! shares the stack, hidden rows can simply go, and then the tombstones: that costs what was
//! deleted, where folding costs what was kept. What readers see does not change, so none of it is
//! journaled and no revision grows; what a crash undoes is done again.

use std::ops::Bound;

use redb::ReadableTable;

use super::IndexError;
use super::apply::Group;
use super::rows::{FileRow, LayerRow};
use crate::codec;
use crate::limits::{
    BACKGROUND_ROWS_MAX, HIDDEN_OWN_PERCENT_MAX, HIDDEN_OWN_ROWS_MAX, HIDDEN_ROWS_FEW,
};
use crate::model::dataset::StackEntry;
use crate::model::{Dataset, DatasetId, LayerId, Sequence};

/// A sweep under way.
#[derive(Debug)]
pub(crate) struct SweepJob {
    dataset: DatasetId,
    /// Layers whose rows are still to be looked at, the next one last; the stack's lowest, which
    /// hides nothing, is not among them.
    layers: Vec<LayerId>,
    /// The last name that was looked at in the next one.
    after: Option<String>,
    has_removed: bool,
}

/// What is left of a sweep after a step.
#[derive(Debug)]
pub(crate) enum SweepOutcome {
    More(SweepJob),
    Done,
}

/// Whether a stack of these layers, the top one first, hides enough to be swept. Rows beyond the
/// files are tombstones and what they or other files hide.
pub(crate) fn wants_sweep(layers: &[LayerRow], file_count: u64) -> bool {
    let all: u64 = layers.iter().map(|layer| layer.rows).sum();
    let allowed = HIDDEN_ROWS_FEW + file_count.saturating_mul(HIDDEN_OWN_PERCENT_MAX) / 100;
    let allowed = allowed.min(HIDDEN_OWN_ROWS_MAX);
    layers.len() > 1 && is_own(layers) && all > file_count + allowed
}

/// Whether no other dataset shares a layer.
fn is_own(layers: &[LayerRow]) -> bool {
    layers.iter().all(|layer| layer.stacks <= 1)
}

impl SweepJob {
    pub(crate) fn of(header: &Dataset) -> Self {
        let hiding = header.stack.split_last().map_or(&[][..], |(_, above)| above);
        let layers = hiding.iter().rev().map(|entry| entry.layer).collect();
        Self { dataset: header.id, layers, after: None, has_removed: false }
    }

    pub(crate) fn dataset(&self) -> DatasetId {
        self.dataset
    }

    fn leave_layer(&mut self) {
        self.layers.pop();
        self.after = None;
    }
}

impl Group<'_> {
    /// Does a bounded part of a sweep; what dies, dies with the last applied change.
    pub(crate) fn continue_sweep(
        &mut self,
        mut job: SweepJob,
        applied: Sequence,
    ) -> Result<SweepOutcome, IndexError> {
        self.die_at(applied);
        let Some(header) = self.header_if_any(job.dataset)? else {
            return Ok(SweepOutcome::Done);
        };
        // A copy that was made meanwhile may show what this dataset hides.
        if !is_own(&self.layer_rows(&header)?) {
            return Ok(SweepOutcome::Done);
        }
        let Some(layer) = job.layers.last().copied() else {
            if job.has_removed {
                self.drop_empty_layers(header)?;
            }
            return Ok(SweepOutcome::Done);
        };
        let Some(at) = header.stack.iter().position(|entry| entry.layer == layer) else {
            // It left the stack meanwhile, and with it what it hid.
            job.leave_layer();
            return Ok(SweepOutcome::More(job));
        };
        let below = header.stack.get(at + 1..).unwrap_or_default();
        match self.sweep_below(layer, below, &mut job)? {
            Some(last) => job.after = Some(last),
            None => job.leave_layer(),
        }
        Ok(SweepOutcome::More(job))
    }

    /// Looks at some rows of a layer; gives the last name, or `None` if there are no more.
    fn sweep_below(
        &mut self,
        layer: LayerId,
        below: &[StackEntry],
        job: &mut SweepJob,
    ) -> Result<Option<String>, IndexError> {
        let from = job
            .after
            .as_deref()
            .map_or(Bound::Included((layer.0, "")), |name| Bound::Excluded((layer.0, name)));
        let upper = Bound::Excluded((layer.0 + 1, ""));
        let rows_max = (BACKGROUND_ROWS_MAX / (below.len() + 1)).max(1);
        let mut rows = Vec::new();
        for row in self.file_table().range::<(u64, &str)>((from, upper))?.take(rows_max) {
            let (key, row) = row?;
            rows.push((key.value().1.to_owned(), codec::decode::<FileRow>(row.value())?));
        }
        for (name, row) in &rows {
            for entry in below {
                job.has_removed |= self.remove_row(entry.layer, name)?;
            }
            // Nothing is left that it would hide.
            if *row == FileRow::Tombstone {
                job.has_removed |= self.remove_row(layer, name)?;
            }
        }
        let is_last = rows.len() < rows_max;
        Ok(if is_last { None } else { rows.pop().map(|(name, _)| name) })
    }

    /// Takes frozen layers that say nothing any longer off the stack; what is left may be folded.
    fn drop_empty_layers(&mut self, mut header: Dataset) -> Result<(), IndexError> {
        let rows = self.layer_rows(&header)?;
        let mut kept = Vec::with_capacity(header.stack.len());
        for (depth, (entry, row)) in header.stack.iter().zip(&rows).enumerate() {
            if depth > 0 && row.is_empty() {
                self.release_swept(entry.layer)?;
            } else {
                kept.push(*entry);
            }
        }
        header.stack = kept;
        self.put_restacked(header);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(stacks: u64, rows: u64) -> LayerRow {
        LayerRow { stacks, rows, metadata_rows: 0 }
    }

    #[test]
    fn a_stack_is_swept_if_it_is_the_datasets_own_and_hides_much() {
        // Of a million files, a hundred thousand were deleted.
        let own = [layer(1, 0), layer(1, 100_000), layer(1, 1_000_000)];
        assert!(wants_sweep(&own, 900_000));
        let shared = [layer(1, 0), layer(1, 100_000), layer(2, 1_000_000)];
        assert!(!wants_sweep(&shared, 900_000));
        let nothing_hidden = [layer(1, 5), layer(1, 100_000), layer(1, 1_000_000)];
        assert!(!wants_sweep(&nothing_hidden, 1_100_005));
        let few_files = [layer(1, 30), layer(1, 60)];
        assert!(wants_sweep(&few_files, 30));
        let little_hidden = [layer(1, 500), layer(1, 1_000_000)];
        assert!(!wants_sweep(&little_hidden, 999_500));
    }
}
