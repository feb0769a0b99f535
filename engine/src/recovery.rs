//! What opening repairs, in which order, and why that is enough.
//!
//! | crash | on disk | what opening does |
//! |---|---|---|
//! | while a store is made | the mark `store.new`, parts of the rest | removes the parts, makes it again |
//! | while a backup is restored | the mark `store.restoring`, parts of the rest | refuses to open; restoring again starts over |
//! | while an upload arrives | a staging file | sweeps it |
//! | after a large file is published, before its record | a file that no row names | sweeps it, as it is of an earlier start |
//! | after a group is appended, before its sync returned | a torn or a whole last group | cuts the torn one; applies the whole one, which nobody was told about |
//! | after the sync, before the index is checkpointed | the group in the journal, the index at its last checkpoint | applies it again from there |
//! | between two parts of a large set, or a fold | a detached layer and its row among the sets | drops the layer |
//! | inside a checkpoint | redb's old or new root, each with its own journal position | replays from whichever it is |
//! | after a checkpoint, before removed bytes went | segments or files that the index does not want | meets their rows again, removes them |
//! | inside opening itself | as before, or a checkpoint further | the same again |
//!
//! The order: lock, identity, index at its checkpoint, tables that it lacks, journal from that checkpoint's position,
//! unfinished sets, a checkpoint with the new start number, and then, in the background, the
//! sweep. Of the journal what the last checkpoint does not hold is read, and the header of each older segment.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::backup::RESTORING_PATH;
use crate::blobs::{Blobs, remove_if_there};
use crate::disk::{Disk, OpenMode};
use crate::error::OpenError;
use crate::index::apply::Group;
use crate::index::rows::AppliedRow;
use crate::index::upgrade::upgrade;
use crate::index::{INDEX_PATH, Index, IndexError, Lock, write_applied};
use crate::journal::{
    Journal, JournalOpenError, JournalOptions, ReplayedGroup, read_groups, segments_for_reading,
};
use crate::model::Sequence;
use crate::noted::{EncodedNote, NotedChange};
use crate::quarantine::Quarantine;
use crate::scrub::ScrubRow;
use crate::store::{SharedIndex, Store};
use crate::sync::caught;
use crate::trace::Trace;

/// Version of the store's layout on disk: 1 is the first; 2 has contents that name a file, notes in
/// the journal of who asked, and the audit log; 3 has merges by layers in the journal; 4 has contents that name several files.
pub(crate) const FORMAT_VERSION: u32 = 4;

/// File that names the store's format and identity; its presence means that making it was done.
pub(crate) const IDENTITY_PATH: &str = "store";

/// The same while the store is being made.
const MAKING_PATH: &str = "store.new";

/// Files of others that may lie in a fresh data directory.
const HARMLESS: [&str; 3] = ["LOCK", "lost+found", MAKING_PATH];

/// An opened store, ready for its threads.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) key: [u8; 32],
    pub(crate) journal: Journal,
    pub(crate) index: Index,
    pub(crate) applied: AppliedRow,
    pub(crate) is_new: bool,
    pub(crate) replayed_changes: u64,
    pub(crate) quarantine: Quarantine,
    pub(crate) scrub: ScrubRow,
}

/// Opens a store, or makes one in a directory that is empty.
///
/// # Errors
/// See [`OpenError`]; nothing was changed where bytes are damaged.
pub(crate) fn open(
    disk: &Arc<dyn Disk>,
    options: JournalOptions,
    index_cache_bytes: usize,
) -> Result<Recovered, OpenError> {
    let lock = locked(disk)?;
    let names = disk.list("").map_err(io_error(&**disk))?;
    let is_new = !names.iter().any(|name| name == IDENTITY_PATH);
    if is_new {
        make(disk, &names, options, index_cache_bytes)?;
    } else {
        // A start that failed to sync the identity's name left it in the system's memory only.
        disk.sync_dir("").map_err(io_error(&**disk))?;
    }
    let Identity { format, key } = read_identity(&**disk)?;
    let index =
        Index::open(disk, OpenMode::Existing, index_cache_bytes).map_err(index_error(&**disk))?;
    if format < FORMAT_VERSION {
        // Not where the index is damaged, and before anything is written that an older program would
        // take for damage.
        raise_format(&**disk, &key).map_err(io_error(&**disk))?;
    }
    upgrade(&index).map_err(index_error(&**disk))?;
    let mut recovered = replay(disk, index, key, options)?;
    finish(&mut recovered).map_err(index_error(&**disk))?;
    let Replayed { journal, index, applied, changes } = recovered;
    let quarantine = index.quarantine().map_err(index_error(&**disk))?;
    let scrub = index.scrub().map_err(index_error(&**disk))?;
    Ok(Recovered {
        quarantine,
        scrub,
        key,
        journal,
        index: index.keep(lock),
        applied,
        is_new,
        replayed_changes: changes,
    })
}

fn io_error(disk: &dyn Disk) -> impl Fn(io::Error) -> OpenError + '_ {
    move |source| OpenError::Io { path: disk.display().into(), source }
}

/// A failure of the index: its disk's, such as one that is full, is no damage.
fn index_error(disk: &dyn Disk) -> impl Fn(IndexError) -> OpenError + '_ {
    move |error| {
        let reason = error.to_text();
        match io_kind(&error) {
            Some(kind) => io_error(disk)(io::Error::new(kind, reason)),
            None => OpenError::IndexDamaged { reason },
        }
    }
}

/// What the disk said, if it failed; that bytes are not there or not as they were is damage.
fn io_kind(error: &IndexError) -> Option<io::ErrorKind> {
    let IndexError::Redb(error) = error else { return None };
    let redb::Error::Io(error) = &**error else { return None };
    let is_damage = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
    );
    (!is_damage).then(|| error.kind())
}

/// Makes an empty store. The identity gets its name last: without it, making starts again.
fn make(
    disk: &Arc<dyn Disk>,
    names: &[String],
    options: JournalOptions,
    index_cache_bytes: usize,
) -> Result<(), OpenError> {
    let io = io_error(&**disk);
    if names.iter().any(|name| name == MAKING_PATH) {
        remove_parts(&**disk).map_err(&io)?;
        remove_if_there(&**disk, MAKING_PATH).map_err(&io)?;
        disk.sync_dir("").map_err(&io)?;
    } else if names.iter().any(|name| name == RESTORING_PATH) {
        let reason = "a restore into it has not ended; run it again".to_owned();
        return Err(OpenError::NotAStore { path: disk.display().into(), reason });
    } else if let Some(foreign) = names.iter().find(|name| !HARMLESS.contains(&name.as_str())) {
        let reason = format!("it holds {foreign:?}");
        return Err(OpenError::NotAStore { path: disk.display().into(), reason });
    }
    let key = write_identity(&**disk).map_err(&io)?;
    Blobs::prepare(&**disk).map_err(&io)?;
    let (_, position) = Journal::create(Arc::clone(disk), key, options).map_err(&io)?;
    let index =
        Index::open(disk, OpenMode::CreateNew, index_cache_bytes).map_err(index_error(&**disk))?;
    let applied = AppliedRow { position, sequence: Sequence::ZERO, start: 0 };
    index
        .checkpoint(|txn| {
            crate::index::create_tables(txn)?;
            write_applied(txn, &applied)
        })
        .map_err(index_error(&**disk))?;
    drop(index);
    disk.sync_dir("").map_err(&io)?;
    disk.rename(MAKING_PATH, IDENTITY_PATH).map_err(&io)?;
    disk.sync_dir("").map_err(&io)
}

/// Removes what an interrupted making left; nothing in it was ever answered.
pub(crate) fn remove_parts(disk: &dyn Disk) -> io::Result<()> {
    for directory in ["journal", "blobs", "staging"] {
        let names = match disk.list(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            names => names?,
        };
        for name in names {
            disk.remove(&format!("{directory}/{name}"))?;
        }
        disk.sync_dir(directory)?;
    }
    remove_if_there(disk, INDEX_PATH)?;
    disk.sync_dir("")
}

/// Writes a fresh identity under its provisional name; gives the store's key.
fn write_identity(disk: &dyn Disk) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let text = identity_text(&key);
    let file = disk.open(MAKING_PATH, OpenMode::CreateNew)?;
    file.write_all_at(&[IoSlice::new(text.as_bytes())], 0)?;
    file.sync_data()?;
    disk.sync_dir("")?;
    Ok(key)
}

/// The identity of a store with this key.
pub(crate) fn identity_text(key: &[u8; 32]) -> String {
    let hex = blake3::Hash::from_bytes(*key).to_hex();
    format!("granary store\nformat {FORMAT_VERSION}\nkey {hex}\n")
}

/// Gives the store today's format. The identity is less than a sector, which is written whole or not
/// at all, and all of it but the format stays what it is.
fn raise_format(disk: &dyn Disk, key: &[u8; 32]) -> io::Result<()> {
    let file = disk.open(IDENTITY_PATH, OpenMode::Existing)?;
    file.write_all_at(&[IoSlice::new(identity_text(key).as_bytes())], 0)?;
    file.sync_data()
}

/// What a store says of itself.
struct Identity {
    format: u32,
    /// Makes the journal's checksums the store's own.
    key: [u8; 32],
}

fn read_identity(disk: &dyn Disk) -> Result<Identity, OpenError> {
    let io = io_error(disk);
    let file = disk.open(IDENTITY_PATH, OpenMode::Existing).map_err(&io)?;
    let length = usize::try_from(file.len().map_err(&io)?.min(4096)).unwrap_or(0);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).map_err(&io)?;
    let text = String::from_utf8_lossy(&bytes);
    let unknown = || OpenError::NotAStore {
        path: disk.display().into(),
        reason: format!("its file {IDENTITY_PATH:?} is not one of ours"),
    };
    let mut lines = text.lines();
    if lines.next() != Some("granary store") {
        return Err(unknown());
    }
    let format = lines.next().and_then(|line| line.strip_prefix("format "));
    let found: u32 = format.and_then(|format| format.parse().ok()).ok_or_else(unknown)?;
    if found > FORMAT_VERSION {
        return Err(OpenError::NewerFormat { found, known: FORMAT_VERSION });
    }
    let key = lines.next().and_then(|line| line.strip_prefix("key "));
    let key = key.and_then(|key| blake3::Hash::from_hex(key).ok()).ok_or_else(unknown)?;
    Ok(Identity { format: found, key: *key.as_bytes() })
}

struct Replayed {
    journal: Journal,
    index: Index,
    applied: AppliedRow,
    changes: u64,
}

/// Applies what the journal holds beyond the index's checkpoint.
fn replay(
    disk: &Arc<dyn Disk>,
    index: Index,
    key: [u8; 32],
    options: JournalOptions,
) -> Result<Replayed, OpenError> {
    let applied = index.applied().map_err(index_error(&**disk))?;
    let Some(mut applied) = applied else {
        return Err(OpenError::IndexDamaged {
            reason: "it does not say how far it reaches".into(),
        });
    };
    let (position, sequence) = (applied.position, applied.sequence);
    let mut changes = 0;
    // redb panics where a damaged page makes no sense to it.
    let journal = caught(|| {
        Journal::open(Arc::clone(disk), key, options, position, sequence, |group| {
            changes += u64::try_from(group.records.len()).unwrap_or(u64::MAX);
            apply_replayed(&index, &mut applied, &group)
        })
    });
    let error = match journal {
        Ok(Ok(journal)) => return Ok(Replayed { journal, index, applied, changes }),
        Ok(Err(error)) => error,
        Err(_panic) => {
            let text = "applying the journal to it panicked";
            JournalOpenError::Apply(IndexError::Contradiction(text.into()))
        }
    };
    // What was replayed is not confirmed: the next opening, which would not look at it any more, must find
    // the index as this one did.
    index.give_up();
    Err(match error {
        JournalOpenError::Io(error) => io_error(&**disk)(error),
        JournalOpenError::Damaged { segment, offset, reason } => {
            OpenError::JournalDamaged { segment: segment.0, offset, reason }
        }
        JournalOpenError::NewerFormat { found, known } => OpenError::NewerFormat { found, known },
        JournalOpenError::Apply(error) => index_error(&**disk)(error),
    })
}

fn apply_replayed(
    index: &Index,
    applied: &mut AppliedRow,
    group: &ReplayedGroup,
) -> Result<(), IndexError> {
    index.apply(|txn| {
        let mut rows = Group::begin(txn)?;
        for record in &group.records {
            let NotedChange { change, note } = NotedChange::decode(&record.change)?;
            // A refusal was one before the crash too; it was answered then, or never. What was
            // answered before it was applied is never refused.
            let note = note.as_ref().map(EncodedNote::try_from).transpose()?;
            drop(rows.apply(record.sequence, &change, note.as_ref(), &record.blobs)?);
            applied.sequence = record.sequence;
        }
        applied.position = group.end;
        rows.finish()?;
        write_applied(txn, applied)
    })
}

/// The state up to a change, from the index's last checkpoint and the journal, in memory only:
/// what readers get after the index has failed (I7).
///
/// # Errors
/// The disk cannot even be read.
pub(crate) fn open_for_reading(
    disk: &Arc<dyn Disk>,
    key: [u8; 32],
    index_cache_bytes: usize,
    last: Sequence,
) -> Result<Index, OpenError> {
    let index = Index::open_in_memory(disk, index_cache_bytes).map_err(index_error(&**disk))?;
    let applied = index.applied().map_err(index_error(&**disk))?;
    let Some(mut applied) = applied else {
        return Err(OpenError::IndexDamaged {
            reason: "it does not say how far it reaches".into(),
        });
    };
    let (position, sequence) = (applied.position, applied.sequence);
    let read = read_groups(disk, key, position, sequence, |group| {
        let is_wanted = group.records.last().is_some_and(|record| record.sequence <= last);
        if is_wanted { apply_replayed(&index, &mut applied, &group) } else { Ok(()) }
    });
    match read {
        Err(JournalOpenError::Apply(error)) => Err(index_error(&**disk)(error)),
        // Beyond the last change the journal's end may be torn, or still be written to.
        Ok(_) | Err(_) if applied.sequence >= last => Ok(index),
        Ok(_) | Err(_) => {
            let reason = format!("the journal ends at change {} of {last}", applied.sequence);
            Err(OpenError::IndexDamaged { reason })
        }
    }
}

/// What is found in a directory that nothing is changed in.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The store as opening would show it; `None` if nothing can be read.
    pub(crate) store: Option<Store>,
    /// Invariants that do not hold, and why.
    pub(crate) damage: Vec<(&'static str, String)>,
    /// Bytes of a torn group at the journal's end, which is no damage.
    pub(crate) torn_bytes: u64,
    /// Segments whose headers fail their check.
    pub(crate) headless: Vec<u64>,
    pub(crate) _lock: Lock,
}

/// Looks into a store without changing it: the index's pages are compared with their checksums
/// and the journal is applied in memory. `replaying` is called between the two.
///
/// # Errors
/// It is no store of a known format, is in use, or cannot be read; damage is no error.
pub(crate) fn look(
    disk: &Arc<dyn Disk>,
    index_cache_bytes: usize,
    replaying: &mut dyn FnMut(),
) -> Result<Looked, OpenError> {
    let io = io_error(&**disk);
    let names = disk.list("").map_err(&io)?;
    if !names.iter().any(|name| name == IDENTITY_PATH) {
        let reason = format!("it has no file {IDENTITY_PATH:?}");
        return Err(OpenError::NotAStore { path: disk.display().into(), reason });
    }
    let lock = locked(disk)?;
    let Identity { key, .. } = read_identity(&**disk)?;
    let mut looked = Looked {
        store: None,
        damage: Vec::new(),
        torn_bytes: 0,
        headless: Vec::new(),
        _lock: lock,
    };
    let index = match sound_index(disk, index_cache_bytes, &mut looked.damage) {
        Ok(index) => index,
        Err(error) => {
            looked.damage.push(("I4", format!("the index cannot be read: {}", error.to_text())));
            return Ok(looked);
        }
    };
    replaying();
    looked.store = read_journal(disk, key, index, &mut looked)?;
    Ok(looked)
}

fn locked(disk: &Arc<dyn Disk>) -> Result<Lock, OpenError> {
    disk.lock().map(Lock::from).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked { path: disk.display().into() }
        } else {
            io_error(&**disk)(error)
        }
    })
}

/// The index at its last checkpoint, with the tables that it lacks, in memory.
fn sound_index(
    disk: &Arc<dyn Disk>,
    cache_bytes: usize,
    damage: &mut Vec<(&'static str, String)>,
) -> Result<Index, IndexError> {
    let mut index = Index::open_in_memory(disk, cache_bytes)?;
    if !index.is_sound()? {
        damage.push(("I4", "pages of the index fail their checksums".into()));
    }
    upgrade(&index)?;
    Ok(index)
}

/// Applies the journal in memory as far as it can be read.
fn read_journal(
    disk: &Arc<dyn Disk>,
    key: [u8; 32],
    index: Index,
    looked: &mut Looked,
) -> Result<Option<Store>, OpenError> {
    let Some(mut applied) = index.applied().map_err(index_error(&**disk))? else {
        looked.damage.push(("I4", "the index does not say how far it reaches".into()));
        return Ok(None);
    };
    let (position, sequence) = (applied.position, applied.sequence);
    let read = read_groups(disk, key, position, sequence, |group| {
        apply_replayed(&index, &mut applied, &group)
    });
    let mut end = applied.position;
    match read {
        Ok(read) => (end, looked.torn_bytes) = (read.end, read.torn_bytes),
        Err(JournalOpenError::Io(error)) => return Err(io_error(&**disk)(error)),
        Err(JournalOpenError::NewerFormat { found, known }) => {
            return Err(OpenError::NewerFormat { found, known });
        }
        Err(JournalOpenError::Damaged { segment, offset, reason }) => {
            let what = format!(
                "journal segment {} is damaged at byte {offset}: {reason}; the server does not \
                 start with it, and what follows that place was not looked at",
                segment.0
            );
            looked.damage.push(("I1", what));
        }
        Err(JournalOpenError::Apply(error)) => {
            let what = format!("the journal does not fit the index: {}", error.to_text());
            looked.damage.push(("I1", what));
        }
    }
    let (segments, headless) = segments_for_reading(disk, key, end).map_err(io_error(&**disk))?;
    looked.headless = headless.into_iter().map(|segment| segment.0).collect();
    let quarantine = index.quarantine().map_err(index_error(&**disk))?;
    let blobs = Blobs::new(Arc::clone(disk), applied.start + 1);
    Ok(Some(Store {
        bare_disk: Arc::clone(disk),
        disk: Arc::clone(disk),
        index: Arc::new(SharedIndex::new(index)),
        segments: Arc::new(segments),
        leases: Arc::default(),
        touches: Arc::default(),
        trace: Trace::default(),
        counters: Arc::clone(blobs.counters()),
        blobs,
        quarantine: Arc::new(quarantine),
        scrub: Arc::default(),
        visibility: Arc::default(),
        rights_version: AtomicU64::default(),
    }))
}

/// Drops what can no longer be finished and makes the recovered state durable under a new start
/// number, before anything new is written.
fn finish(replayed: &mut Replayed) -> Result<(), IndexError> {
    replayed.applied.start += 1;
    let applied = replayed.applied;
    replayed.index.checkpoint(|txn| {
        let mut rows = Group::begin(txn)?;
        rows.drop_unfinished_sets()?;
        rows.finish()?;
        write_applied(txn, &applied)
    })
}
