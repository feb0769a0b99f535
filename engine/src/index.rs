//! The index: what is where, in redb. The only owner of the redb database.
//!
//! Everybody may take a snapshot; only the committer's index thread begins a transaction, and
//! applies groups in it without a sync of their own ([`Index::apply`]), so the file on disk stays
//! at the last [`Index::checkpoint`] and replaying the journal from there gives the rest.

pub(crate) mod tables;

pub(crate) mod rows;

pub(crate) mod file_tree;

pub(crate) mod file_page;

pub(crate) mod snapshot;

pub(crate) mod apply;

pub(crate) mod audit;

pub(crate) mod stacks;

pub(crate) mod absorb;

pub(crate) mod fold;

pub(crate) mod sweep;

pub(crate) mod reclaim;

pub(crate) mod holdings;

pub(crate) mod namings;

pub(crate) mod subdescriptors;

pub(crate) mod upgrade;

mod backend;

mod readers;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, WriteTransaction};

use crate::codec::{self, CodecError};
use crate::counters::Counters;
use crate::disk::{Disk, OpenMode};
use crate::error::{MutationError, ReadError};
use crate::model::Digest;
use crate::quarantine::{Quarantine, QuarantineRow};
use crate::scrub::ScrubRow;
use crate::sync::others_may_run;
use crate::touches::Touches;
use backend::{DiskBackend, IndexFile, MemoryBackend};
use readers::{Readers, Reading};
use rows::AppliedRow;
use snapshot::State;
use tables::{APPLIED, SCRUB, STATE};

/// File of the index in the data directory.
pub(crate) const INDEX_PATH: &str = "index.redb";

/// Why the index gave no answer or took no change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// redb or its disk failed; final (I7).
    #[error("the index failed")]
    Redb(#[source] Box<redb::Error>),
    /// A row is not what it should be.
    #[error("a row of the index is damaged")]
    Row(#[source] CodecError),
    /// Rows contradict each other.
    #[error("the index is damaged: {0}")]
    Contradiction(String),
    /// Names that were removed or made in the journal's directory may not last; final (I7).
    #[error("a sync of the journal's directory failed")]
    Names(#[source] std::io::Error),
    /// A change was answered as made, and its rows refuse it: a bug of ours.
    #[error("change {sequence} was answered as made and is refused")]
    PromiseBroken {
        sequence: u64,
        #[source]
        refusal: Box<MutationError>,
    },
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for IndexError {
            fn from(error: $error) -> Self {
                Self::Redb(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(
    redb::StorageError,
    redb::CursorError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError
);

impl From<CodecError> for IndexError {
    fn from(error: CodecError) -> Self {
        Self::Row(error)
    }
}

impl From<IndexError> for ReadError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Redb(source) => Self::IndexFailed { source },
            IndexError::Row(error) => {
                Self::Corrupt { what: "a row of the index", place: error.to_string() }
            }
            IndexError::Contradiction(place) => Self::Corrupt { what: "the index", place },
            IndexError::Names(source) => {
                Self::IndexFailed { source: Box::new(redb::Error::Io(source)) }
            }
            IndexError::PromiseBroken { .. } => {
                Self::Corrupt { what: "the index", place: error.to_text() }
            }
        }
    }
}

impl From<IndexError> for MutationError {
    fn from(error: IndexError) -> Self {
        ReadError::from(error).into()
    }
}

impl IndexError {
    /// The error with all its causes.
    pub(crate) fn to_text(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

/// The open index.
#[derive(Debug)]
pub(crate) struct Index {
    /// The state that readers share until the next commit.
    latest: RwLock<Option<Arc<State>>>,
    readers: Readers,
    database: Database,
    /// Its file; none where everything is in memory.
    file: Option<Arc<IndexFile>>,
    /// Held until the database is closed, which may write (I10); hence the last field.
    lock: Option<Lock>,
}

impl Drop for Index {
    fn drop(&mut self) {
        // Nothing may reach the file once its lock is given up (I10).
        drop(self.settle());
    }
}

/// The lock of the data directory.
pub(crate) type Lock = Arc<dyn std::fmt::Debug + Send + Sync>;

impl Index {
    /// Opens the index's file; makes it if `mode` says so.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        mode: OpenMode,
        cache_bytes: usize,
    ) -> Result<Self, IndexError> {
        let file = disk.open(INDEX_PATH, mode).map_err(redb::StorageError::Io)?;
        let backend = DiskBackend::new(Arc::clone(disk), file);
        let file = backend.file();
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let database = guarded(|| Ok(builder.create_with_backend(backend)?))?;
        Ok(Self::of(database, Some(file)))
    }

    /// Opens the index's file as the last checkpoint left it. What is applied to it stays in
    /// memory; the file is not changed.
    pub(crate) fn open_in_memory(
        disk: &Arc<dyn Disk>,
        cache_bytes: usize,
    ) -> Result<Self, IndexError> {
        let file = disk.open(INDEX_PATH, OpenMode::Existing).map_err(redb::StorageError::Io)?;
        let backend = MemoryBackend::new(file).map_err(redb::StorageError::Io)?;
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let database = guarded(|| Ok(builder.create_with_backend(backend)?))?;
        Ok(Self::of(database, None))
    }

    fn of(database: Database, file: Option<Arc<IndexFile>>) -> Self {
        Self { latest: RwLock::default(), readers: Readers::default(), database, file, lock: None }
    }

    /// Compares every page with its checksum. Tells whether all is as it was written; where it is
    /// not, what this handle sees from now on is an earlier state, or nothing.
    ///
    /// # Errors
    /// The file is damaged beyond that, or cannot be read.
    pub(crate) fn is_sound(&mut self) -> Result<bool, IndexError> {
        self.forget_latest();
        guarded(|| Ok(self.database.check_integrity()?))
    }

    /// Keeps the lock of the data directory until the index is closed.
    pub(crate) fn keep(mut self, lock: Lock) -> Self {
        self.lock = Some(lock);
        self
    }

    /// The lock that it keeps.
    pub(crate) fn lock(&self) -> Option<Lock> {
        self.lock.clone()
    }

    /// How far the index reaches; `None` before the first commit of a new store.
    pub(crate) fn applied(&self) -> Result<Option<AppliedRow>, IndexError> {
        let txn = self.database.begin_read()?;
        let table = match txn.open_table(STATE) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let row = table.get(APPLIED)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }

    /// The contents in quarantine.
    pub(crate) fn quarantine(&self) -> Result<Quarantine, IndexError> {
        let mut rows = Vec::new();
        for entry in self.database.begin_read()?.open_table(tables::QUARANTINE)?.iter()? {
            let (digest, row) = entry?;
            rows.push((Digest(*digest.value()), codec::decode(row.value())?));
        }
        Ok(Quarantine::of(rows))
    }

    /// How far the scrub came.
    pub(crate) fn scrub(&self) -> Result<ScrubRow, IndexError> {
        let table = self.database.begin_read()?.open_table(STATE)?;
        let row = table.get(SCRUB)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?.unwrap_or_default())
    }

    /// A read transaction: one committed state (I8).
    pub(crate) fn read(&self) -> Result<redb::ReadTransaction, IndexError> {
        Ok(self.database.begin_read()?)
    }

    /// The latest committed state, which all who ask for it share until the next commit: opening
    /// its tables costs more than most requests read in them.
    pub(crate) fn latest(
        &self,
        touches: &Arc<Touches>,
        counters: &Arc<Counters>,
    ) -> Result<Arc<State>, IndexError> {
        if let Some(state) = &*self.latest.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(state));
        }
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = &*latest {
            return Ok(Arc::clone(state));
        }
        // Under the lock that a commit takes once it is visible, so no earlier state stays.
        let (touches, counters) = (Arc::clone(touches), Arc::clone(counters));
        let reading = self.readers.enter();
        let state = Arc::new(State::of(self.read()?, reading, touches, counters));
        *latest = Some(Arc::clone(&state));
        Ok(state)
    }

    /// Whoever asks from now on gets what was committed before.
    fn forget_latest(&self) {
        let earlier = self.latest.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(earlier);
    }

    /// Whether somebody reads a state from before the last checkpoint: as long as that is so, changes find
    /// no page of the file free again.
    pub(crate) fn is_read_as_before(&self) -> bool {
        self.readers.are_from_before()
    }

    /// Runs `work` in a transaction and makes it visible to readers at once; it reaches the disk
    /// with the next checkpoint.
    pub(crate) fn apply<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        self.commit(Durability::None, work)
    }

    /// Makes everything applied so far durable, together with what `work` adds.
    ///
    /// # Durability
    /// When this returns, opening finds this state; quick-repair lets it open without a walk
    /// through the file.
    pub(crate) fn checkpoint<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        self.commit(Durability::Immediate, work)
    }

    /// As [`Index::checkpoint`], but returns as soon as the commit is made: its pages are written and
    /// synced by a thread, while readers and further changes go on.
    ///
    /// # Durability
    /// None until [`Index::is_settled`] or [`Index::settle`] says so.
    pub(crate) fn begin_checkpoint<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let Some(file) = &self.file else { return self.checkpoint(work) };
        file.put_off().map_err(redb::StorageError::Io)?;
        // A commit that fails is followed by no other one (I7); what it put off is not carried out.
        let result = self.checkpoint(work)?;
        file.carry_out();
        Ok(result)
    }

    /// Whether the checkpoint that was begun last is durable.
    ///
    /// # Errors
    /// Its sync failed.
    pub(crate) fn is_settled(&self) -> Result<bool, IndexError> {
        let settled = self.file.as_ref().map_or(Ok(true), |file| file.is_settled());
        Ok(settled.map_err(redb::StorageError::Io)?)
    }

    /// Has the checkpoint that was begun last made durable as soon as can be.
    pub(crate) fn hurry(&self) {
        if let Some(file) = &self.file {
            file.hurry();
        }
    }

    /// Waits until the checkpoint that was begun last is durable.
    ///
    /// # Errors
    /// Its sync failed.
    pub(crate) fn settle(&self) -> Result<(), IndexError> {
        let settled = self.file.as_ref().map_or(Ok(()), |file| file.settle());
        Ok(settled.map_err(redb::StorageError::Io)?)
    }

    /// Closes it without what was applied since the last checkpoint: by itself redb makes that durable.
    pub(crate) fn give_up(self) {
        if let Some(file) = &self.file {
            file.give_up();
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place; called by the index thread only")]
    fn commit<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let mut txn = self.database.begin_write()?;
        txn.set_durability(durability)?;
        txn.set_quick_repair(matches!(durability, Durability::Immediate));
        let result = work(&txn)?;
        others_may_run();
        txn.commit()?;
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        let earlier = latest.take();
        if matches!(durability, Durability::Immediate) {
            // Under the lock under which states are opened: none is taken for one of the other period.
            self.readers.checkpointed();
        }
        drop(latest);
        drop(earlier);
        Ok(result)
    }
}

/// Reads pages that may be damaged: redb compares none with its checksum until it is asked to, and
/// panics on some that make no sense. What it was called on is to be dropped then.
fn guarded<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| {
        Err(IndexError::Contradiction("a page of it makes no sense".to_owned()))
    })
}

/// Writes how far the index reaches, in the same transaction as the rows.
pub(crate) fn write_applied(txn: &WriteTransaction, row: &AppliedRow) -> Result<(), IndexError> {
    txn.open_table(STATE)?.insert(APPLIED, codec::encode(row)?.as_slice())?;
    Ok(())
}

/// Makes the tables that say where bytes lie and which are damaged, and how far the index reaches:
/// what no backup holds.
pub(crate) fn create_place_tables(txn: &WriteTransaction) -> Result<(), IndexError> {
    txn.open_table(tables::BLOBS)?;
    txn.open_table(tables::DEAD_BLOBS)?;
    txn.open_table(tables::SEGMENTS)?;
    txn.open_table(tables::LARGE_REMOVALS)?;
    txn.open_table(tables::QUARANTINE)?;
    txn.open_table(STATE)?;
    Ok(())
}

/// Makes every table, so that readers of an empty store find them.
pub(crate) fn create_tables(txn: &WriteTransaction) -> Result<(), IndexError> {
    create_place_tables(txn)?;
    txn.open_table(tables::DATASETS)?;
    txn.open_table(tables::DATASET_NAMES)?;
    txn.open_table(tables::LAYERS)?;
    txn.open_table(tables::FILES)?;
    txn.open_table(tables::METADATA)?;
    txn.open_table(tables::DROPPED_LAYERS)?;
    txn.open_table(tables::SETS)?;
    txn.open_table(tables::USERS)?;
    txn.open_table(tables::USERNAMES)?;
    txn.open_table(tables::TEAMS)?;
    txn.open_table(tables::TEAM_NAMES)?;
    txn.open_table(tables::MEMBERSHIPS)?;
    txn.open_table(tables::PROJECTS)?;
    txn.open_table(tables::PROJECT_NAMES)?;
    txn.open_table(tables::LICENCES)?;
    txn.open_table(tables::LICENCE_NAMES)?;
    create_catalogue_tables(txn)?;
    create_naming_tables(txn)?;
    txn.open_table(tables::NODES)?;
    txn.open_table(tables::NODE_ADDRESSES)?;
    txn.open_table(tables::ACCESS_TOKENS)?;
    txn.open_table(tables::USER_ACCESS_TOKENS)?;
    txn.open_table(tables::TEAM_ACCESS_TOKENS)?;
    txn.open_table(tables::TEAM_USAGE)?;
    txn.open_table(tables::TEAM_QUOTAS)?;
    txn.open_table(tables::AUDIT)?;
    txn.open_table(tables::NUMBERS)?;
    Ok(())
}

/// Writes what is not journaled: the quarantine, and how far the scrub came.
pub(crate) fn write_marks(
    txn: &WriteTransaction,
    marks: &[(Digest, Option<QuarantineRow>)],
    scrub: Option<&ScrubRow>,
) -> Result<(), IndexError> {
    let mut table = txn.open_table(tables::QUARANTINE)?;
    for (digest, row) in marks {
        match row {
            Some(row) => table.insert(digest.as_bytes(), codec::encode(row)?.as_slice())?,
            None => table.remove(digest.as_bytes())?,
        };
    }
    if let Some(row) = scrub {
        txn.open_table(STATE)?.insert(SCRUB, codec::encode(row)?.as_slice())?;
    }
    Ok(())
}

/// Makes the tables that lead from a content to its datasets, which [`upgrade`] fills in stores
/// that were made, or restored, without them.
fn create_naming_tables(txn: &WriteTransaction) -> Result<(), IndexError> {
    txn.open_table(tables::NAMINGS)?;
    txn.open_table(tables::LAYER_DATASETS)?;
    Ok(())
}

/// Makes the tables that [`upgrade`] fills in stores that were made without them.
fn create_catalogue_tables(txn: &WriteTransaction) -> Result<(), IndexError> {
    txn.open_table(tables::SUBDESCRIPTORS)?;
    txn.open_table(tables::SUBDESCRIPTOR_NAMES)?;
    txn.open_table(tables::TEAM_PROJECTS)?;
    txn.open_table(tables::PROJECT_DATASETS)?;
    txn.open_table(tables::LICENCE_DATASETS)?;
    Ok(())
}
