//! How far the journal may be ahead of the index: what is answered and not applied is in memory, and
//! readers wait for it.

use std::collections::VecDeque;

use crate::limits::{CHANGES_AHEAD_MAX, TEXT_BYTES_AHEAD_MAX};
use crate::model::Sequence;

/// Groups that were written and may not be applied yet.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The last change of each of them, and the bytes of its changes.
    groups: VecDeque<(Sequence, u64)>,
    bytes: u64,
    /// The last change before the group that was written last.
    before_last: Sequence,
}

impl Ahead {
    /// Nothing was written since this change, which is applied.
    pub(super) fn new(last: Sequence) -> Self {
        Self { groups: VecDeque::new(), bytes: 0, before_last: last }
    }

    /// Notes a group that was written, by its last change.
    pub(super) fn note(&mut self, last: Sequence, bytes: u64) {
        self.groups.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// The change that must be applied before another group is written behind `last`; but one group may
    /// always be applied while the next is written.
    pub(super) fn wanted(&mut self, last: Sequence) -> Sequence {
        let mut wanted = Sequence(last.0.saturating_sub(CHANGES_AHEAD_MAX));
        while let Some(&(group, bytes)) = self.groups.front()
            && (group <= wanted || self.bytes > TEXT_BYTES_AHEAD_MAX && self.groups.len() > 1)
        {
            wanted = wanted.max(group);
            self.bytes -= bytes;
            self.groups.pop_front();
        }
        let wanted = wanted.min(self.before_last);
        self.before_last = last;
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_their_bytes_bound_how_far_the_journal_is_ahead() {
        let mut ahead = Ahead::new(Sequence(10));
        assert_eq!(ahead.wanted(Sequence(10)), Sequence(0));
        ahead.note(Sequence(11), 1);
        assert_eq!(ahead.wanted(Sequence(11)), Sequence(0), "little is on its way");
        ahead.note(Sequence(12), TEXT_BYTES_AHEAD_MAX);
        assert_eq!(ahead.wanted(Sequence(12)), Sequence(11), "all but the last group");
        ahead.note(Sequence(13), 1);
        assert_eq!(ahead.wanted(Sequence(13)), Sequence(12), "the large one");
        ahead.note(Sequence(13 + CHANGES_AHEAD_MAX), 1);
        assert_eq!(ahead.wanted(Sequence(13 + CHANGES_AHEAD_MAX)), Sequence(13), "many changes");
        assert_eq!((ahead.groups.len(), ahead.bytes), (1, 1));
    }
}
