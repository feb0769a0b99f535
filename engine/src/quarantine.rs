//! Contents that were found damaged: kept, told apart, healed when the same content comes again.
//!
//! A mark says that the bytes at one place are not the content that they should be. Nothing is
//! moved and nothing removed. While the index points at that place, the content counts as unknown
//! to uploads, so that whoever brings it brings its bytes too, and reading it is refused. The
//! change that brings them moves the content's row to the new place (`index/apply/counts.rs`),
//! whatever marks there are, so replaying the journal heals again; a mark of a place that the row
//! has left means nothing, and goes with the change that moves the row ([`Store::forget_left`]).
//!
//! Marks are rows of the index that are not journaled: one that a crash takes away is found again
//! by the next read or scrub, and one that it brings back goes with the next start or scrub.
//!
//! [`Store::forget_left`]: crate::store::Store::forget_left

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::limits::QUARANTINED_MAX;
use crate::model::change::BlobPlace;
use crate::model::{Digest, Timestamp};

/// What is wrong with a content's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// They have another digest.
    WrongBytes,
    /// The file ends before they do.
    EndsEarly,
    /// The file is not there.
    Missing,
    /// The disk gives an error instead; reading is tried again all the same.
    Unreadable,
}

impl Fault {
    /// The fault in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::WrongBytes => "its bytes have another digest",
            Self::EndsEarly => "its file ends too early",
            Self::Missing => "its file is missing",
            Self::Unreadable => "the disk cannot read it",
        }
    }
}

/// A mark, as the index keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantineRow {
    /// Where the damaged bytes are.
    pub(crate) place: BlobPlace,
    pub(crate) fault: Fault,
    pub(crate) since: Timestamp,
}

/// The marks of a store.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    /// Marks that there are, so that reads of a sound store take no lock.
    count: AtomicUsize,
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    held: BTreeMap<Digest, QuarantineRow>,
    /// Those that the index does not have as they are.
    unwritten: BTreeSet<Digest>,
}

impl Quarantine {
    /// The marks that the index keeps.
    pub(crate) fn of(rows: impl IntoIterator<Item = (Digest, QuarantineRow)>) -> Self {
        let held: BTreeMap<_, _> = rows.into_iter().collect();
        let count = AtomicUsize::new(held.len());
        Self { count, marks: Mutex::new(Marks { held, unwritten: BTreeSet::new() }) }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the bytes of a content at a place. Tells whether that is news.
    pub(crate) fn note(&self, digest: Digest, place: BlobPlace, fault: Fault) -> bool {
        let mut marks = self.marks();
        if marks.held.get(&digest).is_some_and(|row| (row.place, row.fault) == (place, fault)) {
            return false;
        }
        let (fault_text, place_text) = (fault.text(), format!("{place:?}"));
        tracing::error!(%digest, place = place_text, fault = fault_text, "a content is damaged");
        if marks.held.len() >= QUARANTINED_MAX && !marks.held.contains_key(&digest) {
            tracing::error!(%digest, limit = QUARANTINED_MAX, "the quarantine takes no more");
            return true;
        }
        marks.held.insert(digest, QuarantineRow { place, fault, since: Timestamp::now() });
        marks.unwritten.insert(digest);
        self.count.store(marks.held.len(), Ordering::Release);
        true
    }

    /// What is known to be wrong with a content whose row points at this place. One that is nowhere
    /// needs no mark: a restore may lack more than there is room for.
    pub(crate) fn fault(&self, digest: &Digest, place: BlobPlace) -> Option<Fault> {
        if place == BlobPlace::NOWHERE {
            return Some(Fault::Missing);
        }
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let marks = self.marks();
        marks.held.get(digest).filter(|row| row.place == place).map(|row| row.fault)
    }

    /// The place that a content's mark is of.
    pub(crate) fn place(&self, digest: &Digest) -> Option<BlobPlace> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.marks().held.get(digest).map(|row| row.place)
    }

    /// Takes the mark of a place away: the content was healed, is gone, or reads right again.
    pub(crate) fn release(&self, digest: &Digest, place: BlobPlace) {
        let mut marks = self.marks();
        if marks.held.get(digest).is_some_and(|row| row.place == place) {
            tracing::info!(%digest, "a content has left the quarantine");
            marks.held.remove(digest);
            marks.unwritten.insert(*digest);
        }
        self.count.store(marks.held.len(), Ordering::Release);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// All marks, in order of digest.
    pub(crate) fn all(&self) -> Vec<(Digest, QuarantineRow)> {
        self.marks().held.iter().map(|(digest, row)| (*digest, *row)).collect()
    }

    /// The contents of which [`Self::take_unwritten`] tells, left where they are.
    pub(crate) fn unwritten(&self) -> Vec<Digest> {
        self.marks().unwritten.iter().copied().collect()
    }

    /// What the index does not have yet: marks, and digests without one. The caller writes it, or
    /// the store has failed.
    pub(crate) fn take_unwritten(&self) -> Vec<(Digest, Option<QuarantineRow>)> {
        let mut marks = self.marks();
        let unwritten = std::mem::take(&mut marks.unwritten);
        unwritten.into_iter().map(|digest| (digest, marks.held.get(&digest).copied())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::LargeFileId;

    fn place(number: u64) -> BlobPlace {
        BlobPlace::Large(LargeFileId { start: 1, number })
    }

    #[test]
    fn a_mark_counts_for_its_place_only_and_is_written_once() {
        let quarantine = Quarantine::default();
        let digest = Digest::of(b"x");
        assert!(quarantine.fault(&digest, place(1)).is_none());
        assert!(quarantine.note(digest, place(1), Fault::WrongBytes));
        assert!(!quarantine.note(digest, place(1), Fault::WrongBytes));
        assert!(quarantine.fault(&digest, place(1)).is_some());
        assert!(quarantine.fault(&digest, place(2)).is_none());
        let unwritten = quarantine.take_unwritten();
        assert!(matches!(unwritten.as_slice(), [(found, Some(_))] if *found == digest));
        assert_eq!(quarantine.take_unwritten(), []);
        quarantine.release(&digest, place(2));
        assert_eq!((quarantine.place(&digest), quarantine.count()), (Some(place(1)), 1));
        quarantine.release(&digest, place(1));
        quarantine.release(&digest, place(1));
        assert_eq!((quarantine.place(&digest), quarantine.count()), (None, 0));
        assert!(quarantine.fault(&digest, place(1)).is_none());
        assert_eq!(quarantine.take_unwritten(), [(digest, None)]);
    }

    #[test]
    fn what_is_nowhere_is_missing_without_a_mark() {
        let fault = Quarantine::default().fault(&Digest::of(b"x"), BlobPlace::NOWHERE);
        assert_eq!(fault, Some(Fault::Missing));
    }

    #[test]
    fn the_quarantine_is_bounded() {
        let quarantine = Quarantine::default();
        for number in 0..=QUARANTINED_MAX {
            quarantine.note(Digest::of(&number.to_le_bytes()), place(1), Fault::Missing);
        }
        assert_eq!(quarantine.all().len(), QUARANTINED_MAX);
    }
}
