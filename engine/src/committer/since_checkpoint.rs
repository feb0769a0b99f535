//! When the next checkpoint is due.

use std::time::{Duration, Instant};

use crate::limits::{
    CHECKPOINT_AFTER, CHECKPOINT_JOURNAL_BYTES, CHECKPOINT_ROWS, CHECKPOINT_ROWS_MIN,
    CHECKPOINT_TIME_AIM,
};

/// Bytes of pages that one row changes at most: its own, that of the content, those above them.
const MOST_PAGES_BYTES: u64 = 16 << 10;

/// What happened since the last checkpoint.
///
/// Changes other than firm new files wait while one is made, and so do reads of what was just added:
/// its length is a stall that clients see. With few contents many rows share a page; beside millions
/// nearly each dirties one of its own, and the same number of rows takes many times as long. So
/// where checkpoints take long they are made after fewer rows.
#[derive(Debug)]
pub(super) struct SinceCheckpoint {
    journal_bytes: u64,
    rows: u64,
    first: Option<Instant>,
    /// Rows after which the next one is due.
    rows_max: u64,
}

impl Default for SinceCheckpoint {
    fn default() -> Self {
        Self { journal_bytes: 0, rows: 0, first: None, rows_max: CHECKPOINT_ROWS }
    }
}

impl SinceCheckpoint {
    pub(super) fn note(&mut self, journal_bytes: u64, rows: u64) {
        self.journal_bytes += journal_bytes;
        self.rows += rows;
        self.first.get_or_insert_with(Instant::now);
    }

    /// Bytes that opening would replay.
    pub(super) fn journal_bytes(&self) -> u64 {
        self.journal_bytes
    }

    /// Whether anything happened.
    pub(super) fn is_something(&self) -> bool {
        self.first.is_some()
    }

    pub(super) fn is_due(&self) -> bool {
        self.journal_bytes >= CHECKPOINT_JOURNAL_BYTES
            || self.rows >= self.rows_max
            || self.first.is_some_and(|first| first.elapsed() >= CHECKPOINT_AFTER)
    }

    /// Bytes of the index's pages that may have been changed so far, each of which is in the file twice
    /// until the next checkpoint is durable.
    pub(super) fn page_bytes(&self) -> u64 {
        self.rows.saturating_mul(MOST_PAGES_BYTES)
    }

    /// Whether so much has happened that changes wait until the checkpoint before is durable.
    pub(super) fn is_overdue(&self) -> bool {
        self.journal_bytes >= CHECKPOINT_JOURNAL_BYTES * 2 || self.rows >= self.rows_max * 2
    }

    /// Begins anew after a checkpoint that took so long.
    pub(super) fn checkpointed(&mut self, took: Duration) {
        let rows_max = if took > CHECKPOINT_TIME_AIM * 2 {
            (self.rows_max / 2).max(CHECKPOINT_ROWS_MIN)
        } else if took < CHECKPOINT_TIME_AIM && self.rows >= self.rows_max {
            (self.rows_max * 2).min(CHECKPOINT_ROWS)
        } else {
            self.rows_max
        };
        *self = Self { rows_max, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(200);
    const QUICK: Duration = Duration::from_millis(5);

    fn after(took: &[Duration]) -> u64 {
        let mut since = SinceCheckpoint::default();
        for took in took {
            since.note(1, since.rows_max);
            assert!(since.is_due());
            since.checkpointed(*took);
            assert!(!since.is_due() && !since.is_something());
        }
        since.rows_max
    }

    #[test]
    fn slow_checkpoints_come_after_fewer_rows_within_bounds() {
        assert_eq!(after(&[QUICK; 5]), CHECKPOINT_ROWS);
        assert_eq!(after(&[SLOW]), CHECKPOINT_ROWS / 2);
        assert_eq!(after(&[SLOW; 20]), CHECKPOINT_ROWS_MIN);
        assert_eq!(after(&[SLOW, CHECKPOINT_TIME_AIM]), CHECKPOINT_ROWS / 2);
        assert_eq!(after(&[SLOW, SLOW, QUICK]), CHECKPOINT_ROWS / 2);
        assert_eq!(after(&[[SLOW; 10], [QUICK; 10]].concat()), CHECKPOINT_ROWS);
    }

    #[test]
    fn bytes_make_one_due_whatever_the_rows() {
        let mut since = SinceCheckpoint::default();
        since.note(CHECKPOINT_JOURNAL_BYTES - 1, 1);
        assert!(!since.is_due());
        since.note(1, 0);
        assert!(since.is_due());
    }

    #[test]
    fn twice_as_much_as_makes_one_due_makes_it_overdue() {
        for (bytes, rows) in [(CHECKPOINT_JOURNAL_BYTES, 0), (1, CHECKPOINT_ROWS)] {
            let mut since = SinceCheckpoint::default();
            since.note(bytes, rows);
            assert!(since.is_due() && !since.is_overdue());
            since.note(bytes, rows);
            assert!(since.is_overdue());
        }
    }
}
