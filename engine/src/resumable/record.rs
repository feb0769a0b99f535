//! The file that says what an upload is and how far it came.
//!
//! It begins with the terms: 8 bytes of magic, the length of the encoded terms (4 bytes, little
//! endian), the terms, and the BLAKE3 digest of all before it, 32 bytes. Behind it stand records of
//! [`RECORD_BYTES`] each, one behind the other, every one written and synced after what it tells of.
//! A record ends in 8 bytes of a digest over itself and the digest of the terms, so a torn one, or one
//! of another file, is none; of each kind the last good one counts.
//!
//! A file that has become long is made anew, of the terms and what counts, under another name, and takes
//! its name when it is durable: a crash leaves the one or the other, which say the same.

use std::io::{self, IoSlice};

use super::{ResumableId, ResumableTerms};
use crate::blobs::{STAGING, byte_count, capped, remove_if_there};
use crate::codec;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::model::change::LargeFileId;
use crate::model::{Digest, Timestamp};

const MAGIC: &[u8; 8] = b"GRANUPL1";

/// Bytes of a record.
const RECORD_BYTES: usize = 64;

/// Bytes of the longest terms: a name, and a list of tags as long as a header may be.
const TERMS_BYTES_MAX: usize = 4 << 20;

/// Bytes of records behind which a file is made anew: some 16,000, more than most uploads need.
const RECORDS_BYTES_MAX: u64 = 1 << 20;

/// Bytes of records that are read at a time.
const READ_BYTES: usize = RECORD_BYTES << 10;

/// How far an upload came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// So many bytes are durable.
    Progress { offset: u64, at: Timestamp },
    /// All have come, and the file is about to be renamed to that of a large content.
    Publishing { file: LargeFileId, digest: Digest },
    /// Its file was added.
    Added { digest: Digest, at: Timestamp },
}

impl Record {
    fn encode(&self, key: &[u8; 32]) -> [u8; RECORD_BYTES] {
        let (tag, first, second, digest) = match self {
            Self::Progress { offset, at } => (1, *offset, at.0.cast_unsigned(), [0; 32]),
            Self::Publishing { file, digest } => (2, file.start, file.number, digest.0),
            Self::Added { digest, at } => (3, 0, at.0.cast_unsigned(), digest.0),
        };
        let tag: u64 = tag;
        let mut bytes = [0; RECORD_BYTES];
        let parts: [&[u8]; 4] =
            [&tag.to_le_bytes(), &first.to_le_bytes(), &second.to_le_bytes(), &digest];
        let body = parts.concat();
        let check = checksum(key, &body);
        for (place, byte) in bytes.iter_mut().zip(body.iter().chain(&check)) {
            *place = *byte;
        }
        bytes
    }

    fn decode(bytes: &[u8; RECORD_BYTES], key: &[u8; 32]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<8>()?;
        if checksum(key, body) != *check {
            return None;
        }
        let (tag, rest) = body.split_first_chunk::<8>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (second, digest) = rest.split_first_chunk::<8>()?;
        let (first, second) = (u64::from_le_bytes(*first), u64::from_le_bytes(*second));
        let digest = Digest(*digest.first_chunk()?);
        match u64::from_le_bytes(*tag) {
            1 => Some(Self::Progress { offset: first, at: Timestamp(second.cast_signed()) }),
            2 => {
                let file = LargeFileId { start: first, number: second };
                Some(Self::Publishing { file, digest })
            }
            3 => Some(Self::Added { digest, at: Timestamp(second.cast_signed()) }),
            _ => None,
        }
    }
}

fn checksum(key: &[u8; 32], body: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(body);
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// What the records of a file say: of each kind the last.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Known {
    pub(super) progress: Option<(u64, Timestamp)>,
    pub(super) publishing: Option<(LargeFileId, Digest)>,
    pub(super) added: Option<(Digest, Timestamp)>,
}

impl Known {
    fn note(&mut self, record: Record) {
        match record {
            Record::Progress { offset, at } => self.progress = Some((offset, at)),
            Record::Publishing { file, digest } => self.publishing = Some((file, digest)),
            Record::Added { digest, at } => self.added = Some((digest, at)),
        }
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let progress = self.progress.map(|(offset, at)| Record::Progress { offset, at });
        let publishing = self.publishing.map(|(file, digest)| Record::Publishing { file, digest });
        let added = self.added.map(|(digest, at)| Record::Added { digest, at });
        [progress, publishing, added].into_iter().flatten()
    }
}

/// The file. It is opened for each record: there may be thousands of uploads, most of which wait for
/// their client or are done.
#[derive(Debug)]
pub(super) struct StateFile {
    id: ResumableId,
    /// Digest of the terms, with which records are told from those of other files.
    key: [u8; 32],
    /// Bytes of what stands before the records.
    head_bytes: u64,
    /// What the records before `end` say.
    known: Known,
    /// Where the next record goes.
    end: u64,
    /// Whether a record may stand there that could not be added.
    is_in_doubt: bool,
    /// Whether the name may still be that of the file before this one, after a power cut.
    has_unsynced_name: bool,
}

impl StateFile {
    /// Makes the file; its name is not durable yet.
    pub(super) fn create(
        disk: &dyn Disk,
        id: ResumableId,
        terms: &ResumableTerms,
    ) -> io::Result<Self> {
        let encoded = codec::encode(terms).map_err(io::Error::other)?;
        let length = u32::try_from(encoded.len()).map_err(io::Error::other)?;
        let head = [&MAGIC[..], &length.to_le_bytes(), &encoded].concat();
        let key = *blake3::hash(&head).as_bytes();
        let file = disk.open(&id.state_path(), OpenMode::CreateNew)?;
        file.write_all_at(&[IoSlice::new(&head), IoSlice::new(&key)], 0)?;
        file.sync_data()?;
        Ok(Self::new(id, key, byte_count(head.len() + key.len())))
    }

    fn new(id: ResumableId, key: [u8; 32], head_bytes: u64) -> Self {
        Self {
            id,
            key,
            head_bytes,
            known: Known::default(),
            end: head_bytes,
            is_in_doubt: false,
            has_unsynced_name: false,
        }
    }

    /// Reads the file; `None` if its making was interrupted.
    pub(super) fn open(
        disk: &dyn Disk,
        id: ResumableId,
    ) -> io::Result<Option<(Self, ResumableTerms)>> {
        let file = disk.open(&id.state_path(), OpenMode::ReadOnly)?;
        let length = file.len()?;
        let mut start = [0; 12];
        if length < byte_count(start.len()) {
            return Ok(None);
        }
        file.read_exact_at(&mut start, 0)?;
        let Some((magic, count)) = start.split_first_chunk::<8>() else { return Ok(None) };
        let count = count.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let count = capped(count.into(), usize::MAX);
        let head_bytes = byte_count(start.len() + count + 32);
        if magic != MAGIC || count > TERMS_BYTES_MAX || length < head_bytes {
            return Ok(None);
        }
        let mut head = vec![0; capped(head_bytes, usize::MAX)];
        file.read_exact_at(&mut head, 0)?;
        let Some((before, key)) = head.split_last_chunk::<32>() else { return Ok(None) };
        if blake3::hash(before).as_bytes() != key {
            return Ok(None);
        }
        let terms = before.get(start.len()..).unwrap_or_default();
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let terms = codec::decode(terms).map_err(damaged)?;
        let mut state = Self::new(id, *key, head_bytes);
        state.read_records(&*file, length)?;
        // Whichever of two files this is, it is to stay.
        state.has_unsynced_name = true;
        Ok(Some((state, terms)))
    }

    fn read_records(&mut self, file: &dyn DiskFile, length: u64) -> io::Result<()> {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let count = capped(length.saturating_sub(self.end), READ_BYTES);
            let piece = bytes.get_mut(..count - count % RECORD_BYTES).unwrap_or_default();
            if piece.is_empty() {
                return Ok(());
            }
            file.read_exact_at(piece, self.end)?;
            for record in piece.as_chunks().0 {
                let Some(record) = Record::decode(record, &self.key) else { return Ok(()) };
                self.known.note(record);
                self.end += byte_count(RECORD_BYTES);
            }
        }
    }

    /// What its records say.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// Whether a record that could not be added may be found all the same, until the next one is.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// Adds a record.
    ///
    /// # Durability
    /// It is durable when this returns; after an error it may be or not.
    pub(super) fn append(&mut self, disk: &dyn Disk, record: &Record) -> io::Result<()> {
        if self.end - self.head_bytes >= RECORDS_BYTES_MAX {
            self.make_anew(disk)?;
        }
        if self.has_unsynced_name {
            disk.sync_dir(STAGING)?;
            self.has_unsynced_name = false;
        }
        let file = disk.open(&self.id.state_path(), OpenMode::Existing)?;
        self.is_in_doubt = true;
        file.write_all_at(&[IoSlice::new(&record.encode(&self.key))], self.end)?;
        file.sync_data()?;
        self.end += byte_count(RECORD_BYTES);
        self.known.note(*record);
        self.is_in_doubt = false;
        Ok(())
    }

    /// Makes a file of what counts, which takes the name of this one.
    fn make_anew(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let before = disk.open(&self.id.state_path(), OpenMode::ReadOnly)?;
        let mut bytes = vec![0; capped(self.head_bytes, usize::MAX)];
        before.read_exact_at(&mut bytes, 0)?;
        for record in self.known.records() {
            bytes.extend(record.encode(&self.key));
        }
        let path = self.id.next_state_path();
        remove_if_there(disk, &path)?;
        let file = disk.open(&path, OpenMode::CreateNew)?;
        file.write_all_at(&[IoSlice::new(&bytes)], 0)?;
        file.sync_data()?;
        disk.rename(&path, &self.id.state_path())?;
        (self.end, self.has_unsynced_name) = (byte_count(bytes.len()), true);
        Ok(())
    }
}
