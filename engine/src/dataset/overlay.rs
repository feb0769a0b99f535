//! What is planned and not yet committed, by name: later plans stand on it (I5).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::in_flight::Settled;
use crate::model::{Digest, Filename};

/// What a change in flight leaves of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// A file with this content.
    File(Digest),
    /// No file.
    Absent,
}

/// The changes in flight of one dataset.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    names: BTreeMap<Filename, (Left, u64)>,
    /// Names among them of which no file is left.
    absent: usize,
    /// In the order of planning; a name's entry belongs to the last change that wrote it.
    changes: VecDeque<(u64, Filename, Settled)>,
    planned: u64,
}

impl Overlay {
    /// Notes a change that was handed to the committer.
    pub(crate) fn insert(&mut self, filename: Filename, left: Left, settled: Settled) {
        self.planned += 1;
        self.absent += usize::from(left == Left::Absent);
        let before = self.names.insert(filename.clone(), (left, self.planned));
        self.absent -= usize::from(matches!(before, Some((Left::Absent, _))));
        self.changes.push_back((self.planned, filename, settled));
    }

    /// Forgets what is committed or refused by now.
    ///
    /// To be called *before* the snapshot is taken that a plan looks through: what is forgotten
    /// is then in the snapshot.
    pub(crate) fn forget_settled(&mut self) {
        while let Some((number, filename, _)) =
            self.changes.pop_front_if(|(_, _, settled)| settled.is_settled())
        {
            if self.names.get(&filename).is_some_and(|(_, last)| *last == number) {
                let gone = self.names.remove(&filename);
                self.absent -= usize::from(matches!(gone, Some((Left::Absent, _))));
            }
        }
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether something in flight is to free a name.
    pub(crate) fn frees_names(&self) -> bool {
        self.absent > 0
    }

    /// Whether something in flight is to free a name above or below this one: were it refused, a file and
    /// a directory would share a name.
    pub(crate) fn frees_around(&self, filename: &Filename) -> bool {
        if !self.frees_names() {
            return false;
        }
        self.below(filename.as_str()).any(|(_, left)| left == Left::Absent)
            || filename.directories().any(|above| self.get(above) == Some(Left::Absent))
    }

    /// What is in flight of the names below a directory.
    fn below<'a>(
        &'a self,
        directory: &str,
    ) -> impl Iterator<Item = (&'a Filename, Left)> + use<'a> {
        let prefix = format!("{directory}/");
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let names = self.names.range::<str, _>(from).map(|(name, (left, _))| (name, *left));
        names.take_while(move |(name, _)| name.as_str().starts_with(&prefix))
    }

    /// What is in flight of a name.
    pub(crate) fn get(&self, name: &str) -> Option<Left> {
        self.names.get(name).map(|(left, _)| *left)
    }

    /// Whether a file in flight, other than the one that is `leaving`, lies in this directory.
    pub(crate) fn has_directory(&self, directory: &str, leaving: Option<&Filename>) -> bool {
        self.below(directory)
            .any(|(name, left)| matches!(left, Left::File(_)) && Some(name) != leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Filename {
        Filename::exact(name).unwrap()
    }

    #[test]
    fn a_name_shows_the_last_change_until_that_one_settles() {
        let mut overlay = Overlay::default();
        let (first, second) = (Settled::default(), Settled::default());
        let content = Left::File(Digest([1; 32]));
        overlay.insert(name("a"), content, first.clone());
        overlay.insert(name("a"), Left::Absent, second.clone());
        first.settle();
        overlay.forget_settled();
        assert_eq!(overlay.get("a"), Some(Left::Absent));
        assert!(overlay.frees_names());
        second.settle();
        overlay.forget_settled();
        assert_eq!(overlay.get("a"), None);
        assert!(!overlay.frees_names());
    }

    #[test]
    fn names_that_are_freed_are_counted_whatever_follows() {
        let mut overlay = Overlay::default();
        let content = Left::File(Digest([1; 32]));
        let settled = [(); 4].map(|()| Settled::default());
        let left = [Left::Absent, Left::Absent, content, Left::Absent];
        for (left, settled) in left.into_iter().zip(&settled) {
            overlay.insert(name("a"), left, settled.clone());
            assert_eq!(overlay.frees_names(), left == Left::Absent);
        }
        for settled in &settled {
            assert!(overlay.frees_names());
            settled.settle();
            overlay.forget_settled();
        }
        assert!(!overlay.frees_names());
    }

    #[test]
    fn directories_are_seen_through_names_in_flight() {
        let mut overlay = Overlay::default();
        overlay.insert(name("d/x"), Left::File(Digest([1; 32])), Settled::default());
        overlay.insert(name("e/x"), Left::Absent, Settled::default());
        assert!(overlay.has_directory("d", None));
        assert!(!overlay.has_directory("d", Some(&name("d/x"))));
        assert!(!overlay.has_directory("e", None));
        assert!(!overlay.has_directory("d/x", None));
    }
}
