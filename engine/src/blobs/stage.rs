//! A content between its first byte and the change that names it.
//!
//! An [`Arrival`] collects bytes in one buffer that its share of the budget covers. What fits
//! there stays in memory and is hashed once, in one piece; what does not goes to a staging file,
//! a buffer at a time, and is hashed on the way; where there is a spare buffer, writing one,
//! hashing it and receiving the next take place at the same time ([`Arrival::hand_over`]). At its
//! end the digest is pinned, then looked up, and the [`StagedBlob`] holds nothing (known), the
//! bytes (small) or a published file (large).
//! Synchronous: [`super::upload`] calls what may block on the blocking pool.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{MutationError, ReadError};
use crate::limits::{FILE_BYTES_MAX, KEPT_PIECE_MEMORY_BYTES, UPLOAD_FIRST_BYTES};
use crate::model::change::LargeFileId;
use crate::model::{Digest, FileRecord};
use crate::resumable::Arrived;

use super::budget::{Budget, Share};
use super::buffer::{BUFFER_BYTES_MAX, Buffer};
use super::compressible::is_compressible;
use super::large::{Hashes, PublishedFile, StagingFile};
use super::spares::Exchanged;
use super::{Blobs, Pin, abandoned, byte_count, staging_error};

/// A content that has arrived whole and is kept until it is dropped or named by a file.
///
/// Its digest is pinned. Dropped, it leaves nothing behind: its memory goes back to the budget
/// and its file, if it has one, is removed.
pub struct StagedBlob {
    digest: Digest,
    length: u64,
    crc32: u32,
    compressible: bool,
    pin: Pin,
    body: StagedBody,
    /// The file of a large content, as long as no record names it.
    file: Option<PublishedFile>,
}

/// Where the bytes of a staged content are.
#[derive(Debug, Clone)]
pub(crate) enum StagedBody {
    /// The index holds the content.
    Known,
    /// Here; they count against the upload budget until the last clone is dropped.
    Memory(Bytes),
    /// In a published file (I2).
    Large(LargeFileId),
}

impl StagedBlob {
    /// A content that a file of the store has, pinned before that file was looked up.
    pub(crate) fn known(pin: Pin, record: &FileRecord) -> Self {
        let FileRecord { digest, length, crc32, compressible, .. } = *record;
        Self { digest, length, crc32, compressible, pin, body: StagedBody::Known, file: None }
    }

    /// A content that an upload brought which goes on over restarts: in a published file, or known.
    pub(crate) fn resumed(pin: Pin, arrived: &Arrived, file: Option<PublishedFile>) -> Self {
        let Arrived { digest, length, crc32, compressible } = *arrived;
        let body = file.as_ref().map_or(StagedBody::Known, |file| StagedBody::Large(file.id()));
        Self { digest, length, crc32, compressible, pin, body, file }
    }

    /// Name of the content.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether the content's row was about to be removed when the content was pinned.
    pub(crate) fn is_doomed(&self) -> bool {
        self.pin.is_doomed()
    }

    /// Whether the journal has the content since it was pinned, see [`Pin::is_brought`].
    pub(crate) fn is_brought(&self) -> bool {
        self.pin.is_brought()
    }

    /// CRC-32 (IEEE) of the content.
    pub(crate) fn crc32(&self) -> u32 {
        self.crc32
    }

    /// Whether compressing the content is worth the time, by an estimate.
    pub(crate) fn compressible(&self) -> bool {
        self.compressible
    }

    /// Where the bytes are.
    pub(crate) fn body(&self) -> &StagedBody {
        &self.body
    }

    /// Leaves the content to the journal, once a record with it was handed to the disk, whether
    /// that succeeded or not. The pin is to be held until the change is applied (I3).
    ///
    /// A large file is then removed only where the change is refused, or loses to another file of
    /// the same content, when it is applied ([`Blobs::remove_large`]). Where the outcome is unknown
    /// it stays: replay may find the record, and otherwise the next start's sweep takes the file.
    pub(crate) fn into_pin(self) -> Pin {
        if let Some(file) = self.file {
            file.keep();
        }
        self.pin
    }
}

impl fmt::Debug for StagedBlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = match &self.body {
            StagedBody::Known => "known",
            StagedBody::Memory(_) => "in memory",
            StagedBody::Large(_) => "in a file",
        };
        formatter
            .debug_struct("StagedBlob")
            .field("digest", &self.digest)
            .field("length", &self.length)
            .field("body", &body)
            .finish_non_exhaustive()
    }
}

/// A content that arrives.
pub(super) struct Arrival {
    blobs: Arc<Blobs>,
    /// Covers `capacity` bytes, but for the least buffer of a staging file.
    share: Share,
    /// Bytes that the buffer may hold now.
    capacity: usize,
    /// What has not been written to the file.
    buffer: Buffer,
    /// Bytes that have arrived.
    length: u64,
    /// Whether any have left the buffer.
    has_spilled: bool,
    /// Where they are, unless a piece is being written ([`Arrival::hand_over`]).
    spilled: Option<Spilled>,
    /// Estimated from the first bytes that left.
    compressible: bool,
}

/// The part of an arrival that has left the buffer.
#[derive(Debug)]
pub(super) struct Spilled {
    pub(super) file: StagingFile,
    pub(super) hashes: Hashes,
}

/// A buffer's bytes on their way to the file, while others arrive.
pub(super) struct Unwritten {
    blobs: Arc<Blobs>,
    bytes: Arc<Exchanged>,
    /// With what left before them.
    file: Option<StagingFile>,
}

/// The same bytes, to be hashed.
pub(super) struct Unhashed {
    bytes: Arc<Exchanged>,
    /// Of what left before them.
    hashes: Hashes,
}

impl Unwritten {
    /// Writes the bytes. Blocks.
    pub(super) fn write(self) -> Result<StagingFile, MutationError> {
        append(self.file, &self.blobs, self.bytes.as_slice())
    }
}

impl Unhashed {
    /// Hashes the bytes; takes as long as the processor needs for a buffer.
    pub(super) fn hash(mut self) -> Hashes {
        self.hashes.update(self.bytes.as_slice());
        self.hashes
    }
}

/// What the next bytes are added to.
fn parts(spilled: Option<Spilled>) -> (Option<StagingFile>, Hashes) {
    spilled.map_or_else(Default::default, |Spilled { file, hashes }| (Some(file), hashes))
}

/// Adds bytes to a file, which is made if it is not there.
fn append(
    file: Option<StagingFile>,
    blobs: &Blobs,
    bytes: &[u8],
) -> Result<StagingFile, MutationError> {
    let write = || {
        let mut file = match file {
            Some(file) => file,
            None => StagingFile::create(&blobs.disk, blobs.next_id())?,
        };
        file.append(bytes)?;
        Ok(file)
    };
    write().map_err(staging_error)
}

impl Arrival {
    /// Starts a content with so many bytes of memory, as far as the share covers them.
    pub(super) fn new(blobs: Arc<Blobs>, share: Share, capacity: usize) -> Self {
        Self {
            blobs,
            capacity: capacity.min(share.bytes()).min(BUFFER_BYTES_MAX),
            share,
            buffer: Buffer::default(),
            length: 0,
            has_spilled: false,
            spilled: None,
            compressible: false,
        }
    }

    /// The budget that its share is of.
    pub(super) fn budget(&self) -> &Budget {
        &self.blobs.budget
    }

    /// Bytes that have arrived.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether all bytes are in the buffer, so that no call but [`Arrival::spill`] blocks.
    pub(super) fn is_in_memory(&self) -> bool {
        !self.has_spilled
    }

    /// Whether no memory is kept for it, as before its first byte and after [`Arrival::retire`].
    pub(super) fn needs_share(&self) -> bool {
        self.capacity == 0
    }

    /// Goes on with this memory.
    pub(super) fn admit(&mut self, share: Share, capacity: usize) {
        self.capacity = capacity.min(share.bytes()).min(BUFFER_BYTES_MAX);
        self.share = share;
    }

    /// Gives all memory back: what it holds goes to the staging file. Blocks.
    pub(super) fn retire(&mut self) -> Result<(), MutationError> {
        if !self.buffer.is_empty() {
            self.append_to_file()?;
        }
        self.buffer = Buffer::default();
        self.capacity = 0;
        self.share = Share::default();
        Ok(())
    }

    /// Whether the next byte needs more memory or a file.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.room(self.capacity) == 0
    }

    /// Refuses bytes that would make the content too large.
    pub(super) fn check_length(&self, more: usize) -> Result<(), MutationError> {
        let actual = self.length.saturating_add(byte_count(more));
        if actual > FILE_BYTES_MAX {
            return Err(too_large(actual));
        }
        Ok(())
    }

    /// Copies as many of the bytes as there is memory for, and returns the others. Where any are
    /// returned, [`Arrival::spill`] makes room.
    pub(super) fn push<'bytes>(&mut self, bytes: &'bytes [u8]) -> &'bytes [u8] {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.room();
            if room == 0 {
                break;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.buffer.extend(now);
            self.length += byte_count(now.len());
            rest = later;
        }
        rest
    }

    /// Keeps bytes that are as many as the content should have where they are, if there is plenty of memory;
    /// gives them back otherwise.
    pub(super) fn keep(&mut self, whole: Bytes) -> Result<(), Bytes> {
        if self.length > 0 || !self.needs_share() {
            return Err(whole);
        }
        let Some(share) = self.budget().try_acquire_of_plenty(KEPT_PIECE_MEMORY_BYTES) else {
            return Err(whole);
        };
        self.admit(share, whole.len());
        self.length = byte_count(whole.len());
        self.buffer = Buffer::of(whole);
        Ok(())
    }

    /// Fills the buffer from a reader, with at most so many bytes; `false` at the reader's end.
    pub(super) fn fill_from(&mut self, reader: &mut dyn Read, bytes_max: u64) -> io::Result<bool> {
        let wanted = bytes_max.min(byte_count(self.room()));
        let mut piece = reader.take(wanted);
        let outcome = self.buffer.extend_from(&mut piece);
        let read = wanted - piece.limit();
        self.length += read;
        outcome?;
        Ok(read == wanted)
    }

    /// Bytes that fit the buffer, after it has grown if it was full and the budget let it.
    fn room(&mut self) -> usize {
        if self.is_full() && !self.has_spilled && self.capacity < BUFFER_BYTES_MAX {
            let doubled = (self.capacity * 2).clamp(UPLOAD_FIRST_BYTES, BUFFER_BYTES_MAX);
            let more = doubled - self.capacity;
            if let Some(share) = self.blobs.budget.try_acquire(more) {
                self.share.merge(share);
                self.capacity = doubled;
            }
        }
        if self.is_full() {
            return 0;
        }
        let left = self.length - byte_count(self.buffer.len());
        self.buffer.reserve(self.capacity, left);
        self.buffer.room(self.capacity)
    }

    /// Moves the buffer's bytes to the staging file, which is made if it is not there. Blocks.
    fn append_to_file(&mut self) -> Result<(), MutationError> {
        let bytes = self.buffer.as_slice();
        if !std::mem::replace(&mut self.has_spilled, true) {
            self.compressible = is_compressible(bytes);
        }
        let (file, mut hashes) = parts(self.spilled.take());
        let file = append(file, &self.blobs, bytes)?;
        hashes.update(bytes);
        self.spilled = Some(Spilled { file, hashes });
        self.buffer.restart(self.length);
        Ok(())
    }

    /// Makes room for more bytes by exchanging the buffer for another one, for what it holds to be
    /// written and hashed meanwhile, on a thread each; `None` if there is none to be had, and
    /// [`Arrival::spill`] is to be called. Until [`Arrival::take_back`], nothing else of this
    /// arrival may be written.
    pub(super) fn hand_over(&mut self) -> Option<(Unwritten, Unhashed)> {
        if self.capacity < BUFFER_BYTES_MAX {
            return None;
        }
        let bytes = Arc::new(self.blobs.spares.exchange(&mut self.buffer, self.length)?);
        if !std::mem::replace(&mut self.has_spilled, true) {
            self.compressible = is_compressible(bytes.as_slice());
        }
        let (file, hashes) = parts(self.spilled.take());
        let unhashed = Unhashed { bytes: Arc::clone(&bytes), hashes };
        Some((Unwritten { blobs: Arc::clone(&self.blobs), bytes, file }, unhashed))
    }

    /// What was handed over is written and hashed.
    pub(super) fn take_back(&mut self, spilled: Spilled) {
        self.spilled = Some(spilled);
    }

    /// Makes room for more bytes by moving those in the buffer to the staging file. Blocks.
    pub(super) fn spill(&mut self) -> Result<(), MutationError> {
        if !self.buffer.is_empty() {
            self.append_to_file()?;
        }
        if self.budget().is_short() {
            self.shrink();
        } else {
            self.grow();
        }
        // Without this, a content that found the budget empty would be written in tiny pieces.
        self.capacity = self.capacity.max(UPLOAD_FIRST_BYTES);
        Ok(())
    }

    /// Whether it holds more memory than it needs to go on in a file.
    pub(super) fn has_more_than_least(&self) -> bool {
        self.share.bytes() > UPLOAD_FIRST_BYTES
    }

    /// Gives what an empty buffer has beyond the least one to those who wait for memory.
    fn shrink(&mut self) {
        if self.has_more_than_least() {
            self.buffer = Buffer::default();
            self.capacity = UPLOAD_FIRST_BYTES;
            self.share.shrink_to(UPLOAD_FIRST_BYTES);
        }
    }

    /// Makes an empty buffer one of full size, if there is memory for that.
    fn grow(&mut self) {
        let more = BUFFER_BYTES_MAX.saturating_sub(self.share.bytes());
        if self.capacity < BUFFER_BYTES_MAX
            && let Some(share) = self.budget().try_acquire(more)
        {
            self.share.merge(share);
            self.capacity = BUFFER_BYTES_MAX;
        }
    }

    /// Ends the content: hashes, pins, asks whether it is known, and publishes it if it is large
    /// and not known. Blocks unless [`Arrival::is_in_memory`].
    pub(super) fn finish(
        mut self,
        known: impl FnOnce(&Digest) -> Result<bool, ReadError>,
    ) -> Result<StagedBlob, MutationError> {
        if self.has_spilled && self.spilled.is_none() {
            // What is in the buffer is not all of it.
            return Err(abandoned());
        }
        if self.has_spilled && !self.buffer.is_empty() {
            self.append_to_file()?;
        }
        let (digest, crc32, compressible) = if let Some(Spilled { hashes, .. }) = &self.spilled {
            let (digest, crc32) = hashes.finish();
            (digest, crc32, self.compressible)
        } else {
            let bytes = self.buffer.as_slice();
            (Digest::of(bytes), crc32fast::hash(bytes), is_compressible(bytes))
        };
        // I3: pinned first, then looked up; a row that is about to go does not count.
        let pin = self.blobs.pins.pin(digest);
        let is_known = !pin.is_doomed() && look_up(known, &digest)?;
        let length = self.length;
        if is_known {
            self.blobs.counters.duplicates.increment();
            self.blobs.counters.duplicate_bytes.add(length);
        }
        let file = match self.spilled.take() {
            Some(Spilled { file, .. }) if !is_known => {
                Some(file.publish(&digest).map_err(staging_error)?)
            }
            _ => None,
        };
        let body = match &file {
            Some(file) => StagedBody::Large(file.id()),
            None if is_known => StagedBody::Known,
            None => StagedBody::Memory(self.into_bytes()),
        };
        Ok(StagedBlob { digest, length, crc32, compressible, pin, body, file })
    }

    /// The buffer as bytes that hold their share of the budget, and no more, until they go.
    fn into_bytes(mut self) -> Bytes {
        self.buffer.shrink_to_fit();
        self.share.shrink_to(self.buffer.memory());
        Bytes::from_owner(Held { bytes: self.buffer, _share: self.share })
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Arrival")
            .field("length", &self.length)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Bytes and the memory they are counted as.
struct Held {
    bytes: Buffer,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

fn look_up(
    known: impl FnOnce(&Digest) -> Result<bool, ReadError>,
    digest: &Digest,
) -> Result<bool, MutationError> {
    known(digest).map_err(|error| MutationError::Read(Arc::new(error)))
}

/// What a caller is told whose content is beyond [`FILE_BYTES_MAX`].
pub(super) fn too_large(actual: u64) -> MutationError {
    MutationError::TooLarge { what: "a file", actual, limit: FILE_BYTES_MAX }
}
