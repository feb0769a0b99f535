//! A content that comes from the network, chunk by chunk.
//!
//! Memory is bounded by the upload budget. An upload waits for its first share of it when its first
//! bytes are there, at most a while and holding nothing; from then on it only tries, and goes to a
//! file where it is refused. So uploads never wait for each other. Nor do they wait for a sender
//! that has stopped: while it does and others want memory, its own goes to a file ([`Upload::rest`]).
//! One that brings a large content, or brings its content slowly, goes on with the least buffer then
//! ([`Upload::makes_room`]).
//! While a piece of one is written and hashed the next one is received, if there is a spare buffer. A
//! small content that comes in one piece stays where it came ([`Upload::take`]).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::error::{MutationError, ReadError};
use crate::limits::{
    FILE_BYTES_MAX, INLINE_BYTES_MAX, KEPT_PIECE_BYTES_MAX, KEPT_PIECE_BYTES_MIN,
    UPLOAD_FIRST_BYTES, UPLOAD_SLOW_AFTER,
};
use crate::model::Digest;

use super::budget::Share;
use super::large::{Hashes, StagingFile};
use super::stage::{Arrival, Spilled, StagedBlob, too_large};
use super::{Blobs, abandoned, byte_count, capped, on_blocking_pool, staging_error};

/// A content on its way in. Dropping it at any time leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Upload {
    /// Gone after an error, or after a future of [`Upload::write`] was dropped half way.
    arrival: Option<Arrival>,
    /// A piece of it that is being written and hashed while the next ones come.
    leaving: Option<Leaving>,
    /// Bytes of the content, if its sender said so.
    announced: Option<u64>,
    /// Bytes of memory to begin with.
    wanted: usize,
    /// From when on it is a slow one, once it has memory.
    slow_from: Option<Instant>,
}

/// The file with the piece in it, and the hashes with it.
#[derive(Debug)]
struct Leaving {
    file: JoinHandle<Result<StagingFile, MutationError>>,
    hashes: JoinHandle<Hashes>,
}

impl Upload {
    /// Takes the next bytes of the content.
    ///
    /// # Errors
    /// [`MutationError::TooLarge`], [`MutationError::OutOfSpace`] or [`MutationError::Staging`], or
    /// [`MutationError::Busy`] if there is no memory for a while; the upload is over then, and
    /// nothing of it remains.
    ///
    /// # Cancellation
    /// An upload whose write was dropped half way is over, as after an error.
    pub(crate) async fn write(&mut self, chunk: &[u8]) -> Result<(), MutationError> {
        let mut arrival = self.arrival.take().ok_or_else(abandoned)?;
        arrival.check_length(chunk.len())?;
        if arrival.needs_share() && !chunk.is_empty() {
            // What goes on in a file is written in whole buffers again once nobody waits.
            let least = self.wanted.min(UPLOAD_FIRST_BYTES);
            let wanted = if arrival.is_in_memory() { self.wanted } else { least };
            let share = arrival.budget().acquire(wanted).await?;
            arrival.admit(share, wanted);
            self.slow_from = Instant::now().checked_add(UPLOAD_SLOW_AFTER);
        } else if self.makes_room(&arrival) {
            self.see_off(&mut arrival).await?;
            arrival = spilled(arrival).await?;
        }
        let mut rest = arrival.push(chunk);
        while !rest.is_empty() {
            self.see_off(&mut arrival).await?;
            if let Some((unwritten, unhashed)) = arrival.hand_over() {
                let file = spawn_blocking(|| unwritten.write());
                self.leaving = Some(Leaving { file, hashes: spawn_blocking(|| unhashed.hash()) });
            } else {
                arrival = spilled(arrival).await?;
            }
            rest = arrival.push(rest);
        }
        self.arrival = Some(arrival);
        Ok(())
    }

    /// Whether it goes on with the least buffer, since others wait for memory: a small content that comes
    /// at once is soon gone with all that it holds, and is to stay in memory.
    fn makes_room(&self, arrival: &Arrival) -> bool {
        let is_large = !arrival.is_in_memory()
            || self.announced.is_some_and(|announced| announced > INLINE_BYTES_MAX);
        let is_slow = || self.slow_from.is_some_and(|slow_from| slow_from <= Instant::now());
        arrival.has_more_than_least() && (is_large || is_slow()) && arrival.budget().is_short()
    }

    /// As [`Upload::write`], for bytes that may stay where they are: where they are all of a small
    /// content, and there is plenty of memory, they are not copied.
    ///
    /// # Errors
    /// As [`Upload::write`].
    pub(crate) async fn take(&mut self, chunk: Bytes) -> Result<(), MutationError> {
        let is_small = (KEPT_PIECE_BYTES_MIN..=KEPT_PIECE_BYTES_MAX).contains(&chunk.len());
        // Of a content that nobody announced more may follow, and a form's are parts of much more.
        if !is_small || self.announced != Some(byte_count(chunk.len())) {
            return self.write(&chunk).await;
        }
        match self.arrival.as_mut().ok_or_else(abandoned)?.keep(chunk) {
            Ok(()) => Ok(()),
            Err(chunk) => self.write(&chunk).await,
        }
    }

    /// Waits for the piece that is being written and hashed.
    async fn see_off(&mut self, arrival: &mut Arrival) -> Result<(), MutationError> {
        if let Some(Leaving { file, hashes }) = self.leaving.take() {
            let ended = tokio::try_join!(file, hashes);
            let (file, hashes) = ended.map_err(|error| staging_error(io::Error::other(error)))?;
            arrival.take_back(Spilled { file: file?, hashes });
        }
        Ok(())
    }

    /// Gives its memory to those who wait for some, if anybody does; to be called while the sender
    /// lets this upload wait.
    ///
    /// # Errors
    /// As [`Upload::write`].
    pub(crate) async fn rest(&mut self) -> Result<(), MutationError> {
        let mut arrival = self.arrival.take().ok_or_else(abandoned)?;
        if arrival.budget().is_short() && !arrival.needs_share() {
            self.see_off(&mut arrival).await?;
            arrival = on_blocking_pool(move || {
                arrival.retire()?;
                Ok(arrival)
            })
            .await?;
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
    pub(crate) async fn finish<F>(mut self, known: F) -> Result<StagedBlob, MutationError>
    where
        F: FnOnce(&Digest) -> Result<bool, ReadError> + Send + 'static,
    {
        let mut arrival = self.arrival.take().ok_or_else(abandoned)?;
        self.see_off(&mut arrival).await?;
        if arrival.is_in_memory() {
            arrival.finish(known)
        } else {
            on_blocking_pool(move || arrival.finish(known)).await
        }
    }
}

impl Blobs {
    /// Begins an upload; `length` is what the client announced, if it did. No memory is kept for
    /// what was announced and does not come.
    ///
    /// # Errors
    /// [`MutationError::TooLarge`].
    pub(crate) fn begin_upload(
        self: &Arc<Self>,
        length: Option<u64>,
    ) -> Result<Upload, MutationError> {
        if let Some(length) = length.filter(|length| *length > FILE_BYTES_MAX) {
            return Err(too_large(length));
        }
        // A larger content passes through a buffer of this size; of one that brings more than it
        // announced, the rest is seen to as if it had announced nothing.
        let buffer_max = capped(INLINE_BYTES_MAX, usize::MAX);
        let wanted = length.map_or(UPLOAD_FIRST_BYTES, |length| capped(length, buffer_max)).max(1);
        let arrival = Some(Arrival::new(Arc::clone(self), Share::default(), 0));
        Ok(Upload { arrival, leaving: None, announced: length, wanted, slow_from: None })
    }
}

/// Makes room by [`Arrival::spill`]. The arrival goes along, so that a dropped future leaves no memory
/// uncounted.
async fn spilled(mut arrival: Arrival) -> Result<Arrival, MutationError> {
    on_blocking_pool(move || {
        arrival.spill()?;
        Ok(arrival)
    })
    .await
}

#[cfg(test)]
mod tests;
