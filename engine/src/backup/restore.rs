//! Makes a data directory of a backup.
//!
//! Until everything is there the directory has a mark in place of its identity, with which it opens
//! as no store; the mark becomes the identity by a rename. Restoring into a marked directory again
//! starts over.

use std::error::Error;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Progress;
use super::builder::Builder;
use super::directory::{check_identity, expect_ours_or_empty, pack_names, state_path};
use super::error::BackupError;
use super::pack::{Pack, PackReader, Packed};
use super::state::{ContentRow, StateHeader};
use super::state_file::{Block, StateFile};
use super::states::States;
use super::window::look;
use crate::blobs::{Hashes, byte_count, capped, remove_if_there};
use crate::disk::{Disk, OpenMode, RealDisk, is_for_want_of_means};
use crate::limits::{
    BACKUP_WINDOW_CONTENTS, CHANGE_FILES_MAX, INLINE_BYTES_MAX, READ_CHUNK_BYTES, SEGMENT_BYTES,
};
use crate::model::Digest;
use crate::recovery::{FORMAT_VERSION, identity_text};

/// Mark of a directory that is being restored; becomes its identity.
pub(crate) const RESTORING_PATH: &str = "store.restoring";

/// Bytes of rows in one transaction, about.
const ROWS_BYTES: usize = 2 << 20;

/// Faults of packs that a restore tells of; which contents it lacks the store tells itself.
const FAULTS_TOLD_MAX: usize = 20;

/// Files beside the tables that a state may bring.
pub(super) const FILES: [&str; 1] = ["token-key"];

/// How a backup is restored.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Name of the backup; the newest one that can be read if there is none.
    pub state: Option<String>,
    /// Whether contents may be missing, or damaged: their files are then there, and cannot be read.
    pub incomplete: bool,
    /// Bytes that redb may use to cache the index.
    pub index_cache_bytes: usize,
    /// Bytes of one journal segment; less on a small file system.
    pub segment_bytes: u64,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        let (index_cache_bytes, segment_bytes) = (256 << 20, SEGMENT_BYTES);
        Self { state: None, incomplete: false, index_cache_bytes, segment_bytes }
    }
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Name of the backup.
    pub state: String,
    /// Rows of all tables.
    pub rows: u64,
    /// Contents.
    pub contents: u64,
    /// Bytes of these contents.
    pub content_bytes: u64,
    /// Contents that the backup lacks, or has only damaged.
    pub missing: u64,
    /// What is wrong with the packs that they were to be in, the first faults.
    pub passed_over: Vec<String>,
}

/// What cannot be read of a backup's packs.
#[derive(Debug)]
struct PassedOver {
    may_be_incomplete: bool,
    told: Vec<String>,
}

impl PassedOver {
    /// Passes over a content, or a pack, that cannot be read.
    ///
    /// # Errors
    /// The fault, if nothing may be missing.
    fn note(&mut self, fault: BackupError) -> Result<(), BackupError> {
        // Want of means says nothing of the pack.
        let is_lost = matches!(&fault, BackupError::Damaged { .. })
            || matches!(&fault, BackupError::Io { source, .. } if !is_for_want_of_means(source));
        if !is_lost || !self.may_be_incomplete {
            return Err(fault);
        }
        if self.told.len() < FAULTS_TOLD_MAX {
            let cause = fault.source().map(|cause| format!(": {cause}"));
            self.told.push(format!("{fault}{}", cause.unwrap_or_default()));
        }
        Ok(())
    }
}

/// Restores a backup into a directory that is absent or empty, or into which a restore was
/// interrupted. Every content is checked against its digest. Blocks. `progress` is told of contents
/// and bytes.
///
/// # Errors
/// See [`BackupError`]. The directory is no store then, and may be restored into again.
///
/// # Durability
/// When this returns, the store is on disk.
pub fn restore(
    source: &Path,
    target: &Path,
    options: &RestoreOptions,
    progress: Progress<'_>,
) -> Result<Restored, BackupError> {
    let shown = |path: &Path| path.display().to_string();
    let disk = RealDisk::existing(source.to_owned()).map_err(BackupError::io(shown(source)))?;
    let source = Source::open(Arc::new(disk), options)?;
    expect_ours_or_empty(target, RESTORING_PATH)?;
    let disk = RealDisk::new(target.to_owned()).map_err(BackupError::io(shown(target)))?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    source.restore_to(&disk, options, progress)
}

/// As [`restore`], on any disks.
#[cfg(test)]
pub(super) fn restore_on(
    source: Arc<dyn Disk>,
    target: &Arc<dyn Disk>,
    options: &RestoreOptions,
) -> Result<Restored, BackupError> {
    Source::open(source, options)?.restore_to(target, options, &|_, _| {})
}

/// A backup that is whole as far as its tables say.
struct Source {
    disk: Arc<dyn Disk>,
    name: String,
    state: StateFile,
    packs: Vec<Pack>,
    missing: u64,
    passed_over: PassedOver,
}

impl Source {
    fn open(disk: Arc<dyn Disk>, options: &RestoreOptions) -> Result<Self, BackupError> {
        check_identity(&*disk)?;
        let path = disk.display();
        let states = States::of(&*disk)?;
        let name = match &options.state {
            None => states.newest()?.ok_or(BackupError::Empty { path })?.name,
            Some(wanted) if states.has(wanted) => wanted.clone(),
            Some(wanted) => return Err(BackupError::NoSuchState { path, name: wanted.clone() }),
        };
        let state = StateFile::open(&*disk, &state_path(&name))?;
        let StateHeader::V1 { store_format: found, .. } = *state.header();
        if found > FORMAT_VERSION {
            let what = format!("the store in backup {name}");
            return Err(BackupError::NewerFormat { what, found, known: FORMAT_VERSION });
        }
        let mut passed_over =
            PassedOver { may_be_incomplete: options.incomplete, told: Vec::new() };
        let mut packs = Vec::new();
        for name in pack_names(&*disk)? {
            match Pack::open(&*disk, &name) {
                Ok(pack) => packs.push(pack),
                Err(fault) => passed_over.note(fault)?,
            }
        }
        let mut source = Self { disk, name, state, packs, missing: 0, passed_over };
        source.count_missing(options.incomplete)?;
        Ok(source)
    }

    /// Before anything is made: whether every content is in some pack.
    fn count_missing(&mut self, may_be_incomplete: bool) -> Result<(), BackupError> {
        let (mut looked_at, mut first) = (0, None);
        while looked_at < self.state.contents() {
            let window = BACKUP_WINDOW_CONTENTS;
            let window = look(&*self.disk, &self.packs, &self.state, looked_at, window)?;
            self.missing += byte_count(window.missing.len());
            first = first.or_else(|| window.missing.first().map(|row| row.digest));
            looked_at += window.looked_at;
            if window.looked_at == 0 {
                break;
            }
        }
        match first.filter(|_| !may_be_incomplete) {
            Some(first) => {
                let (state, missing) = (self.name.clone(), self.missing);
                Err(BackupError::Incomplete { state, missing, first })
            }
            None => Ok(()),
        }
    }

    fn restore_to(
        mut self,
        target: &Arc<dyn Disk>,
        options: &RestoreOptions,
        progress: Progress<'_>,
    ) -> Result<Restored, BackupError> {
        let path = target.display();
        let lock = target.lock().map_err(|source| {
            let path = path.clone();
            if source.kind() == io::ErrorKind::WouldBlock {
                BackupError::TargetLocked { path }
            } else {
                BackupError::Io { path, source }
            }
        })?;
        let StateHeader::V1 { key, start, .. } = *self.state.header();
        prepare(&**target, &key)?;
        let mut builder = Builder::create(target, key, start, options)?;
        for pack in std::mem::take(&mut self.packs) {
            self.restore_pack(&pack.reader(&*self.disk)?, &mut builder, progress)?;
        }
        self.restore_rows(&mut builder)?;
        let (contents, content_bytes) = (builder.contents, builder.content_bytes);
        let added = self.add_missing(&mut builder, options.incomplete)?;
        builder.finish()?;
        let io = |source| BackupError::Io { path: path.clone(), source };
        target.sync_dir("").map_err(io)?;
        target.rename(RESTORING_PATH, crate::recovery::IDENTITY_PATH).map_err(io)?;
        target.sync_dir("").map_err(io)?;
        drop(lock);
        Ok(Restored {
            state: self.name,
            rows: self.state.rows(),
            contents,
            content_bytes,
            missing: added,
            passed_over: self.passed_over.told,
        })
    }

    fn restore_pack(
        &mut self,
        pack: &PackReader,
        builder: &mut Builder,
        progress: Progress<'_>,
    ) -> Result<(), BackupError> {
        for packed in pack.contents()? {
            let row = self.state.content(&packed.digest)?;
            let row = row.filter(|row| row.length == packed.length);
            let Some(row) = row.filter(|row| !builder.has(&row.digest)) else { continue };
            if row.length > INLINE_BYTES_MAX {
                let passed_over = &mut self.passed_over;
                restore_large(pack, &packed, row, builder, passed_over, progress)?;
                continue;
            }
            match read_small(pack, &packed) {
                Ok(bytes) => {
                    progress(1, packed.length);
                    builder.add_small(row, bytes)?;
                }
                Err(fault) => self.passed_over.note(fault)?,
            }
        }
        // What another pack holds too is found among the rows.
        builder.flush()
    }

    fn restore_rows(&self, builder: &mut Builder) -> Result<(), BackupError> {
        let (mut gathered, mut bytes, mut rows) = (Vec::new(), 0, 0);
        for block in self.state.blocks() {
            match block? {
                Block::Header(_) => {}
                Block::File(name, content) => builder.add_file(&name, &content)?,
                Block::Rows(table, block) => {
                    bytes += block.len();
                    gathered.push((table, block));
                }
            }
            if bytes >= ROWS_BYTES {
                rows += builder.insert_rows(&std::mem::take(&mut gathered))?;
                bytes = 0;
            }
        }
        rows += builder.insert_rows(&gathered)?;
        if rows == self.state.rows() {
            return Ok(());
        }
        let reason = format!("it says that it holds {} rows and holds {rows}", self.state.rows());
        Err(BackupError::damaged(self.state.path(), reason))
    }

    /// Gives contents that no pack holds a place where nothing is: reading them is an error that
    /// names them, and so is a check. Gives their number.
    fn add_missing(&self, builder: &mut Builder, allowed: bool) -> Result<u64, BackupError> {
        let mut added = 0;
        if builder.contents == self.state.contents() {
            return Ok(added);
        }
        let mut at = 0;
        while at < self.state.contents() {
            let mut rows = self.state.contents_from(at, CHANGE_FILES_MAX)?;
            at += byte_count(rows.len());
            rows.retain(|row| !builder.has(&row.digest));
            if let Some(row) = rows.first().filter(|_| !allowed) {
                let reason = format!("content {} was not restored", row.digest);
                return Err(BackupError::Contradiction { reason });
            }
            added += byte_count(rows.len());
            builder.add_absent(&rows)?;
        }
        Ok(added)
    }
}

fn restore_large(
    pack: &PackReader,
    packed: &Packed,
    row: ContentRow,
    builder: &mut Builder,
    passed_over: &mut PassedOver,
    progress: Progress<'_>,
) -> Result<(), BackupError> {
    let (mut large, mut hashes) = (builder.begin_large()?, Hashes::default());
    let mut buffer = vec![0; READ_CHUNK_BYTES];
    let mut at = 0;
    while at < packed.length {
        let length = capped(packed.length - at, buffer.len());
        let chunk = buffer.get_mut(..length).unwrap_or_default();
        if let Err(fault) = pack.read(chunk, packed.offset + at) {
            return passed_over.note(fault);
        }
        large.append(chunk).map_err(|source| builder.io(source))?;
        hashes.update(chunk);
        at += byte_count(length);
        progress(0, byte_count(length));
    }
    progress(1, 0);
    if hashes.finish().0 != packed.digest {
        return passed_over.note(rotten(pack, packed));
    }
    builder.add_large(row, large)
}

fn rotten(pack: &PackReader, packed: &Packed) -> BackupError {
    let reason = format!(
        "the bytes at {} are not those of content {}; remove the pack, and back up the store once \
         more if it still holds the content, or restore the others (--incomplete)",
        packed.offset, packed.digest
    );
    BackupError::damaged(pack.path(), reason)
}

fn read_small(pack: &PackReader, packed: &Packed) -> Result<Bytes, BackupError> {
    let mut bytes = vec![0; capped(packed.length, usize::MAX)];
    pack.read(&mut bytes, packed.offset)?;
    if Digest::of(&bytes) != packed.digest {
        return Err(rotten(pack, packed));
    }
    Ok(bytes.into())
}

/// Marks the directory, and removes what an interrupted restore left.
fn prepare(disk: &dyn Disk, key: &[u8; 32]) -> Result<(), BackupError> {
    let path = disk.display();
    let io = |source| BackupError::Io { path: path.clone(), source };
    let names = disk.list("").map_err(io)?;
    let is_marked = names.iter().any(|name| name == RESTORING_PATH);
    let harmless = ["LOCK", "lost+found"];
    let foreign = names.iter().find(|name| !harmless.contains(&name.as_str()));
    if let Some(found) = foreign.filter(|_| !is_marked) {
        return Err(BackupError::TargetNotEmpty { path, found: found.clone() });
    }
    let mode = if is_marked { OpenMode::Existing } else { OpenMode::CreateNew };
    let mark = || {
        let file = disk.open(RESTORING_PATH, mode)?;
        let text = identity_text(key);
        file.write_all_at(&[IoSlice::new(text.as_bytes())], 0)?;
        file.set_len(byte_count(text.len()))?;
        file.sync_data()?;
        disk.sync_dir("")
    };
    mark().map_err(io)?;
    if is_marked {
        crate::recovery::remove_parts(disk).map_err(io)?;
        for file in FILES {
            remove_if_there(disk, file).map_err(io)?;
        }
    }
    Ok(())
}
