//! Downloads on their way: a folder `.granary-partial` beside what they will become.
//!
//! A file gets its final name only when it is whole and verified. The folder is locked while a
//! pull uses it, so whatever lies in it at the start is left from a pull that was killed. What is
//! named by a digest is the beginning of a large file with that digest, and is gone on with; the
//! rest is removed. When everything has arrived the folder itself goes.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use granary_engine::model::Digest;

/// Name of the folder.
pub(crate) const DIRECTORY: &str = ".granary-partial";

/// Where a download lies while it is on its way.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// Its digest, if a later pull can go on with it.
    pub(crate) kept_for: Option<Digest>,
}

/// The folder, locked.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    next: AtomicU64,
    /// Digests that are on their way under their own names.
    taken: Mutex<HashSet<Digest>>,
    /// Keeps the lock for as long as it is open.
    _lock: File,
}

impl Partial {
    /// Makes the folder in `target`, locks it and removes what nobody can go on with.
    ///
    /// # Errors
    /// Another pull uses it, or the disk refuses.
    pub(crate) fn open(target: &Path) -> anyhow::Result<Self> {
        let path = target.join(DIRECTORY);
        let refused = || format!("cannot write to {}; choose another folder", target.display());
        fs::create_dir_all(&path).with_context(refused)?;
        let lock = File::open(&path).with_context(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another granary pull writes to {}; wait for it or choose another folder",
                target.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(refused),
        }
        for leftover in fs::read_dir(&path).with_context(refused)? {
            let leftover = leftover.with_context(refused)?.path();
            let name = leftover.file_name().and_then(|name| name.to_str());
            if name.is_none_or(|name| name.parse::<Digest>().is_err()) {
                fs::remove_file(&leftover)
                    .with_context(|| format!("cannot remove {}", leftover.display()))?;
            }
        }
        Ok(Self { path, next: AtomicU64::new(0), taken: Mutex::default(), _lock: lock })
    }

    /// A path in the folder that no other download has. That for a digest holds what an earlier
    /// pull left of it, if anything.
    pub(crate) fn place(&self, digest: Option<Digest>) -> Place {
        let kept_for = digest.filter(|digest| self.taken().insert(*digest));
        let name = match kept_for {
            Some(digest) => digest.to_string(),
            None => self.next.fetch_add(1, Ordering::Relaxed).to_string(),
        };
        Place { path: self.path.join(name), kept_for }
    }

    /// The download that had this place has ended.
    pub(crate) fn leave(&self, place: &Place) {
        if let Some(digest) = place.kept_for {
            self.taken().remove(&digest);
        }
    }

    /// Removes the folder; if the pull was not complete, only if it holds nothing to go on with.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn close(self, complete: bool) -> io::Result<()> {
        if complete {
            for leftover in fs::read_dir(&self.path)? {
                fs::remove_file(leftover?.path())?;
            }
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && !complete => Ok(()),
            removed => removed,
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<Digest>> {
        // Every change is one call, so a panic elsewhere leaves it whole.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn what_a_killed_pull_left_is_removed() {
        let target = tempfile::tempdir().unwrap();
        fs::create_dir(target.path().join(DIRECTORY)).unwrap();
        let mut options = OpenOptions::new();
        let leftover = target.path().join(DIRECTORY).join("7");
        options.write(true).create_new(true).open(&leftover).unwrap();

        let partial = Partial::open(target.path()).unwrap();
        assert!(!leftover.exists());
        let path = |digest| partial.place(digest).path;
        assert_ne!(path(None), path(None));
        let digest = Some(Digest::of(b""));
        assert_ne!(path(digest), path(digest), "one at a time goes on with what is there");
        partial.close(true).unwrap();
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_pulls_into_one_folder_are_refused() {
        let target = tempfile::tempdir().unwrap();
        let first = Partial::open(target.path()).unwrap();
        let error = Partial::open(target.path()).unwrap_err();
        assert!(error.to_string().contains("another granary pull"), "{error}");
        first.close(true).unwrap();
    }
}
