//! Memory for the names of all archives that come in: each is known by its names until it is added,
//! and a million names that may have 4,096 bytes each would be more than a machine has.
//!
//! Nobody waits for it: who holds some goes on holding it, so waiting could be for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::within;
use crate::error::{IntakeError, MutationError};
use crate::limits::{INTAKE_FILE_MEMORY_BYTES, INTAKE_NAMES_MEMORY_BYTES};

/// The memory of all archives under way; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Rooms {
    used: Arc<AtomicU64>,
    bytes_max: u64,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { used: Arc::default(), bytes_max: INTAKE_NAMES_MEMORY_BYTES }
    }
}

impl Rooms {
    /// The part of one archive, with nothing in it so far.
    pub(crate) fn begin(&self) -> Room {
        Room { rooms: self.clone(), bytes: 0 }
    }
}

/// What one archive has of it; given back on drop.
#[derive(Debug)]
pub(crate) struct Room {
    rooms: Rooms,
    bytes: u64,
}

impl Room {
    /// Takes what so many files need whose names have so many bytes together.
    ///
    /// # Errors
    /// `TooLarge` if one archive cannot have as much, whoever else is there; otherwise `Busy` if
    /// others have too much of it now.
    pub(crate) fn grow(&mut self, files: u64, names_bytes: u64) -> Result<(), IntakeError> {
        // A name is kept where its file is and where it is looked for.
        let names_bytes = names_bytes.saturating_mul(2);
        let more = files.saturating_mul(INTAKE_FILE_MEMORY_BYTES).saturating_add(names_bytes);
        let wanted = self.bytes.saturating_add(more);
        within("the memory for the names of its members", wanted, self.rooms.bytes_max)?;
        let used = self.rooms.used.fetch_add(more, Ordering::Relaxed);
        self.bytes = wanted;
        if used.saturating_add(more) <= self.rooms.bytes_max {
            return Ok(());
        }
        // What was taken too much goes back with the archive, which is over.
        let what = "the memory for names of archives";
        Err(MutationError::Busy { what, waiting: 0 }.into())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rooms.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_share_the_memory_and_one_that_is_too_large_by_itself_is_told_so() {
        let rooms = Rooms { bytes_max: 10 * INTAKE_FILE_MEMORY_BYTES, ..Rooms::default() };
        let (mut first, mut second) = (rooms.begin(), rooms.begin());
        first.grow(4, INTAKE_FILE_MEMORY_BYTES).unwrap();
        second.grow(4, 0).unwrap();
        let busy = second.grow(1, 0).unwrap_err();
        assert!(matches!(busy, IntakeError::Mutation(MutationError::Busy { .. })), "{busy}");
        let too_large = first.grow(5, 0).unwrap_err();
        assert!(matches!(too_large, IntakeError::TooLarge { .. }), "{too_large}");
        drop(second);
        first.grow(4, 0).unwrap();
        drop(first);
        assert_eq!(rooms.used.load(Ordering::Relaxed), 0);
    }
}
