//! What no row names any longer: rows of dropped layers and of dead blobs, in bounded steps.
//!
//! None of it is journaled. After a crash the index is as at the last checkpoint, and the same
//! rows are met again; bytes go only after a checkpoint that contains their row's removal.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;

use redb::{ReadTransaction, ReadableTable, Table, WriteTransaction};

use super::apply::{Counts, LiveBytes, add_live_bytes, write_live_bytes};
use super::rows::{BlobRow, FileRow};
use super::{Index, IndexError, tables};
use crate::blobs::Pins;
use crate::codec;
use crate::limits::{BACKGROUND_ROWS_MAX, LARGE_REMOVED_MAX};
use crate::model::change::{BlobPlace, LargeFileId, SegmentId};
use crate::model::{Digest, LayerId, Sequence};

/// What a step of [`reclaim_blobs`] did.
#[derive(Debug)]
pub(crate) struct Reclaimed {
    /// Contents whose rows were removed. If there were any, the next checkpoint must be a real one,
    /// since it lets go of bytes (I3).
    pub(crate) gone: Vec<Digest>,
    /// The last of the dead that it looked at; `None` if there are none behind it.
    pub(crate) reached: Option<DeadBlob>,
}

/// A content that no row names, and when it died.
pub(crate) type DeadBlob = (Sequence, Digest);

/// Removes rows of dead blobs that nobody pins and no lease wants (I3).
///
/// `oldest_lease` is the state that the oldest open lease describes; what died later stays. It looks
/// at so many of the dead behind `after`, and at the oldest without one: what somebody pins for long
/// must not hide from the background what lies behind it.
///
/// # Errors
/// The index failed.
pub(crate) fn reclaim_blobs(
    index: &Index,
    pins: &Pins,
    oldest_lease: Option<Sequence>,
    after: Option<DeadBlob>,
) -> Result<Reclaimed, IndexError> {
    let dead = dead_blobs(index, oldest_lease, after)?;
    if dead.is_empty() {
        return Ok(Reclaimed { gone: Vec::new(), reached: None });
    }
    // Marked under the pin shards, and until the removal is visible: whoever pins one of these
    // from now on treats it as absent and brings its bytes again.
    let doomed = pins.doom(dead.iter().map(|(_, digest)| *digest));
    let reached = dead.last().copied().filter(|_| dead.len() >= BACKGROUND_ROWS_MAX);
    if doomed.is_empty() {
        return Ok(Reclaimed { gone: Vec::new(), reached });
    }
    let gone = index.apply(|txn| {
        let mut removal = Removal::begin(txn)?;
        let mut gone = Vec::new();
        for (died, digest) in &dead {
            if removal.settle(*died, digest, doomed.contains(digest))? {
                gone.push(*digest);
            }
        }
        write_live_bytes(txn, &removal.live_bytes)?;
        Ok(gone)
    })?;
    Ok(Reclaimed { gone, reached })
}

fn dead_blobs(
    index: &Index,
    oldest_lease: Option<Sequence>,
    after: Option<DeadBlob>,
) -> Result<Vec<DeadBlob>, IndexError> {
    let table = index.read()?.open_table(tables::DEAD_BLOBS)?;
    let after = after
        .as_ref()
        .map_or(Bound::Unbounded, |(died, digest)| Bound::Excluded((died.0, digest.as_bytes())));
    let mut dead = Vec::new();
    for entry in
        table.range::<(u64, &[u8; 32])>((after, Bound::Unbounded))?.take(BACKGROUND_ROWS_MAX)
    {
        let (key, ()) = entry.map(|(key, _)| (key, ()))?;
        let (died, digest) = key.value();
        if oldest_lease.is_some_and(|state| Sequence(died) > state) {
            break;
        }
        dead.push((Sequence(died), Digest(*digest)));
    }
    Ok(dead)
}

/// The tables that dead blobs are removed from, opened once for all of a step.
struct Removal<'txn> {
    blobs: Table<'txn, &'static [u8; 32], &'static [u8]>,
    dead: Table<'txn, (u64, &'static [u8; 32]), ()>,
    large: Table<'txn, (&'static [u8; 32], u64, u64), ()>,
    /// What the segments lose by it.
    live_bytes: LiveBytes,
}

impl<'txn> Removal<'txn> {
    fn begin(txn: &'txn WriteTransaction) -> Result<Self, IndexError> {
        Ok(Self {
            blobs: txn.open_table(tables::BLOBS)?,
            dead: txn.open_table(tables::DEAD_BLOBS)?,
            large: txn.open_table(tables::LARGE_REMOVALS)?,
            live_bytes: LiveBytes::new(),
        })
    }

    /// Settles one entry of the dead; `false` if it must wait for a pin.
    fn settle(
        &mut self,
        died: Sequence,
        digest: &Digest,
        unpinned: bool,
    ) -> Result<bool, IndexError> {
        let row: Option<BlobRow> = match self.blobs.get(digest.as_bytes())? {
            Some(row) => Some(BlobRow::decode(row.value())?),
            None => None,
        };
        // One that lives again, or died again later, is not this entry's business.
        if let Some(row) = row.filter(|row| row.count == 0 && row.died == died) {
            if !unpinned {
                return Ok(false);
            }
            self.blobs.remove(digest.as_bytes())?;
            if let BlobPlace::Large(file) = row.place {
                self.large.insert((digest.as_bytes(), file.start, file.number), ())?;
            }
            add_live_bytes(&mut self.live_bytes, row.place, row.length, -1);
        }
        self.dead.remove((died.0, digest.as_bytes()))?;
        Ok(true)
    }
}

/// Removes some rows of a layer that no stack names, and gives their number; `None` if there is no such
/// layer.
///
/// # Errors
/// The index failed.
pub(crate) fn drop_layer_rows(index: &Index, applied: Sequence) -> Result<Option<u64>, IndexError> {
    let first = {
        let table = index.read()?.open_table(tables::DROPPED_LAYERS)?;
        table.first()?.map(|(layer, _)| layer.value())
    };
    let Some(layer) = first else { return Ok(None) };
    index.apply(|txn| {
        let mut left = BACKGROUND_ROWS_MAX;
        left -= drop_file_rows(txn, layer, applied, left)?;
        left -= drop_metadata_rows(txn, layer, left)?;
        if left > 0 {
            txn.open_table(tables::LAYERS)?.remove(layer)?;
            txn.open_table(tables::DROPPED_LAYERS)?.remove(layer)?;
        }
        Ok(u64::try_from(BACKGROUND_ROWS_MAX - left).ok())
    })
}

fn drop_file_rows(
    txn: &WriteTransaction,
    layer: u64,
    applied: Sequence,
    rows_max: usize,
) -> Result<usize, IndexError> {
    let mut files = txn.open_table(tables::FILES)?;
    let mut rows = Vec::new();
    for entry in files.range::<(u64, &str)>((layer, "")..(layer + 1, ""))?.take(rows_max) {
        let (key, row) = entry?;
        rows.push((key.value().1.to_owned(), codec::decode::<FileRow>(row.value())?));
    }
    let mut counts = Counts::of(txn)?;
    for (name, row) in &rows {
        files.remove((layer, name.as_str()))?;
        if let FileRow::File(record) = row {
            counts.down(&record.digest, (LayerId(layer), name), applied)?;
        }
    }
    Ok(rows.len())
}

fn drop_metadata_rows(
    txn: &WriteTransaction,
    layer: u64,
    rows_max: usize,
) -> Result<usize, IndexError> {
    let mut metadata = txn.open_table(tables::METADATA)?;
    let mut names = Vec::new();
    for entry in metadata.range::<(u64, &str)>((layer, "")..(layer + 1, ""))?.take(rows_max) {
        names.push(entry?.0.value().1.to_owned());
    }
    for name in &names {
        metadata.remove((layer, name.as_str()))?;
    }
    Ok(names.len())
}

/// Bytes that may go now that a checkpoint holds their rows' removal.
#[derive(Debug, Default)]
pub(crate) struct Removable {
    /// Large files.
    pub(crate) large: Vec<(Digest, LargeFileId)>,
    /// Segments before the checkpoint that hold no live content.
    pub(crate) segments: Vec<SegmentId>,
}

impl Removable {
    pub(crate) fn is_empty(&self) -> bool {
        self.large.is_empty() && self.segments.is_empty()
    }

    /// Takes out what is in another as well.
    pub(crate) fn take_out(&mut self, other: &Self) {
        let large: HashSet<_> = other.large.iter().collect();
        self.large.retain(|file| !large.contains(file));
        let segments: HashSet<_> = other.segments.iter().collect();
        self.segments.retain(|segment| !segments.contains(segment));
    }

    /// Takes out so many files at most.
    pub(crate) fn take_some(&mut self, files_max: usize) -> Self {
        let large = self.large.split_off(self.large.len().saturating_sub(files_max));
        let files_max = files_max - large.len();
        let segments = self.segments.split_off(self.segments.len().saturating_sub(files_max));
        Self { large, segments }
    }
}

/// What the state just checkpointed lets go of, but for large files that are kept; `segments` are those
/// before its position.
///
/// # Errors
/// The index failed.
pub(crate) fn removable(
    index: &Index,
    segments: &[SegmentId],
    is_kept: impl Fn(LargeFileId) -> bool,
) -> Result<Removable, IndexError> {
    let txn = index.read()?;
    let mut removable = Removable::default();
    let removals = txn.open_table(tables::LARGE_REMOVALS)?;
    for entry in removals.iter()? {
        let (key, _) = entry?;
        let (digest, start, number) = key.value();
        let file = LargeFileId { start, number };
        if removable.large.len() == LARGE_REMOVED_MAX {
            break;
        }
        if !is_kept(file) {
            removable.large.push((Digest(*digest), file));
        }
    }
    // All at once: a look-up of each, of which a large store has thousands, would take longer.
    let live = live_bytes_in(&txn)?;
    let is_live = |segment: &SegmentId| live.get(segment).is_some_and(|bytes| *bytes > 0);
    removable.segments = segments.iter().filter(|segment| !is_live(segment)).copied().collect();
    Ok(removable)
}

/// Bytes of live contents in each segment that holds any.
///
/// # Errors
/// The index cannot be read.
pub(crate) fn live_bytes(index: &Index) -> Result<HashMap<SegmentId, u64>, IndexError> {
    live_bytes_in(&index.read()?)
}

fn live_bytes_in(txn: &ReadTransaction) -> Result<HashMap<SegmentId, u64>, IndexError> {
    let table = txn.open_table(tables::SEGMENTS)?;
    let rows = table.iter()?.map(|row| {
        let (segment, bytes) = row?;
        Ok((SegmentId(segment.value()), bytes.value()))
    });
    rows.collect()
}

/// Forgets what was removed.
///
/// # Errors
/// The index failed.
pub(crate) fn forget_removed(index: &Index, removed: &Removable) -> Result<(), IndexError> {
    if removed.is_empty() {
        return Ok(());
    }
    index.apply(|txn| {
        let mut removals = txn.open_table(tables::LARGE_REMOVALS)?;
        for (digest, file) in &removed.large {
            removals.remove((digest.as_bytes(), file.start, file.number))?;
        }
        let mut segments = txn.open_table(tables::SEGMENTS)?;
        for segment in &removed.segments {
            segments.remove(segment.0)?;
        }
        Ok(())
    })
}
