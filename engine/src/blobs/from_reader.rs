//! A content that comes from a reader: a member of an archive.

use std::io::{self, Read};
use std::sync::Arc;

use crate::error::{MutationError, ReadError};
use crate::limits::{INTAKE_MEMORY_WAIT_MAX, UPLOAD_FIRST_BYTES};
use crate::model::Digest;

use super::stage::{Arrival, StagedBlob};
use super::{Blobs, capped};

/// Why a content was not taken from a reader.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error("the content is longer than {limit} bytes")]
    TooLong { limit: u64 },
    /// The reader's matter: bad input, as a rule.
    #[error("the content cannot be read")]
    Reader(#[source] io::Error),
    /// Ours.
    #[error(transparent)]
    Mutation(MutationError),
}

impl Blobs {
    /// Takes a content from a reader, to its end and at most `length_max` bytes of it. Blocks.
    ///
    /// Waits for memory for an instant only; where there is none, the content goes to a file, and
    /// one buffer of [`UPLOAD_FIRST_BYTES`] is held beyond the budget until the call returns.
    pub(crate) fn stage_reader(
        self: &Arc<Self>,
        reader: &mut dyn Read,
        length_max: u64,
        known: &dyn Fn(&Digest) -> Result<bool, ReadError>,
    ) -> Result<StagedBlob, StageError> {
        let too_long = || StageError::TooLong { limit: length_max };
        let first = capped(length_max, UPLOAD_FIRST_BYTES);
        let share = self.budget.acquire_blocking(first, INTAKE_MEMORY_WAIT_MAX);
        let mut arrival = Arrival::new(Arc::clone(self), share.unwrap_or_default(), first);
        loop {
            if arrival.is_full() {
                // Only a byte that is there is worth more memory or a file.
                let Some(byte) = next_byte(reader).map_err(StageError::Reader)? else {
                    break;
                };
                if arrival.length() >= length_max {
                    return Err(too_long());
                }
                if !arrival.push(&[byte]).is_empty() {
                    arrival.spill().map_err(StageError::Mutation)?;
                    arrival.push(&[byte]);
                }
            }
            let left = length_max.saturating_sub(arrival.length());
            let has_more =
                arrival.fill_from(reader, left.saturating_add(1)).map_err(StageError::Reader)?;
            if arrival.length() > length_max {
                return Err(too_long());
            }
            if !has_more {
                break;
            }
        }
        arrival.finish(known).map_err(StageError::Mutation)
    }
}

/// The reader's next byte; `None` at its end.
fn next_byte(reader: &mut dyn Read) -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match reader.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::budget::Budget;
    use super::super::byte_count;
    use super::super::memory_disk::MemoryDisk;
    use super::*;

    const MIB: usize = 1 << 20;

    /// Contents with a budget of so many bytes, for which nobody waits.
    fn blobs(disk: &Arc<MemoryDisk>, budget_bytes: usize) -> Arc<Blobs> {
        let budget = Budget::for_all(budget_bytes, Duration::ZERO);
        Blobs::with_budget(disk.clone(), 7, budget)
    }

    fn content(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    #[test]
    fn a_reader_is_taken_to_its_end_whatever_its_length() {
        for budget_bytes in [8 * MIB, 3 << 10, 0] {
            for length in [0, 1, 4_096, 65_536, 65_537, MIB, MIB + 1, 3 * MIB] {
                for length_max in [byte_count(length), u64::MAX] {
                    let disk = MemoryDisk::prepared();
                    let blobs = blobs(&disk, budget_bytes);
                    let content = content(length);
                    let blob = blobs
                        .stage_reader(&mut content.as_slice(), length_max, &|_| Ok(false))
                        .unwrap();
                    assert_eq!(blob.digest(), Digest::of(&content));
                    assert_eq!(blob.length(), byte_count(length));
                    assert_eq!(blob.crc32(), crc32fast::hash(&content));
                    assert!(blob.compressible() || length > 100);
                    let is_in_memory = disk.paths().is_empty();
                    if budget_bytes == 8 * MIB {
                        assert_eq!(is_in_memory, length <= MIB, "{length} bytes");
                    }
                    drop(blob);
                    assert_eq!(disk.paths(), [""; 0]);
                    assert_eq!(blobs.budget.available(), budget_bytes);
                }
            }
        }
    }

    #[test]
    fn a_reader_that_goes_on_too_long_or_breaks_is_told_from_our_own_failures() {
        let disk = MemoryDisk::prepared();
        let blobs = blobs(&disk, 8 * MIB);
        for (length, length_max) in [(1, 0), (11, 10), (MIB + 1, MIB), (3 * MIB, 2 * MIB)] {
            let refused = blobs.stage_reader(
                &mut content(length).as_slice(),
                byte_count(length_max),
                &|_| Ok(false),
            );
            assert!(matches!(refused, Err(StageError::TooLong { .. })), "{length}");
        }
        let start = content(100_000);
        let broken = &mut start.as_slice().chain(Broken);
        let refused = blobs.stage_reader(broken, u64::MAX, &|_| Ok(false));
        assert!(matches!(refused, Err(StageError::Reader(_))));
        disk.fail_with("write", io::ErrorKind::StorageFull);
        let refused =
            blobs.stage_reader(&mut content(2 * MIB).as_slice(), u64::MAX, &|_| Ok(false));
        let is_full = matches!(refused, Err(StageError::Mutation(MutationError::OutOfSpace)));
        assert!(is_full);
        assert_eq!(disk.paths(), [""; 0]);
        assert_eq!(blobs.budget.available(), 8 * MIB);
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}
