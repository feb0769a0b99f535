//! Neighbouring layers that only one dataset has become one, in place and in bounded steps.
//!
//! The rows of the one that costs less go to the other, which takes in what they say. However many
//! rows the other has, they stay where they are; a row goes to a layer that is at least as large, so
//! it goes as often as the logarithm of what comes beside it at most, and once where much comes in
//! small parts. What readers see is the same after each step, so none of it is journaled, no revision
//! grows, and a step that finds the stack changed begins with the stack as it is. What a crash undoes
//! is done again.

use redb::ReadableTable;

use super::IndexError;
use super::apply::Group;
use super::rows::{FileRow, LayerRow};
use crate::limits::{ABSORBED_ROWS_FEW, BACKGROUND_BYTES_MAX, BACKGROUND_ROWS_MAX};
use crate::model::dataset::StackEntry;
use crate::model::{Dataset, DatasetId, LayerId, Sequence};

/// Layers of a dataset that become one.
#[derive(Debug)]
pub(crate) struct AbsorbJob {
    dataset: DatasetId,
    /// Rows that are still to go from one layer to another.
    rows: u64,
}

impl AbsorbJob {
    /// The job for a stack of such layers, if any of them should become one.
    pub(crate) fn of(header: &Dataset, rows: &[LayerRow]) -> Option<Self> {
        let pair = choose(&header.stack, rows)?;
        Some(Self { dataset: header.id, rows: pair.rows })
    }

    pub(crate) fn dataset(&self) -> DatasetId {
        self.dataset
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

/// What is left after a step.
#[derive(Debug)]
pub(crate) enum AbsorbOutcome {
    More(AbsorbJob),
    Done,
}

/// How much one step moves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) rows: usize,
    /// Bytes of names and metadata; what goes beyond it ends the step.
    pub(crate) bytes: usize,
}

impl Budget {
    /// What the background does between groups.
    pub(crate) const BACKGROUND: Self =
        Self { rows: BACKGROUND_ROWS_MAX, bytes: BACKGROUND_BYTES_MAX };

    fn is_spent(self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    fn spend(&mut self, name: &str, text_bytes: usize) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(name.len() + text_bytes);
    }
}

/// Two neighbours in a stack, of which one takes in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    upper: StackEntry,
    lower: StackEntry,
    /// Which of them is emptied.
    direction: Direction,
    /// Whether nothing lies below, so that tombstones hide nothing.
    to_bottom: bool,
    /// Rows that go.
    rows: u64,
    cost: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// The upper one's rows count where both say something of a name.
    Down,
    /// The lower one's rows count where the upper says nothing.
    Up,
}

impl Pair {
    fn source(&self) -> LayerId {
        match self.direction {
            Direction::Down => self.upper.layer,
            Direction::Up => self.lower.layer,
        }
    }

    /// Whether what the source says of metadata counts for nobody.
    fn has_void_metadata(&self) -> bool {
        match self.direction {
            Direction::Down => self.upper.metadata_void,
            Direction::Up => self.upper.metadata_void || self.lower.metadata_void,
        }
    }
}

/// What it costs to move a layer's rows: that of a file takes the row of its content along.
fn cost(layer: LayerRow) -> u64 {
    layer.rows.saturating_mul(2).saturating_add(layer.metadata_rows)
}

/// The neighbours of a stack that cost the least to become one: no other dataset has them, and neither is
/// the top. `rows` are the counts of the stack's layers.
fn choose(stack: &[StackEntry], rows: &[LayerRow]) -> Option<Pair> {
    let layers: Vec<(&StackEntry, &LayerRow)> = stack.iter().zip(rows).collect();
    let pairs = layers.windows(2).enumerate().skip(1).filter_map(|(at, pair)| {
        let [(upper, upper_rows), (lower, lower_rows)] = pair else { return None };
        let below = stack.get(at + 2);
        choose_direction((**upper, **upper_rows), (**lower, **lower_rows), below)
    });
    pairs.min_by_key(|pair| pair.cost)
}

/// `clear` makes all metadata void from a layer on, so where it lies between the two not each of them can
/// take in the other; where the one that can is much the smaller one, they stay two.
fn choose_direction(
    (upper, upper_rows): (StackEntry, LayerRow),
    (lower, lower_rows): (StackEntry, LayerRow),
    below: Option<&StackEntry>,
) -> Option<Pair> {
    if upper_rows.stacks > 1 || lower_rows.stacks > 1 {
        return None;
    }
    let is_same = upper.metadata_void == lower.metadata_void;
    let down = is_same || !upper.metadata_void && upper_rows.metadata_rows == 0;
    let up = is_same || upper.metadata_void || below.is_none_or(|entry| entry.metadata_void);
    let (down_cost, up_cost) = (cost(upper_rows), cost(lower_rows));
    let (direction, cost, rows) = match (down, up) {
        (true, true) if down_cost <= up_cost => (Direction::Down, down_cost, upper_rows.all()),
        (true, false) => (Direction::Down, down_cost, upper_rows.all()),
        (_, true) => (Direction::Up, up_cost, lower_rows.all()),
        (false, false) => return None,
    };
    let is_cheap = cost <= down_cost.min(up_cost).saturating_mul(2).max(ABSORBED_ROWS_FEW);
    is_cheap.then_some(Pair { upper, lower, direction, to_bottom: below.is_none(), rows, cost })
}

impl Group<'_> {
    /// Moves some rows; what dies, dies with the last applied change.
    pub(crate) fn continue_absorbing(
        &mut self,
        job: &AbsorbJob,
        applied: Sequence,
        mut budget: Budget,
    ) -> Result<AbsorbOutcome, IndexError> {
        self.die_at(applied);
        let Some(header) = self.header_if_any(job.dataset)? else {
            return Ok(AbsorbOutcome::Done);
        };
        // A copy that was made meanwhile may have come to share them.
        let rows = self.layer_rows(&header)?;
        let Some(pair) = choose(&header.stack, &rows) else {
            self.look_again(job.dataset);
            return Ok(AbsorbOutcome::Done);
        };
        // A text counts down to its file's row: below that it counts for nobody. So all rows go first.
        if self.move_files(&pair, &mut budget)? && self.move_texts(&pair, &mut budget)? {
            self.take_off(header, pair.source())?;
            return Ok(AbsorbOutcome::Done);
        }
        Ok(AbsorbOutcome::More(AbsorbJob { dataset: job.dataset, rows: pair.rows }))
    }

    /// An emptied layer leaves the stack; what is left may want more.
    fn take_off(&mut self, mut header: Dataset, layer: LayerId) -> Result<(), IndexError> {
        header.stack.retain(|entry| entry.layer != layer);
        self.release_swept(layer)?;
        self.put_restacked(header);
        Ok(())
    }

    /// Moves rows of files with their metadata; tells whether these were all.
    fn move_files(&mut self, pair: &Pair, budget: &mut Budget) -> Result<bool, IndexError> {
        let mut rows = Vec::new();
        let from = pair.source();
        let range = (from.0, "")..(from.0 + 1, "");
        for row in self.file_table().range::<(u64, &str)>(range)?.take(budget.rows + 1) {
            let (key, row) = row?;
            rows.push((key.value().1.to_owned(), FileRow::decode(row.value())?));
        }
        for (name, row) in &rows {
            if budget.is_spent() {
                return Ok(false);
            }
            budget.spend(name, self.move_file(pair, name, row)?);
        }
        Ok(true)
    }

    /// Moves the row of a file; gives the bytes of its metadata.
    fn move_file(&mut self, pair: &Pair, name: &str, row: &FileRow) -> Result<usize, IndexError> {
        let (upper, lower) = (pair.upper.layer, pair.lower.layer);
        let hides_nothing = pair.to_bottom && *row == FileRow::Tombstone;
        match pair.direction {
            Direction::Down => {
                let hidden = self.remove_said(lower, name)?;
                if hides_nothing {
                    return Ok(hidden + self.remove_said(upper, name)?);
                }
                let moved = self.move_text(pair, name)?;
                self.move_row((upper, lower), name, row)?;
                Ok(hidden + moved)
            }
            Direction::Up => match self.row_of(upper, name)? {
                Some(FileRow::Tombstone) if pair.to_bottom => {
                    Ok(self.remove_said(lower, name)? + self.remove_said(upper, name)?)
                }
                Some(FileRow::File(_) | FileRow::Tombstone) => self.remove_said(lower, name),
                None if hides_nothing => self.remove_said(lower, name),
                None => {
                    let moved = self.move_text(pair, name)?;
                    self.move_row((lower, upper), name, row)?;
                    Ok(moved)
                }
            },
        }
    }

    /// Removes what a layer says of a name; gives the bytes of its metadata.
    fn remove_said(&mut self, layer: LayerId, name: &str) -> Result<usize, IndexError> {
        let bytes = self.take_text(layer, name)?.map_or(0, |text| text.len());
        self.remove_row(layer, name)?;
        Ok(bytes)
    }

    /// Moves metadata of files whose rows lie below both layers, or what counts for nobody; tells whether
    /// that was all.
    fn move_texts(&mut self, pair: &Pair, budget: &mut Budget) -> Result<bool, IndexError> {
        let from = pair.source();
        let mut names = Vec::new();
        let range = (from.0, "")..(from.0 + 1, "");
        for row in self.metadata_table().range::<(u64, &str)>(range)?.take(budget.rows + 1) {
            names.push(row?.0.value().1.to_owned());
        }
        for name in &names {
            if budget.is_spent() {
                return Ok(false);
            }
            budget.spend(name, self.move_text(pair, name)?);
        }
        Ok(true)
    }

    /// Moves what the source says of a name's metadata, if that counts; gives its bytes.
    fn move_text(&mut self, pair: &Pair, name: &str) -> Result<usize, IndexError> {
        let Some(text) = self.take_text(pair.source(), name)? else { return Ok(0) };
        if pair.has_void_metadata() {
            return Ok(text.len());
        }
        let (upper, lower) = (pair.upper.layer, pair.lower.layer);
        match pair.direction {
            Direction::Down => self.put_text(lower, name, &text)?,
            // What the upper one says of the name counts, of the file or its metadata.
            Direction::Up if self.says_of(upper, name)? => {}
            Direction::Up => self.put_text(upper, name, &text)?,
        }
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests;
