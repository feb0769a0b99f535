//! The memory of an upload that goes on: what came is gathered there, and written in large pieces.

use std::io;

use super::Writer;
use crate::blobs::{BUFFER_BYTES_MAX, CountedBuffer};
use crate::limits::INLINE_BYTES_MAX;

impl Writer {
    /// Takes as many bytes as there is memory for; gives their number. The others are to be appended.
    ///
    /// Where there is none, each piece goes to the file as it comes: nobody waits for memory, since
    /// what is kept for one that goes on would be kept for as long as its sender takes.
    pub(in crate::resumable) fn gather(&mut self, bytes: &[u8]) -> usize {
        if self.terms.length <= INLINE_BYTES_MAX {
            return 0;
        }
        if self.gathered.is_none() {
            self.gathered = self.blobs.try_buffer(self.written);
        }
        let Some(CountedBuffer { buffer, .. }) = &mut self.gathered else { return 0 };
        let count = bytes.len().min(buffer.room(BUFFER_BYTES_MAX));
        buffer.extend(bytes.get(..count).unwrap_or_default());
        count
    }

    /// Moves what was gathered to the file; where that fails, it is as if it had not come. The memory goes
    /// to those who wait for some.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(mut gathered) = self.gathered.take() {
            self.keep(gathered.buffer.as_slice())?;
            if !self.is_short_of_memory() {
                gathered.buffer.restart(self.written);
                self.gathered = Some(gathered);
            }
        }
        Ok(())
    }

    /// Moves what was gathered to the file and gives the memory back.
    pub(in crate::resumable) fn let_go(&mut self) -> io::Result<()> {
        let flushed = self.flush();
        self.gathered = None;
        flushed
    }

    /// Whether it holds memory that others wait for.
    pub(in crate::resumable) fn should_let_go(&self) -> bool {
        self.gathered.is_some() && self.is_short_of_memory()
    }

    fn is_short_of_memory(&self) -> bool {
        self.blobs.is_short_of_memory()
    }
}
