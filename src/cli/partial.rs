//! Downloads on their way: a folder `.granary-partial` beside what they will become.
//!
//! A file gets its final name only when it is whole and verified. The folder is locked while a
//! pull uses it, so whatever lies in it at the start is left from a pull that was killed, and is
//! removed; at the end the folder itself goes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};

/// Name of the folder.
pub(crate) const DIRECTORY: &str = ".granary-partial";

/// The folder, locked.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    next: AtomicU64,
    /// Keeps the lock for as long as it is open.
    _lock: File,
}

impl Partial {
    /// Makes the folder in `target`, locks it and empties it.
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
            fs::remove_file(&leftover)
                .with_context(|| format!("cannot remove {}", leftover.display()))?;
        }
        Ok(Self { path, next: AtomicU64::new(0), _lock: lock })
    }

    /// A path in the folder that no other download has.
    pub(crate) fn fresh(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.path.join(number.to_string())
    }

    /// Removes the folder, which holds nothing once every download has ended.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn close(self) -> io::Result<()> {
        fs::remove_dir(&self.path)
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
        assert_ne!(partial.fresh(), partial.fresh());
        partial.close().unwrap();
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_pulls_into_one_folder_are_refused() {
        let target = tempfile::tempdir().unwrap();
        let first = Partial::open(target.path()).unwrap();
        let error = Partial::open(target.path()).unwrap_err();
        assert!(error.to_string().contains("another granary pull"), "{error}");
        first.close().unwrap();
    }
}
