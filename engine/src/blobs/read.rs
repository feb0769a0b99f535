//! Contents on their way out, checked against their digest (I9).
//!
//! A small content is read whole, checked, and then handed out in chunks, for a range too. A large
//! one is hashed chunk by chunk where all of it is asked for, and its last chunk is withheld until
//! the digest is right, so a client never holds a whole content that is wrong. A range of a large
//! content cannot be checked without reading the rest; the scrub does that.
//!
//! What a slow reader has not taken yet is in memory. Where many are slow a content is read lean, in
//! short chunks: a small one once to be checked and once more on its way, hashed again like a large
//! one, since a slow reader's last chunk may go long after the check.
//!
//! Reads are tried without waiting first, in the task: a hop to the blocking pool for each small
//! read cost a factor of three.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::disk::DiskFile;
use crate::error::ReadError;
use crate::limits::{INLINE_BYTES_MAX, READ_CHUNK_BYTES, READ_LEAN_CHUNK_BYTES};
use crate::model::Digest;
use crate::model::change::BlobPlace;
use crate::quarantine::{Fault, Quarantine};

use super::read_buffer::{self, ReadBuffer};
use super::{byte_count, capped};

/// A content, open for reading; stays readable while this lives.
#[derive(Debug, Clone)]
pub struct Blob {
    digest: Digest,
    /// Bytes.
    length: u64,
    file: Arc<dyn DiskFile>,
    /// Where the content begins in the file.
    offset: u64,
    /// Told of damage, with the place that it is at.
    quarantine: Option<(Arc<Quarantine>, BlobPlace)>,
}

impl Blob {
    /// Describes a content that lies in an open file.
    pub(crate) fn new(digest: Digest, length: u64, file: Arc<dyn DiskFile>, offset: u64) -> Self {
        Self { digest, length, file, offset, quarantine: None }
    }

    /// From now on whoever meets damage here puts the content into quarantine.
    pub(crate) fn watched(self, quarantine: &Arc<Quarantine>, place: BlobPlace) -> Self {
        Self { quarantine: Some((Arc::clone(quarantine), place)), ..self }
    }

    /// Name of the content.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Streams a range of bytes; what lies beyond the content is left out. A mismatch with the
    /// digest is an error before the last chunk (see the module for what is checked).
    pub fn stream(self, range: Range<u64>) -> BlobStream {
        let way = if self.is_small() { Way::AtOnce(None) } else { Way::Pieces };
        self.stream_on(way, range)
    }

    /// As [`Blob::stream`], for many slow readers: a chunk has [`READ_LEAN_CHUNK_BYTES`] at most, and
    /// nothing else stays in memory until the next one is asked for.
    pub fn stream_lean(self, range: Range<u64>) -> BlobStream {
        let is_checked = !self.is_small();
        self.stream_on(Way::Lean { is_checked }, range)
    }

    fn stream_on(self, way: Way, range: Range<u64>) -> BlobStream {
        let end = range.end.min(self.length);
        let is_whole = range.start == 0 && end == self.length;
        let is_hashed = is_whole && !matches!(way, Way::AtOnce(_));
        BlobStream {
            position: range.start,
            end,
            way,
            hasher: is_hashed.then(Box::default),
            reading: None,
            blob: self,
        }
    }

    /// Bytes that a stream of this range holds for as long as its reader takes.
    pub fn stream_memory(&self, range: &Range<u64>) -> usize {
        if self.is_small() {
            read_buffer::memory_of(capped(self.length, usize::MAX))
        } else {
            read_buffer::memory_of(capped(range.end.saturating_sub(range.start), READ_CHUNK_BYTES))
        }
    }

    /// Fills a buffer from this place of the content, unchecked. Blocks.
    ///
    /// # Errors
    /// [`ReadError::DamagedContent`] if the file ends within the content, [`ReadError::Io`] if it
    /// cannot be read or the buffer reaches beyond the content.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let place = self.place_in_file(offset, buffer.len())?;
        let read = self.file.read_exact_at(buffer, place);
        read.map_err(|error| self.read_error(error))
    }

    /// Reads all of a small content and checks it (I9). Blocks.
    ///
    /// # Errors
    /// As [`Blob::read_exact_at`], and [`ReadError::DamagedContent`] if the digest is another. A
    /// content beyond [`INLINE_BYTES_MAX`] is not read: it is to be streamed.
    pub(crate) fn read_whole(&self) -> Result<Bytes, ReadError> {
        let mut buffer = vec![0; self.small_length()?];
        self.read_exact_at(&mut buffer, 0)?;
        self.check(&blake3::hash(&buffer))?;
        Ok(buffer.into())
    }

    /// Reads all of a content of any length and checks it (I9); `pace` is told of the bytes of
    /// each piece and ends the reading with `false`. Gives the content's CRC-32, `None` if the
    /// reading was ended. Blocks.
    ///
    /// # Errors
    /// As [`Blob::read_exact_at`], and [`ReadError::DamagedContent`] if the digest is another.
    pub(crate) fn verify(
        &self,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<u32>, ReadError> {
        let (mut digest, mut crc32) = (blake3::Hasher::new(), crc32fast::Hasher::new());
        let mut buffer = vec![0; capped(self.length, READ_CHUNK_BYTES)];
        let mut offset = 0;
        while offset < self.length {
            let length = capped(self.length - offset, READ_CHUNK_BYTES);
            let chunk = buffer.get_mut(..length).unwrap_or_default();
            self.read_exact_at(chunk, offset)?;
            digest.update(chunk);
            crc32.update(chunk);
            offset += byte_count(length);
            if !pace(byte_count(length)) {
                return Ok(None);
            }
        }
        self.check(&digest.finalize())?;
        Ok(Some(crc32.finalize()))
    }

    /// As [`Blob::read_exact_at`] into memory of its own, `None` instead of waiting for the disk.
    fn read_nowait(&self, offset: u64, length: usize) -> Result<Option<Bytes>, ReadError> {
        let place = self.place_in_file(offset, length)?;
        let mut buffer = ReadBuffer::of(length);
        let read = self.file.read_exact_at_nowait(buffer.as_mut_slice(), place);
        let is_read = read.map_err(|error| self.read_error(error))?;
        Ok(is_read.then(|| buffer.into_bytes()))
    }

    fn is_small(&self) -> bool {
        self.length <= INLINE_BYTES_MAX
    }

    fn small_length(&self) -> Result<usize, ReadError> {
        let length = usize::try_from(self.length).ok();
        length.filter(|_| self.is_small()).ok_or_else(|| {
            let message = "a large content is read in pieces";
            self.read_error(io::Error::new(io::ErrorKind::InvalidInput, message))
        })
    }

    fn place_in_file(&self, offset: u64, length: usize) -> Result<u64, ReadError> {
        let end = offset.checked_add(byte_count(length));
        if end.is_none_or(|end| end > self.length) {
            let message = "a read beyond the content's end";
            let error = io::Error::new(io::ErrorKind::InvalidInput, message);
            return Err(self.read_error(error));
        }
        let place = self.offset.checked_add(offset);
        place.ok_or_else(|| self.damaged(Fault::EndsEarly, "its place is beyond any file"))
    }

    fn check(&self, actual: &blake3::Hash) -> Result<(), ReadError> {
        if actual.as_bytes() == self.digest.as_bytes() {
            Ok(())
        } else {
            let reason = format!("its bytes have the digest {actual}");
            Err(self.damaged(Fault::WrongBytes, &reason))
        }
    }

    fn read_error(&self, error: io::Error) -> ReadError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.damaged(Fault::EndsEarly, "the file ends before it")
        } else {
            ReadError::Io { what: "a content", source: error }
        }
    }

    fn damaged(&self, fault: Fault, reason: &str) -> ReadError {
        let Self { digest, length, file, offset, quarantine } = self;
        if let Some((quarantine, place)) = quarantine {
            quarantine.note(*digest, *place, fault);
        }
        let reason = format!("{length} bytes at byte {offset} of {file:?}: {reason}");
        ReadError::DamagedContent { digest: *digest, reason }
    }
}

/// Chunks of a content in order.
#[derive(Debug)]
pub struct BlobStream {
    blob: Blob,
    /// Where in the content the next chunk begins.
    position: u64,
    /// Where in the content the last chunk ends.
    end: u64,
    way: Way,
    /// Hashes a content that is read whole in pieces.
    hasher: Option<Box<blake3::Hasher>>,
    /// A read on the blocking pool. Kept here so that a dropped future loses no chunk: the next
    /// one wants the same bytes.
    reading: Option<JoinHandle<Result<Bytes, ReadError>>>,
}

/// How a content is read.
#[derive(Debug)]
enum Way {
    /// A small one: all its bytes, once they are read and checked.
    AtOnce(Option<Bytes>),
    /// A large one.
    Pieces,
    /// Any, in short pieces; a small one is checked before the first.
    Lean { is_checked: bool },
}

impl BlobStream {
    /// The next chunk, `None` at the end. After an error nothing follows. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.position >= self.end {
            return None;
        }
        let chunk = match self.way {
            Way::AtOnce(_) => self.next_of_small().await,
            Way::Pieces => self.next_of_pieces(READ_CHUNK_BYTES).await,
            Way::Lean { is_checked } => self.next_lean(is_checked).await,
        };
        match &chunk {
            Ok(bytes) => self.position += byte_count(bytes.len()),
            Err(_) => self.position = self.end,
        }
        Some(chunk)
    }

    async fn next_of_small(&mut self) -> Result<Bytes, ReadError> {
        let whole = match &mut self.way {
            Way::AtOnce(whole) => whole.take(),
            Way::Pieces | Way::Lean { .. } => None,
        };
        let whole = if let Some(whole) = whole { whole } else { self.checked_whole().await? };
        let start = capped(self.position, whole.len());
        let end = whole.len().min(start + self.next_length(READ_CHUNK_BYTES));
        if start == 0 && end == whole.len() {
            return Ok(whole);
        }
        let chunk = whole.slice(start..end);
        self.way = Way::AtOnce(Some(whole));
        Ok(chunk)
    }

    /// All bytes of a small content.
    async fn checked_whole(&mut self) -> Result<Bytes, ReadError> {
        let whole = self.fetch(0, self.blob.small_length()?).await?;
        self.blob.check(&blake3::hash(&whole))?;
        Ok(whole)
    }

    async fn next_lean(&mut self, is_checked: bool) -> Result<Bytes, ReadError> {
        if !is_checked {
            drop(self.checked_whole().await?);
            self.way = Way::Lean { is_checked: true };
        }
        self.next_of_pieces(READ_LEAN_CHUNK_BYTES).await
    }

    async fn next_of_pieces(&mut self, chunk_max: usize) -> Result<Bytes, ReadError> {
        let chunk = self.fetch(self.position, self.next_length(chunk_max)).await?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
            if self.position + byte_count(chunk.len()) == self.blob.length {
                self.blob.check(&hasher.finalize())?;
            }
        }
        Ok(chunk)
    }

    /// Bytes of the next chunk.
    fn next_length(&self, chunk_max: usize) -> usize {
        capped(self.end - self.position, chunk_max)
    }

    /// Reads bytes, on the blocking pool only if they are not cached.
    async fn fetch(&mut self, offset: u64, length: usize) -> Result<Bytes, ReadError> {
        if self.reading.is_none()
            && let Some(bytes) = self.blob.read_nowait(offset, length)?
        {
            return Ok(bytes);
        }
        let blob = &self.blob;
        let reading = self.reading.get_or_insert_with(|| {
            let blob = blob.clone();
            tokio::task::spawn_blocking(move || {
                let mut buffer = vec![0; length];
                blob.read_exact_at(&mut buffer, offset)?;
                Ok(buffer.into())
            })
        });
        let outcome = reading.await;
        self.reading = None;
        outcome.unwrap_or_else(|error| Err(self.blob.read_error(io::Error::other(error))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_disk::MemoryDisk;
    use super::super::test_runtime::{block_on, drop_half_way};
    use super::*;
    use crate::disk::{Disk, OpenMode};

    const LARGE: usize = (1 << 20) + 300_000;

    fn content(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    /// A content that lies in a file at byte 100, between bytes that are none of its own.
    fn stored(disk: &MemoryDisk, content: &[u8]) -> Blob {
        let file = disk.open("file", OpenMode::CreateNew).unwrap();
        let pieces = [&[1; 100], content, &[2; 100]].map(io::IoSlice::new);
        file.write_all_at(&pieces, 0).unwrap();
        Blob::new(Digest::of(content), byte_count(content.len()), file, 100)
    }

    async fn read(mut stream: BlobStream) -> (Vec<u8>, Option<ReadError>) {
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => {
                    assert!(!chunk.is_empty() && chunk.len() <= READ_CHUNK_BYTES);
                    bytes.extend_from_slice(&chunk);
                }
                Err(error) => {
                    assert!(stream.next().await.is_none());
                    return (bytes, Some(error));
                }
            }
        }
        (bytes, None)
    }

    #[tokio::test]
    async fn contents_and_ranges_come_back_whether_cached_or_not() {
        for is_cached in [true, false] {
            for length in [0, 1, 20_000, READ_CHUNK_BYTES, 1 << 20, LARGE] {
                let disk = MemoryDisk::default();
                let content = content(length);
                let blob = stored(&disk, &content);
                if !is_cached {
                    disk.forget_cache();
                }
                for range in [
                    0..length,
                    0..length / 2,
                    length / 3..length,
                    length / 3..length / 2,
                    length..length + 10,
                    0..usize::MAX,
                ] {
                    let asked = byte_count(range.start)..byte_count(range.end);
                    let (bytes, error) = read(blob.clone().stream(asked.clone())).await;
                    let end = range.end.min(length);
                    assert!(error.is_none());
                    assert!(bytes == content[range.start.min(end)..end], "{range:?}");
                    let (lean, error) = read(blob.clone().stream_lean(asked)).await;
                    assert!(error.is_none());
                    assert!(bytes == lean, "{range:?}");
                }
                assert_eq!(disk.waited_reads() == 0, is_cached || length == 0);
            }
        }
    }

    #[tokio::test]
    async fn a_content_of_one_chunk_is_given_away_and_what_is_left_of_another_is_held() {
        let disk = MemoryDisk::default();
        let blob = stored(&disk, &content(20_000));
        let mut whole = blob.clone().stream(0..20_000);
        assert_eq!(whole.next().await.unwrap().unwrap(), content(20_000));
        assert!(matches!(whole.way, Way::AtOnce(None)));
        let mut part = blob.clone().stream(1..20_000);
        assert_eq!(part.next().await.unwrap().unwrap(), content(20_000)[1..]);
        assert!(matches!(part.way, Way::AtOnce(Some(_))));
        assert_eq!(blob.stream_memory(&(0..20_000)), 32 << 10, "what its buffer has");
    }

    #[tokio::test]
    async fn a_lean_stream_holds_little_and_serves_no_content_whole_that_rots_meanwhile() {
        for length in [600_000, LARGE] {
            let disk = MemoryDisk::default();
            let blob = stored(&disk, &content(length));
            let mut stream = blob.clone().stream_lean(0..byte_count(length));
            let first = stream.next().await.unwrap().unwrap();
            assert_eq!(first.len(), READ_LEAN_CHUNK_BYTES);
            assert!(matches!(stream.way, Way::Lean { is_checked: true }), "nothing else is held");
            disk.damage("file", 100 + length - 1);
            let (rest, error) = read(stream).await;
            assert!(matches!(error, Some(ReadError::DamagedContent { .. })));
            assert!(first.len() + rest.len() < length);
        }
    }

    #[tokio::test]
    async fn rotten_bytes_of_a_small_content_are_not_served_at_all() {
        let disk = MemoryDisk::default();
        let blob = stored(&disk, &content(600_000));
        disk.damage("file", 100 + 599_999);
        let ranges = [0..600_000, 0..10, 300_000..300_001];
        let streams = ranges
            .map(|range| [blob.clone().stream(range.clone()), blob.clone().stream_lean(range)]);
        for stream in streams.into_iter().flatten() {
            let (bytes, error) = read(stream).await;
            assert!(bytes.is_empty());
            let named = |named: Digest| named == blob.digest();
            assert!(
                matches!(error, Some(ReadError::DamagedContent { digest, .. }) if named(digest))
            );
        }
        assert!(matches!(blob.read_whole(), Err(ReadError::DamagedContent { .. })));
        // They are kept for inspection.
        assert_eq!(disk.content("file").len(), 600_200);
    }

    #[tokio::test]
    async fn rotten_bytes_of_a_large_content_are_never_served_whole() {
        for place in [100, 100 + LARGE / 2, 100 + LARGE - 1] {
            let disk = MemoryDisk::default();
            let blob = stored(&disk, &content(LARGE));
            disk.damage("file", place);
            let (bytes, error) = read(blob.clone().stream(0..byte_count(LARGE))).await;
            assert!(matches!(error, Some(ReadError::DamagedContent { .. })));
            assert_eq!(bytes.len(), LARGE - LARGE % READ_CHUNK_BYTES);
        }
    }

    #[tokio::test]
    async fn bytes_around_a_content_do_not_matter() {
        let disk = MemoryDisk::default();
        let content = content(1_000);
        let blob = stored(&disk, &content);
        disk.damage("file", 99);
        disk.damage("file", 1_100);
        assert_eq!(blob.read_whole().unwrap(), content);
    }

    #[tokio::test]
    async fn a_file_that_ends_too_early_is_damage_and_a_broken_disk_is_not() {
        for length in [1_000, LARGE] {
            let disk = MemoryDisk::default();
            let blob = stored(&disk, &content(length));
            let end = byte_count(length);
            blob.file.set_len(100 + end - 1).unwrap();
            let (bytes, error) = read(blob.clone().stream(0..end)).await;
            assert!(bytes.len() < length);
            assert!(matches!(error, Some(ReadError::DamagedContent { .. })));
            disk.fail_on("read");
            let (_, error) = read(blob.clone().stream(0..end)).await;
            assert!(matches!(error, Some(ReadError::Io { .. })));
        }
    }

    #[test]
    fn a_dropped_future_loses_no_chunk_and_reads_nothing_twice() {
        block_on(async {
            for length in [600_000, LARGE] {
                let disk = MemoryDisk::default();
                disk.forget_cache();
                let content = content(length);
                let mut stream = stored(&disk, &content).stream(0..byte_count(length));
                drop_half_way(stream.next()).await;
                let (bytes, error) = read(stream).await;
                assert!(bytes == content && error.is_none());
                let reads = if length == LARGE { LARGE.div_ceil(READ_CHUNK_BYTES) } else { 1 };
                assert_eq!(disk.waited_reads(), reads);
            }
        });
    }

    #[test]
    fn reads_beyond_a_content_are_refused() {
        let disk = MemoryDisk::default();
        let blob = stored(&disk, &content(10));
        let mut buffer = [0; 4];
        blob.read_exact_at(&mut buffer, 6).unwrap();
        assert_eq!(buffer, [6, 7, 8, 9]);
        assert!(blob.read_exact_at(&mut buffer, 7).is_err());
        assert!(blob.read_exact_at(&mut buffer, u64::MAX).is_err());
        assert!(stored(&MemoryDisk::default(), &content(LARGE)).read_whole().is_err());
    }
}
