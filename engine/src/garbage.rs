//! What holds space and serves nobody: what it is, and giving it back now instead of soon.
//!
//! The background gives most of it back by itself, within seconds of the last file that named it.
//! What it leaves are dead bytes in segments that live ones share: moving those away costs writing
//! them, so by itself it waits until it is worth much (`compaction.rs`). Whoever asks for a
//! collection has that done wherever it gives back a tenth of a segment.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redb::ReadableTableMetadata;

use crate::codec;
use crate::compaction::is_gain;
use crate::error::ReadError;
use crate::index::rows::LayerRow;
use crate::index::{IndexError, tables};
use crate::limits::USAGE_ROWS_AT_ONCE;
use crate::model::change::{LargeFileId, SegmentId};
use crate::model::{Digest, Sequence};
use crate::store::Store;
use crate::usage::staged;

/// Bytes of the segment that is being written from which on a collection begins another one: what
/// is dead in fewer is not worth a file.
const HEAD_BYTES_MIN: u64 = 1 << 20;

/// What could be given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Contents that no file names any longer.
    pub contents: u64,
    /// Bytes of these.
    pub content_bytes: u64,
    /// Of these, contents that an archive or a backup on its way still reads.
    pub held_contents: u64,
    /// Bytes of these.
    pub held_bytes: u64,
    /// Layers that no dataset has any longer.
    pub layers: u64,
    /// Rows of files and metadata in these.
    pub rows: u64,
    /// Segments of the journal without a live content, which go with the next checkpoint.
    pub empty_segments: u64,
    /// Bytes of these.
    pub empty_segment_bytes: u64,
    /// Segments of which a tenth or more is dead, and that are not being written.
    pub sparse_segments: u64,
    /// Dead bytes in these: what moving the rest of them away gives back, about.
    pub sparse_dead_bytes: u64,
    /// Live bytes in these, which would be written again.
    pub sparse_live_bytes: u64,
    /// Dead bytes in the other segments, which stay until more of them has died.
    pub other_dead_bytes: u64,
    /// Dead bytes in the segment that is being written, if they are worth that a collection begins
    /// another one first.
    pub head_dead_bytes: u64,
    /// Files of large contents that go with the next checkpoint.
    pub large_files: u64,
    /// Bytes of these.
    pub large_bytes: u64,
    /// Files of uploads and answers on their way, which go by themselves.
    pub staged_files: u64,
    /// Bytes of these.
    pub staged_bytes: u64,
}

/// What a collection does, in this order, some of it more than once.
const STAGES: [&str; 4] =
    ["looking", "removing rows", "letting go of files", "moving contents out of sparse segments"];

/// How far a collection is, for whoever shows it, and the way to stop it.
#[derive(Debug, Default)]
pub struct CollectionProgress {
    stage: AtomicUsize,
    is_stopped: AtomicBool,
}

impl CollectionProgress {
    /// What is being done, in words.
    pub fn stage(&self) -> &'static str {
        STAGES.get(self.stage.load(Ordering::Relaxed)).copied().unwrap_or_default()
    }

    /// Ends the collection soon; what it gave back so far stays given back.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to end.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn removing_rows(&self) {
        self.stage.store(1, Ordering::Relaxed);
    }

    pub(crate) fn letting_go(&self) {
        self.stage.store(2, Ordering::Relaxed);
    }

    pub(crate) fn moving(&self) {
        self.stage.store(3, Ordering::Relaxed);
    }
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// What could be given back before.
    pub before: Garbage,
    /// What could be given back afterwards.
    pub after: Garbage,
    /// Bytes of files that were given back to the disk meanwhile, whoever asked for it.
    pub freed_bytes: u64,
    /// Bytes of live contents that were written again for it.
    pub moved_bytes: u64,
}

/// Looks for what could be given back. Visits every content that no file names, and blocks.
///
/// # Errors
/// The index or the disk cannot be read.
pub(crate) fn look(store: &Store) -> Result<Garbage, ReadError> {
    let mut garbage = Garbage::default();
    look_at_contents(store, &mut garbage)?;
    look_at_layers(store, &mut garbage)?;
    look_at_segments(store, &mut garbage)?;
    look_at_removals(store, &mut garbage)?;
    (garbage.staged_files, garbage.staged_bytes) = staged(store)?;
    Ok(garbage)
}

/// Files that the next checkpoints let go of.
///
/// # Errors
/// The index cannot be read.
pub(crate) fn waiting_files(store: &Store) -> Result<u64, ReadError> {
    let large = store.snapshot()?.table(tables::LARGE_REMOVALS)?.len();
    let mut garbage = Garbage::default();
    look_at_segments(store, &mut garbage)?;
    Ok(large.map_err(IndexError::from)? + garbage.empty_segments)
}

/// Reads the contents that died, page by page, each within a snapshot of its own.
fn look_at_contents(store: &Store, garbage: &mut Garbage) -> Result<(), ReadError> {
    let oldest_lease = store.leases.oldest();
    let mut after: Option<(u64, [u8; 32])> = None;
    loop {
        let snapshot = store.snapshot()?;
        let table = snapshot.table(tables::DEAD_BLOBS)?;
        let from = after
            .as_ref()
            .map_or(Bound::Unbounded, |(died, digest)| Bound::Excluded((*died, digest)));
        let rows = table.range::<(u64, &[u8; 32])>((from, Bound::Unbounded));
        let (mut read, mut last) = (0, None);
        for row in rows.map_err(IndexError::from)?.take(USAGE_ROWS_AT_ONCE) {
            let row = row.map_err(IndexError::from)?;
            let (died, digest) = row.0.value();
            read += 1;
            last = Some((died, *digest));
            let blob = snapshot.blob(&Digest(*digest))?;
            // One that lives again, or died again later, is not this entry's business.
            let dead = blob.filter(|blob| blob.count == 0 && blob.died == Sequence(died));
            let Some(dead) = dead else { continue };
            garbage.contents += 1;
            garbage.content_bytes += dead.length;
            if oldest_lease.is_some_and(|state| Sequence(died) > state) {
                garbage.held_contents += 1;
                garbage.held_bytes += dead.length;
            }
        }
        if read < USAGE_ROWS_AT_ONCE {
            return Ok(());
        }
        after = last;
    }
}

fn look_at_layers(store: &Store, garbage: &mut Garbage) -> Result<(), ReadError> {
    let snapshot = store.snapshot()?;
    let layers = snapshot.table(tables::LAYERS)?;
    let dropped = snapshot.table(tables::DROPPED_LAYERS)?;
    for entry in dropped.range(0..).map_err(IndexError::from)? {
        let (layer, ()) = entry.map(|(layer, _)| (layer, ())).map_err(IndexError::from)?;
        garbage.layers += 1;
        if let Some(row) = layers.get(layer.value()).map_err(IndexError::from)? {
            let row: LayerRow = codec::decode(row.value()).map_err(IndexError::from)?;
            garbage.rows += row.all();
        }
    }
    Ok(())
}

fn look_at_segments(store: &Store, garbage: &mut Garbage) -> Result<(), ReadError> {
    let snapshot = store.snapshot()?;
    let head = snapshot.applied_position()?;
    let live = snapshot.table(tables::SEGMENTS)?;
    for segment in store.segments.ids() {
        let bytes = store.segments.length(segment);
        let row = live.get(segment.0).map_err(IndexError::from)?;
        let live_bytes = row.map_or(0, |row| row.value());
        let dead_bytes = bytes.saturating_sub(live_bytes);
        if is_being_written(segment, head) {
            if bytes >= HEAD_BYTES_MIN && is_sparse(live_bytes, bytes) {
                garbage.head_dead_bytes += dead_bytes;
            } else {
                garbage.other_dead_bytes += dead_bytes;
            }
        } else if live_bytes == 0 {
            garbage.empty_segments += 1;
            garbage.empty_segment_bytes += bytes;
        } else if is_sparse(live_bytes, bytes) {
            garbage.sparse_segments += 1;
            garbage.sparse_dead_bytes += dead_bytes;
            garbage.sparse_live_bytes += live_bytes;
        } else {
            garbage.other_dead_bytes += dead_bytes;
        }
    }
    Ok(())
}

fn is_being_written(segment: SegmentId, head: Option<SegmentId>) -> bool {
    Some(segment) >= head
}

/// Whether moving what lives in a segment away gives back enough to be worth it.
pub(crate) fn is_sparse(live_bytes: u64, bytes: u64) -> bool {
    is_gain(bytes.saturating_sub(live_bytes), bytes)
}

/// Reads a page of names in a snapshot, and asks the disk for their lengths without one.
fn look_at_removals(store: &Store, garbage: &mut Garbage) -> Result<(), ReadError> {
    let mut from: Bound<([u8; 32], u64, u64)> = Bound::Unbounded;
    loop {
        let page: Vec<(Digest, LargeFileId)> = {
            let snapshot = store.snapshot()?;
            let removals = snapshot.table(tables::LARGE_REMOVALS)?;
            let from = from.as_ref().map(|(digest, start, number)| (digest, *start, *number));
            let rows = removals.range::<(&[u8; 32], u64, u64)>((from, Bound::Unbounded));
            let rows = rows.map_err(IndexError::from)?.take(USAGE_ROWS_AT_ONCE);
            let names = rows.map(|row| {
                let row = row.map_err(IndexError::from)?;
                let (digest, start, number) = row.0.value();
                Ok((Digest(*digest), LargeFileId { start, number }))
            });
            names.collect::<Result<_, ReadError>>()?
        };
        for (digest, file) in &page {
            let file = store.blobs.open_large(digest, *file);
            // One that has gone meanwhile takes nothing.
            if let Ok(length) = file.and_then(|file| file.len()) {
                garbage.large_files += 1;
                garbage.large_bytes += length;
            }
        }
        match page.last() {
            Some((digest, file)) if page.len() == USAGE_ROWS_AT_ONCE => {
                from = Bound::Excluded((digest.0, file.start, file.number));
            }
            Some(_) | None => return Ok(()),
        }
    }
}
