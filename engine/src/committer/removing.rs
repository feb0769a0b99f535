//! Letting go of files that a durable checkpoint needs no longer, a bounded step at a time: a deletion may
//! doom thousands, and groups wait for a step.

use super::index_thread::{IndexThread, MadeDurable};
use crate::index::reclaim::Removable;
use crate::index::{IndexError, reclaim};
use crate::limits::REMOVED_AT_ONCE;
use crate::model::Digest;
use crate::model::change::{LargeFileId, SegmentId};
use crate::store::Store;
use crate::trace;

/// What the last durable checkpoint lets go of and is still there.
#[derive(Debug, Default)]
pub(super) struct Removing {
    removable: Removable,
    /// Who is told when all of it is gone.
    asked: Vec<MadeDurable>,
}

impl Removing {
    /// Goes on with what a checkpoint lets go of, which is durable now.
    pub(super) fn begin(&mut self, removable: Removable, asked: Vec<MadeDurable>) {
        self.removable = removable;
        self.asked.extend(asked);
    }

    /// Whether a step would find something to do.
    pub(super) fn is_wanted(&self) -> bool {
        !self.removable.is_empty() || !self.asked.is_empty()
    }

    /// Leaves what is still there to a later checkpoint, which lets go of it as well; gives who waits.
    pub(super) fn give_up(&mut self) -> Vec<MadeDurable> {
        std::mem::take(self).asked
    }
}

impl IndexThread {
    /// Removes some of the files, and tells those who wait for all when none is left.
    pub(super) fn remove_some(&mut self) -> Result<(), IndexError> {
        if !self.removing.is_wanted() {
            return Ok(());
        }
        let mut removed = self.removing.removable.take_some(REMOVED_AT_ONCE);
        removed.large.retain(|(digest, file)| self.removes_large(digest, *file));
        removed.segments = self.remove_segments(removed.segments);
        self.forget(&removed)?;
        if self.removing.removable.is_empty() {
            for asked in self.removing.asked.drain(..) {
                drop(asked.send(Ok(())));
            }
        }
        Ok(())
    }

    /// Removes all of them, when no group can come any more.
    pub(super) fn remove_all(&mut self) -> Result<(), IndexError> {
        while self.removing.is_wanted() {
            self.remove_some()?;
        }
        Ok(())
    }

    /// Removes a large file. One that will not go now goes with a later checkpoint; it costs space only.
    fn removes_large(&self, digest: &Digest, file: LargeFileId) -> bool {
        let blobs = &self.store.blobs;
        let bytes = blobs.open_large(digest, file).and_then(|file| file.len());
        match blobs.remove_large(digest, file) {
            Ok(()) => self.store.counters.reclaimed_bytes.add(bytes.unwrap_or_default()),
            Err(error) => {
                tracing::warn!(%digest, %error, "large file stays");
                return false;
            }
        }
        true
    }

    /// Removes segments, durably; gives those that have gone.
    fn remove_segments(&self, mut segments: Vec<SegmentId>) -> Vec<SegmentId> {
        let Store { segments: files, counters, .. } = &*self.store;
        segments.retain(|segment| {
            let bytes = files.length(*segment);
            let removed = files.remove(*segment);
            match &removed {
                Ok(()) => counters.reclaimed_bytes.add(bytes),
                Err(error) => tracing::warn!(segment = segment.0, %error, "segment stays"),
            }
            removed.is_ok()
        });
        if segments.is_empty() {
            return segments;
        }
        match files.sync_removals() {
            Ok(()) => segments,
            Err(error) => {
                tracing::warn!(%error, "removed segments may come back with a power cut");
                Vec::new()
            }
        }
    }

    fn forget(&mut self, removed: &Removable) -> Result<(), IndexError> {
        if removed.is_empty() {
            return Ok(());
        }
        reclaim::forget_removed(&self.store.index.get(), removed)?;
        self.since_checkpoint.note(0, 0);
        if !removed.large.is_empty() {
            self.store.trace.note(trace::LARGE_REMOVED);
        }
        if !removed.segments.is_empty() {
            self.store.trace.note(trace::SEGMENTS_REMOVED);
        }
        Ok(())
    }
}
