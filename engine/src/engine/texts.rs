//! The memory of texts that wait: metadata and descriptions on their way from a caller through a
//! dataset's actor into the journal.
//!
//! Each may have a mebibyte and more, and a dataset that stands still lets thousands of changes wait.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::MutationError;
use crate::limits::TEXT_BYTES_QUEUED_MAX;

/// Bytes of one unit; shorter texts count as one.
const UNIT_BYTES: usize = 1 << 10;

/// The units of all texts at a time.
const UNITS: u32 = unit_count(TEXT_BYTES_QUEUED_MAX);

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "some thousands")]
const fn unit_count(bytes: u64) -> u32 {
    (bytes / UNIT_BYTES as u64) as u32
}

/// Room for texts that wait.
#[derive(Debug)]
pub(super) struct Texts {
    free: Semaphore,
    waiting: AtomicUsize,
}

/// Room for one text, until it is dropped.
#[derive(Debug)]
pub(super) struct Room<'a> {
    _units: SemaphorePermit<'a>,
    texts: &'a Texts,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.texts.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Texts {
    fn default() -> Self {
        let free = Semaphore::new(usize::try_from(UNITS).unwrap_or(usize::MAX));
        Self { free, waiting: AtomicUsize::new(0) }
    }
}

impl Texts {
    /// Room for a text of so many bytes; one that is longer than all of it waits alone. What waits
    /// behind others of its dataset, which may stand still, leaves a quarter to the other datasets.
    ///
    /// # Errors
    /// `Busy`: there is none.
    pub(super) fn room(&self, bytes: usize, is_behind: bool) -> Result<Room<'_>, MutationError> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(UNITS).min(UNITS);
        let left = if is_behind { UNITS / 4 } else { 0 };
        let needed = usize::try_from(units.saturating_add(left)).unwrap_or(usize::MAX);
        let has_room = !is_behind || self.free.available_permits() >= needed;
        let taken = self.free.try_acquire_many(units).ok().filter(|_| has_room);
        let waiting = self.waiting.load(Ordering::Relaxed);
        let Some(units) = taken else {
            return Err(MutationError::Busy { what: "the server", waiting });
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(Room { _units: units, texts: self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_wait_as_long_as_there_is_room() {
        let texts = Texts::default();
        let bytes = usize::try_from(TEXT_BYTES_QUEUED_MAX).unwrap();
        let half = || texts.room(bytes / 2, false).unwrap();
        let both = (half(), half());
        assert!(matches!(texts.room(1, false), Err(MutationError::Busy { waiting: 2, .. })));
        drop(both);
        let all = texts.room(bytes * 2, false).unwrap();
        assert!(texts.room(1, false).is_err());
        drop(all);
        assert!(texts.room(0, false).is_ok());
    }

    #[test]
    fn a_dataset_that_stands_still_leaves_room_to_the_others() {
        let texts = Texts::default();
        let eighth = usize::try_from(TEXT_BYTES_QUEUED_MAX / 8).unwrap();
        let mut waiting = vec![texts.room(eighth, false).unwrap()];
        while let Ok(room) = texts.room(eighth, true) {
            waiting.push(room);
        }
        assert_eq!(waiting.len(), 6);
        assert!(texts.room(2 * eighth, false).is_ok(), "of another dataset");
    }
}
