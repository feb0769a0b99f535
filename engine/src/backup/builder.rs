//! A store under construction: contents into a journal and files, rows into tables.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Key, TableDefinition, TableHandle, WriteTransaction};

use super::error::BackupError;
use super::restore::{FILES, RestoreOptions};
use super::state::ContentRow;
use super::tables::{Part, Visitor, visit_tables};
use crate::blobs::{Blobs, StagingFile, byte_count};
use crate::codec;
use crate::disk::{Disk, OpenMode};
use crate::engine::journal_options;
use crate::index::apply::{LiveBytes, add_live_bytes, write_live_bytes};
use crate::index::rows::{AppliedRow, BlobRow};
use crate::index::upgrade::upgrade;
use crate::index::{INDEX_PATH, Index, IndexError, create_place_tables, tables, write_applied};
use crate::journal::{AppendError, Journal, NewRecord, RecordBlob};
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_FILES_MAX, QUARANTINED_MAX};
use crate::model::change::{BlobPlace, Change, LargeFileId};
use crate::model::{Digest, Sequence, Timestamp};
use crate::quarantine::{Fault, QuarantineRow};

/// Transactions after which the index is made durable: pages can be used again only then.
const CHECKPOINT_TRANSACTIONS: u32 = 64;

/// A store under construction; nobody else has it.
pub(super) struct Builder {
    disk: Arc<dyn Disk>,
    journal: Journal,
    index: Index,
    start: u64,
    next_large: u64,
    /// Small contents that are not in the journal yet, and their bytes.
    gathered: Vec<(ContentRow, Bytes)>,
    gathered_bytes: u64,
    live_bytes: LiveBytes,
    /// Contents that have a row.
    pub(super) contents: u64,
    pub(super) content_bytes: u64,
    /// Contents that are in quarantine; never more than that holds.
    marked: usize,
    /// Transactions since the index was made durable.
    transactions: u32,
}

impl Builder {
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        key: [u8; 32],
        start: u64,
        options: &RestoreOptions,
    ) -> Result<Self, BackupError> {
        let path = disk.display();
        let io = |source| BackupError::Io { path: path.clone(), source };
        let failed = |error: IndexError| target_failed(&**disk, &error);
        Blobs::prepare(&**disk).map_err(io)?;
        let journal = journal_options(&**disk, options.segment_bytes).map_err(io)?;
        let (journal, _) = Journal::create(Arc::clone(disk), key, journal).map_err(io)?;
        let cache = options.index_cache_bytes;
        let index = Index::open(disk, OpenMode::CreateNew, cache).map_err(failed)?;
        index.checkpoint(create_place_tables).map_err(failed)?;
        Ok(Self {
            disk: Arc::clone(disk),
            journal,
            index,
            start,
            next_large: 0,
            gathered: Vec::new(),
            gathered_bytes: 0,
            live_bytes: LiveBytes::new(),
            contents: 0,
            content_bytes: 0,
            marked: 0,
            transactions: 0,
        })
    }

    pub(super) fn io(&self, source: io::Error) -> BackupError {
        BackupError::Io { path: self.disk.display(), source }
    }

    /// Whether a content has a row; what is gathered has none yet.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let found = || -> Result<bool, IndexError> {
            let table = self.index.read()?.open_table(tables::BLOBS)?;
            Ok(table.get(digest.as_bytes())?.is_some())
        };
        // An index that cannot be read fails at the next write too.
        found().unwrap_or(false)
    }

    fn change<T>(
        &mut self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, IndexError>,
    ) -> Result<T, BackupError> {
        self.transactions += 1;
        let changed = if self.transactions.is_multiple_of(CHECKPOINT_TRANSACTIONS) {
            self.index.checkpoint(work)
        } else {
            self.index.apply(work)
        };
        changed.map_err(|error| target_failed(&*self.disk, &error))
    }

    pub(super) fn add_small(&mut self, row: ContentRow, bytes: Bytes) -> Result<(), BackupError> {
        self.gathered_bytes += row.length;
        self.gathered.push((row, bytes));
        if self.gathered_bytes < CHANGE_BYTES_MAX && self.gathered.len() < CHANGE_FILES_MAX {
            return Ok(());
        }
        self.flush()
    }

    /// Appends what is gathered to the journal, as a change that changes nothing: contents are
    /// found by their rows, and the first checkpoint is behind all of it.
    pub(super) fn flush(&mut self) -> Result<(), BackupError> {
        let gathered = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        if gathered.is_empty() {
            return Ok(());
        }
        let change = codec::encode(&Change::Relocate { moves: Vec::new() });
        let change = change.map_err(|error| target_failed(&*self.disk, &error.into()))?;
        let payload = |(row, bytes): &(ContentRow, Bytes)| RecordBlob::Payload {
            digest: row.digest,
            crc32: row.crc32,
            bytes: bytes.clone(),
        };
        let record = NewRecord {
            sequence: self.journal.last_sequence().next(),
            change,
            blobs: gathered.iter().map(payload).collect(),
        };
        let appended = self.journal.append(&[record]).map_err(|error| match error {
            AppendError::OutOfSpace => self.io(io::ErrorKind::StorageFull.into()),
            AppendError::Failed(source) => self.io(source),
        })?;
        let places = appended.blobs.into_iter().flatten().map(|blob| blob.place);
        let rows = gathered.into_iter().map(|(row, _)| row);
        let rows: Vec<(ContentRow, BlobPlace)> = rows.zip(places).collect();
        self.add_rows(&rows)
    }

    fn add_rows(&mut self, rows: &[(ContentRow, BlobPlace)]) -> Result<(), BackupError> {
        for (row, place) in rows {
            add_live_bytes(&mut self.live_bytes, *place, row.length, 1);
        }
        self.change(|txn| {
            let mut blobs = txn.open_table(tables::BLOBS)?;
            for (ContentRow { digest, length, crc32, count, .. }, place) in rows {
                let (length, crc32, count) = (*length, *crc32, *count);
                let row = BlobRow { place: *place, length, crc32, count, died: Sequence::ZERO };
                blobs.insert(digest.as_bytes(), codec::encode(&row)?.as_slice())?;
            }
            Ok(())
        })?;
        self.contents += byte_count(rows.len());
        self.content_bytes += rows.iter().map(|(row, _)| row.length).sum::<u64>();
        Ok(())
    }

    fn next_large_id(&mut self) -> LargeFileId {
        self.next_large += 1;
        LargeFileId { start: self.start, number: self.next_large }
    }

    pub(super) fn begin_large(&mut self) -> Result<StagingFile, BackupError> {
        let id = self.next_large_id();
        StagingFile::create(&self.disk, id).map_err(|source| self.io(source))
    }

    pub(super) fn add_large(
        &mut self,
        row: ContentRow,
        file: StagingFile,
    ) -> Result<(), BackupError> {
        let published = file.publish(&row.digest).map_err(|source| self.io(source))?;
        self.add_rows(&[(row, BlobPlace::Large(published.id()))])?;
        published.keep();
        Ok(())
    }

    /// Adds contents whose bytes are nowhere, so that they count as unknown to whoever brings them. As
    /// many as there is room for are marked as damaged, so that somebody hears of them.
    pub(super) fn add_absent(&mut self, rows: &[ContentRow]) -> Result<(), BackupError> {
        let place = BlobPlace::NOWHERE;
        let mark = QuarantineRow { place, fault: Fault::Missing, since: Timestamp::now() };
        let marked = rows.len().min(QUARANTINED_MAX - self.marked);
        self.marked += marked;
        self.change(|txn| {
            let mut marks = txn.open_table(tables::QUARANTINE)?;
            for row in rows.iter().take(marked) {
                marks.insert(row.digest.as_bytes(), codec::encode(&mark)?.as_slice())?;
            }
            Ok(())
        })?;
        let placed: Vec<(ContentRow, BlobPlace)> = rows.iter().map(|row| (*row, place)).collect();
        self.add_rows(&placed)
    }

    pub(super) fn add_file(&self, name: &str, content: &[u8]) -> Result<(), BackupError> {
        if !FILES.contains(&name) {
            let reason = format!("it holds a file {name:?}, which belongs to no store");
            return Err(BackupError::damaged("the backup", reason));
        }
        let write = || {
            let file = self.disk.open(name, OpenMode::CreateNew)?;
            file.write_all_at(&[IoSlice::new(content)], 0)?;
            file.sync_data()
        };
        write().map_err(|source| self.io(source))
    }

    /// Inserts rows of tables; gives their number.
    pub(super) fn insert_rows(&mut self, blocks: &[(String, Vec<u8>)]) -> Result<u64, BackupError> {
        self.change(|txn| {
            let mut inserted = 0;
            for (name, rows) in blocks {
                let mut insert = Insert { txn, name, rows, inserted: None };
                visit_tables(&mut insert)?;
                let unknown = || {
                    let text = format!("{name} is a table of a newer granary; use that one");
                    IndexError::Contradiction(text)
                };
                inserted += insert.inserted.ok_or_else(unknown)?;
            }
            Ok(inserted)
        })
    }

    /// Makes all of it durable.
    pub(super) fn finish(mut self) -> Result<(), BackupError> {
        self.flush()?;
        // What the backup does not hold is filled in here, on the disk, as the first start would do it:
        // whoever checks the directory before that would fill it in in memory.
        upgrade(&self.index).map_err(|error| target_failed(&*self.disk, &error))?;
        let position = self.journal.end();
        let sequence = self.journal.last_sequence();
        let applied = AppliedRow { position, sequence, start: self.start };
        let live_bytes = std::mem::take(&mut self.live_bytes);
        let made = self.index.checkpoint(|txn| {
            write_live_bytes(txn, &live_bytes)?;
            write_applied(txn, &applied)
        });
        made.map_err(|error| target_failed(&*self.disk, &error))
    }
}

fn target_failed(disk: &dyn Disk, error: &IndexError) -> BackupError {
    BackupError::Target {
        path: format!("{}/{INDEX_PATH}", disk.display()),
        reason: error.to_text(),
    }
}

/// Inserts rows into the table of a name.
struct Insert<'a> {
    txn: &'a WriteTransaction,
    name: &'a str,
    rows: &'a [u8],
    /// Rows, once the table was met.
    inserted: Option<u64>,
}

impl Visitor for Insert<'_> {
    type Error = IndexError;

    fn visit<K: Key + Part, V: Part>(
        &mut self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<(), IndexError> {
        if definition.name() != self.name {
            return Ok(());
        }
        let mut table = self.txn.open_table(definition)?;
        let mut rows = self.rows;
        let mut inserted = 0;
        while !rows.is_empty() {
            let (Some(key), Some(value)) = (K::take(&mut rows), V::take(&mut rows)) else {
                let text = format!("a row of {} is cut short", self.name);
                return Err(IndexError::Contradiction(text));
            };
            table.insert(key, value)?;
            inserted += 1;
        }
        self.inserted = Some(inserted);
        Ok(())
    }
}
