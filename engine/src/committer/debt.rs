//! What the index on the disk still has to take: rows that the journal has and no checkpoint holds.
//!
//! The index's pages need their space when they are written, which is after the changes were
//! answered: then a full disk would be a failure of the index, and the end of all changes (I7). So
//! that space counts as used from the moment that a change goes to the journal.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::Promises;
use crate::sync::Mutex;

/// Bytes that a row takes beside the names in it, with the rows that follow from it and what pages
/// leave free.
const ROW_BYTES: u64 = 512;

/// Rows whose old and new pages are there at the same time at most: those of one transaction.
const ROWS_AT_ONCE_MAX: u64 = 4096;

/// Bytes of new pages for one row mostly: that of its file, that of its content. What one
/// row may change at most (`since_checkpoint.rs`) would be promised in vain for thousands.
const USUAL_PAGES_BYTES: u64 = 8 << 10;

/// What a group leaves the index to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Debt {
    pub(crate) rows: u64,
    /// Bytes of the changes as the journal has them, names above all.
    pub(crate) change_bytes: u64,
}

impl Debt {
    pub(crate) fn plus(self, more: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(more.rows),
            change_bytes: self.change_bytes.saturating_add(more.change_bytes),
        }
    }

    fn minus(self, less: Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(less.rows),
            change_bytes: self.change_bytes.saturating_sub(less.change_bytes),
        }
    }

    /// Bytes of the disk that the index may take for it.
    pub(super) fn space(self) -> u64 {
        let pages = self.rows.min(ROWS_AT_ONCE_MAX).saturating_mul(USUAL_PAGES_BYTES);
        self.grown().saturating_add(pages)
    }

    /// Bytes that it grows by; not those of pages that are there twice until a checkpoint.
    pub(super) fn grown(self) -> u64 {
        let Self { rows, change_bytes } = self;
        // A name is in the row of its file and in that of its content.
        rows.saturating_mul(ROW_BYTES).saturating_add(change_bytes.saturating_mul(2))
    }
}

/// The debt of all groups that are in the journal and in no checkpoint, shared by both threads. The
/// space for it is promised.
#[derive(Debug)]
pub(crate) struct Debts {
    all: Mutex<Debt>,
    promises: Promises,
    /// Whether files are on their way to be removed, which gives space back.
    is_removing: AtomicBool,
}

impl Debts {
    pub(super) fn new(promises: Promises) -> Self {
        Self { all: Mutex::default(), promises, is_removing: AtomicBool::new(false) }
    }

    pub(super) fn note_removing(&self, is_removing: bool) {
        self.is_removing.store(is_removing, Ordering::Release);
    }

    pub(super) fn is_removing(&self) -> bool {
        self.is_removing.load(Ordering::Acquire)
    }

    /// Notes what a group leaves, before it goes to the index thread.
    pub(super) fn incur(&self, debt: Debt) {
        self.change(|all| all.plus(debt));
    }

    /// Notes that a checkpoint holds it.
    pub(super) fn pay(&self, debt: Debt) {
        self.change(|all| all.minus(debt));
    }

    fn change(&self, change: impl FnOnce(Debt) -> Debt) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        *all = change(*all);
        self.promises.set(all.space());
    }

    /// Whether the index still has anything to take.
    pub(super) fn is_something(&self) -> bool {
        self.promises.bytes() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_incurred_takes_space_until_it_is_paid() {
        let promises = Promises::default();
        let debts = Debts::new(promises.clone());
        assert!(!debts.is_something());
        let (small, large) =
            (Debt { rows: 1, change_bytes: 100 }, Debt { rows: 100_000, change_bytes: 10 << 20 });
        debts.incur(small);
        assert_eq!(promises.bytes(), 512 + 200 + 8192);
        debts.incur(large);
        assert_eq!(promises.bytes(), small.plus(large).space());
        // Of many rows, which go to the index in many transactions, those of one count with pages.
        assert_eq!(large.space(), 100_000 * 512 + (20 << 20) + 4096 * 8192);
        debts.pay(large);
        debts.pay(small);
        assert_eq!(promises.bytes(), 0);
    }
}
