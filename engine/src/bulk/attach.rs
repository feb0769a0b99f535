//! Files whose contents the store has: which of them a caller must send, and those that it need not
//! send added by digest alone.
//!
//! A content is attached only to who may read it somewhere already. So whoever guesses digests
//! learns and obtains nothing: the answer about a content that only others may read is that about a
//! content that nobody ever sent.

use std::sync::Arc;

use super::intake::{Part, Staged, commit, expect_free_so_far};
use super::{Bulk, LargeSet, on_blocking_pool};
use crate::archive::intake::Names;
use crate::blobs::{Pin, StagedBlob, byte_count};
use crate::dataset::{FreeNames, plan_free_names};
use crate::error::{IntakeError, MutationError, ReadError};
use crate::index::snapshot::{ContentSearch, NamesTable, Snapshot};
use crate::limits::{CHANGE_FILES_MAX, MISSING_NAMES_TOLD_MAX};
use crate::model::{
    Dataset, DatasetId, Digest, FileRecord, Filename, FilenameError, RequestedFilename, StoredFile,
};
use crate::store::Store;

/// Whether a caller may read the files of a dataset, as a state of the store says.
pub type MayRead = Arc<dyn Fn(&Snapshot, &Dataset) -> Result<bool, ReadError> + Send + Sync>;

/// A file that somebody has, by what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedFile {
    /// The name that it has, or is to get, in a dataset, as the wire gives it.
    pub filename: String,
    /// Digest of its content.
    pub digest: Digest,
    /// Bytes of its content.
    pub length: u64,
}

/// What a dataset says of a claimed file.
#[derive(Debug, Clone)]
pub enum Presence {
    /// The file is there with this content.
    Present,
    /// The name is that of a file with another content.
    Differs(Digest),
    /// The name is free, and the content may be attached.
    Attachable,
    /// The name is free, and the content must be sent.
    Unknown,
    /// No file can have that name here, for this reason.
    Refused(MutationError),
}

/// Says of each file whether it is there, and whether its content must be sent, all in one state.
/// Blocks.
pub(crate) fn check_files(
    store: &Store,
    snapshot: &Snapshot,
    dataset: &Dataset,
    files: &[ClaimedFile],
    may_read: &MayRead,
) -> Result<Vec<Presence>, ReadError> {
    let mut search = snapshot.search_contents(|dataset| may_read(snapshot, dataset))?;
    let mut free = FreeNames::of(snapshot.tree(dataset)?);
    let mut presences = Vec::with_capacity(files.len());
    for file in files {
        let presence = match taken(snapshot, dataset, file, &mut free)? {
            Some(presence) => presence,
            None if find(store, snapshot, file, &mut search)?.is_some() => Presence::Attachable,
            None => Presence::Unknown,
        };
        presences.push(presence);
    }
    Ok(presences)
}

/// What is known of a file by its name alone; `None` if the name is free.
fn taken(
    snapshot: &Snapshot,
    dataset: &Dataset,
    file: &ClaimedFile,
    free: &mut FreeNames<'_, NamesTable, NamesTable>,
) -> Result<Option<Presence>, ReadError> {
    let filename = match named(file) {
        Ok(filename) => filename,
        Err(refusal) => return Ok(Some(Presence::Refused(refusal))),
    };
    if free.has(&filename)? {
        return Ok(None);
    }
    if let Some(record) = snapshot.file(dataset, filename.as_str())? {
        let is_it = record.digest == file.digest;
        return Ok(Some(if is_it { Presence::Present } else { Presence::Differs(record.digest) }));
    }
    match plan_free_names(snapshot, dataset, &[&filename]) {
        Ok(()) => Ok(None),
        Err(MutationError::Read(error)) => Err(again(&error)),
        Err(refusal) => Ok(Some(Presence::Refused(refusal))),
    }
}

/// A read error, which a mutation's error shares, once more.
fn again(error: &ReadError) -> ReadError {
    ReadError::Io { what: "the index", source: std::io::Error::other(error.to_string()) }
}

/// The name of a claimed file; it must be one, not a directory that gives out numbers.
fn named(file: &ClaimedFile) -> Result<Filename, MutationError> {
    let filename = file.filename.clone();
    match RequestedFilename::parse(&file.filename) {
        Ok(RequestedFilename::Named(named)) => Ok(named),
        Ok(RequestedFilename::Numbered(_)) => {
            Err(MutationError::BadFilename { filename, reason: FilenameError::Directory })
        }
        Err(reason) => Err(MutationError::BadFilename { filename, reason }),
    }
}

/// A file somewhere whose content is the claimed one, sound, and readable for the caller.
fn find(
    store: &Store,
    snapshot: &Snapshot,
    file: &ClaimedFile,
    search: &mut ContentSearch<'_>,
) -> Result<Option<FileRecord>, ReadError> {
    let Some(record) = search.find(&file.digest)? else { return Ok(None) };
    let Some(row) = snapshot.blob(&file.digest)? else { return Ok(None) };
    // Whoever has a content that is damaged here is to send it, which heals it.
    let is_sound = store.quarantine.mark(&file.digest, row.place).is_none();
    Ok((is_sound && record.length == file.length).then_some(record))
}

/// Adds files by digest, all of them or none.
pub(crate) async fn attach_files(
    bulk: &Bulk,
    dataset: DatasetId,
    files: Vec<ClaimedFile>,
    may_read: MayRead,
) -> Result<Vec<StoredFile>, IntakeError> {
    let staging = bulk.clone();
    let staged = on_blocking_pool(move || stage(&staging, dataset, &files, &may_read)).await?;
    commit(bulk, dataset, staged).await
}

fn stage(
    bulk: &Bulk,
    dataset: DatasetId,
    files: &[ClaimedFile],
    may_read: &MayRead,
) -> Result<Staged, IntakeError> {
    let names = files.iter().map(named).collect::<Result<Vec<Filename>, _>>()?;
    Names::check(names.iter())?;
    expect_free_so_far(bulk, dataset, &names.iter().collect::<Vec<_>>())?;
    let mut room = bulk.rooms.begin();
    let names_bytes = names.iter().map(|name| byte_count(name.as_str().len())).sum();
    room.grow(byte_count(names.len()), names_bytes)?;
    let claims: Vec<(&ClaimedFile, &Filename)> = files.iter().zip(&names).collect();
    let mut missing = Missing::default();
    let mut set = None;
    let mut stored = Vec::with_capacity(files.len());
    for chunk in claims.chunks(CHANGE_FILES_MAX) {
        let part = stage_part(bulk, chunk, may_read, &mut missing)?;
        if missing.count > 0 {
            continue;
        }
        if files.len() <= CHANGE_FILES_MAX {
            return Ok(part.whole(room));
        }
        stored.extend(part.stored);
        set.get_or_insert_with(|| LargeSet::begin(bulk, None)).stage(part.files, part.contents)?;
    }
    missing.expect_none()?;
    Ok(match set {
        Some(set) => Staged::of_parts(stored, set, room),
        None => Part::default().whole(room),
    })
}

/// Pins contents, then finds files that have them: from then on they stay until the part is
/// applied, whatever becomes of those files (I3).
fn stage_part(
    bulk: &Bulk,
    claims: &[(&ClaimedFile, &Filename)],
    may_read: &MayRead,
    missing: &mut Missing,
) -> Result<Part, MutationError> {
    let pin = |(file, _): &(&ClaimedFile, &Filename)| bulk.store.blobs.pins().pin(file.digest);
    let pins: Vec<Pin> = claims.iter().map(pin).collect();
    let snapshot = bulk.store.snapshot()?;
    let mut search = snapshot.search_contents(|dataset| may_read(&snapshot, dataset))?;
    let mut part = Part::default();
    for ((file, filename), pin) in claims.iter().zip(pins) {
        let found = find(&bulk.store, &snapshot, file, &mut search)?;
        match found.filter(|_| !pin.is_doomed()) {
            Some(record) => part.push((*filename).clone(), StagedBlob::known(pin, &record)),
            None => missing.note(filename),
        }
    }
    Ok(part)
}

/// Files whose contents must be sent.
#[derive(Debug, Default)]
struct Missing {
    first: Vec<String>,
    count: u64,
}

impl Missing {
    fn note(&mut self, filename: &Filename) {
        self.count += 1;
        if self.first.len() < MISSING_NAMES_TOLD_MAX {
            self.first.push(filename.to_string());
        }
    }

    fn expect_none(self) -> Result<(), MutationError> {
        let Self { first: filenames, count } = self;
        if count == 0 { Ok(()) } else { Err(MutationError::ContentsUnknown { filenames, count }) }
    }
}
