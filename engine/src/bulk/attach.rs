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
use crate::dataset::{FreeNames, Standing};
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

/// Says of each file whether it is there, and whether its content must be sent, all in one state; asks
/// before each whether it is to go on. Blocks.
pub(crate) fn check_files<E: From<ReadError>>(
    store: &Store,
    snapshot: &Snapshot,
    dataset: &Dataset,
    files: &[ClaimedFile],
    may_read: &MayRead,
    go_on: impl Fn() -> Result<(), E>,
) -> Result<Vec<Presence>, E> {
    let tree = snapshot.tree(dataset).map_err(ReadError::from)?;
    let search = snapshot.search_contents(|dataset| may_read(snapshot, dataset))?;
    let mut claims = Claims { store, snapshot, free: FreeNames::of(tree), search };
    let mut presences = Vec::with_capacity(files.len());
    let mut names = Vec::with_capacity(files.len());
    for (at, file) in files.iter().enumerate() {
        match named(file) {
            Ok(filename) => names.push((filename, at, file)),
            Err(refusal) => presences.push((at, Presence::Refused(refusal))),
        }
    }
    // Nothing is visited twice for names of this order, whatever lies between them.
    names.sort_unstable_by(|(one, ..), (other, ..)| one.tree_order(other));
    for (filename, at, file) in names {
        go_on()?;
        presences.push((at, claims.presence(&filename, file)?));
    }
    presences.sort_unstable_by_key(|(at, _)| *at);
    Ok(presences.into_iter().map(|(_, presence)| presence).collect())
}

/// Looks at what a dataset and the whole store have of claimed files.
struct Claims<'a> {
    store: &'a Store,
    snapshot: &'a Snapshot,
    free: FreeNames<'a, NamesTable, NamesTable>,
    search: ContentSearch<'a>,
}

impl Claims<'_> {
    fn presence(&mut self, name: &Filename, file: &ClaimedFile) -> Result<Presence, ReadError> {
        let standing = self.free.look(name)?;
        if let Standing::File(FileRecord { digest, .. }) = standing {
            let is_it = digest == file.digest;
            return Ok(if is_it { Presence::Present } else { Presence::Differs(digest) });
        }
        if let Err(refusal) = standing.expect_free(name) {
            return Ok(Presence::Refused(refusal));
        }
        let found = find(self.store, self.snapshot, file, &mut self.search)?;
        Ok(if found.is_some() { Presence::Attachable } else { Presence::Unknown })
    }
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
    let is_sound = store.quarantine.fault(&file.digest, row.place).is_none();
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
    let mut room = bulk.rooms.whole.begin();
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

#[cfg(test)]
mod tests {
    use super::super::rig::{all_may_read, attach, claim, run};
    use super::*;
    use crate::bulk::FileSelection;
    use crate::engine::Engine;
    use crate::index::file_tree::visits;
    use crate::limits::NAMINGS_VISITED_MAX;

    fn checked(engine: &Engine, dataset: DatasetId, files: &[ClaimedFile]) -> (Vec<Presence>, u64) {
        let snapshot = engine.snapshot().unwrap();
        let dataset = snapshot.dataset(dataset).unwrap().unwrap();
        let go_on = || Ok::<_, ReadError>(());
        visits::during(|| {
            engine.check_files(&snapshot, &dataset, files, &all_may_read(), go_on).unwrap()
        })
    }

    #[test]
    fn tombstones_are_passed_once_however_many_claims_lie_above_them() {
        run(async |engine, dataset| {
            // Where a file lies behind the tombstones, and where none does.
            let deep = "old/".repeat(40);
            attach(engine, dataset, "one", (0..2000).map(|n| format!("{deep}{n:04}"))).await;
            attach(engine, dataset, "one", ["old/old/s".to_owned()].into_iter()).await;
            let copied = engine.copy_dataset(dataset, None, None, None).await.unwrap().id;
            let old = FileSelection::Prefix(deep.clone());
            assert_eq!(engine.delete_files(copied, old).await.unwrap(), 2000);

            let (_, once) = checked(engine, copied, &[claim("old", "one")]);
            assert!(once >= 2000, "{once}: the tombstones are still there");
            let nested = (1..=40).rev().map(|depth| deep[..4 * depth - 1].to_owned());
            let beside = nested.clone().map(|name| format!("{name}-"));
            let names: Vec<String> =
                nested.chain(beside).cycle().take(1000).chain(["old".into()]).collect();
            let claims: Vec<ClaimedFile> = names.iter().map(|name| claim(name, "one")).collect();
            let (presences, many) = checked(engine, copied, &claims);
            assert!(many < once + 20 * 1000, "{many} instead of {once}");
            for (name, presence) in names.iter().zip(&presences) {
                let is_directory = matches!(name.as_str(), "old" | "old/old");
                assert_eq!(matches!(presence, Presence::Refused(_)), is_directory, "{name}");
            }
        });
    }

    #[test]
    fn a_content_that_thousands_hide_is_looked_for_so_long_and_no_longer() {
        run(async |engine, dataset| {
            let empty = engine.copy_dataset(dataset, None, Some(vec![]), None).await.unwrap().id;
            attach(engine, dataset, "one", (0..200).map(|n| format!("{n}"))).await;
            let mut hiding = vec![dataset];
            for _ in 0..50 {
                hiding.push(engine.copy_dataset(dataset, None, None, None).await.unwrap().id);
            }
            for id in hiding {
                engine.delete_files(id, FileSelection::Prefix(String::new())).await.unwrap();
            }
            let (presences, visits) = checked(engine, empty, &[claim("a", "one")]);
            assert!(matches!(presences.as_slice(), [Presence::Unknown]), "{presences:?}");
            // With those for the name itself.
            let visits_max = u64::try_from(NAMINGS_VISITED_MAX).unwrap() + 10;
            assert!(visits <= visits_max, "{visits}");
        });
    }

    #[test]
    fn claims_are_looked_at_while_somebody_waits() {
        run(async |engine, dataset| {
            let snapshot = engine.snapshot().unwrap();
            let dataset = snapshot.dataset(dataset).unwrap().unwrap();
            let asked = std::cell::Cell::new(0);
            let go_on = || {
                asked.set(asked.get() + 1);
                if asked.get() < 3 { Ok(()) } else { Err(MutationError::Panicked) }
            };
            let claims = ["a", "b", "c", "d"].map(|name| claim(name, "one"));
            let ended = engine.check_files(&snapshot, &dataset, &claims, &all_may_read(), go_on);
            assert!(matches!(ended, Err(MutationError::Panicked)));
            assert_eq!(asked.get(), 3);
        });
    }
}
