//! Letting go of files that a durable checkpoint needs no longer, a bounded step at a time: a deletion may
//! doom thousands, and groups wait for a step.

use std::collections::VecDeque;

use super::index_thread::{IndexThread, MadeDurable};
use crate::disk::is_for_want_of_means;
use crate::index::reclaim::Removable;
use crate::index::{IndexError, reclaim};
use crate::limits::REMOVED_AT_ONCE;
use crate::model::Digest;
use crate::model::change::{LargeFileId, SegmentId};
use crate::store::Store;
use crate::trace;

/// What one durable checkpoint lets go of and is still there.
#[derive(Debug)]
struct LetGo {
    removable: Removable,
    /// Who is told when all of it is gone.
    asked: Vec<MadeDurable>,
}

/// What durable checkpoints let go of, in the order of the checkpoints; no file is in two of them.
#[derive(Debug, Default)]
pub(super) struct Removing(VecDeque<LetGo>);

impl Removing {
    /// Adds what a checkpoint lets go of, which is durable now.
    pub(super) fn add(&mut self, removable: Removable, asked: Vec<MadeDurable>) {
        if !removable.is_empty() || !asked.is_empty() {
            self.0.push_back(LetGo { removable, asked });
        }
    }

    /// Whether a step would find something to do.
    pub(super) fn is_wanted(&self) -> bool {
        !self.0.is_empty()
    }

    /// What of this is not on its way already. A file that is has kept its rows so far, so a later checkpoint
    /// meets it once more.
    pub(super) fn new_of(&self, mut removable: Removable) -> Removable {
        for earlier in &self.0 {
            removable.take_out(&earlier.removable);
        }
        removable
    }

    fn take_some(&mut self, files_max: usize) -> Removable {
        self.0
            .front_mut()
            .map_or_else(Removable::default, |first| first.removable.take_some(files_max))
    }

    /// Who waits for what is gone now.
    fn take_told(&mut self) -> Vec<MadeDurable> {
        match self.0.front() {
            Some(first) if first.removable.is_empty() => {
                self.0.pop_front().map_or_else(Vec::new, |first| first.asked)
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Leaves what is still there to a later start; gives who waits.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = MadeDurable> + use<> {
        std::mem::take(self).0.into_iter().flat_map(|let_go| let_go.asked)
    }
}

impl IndexThread {
    /// Removes some of the files, as far as the bytes of those before are free, and tells those who wait for
    /// all when none is left.
    pub(super) fn remove_some(&mut self) -> Result<(), IndexError> {
        if !self.removing.is_wanted() {
            return Ok(());
        }
        let files_max = REMOVED_AT_ONCE.min(self.store.disk.freeing_room());
        let mut removed = self.removing.take_some(files_max);
        removed.large.retain(|(digest, file)| self.removes_large(digest, *file));
        removed.segments = self.remove_segments(removed.segments)?;
        self.forget(&removed)?;
        for asked in self.removing.take_told() {
            drop(asked.done.send(Ok(())));
        }
        self.debts.note_removing(self.removing.is_wanted());
        Ok(())
    }

    /// Removes them as far as that waits for nothing, when no group can come any more. The others have kept
    /// their rows, so the first checkpoint of the next start meets them: thousands of large files would keep a
    /// server from ending for minutes.
    pub(super) fn remove_last(&mut self) -> Result<(), IndexError> {
        while self.removing.is_wanted() && self.store.disk.freeing_room() > 0 {
            self.remove_some()?;
        }
        self.debts.note_removing(false);
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
    fn remove_segments(&self, mut segments: Vec<SegmentId>) -> Result<Vec<SegmentId>, IndexError> {
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
            return Ok(segments);
        }
        match files.sync_removals() {
            Ok(()) => Ok(segments),
            Err(error) if is_for_want_of_means(&error) => {
                tracing::warn!(%error, "removed segments may come back with a power cut");
                Ok(Vec::new())
            }
            // The next sync would succeed and tell nothing of the names that this one was for, which may
            // be a new segment's as well (I7).
            Err(error) => Err(IndexError::Names(error)),
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

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::committer::index_thread::Until;
    use crate::error::MutationError;

    fn segments(numbers: std::ops::Range<u64>) -> Removable {
        Removable { large: Vec::new(), segments: numbers.map(SegmentId).collect() }
    }

    fn asked() -> (MadeDurable, oneshot::Receiver<Result<(), MutationError>>) {
        let (done, is_done) = oneshot::channel();
        (MadeDurable { until: Until::Removed, done }, is_done)
    }

    #[test]
    fn who_waits_for_a_checkpoint_waits_for_no_file_of_a_later_one() {
        let mut removing = Removing::default();
        let ((first, mut first_done), (second, mut second_done)) = (asked(), asked());
        removing.add(segments(0..3), vec![first]);
        assert_eq!(removing.take_some(2).segments, [SegmentId(1), SegmentId(2)]);
        assert!(removing.take_told().is_empty());

        // The row of the first has not gone, so the next checkpoint meets it again.
        let met = Removable { large: Vec::new(), segments: [0, 3, 4].map(SegmentId).to_vec() };
        let later = removing.new_of(met);
        assert_eq!(later.segments, [SegmentId(3), SegmentId(4)]);
        removing.add(later, vec![second]);
        assert_eq!(removing.take_some(64).segments, [SegmentId(0)]);
        for asked in removing.take_told() {
            asked.done.send(Ok(())).unwrap();
        }
        assert!(matches!(first_done.try_recv(), Ok(Ok(()))));
        assert!(second_done.try_recv().is_err());
        assert!(removing.is_wanted());

        assert_eq!(removing.take_some(64).segments.len(), 2);
        assert_eq!(removing.take_told().len(), 1);
        assert!(!removing.is_wanted());
    }

    #[test]
    fn who_waits_for_nothing_is_told_with_the_next_step_and_all_when_it_is_given_up() {
        let mut removing = Removing::default();
        removing.add(segments(0..0), Vec::new());
        assert!(!removing.is_wanted());
        removing.add(segments(0..0), vec![asked().0]);
        assert!(removing.is_wanted());
        assert_eq!(removing.take_told().len(), 1);

        removing.add(segments(0..1), vec![asked().0]);
        removing.add(segments(1..2), vec![asked().0, asked().0]);
        assert_eq!(removing.give_up().count(), 3);
        assert!(!removing.is_wanted());
    }
}
