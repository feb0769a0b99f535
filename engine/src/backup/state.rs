//! Writes one committed state: all rows of a snapshot, and the list of the contents they name.

use std::fmt;
use std::io::{self, Write};

use redb::{Key, ReadableTable, TableDefinition, TableHandle};
use serde::{Deserialize, Serialize};

use super::FORMAT_VERSION;
use super::tables::{Part, Visitor, visit_tables};
use crate::codec;
use crate::error::ReadError;
use crate::index::rows::BlobRow;
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::model::change::BlobPlace;
use crate::model::{Digest, Sequence, Timestamp};

/// How a state begins, and ends.
pub(super) const MAGIC: &[u8; 8] = b"granstat";

/// Bytes before the first block.
pub(super) const PREAMBLE_BYTES: u64 = 16;

/// Bytes of a row of the list of contents.
pub(super) const CONTENT_BYTES: usize = 32 + 8 + 4 + 8 + 8 + 8;

/// Bytes behind the contents.
pub(super) const END_BYTES: usize = 4 * 8 + 32 + 8;

/// Bytes of rows that make a block, about; a reader holds one in memory.
const BLOCK_BYTES: usize = 64 << 10;

pub(super) const BLOCK_HEADER: u8 = 1;
pub(super) const BLOCK_ROWS: u8 = 2;
pub(super) const BLOCK_FILE: u8 = 3;

/// What a state says of itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StateHeader {
    /// The only kind so far.
    V1 {
        /// Version of the store's layout, which decides how its rows are read.
        store_format: u32,
        /// The store's key.
        key: [u8; 32],
        /// How often the store had been opened.
        start: u64,
        /// The last change that the state contains.
        sequence: Sequence,
        /// When it was taken.
        taken: Timestamp,
    },
}

impl fmt::Debug for StateHeader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::V1 { store_format, start, sequence, taken, .. } = self;
        let mut shown = formatter.debug_struct("StateHeader");
        shown.field("store_format", store_format).field("start", start);
        // The key is nobody's business.
        shown.field("sequence", sequence).field("taken", taken).finish_non_exhaustive()
    }
}

/// A content that rows of a state name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRow {
    pub(super) digest: Digest,
    /// Bytes.
    pub(super) length: u64,
    pub(super) crc32: u32,
    /// File rows that name it (I4).
    pub(super) count: u64,
    /// Where it lay; only an order.
    pub(super) place: (u64, u64),
}

impl ContentRow {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.digest.as_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.crc32.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.place.0.to_le_bytes());
        bytes.extend(self.place.1.to_le_bytes());
    }

    /// Reads a row; `None` if the bytes are too few.
    pub(super) fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (digest, rest) = bytes.split_first_chunk::<32>()?;
        *bytes = rest;
        Some(Self {
            digest: Digest(*digest),
            length: u64::take(bytes)?,
            crc32: u32::take(bytes)?,
            count: u64::take(bytes)?,
            place: (u64::take(bytes)?, u64::take(bytes)?),
        })
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) rows: u64,
    pub(super) contents: u64,
    /// Bytes of these contents.
    pub(super) content_bytes: u64,
}

/// Writes a state. Reads every row once, during which the index cannot use old pages
/// again.
///
/// # Errors
/// The index cannot be read, or `out` takes nothing more.
pub(super) fn write_state(
    snapshot: &Snapshot,
    header: &StateHeader,
    files: &[(String, Vec<u8>)],
    out: impl Write,
) -> Result<Written, ReadError> {
    let mut writer = StateWriter::begin(out)?;
    let header = codec::encode(header).map_err(IndexError::from)?;
    writer.block(BLOCK_HEADER, &header)?;
    for (name, bytes) in files {
        let mut block = Vec::new();
        <&str>::put(&name.as_str(), &mut block);
        block.extend(bytes);
        writer.block(BLOCK_FILE, &block)?;
    }
    let mut dump = Dump { snapshot, writer, rows: 0 };
    visit_tables(&mut dump)?;
    let Dump { mut writer, rows, .. } = dump;
    let contents_start = writer.length;
    let (contents, content_bytes) = write_contents(snapshot, &mut writer)?;
    let written = Written { rows, contents, content_bytes };
    writer.end(contents_start, written)?;
    Ok(written)
}

struct StateWriter<W> {
    out: W,
    hasher: Box<blake3::Hasher>,
    length: u64,
}

fn spooling(source: io::Error) -> ReadError {
    ReadError::Io { what: "a spool", source }
}

impl<W: Write> StateWriter<W> {
    fn begin(out: W) -> Result<Self, ReadError> {
        let mut writer = Self { out, hasher: Box::default(), length: 0 };
        let mut preamble = MAGIC.to_vec();
        preamble.extend(FORMAT_VERSION.to_le_bytes());
        preamble.extend([0; 4]);
        writer.put(&preamble)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        self.hasher.update(bytes);
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.out.write_all(bytes).map_err(spooling)
    }

    fn block(&mut self, kind: u8, bytes: &[u8]) -> Result<(), ReadError> {
        let mut head = vec![kind];
        u32::put(&u32::try_from(bytes.len()).unwrap_or(u32::MAX), &mut head);
        self.put(&head)?;
        self.put(bytes)
    }

    fn end(mut self, contents_start: u64, written: Written) -> Result<(), ReadError> {
        let mut end = Vec::with_capacity(END_BYTES);
        for number in [contents_start, written.contents, written.content_bytes, written.rows] {
            u64::put(&number, &mut end);
        }
        self.put(&end)?;
        let digest = self.hasher.finalize();
        self.put(digest.as_bytes())?;
        self.put(MAGIC)?;
        self.out.flush().map_err(spooling)
    }
}

/// Writes the tables of a snapshot.
struct Dump<'a, W> {
    snapshot: &'a Snapshot,
    writer: StateWriter<W>,
    rows: u64,
}

impl<W: Write> Visitor for Dump<'_, W> {
    type Error = ReadError;

    /// At least one block, so that a table without rows is known to be there.
    fn visit<K: Key + Part, V: Part>(
        &mut self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<(), ReadError> {
        let table = self.snapshot.table(definition)?;
        let mut name = Vec::new();
        <&str>::put(&definition.name(), &mut name);
        let (mut block, mut has_rows) = (name.clone(), false);
        for row in table.iter().map_err(IndexError::from)? {
            let (key, value) = row.map_err(IndexError::from)?;
            K::put(&key.value(), &mut block);
            V::put(&value.value(), &mut block);
            self.rows += 1;
            has_rows = true;
            if block.len() >= BLOCK_BYTES {
                self.writer.block(BLOCK_ROWS, &block)?;
                block.truncate(name.len());
            }
        }
        if block.len() > name.len() || !has_rows {
            self.writer.block(BLOCK_ROWS, &block)?;
        }
        Ok(())
    }
}

/// Lists the contents that rows name, in order of digest; gives their number and bytes.
fn write_contents<W: Write>(
    snapshot: &Snapshot,
    writer: &mut StateWriter<W>,
) -> Result<(u64, u64), ReadError> {
    let (mut contents, mut content_bytes) = (0, 0);
    let mut gathered = Vec::new();
    for row in snapshot.table(tables::BLOBS)?.iter().map_err(IndexError::from)? {
        let (digest, row) = row.map_err(IndexError::from)?;
        let row_digest = Digest(*digest.value());
        let BlobRow { place, length, crc32, count, .. } =
            BlobRow::decode(row.value()).map_err(IndexError::from)?;
        if count == 0 {
            continue;
        }
        let place = match place {
            BlobPlace::Segment { segment, offset } => (segment.0, offset),
            BlobPlace::Large(file) => (u64::MAX, file.number),
        };
        ContentRow { digest: row_digest, length, crc32, count, place }.put(&mut gathered);
        contents += 1;
        content_bytes += length;
        if gathered.len() >= BLOCK_BYTES {
            writer.put(&gathered)?;
            gathered.clear();
        }
    }
    writer.put(&gathered)?;
    Ok((contents, content_bytes))
}
