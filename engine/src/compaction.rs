//! Moves live contents out of mostly dead segments, so that the segments can go.
//!
//! A move is a change like any other: the bytes are appended to the journal's head, and the index
//! follows if it still points at the old place. The old segment goes after the checkpoint that
//! contains the moves. Bytes that are damaged are not moved, and keep their segment (I9).

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blobs::{Blob, StagedBlob};
use crate::committer::{Basis, Committer, Reply, Submission};
use crate::disk::reserve_bytes;
use crate::error::{MutationError, ReadError};
use crate::garbage::is_sparse;
use crate::index::{IndexError, tables};
use crate::limits::{
    BACKGROUND_ROWS_MAX, COMPACTION_GAIN_PERCENT_MIN, DEAD_PERCENT_MAX, INLINE_BYTES_MAX,
    MOVED_BYTES_MAX, MOVED_CONTENT_EXTRA_BYTES, SEGMENT_LIVE_PERCENT_MIN,
};
use crate::model::change::{BlobPlace, Change, NewBlob, Relocation, SegmentId};
use crate::store::Store;

/// Compacts segments whose dead share passes the bound.
#[derive(Debug)]
pub(crate) struct Compactor {
    store: Arc<Store>,
    committer: Arc<Committer>,
    /// Segments that kept live bytes after they were compacted, or were not worth it, and how
    /// many: nothing is tried again before that number has fallen.
    fruitless: HashMap<SegmentId, u64>,
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
    /// Heads and padding: what small groups have much of, and what moving them would only save.
    overhead: u64,
}

impl Candidate {
    fn dead_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.overhead).saturating_sub(self.live_bytes)
    }

    fn is_mostly_dead(&self) -> bool {
        self.live_bytes.saturating_mul(100) < self.bytes.saturating_mul(SEGMENT_LIVE_PERCENT_MIN)
    }
}

/// Of the segments that hold live contents those to compact, the least live first.
fn worth_compacting(mut sealed: Vec<Candidate>) -> Vec<Candidate> {
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
        for candidate in self.candidates(thrift)? {
            let space = self.store.disk.space();
            let space =
                space.map_err(|source| ReadError::Io { what: "the disk's space", source })?;
            let reserve = reserve_bytes(space);
            // Half of the reserve stays for the index (I7).
            if is_stopping() || space.available < candidate.live_bytes + reserve / 2 {
                break;
            }
            let segment = candidate.segment;
            let is_short = space.available < reserve * 2;
            let rest = |took| {
                if !is_short {
                    rest(took);
                }
            };
            match self.move_live(candidate, is_stopping, &rest) {
                Err(error) if !matches!(error, MutationError::Read(_)) => return Err(error),
                Err(error) => {
                    let segment = segment.0;
                    tracing::error!(segment, %error, "what is left of a segment stays");
                }
                Ok(bytes) => moved_bytes += bytes,
            }
            self.fruitless.insert(segment, self.live_bytes(segment)?);
            if is_short {
                break;
            }
        }
        Ok(moved_bytes)
    }

    /// Segments before the journal's head that hold live contents, but few; and, while more than
    /// the bound is dead in all of them together, the deadest ones.
    fn candidates(&mut self, thrift: Thrift) -> Result<Vec<Candidate>, MutationError> {
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
            if candidate.live_bytes > 0 && !self.was_fruitless(candidate) {
                sealed.push(candidate);
            }
        }
        Ok(match thrift {
            Thrift::Usual => worth_compacting(sealed),
            Thrift::Greatest { upto } => {
                sealed.retain(|candidate| {
                    candidate.segment <= upto && is_sparse(candidate.live_bytes, candidate.bytes)
                });
                sealed.sort_by_key(|candidate| candidate.live_bytes);
                sealed
            }
        })
    }

    /// Whether hardly anything has died since moving the rest was tried, or was not worth it.
    fn was_fruitless(&self, candidate: Candidate) -> bool {
        let gain = candidate.bytes.saturating_mul(COMPACTION_GAIN_PERCENT_MIN) / 100;
        let then = self.fruitless.get(&candidate.segment);
        then.is_some_and(|then| candidate.live_bytes.saturating_add(gain) > *then)
    }

    fn live_bytes(&self, segment: SegmentId) -> Result<u64, MutationError> {
        let table = self.store.snapshot_as_applied()?.table(tables::SEGMENTS)?;
        let row = table.get(segment.0).map_err(IndexError::from)?;
        Ok(row.map_or(0, |row| row.value()))
    }

    fn move_live(
        &self,
        candidate: Candidate,
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
        let Some(moved_bytes) = self.moved_bytes(&found, is_stopping)? else { return Ok(0) };
        // Of a segment full of very short contents much is neither live nor dead.
        if moved_bytes.saturating_mul(100) > bytes * (100 - COMPACTION_GAIN_PERCENT_MIN) {
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

    /// What the live ones of these contents take once they were moved; `None` if it is time to stop: a
    /// segment may hold a million of them.
    fn moved_bytes(
        &self,
        found: &[NewBlob],
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<Option<u64>, MutationError> {
        let mut bytes = 0;
        for blob in found {
            if is_stopping() {
                return Ok(None);
            }
            if self.is_live_at(blob)? {
                bytes += blob.length + MOVED_CONTENT_EXTRA_BYTES;
            }
        }
        Ok(Some(bytes))
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
        Candidate { segment: SegmentId(id), live_bytes, bytes: 100, overhead: 0 }
    }

    #[test]
    fn the_deadest_segments_are_compacted_until_little_of_all_is_dead() {
        let all_alive = vec![segment(1, 90), segment(2, 85)];
        assert_eq!(worth_compacting(all_alive), []);
        let mostly_dead = segment(3, 10);
        let many: Vec<_> = (10..30).map(|id| segment(id, 95)).chain([mostly_dead]).collect();
        assert_eq!(worth_compacting(many), [mostly_dead]);
        // What was padding from the start has not died.
        let padded = |id| Candidate { overhead: 30, ..segment(id, 70) };
        assert_eq!(worth_compacting(vec![padded(1), padded(2)]), []);
        // A third of the live bytes is dead: 25 of 75, then 15 of 75.
        let evenly = vec![segment(1, 75), segment(2, 76), segment(3, 74), segment(4, 75)];
        assert_eq!(worth_compacting(evenly), [segment(3, 74), segment(1, 75)]);
    }
}
