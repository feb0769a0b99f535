//! Bytes of any length on their way somewhere: in memory first, then in a file without a name.
//!
//! A response that must be whole before its first byte leaves, or an archive that is read from its
//! end, goes through here. At most [`SPOOL_MEMORY_BYTES`] of it are in memory, of an archive on its way in
//! as little as [`SPOOL_MEMORY_LEAN_BYTES`]. The file's name is
//! removed as soon as it is open, so nothing is left after a crash, or after a drop at any time.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::blobs::{
    Blobs, SPOOL_PREFIX, STAGING, Share, abandoned, byte_count, capped, on_blocking_pool,
    remove_if_there, staging_error,
};
use crate::disk::{Disk, DiskFile, OpenMode, expect_room, expect_room_to_answer};
use crate::error::MutationError;
use crate::limits::{READ_CHUNK_BYTES, SPOOL_MEMORY_BYTES, SPOOL_MEMORY_LEAN_BYTES};

mod reader;

pub(crate) use reader::SpoolReader;

/// Number of the next spool file; unique within the process, which is alone on its disk (I10).
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Takes bytes in from blocking code.
pub struct Spool {
    disk: Arc<dyn Disk>,
    /// What has not been written to the file.
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
        // Counted by its length for as long as it is sent, it should be no longer.
        self.buffer.shrink_to_fit();
        let content = match self.file {
            Some(file) => Content::File { file, length: self.written },
            None => Content::Memory(self.buffer.into()),
        };
        Ok(Spooled { content })
    }

    fn length(&self) -> u64 {
        self.written + byte_count(self.buffer.len())
    }

    /// Copies as many of the bytes as fit the buffer, and returns the others. Where any are
    /// returned, [`Spool::spill`] makes room.
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

    /// Moves the buffer's bytes to the file, which is made if it is not there. Blocks.
    fn spill(&mut self) -> io::Result<()> {
        let spilled = self.spill_to_file();
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        self.is_refused_for_space |= spilled.as_ref().is_err_and(is_full);
        spilled
    }

    fn spill_to_file(&mut self) -> io::Result<()> {
        (self.room)(&*self.disk, byte_count(self.buffer.len()))?;
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(open_nameless(&*self.disk)?),
        };
        file.write_all_at(&[io::IoSlice::new(&self.buffer)], self.written)?;
        self.written += byte_count(self.buffer.len());
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

/// Takes bytes in from async code, up to a bound.
///
/// What it holds in memory is a part of that of all uploads, where there is plenty of it. Otherwise that
/// is little, since it is held for as long as its sender takes.
#[derive(Debug)]
pub struct SpoolUpload {
    /// Gone after an error, or after a future of [`SpoolUpload::write`] was dropped half way.
    spool: Option<Spool>,
    blobs: Arc<Blobs>,
    /// Its part of the memory of all uploads.
    share: Option<Share>,
    bytes_max: u64,
}

impl SpoolUpload {
    /// Begins with nothing, and takes at most so many bytes.
    pub(crate) fn new(disk: Arc<dyn Disk>, blobs: Arc<Blobs>, bytes_max: u64) -> Self {
        Self { spool: Some(Spool::new(disk)), blobs, share: None, bytes_max }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`MutationError::TooLarge`], [`MutationError::OutOfSpace`] or [`MutationError::Staging`];
    /// it is over then, and nothing of it remains.
    ///
    /// # Cancellation
    /// After a write that was dropped half way it is over, as after an error.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), MutationError> {
        let mut spool = self.spool.take().ok_or_else(abandoned)?;
        let actual = spool.length().saturating_add(byte_count(chunk.len()));
        if actual > self.bytes_max {
            return Err(MutationError::TooLarge {
                what: "the body",
                actual,
                limit: self.bytes_max,
            });
        }
        if self.share.is_none() {
            self.share = self.blobs.try_memory(SPOOL_MEMORY_BYTES);
            spool.memory_bytes =
                self.share.as_ref().map_or(SPOOL_MEMORY_LEAN_BYTES, |_| SPOOL_MEMORY_BYTES);
        }
        let mut rest = spool.push(chunk);
        while !rest.is_empty() {
            spool = on_blocking_pool(move || {
                spool.spill().map_err(staging_error)?;
                Ok(spool)
            })
            .await?;
            rest = spool.push(rest);
        }
        self.spool = Some(spool);
        Ok(())
    }

    /// Moves what is in memory to the file; a sender that lets wait is not to hold any.
    ///
    /// # Errors
    /// As [`SpoolUpload::write`].
    pub(crate) async fn rest(&mut self) -> Result<(), MutationError> {
        let mut spool = self.spool.take().ok_or_else(abandoned)?;
        if !spool.buffer.is_empty() {
            spool = on_blocking_pool(move || {
                spool.spill().map_err(staging_error)?;
                Ok(spool)
            })
            .await?;
        }
        spool.buffer = Vec::new();
        self.share = None;
        self.spool = Some(spool);
        Ok(())
    }

    /// Ends the content.
    ///
    /// # Errors
    /// As [`SpoolUpload::write`].
    pub async fn finish(self) -> Result<Spooled, MutationError> {
        let spool = self.spool.ok_or_else(abandoned)?;
        if spool.file.is_some() {
            on_blocking_pool(move || spool.finish().map_err(staging_error)).await
        } else {
            spool.finish().map_err(staging_error)
        }
    }
}

/// What a spool holds; clones share it.
#[derive(Clone)]
pub struct Spooled {
    content: Content,
}

#[derive(Clone)]
enum Content {
    Memory(Bytes),
    File { file: Arc<dyn DiskFile>, length: u64 },
}

impl Spooled {
    /// Bytes.
    pub fn len(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => byte_count(bytes.len()),
            Content::File { length, .. } => *length,
        }
    }

    /// Bytes of it that are in memory for as long as it lives.
    pub fn memory_bytes(&self) -> usize {
        match &self.content {
            Content::Memory(bytes) => bytes.len(),
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
            Content::Memory(bytes) => {
                let start = capped(offset, bytes.len());
                Ok(bytes.slice(start..start + length))
            }
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
    fn content(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    fn spooled(disk: &Arc<MemoryDisk>, content: &[u8]) -> Spooled {
        let mut spool = Spool::new(disk.clone());
        for piece in content.chunks(100_000) {
            spool.write_all(piece).unwrap();
        }
        spool.finish().unwrap()
    }

    async fn chunks(spooled: &Spooled) -> Vec<u8> {
        let mut bytes = Vec::new();
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

    #[tokio::test]
    async fn an_upload_comes_back_and_is_bounded() {
        let disk = MemoryDisk::prepared();
        let content = content(3_000_000);
        let mut upload = SpoolUpload::new(disk.clone(), Blobs::new(disk.clone(), 7), 3_000_000);
        for piece in content.chunks(700_000) {
            upload.write(piece).await.unwrap();
        }
        let spooled = upload.finish().await.unwrap();
        assert_eq!(chunks(&spooled).await, content);

        let mut upload = SpoolUpload::new(disk.clone(), Blobs::new(disk.clone(), 7), 3_000_000);
        for piece in content.chunks(700_000) {
            upload.write(piece).await.unwrap();
            upload.rest().await.unwrap();
            assert_eq!(upload.spool.as_ref().unwrap().buffer.capacity(), 0);
        }
        assert_eq!(chunks(&upload.finish().await.unwrap()).await, content);

        let mut upload = SpoolUpload::new(disk.clone(), Blobs::new(disk.clone(), 7), 10);
        upload.write(&content[..10]).await.unwrap();
        let refused = upload.write(&content[..1]).await;
        assert!(matches!(refused, Err(MutationError::TooLarge { actual: 11, .. })));
        assert!(upload.finish().await.is_err());
    }

    #[tokio::test]
    async fn an_archive_on_its_way_in_holds_little_memory_where_there_is_not_plenty() {
        let disk = MemoryDisk::prepared();
        let blobs = Blobs::new(disk.clone(), 7);
        let used = || blobs.memory().0;
        let begin = || SpoolUpload::new(disk.clone(), Arc::clone(&blobs), u64::MAX);
        let mut many = Vec::new();
        for number in 0..200 {
            let mut upload = begin();
            upload.write(&content(100_000)).await.unwrap();
            let capacity = upload.spool.as_ref().unwrap().buffer.capacity();
            assert!(upload.share.is_some() || capacity <= SPOOL_MEMORY_LEAN_BYTES, "{number}");
            many.push(upload);
        }
        assert!(many.iter().filter(|upload| upload.share.is_some()).count() >= 2);
        assert!(used() <= blobs.memory().1 / 2, "most of it is left for others");
        let mut lean = many.pop().unwrap();
        assert!(lean.share.is_none());
        // Who stands still gives back what it has, and gets some again when it goes on.
        for upload in &mut many {
            upload.rest().await.unwrap();
        }
        assert_eq!(used(), 0);
        lean.write(&content(2_000_000)).await.unwrap();
        assert!(lean.share.is_some());
        let wanted = [content(100_000), content(2_000_000)].concat();
        assert_eq!(chunks(&lean.finish().await.unwrap()).await, wanted);
        assert_eq!(used(), 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_from_a_broken_one() {
        for (kind, is_full) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::Other, false)] {
            let disk = MemoryDisk::prepared();
            disk.fail_with("write", kind);
            let mut upload = SpoolUpload::new(disk.clone(), Blobs::new(disk.clone(), 7), u64::MAX);
            let refused = upload.write(&content(2_000_000)).await.unwrap_err();
            assert_eq!(matches!(refused, MutationError::OutOfSpace), is_full);
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
