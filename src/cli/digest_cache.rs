//! What files had for digests when they were read last, so that unchanged ones are not read again.
//!
//! A file of the cache belongs to one folder that was pushed or pulled, and lies in
//! `$XDG_CACHE_HOME/granary/digests` (`~/.cache` without that variable), readable by its owner
//! alone. It is a row of records of 56 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | key: the first bytes of the BLAKE3 of name and [`Stamp`] |
//! | 32 | digest of the content |
//! | 8 | the first bytes of the BLAKE3 of [`FORMAT`], key and digest |
//!
//! Records are only ever appended, some at a time, so a command that is killed leaves all but its
//! last few. A record whose check is wrong counts as absent, and so does one that another
//! version wrote: what is lost is read again. Where much of a file is dead it is replaced by
//! another, by a rename. A file that changed has another stamp and so another key; see [`Stamp`]
//! for what is never remembered. Two commands on one folder may append at once, and one may lose
//! what the other replaces: it is a cache.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use granary_engine::model::Digest;

use super::cache_directory;
use super::stamp::Stamp;

/// Goes into every record's check.
const FORMAT: &[u8] = b"granary digest cache 1";

const KEY_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;
const CHECKED_BYTES: usize = KEY_BYTES + DIGEST_BYTES;
const RECORD_BYTES: usize = CHECKED_BYTES + 8;

/// Records of a folder that are held, 48 bytes each: 192 MiB. Of a folder with more files the
/// rest is read at each push.
const RECORDS_MAX: usize = 4 << 20;

/// Bytes that are appended at a time, and the length of a file that is not made to wait: reading
/// it again would take longer than writing.
const APPENDED_BYTES: usize = 32 * RECORD_BYTES;
const LARGE_BYTES: u64 = 1 << 20;

/// Dead records that are not worth replacing a file.
const DEAD_RECORDS_MAX: u64 = 4096;

/// After how long unused a folder's file is removed.
const UNUSED_MAX: Duration = Duration::from_hours(24 * 180);

type Key = [u8; KEY_BYTES];

/// The digests of one folder's files.
#[derive(Debug)]
pub(crate) struct DigestCache {
    /// In order of key.
    known: Vec<(Key, Digest)>,
    /// Whether each of `known` was asked for and found.
    used: Vec<AtomicBool>,
    hits: AtomicU64,
    /// Whether what is known is not to be believed.
    distrusted: bool,
    /// `None` if the cache cannot be written.
    file: Option<Mutex<Appender>>,
}

#[derive(Debug)]
struct Appender {
    path: PathBuf,
    file: File,
    pending: Vec<u8>,
    /// Records that the file may still take.
    room: usize,
    /// Records of the file, with those that were appended.
    records: u64,
}

impl DigestCache {
    /// The cache of a folder, or of one file; empty if there is none or it cannot be used.
    ///
    /// With `distrusted` everything is read again, and remembered anew.
    pub(crate) fn open(root: &Path, distrusted: bool) -> Self {
        match place_of(root).and_then(|path| Self::open_at(path, distrusted)) {
            Some(cache) => cache,
            None => Self::none(),
        }
    }

    /// A cache that remembers nothing.
    pub(crate) fn none() -> Self {
        let (known, used) = (Vec::new(), Vec::new());
        Self { known, used, hits: AtomicU64::new(0), distrusted: false, file: None }
    }

    fn open_at(path: PathBuf, distrusted: bool) -> Option<Self> {
        let directory = path.parent()?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory).ok()?;
        remove_unused(directory);
        let (known, mut records) = read(&path).unwrap_or_default();
        let dead = records.saturating_sub(u64::try_from(known.len()).unwrap_or(u64::MAX));
        let is_torn = fs::metadata(&path).is_ok_and(|file| !is_whole(file.len()));
        if is_torn || dead > DEAD_RECORDS_MAX {
            replace(&path, known.iter().copied()).ok()?;
            records = u64::try_from(known.len()).unwrap_or(u64::MAX);
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        // What cannot be opened is not worth a word: everything works without it.
        let file = file.ok().map(|file| {
            let room = RECORDS_MAX.saturating_sub(known.len());
            Mutex::new(Appender { path, file, pending: Vec::new(), room, records })
        });
        let used = known.iter().map(|_| AtomicBool::new(false)).collect();
        Some(Self { known, used, hits: AtomicU64::new(0), distrusted, file })
    }

    /// The digest of a file that has not changed since it was read.
    pub(crate) fn get(&self, name: &str, stamp: &Stamp) -> Option<Digest> {
        let key = key_of(name, stamp);
        let at = self.known.binary_search_by(|(other, _)| other.cmp(&key)).ok()?;
        if let Some(used) = self.used.get(at) {
            used.store(true, Ordering::Relaxed);
        }
        let digest = self.known.get(at).map(|(_, digest)| *digest);
        if self.distrusted {
            return None;
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        digest
    }

    /// Remembers a digest; the caller has made sure that a later change would change the stamp.
    pub(crate) fn put(&self, name: &str, stamp: &Stamp, digest: Digest) {
        let Some(file) = &self.file else {
            return;
        };
        let record = record_of(&key_of(name, stamp), &digest);
        let mut file = lock(file);
        if file.room == 0 {
            return;
        }
        file.room -= 1;
        file.records += 1;
        file.pending.extend_from_slice(&record);
        if file.pending.len() >= APPENDED_BYTES || stamp.length >= LARGE_BYTES {
            file.append();
        }
    }

    /// How many files need not be read.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Writes what is left to write; `complete` says that every file of the folder was asked for,
    /// so that what nobody asked for has gone or changed.
    pub(crate) fn finish(&self, complete: bool) {
        let Some(file) = &self.file else {
            return;
        };
        let mut file = lock(file);
        file.append();
        // It is in use, whether or not there was anything to add.
        file.file.set_modified(SystemTime::now()).ok();
        let unused = self.used.iter().filter(|used| !used.load(Ordering::Relaxed)).count();
        let unused = u64::try_from(unused).unwrap_or(u64::MAX);
        if complete && unused > DEAD_RECORDS_MAX && unused > file.records / 2 {
            self.drop_unused(&file.path);
        }
    }

    fn drop_unused(&self, path: &Path) {
        let Some((all, _)) = read(path) else {
            return;
        };
        let kept = all.into_iter().filter(|(key, _)| {
            let at = self.known.binary_search_by(|(other, _)| other.cmp(key)).ok();
            let used = at.and_then(|at| self.used.get(at));
            used.is_none_or(|used| used.load(Ordering::Relaxed))
        });
        // The longer file does as well.
        replace(path, kept).ok();
    }
}

impl Drop for DigestCache {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            lock(file).append();
        }
    }
}

impl Appender {
    fn append(&mut self) {
        // A full disk costs the cache some records, and a torn one that the next reader drops.
        self.file.write_all(&self.pending).ok();
        self.pending.clear();
    }
}

fn lock(file: &Mutex<Appender>) -> MutexGuard<'_, Appender> {
    // Whatever a panic left pending is whole records.
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the cache of a folder is; `None` if the folder or the user's home cannot be told.
fn place_of(root: &Path) -> Option<PathBuf> {
    let root = fs::canonicalize(root).ok()?;
    let name = Digest::of(root.as_os_str().as_bytes()).to_string();
    Some(cache_directory("digests")?.join(name.get(..32)?))
}

/// Removes the files of folders that nobody has pushed or pulled for long.
fn remove_unused(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age =
            modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if age.is_some_and(|age| age > UNUSED_MAX) {
            // Another command may have been first.
            fs::remove_file(entry.path()).ok();
        }
    }
}

fn key_of(name: &str, stamp: &Stamp) -> Key {
    let mut text = Vec::with_capacity(name.len() + 49);
    text.extend_from_slice(&stamp.to_bytes());
    text.extend_from_slice(name.as_bytes());
    let mut key = [0; KEY_BYTES];
    for (place, byte) in key.iter_mut().zip(Digest::of(&text).as_bytes()) {
        *place = *byte;
    }
    key
}

fn record_of(key: &Key, digest: &Digest) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    let checked = key.iter().chain(digest.as_bytes());
    for (place, byte) in record.iter_mut().zip(checked) {
        *place = *byte;
    }
    let check = check_of(record.get(..CHECKED_BYTES).unwrap_or_default());
    for (place, byte) in record.iter_mut().skip(CHECKED_BYTES).zip(check.as_bytes()) {
        *place = *byte;
    }
    record
}

fn check_of(checked: &[u8]) -> Digest {
    let mut text = Vec::with_capacity(FORMAT.len() + CHECKED_BYTES);
    text.extend_from_slice(FORMAT);
    text.extend_from_slice(checked);
    Digest::of(&text)
}

fn is_whole(length: u64) -> bool {
    u64::try_from(RECORD_BYTES).is_ok_and(|record| length.is_multiple_of(record))
}

/// The sound records in order of key, the latest of each, and how many there are of all kinds.
fn read(path: &Path) -> Option<(Vec<(Key, Digest)>, u64)> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).ok()?);
    let (mut known, mut records) = (Vec::new(), 0);
    let mut record = [0; RECORD_BYTES];
    while reader.read_exact(&mut record).is_ok() && known.len() < RECORDS_MAX {
        records += 1;
        let (checked, check) = record.split_at(CHECKED_BYTES);
        if !check_of(checked).as_bytes().starts_with(check) {
            continue;
        }
        let (key, digest) = checked.split_at(KEY_BYTES);
        if let (Ok(key), Ok(digest)) = (key.try_into(), digest.try_into()) {
            known.push((key, Digest(digest)));
        }
    }
    // Stable, so that of equal keys the latest record is the last.
    known.sort_by_key(|(key, _)| *key);
    known.reverse();
    known.dedup_by_key(|(key, _)| *key);
    known.reverse();
    Some((known, records))
}

/// Replaces a file of the cache whole.
fn replace(path: &Path, records: impl Iterator<Item = (Key, Digest)>) -> io::Result<()> {
    let new = path.with_extension(std::process::id().to_string());
    let write = || {
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let mut writer = BufWriter::new(file);
        for (key, digest) in records {
            writer.write_all(&record_of(&key, &digest))?;
        }
        writer.flush()?;
        fs::rename(&new, path)
    };
    let written = write();
    if written.is_err() {
        // What is left of the attempt is of no use.
        fs::remove_file(&new).ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;

    /// Stamps of real files, all different.
    fn stamps(folder: &Path, number: usize) -> Vec<Stamp> {
        (0..number)
            .map(|number| {
                let path = folder.join(format!("stamp {number}"));
                let file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
                Stamp::of(&file.metadata().unwrap())
            })
            .collect()
    }

    fn open(folder: &Path) -> DigestCache {
        DigestCache::open_at(folder.join("cache/root"), false).unwrap()
    }

    #[test]
    fn what_was_put_is_there_for_the_next_command_under_the_same_stamp_only() {
        let folder = tempfile::tempdir().unwrap();
        let stamps = stamps(folder.path(), 2);
        let cache = open(folder.path());
        cache.put("a", &stamps[0], Digest::of(b"old"));
        cache.put("a", &stamps[0], Digest::of(b"a"));
        drop(cache);

        let cache = open(folder.path());
        assert_eq!(cache.get("a", &stamps[0]), Some(Digest::of(b"a")));
        assert_eq!(cache.get("a", &stamps[1]), None);
        assert_eq!(cache.get("b", &stamps[0]), None);
        assert_eq!(cache.hits(), 1);
        let distrusted = DigestCache::open_at(folder.path().join("cache/root"), true).unwrap();
        assert_eq!(distrusted.get("a", &stamps[0]), None);
        let mode =
            |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode();
        assert_eq!((mode("cache") & 0o777, mode("cache/root") & 0o777), (0o700, 0o600));
    }

    #[test]
    fn damaged_records_are_absent_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let stamps = stamps(folder.path(), 3);
        let cache = open(folder.path());
        for (name, stamp) in ["a", "b", "c"].iter().zip(&stamps) {
            cache.put(name, stamp, Digest::of(name.as_bytes()));
        }
        drop(cache);
        let path = folder.path().join("cache/root");
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        // A bit of the second digest, and the third record torn.
        file.write_all_at(&[0xff], 56 + 20).unwrap();
        file.set_len(2 * 56 + 30).unwrap();

        let cache = open(folder.path());
        assert_eq!(cache.get("a", &stamps[0]), Some(Digest::of(b"a")));
        assert_eq!(cache.get("b", &stamps[1]), None);
        assert_eq!(cache.get("c", &stamps[2]), None);
        cache.put("c", &stamps[2], Digest::of(b"c"));
        drop(cache);
        assert_eq!(open(folder.path()).get("c", &stamps[2]), Some(Digest::of(b"c")));
    }

    #[test]
    fn a_file_of_another_kind_is_an_empty_cache() {
        let folder = tempfile::tempdir().unwrap();
        let stamps = stamps(folder.path(), 1);
        drop(open(folder.path()));
        let path = folder.path().join("cache/root");
        OpenOptions::new().write(true).open(path).unwrap().write_all(&[7; 10_000]).unwrap();
        let cache = open(folder.path());
        assert_eq!(cache.get("a", &stamps[0]), None);
        cache.put("a", &stamps[0], Digest::of(b"a"));
        drop(cache);
        assert_eq!(open(folder.path()).get("a", &stamps[0]), Some(Digest::of(b"a")));
    }

    #[test]
    fn what_a_complete_pass_did_not_ask_for_goes_once_it_is_most_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let stamps = stamps(folder.path(), 2);
        let names: BTreeSet<String> = (0..10_000).map(|number| number.to_string()).collect();
        let cache = open(folder.path());
        for name in &names {
            cache.put(name, &stamps[0], Digest::of(name.as_bytes()));
        }
        drop(cache);

        let size = || fs::metadata(folder.path().join("cache/root")).unwrap().len();
        let (cache, before) = (open(folder.path()), size());
        assert!(cache.get("7", &stamps[0]).is_some());
        cache.put("new", &stamps[1], Digest::of(b"new"));
        cache.finish(false);
        assert!(size() > before, "a part of the folder says nothing of the rest");
        cache.finish(true);
        assert_eq!(size(), 2 * 56);
        let cache = open(folder.path());
        assert_eq!(cache.get("7", &stamps[0]), Some(Digest::of(b"7")));
        assert_eq!(cache.get("new", &stamps[1]), Some(Digest::of(b"new")));
    }
}
