//! Packs: many contents in one file, with a table of them at its end.

use std::io::IoSlice;
use std::sync::Arc;

use super::FORMAT_VERSION;
use super::error::BackupError;
use super::state_file::check_preamble;
use super::tables::Part;
use crate::blobs::{byte_count, capped};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::limits::READ_CHUNK_BYTES;
use crate::model::Digest;

/// Directory of the packs.
pub(super) const PACKS: &str = "packs";

/// How the name of a pack ends.
pub(super) const EXTENSION: &str = ".pack";

/// Name of the pack that is being written.
pub(super) const INCOMING: &str = "incoming";

const MAGIC: &[u8; 8] = b"granpack";

/// Bytes of a row of a pack's table.
const ROW_BYTES: usize = 32 + 8 + 8;

/// Bytes behind the table.
const END_BYTES: usize = 8 + 8 + 32 + 8;

/// Rows that are read of a table at a time.
const ROWS_READ: usize = 4096;

/// A content in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packed {
    pub(super) digest: Digest,
    /// Where it begins in the pack.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) length: u64,
}

impl Packed {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.digest.as_bytes());
        u64::put(&self.offset, bytes);
        u64::put(&self.length, bytes);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (digest, rest) = bytes.split_first_chunk::<32>()?;
        *bytes = rest;
        let (offset, length) = (u64::take(bytes)?, u64::take(bytes)?);
        Some(Self { digest: Digest(*digest), offset, length })
    }
}

/// A pack on its way. All calls block.
#[derive(Debug)]
pub(super) struct PackWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    /// What has not been written to the file.
    buffer: Vec<u8>,
    /// Bytes in the file.
    written: u64,
    table: Vec<Packed>,
    /// Where the content under way begins, and its digest so far.
    under_way: (u64, Box<blake3::Hasher>),
}

impl PackWriter {
    /// Begins a pack; one that an interrupted backup left goes.
    pub(super) fn create(disk: &Arc<dyn Disk>) -> Result<Self, BackupError> {
        let path = format!("{PACKS}/{INCOMING}");
        let shown = shown(&**disk, INCOMING);
        crate::blobs::remove_if_there(&**disk, &path).map_err(BackupError::io(&shown))?;
        let file = disk.open(&path, OpenMode::CreateNew).map_err(BackupError::io(&shown))?;
        let mut buffer = MAGIC.to_vec();
        buffer.extend(FORMAT_VERSION.to_le_bytes());
        buffer.extend([0; 4]);
        let under_way = (byte_count(buffer.len()), Box::default());
        Ok(Self { disk: Arc::clone(disk), file, buffer, written: 0, table: Vec::new(), under_way })
    }

    fn length(&self) -> u64 {
        self.written + byte_count(self.buffer.len())
    }

    /// Whether so many bytes, or so many contents, are in it.
    pub(super) fn is_full(&self, bytes: u64, contents: usize) -> bool {
        self.length() >= bytes || self.table.len() >= contents
    }

    /// Adds bytes to the content under way.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.under_way.1.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= READ_CHUNK_BYTES * 4 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BackupError> {
        let written = self.file.write_all_at(&[IoSlice::new(&self.buffer)], self.written);
        written.map_err(BackupError::io(shown(&*self.disk, INCOMING)))?;
        self.written += byte_count(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }

    /// Ends the content under way if it is this one; otherwise forgets it, and says `false`.
    pub(super) fn end_content(&mut self, digest: &Digest, length: u64) -> bool {
        let (start, hasher) = &self.under_way;
        let is_whole = self.length() - start == length
            && hasher.finalize() == blake3::Hash::from_bytes(digest.0);
        if is_whole {
            self.table.push(Packed { digest: *digest, offset: *start, length });
            self.under_way = (self.length(), Box::default());
        } else {
            self.forget_content();
        }
        is_whole
    }

    /// Takes back what was added to the content under way.
    pub(super) fn forget_content(&mut self) {
        let start = self.under_way.0;
        if let Some(kept) = start.checked_sub(self.written) {
            self.buffer.truncate(capped(kept, usize::MAX));
        } else {
            self.buffer.clear();
            self.written = start;
        }
        self.under_way.1.reset();
    }

    /// Ends the pack and gives it its name; `None` if there is nothing in it.
    ///
    /// # Durability
    /// The pack and its name are synced.
    pub(super) fn seal(mut self) -> Result<Option<Pack>, BackupError> {
        self.forget_content();
        let path = format!("{PACKS}/{INCOMING}");
        let shown_path = shown(&*self.disk, INCOMING);
        if self.table.is_empty() {
            drop(self.file);
            let removed = crate::blobs::remove_if_there(&*self.disk, &path);
            removed.map_err(BackupError::io(shown_path))?;
            return Ok(None);
        }
        let table_start = self.length();
        self.table.sort_unstable();
        let mut table = Vec::with_capacity(self.table.len() * ROW_BYTES + END_BYTES);
        self.table.iter().for_each(|row| row.put(&mut table));
        u64::put(&table_start, &mut table);
        u64::put(&byte_count(self.table.len()), &mut table);
        let digest = Digest::of(&table);
        table.extend(digest.as_bytes());
        table.extend(MAGIC);
        self.buffer.extend_from_slice(&table);
        self.flush()?;
        let name = format!("{digest}{EXTENSION}");
        let sealed = (|| {
            self.file.set_len(self.written)?;
            self.file.sync_data()?;
            self.disk.rename(&path, &format!("{PACKS}/{name}"))?;
            self.disk.sync_dir(PACKS)
        })();
        sealed.map_err(BackupError::io(shown_path))?;
        Ok(Some(Pack { name, table_start, rows: byte_count(self.table.len()) }))
    }
}

fn shown(disk: &dyn Disk, name: &str) -> String {
    format!("{}/{PACKS}/{name}", disk.display())
}

/// A pack that is whole.
#[derive(Debug, Clone)]
pub(super) struct Pack {
    name: String,
    table_start: u64,
    rows: u64,
}

impl Pack {
    /// Reads how a pack ends, and checks its table.
    pub(super) fn open(disk: &dyn Disk, name: &str) -> Result<Self, BackupError> {
        let shown = shown(disk, name);
        let cut = || BackupError::damaged(&shown, "it is cut short");
        let file = disk.open(&format!("{PACKS}/{name}"), OpenMode::ReadOnly);
        let file = file.map_err(BackupError::io(&shown))?;
        let length = file.len().map_err(BackupError::io(&shown))?;
        let end_start = length.checked_sub(byte_count(END_BYTES)).ok_or_else(cut)?;
        let mut preamble = [0; 16];
        file.read_exact_at(&mut preamble, 0).map_err(BackupError::io(&shown))?;
        check_preamble(&preamble, *MAGIC, &shown)?;
        let mut end = [0; END_BYTES];
        file.read_exact_at(&mut end, end_start).map_err(BackupError::io(&shown))?;
        let mut rest = end.as_slice();
        let number = |rest: &mut &[u8]| u64::take(rest).ok_or_else(cut);
        let (table_start, rows) = (number(&mut rest)?, number(&mut rest)?);
        let table_bytes = rows.checked_mul(byte_count(ROW_BYTES));
        if !end.ends_with(MAGIC)
            || table_bytes.and_then(|bytes| bytes.checked_add(table_start)) != Some(end_start)
        {
            return Err(cut());
        }
        let pack = Self { name: name.to_owned(), table_start, rows };
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; ROWS_READ * ROW_BYTES];
        let mut at = table_start;
        while at < end_start + 16 {
            let length = capped(end_start + 16 - at, buffer.len());
            let chunk = buffer.get_mut(..length).unwrap_or_default();
            file.read_exact_at(chunk, at).map_err(BackupError::io(&shown))?;
            hasher.update(chunk);
            at += byte_count(length);
        }
        let digest = hasher.finalize();
        if !rest.starts_with(digest.as_bytes())
            || name != format!("{}{EXTENSION}", Digest(*digest.as_bytes()))
        {
            return Err(BackupError::damaged(&shown, "its table is not the one that was written"));
        }
        Ok(pack)
    }

    /// For reading.
    pub(super) fn reader(&self, disk: &dyn Disk) -> Result<PackReader, BackupError> {
        let path = shown(disk, &self.name);
        let file = disk.open(&format!("{PACKS}/{}", self.name), OpenMode::ReadOnly);
        let file = file.map_err(BackupError::io(&path))?;
        Ok(PackReader { pack: self.clone(), path, file })
    }
}

/// An open pack.
#[derive(Debug)]
pub(super) struct PackReader {
    pack: Pack,
    path: String,
    file: Arc<dyn DiskFile>,
}

impl PackReader {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn rows_from(&self, first: u64, count: usize) -> Result<Vec<Packed>, BackupError> {
        let count = capped(self.pack.rows.saturating_sub(first), count);
        let mut bytes = vec![0; count * ROW_BYTES];
        self.read(&mut bytes, self.pack.table_start + first * byte_count(ROW_BYTES))?;
        let mut rest = bytes.as_slice();
        let rows = (0..count).map(|_| Packed::take(&mut rest)).collect::<Option<Vec<_>>>();
        rows.ok_or_else(|| BackupError::damaged(&self.path, "its table is cut short"))
    }

    /// Hands over the contents from one digest to another, both included, in order of digest.
    pub(super) fn visit(
        &self,
        first: &Digest,
        last: &Digest,
        mut visit: impl FnMut(Packed) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let (mut low, mut high) = (0, self.pack.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            let is_before =
                self.rows_from(middle, 1)?.first().is_some_and(|row| row.digest < *first);
            if is_before { low = middle + 1 } else { high = middle }
        }
        while low < self.pack.rows {
            let rows = self.rows_from(low, ROWS_READ)?;
            low += byte_count(rows.len());
            for row in rows {
                if row.digest > *last {
                    return Ok(());
                }
                visit(row)?;
            }
        }
        Ok(())
    }

    /// All contents, in the order in which they were packed.
    pub(super) fn contents(&self) -> Result<Vec<Packed>, BackupError> {
        let mut rows = self.rows_from(0, capped(self.pack.rows, usize::MAX))?;
        rows.sort_unstable_by_key(|row| row.offset);
        Ok(rows)
    }

    /// Fills a buffer from a place of the pack.
    pub(super) fn read(&self, buffer: &mut [u8], at: u64) -> Result<(), BackupError> {
        self.file.read_exact_at(buffer, at).map_err(BackupError::io(&self.path))
    }
}
