//! How contents come in: from the network, chunk by chunk, or from a reader.
//!
//! Memory is bounded by the upload budget. An upload waits for its first share of it, at most a
//! while and holding nothing; from then on it only tries, and goes to a file where it is refused.
//! So uploads never wait for each other.

use std::io::{self, Read};
use std::sync::Arc;

use crate::error::{MutationError, ReadError};
use crate::limits::{FILE_BYTES_MAX, INLINE_BYTES_MAX, UPLOAD_FIRST_BYTES};
use crate::model::Digest;

use super::stage::{Arrival, StagedBlob, too_large};
use super::{Blobs, abandoned, capped, on_blocking_pool};

/// A content on its way in. Dropping it at any time leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    /// Gone after an error, or after a future of [`Upload::write`] was dropped half way.
    arrival: Option<Arrival>,
}

/// Why a content was not taken from a reader.
#[expect(
    missing_docs,
    reason = "the message documents a variant and its fields"
)]
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

impl Upload {
    /// Takes the next bytes of the content.
    ///
    /// # Errors
    /// [`MutationError::TooLarge`], [`MutationError::OutOfSpace`] or [`MutationError::Staging`];
    /// the upload is over then, and nothing of it remains.
    ///
    /// # Cancellation
    /// An upload whose write was dropped half way is over, as after an error.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), MutationError> {
        let mut arrival = self.arrival.take().ok_or_else(abandoned)?;
        arrival.check_length(chunk.len())?;
        let mut rest = arrival.push(chunk);
        while !rest.is_empty() {
            // The arrival goes along, so that a dropped future leaves no memory uncounted.
            arrival = on_blocking_pool(move || {
                arrival.spill()?;
                Ok(arrival)
            })
            .await?;
            rest = arrival.push(rest);
        }
        self.arrival = Some(arrival);
        Ok(())
    }

    /// Ends the content. `known` is asked once, after the digest was pinned (I3), whether the
    /// index holds it; its snapshot must be taken when it is asked, not before. For a large
    /// content it is asked on the blocking pool.
    ///
    /// # Durability
    /// A large content is on disk under its name (I2); a small one only in memory.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub(crate) async fn finish<F>(self, known: F) -> Result<StagedBlob, MutationError>
    where
        F: FnOnce(&Digest) -> Result<bool, ReadError> + Send + 'static,
    {
        let arrival = self.arrival.ok_or_else(abandoned)?;
        if arrival.is_in_memory() {
            arrival.finish(known)
        } else {
            on_blocking_pool(move || arrival.finish(known)).await
        }
    }
}

impl Blobs {
    /// Begins an upload; `length` is what the client announced, if it did. Waits for memory.
    ///
    /// # Errors
    /// [`MutationError::TooLarge`], or [`MutationError::Busy`] if there is no memory for a while.
    pub(crate) async fn begin_upload(
        self: &Arc<Self>,
        length: Option<u64>,
    ) -> Result<Upload, MutationError> {
        if let Some(length) = length.filter(|length| *length > FILE_BYTES_MAX) {
            return Err(too_large(length));
        }
        // A larger content passes through a buffer of this size.
        let buffer_max = capped(INLINE_BYTES_MAX, usize::MAX);
        let capacity = length.map_or(UPLOAD_FIRST_BYTES, |length| capped(length, buffer_max));
        let share = self.budget.acquire(capacity).await?;
        Ok(Upload {
            arrival: Some(Arrival::new(Arc::clone(self), share, capacity)),
        })
    }

    /// Takes a content from a reader, to its end and at most `length_max` bytes of it. Blocks.
    ///
    /// Never waits for memory: where there is none, the content goes to a file. One buffer of
    /// [`UPLOAD_FIRST_BYTES`] is then held beyond the budget, by each call at a time.
    pub(crate) fn stage_reader(
        self: &Arc<Self>,
        reader: &mut dyn Read,
        length_max: u64,
        known: &dyn Fn(&Digest) -> Result<bool, ReadError>,
    ) -> Result<StagedBlob, StageError> {
        let too_long = || StageError::TooLong { limit: length_max };
        let first = capped(length_max, UPLOAD_FIRST_BYTES);
        let share = self.budget.try_acquire(first).unwrap_or_default();
        let mut arrival = Arrival::new(Arc::clone(self), share, first);
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
            let has_more = arrival
                .fill_from(reader, left.saturating_add(1))
                .map_err(StageError::Reader)?;
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
    reader.bytes().next().transpose()
}
