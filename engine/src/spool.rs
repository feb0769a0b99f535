//! Bytes of any length on their way somewhere: in memory first, then in a file without a name.
//!
//! A response that must be whole before its first byte leaves, or an archive that is read from its
//! end, goes through here. Of a response at most [`SPOOL_MEMORY_BYTES`] are in memory. A [`SpoolUpload`]
//! keeps more while there is memory for archives, and less while that of uploads is not plenty. The
//! file's name is removed as soon as it is open, so nothing is left after a crash, or after a drop at any time.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::blobs::{SPOOL_PREFIX, STAGING, Share, byte_count, capped, remove_if_there};
use crate::disk::{Disk, DiskFile, OpenMode, expect_room, expect_room_to_answer, is_full};
use crate::limits::{READ_CHUNK_BYTES, SPOOL_MEMORY_BYTES};

mod pieces;

mod reader;

mod upload;

pub(crate) use reader::SpoolReader;
pub use upload::SpoolUpload;

use pieces::Pieces;

/// Number of the next spool file; unique within the process, which is alone on its disk (I10).
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Takes bytes in from blocking code.
pub struct Spool {
    disk: Arc<dyn Disk>,
    /// What came before the buffer's bytes and is kept in memory as long as there is no file: pieces of
    /// [`SPOOL_MEMORY_BYTES`], each with its share of the memory for archives.
    pieces: Vec<Bytes>,
    /// What came last, and is not in the file.
    buffer: Vec<u8>,
    /// Bytes that the buffer may hold.
    memory_bytes: usize,
    file: Option<Arc<dyn DiskFile>>,
    /// Bytes in the file.
    written: u64,
    /// Says whether there is room on the disk.
    room: fn(&dyn Disk, u64) -> io::Result<()>,
    is_refused_for_space: bool,
}

impl Spool {
    /// Makes an empty spool for what is to be stored; its file, if it needs one, will be in `staging`.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self::with(disk, expect_room)
    }

    /// As [`Spool::new`], for what is to be sent: it may use some of the reserve.
    pub(crate) fn for_answer(disk: Arc<dyn Disk>) -> Self {
        Self::with(disk, expect_room_to_answer)
    }

    fn with(disk: Arc<dyn Disk>, room: fn(&dyn Disk, u64) -> io::Result<()>) -> Self {
        Self {
            disk,
            pieces: Vec::new(),
            buffer: Vec::new(),
            memory_bytes: SPOOL_MEMORY_BYTES,
            file: None,
            written: 0,
            room,
            is_refused_for_space: false,
        }
    }

    /// Whether a write failed because the disk is full.
    pub fn is_refused_for_space(&self) -> bool {
        self.is_refused_for_space
    }

    /// Ends the content.
    ///
    /// # Errors
    /// The last bytes could not be written.
    pub fn finish(mut self) -> io::Result<Spooled> {
        if self.file.is_some() {
            self.spill()?;
        }
        if let Some(file) = self.file {
            return Ok(Spooled { content: Content::File { file, length: self.written } });
        }
        // Counted by its length for as long as it is sent, it should be no longer.
        self.buffer.shrink_to_fit();
        self.pieces.push(self.buffer.into());
        Ok(Spooled { content: Content::Memory(Pieces::new(self.pieces)) })
    }

    fn length(&self) -> u64 {
        self.written + self.bytes_in_memory()
    }

    /// Bytes that are not in the file.
    fn bytes_in_memory(&self) -> u64 {
        byte_count(self.pieces.iter().map(Bytes::len).sum::<usize>() + self.buffer.len())
    }

    /// Whether what the buffer holds can be one of the pieces.
    fn is_piece_full(&self) -> bool {
        self.file.is_none() && self.buffer.len() == SPOOL_MEMORY_BYTES
    }

    /// Keeps the buffer's bytes in memory as the next piece.
    fn keep(&mut self, share: Share) {
        let buffer = Vec::with_capacity(self.memory_bytes);
        let bytes = std::mem::replace(&mut self.buffer, buffer);
        self.pieces.push(Bytes::from_owner(Kept { bytes, _share: share }));
    }

    /// Copies as many of the bytes as fit the buffer, and returns the others. Where any are
    /// returned, [`Spool::spill`] makes room, or [`Spool::keep`] does.
    fn push<'bytes>(&mut self, bytes: &'bytes [u8]) -> &'bytes [u8] {
        let room = self.memory_bytes.saturating_sub(self.buffer.len());
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        let needed = self.buffer.len() + now.len();
        if needed > self.buffer.capacity() {
            // Doubling, but never beyond the bound.
            let capacity = needed.next_power_of_two().min(self.memory_bytes);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(now);
        later
    }

    /// Moves what is in memory to the file, which is made if it is not there. Blocks.
    fn spill(&mut self) -> io::Result<()> {
        let spilled = self.spill_to_file();
        self.is_refused_for_space |= spilled.as_ref().is_err_and(is_full);
        spilled
    }

    fn spill_to_file(&mut self) -> io::Result<()> {
        let bytes = self.bytes_in_memory();
        (self.room)(&*self.disk, bytes)?;
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(open_nameless(&*self.disk)?),
        };
        let pieces = self.pieces.iter().map(|piece| io::IoSlice::new(piece));
        let all: Vec<_> = pieces.chain([io::IoSlice::new(&self.buffer)]).collect();
        file.write_all_at(&all, self.written)?;
        self.written += bytes;
        self.pieces.clear();
        self.buffer.clear();
        Ok(())
    }
}

impl io::Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = self.push(bytes);
        if rest.len() == bytes.len() && !bytes.is_empty() {
            self.spill()?;
            rest = self.push(bytes);
        }
        Ok(bytes.len() - rest.len())
    }

    /// Does nothing: a spool's bytes are read by [`Spooled`] only.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Spool")
            .field("length", &self.length())
            .field("has_file", &self.file.is_some())
            .finish_non_exhaustive()
    }
}

/// A piece, which gives its share of the memory back when the last reader of it is gone.
struct Kept {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Opens a file in `staging` and removes its name.
fn open_nameless(disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!("{STAGING}/{SPOOL_PREFIX}{number}");
    let opened = match disk.open(&path, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // An earlier process stopped between the open and the removal below.
            remove_if_there(disk, &path)?;
            disk.open(&path, OpenMode::CreateNew)
        }
        opened => opened,
    }?;
    // The sweep after opening may have been faster.
    remove_if_there(disk, &path)?;
    Ok(opened)
}

/// What a spool holds; clones share it.
#[derive(Clone)]
pub struct Spooled {
    content: Content,
}

#[derive(Clone)]
enum Content {
    Memory(Pieces),
    File { file: Arc<dyn DiskFile>, length: u64 },
}

impl Spooled {
    /// Bytes.
    pub fn len(&self) -> u64 {
        match &self.content {
            Content::Memory(pieces) => byte_count(pieces.len()),
            Content::File { length, .. } => *length,
        }
    }

    /// Bytes of it that are in memory for as long as it lives.
    pub fn memory_bytes(&self) -> usize {
        match &self.content {
            Content::Memory(pieces) => pieces.len(),
            Content::File { .. } => 0,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some or all bytes from `offset` on, at most [`READ_CHUNK_BYTES`]; empty at the end.
    ///
    /// # Errors
    /// The file could not be read.
    ///
    /// # Cancellation
    /// Leaves nothing behind; the same chunk may be asked for again.
    pub async fn chunk(&self, offset: u64) -> io::Result<Bytes> {
        let length = capped(self.len().saturating_sub(offset), READ_CHUNK_BYTES);
        match &self.content {
            _ if length == 0 => Ok(Bytes::new()),
            Content::Memory(pieces) => Ok(pieces.slice(offset, length)),
            Content::File { file, .. } => {
                let mut buffer = vec![0; length];
                if file.read_exact_at_nowait(&mut buffer, offset)? {
                    return Ok(buffer.into());
                }
                let file = Arc::clone(file);
                let read = tokio::task::spawn_blocking(move || {
                    file.read_exact_at(&mut buffer, offset)?;
                    Ok(buffer.into())
                });
                read.await.map_err(io::Error::other)?
            }
        }
    }

    /// A reader of its own over the whole content, for blocking code; buffers what it reads.
    pub(crate) fn reader(&self) -> SpoolReader {
        SpoolReader::new(self.clone())
    }

    /// A content in memory that came in pieces of such a length.
    #[cfg(test)]
    pub(crate) fn in_pieces(bytes: &[u8], piece_bytes: usize) -> Self {
        let pieces = bytes.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
        Self { content: Content::Memory(Pieces::new(pieces)) }
    }
}

impl fmt::Debug for Spooled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Spooled").field("length", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::blobs::memory_disk::MemoryDisk;

    /// Bytes that differ from place to place.
    pub(super) fn content(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    fn spooled(disk: &Arc<MemoryDisk>, content: &[u8]) -> Spooled {
        let mut spool = Spool::new(disk.clone());
        for piece in content.chunks(100_000) {
            spool.write_all(piece).unwrap();
        }
        spool.finish().unwrap()
    }

    pub(super) async fn chunks(spooled: &Spooled) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(capped(spooled.len(), usize::MAX));
        loop {
            let chunk = spooled.chunk(byte_count(bytes.len())).await.unwrap();
            assert!(chunk.len() <= READ_CHUNK_BYTES);
            if chunk.is_empty() {
                return bytes;
            }
            bytes.extend_from_slice(&chunk);
        }
    }

    #[tokio::test]
    async fn contents_of_any_length_come_back() {
        for length in [0, 1, SPOOL_MEMORY_BYTES, SPOOL_MEMORY_BYTES + 1, 5_000_000] {
            let disk = MemoryDisk::prepared();
            let content = content(length);
            let spooled = spooled(&disk, &content);
            assert_eq!(spooled.len(), byte_count(length));
            assert_eq!(chunks(&spooled).await, content);
            let mut read = Vec::new();
            spooled.reader().read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
            disk.forget_cache();
            assert_eq!(chunks(&spooled).await, content);
            // Only what passes the bound needs a file, and no file keeps its name.
            let log = disk.take_log();
            let has_file = log.iter().any(|line| line.starts_with("write"));
            assert_eq!(has_file, length > SPOOL_MEMORY_BYTES);
            assert_eq!(disk.paths(), [""; 0]);
        }
    }

    #[test]
    fn a_name_left_by_an_earlier_process_is_in_nobodys_way() {
        let disk = MemoryDisk::prepared();
        // Other tests take numbers meanwhile; one of these is met.
        let next = NEXT_NUMBER.load(Ordering::Relaxed);
        for number in next..next + 64 {
            let path = format!("{STAGING}/{SPOOL_PREFIX}{number}");
            disk.open(&path, OpenMode::CreateNew).unwrap();
        }
        open_nameless(&*disk).unwrap();
        assert_eq!(disk.paths().len(), 63);
    }
}
