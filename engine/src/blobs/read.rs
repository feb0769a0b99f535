//! Contents on their way out, checked against their digest (I9).
//!
//! A small content is read whole, checked, and then handed out in chunks, for a range too. A large
//! one is hashed chunk by chunk where all of it is asked for, and its last chunk is withheld until
//! the digest is right, so a client never holds a whole content that is wrong. A range of a large
//! content cannot be checked without reading the rest; the scrub does that.
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
use crate::limits::{INLINE_BYTES_MAX, READ_CHUNK_BYTES};
use crate::model::Digest;

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
}

impl Blob {
    /// Describes a content that lies in an open file.
    pub(crate) fn new(digest: Digest, length: u64, file: Arc<dyn DiskFile>, offset: u64) -> Self {
        Self {
            digest,
            length,
            file,
            offset,
        }
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
    pub fn stream(&self, range: Range<u64>) -> BlobStream {
        let end = range.end.min(self.length);
        let is_whole = range.start == 0 && end == self.length;
        BlobStream {
            position: range.start,
            end,
            whole: None,
            hasher: (is_whole && !self.is_small()).then(Box::default),
            reading: None,
            blob: self.clone(),
        }
    }

    /// Fills a buffer from this place of the content, unchecked. Blocks.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if the file ends within the content, [`ReadError::Io`] if it cannot
    /// be read or the buffer reaches beyond the content.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let place = self.place_in_file(offset, buffer.len())?;
        let read = self.file.read_exact_at(buffer, place);
        read.map_err(|error| self.read_error(error))
    }

    /// Reads all of a small content and checks it (I9). Blocks.
    ///
    /// # Errors
    /// As [`Blob::read_exact_at`], and [`ReadError::Corrupt`] if the digest is another. A content
    /// beyond [`INLINE_BYTES_MAX`] is not read: it is to be streamed.
    pub(crate) fn read_whole(&self) -> Result<Bytes, ReadError> {
        let mut buffer = vec![0; self.small_length()?];
        self.read_exact_at(&mut buffer, 0)?;
        self.check(&blake3::hash(&buffer))?;
        Ok(buffer.into())
    }

    /// As [`Blob::read_exact_at`] into new memory, `None` instead of waiting for the disk.
    fn read_nowait(&self, offset: u64, length: usize) -> Result<Option<Bytes>, ReadError> {
        let place = self.place_in_file(offset, length)?;
        let mut buffer = vec![0; length];
        let read = self.file.read_exact_at_nowait(&mut buffer, place);
        let is_read = read.map_err(|error| self.read_error(error))?;
        Ok(is_read.then(|| buffer.into()))
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
        place.ok_or_else(|| self.corrupt("its place is beyond any file"))
    }

    fn check(&self, actual: &blake3::Hash) -> Result<(), ReadError> {
        if actual.as_bytes() == self.digest.as_bytes() {
            Ok(())
        } else {
            Err(self.corrupt(&format!("its bytes have the digest {actual}")))
        }
    }

    fn read_error(&self, error: io::Error) -> ReadError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.corrupt("the file ends before it")
        } else {
            ReadError::Io {
                what: "a content",
                source: error,
            }
        }
    }

    fn corrupt(&self, reason: &str) -> ReadError {
        let Self {
            digest,
            length,
            file,
            offset,
        } = self;
        ReadError::Corrupt {
            what: "blob",
            place: format!("{digest}, {length} bytes at byte {offset} of {file:?}: {reason}"),
        }
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
    /// All bytes of a small content, checked.
    whole: Option<Bytes>,
    /// Hashes a large content that is read whole.
    hasher: Option<Box<blake3::Hasher>>,
    /// A read on the blocking pool. Kept here so that a dropped future loses no chunk: the next
    /// one wants the same bytes.
    reading: Option<JoinHandle<Result<Bytes, ReadError>>>,
}

impl BlobStream {
    /// The next chunk, `None` at the end. After an error nothing follows. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.position >= self.end {
            return None;
        }
        let chunk = if self.blob.is_small() {
            self.next_of_small().await
        } else {
            self.next_of_large().await
        };
        match &chunk {
            Ok(bytes) => self.position += byte_count(bytes.len()),
            Err(_) => self.position = self.end,
        }
        Some(chunk)
    }

    async fn next_of_small(&mut self) -> Result<Bytes, ReadError> {
        let whole = match self.whole.take() {
            Some(whole) => whole,
            None => {
                let whole = self.fetch(0, self.blob.small_length()?).await?;
                self.blob.check(&blake3::hash(&whole))?;
                whole
            }
        };
        let start = capped(self.position, whole.len());
        let length = self.next_length();
        let chunk = whole.slice(start..whole.len().min(start + length));
        self.whole = Some(whole);
        Ok(chunk)
    }

    async fn next_of_large(&mut self) -> Result<Bytes, ReadError> {
        let chunk = self.fetch(self.position, self.next_length()).await?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
            if self.position + byte_count(chunk.len()) == self.blob.length {
                self.blob.check(&hasher.finalize())?;
            }
        }
        Ok(chunk)
    }

    /// Bytes of the next chunk.
    fn next_length(&self) -> usize {
        capped(self.end - self.position, READ_CHUNK_BYTES)
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
