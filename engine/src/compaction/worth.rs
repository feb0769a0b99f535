//! What is worth compacting: rules over numbers alone.

use std::cmp::Reverse;

use crate::limits::{
    COMPACTION_COST_MAX, COMPACTION_GAIN_PERCENT_MIN, DEAD_PERCENT_MAX, INDEX_PAGE_BYTES,
    SEGMENT_LIVE_PERCENT_MIN,
};
use crate::model::change::SegmentId;

/// A segment that may be worth compacting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) segment: SegmentId,
    pub(super) live_bytes: u64,
    /// Live, dead and overhead.
    pub(super) bytes: u64,
    /// Heads and padding: what small groups have much of, and what moving them would only save. `None`
    /// where that was not counted.
    pub(super) overhead: Option<u64>,
}

impl Candidate {
    /// Bytes of contents that have died; where nobody has counted, that is the most that it can be.
    pub(super) fn dead_bytes(&self) -> u64 {
        let overhead = self.overhead.unwrap_or_default();
        self.bytes.saturating_sub(overhead).saturating_sub(self.live_bytes)
    }

    pub(super) fn is_mostly_dead(&self) -> bool {
        self.live_bytes.saturating_mul(100) < self.bytes.saturating_mul(SEGMENT_LIVE_PERCENT_MIN)
    }
}

/// What moving the live contents of a segment takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) contents: u64,
    /// Bytes that they take in the journal.
    pub(super) bytes: u64,
}

impl Move {
    /// Whether it frees enough of a segment of so many bytes. Of one full of very short contents much is
    /// neither live nor dead.
    pub(super) fn frees_enough(self, segment_bytes: u64) -> bool {
        is_gain(segment_bytes.saturating_sub(self.bytes), segment_bytes)
    }

    /// Whether what it frees is worth what it writes, in the journal and in the index.
    pub(super) fn is_cheap(self, segment_bytes: u64) -> bool {
        let written = self.bytes.saturating_add(self.contents.saturating_mul(INDEX_PAGE_BYTES));
        let freed = segment_bytes.saturating_sub(self.bytes);
        written <= freed.saturating_mul(COMPACTION_COST_MAX)
    }
}

/// What is to be done about the segments that hold live contents.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Those to compact, in this order.
    pub(super) worth: Vec<Candidate>,
    /// Those to be counted, in this order, before it is known whether more are.
    pub(super) uncounted: Vec<SegmentId>,
}

/// Judges the segments that hold live contents: the mostly dead ones are to be compacted, the least live
/// first, and while more than the bound is dead in all of them together, the deadest of the others.
pub(super) fn judge(sealed: Vec<Candidate>) -> Judged {
    let live: u64 = sealed.iter().map(|candidate| candidate.live_bytes).sum();
    let is_too_much = |dead: u64| dead.saturating_mul(100) > live.saturating_mul(DEAD_PERCENT_MAX);
    let (mut worth, mut others): (Vec<_>, Vec<_>) =
        sealed.into_iter().partition(Candidate::is_mostly_dead);
    worth.sort_by_key(|candidate| candidate.live_bytes);
    others.sort_by_key(|candidate| Reverse(candidate.dead_bytes()));
    let (counted, uncounted): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|candidate| candidate.overhead.is_some());
    let mut dead: u64 = counted.iter().map(Candidate::dead_bytes).sum();
    for candidate in counted {
        if is_too_much(dead) && is_gain(candidate.dead_bytes(), candidate.bytes) {
            dead -= candidate.dead_bytes();
            worth.push(candidate);
        }
    }
    let unknown: u64 = uncounted.iter().map(Candidate::dead_bytes).sum();
    let is_open = is_too_much(dead.saturating_add(unknown));
    let uncounted = uncounted.iter().filter(|_| is_open).map(|candidate| candidate.segment);
    Judged { worth, uncounted: uncounted.collect() }
}

/// Whether so many bytes are enough of a segment to be worth moving what lives in it.
pub(crate) fn is_gain(bytes: u64, segment_bytes: u64) -> bool {
    bytes.saturating_mul(100) >= segment_bytes.saturating_mul(COMPACTION_GAIN_PERCENT_MIN)
}

/// Segments of which everything that does not live counts as dead, unless it was counted.
pub(super) fn taken_for_dead(sealed: Vec<Candidate>) -> Vec<Candidate> {
    let known = |candidate: Candidate| Candidate {
        overhead: Some(candidate.overhead.unwrap_or_default()),
        ..candidate
    };
    sealed.into_iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MOVED_CONTENT_EXTRA_BYTES;

    fn segment(id: u64, live_bytes: u64) -> Candidate {
        Candidate { segment: SegmentId(id), live_bytes, bytes: 100, overhead: Some(0) }
    }

    fn worth(sealed: &[Candidate]) -> Vec<Candidate> {
        let judged = judge(sealed.to_vec());
        assert_eq!(judged.uncounted, []);
        judged.worth
    }

    #[test]
    fn the_deadest_segments_are_compacted_until_little_of_all_is_dead() {
        assert_eq!(worth(&[segment(1, 90), segment(2, 85)]), []);
        let mostly_dead = segment(3, 10);
        let many: Vec<_> = (10..30).map(|id| segment(id, 95)).chain([mostly_dead]).collect();
        assert_eq!(worth(&many), [mostly_dead]);
        // A third of the live bytes is dead: 26 of 74, then 25 of 75.
        let evenly = [segment(1, 75), segment(2, 76), segment(3, 74), segment(4, 75)];
        assert_eq!(worth(&evenly), [segment(3, 74), segment(1, 75)]);
    }

    #[test]
    fn what_was_padding_from_the_start_has_not_died() {
        let padded = |id, overhead| Candidate { overhead, ..segment(id, 70) };
        assert_eq!(worth(&[padded(1, Some(30)), padded(2, Some(30))]), []);
        // Nothing died in those that hold the least.
        let dead = segment(3, 71);
        assert_eq!(worth(&[padded(1, Some(30)), padded(2, Some(29)), dead]), []);
        assert_eq!(worth(&[padded(1, Some(30)), dead, segment(4, 72)]), [dead]);
        // Where nobody knows, it may all have died.
        let unknown = [padded(1, None), padded(2, Some(30))];
        let counted = SegmentId(1);
        assert_eq!(judge(unknown.to_vec()), Judged { worth: vec![], uncounted: vec![counted] });
        assert_eq!(judge(taken_for_dead(unknown.to_vec())).worth, [padded(1, Some(0))]);
        // It need not be known, be it that little can be dead or that what is mostly dead goes anyway.
        assert_eq!(worth(&[Candidate { overhead: None, ..segment(1, 90) }, segment(2, 90)]), []);
        let mostly_dead = Candidate { overhead: None, ..segment(3, 10) };
        assert_eq!(worth(&[mostly_dead, segment(4, 95)]), [mostly_dead]);
    }

    #[test]
    fn very_short_contents_stay_until_what_they_free_is_worth_their_rows() {
        let of = |contents: u64, length: u64| Move {
            contents,
            bytes: contents * (length + MOVED_CONTENT_EXTRA_BYTES),
        };
        let segment_bytes = 128 << 20;
        // Half of a segment of files of 20 KiB, of 1 KiB, a third of one full of labels; a tenth.
        assert!(of(3_200, 20 << 10).is_cheap(segment_bytes));
        assert!(of(58_000, 1 << 10).is_cheap(segment_bytes));
        assert!(!of(200_000, 80).is_cheap(segment_bytes));
        assert!(of(50_000, 80).is_cheap(segment_bytes));
        assert!(!of(500_000, 80).is_cheap(segment_bytes));
        assert!(of(500_000, 80).frees_enough(segment_bytes));
        assert!(!of(600_000, 80).frees_enough(segment_bytes));
        // Nothing lives: nothing is written.
        assert!(of(0, 80).is_cheap(0) && of(0, 80).frees_enough(0));
    }
}
