//! A few buffers beside those of the uploads: while one upload's full buffer is written, the upload
//! goes on with one of these, so that receiving and writing take place at the same time.
//!
//! There are few, for a few uploads already keep the disk and the processor busy: with more of them,
//! what some receive arrives while others write. Who gets none waits for its own write.

use std::sync::{Arc, PoisonError};

use crate::sync::{Mutex, MutexGuard};

use super::buffer::{BUFFER_BYTES_MAX, Buffer};

/// Buffers of 1 MiB beyond [`UPLOAD_MEMORY_BYTES`](crate::limits::UPLOAD_MEMORY_BYTES). They are kept.
const UPLOAD_SPARES_MAX: usize = 4;

/// The buffers of all uploads.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Buffers that are in somebody's hands.
    lent: usize,
    /// Those that are not; memory that was used before is the faster one.
    kept: Vec<Buffer>,
}

/// A full buffer that was exchanged for another, which makes it one of the spare ones on drop.
#[derive(Debug)]
pub(super) struct Exchanged {
    spares: Arc<Spares>,
    buffer: Buffer,
}

impl Spares {
    /// Exchanges a full buffer for an empty one of full size, whose first byte will be at `offset` of
    /// the file; `None` if none is free, and then nothing has changed.
    pub(super) fn exchange(
        self: &Arc<Self>,
        buffer: &mut Buffer,
        offset: u64,
    ) -> Option<Exchanged> {
        let mut empty = {
            let mut state = self.state();
            if state.lent >= UPLOAD_SPARES_MAX {
                return None;
            }
            state.lent += 1;
            state.kept.pop().unwrap_or_default()
        };
        empty.reserve(BUFFER_BYTES_MAX, offset);
        empty.restart(offset);
        Some(Exchanged { spares: Arc::clone(self), buffer: std::mem::replace(buffer, empty) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchanged {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

impl Drop for Exchanged {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut state = self.spares.state();
        state.lent -= 1;
        state.kept.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(byte: u8) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.reserve(BUFFER_BYTES_MAX, 0);
        buffer.extend(&vec![byte; BUFFER_BYTES_MAX]);
        buffer
    }

    #[test]
    fn there_are_no_more_than_a_few_and_they_come_back() {
        let spares = Arc::new(Spares::default());
        let mut buffers: Vec<Buffer> = (0..=UPLOAD_SPARES_MAX).map(|_| full(1)).collect();
        let (last, others) = buffers.split_last_mut().unwrap();
        let mut exchanged: Vec<Exchanged> =
            others.iter_mut().map(|buffer| spares.exchange(buffer, 0).unwrap()).collect();
        assert!(others.iter().all(Buffer::is_empty));
        assert!(spares.exchange(last, 0).is_none());
        assert_eq!(last.len(), BUFFER_BYTES_MAX, "it keeps what it holds");

        assert_eq!(exchanged.pop().unwrap().as_slice(), full(1).as_slice());
        let written = spares.exchange(last, 5000).unwrap();
        assert_eq!(written.as_slice(), full(1).as_slice());
        assert!(last.is_empty());
        // Ends with a page of the file.
        assert_eq!(last.room(BUFFER_BYTES_MAX), BUFFER_BYTES_MAX - 5000 % 4096);
        drop((exchanged, written));
        assert_eq!(spares.state().kept.len(), UPLOAD_SPARES_MAX);
    }
}
