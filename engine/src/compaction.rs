//! Moves live contents out of mostly dead segments, so that the segments can go.
//!
//! A move is a change like any other: the bytes are appended to the journal's head, and the index
//! follows if it still points at the old place. The old segment goes after the checkpoint that
//! contains the moves. Bytes that are damaged are not moved, and keep their segment (I9).

mod worth;

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blobs::{Blob, StagedBlob};
use crate::committer::{Committer, Reply, Submission};
use crate::disk::{Space, reserve_bytes};
use crate::error::{MutationError, ReadError};
use crate::garbage::is_sparse;
use crate::index::{IndexError, tables};
use crate::limits::{
    BACKGROUND_ROWS_MAX, INLINE_BYTES_MAX, MOVED_BYTES_MAX, MOVED_CONTENT_EXTRA_BYTES,
    SEGMENTS_COUNTED_AT_ONCE,
};
use crate::model::change::{BlobPlace, Change, NewBlob, Relocation, SegmentId};
use crate::store::Store;
use worth::{Candidate, Move, judge, taken_for_dead};

pub(crate) use worth::is_gain;

/// Compacts segments whose dead share passes the bound.
#[derive(Debug)]
pub(crate) struct Compactor {
    store: Arc<Store>,
    committer: Arc<Committer>,
    /// Segments that kept live bytes after they were compacted, or were not worth it: nothing is tried
    /// again before their number has fallen, or the cost counts no longer.
    fruitless: HashMap<SegmentId, Fruitless>,
}

/// A segment that was looked at in vain, or is compacted as far as it can be.
#[derive(Debug, Clone, Copy)]
struct Fruitless {
    live_bytes: u64,
    /// Whatever it would have cost.
    at_any_cost: bool,
}

/// What became of a segment that was to be compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    /// So many bytes of contents were moved.
    Moved(u64),
    /// It is not worth it, or would not be whatever it cost.
    InVain { at_any_cost: bool },
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

fn is_short(space: Space) -> bool {
    space.available < reserve_bytes(space) * 2
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
        let at_any_cost = thrift != Thrift::Usual || is_short(self.space()?);
        for candidate in self.candidates(thrift, at_any_cost, is_stopping, rest)? {
            let space = self.space()?;
            // Half of the reserve stays for the index (I7).
            let wanted = candidate.live_bytes + reserve_bytes(space) / 2;
            if is_stopping() || space.available < wanted {
                break;
            }
            let segment = candidate.segment;
            let is_short = is_short(space);
            let rest = |took| {
                if !is_short {
                    rest(took);
                }
            };
            let tried = match self.move_live(candidate, at_any_cost, is_stopping, &rest) {
                Err(error) if !matches!(error, MutationError::Read(_)) => return Err(error),
                Err(error) => {
                    let segment = segment.0;
                    tracing::error!(segment, %error, "what is left of a segment stays");
                    Tried::InVain { at_any_cost: true }
                }
                Ok(tried) => tried,
            };
            let (bytes, at_any_cost) = match tried {
                Tried::Moved(bytes) => (bytes, true),
                Tried::InVain { at_any_cost } => (0, at_any_cost),
            };
            moved_bytes += bytes;
            if is_stopping() {
                break;
            }
            let live_bytes = self.live_bytes(segment)?;
            self.fruitless.insert(segment, Fruitless { live_bytes, at_any_cost });
            if is_short && bytes > 0 {
                break;
            }
        }
        Ok(moved_bytes)
    }

    /// Segments before the journal's head that are to be compacted, of those that hold live contents.
    fn candidates(
        &mut self,
        thrift: Thrift,
        at_any_cost: bool,
        is_stopping: &dyn Fn() -> bool,
        rest: &dyn Fn(Duration),
    ) -> Result<Vec<Candidate>, MutationError> {
        // No state may be read while it is counted: the index would use none of its pages again.
        let head = self.store.snapshot_as_applied()?.applied_position()?;
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
            // There is no time to count.
            Thrift::Usual if at_any_cost => judge(taken_for_dead(sealed)).worth,
            Thrift::Usual => self.counted_and_judged(sealed, is_stopping, rest),
            Thrift::Greatest { upto } => {
                sealed.retain(|candidate| {
                    candidate.segment <= upto && is_sparse(candidate.live_bytes, candidate.bytes)
                });
                sealed.sort_by_key(|candidate| candidate.live_bytes);
                sealed
            }
        })
    }

    /// Those worth compacting, by what has died in them. What an earlier process wrote is counted first,
    /// since its heads and padding look as if they had died: some of it each time, and until then only what
    /// is known counts.
    fn counted_and_judged(
        &self,
        mut sealed: Vec<Candidate>,
        is_stopping: &dyn Fn() -> bool,
        rest: &dyn Fn(Duration),
    ) -> Vec<Candidate> {
        let uncounted = judge(sealed.clone()).uncounted;
        for segment in uncounted.into_iter().take(SEGMENTS_COUNTED_AT_ONCE) {
            let began = Instant::now();
            let counted = self.store.segments.count_overhead(segment, is_stopping);
            if is_stopping() {
                return Vec::new();
            }
            // One that is damaged is told of when it is to be moved.
            let overhead = Some(counted.ok().flatten().unwrap_or_default());
            for candidate in sealed.iter_mut().filter(|candidate| candidate.segment == segment) {
                candidate.overhead = overhead;
            }
            rest(began.elapsed());
        }
        judge(sealed).worth
    }

    /// Whether hardly anything has died since moving the rest was tried, or was not worth it: no tenth of
    /// the segment, and no quarter of what lived in it, which of short contents is less.
    fn was_fruitless(&self, candidate: Candidate, at_any_cost: bool) -> bool {
        let Some(then) = self.fruitless.get(&candidate.segment) else { return false };
        let is_as_then = then.at_any_cost || !at_any_cost;
        let died = then.live_bytes.saturating_sub(candidate.live_bytes);
        is_as_then && !is_gain(died, candidate.bytes) && died < then.live_bytes.div_ceil(4)
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
    ) -> Result<Tried, MutationError> {
        let Candidate { segment, live_bytes, bytes, .. } = candidate;
        let mut found = Vec::new();
        let visited = self.store.segments.blobs_of(segment, |blob| {
            found.push(blob);
            !is_stopping()
        });
        match visited {
            // It went with a checkpoint.
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
                return Ok(Tried::InVain { at_any_cost: true });
            }
            visited => visited.map_err(|source| ReadError::Io { what: "a segment", source })?,
        }
        let whole = self.whole_move(&found, is_stopping)?;
        if !whole.frees_enough(bytes) {
            return Ok(Tried::InVain { at_any_cost: true });
        }
        if !at_any_cost && !whole.is_cheap(bytes) {
            return Ok(Tried::InVain { at_any_cost: false });
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
        Ok(Tried::Moved(moved))
    }

    /// What moving the live ones of these contents takes; of fewer if it is time to stop: a segment may
    /// hold a million of them.
    fn whole_move(
        &self,
        found: &[NewBlob],
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<Move, MutationError> {
        let mut whole = Move::default();
        for blob in found {
            if is_stopping() {
                break;
            }
            if self.is_live_at(blob)? {
                whole.contents += 1;
                whole.bytes += blob.length + MOVED_CONTENT_EXTRA_BYTES;
            }
        }
        Ok(whole)
    }

    /// A content of the segment, checked and in memory again; `None` if it is to stay or to go.
    fn read(&self, blob: &NewBlob) -> Result<Option<StagedBlob>, MutationError> {
        if !self.is_live_at(blob)? {
            return Ok(None);
        }
        let BlobPlace::Segment { segment, offset } = blob.place else { return Ok(None) };
        let file = self.store.segments.get(segment);
        let what = "a segment of the journal";
        let file = file.map_err(|source| ReadError::Io { what, source })?;
        let Some(file) = file else { return Ok(None) };
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
            source: io::Error::other(error.to_string()),
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
        let contents = self.contents;
        committer.submit(Submission { contents, ..Submission::of(change, reply) })?;
        ticket.redeem_blocking().map(drop)
    }
}
