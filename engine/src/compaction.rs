//! Moves live contents out of mostly dead segments, so that the segments can go.
//!
//! A move is a change like any other: the bytes are appended to the journal's head, and the index
//! follows if it still points at the old place. The old segment goes after the checkpoint that
//! contains the moves. Bytes that are damaged are not moved, and keep their segment (I9).

use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blobs::{Blob, StagedBlob};
use crate::committer::{Basis, Committer, Reply, Submission};
use crate::disk::{Space, reserve_bytes};
use crate::error::{MutationError, ReadError};
use crate::garbage::is_sparse;
use crate::index::{IndexError, tables};
use crate::limits::{
    BACKGROUND_ROWS_MAX, COMPACTION_COST_MAX, COMPACTION_GAIN_PERCENT_MIN, DEAD_PERCENT_MAX,
    INDEX_PAGE_BYTES, INLINE_BYTES_MAX, MOVED_BYTES_MAX, MOVED_CONTENT_EXTRA_BYTES,
    SEGMENT_LIVE_PERCENT_MIN,
};
use crate::model::change::{BlobPlace, Change, NewBlob, Relocation, SegmentId};
use crate::store::Store;

/// Compacts segments whose dead share passes the bound.
#[derive(Debug)]
pub(crate) struct Compactor {
    store: Arc<Store>,
    committer: Arc<Committer>,
    /// Segments that kept live bytes after they were compacted, or were not worth it: nothing is tried
    /// again before their number has fallen, or the cost counts no longer.
    fruitless: HashMap<SegmentId, Fruitless>,
}

/// A segment that was looked at in vain.
#[derive(Debug, Clone, Copy)]
struct Fruitless {
    live_bytes: u64,
    /// Whatever it would have cost.
    at_any_cost: bool,
}

/// How much must be dead in a segment to have it compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thrift {
    /// As much as the bounds say, for the background.
    Usual,
    /// As much as makes it worth the writing at all, for who asks for the space. Segments behind
    /// this one are left alone: they may be what was just written, and small ones are padded so much
    /// that they would be written again for ever.
    Greatest { upto: SegmentId },
}

/// A segment that may be worth compacting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    segment: SegmentId,
    live_bytes: u64,
    /// Live, dead and overhead.
    bytes: u64,
    /// Heads and padding: what small groups have much of, and what moving them would only save. `None`
    /// where that was not counted.
    overhead: Option<u64>,
}

impl Candidate {
    /// Bytes of contents that have died; where nobody has counted, that is the most that it can be.
    fn dead_bytes(&self) -> u64 {
        let overhead = self.overhead.unwrap_or_default();
        self.bytes.saturating_sub(overhead).saturating_sub(self.live_bytes)
    }

    fn is_mostly_dead(&self) -> bool {
        self.live_bytes.saturating_mul(100) < self.bytes.saturating_mul(SEGMENT_LIVE_PERCENT_MIN)
    }
}

/// What moving the live contents of a segment takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Move {
    contents: u64,
    /// Bytes that they take in the journal.
    bytes: u64,
}

impl Move {
    /// Whether it frees enough of a segment of so many bytes. Of one full of very short contents much is
    /// neither live nor dead.
    fn frees_enough(self, segment_bytes: u64) -> bool {
        self.bytes.saturating_mul(100) <= segment_bytes * (100 - COMPACTION_GAIN_PERCENT_MIN)
    }

    /// Whether what it frees is worth what it writes, in the journal and in the index.
    fn is_cheap(self, segment_bytes: u64) -> bool {
        let written = self.bytes.saturating_add(self.contents.saturating_mul(INDEX_PAGE_BYTES));
        let freed = segment_bytes.saturating_sub(self.bytes);
        written <= freed.saturating_mul(COMPACTION_COST_MAX)
    }
}

/// Of the segments that hold live contents those to compact, the least live first.
fn worth_compacting(sealed: &[Candidate]) -> Vec<Candidate> {
    let mut sealed = sealed.to_vec();
    let live: u64 = sealed.iter().map(|candidate| candidate.live_bytes).sum();
    let mut dead: u64 = sealed.iter().map(Candidate::dead_bytes).sum();
    sealed.sort_by_key(|candidate| candidate.live_bytes);
    sealed.retain(|candidate| {
        let too_much = dead.saturating_mul(100) > live.saturating_mul(DEAD_PERCENT_MAX);
        let is_worth_it = candidate.is_mostly_dead() || too_much;
        if is_worth_it {
            dead -= candidate.dead_bytes();
        }
        is_worth_it
    });
    sealed
}

impl Compactor {
    pub(crate) fn new(store: Arc<Store>, committer: Arc<Committer>) -> Self {
        Self { store, committer, fruitless: HashMap::new() }
    }

    /// Compacts what is worth it, the least live first; ends early when `is_stopping` says so. After
    /// each batch `rest` is told how long it took, and may wait so that others get their turn; where
    /// space is short it is not asked. There one segment is compacted a time, since it frees nothing
    /// before a checkpoint. Gives the bytes of contents that were moved.
    ///
    /// # Errors
    /// Reading the index or committing failed; what was moved stays moved.
    pub(crate) fn compact(
        &mut self,
        thrift: Thrift,
        is_stopping: &dyn Fn() -> bool,
        rest: &dyn Fn(Duration),
    ) -> Result<u64, MutationError> {
        let mut moved_bytes = 0;
        let is_short = |space: Space| space.available < reserve_bytes(space) * 2;
        let at_any_cost = thrift != Thrift::Usual || is_short(self.space()?);
        for candidate in self.candidates(thrift, at_any_cost, is_stopping, rest)? {
            let space = self.space()?;
            let reserve = reserve_bytes(space);
            // Half of the reserve stays for the index (I7).
            if is_stopping() || space.available < candidate.live_bytes + reserve / 2 {
                break;
            }
            let segment = candidate.segment;
            let is_short = is_short(space);
            let rest = |took| {
                if !is_short {
                    rest(took);
                }
            };
            match self.move_live(candidate, at_any_cost, is_stopping, &rest) {
                Err(error) if !matches!(error, MutationError::Read(_)) => return Err(error),
                Err(error) => {
                    let segment = segment.0;
                    tracing::error!(segment, %error, "what is left of a segment stays");
                }
                Ok(bytes) => moved_bytes += bytes,
            }
            let live_bytes = self.live_bytes(segment)?;
            self.fruitless.insert(segment, Fruitless { live_bytes, at_any_cost });
            if is_short {
                break;
            }
        }
        Ok(moved_bytes)
    }

    /// Segments before the journal's head that hold live contents, but few; and, while more than
    /// the bound is dead in all of them together, the deadest ones.
    fn candidates(
        &mut self,
        thrift: Thrift,
        at_any_cost: bool,
        is_stopping: &dyn Fn() -> bool,
        rest: &dyn Fn(Duration),
    ) -> Result<Vec<Candidate>, MutationError> {
        let snapshot = self.store.snapshot_as_applied()?;
        let head = snapshot.applied_position()?;
        let segments = self.store.segments.ids();
        self.fruitless.retain(|segment, _| segments.contains(segment));
        let mut sealed = Vec::new();
        for segment in segments.into_iter().filter(|segment| Some(*segment) < head) {
            let candidate = Candidate {
                segment,
                live_bytes: self.live_bytes(segment)?,
                bytes: self.store.segments.length(segment),
                overhead: self.store.segments.overhead(segment),
            };
            // What holds nothing goes with the next checkpoint.
            if candidate.live_bytes > 0 && !self.was_fruitless(candidate, at_any_cost) {
                sealed.push(candidate);
            }
        }
        Ok(match thrift {
            Thrift::Usual => self.worth_compacting(sealed, is_stopping, rest),
            Thrift::Greatest { upto } => {
                sealed.retain(|candidate| {
                    candidate.segment <= upto && is_sparse(candidate.live_bytes, candidate.bytes)
                });
                sealed.sort_by_key(|candidate| candidate.live_bytes);
                sealed
            }
        })
    }

    /// Those worth compacting, by what has died in them: what an earlier process wrote is counted first,
    /// since its heads and padding look as if they had died.
    fn worth_compacting(
        &self,
        mut sealed: Vec<Candidate>,
        is_stopping: &dyn Fn() -> bool,
        rest: &dyn Fn(Duration),
    ) -> Vec<Candidate> {
        loop {
            let worth = worth_compacting(&sealed);
            let is_uncounted =
                |candidate: &Candidate| candidate.overhead.is_none() && !candidate.is_mostly_dead();
            let uncounted: HashSet<SegmentId> =
                worth.iter().filter(|one| is_uncounted(one)).map(|one| one.segment).collect();
            if uncounted.is_empty() {
                return worth;
            }
            for candidate in &mut sealed {
                if uncounted.contains(&candidate.segment) {
                    let began = Instant::now();
                    let counted =
                        self.store.segments.count_overhead(candidate.segment, is_stopping);
                    if is_stopping() {
                        return Vec::new();
                    }
                    // One that is damaged, or has gone, is told of when it is to be moved.
                    candidate.overhead = Some(counted.ok().flatten().unwrap_or_default());
                    rest(began.elapsed());
                }
            }
        }
    }

    /// Whether hardly anything has died since moving the rest was tried, or was not worth it.
    fn was_fruitless(&self, candidate: Candidate, at_any_cost: bool) -> bool {
        let gain = candidate.bytes.saturating_mul(COMPACTION_GAIN_PERCENT_MIN) / 100;
        let Some(then) = self.fruitless.get(&candidate.segment) else { return false };
        let is_as_then = then.at_any_cost || !at_any_cost;
        is_as_then && candidate.live_bytes.saturating_add(gain) > then.live_bytes
    }

    fn space(&self) -> Result<Space, ReadError> {
        let space = self.store.disk.space();
        space.map_err(|source| ReadError::Io { what: "the disk's space", source })
    }

    fn live_bytes(&self, segment: SegmentId) -> Result<u64, MutationError> {
        let table = self.store.snapshot_as_applied()?.table(tables::SEGMENTS)?;
        let row = table.get(segment.0).map_err(IndexError::from)?;
        Ok(row.map_or(0, |row| row.value()))
    }

    fn move_live(
        &self,
        candidate: Candidate,
        at_any_cost: bool,
        is_stopping: &dyn Fn() -> bool,
        rest: &dyn Fn(Duration),
    ) -> Result<u64, MutationError> {
        let Candidate { segment, live_bytes, bytes, .. } = candidate;
        let mut found = Vec::new();
        let visited = self.store.segments.blobs_of(segment, |blob| {
            found.push(blob);
            !is_stopping()
        });
        visited.map_err(|source| ReadError::Io { what: "a segment", source })?;
        let Some(whole) = self.whole_move(&found, is_stopping)? else { return Ok(0) };
        if !whole.frees_enough(bytes) || !(at_any_cost || whole.is_cheap(bytes)) {
            return Ok(0);
        }
        tracing::info!(segment = segment.0, live_bytes, bytes, "compacting a segment");
        let (mut batch, mut moved) = (Batch::default(), 0);
        let mut began = Instant::now();
        for blob in &found {
            if is_stopping() {
                break;
            }
            let Some(content) = self.read(blob)? else { continue };
            batch.moves.push(Relocation { digest: blob.digest, from: blob.place });
            batch.contents.push(content);
            batch.bytes += blob.length;
            moved += blob.length;
            self.store.counters.compacted_bytes.add(blob.length);
            if batch.is_full() {
                std::mem::take(&mut batch).submit(&self.committer)?;
                rest(began.elapsed());
                began = Instant::now();
            }
        }
        batch.submit(&self.committer)?;
        Ok(moved)
    }

    /// What moving the live ones of these contents takes; `None` if it is time to stop: a segment may
    /// hold a million of them.
    fn whole_move(
        &self,
        found: &[NewBlob],
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<Option<Move>, MutationError> {
        let mut whole = Move::default();
        for blob in found {
            if is_stopping() {
                return Ok(None);
            }
            if self.is_live_at(blob)? {
                whole.contents += 1;
                whole.bytes += blob.length + MOVED_CONTENT_EXTRA_BYTES;
            }
        }
        Ok(Some(whole))
    }

    /// A content of the segment, checked and in memory again; `None` if it is to stay or to go.
    fn read(&self, blob: &NewBlob) -> Result<Option<StagedBlob>, MutationError> {
        if !self.is_live_at(blob)? {
            return Ok(None);
        }
        let BlobPlace::Segment { segment, offset } = blob.place else { return Ok(None) };
        let Some(file) = self.store.segments.get(segment) else { return Ok(None) };
        let live = Blob::new(blob.digest, blob.length, file, offset);
        let bytes = match live.watched(&self.store.quarantine, blob.place).read_whole() {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(digest = %blob.digest, %error, "a content stays where it is");
                return Ok(None);
            }
        };
        let mut bytes = Cursor::new(bytes);
        let blobs = &self.store.blobs;
        let content = blobs.stage_reader(&mut bytes, INLINE_BYTES_MAX, &|_| Ok(false));
        let content = content.map_err(|error| ReadError::Io {
            what: "a content on its way to the journal's head",
            source: std::io::Error::other(error.to_string()),
        })?;
        // Now that it is pinned, once more: it may have gone in between (I3).
        let is_kept = !content.is_doomed() && self.is_live_at(blob)?;
        Ok(is_kept.then_some(content))
    }

    fn is_live_at(&self, blob: &NewBlob) -> Result<bool, MutationError> {
        let row = self.store.snapshot_as_applied()?.blob(&blob.digest)?;
        Ok(row.is_some_and(|row| row.count > 0 && row.place == blob.place))
    }
}

#[derive(Debug, Default)]
struct Batch {
    moves: Vec<Relocation>,
    contents: Vec<StagedBlob>,
    bytes: u64,
}

impl Batch {
    /// Changes of others wait for it.
    fn is_full(&self) -> bool {
        self.bytes >= MOVED_BYTES_MAX || self.moves.len() >= BACKGROUND_ROWS_MAX
    }

    fn submit(self, committer: &Committer) -> Result<(), MutationError> {
        if self.moves.is_empty() {
            return Ok(());
        }
        let (reply, ticket) = Reply::new(None);
        let change = Change::Relocate { moves: self.moves };
        committer.submit(Submission {
            change,
            contents: self.contents,
            reply,
            basis: Basis::Other,
        })?;
        ticket.redeem_blocking().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(id: u64, live_bytes: u64) -> Candidate {
        Candidate { segment: SegmentId(id), live_bytes, bytes: 100, overhead: Some(0) }
    }

    #[test]
    fn the_deadest_segments_are_compacted_until_little_of_all_is_dead() {
        let all_alive = vec![segment(1, 90), segment(2, 85)];
        assert_eq!(worth_compacting(&all_alive), []);
        let mostly_dead = segment(3, 10);
        let many: Vec<_> = (10..30).map(|id| segment(id, 95)).chain([mostly_dead]).collect();
        assert_eq!(worth_compacting(&many), [mostly_dead]);
        // What was padding from the start has not died.
        let padded = |id, overhead| Candidate { overhead, ..segment(id, 70) };
        assert_eq!(worth_compacting(&[padded(1, Some(30)), padded(2, Some(30))]), []);
        // Where nobody knows, it may all have died.
        assert_eq!(worth_compacting(&[padded(1, None), padded(2, Some(30))]), [padded(1, None)]);
        // A third of the live bytes is dead: 25 of 75, then 15 of 75.
        let evenly = vec![segment(1, 75), segment(2, 76), segment(3, 74), segment(4, 75)];
        assert_eq!(worth_compacting(&evenly), [segment(3, 74), segment(1, 75)]);
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
