//! The memory of texts that wait: metadata and descriptions on their way from a caller through a
//! dataset's actor into the journal.
//!
//! Each may have a mebibyte and more, and a dataset that stands still lets thousands of changes wait.

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
pub(super) struct Texts(Semaphore);

impl Default for Texts {
    fn default() -> Self {
        Self(Semaphore::new(usize::try_from(UNITS).unwrap_or(usize::MAX)))
    }
}

impl Texts {
    /// Room for a text of so many bytes, until it is dropped; one that is longer than all of it waits
    /// alone.
    ///
    /// # Errors
    /// `Busy`: there is none.
    pub(super) fn room(&self, bytes: usize) -> Result<SemaphorePermit<'_>, MutationError> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(UNITS).min(UNITS);
        let waiting = usize::try_from(UNITS).unwrap_or(usize::MAX) - self.0.available_permits();
        let busy = |_none_left| MutationError::Busy { what: "the server", waiting };
        self.0.try_acquire_many(units).map_err(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_wait_as_long_as_there_is_room() {
        let texts = Texts::default();
        let bytes = usize::try_from(TEXT_BYTES_QUEUED_MAX).unwrap();
        let (half, other) = (texts.room(bytes / 2).unwrap(), texts.room(bytes / 2).unwrap());
        assert!(matches!(texts.room(1), Err(MutationError::Busy { .. })));
        drop((half, other));
        let all = texts.room(bytes * 2).unwrap();
        assert!(texts.room(1).is_err());
        drop(all);
        assert!(texts.room(0).is_ok());
    }
}
