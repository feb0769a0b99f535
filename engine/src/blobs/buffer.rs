//! Memory for the bytes of one content on their way, and how they leave it.
//!
//! A large content passes through memory that is laid out as its file is: what begins a page there
//! begins a page here, so that whole pages are written from where they lie, past the page cache
//! (`disk/direct.rs`). What is less than a page at either end of such a piece goes through the page
//! cache, and so does everything where memory is too short for large pieces.

use std::io::{self, IoSlice, Read};

use bytes::Bytes;

use crate::disk::{DiskFile, PAGE_BYTES};
use crate::limits::{INLINE_BYTES_MAX, KEPT_PIECE_MEMORY_BYTES};

use super::budget::Share;
use super::{Blobs, byte_count, capped};

/// Bytes of the largest buffer, and of the least that is laid out as a file: smaller pieces are worth
/// less than what the page cache makes of them.
pub(crate) const BUFFER_BYTES_MAX: usize = 1 << 20;

// What fits the buffer travels in the journal, and nothing else does.
const _: () = assert!(INLINE_BYTES_MAX == 1 << 20);

/// Bytes of a content, from some place of it on. Empty, it has no memory.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Where the content's bytes begin.
    start: usize,
    /// Where a page begins, if it is laid out as the file.
    page: Option<usize>,
    /// All of its bytes as they came, until more are to follow.
    whole: Option<Bytes>,
}

impl Buffer {
    /// These bytes, which are not copied as long as no others follow.
    pub(crate) fn of(whole: Bytes) -> Self {
        Self { whole: Some(whole), ..Self::default() }
    }

    /// Bytes that it holds.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.whole {
            Some(whole) => whole,
            None => self.bytes.get(self.start..).unwrap_or_default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Bytes of memory that are there for them.
    pub(crate) fn memory(&self) -> usize {
        self.whole.as_ref().map_or(self.len(), |_whole| KEPT_PIECE_MEMORY_BYTES)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it takes before it is to be written, if it may have so many in all.
    pub(crate) fn room(&self, capacity: usize) -> usize {
        // Ends with a page, wherever it began.
        let end = self.page.map_or(capacity, |page| page + capacity);
        end.saturating_sub(self.start + self.len())
    }

    /// Gets memory for so many bytes in all, of which the first will be at `offset` of the file. One
    /// of [`BUFFER_BYTES_MAX`] takes up to a page more.
    pub(crate) fn reserve(&mut self, capacity: usize, offset: u64) {
        if let Some(whole) = self.whole.take() {
            self.reserve(capacity, offset);
            self.extend(&whole);
        } else if capacity < BUFFER_BYTES_MAX {
            self.bytes.reserve_exact(self.room(capacity));
        } else if self.page.is_none() {
            let mut laid_out: Vec<u8> = Vec::with_capacity(capacity + PAGE_BYTES);
            let page = laid_out.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
            let start = page + place_in_page(offset);
            laid_out.resize(start, 0);
            laid_out.extend_from_slice(self.as_slice());
            *self = Self { bytes: laid_out, start, page: Some(page), whole: None };
        }
    }

    /// Forgets its bytes and keeps its memory; the next byte will be at `offset` of the file.
    pub(crate) fn restart(&mut self, offset: u64) {
        self.whole = None;
        self.start = self.page.map_or(0, |page| page + place_in_page(offset));
        self.bytes.truncate(self.start);
        self.bytes.resize(self.start, 0);
    }

    /// Adds bytes, for which there should be room.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        debug_assert!(self.whole.is_none(), "room is made first");
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds bytes of a reader, to its end.
    pub(crate) fn extend_from(&mut self, reader: &mut impl Read) -> io::Result<usize> {
        debug_assert!(self.whole.is_none(), "room is made first");
        reader.read_to_end(&mut self.bytes)
    }

    /// Gives back what memory it does not need.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }
}

/// A buffer of full size that the upload memory covers for as long as it lives.
#[derive(Debug)]
pub(crate) struct CountedBuffer {
    pub(crate) buffer: Buffer,
    _share: Share,
}

impl Blobs {
    /// Memory for pieces of a large content, of which the next one begins at `offset`; `None` if none
    /// is free, or others wait for some.
    pub(crate) fn try_buffer(&self, offset: u64) -> Option<CountedBuffer> {
        if self.is_short_of_memory() {
            return None;
        }
        let share = self.budget.try_acquire(BUFFER_BYTES_MAX)?;
        let mut buffer = Buffer::default();
        buffer.reserve(BUFFER_BYTES_MAX, offset);
        Some(CountedBuffer { buffer, _share: share })
    }

    /// Whether somebody waits for upload memory.
    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.budget.is_short()
    }
}

fn place_in_page(offset: u64) -> usize {
    capped(offset % byte_count(PAGE_BYTES), PAGE_BYTES)
}

/// Writes the next bytes of a large content at `offset`. Whole pages go past the page cache if the
/// bytes lie in memory as in the file; otherwise it only takes longer.
///
/// # Durability
/// None before the next sync of the file.
pub(crate) fn write_run(file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let within = place_in_page(offset);
    let head = if within == 0 { 0 } else { PAGE_BYTES - within };
    let pages = bytes.len().saturating_sub(head) / PAGE_BYTES * PAGE_BYTES;
    let (head, rest) = bytes.split_at(head.min(bytes.len()));
    let (pages, tail) = rest.split_at(pages);
    if pages.is_empty() || pages.as_ptr().align_offset(PAGE_BYTES) != 0 {
        return file.write_all_at(&[IoSlice::new(bytes)], offset);
    }
    if !head.is_empty() {
        file.write_all_at(&[IoSlice::new(head)], offset)?;
    }
    let offset = offset + byte_count(head.len());
    file.write_pages_at(&[IoSlice::new(pages)], offset)?;
    if !tail.is_empty() {
        file.write_all_at(&[IoSlice::new(tail)], offset + byte_count(pages.len()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, OpenMode, RealDisk};

    fn noise(seed: usize, length: usize) -> Vec<u8> {
        let bytes = (0..length).map(|place| (place * 31 + seed * 7 + place / 250) % 251);
        bytes.map(|byte| u8::try_from(byte).unwrap()).collect()
    }

    #[test]
    fn a_full_buffer_lies_in_memory_as_in_the_file_and_ends_with_a_page() {
        for offset in [0u64, 1, 4095, 4096, 10_000_001] {
            let mut buffer = Buffer::default();
            buffer.reserve(BUFFER_BYTES_MAX, offset);
            let within = usize::try_from(offset % 4096).unwrap();
            assert_eq!(buffer.room(BUFFER_BYTES_MAX), BUFFER_BYTES_MAX - within);
            let content = noise(1, BUFFER_BYTES_MAX - within);
            buffer.extend(&content);
            assert_eq!(buffer.room(BUFFER_BYTES_MAX), 0);
            assert_eq!(buffer.as_slice(), content);
            let to_page = buffer.as_slice().as_ptr().align_offset(PAGE_BYTES);
            assert_eq!(to_page, (PAGE_BYTES - within) % PAGE_BYTES, "at {offset}");
        }
    }

    #[test]
    fn a_buffer_that_grows_keeps_its_bytes() {
        let content = noise(3, 300_000);
        let mut buffer = Buffer::default();
        buffer.reserve(300_000, 0);
        buffer.extend(&content);
        assert_eq!(buffer.room(300_000), 0);
        buffer.reserve(BUFFER_BYTES_MAX, 0);
        assert_eq!(buffer.as_slice(), content);
        assert_eq!(buffer.room(BUFFER_BYTES_MAX), BUFFER_BYTES_MAX - 300_000);
        buffer.restart(300_000);
        assert!(buffer.is_empty());
    }

    /// On the file system of temporary files, whatever it does with writes past its page cache.
    #[test]
    fn pieces_of_all_lengths_read_back_as_they_were_while_others_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(directory.path().to_owned()).unwrap();
        let file = disk.open("file", OpenMode::CreateNew).unwrap();
        let (mut buffer, mut written) = (Buffer::default(), Vec::new());
        buffer.reserve(BUFFER_BYTES_MAX, 0);
        let lengths = [5, 4091, 4096, 1, 8191, 70_000, 65_536, 3, 1 << 20, 4097, 200_000, 1 << 20];
        for (seed, length) in lengths.into_iter().enumerate() {
            let piece = noise(seed, length);
            let offset = byte_count(written.len());
            buffer.restart(offset);
            buffer.extend(&piece[..length.min(buffer.room(BUFFER_BYTES_MAX))]);
            write_run(&*file, buffer.as_slice(), offset).unwrap();
            written.extend_from_slice(buffer.as_slice());
            if seed % 3 == 0 {
                file.sync_data().unwrap();
            }
            // What is read is in the page cache from then on, the page that is yet to be filled too.
            let mut found = vec![0; written.len()];
            file.read_exact_at(&mut found, 0).unwrap();
            assert!(found == written, "after {length} bytes at {offset}");
            assert_eq!(file.len().unwrap(), byte_count(written.len()));
        }
        // Bytes that come again, as after a part that was forgotten.
        let again = noise(99, 50_000);
        let offset = byte_count(written.len()) - 100_001;
        buffer.restart(offset);
        buffer.extend(&again);
        write_run(&*file, buffer.as_slice(), offset).unwrap();
        let start = written.len() - 100_001;
        written[start..start + 50_000].copy_from_slice(&again);
        file.sync_data().unwrap();
        assert!(std::fs::read(directory.path().join("file")).unwrap() == written);
    }
}
