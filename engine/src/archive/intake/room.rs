//! Memory for the names of all archives that come in: each is known by its names until it is added,
//! and a million names that may have 4,096 bytes each would be more than a machine has. Merges take
//! theirs for the names that they suffix from the same memory.
//!
//! Nobody waits for it: who holds some goes on holding it, so waiting could be for ever. A tar that is
//! taken in while it arrives holds it for as long as its sender likes. So such have a pool of their own,
//! of which none may have all, and a small archive needs nothing of any pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{IntakeError, MutationError};
use crate::limits::{
    INTAKE_FILE_MEMORY_BYTES, INTAKE_NAMES_FREE_BYTES, INTAKE_NAMES_MEMORY_BYTES,
    INTAKE_STREAMED_NAMES_MEMORY_BYTES,
};

/// The memory of all archives under way; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Rooms {
    /// Of those that are there whole before their names are read, and of merges.
    pub(crate) whole: Pool,
    /// Of those that are read while they arrive.
    pub(crate) streamed: Pool,
}

impl Default for Rooms {
    fn default() -> Self {
        let archive_bytes_max = INTAKE_NAMES_MEMORY_BYTES;
        Self {
            whole: Pool::new(INTAKE_NAMES_MEMORY_BYTES, archive_bytes_max),
            streamed: Pool::new(INTAKE_STREAMED_NAMES_MEMORY_BYTES, archive_bytes_max),
        }
    }
}

/// Memory that archives share.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    used: Arc<AtomicU64>,
    bytes_max: u64,
    archive_bytes_max: u64,
}

impl Pool {
    /// So much for all, and so much for one of them.
    pub(crate) fn new(bytes_max: u64, archive_bytes_max: u64) -> Self {
        Self { used: Arc::default(), bytes_max, archive_bytes_max }
    }

    /// The part of one archive, with nothing in it so far.
    pub(crate) fn begin(&self) -> Room {
        Room { pool: self.clone(), bytes: 0 }
    }
}

/// What one archive has of it; given back on drop.
#[derive(Debug)]
pub(crate) struct Room {
    pool: Pool,
    bytes: u64,
}

impl Room {
    /// Takes what so many files need whose names have so many bytes together.
    ///
    /// # Errors
    /// `TooLarge` if one archive cannot have as much, whoever else is there; otherwise `Busy` if
    /// others have too much of it now.
    pub(crate) fn grow(&mut self, files: u64, names_bytes: u64) -> Result<(), IntakeError> {
        let what = "the memory for the names of its members";
        self.take(files, names_bytes).map_err(|none| match none {
            NoRoom::TooLarge { actual, limit } => IntakeError::TooLarge { what, actual, limit },
            NoRoom::Busy => busy().into(),
        })
    }

    /// As [`Self::grow`], of the names that a merge suffixes.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn grow_of_merge(&mut self, name_bytes: u64) -> Result<(), MutationError> {
        let what = "the memory for the names that the merge has to suffix";
        self.take(1, name_bytes).map_err(|none| match none {
            NoRoom::TooLarge { actual, limit } => MutationError::TooLarge { what, actual, limit },
            NoRoom::Busy => busy(),
        })
    }

    fn take(&mut self, files: u64, names_bytes: u64) -> Result<(), NoRoom> {
        // A name is kept where its file is and where it is looked for.
        let names_bytes = names_bytes.saturating_mul(2);
        let more = files.saturating_mul(INTAKE_FILE_MEMORY_BYTES).saturating_add(names_bytes);
        let wanted = self.bytes.saturating_add(more);
        let Pool { used, bytes_max, archive_bytes_max } = &self.pool;
        if wanted > *archive_bytes_max {
            return Err(NoRoom::TooLarge { actual: wanted, limit: *archive_bytes_max });
        }
        let more = counted(wanted) - counted(self.bytes);
        self.bytes = wanted;
        if more == 0 || used.fetch_add(more, Ordering::Relaxed).saturating_add(more) <= *bytes_max {
            return Ok(());
        }
        // What was taken too much goes back with the archive, which is over.
        Err(NoRoom::Busy)
    }
}

/// Why there is no more of it.
#[derive(Debug)]
enum NoRoom {
    /// For this one, whoever else is there.
    TooLarge { actual: u64, limit: u64 },
    /// Now.
    Busy,
}

fn busy() -> MutationError {
    MutationError::Busy { what: "the memory for names of archives and merges", waiting: 0 }
}

/// What an archive with so many bytes of names takes from its pool.
fn counted(bytes: u64) -> u64 {
    bytes.saturating_sub(INTAKE_NAMES_FREE_BYTES)
}

impl Drop for Room {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(counted(self.bytes), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_share_the_memory_and_one_that_is_too_large_by_itself_is_told_so() {
        let bytes = INTAKE_NAMES_FREE_BYTES + 10 * INTAKE_FILE_MEMORY_BYTES;
        let pool = Pool::new(10 * INTAKE_FILE_MEMORY_BYTES, bytes);
        let (mut first, mut second) = (pool.begin(), pool.begin());
        first.grow(4, INTAKE_NAMES_FREE_BYTES / 2 + INTAKE_FILE_MEMORY_BYTES).unwrap();
        second.grow(4, INTAKE_NAMES_FREE_BYTES / 2).unwrap();
        let busy = second.grow(1, 0).unwrap_err();
        assert!(matches!(busy, IntakeError::Mutation(MutationError::Busy { .. })), "{busy}");
        let too_large = first.grow(5, 0).unwrap_err();
        assert!(matches!(too_large, IntakeError::TooLarge { .. }), "{too_large}");
        drop(second);
        first.grow(4, 0).unwrap();
        drop(first);
        assert_eq!(pool.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_archive_that_arrives_slowly_keeps_others_out() {
        let rooms = Rooms::default();
        let ordinary = (100_000, 100_000 * 100);
        let mut slow = rooms.streamed.begin();
        // As much as one may have at all.
        while slow.grow(1000, 1_000_000).is_ok() {}
        let mut beside = [&rooms.streamed, &rooms.whole].map(Pool::begin);
        for room in &mut beside {
            room.grow(ordinary.0, ordinary.1).unwrap();
        }
        let slower: Vec<Room> = (0..8)
            .map(|_| {
                let mut room = rooms.streamed.begin();
                while room.grow(1000, 0).is_ok() {}
                room
            })
            .collect();
        let mut late = rooms.streamed.begin();
        late.grow(INTAKE_NAMES_FREE_BYTES / INTAKE_FILE_MEMORY_BYTES, 0)
            .expect("a small one is taken whoever has the memory");
        let busy = late.grow(1000, 0).unwrap_err();
        assert!(matches!(busy, IntakeError::Mutation(MutationError::Busy { .. })), "{busy}");
        rooms.whole.begin().grow(ordinary.0, ordinary.1).unwrap();
        drop((slow, beside, slower, late));
        assert_eq!(rooms.streamed.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_million_files_have_room_while_they_arrive_and_when_they_are_there() {
        let Rooms { whole, streamed } = Rooms::default();
        for pool in [whole, streamed] {
            pool.begin().grow(1_000_000, 1_000_000 * 100).unwrap();
        }
    }
}
