//! Contents that rows name: counted up and down (I4), placed, moved, and dead once none names them.

use std::collections::HashMap;

use redb::{ReadableTable, Table, WriteTransaction};

use super::{Bytes, Group};
use crate::codec;
use crate::index::rows::BlobRow;
use crate::index::{IndexError, tables};
use crate::model::change::{BlobPlace, NewBlob, Relocation, SegmentId};
use crate::model::{Digest, Sequence};

impl Group<'_> {
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<BlobRow>, IndexError> {
        let row = self.blobs.get(digest.as_bytes())?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }

    pub(super) fn put_blob(&mut self, digest: &Digest, row: &BlobRow) -> Result<(), IndexError> {
        self.blobs.insert(digest.as_bytes(), codec::encode(row)?.as_slice())?;
        Ok(())
    }

    /// One more row names the content (I4).
    pub(super) fn count_up(&mut self, digest: &Digest) -> Result<(), IndexError> {
        if let Some(mut row) = self.blob(digest)? {
            row.count += 1;
            return self.put_blob(digest, &row);
        }
        let Some(blob) = self.fresh.remove(digest) else {
            // I2 is broken: the journal named bytes that are nowhere.
            return Err(IndexError::Contradiction(format!("no bytes are known of {digest}")));
        };
        self.insert_blob(&blob, 1)
    }

    pub(super) fn insert_blob(&mut self, blob: &NewBlob, count: u64) -> Result<(), IndexError> {
        let NewBlob { digest, length, crc32, place } = *blob;
        self.add_live_bytes(place, length, 1);
        let row = BlobRow { place, length, crc32, count, died: self.sequence };
        self.put_blob(&digest, &row)
    }

    /// One row less names the content; at none it is dead from this change on.
    pub(super) fn count_down(&mut self, digest: &Digest) -> Result<(), IndexError> {
        count_down(self.txn, &mut self.blobs, digest, self.sequence)
    }

    pub(super) fn add_live_bytes(&mut self, place: BlobPlace, length: u64, sign: i64) {
        add_live_bytes(&mut self.live_bytes, place, length, sign);
    }

    /// What the change brought and no row had asked for: a content that is not there is entered
    /// dead, since a later record may count on it (I2); one that is there moves to the bytes that
    /// just came. Whoever sends bytes of a content that is there found it damaged, or raced with
    /// others; the new bytes were just hashed, so they are the ones to keep, and a damaged content
    /// is healed by that, in a replay too.
    pub(super) fn bury_fresh(&mut self) -> Result<(), IndexError> {
        for blob in std::mem::take(&mut self.fresh).into_values() {
            let Some(row) = self.blob(&blob.digest)? else {
                self.insert_blob(&blob, 0)?;
                let mut dead = self.txn.open_table(tables::DEAD_BLOBS)?;
                dead.insert((self.sequence.0, blob.digest.as_bytes()), ())?;
                continue;
            };
            if row.place != blob.place {
                self.replace(row, &blob)?;
            }
        }
        Ok(())
    }

    /// Points a content's row at other bytes of the same content; the old ones are dead.
    fn replace(&mut self, old: BlobRow, blob: &NewBlob) -> Result<(), IndexError> {
        let NewBlob { digest, length, crc32, place } = *blob;
        self.add_live_bytes(old.place, old.length, -1);
        self.add_live_bytes(place, length, 1);
        if let BlobPlace::Large(file) = old.place {
            let mut removals = self.txn.open_table(tables::LARGE_REMOVALS)?;
            removals.insert((digest.as_bytes(), file.start, file.number), ())?;
        }
        self.put_blob(&digest, &BlobRow { place, length, crc32, ..old })
    }

    /// Follows contents to the journal's head, where the index still points at the old place.
    pub(super) fn relocate(
        &mut self,
        moves: &[Relocation],
        blobs: &[NewBlob],
    ) -> Result<(), IndexError> {
        for Relocation { digest, from } in moves {
            let Some(blob) = blobs.iter().find(|blob| blob.digest == *digest) else {
                continue;
            };
            let Some(mut row) = self.blob(digest)? else {
                continue;
            };
            if row.place == *from {
                self.add_live_bytes(row.place, row.length, -1);
                self.add_live_bytes(blob.place, row.length, 1);
                row.place = blob.place;
                self.put_blob(digest, &row)?;
            }
        }
        Ok(())
    }
}

/// One row less names the content; at none it is dead from `sequence` on (I4).
pub(crate) fn count_down(
    txn: &WriteTransaction,
    blobs: &mut Table<'_, &'static [u8; 32], Bytes>,
    digest: &Digest,
    sequence: Sequence,
) -> Result<(), IndexError> {
    let row: Option<BlobRow> = match blobs.get(digest.as_bytes())? {
        Some(row) => Some(codec::decode(row.value())?),
        None => None,
    };
    let Some(mut row) = row.filter(|row| row.count > 0) else {
        return Err(IndexError::Contradiction(format!(
            "{digest} is named by a row and not counted"
        )));
    };
    row.count -= 1;
    if row.count == 0 {
        row.died = sequence;
        let mut dead = txn.open_table(tables::DEAD_BLOBS)?;
        dead.insert((sequence.0, digest.as_bytes()), ())?;
    }
    blobs.insert(digest.as_bytes(), codec::encode(&row)?.as_slice())?;
    Ok(())
}

/// Bytes that a content keeps of its segment. An empty one counts as one byte, since its segment
/// must not go without it.
pub(crate) fn live_bytes_of(length: u64) -> u64 {
    length.max(1)
}

/// Counts bytes of a place in or out (`sign` 1 or -1).
pub(crate) fn add_live_bytes(
    live_bytes: &mut HashMap<SegmentId, i64>,
    place: BlobPlace,
    length: u64,
    sign: i64,
) {
    if let BlobPlace::Segment { segment, .. } = place {
        let bytes = i64::try_from(live_bytes_of(length)).unwrap_or(i64::MAX);
        *live_bytes.entry(segment).or_default() += sign * bytes;
    }
}

/// Adds the changes of live bytes to their rows.
pub(crate) fn write_live_bytes(
    txn: &WriteTransaction,
    live_bytes: &HashMap<SegmentId, i64>,
) -> Result<(), IndexError> {
    if live_bytes.is_empty() {
        return Ok(());
    }
    let mut segments = txn.open_table(tables::SEGMENTS)?;
    for (segment, change) in live_bytes {
        let before = segments.get(segment.0)?.map_or(0, |row| row.value());
        let after = before.checked_add_signed(*change).ok_or_else(|| {
            IndexError::Contradiction(format!("segment {} has live bytes below zero", segment.0))
        })?;
        segments.insert(segment.0, after)?;
    }
    Ok(())
}
