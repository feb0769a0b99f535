//! Reads a state back, checked as a whole before anything of it is believed.

use std::sync::Arc;

use super::FORMAT_VERSION;
use super::error::BackupError;
use super::state::{
    BLOCK_FILE, BLOCK_HEADER, BLOCK_ROWS, CONTENT_BYTES, ContentRow, END_BYTES, MAGIC,
    PREAMBLE_BYTES, StateHeader,
};
use super::tables::Part;
use crate::blobs::{byte_count, capped};
use crate::codec;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::limits::READ_CHUNK_BYTES;
use crate::model::{Digest, Sequence, Timestamp};

/// Bytes that a block may have: that of one row beyond the bound of a block.
const BLOCK_BYTES_MAX: usize = 128 << 20;

/// What a person wants to know of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSummary {
    /// Name, by which it is chosen.
    pub name: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// The last change that it contains.
    pub sequence: Sequence,
    /// Rows of all tables.
    pub rows: u64,
    /// Contents that these rows name, each counted once.
    pub contents: u64,
    /// Bytes of these contents.
    pub content_bytes: u64,
}

/// An open state, as its checksum says.
#[derive(Debug)]
pub(super) struct StateFile {
    file: Arc<dyn DiskFile>,
    path: String,
    header: StateHeader,
    contents_start: u64,
    contents: u64,
    content_bytes: u64,
    rows: u64,
}

/// One block of a state.
#[derive(Debug)]
pub(super) enum Block {
    Header(StateHeader),
    /// Name of the table, and its rows.
    Rows(String, Vec<u8>),
    /// Name of a file, and its bytes.
    File(String, Vec<u8>),
}

impl StateFile {
    /// Opens a state and checks all of it.
    pub(super) fn open(disk: &dyn Disk, path: &str) -> Result<Self, BackupError> {
        let state = Self::open_unchecked(disk, path)?;
        state.check_digest()?;
        Ok(state)
    }

    /// Opens a state to say what it is; only its frame is checked.
    pub(super) fn open_unchecked(disk: &dyn Disk, path: &str) -> Result<Self, BackupError> {
        let shown = format!("{}/{path}", disk.display());
        let file = disk.open(path, OpenMode::ReadOnly).map_err(BackupError::io(&shown))?;
        let length = file.len().map_err(BackupError::io(&shown))?;
        let cut = || BackupError::damaged(&shown, "it is cut short");
        let least = PREAMBLE_BYTES + byte_count(END_BYTES);
        let end_start = length.checked_sub(byte_count(END_BYTES)).filter(|_| length >= least);
        let end_start = end_start.ok_or_else(cut)?;
        let mut preamble = [0; 16];
        file.read_exact_at(&mut preamble, 0).map_err(BackupError::io(&shown))?;
        check_preamble(&preamble, *MAGIC, &shown)?;
        let mut end = [0; END_BYTES];
        file.read_exact_at(&mut end, end_start).map_err(BackupError::io(&shown))?;
        if !end.ends_with(MAGIC) {
            return Err(cut());
        }
        let mut numbers = end.as_slice();
        let mut number = || u64::take(&mut numbers).ok_or_else(cut);
        let (contents_start, contents) = (number()?, number()?);
        let (content_bytes, rows) = (number()?, number()?);
        let list_bytes = contents.checked_mul(byte_count(CONTENT_BYTES));
        let behind = list_bytes.and_then(|bytes| bytes.checked_add(contents_start));
        if behind != Some(end_start) || contents_start < PREAMBLE_BYTES {
            return Err(BackupError::damaged(&shown, "its numbers contradict each other"));
        }
        let header = StateHeader::V1 {
            store_format: 0,
            key: [0; 32],
            start: 0,
            sequence: Sequence::ZERO,
            taken: Timestamp(0),
        };
        let mut state =
            Self { file, path: shown, header, contents_start, contents, content_bytes, rows };
        match state.block_at(PREAMBLE_BYTES)? {
            (Block::Header(header), _) => state.header = header,
            (Block::Rows(..) | Block::File(..), _) => {
                return Err(state.damaged("it does not begin with its header"));
            }
        }
        Ok(state)
    }

    fn check_digest(&self) -> Result<(), BackupError> {
        let mut hasher = blake3::Hasher::new();
        let end = self.contents_start + self.contents * byte_count(CONTENT_BYTES) + 4 * 8;
        let mut buffer = vec![0; READ_CHUNK_BYTES];
        let mut at = 0;
        while at < end {
            let length = capped(end - at, buffer.len());
            let chunk = buffer.get_mut(..length).unwrap_or_default();
            self.read(chunk, at)?;
            hasher.update(chunk);
            at += byte_count(length);
        }
        let mut digest = [0; 32];
        self.read(&mut digest, end)?;
        if hasher.finalize() != blake3::Hash::from_bytes(digest) {
            return Err(self.damaged("its bytes are not those that were written"));
        }
        Ok(())
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), BackupError> {
        self.file.read_exact_at(buffer, at).map_err(BackupError::io(&self.path))
    }

    fn damaged(&self, reason: &str) -> BackupError {
        BackupError::damaged(&self.path, reason)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn header(&self) -> &StateHeader {
        &self.header
    }

    pub(super) fn contents(&self) -> u64 {
        self.contents
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn summary(&self, name: &str) -> StateSummary {
        let StateHeader::V1 { sequence, taken, .. } = self.header;
        StateSummary {
            name: name.to_owned(),
            taken,
            sequence,
            rows: self.rows,
            contents: self.contents,
            content_bytes: self.content_bytes,
        }
    }

    /// All blocks, in order, one in memory at a time.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Result<Block, BackupError>> + '_ {
        let mut at = Some(PREAMBLE_BYTES);
        std::iter::from_fn(move || {
            let start = at.take().filter(|start| *start < self.contents_start)?;
            let block = self.block_at(start);
            at = block.as_ref().ok().map(|(_, next)| *next);
            Some(block.map(|(block, _)| block))
        })
    }

    /// A block, and where the next one begins.
    fn block_at(&self, start: u64) -> Result<(Block, u64), BackupError> {
        let bad = || self.damaged("a block of it is none");
        let mut head = [0; 5];
        self.read(&mut head, start)?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_wide| bad())?;
        let next = start + 5 + byte_count(length);
        if length > BLOCK_BYTES_MAX || next > self.contents_start {
            return Err(bad());
        }
        let mut bytes = vec![0; length];
        self.read(&mut bytes, start + 5)?;
        let block = match kind {
            BLOCK_HEADER => {
                let header = codec::decode(&bytes);
                Block::Header(header.map_err(|error| self.damaged(&error.to_string()))?)
            }
            BLOCK_ROWS | BLOCK_FILE => {
                let mut rest = bytes.as_slice();
                let name = <&str>::take(&mut rest).ok_or_else(bad)?.to_owned();
                let named = bytes.len() - rest.len();
                let rest = bytes.split_off(named);
                if kind == BLOCK_ROWS { Block::Rows(name, rest) } else { Block::File(name, rest) }
            }
            _ => return Err(bad()),
        };
        Ok((block, next))
    }

    /// Contents from the n-th on, in order of digest, at most `count`; fewer only at the end.
    pub(super) fn contents_from(
        &self,
        first: u64,
        count: usize,
    ) -> Result<Vec<ContentRow>, BackupError> {
        let count = capped(self.contents.saturating_sub(first), count);
        let mut bytes = vec![0; count * CONTENT_BYTES];
        self.read(&mut bytes, self.contents_start + first * byte_count(CONTENT_BYTES))?;
        let mut rest = bytes.as_slice();
        let rows = (0..count).map(|_| ContentRow::take(&mut rest)).collect::<Option<Vec<_>>>();
        rows.ok_or_else(|| self.damaged("its list of contents is cut short"))
    }

    /// What the state says of a content, if rows of it name it.
    pub(super) fn content(&self, digest: &Digest) -> Result<Option<ContentRow>, BackupError> {
        let (mut low, mut high) = (0, self.contents);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self.contents_from(middle, 1)?.first().copied();
            let Some(row) = row else { return Ok(None) };
            match row.digest.cmp(digest) {
                std::cmp::Ordering::Equal => return Ok(Some(row)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }
}

/// Checks how a file of a backup begins.
pub(super) fn check_preamble(
    preamble: &[u8; 16],
    magic: [u8; 8],
    path: &str,
) -> Result<(), BackupError> {
    let mut rest = preamble.as_slice();
    let found_magic = rest.split_off(..8);
    if found_magic != Some(magic.as_slice()) {
        return Err(BackupError::damaged(path, "it does not begin as it should"));
    }
    let found = u32::take(&mut rest).unwrap_or(0);
    if found > FORMAT_VERSION {
        return Err(BackupError::NewerFormat {
            what: path.to_owned(),
            found,
            known: FORMAT_VERSION,
        });
    }
    if found == 0 || rest != [0; 4] {
        return Err(BackupError::damaged(path, "it does not begin as it should"));
    }
    Ok(())
}
