//! Keeps stacks shallow whose layers others share: neighbouring layers become one, in bounded steps.
//!
//! The result is built as a detached layer that no stack names; one small transaction puts it in
//! the place of the layers it was built from, if they are still there. What readers see does not
//! change, so none of it is journaled and no revision grows; after a crash the detached layer is
//! dropped with the unfinished sets.

use std::ops::{Bound, Range};

use redb::ReadableTable;

use super::IndexError;
use super::apply::{Folding, Group};
use super::file_tree::FileTree;
use super::rows::{FileRow, LayerRow};
use crate::limits::{
    BACKGROUND_BYTES_MAX, BACKGROUND_ROWS_MAX, FOLD_LAYERS_MAX, FOLD_ROWS_FEW,
    HIDDEN_KEPT_PERCENT_MAX, HIDDEN_ROWS_FEW, HIDDEN_SHARED_PERCENT_MAX, STACK_LAYERS_MAX,
};
use crate::model::dataset::StackEntry;
use crate::model::{Dataset, DatasetId, LayerId, SetId};

/// A fold under way.
#[derive(Debug)]
pub(crate) struct FoldJob {
    dataset: DatasetId,
    set: SetId,
    /// Neighbours in the dataset's stack, the upper first; all of them frozen.
    run: Vec<StackEntry>,
    /// Whether nothing lies below, so that tombstones hide nothing.
    to_bottom: bool,
    target: LayerId,
    /// Rows that it still writes at most.
    rows: u64,
    next: Step,
}

impl FoldJob {
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

#[derive(Debug)]
enum Step {
    /// Nearest rows after this name.
    Rows { after: Option<String> },
    /// Metadata of files below the run, of this layer of the run, after this name.
    Metadata { layer: usize, after: Option<String> },
    /// Put the new layer in place.
    Swap,
}

/// What is left of a fold after a step.
#[derive(Debug)]
pub(crate) enum FoldOutcome {
    More(FoldJob),
    Done,
}

/// Which frozen layers of a stack should become one: a range of `rows`, the frozen layers' counts
/// from top to bottom. `top` counts too where hidden rows are concerned.
pub(crate) fn choose_run(
    rows: &[LayerRow],
    top: LayerRow,
    file_count: u64,
) -> Option<Range<usize>> {
    if (1..=FOLD_LAYERS_MAX).contains(&rows.len()) && hides_much(rows, top, file_count) {
        return Some(0..rows.len());
    }
    smallest_run(rows).filter(|_| rows.len() >= STACK_LAYERS_MAX)
}

/// The layers of a deep stack that cost the least to become one, whoever shares them: as many as leave
/// room for some more, if these are small, and otherwise two.
fn smallest_run(rows: &[LayerRow]) -> Option<Range<usize>> {
    let wanted = (rows.len() + 1).saturating_sub(STACK_LAYERS_MAX / 2).min(FOLD_LAYERS_MAX);
    (2..=wanted.max(2)).rev().find_map(|length| {
        let cost = |run: &[LayerRow]| run.iter().map(LayerRow::all).sum::<u64>();
        let runs = rows.windows(length).map(cost).enumerate();
        let (at, rows) = runs.min_by_key(|(_, rows)| *rows)?;
        (length == 2 || rows <= FOLD_ROWS_FEW).then_some(at..at + length)
    })
}

/// Rows that a fold of these layers writes at most. Of a whole stack, which may take its top in, that is
/// what it shows.
fn rows_written(run: &[LayerRow], top_of_whole: Option<LayerRow>, file_count: u64) -> u64 {
    let layers = || run.iter().chain(&top_of_whole);
    let files: u64 = layers().map(|layer| layer.rows).sum();
    let texts: u64 = layers().map(|layer| layer.metadata_rows).sum();
    texts + if top_of_whole.is_some() { files.min(file_count) } else { files }
}

/// Whether a stack has many rows for the files that it shows: rows beyond these are tombstones and what
/// they or other files hide.
///
/// What a layer hides that fewer stacks have than the lowest one, others go on showing: writing the rest
/// again sets nothing free, and is done for the sake of those who read only.
fn hides_much(rows: &[LayerRow], top: LayerRow, file_count: u64) -> bool {
    let layers = || rows.iter().chain([&top]);
    let all: u64 = layers().map(|layer| layer.rows).sum();
    let beyond = all.saturating_sub(file_count);
    let sharers = rows.last().map_or(1, |lowest| lowest.stacks);
    let not_all_have = |layer: &&LayerRow| layer.stacks < sharers;
    let hiding: u64 = layers().filter(not_all_have).map(|layer| layer.rows).sum();
    // Each of these and a row that it hides.
    let kept_by_none = beyond.saturating_sub(hiding.saturating_mul(2));
    let allowed = |percent| HIDDEN_ROWS_FEW + file_count.saturating_mul(percent) / 100;
    beyond > allowed(HIDDEN_KEPT_PERCENT_MAX) || kept_by_none > allowed(HIDDEN_SHARED_PERCENT_MAX)
}

impl Group<'_> {
    /// Begins a fold that writes so many rows at most, if a stack of such layers wants one.
    pub(super) fn begin_fold(
        &mut self,
        mut header: Dataset,
        rows: &[LayerRow],
        set: SetId,
        rows_max: u64,
    ) -> Result<Option<FoldJob>, IndexError> {
        let Some((top, frozen)) = rows.split_first() else {
            return Ok(None);
        };
        let Some(range) = choose_run(frozen, *top, header.file_count) else {
            return Ok(None);
        };
        let whole = range.len() == frozen.len();
        let run = frozen.get(range.clone()).unwrap_or_default();
        let rows_written = rows_written(run, whole.then_some(*top), header.file_count);
        if rows_written > rows_max {
            return Ok(None);
        }
        let range = if whole && !top.is_empty() {
            self.freeze_for_fold(&mut header, rows, range)?
        } else {
            range.start + 1..range.end + 1
        };
        let run = header.stack.get(range.clone()).unwrap_or_default().to_vec();
        if run.len() < 2 {
            return Ok(None);
        }
        let to_bottom = range.end == header.stack.len();
        let target = self.begin_folding(set)?;
        let (dataset, next) = (header.id, Step::Rows { after: None });
        Ok(Some(FoldJob { dataset, set, run, to_bottom, target, rows: rows_written, next }))
    }

    /// Takes the top layer into the run where hidden rows are the reason.
    fn freeze_for_fold(
        &mut self,
        header: &mut Dataset,
        rows: &[LayerRow],
        range: Range<usize>,
    ) -> Result<Range<usize>, IndexError> {
        let hiding = rows.split_first();
        if !hiding.is_some_and(|(top, frozen)| hides_much(frozen, *top, header.file_count)) {
            return Ok(range.start + 1..range.end + 1);
        }
        self.freeze_top(header)?;
        Ok(1..header.stack.len())
    }

    /// Gives a fold up; its dataset is to be looked at again.
    pub(crate) fn give_fold_up(&mut self, job: &FoldJob) -> Result<(), IndexError> {
        self.abandon_folding(job.set, job.dataset)
    }

    /// Does a bounded part of a fold.
    pub(crate) fn continue_fold(&mut self, mut job: FoldJob) -> Result<FoldOutcome, IndexError> {
        job.next = match job.next {
            Step::Rows { after } => {
                self.fold_rows(&job.run, job.to_bottom, job.target, after.as_deref())?
            }
            Step::Metadata { layer, after } => {
                self.fold_metadata(&job.run, job.target, layer, after.as_deref())?
            }
            Step::Swap => {
                self.swap_folded(&job)?;
                return Ok(FoldOutcome::Done);
            }
        };
        let written = u64::try_from(BACKGROUND_ROWS_MAX).unwrap_or(u64::MAX);
        job.rows =
            if matches!(job.next, Step::Swap) { 0 } else { job.rows.saturating_sub(written) };
        Ok(FoldOutcome::More(job))
    }

    fn fold_rows(
        &mut self,
        run: &[StackEntry],
        to_bottom: bool,
        target: LayerId,
        after: Option<&str>,
    ) -> Result<Step, IndexError> {
        let mut batch = Vec::new();
        let mut ended = true;
        {
            let tree = self.fold_tree(run);
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut bytes = 0;
            for row in tree.rows_from(from)? {
                if batch.len() >= BACKGROUND_ROWS_MAX || bytes >= BACKGROUND_BYTES_MAX {
                    ended = false;
                    break;
                }
                let row = row?;
                let metadata = match row.row {
                    FileRow::File(_) => tree.metadata_at(row.depth, &row.name)?,
                    FileRow::Tombstone => None,
                };
                bytes += row.name.len() + metadata.as_ref().map_or(0, String::len);
                batch.push((row, metadata));
            }
        }
        let last = batch.last().map(|(row, _)| row.name.clone());
        for (row, metadata) in batch {
            if to_bottom && row.row == FileRow::Tombstone {
                continue;
            }
            self.write_folded(target, &row.name, Folding { row: Some(row.row), metadata })?;
        }
        Ok(match (ended, to_bottom) {
            (false, _) => Step::Rows { after: last },
            (true, true) => Step::Swap,
            (true, false) => Step::Metadata { layer: 0, after: None },
        })
    }

    /// Metadata that upper layers of the run hold for files whose rows lie below the run.
    fn fold_metadata(
        &mut self,
        run: &[StackEntry],
        target: LayerId,
        layer: usize,
        after: Option<&str>,
    ) -> Result<Step, IndexError> {
        let (mut layer, mut after) = (layer, after);
        let entry = loop {
            let Some(entry) = run.get(layer).filter(|entry| !entry.metadata_void) else {
                return Ok(Step::Swap);
            };
            if self.describes(entry.layer)? {
                break entry;
            }
            (layer, after) = (layer + 1, None);
        };
        let (mut names, mut ended) = (Vec::new(), true);
        {
            let from = after.map_or(Bound::Included((entry.layer.0, "")), |name| {
                Bound::Excluded((entry.layer.0, name))
            });
            let upper = Bound::Excluded((entry.layer.0 + 1, ""));
            let mut bytes = 0;
            for row in self.metadata_table().range::<(u64, &str)>((from, upper))? {
                if names.len() >= BACKGROUND_ROWS_MAX || bytes >= BACKGROUND_BYTES_MAX {
                    ended = false;
                    break;
                }
                let (key, text) = row?;
                let name = key.value().1.to_owned();
                bytes += name.len() + text.value().len();
                names.push(name);
            }
        }
        for name in &names {
            let tree: FileTree<'_, _, _> = self.fold_tree(run);
            if tree.nearest(name)?.is_none() {
                let metadata = tree.metadata_at(run.len(), name)?;
                self.write_folded(target, name, Folding { row: None, metadata })?;
            }
        }
        Ok(match names.pop() {
            Some(last) if !ended => Step::Metadata { layer, after: Some(last) },
            Some(_) | None => Step::Metadata { layer: layer + 1, after: None },
        })
    }

    fn swap_folded(&mut self, job: &FoldJob) -> Result<(), IndexError> {
        let header = self.header_if_any(job.dataset)?;
        let place = header.as_ref().and_then(|header| {
            let stack = header.stack.as_slice();
            stack.windows(job.run.len()).position(|window| window == job.run.as_slice())
        });
        let (Some(mut header), Some(at)) = (header, place) else {
            return self.abandon_folding(job.set, job.dataset);
        };
        let end = at + job.run.len();
        if job.to_bottom != (end == header.stack.len()) {
            return self.abandon_folding(job.set, job.dataset);
        }
        let metadata_void = job.run.first().is_some_and(|entry| entry.metadata_void);
        let entry = StackEntry { layer: job.target, metadata_void };
        header.stack.splice(at..end, [entry]);
        self.finish_folding(job.set, header, &job.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(stacks: u64, rows: u64) -> LayerRow {
        LayerRow { stacks, rows, metadata_rows: 0 }
    }

    #[test]
    fn a_shallow_stack_of_shared_layers_is_left_alone() {
        let rows = [layer(2, 10), layer(2, 1_000_000)];
        assert_eq!(choose_run(&rows, layer(1, 5), 1_000_015), None);
    }

    #[test]
    fn a_deep_stack_folds_its_smallest_neighbours() {
        let mut rows = vec![layer(2, 1_000); STACK_LAYERS_MAX];
        rows[3].rows = 1;
        rows[4].rows = 2;
        assert_eq!(choose_run(&rows, layer(1, 0), 1_000_000), Some(3..5));
    }

    #[test]
    fn a_large_layer_is_not_written_again_for_a_small_one_whichever_is_above() {
        for rows in
            [[layer(1, 1_000_000), layer(1, 50_000)], [layer(1, 50_000), layer(1, 1_000_000)]]
        {
            assert_eq!(choose_run(&rows, layer(1, 0), 1_050_000), None);
        }
    }

    #[test]
    fn many_small_layers_that_others_share_become_one_at_once() {
        let mut rows = vec![layer(9, 2); 20];
        rows.push(layer(9, 1_000_000));
        let shown = 1_000_040;
        let run = choose_run(&rows, layer(1, 0), shown).unwrap();
        assert_eq!(run, 0..18);
        rows.splice(run, [layer(1, 36)]);
        assert_eq!(rows.len(), STACK_LAYERS_MAX / 2);
        assert_eq!(choose_run(&rows, layer(1, 0), shown), None);
    }

    #[test]
    fn hidden_rows_fold_the_whole_stack() {
        let rows = [layer(2, 10_000), layer(2, 10_000)];
        assert_eq!(choose_run(&rows, layer(1, 0), 100), Some(0..2));
        // A third of what is shown is hidden, an eighth of it.
        let rows = [layer(2, 2_000), layer(2, 10_000)];
        assert_eq!(choose_run(&rows, layer(1, 0), 9_000), Some(0..2));
        assert_eq!(choose_run(&rows, layer(1, 0), 11_000), None);
    }

    /// A version that leaves out a third of the one before, which keeps its files.
    #[test]
    fn what_others_go_on_showing_is_hidden_by_many_rows_before_all_is_written_again() {
        let (deletions, files) = (layer(1, 33_000), layer(2, 100_000));
        assert_eq!(choose_run(&[deletions, files], layer(1, 0), 67_000), None);
        assert_eq!(choose_run(&[files], deletions, 67_000), None);
        // The version before has gone, and one after it has come.
        let rows = [LayerRow { stacks: 2, ..deletions }, files];
        assert_eq!(choose_run(&rows, layer(1, 0), 67_000), Some(0..2));
        // A few deletions more, of this version alone.
        assert_eq!(choose_run(&rows, layer(1, 10), 66_990), Some(0..2));
        // Hardly anything is left.
        assert_eq!(choose_run(&[layer(1, 99_000), files], layer(1, 0), 1_000), Some(0..2));
    }
}
