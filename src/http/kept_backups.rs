//! The backups that somebody is copying: a few, and none that nobody asks for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use granary_engine::backup::Backup;
use granary_engine::limits::BACKUP_IDLE_MAX;
use granary_engine::model::Timestamp;

use super::error::ApiError;
use super::limits::BACKUPS_MAX;

/// The backups under way; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptBackups(Arc<Mutex<BTreeMap<u64, Arc<Kept>>>>);

/// A backup that somebody is copying.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) backup: Backup,
    /// When somebody last asked for it, or took another chunk of an answer.
    used: Mutex<Instant>,
}

impl Kept {
    /// Counts as used now, and keeps its contents for another while.
    pub(crate) fn touch(&self) {
        self.touch_at(Instant::now());
        self.backup.touch();
    }

    pub(super) fn touch_at(&self, now: Instant) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub(super) fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptBackups {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a backup; beyond the bound the one that was used longest ago goes. Gives its number,
    /// which is not that of one before, whatever process gave that.
    pub(crate) fn add(&self, backup: Backup) -> (u64, Arc<Kept>) {
        let added = Arc::new(Kept { backup, used: Mutex::new(Instant::now()) });
        let now = u64::try_from(Timestamp::now().0).unwrap_or(0);
        let mut kept = self.kept();
        let last = kept.last_key_value().map_or(0, |(last, _)| *last);
        let pk = now.max(last + 1);
        kept.insert(pk, Arc::clone(&added));
        while kept.len() > BACKUPS_MAX {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.used()).map(|(pk, _)| *pk);
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
        drop(kept);
        tokio::spawn(forget_when_idle(Arc::downgrade(&self.0), pk));
        (pk, added)
    }

    /// A backup, which counts as used now.
    ///
    /// # Errors
    /// There is none of this number.
    pub(crate) fn get(&self, pk: u64) -> Result<Arc<Kept>, ApiError> {
        let kept = self.kept();
        let found = kept.get(&pk).ok_or_else(|| ApiError::no_record("Backup"))?;
        found.touch();
        Ok(Arc::clone(found))
    }

    /// Ends a backup.
    ///
    /// # Errors
    /// There is none of this number.
    pub(crate) fn remove(&self, pk: u64) -> Result<(), ApiError> {
        let removed = self.kept().remove(&pk);
        removed.map(drop).ok_or_else(|| ApiError::no_record("Backup"))
    }

    /// When a backup will have been idle for too long; `None` if it has been, and is gone.
    fn ends(&self, pk: u64) -> Option<Instant> {
        let mut kept = self.kept();
        let ends = kept.get(&pk)?.used() + BACKUP_IDLE_MAX;
        if Instant::now() < ends {
            return Some(ends);
        }
        // Its contents are kept no longer in any case.
        kept.remove(&pk);
        None
    }
}

/// Holds nothing itself: with the server's end the backups end too.
async fn forget_when_idle(all: Weak<Mutex<BTreeMap<u64, Arc<Kept>>>>, pk: u64) {
    while let Some(ends) = all.upgrade().and_then(|all| KeptBackups(all).ends(pk)) {
        tokio::time::sleep_until(ends.into()).await;
    }
}
