//! Moves live contents out of mostly dead segments, so that the segments can go.
//!
//! A move is a change like any other: the bytes are appended to the journal's head, and the index
//! follows if it still points at the old place. The old segment goes after the checkpoint that
//! contains the moves. Bytes that are damaged are not moved, and keep their segment (I9).

use std::io::Cursor;
use std::sync::Arc;

use crate::blobs::{Blob, StagedBlob};
use crate::committer::{Committer, Reply, Submission};
use crate::error::{MutationError, ReadError};
use crate::index::{IndexError, tables};
use crate::limits::{
    CHANGE_BYTES_MAX, CHANGE_FILES_MAX, INLINE_BYTES_MAX, SEGMENT_LIVE_PERCENT_MIN,
};
use crate::model::change::{BlobPlace, Change, NewBlob, Relocation, SegmentId};
use crate::store::Store;

/// Compacts the segments whose dead share passes the bound.
///
/// # Errors
/// Reading or committing failed; what was moved stays moved.
pub(crate) fn compact(store: &Arc<Store>, committer: &Committer) -> Result<(), MutationError> {
    for segment in candidates(store)? {
        tracing::info!(segment = segment.0, "compacting a segment");
        let mut found = Vec::new();
        let visited = store.segments.blobs_of(segment, |blob| {
            found.push(blob);
            true
        });
        visited.map_err(|source| ReadError::Io { what: "a segment", source })?;
        move_live(store, committer, &found)?;
    }
    Ok(())
}

/// Segments before the journal's head that hold live contents, but few.
fn candidates(store: &Store) -> Result<Vec<SegmentId>, ReadError> {
    let snapshot = store.snapshot()?;
    let head = snapshot.applied_position()?;
    let live = snapshot.table(tables::SEGMENTS)?;
    let mut candidates = Vec::new();
    for segment in store.segments.ids() {
        let row = live.get(segment.0).map_err(IndexError::from)?;
        let live_bytes = row.map_or(0, |row| row.value());
        let bytes = store.segments.length(segment);
        let mostly_dead = live_bytes.saturating_mul(100) < bytes * SEGMENT_LIVE_PERCENT_MIN;
        if head.is_some_and(|head| segment < head) && live_bytes > 0 && mostly_dead {
            candidates.push(segment);
        }
    }
    Ok(candidates)
}

fn move_live(
    store: &Arc<Store>,
    committer: &Committer,
    found: &[NewBlob],
) -> Result<(), MutationError> {
    let mut batch = Batch::default();
    for blob in found {
        let row = store.snapshot()?.blob(&blob.digest)?;
        let Some(row) = row.filter(|row| row.count > 0 && row.place == blob.place) else {
            continue;
        };
        let content = match read(store, blob) {
            Ok(content) => content,
            Err(error) => {
                tracing::error!(digest = %blob.digest, %error, "a content stays where it is");
                continue;
            }
        };
        batch.moves.push(Relocation { digest: blob.digest, from: row.place });
        batch.contents.push(content);
        batch.bytes += row.length;
        if batch.bytes >= CHANGE_BYTES_MAX || batch.moves.len() >= CHANGE_FILES_MAX {
            std::mem::take(&mut batch).submit(committer)?;
        }
    }
    batch.submit(committer)
}

/// A content of the segment, checked and in memory again.
fn read(store: &Arc<Store>, blob: &NewBlob) -> Result<StagedBlob, ReadError> {
    let BlobPlace::Segment { segment, offset } = blob.place else {
        return Err(ReadError::Gone { what: blob.digest.to_string() });
    };
    let file = store.segments.get(segment);
    let file = file.ok_or_else(|| ReadError::Gone { what: blob.digest.to_string() })?;
    let bytes = Blob::new(blob.digest, blob.length, file, offset).read_whole()?;
    let staged =
        store.blobs.stage_reader(&mut Cursor::new(bytes), INLINE_BYTES_MAX, &|_| Ok(false));
    staged.map_err(|error| ReadError::Corrupt { what: "a content", place: error.to_string() })
}

#[derive(Debug, Default)]
struct Batch {
    moves: Vec<Relocation>,
    contents: Vec<StagedBlob>,
    bytes: u64,
}

impl Batch {
    fn submit(self, committer: &Committer) -> Result<(), MutationError> {
        if self.moves.is_empty() {
            return Ok(());
        }
        let (reply, ticket) = Reply::new(None);
        let change = Change::Relocate { moves: self.moves };
        committer.submit(Submission { change, contents: self.contents, reply })?;
        ticket.redeem_blocking().map(drop)
    }
}
