//! The audit log's rows: appended with the changes that they tell of, read in pages, rotated away
//! from the front.
//!
//! Rows are only ever added behind the last one, which is the cheapest insertion that a B-tree has,
//! and all of a group at once: those of a large one without a descent each. Rotation has no record in
//! the journal: a crash brings rows back whose time is over, and they go again.

use std::ops::Bound;
use std::time::Duration;

use redb::{ReadableTable, Table, WriteTransaction};

use super::snapshot::Snapshot;
use super::{Index, IndexError, tables};
use crate::codec;
use crate::error::ReadError;
use crate::limits::{AUDIT_ROWS_VISITED_MAX, BACKGROUND_ROWS_MAX};
use crate::model::audit::AuditRow;
use crate::model::{AuditEntry, Timestamp};

/// Kind of number that counts entries.
pub(crate) const NUMBER: &str = "audit";

/// Kind of number that says what all rows take, in bytes.
pub(crate) const BYTES: &str = "audit bytes";

/// Rows of a group from which on a cursor writes them. It makes the last page and the one above it anew
/// however few there are, which costs twice as much as inserting a single one; from here on half as much.
const CURSOR_ROWS_MIN: usize = 32;

/// Bytes of a row's key.
const KEY_BYTES: u64 = 8;

/// How much of the audit log is kept; what goes beyond either bound goes, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLimits {
    /// How long an entry is kept at most.
    pub keep: Duration,
    /// Bytes that all entries take at most.
    pub bytes: u64,
}

/// Bytes of the row with this value.
pub(crate) fn row_bytes(value: &[u8]) -> u64 {
    u64::try_from(value.len()).unwrap_or(u64::MAX).saturating_add(KEY_BYTES)
}

/// Writes what a group is to be remembered for: an encoded [`AuditRow`] each.
pub(super) fn append(txn: &WriteTransaction, told: &[Vec<u8>]) -> Result<(), IndexError> {
    if told.is_empty() {
        return Ok(());
    }
    let mut numbers = txn.open_table(tables::NUMBERS)?;
    let before = numbers.get(NUMBER)?.map_or(0, |last| last.value());
    let bytes = numbers.get(BYTES)?.map_or(0, |bytes| bytes.value());
    let mut table = txn.open_table(tables::AUDIT)?;
    let last = write(&mut table, before, told)?;
    numbers.insert(NUMBER, last)?;
    let added = told.iter().map(|value| row_bytes(value));
    numbers.insert(BYTES, added.fold(bytes, u64::saturating_add))?;
    Ok(())
}

/// Writes rows behind the one with this number; gives that of the last.
fn write(
    table: &mut Table<'_, u64, &'static [u8]>,
    before: u64,
    told: &[Vec<u8>],
) -> Result<u64, IndexError> {
    let mut last = before;
    // A cursor takes no row that is not behind all others, which in a damaged store it may not be.
    let is_behind = |table: &Table<'_, u64, _>| -> Result<bool, IndexError> {
        Ok(table.last()?.is_none_or(|(number, _)| number.value() <= before))
    };
    if told.len() >= CURSOR_ROWS_MIN && is_behind(table)? {
        let mut end = table.upper_bound_mut(Bound::<u64>::Unbounded)?;
        for value in told {
            last += 1;
            end.insert_before(last, value.as_slice())?;
        }
        end.close()?;
    } else {
        for value in told {
            last += 1;
            table.insert(last, value.as_slice())?;
        }
    }
    Ok(last)
}

/// What a step of rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotated {
    /// Rows that went.
    pub(crate) rows: u64,
    /// Number of the last row that went.
    pub(crate) last: u64,
    /// Whether there is more to do.
    pub(crate) more: bool,
}

/// Takes away some of what is beyond the limits, if anything is.
///
/// # Errors
/// The index failed.
pub(crate) fn rotate(
    index: &Index,
    limits: AuditLimits,
    now: Timestamp,
) -> Result<Option<Rotated>, IndexError> {
    {
        let txn = index.read()?;
        let bytes = txn.open_table(tables::NUMBERS)?.get(BYTES)?.map_or(0, |bytes| bytes.value());
        let first = txn.open_table(tables::AUDIT)?.first()?.map(|(_, row)| row.value().to_vec());
        let Some(first) = first else { return Ok(None) };
        if bytes <= limits.bytes && !is_over(&codec::decode(&first)?, limits, now) {
            return Ok(None);
        }
    }
    index.apply(|txn| rotate_step(txn, limits, now)).map(Some)
}

fn is_over(row: &AuditRow, limits: AuditLimits, now: Timestamp) -> bool {
    row.at.after(limits.keep) < now
}

fn rotate_step(
    txn: &WriteTransaction,
    limits: AuditLimits,
    now: Timestamp,
) -> Result<Rotated, IndexError> {
    let mut numbers = txn.open_table(tables::NUMBERS)?;
    let mut bytes = numbers.get(BYTES)?.map_or(0, |bytes| bytes.value());
    let mut table = txn.open_table(tables::AUDIT)?;
    let mut rotated = Rotated { rows: 0, last: 0, more: true };
    let mut going = Vec::new();
    for entry in table.iter()?.take(BACKGROUND_ROWS_MAX) {
        let (sequence, value) = entry?;
        let row: AuditRow = codec::decode(value.value())?;
        if bytes <= limits.bytes && !is_over(&row, limits, now) {
            rotated.more = false;
            break;
        }
        bytes = bytes.saturating_sub(row_bytes(value.value()));
        going.push(sequence.value());
    }
    for sequence in going {
        table.remove(sequence)?;
        rotated.rows += 1;
        rotated.last = sequence;
    }
    rotated.more &= table.first()?.is_some();
    numbers.insert(BYTES, bytes)?;
    Ok(rotated)
}

/// Which entries a reader wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditRange {
    /// Only those behind this one in the order asked for.
    pub after: Option<u64>,
    /// Whether the newest comes first.
    pub newest_first: bool,
    /// How many at most.
    pub limit: usize,
}

/// Some entries of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries, in the order asked for.
    pub entries: Vec<AuditEntry>,
    /// Behind which the next page goes on; `None` at the end.
    pub next: Option<u64>,
    /// Number of the oldest entry that there still is; those before it were rotated away.
    pub first: Option<u64>,
    /// Number of the newest entry.
    pub last: Option<u64>,
}

impl Snapshot {
    /// The entries of the audit log that `wanted` wants. A page ends early where it would visit more
    /// than 50,000 of them, and says where to go on.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn audit(
        &self,
        range: AuditRange,
        mut wanted: impl FnMut(&AuditEntry) -> bool,
    ) -> Result<AuditPage, ReadError> {
        let table = self.table(tables::AUDIT)?;
        let number = |row: Option<(redb::AccessGuard<'_, u64>, _)>| row.map(|(key, _)| key.value());
        let first = number(table.first().map_err(IndexError::from)?);
        let last = number(table.last().map_err(IndexError::from)?);
        let mut page = AuditPage { entries: Vec::new(), next: None, first, last };
        let (from, to) = match (range.after, range.newest_first) {
            (None, _) => (0, u64::MAX),
            (Some(after), false) => (after.saturating_add(1), u64::MAX),
            (Some(after), true) => (0, after.saturating_sub(1)),
        };
        let mut rows = table.range(from..=to).map_err(IndexError::from)?;
        let mut visited = 0;
        let mut behind = None;
        loop {
            let row = if range.newest_first { rows.next_back() } else { rows.next() };
            let Some(row) = row else { break };
            if visited >= AUDIT_ROWS_VISITED_MAX || page.entries.len() >= range.limit {
                page.next = behind;
                break;
            }
            let (sequence, value) = row.map_err(IndexError::from)?;
            let row = codec::decode(value.value()).map_err(IndexError::from)?;
            let AuditRow { at, origin, subject } = row;
            let entry = AuditEntry { sequence: sequence.value(), at, origin, subject };
            visited += 1;
            behind = Some(entry.sequence);
            if wanted(&entry) {
                page.entries.push(entry);
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;
    use crate::disk::{Disk, OpenMode};
    use crate::index::create_tables;

    fn new_index() -> Index {
        let disk: Arc<dyn Disk> = MemoryDisk::prepared();
        let index = Index::open(&disk, OpenMode::CreateNew, 1 << 20).unwrap();
        index.apply(create_tables).unwrap();
        index
    }

    /// Of different lengths, told apart by their numbers.
    fn rows(from: usize, count: usize) -> Vec<Vec<u8>> {
        (from..from + count).map(|at| at.to_string().repeat(1 + at % 40).into_bytes()).collect()
    }

    /// All rows in order, the number of the last that was given, and the bytes noted.
    fn kept(index: &Index) -> (Vec<(u64, Vec<u8>)>, u64, u64) {
        let txn = index.read().unwrap();
        let table = txn.open_table(tables::AUDIT).unwrap();
        let row = |row: Result<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>), _>| {
            let (number, value) = row.unwrap();
            (number.value(), value.value().to_vec())
        };
        let numbers = txn.open_table(tables::NUMBERS).unwrap();
        let number = |kind| numbers.get(kind).unwrap().map_or(0, |number| number.value());
        (table.iter().unwrap().map(row).collect(), number(NUMBER), number(BYTES))
    }

    #[test]
    fn rows_of_small_and_large_groups_follow_each_other() {
        let index = new_index();
        let few = CURSOR_ROWS_MIN - 1;
        let (mut given, mut bytes) = (0, 0);
        let mut all = Vec::new();
        for count in [1, few, CURSOR_ROWS_MIN, 2, 500, 3, 0, few, 100] {
            let told = rows(given, count);
            index.apply(|txn| append(txn, &told)).unwrap();
            given += count;
            bytes += told.iter().map(|value| row_bytes(value)).sum::<u64>();
            all.extend(told);
        }
        let numbered: Vec<(u64, Vec<u8>)> = (1..).zip(all).collect();
        let last = u64::try_from(given).unwrap();
        assert_eq!(kept(&index), (numbered, last, bytes));
    }

    #[test]
    fn numbers_go_on_where_all_rows_were_rotated_away() {
        let index = new_index();
        index.apply(|txn| append(txn, &rows(0, 100))).unwrap();
        let clear = |txn: &WriteTransaction| {
            txn.open_table(tables::AUDIT)?.retain(|_, _| false)?;
            Ok(())
        };
        index.apply(clear).unwrap();
        index.apply(|txn| append(txn, &rows(100, 50))).unwrap();
        let numbered: Vec<(u64, Vec<u8>)> = (101..).zip(rows(100, 50)).collect();
        assert_eq!((kept(&index).0, kept(&index).1), (numbered, 150));
    }

    #[test]
    fn rows_behind_those_that_were_numbered_hold_nothing_up() {
        let index = new_index();
        let stray = |txn: &WriteTransaction| {
            txn.open_table(tables::AUDIT)?.insert(7, b"stray".as_slice())?;
            Ok(())
        };
        index.apply(stray).unwrap();
        index.apply(|txn| append(txn, &rows(0, 100))).unwrap();
        let numbered: Vec<(u64, Vec<u8>)> = (1..).zip(rows(0, 100)).collect();
        assert_eq!((kept(&index).0, kept(&index).1), (numbered, 100));
    }
}
