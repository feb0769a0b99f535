//! Contents that rows name: counted up and down (I4), placed, moved, and dead once none names them.

use std::collections::{BTreeMap, HashMap};

use redb::{ReadableTable, Table, WriteTransaction};

use super::{Bytes, Group};
use crate::index::namings::Namings;
use crate::index::rows::{BlobRow, NamedBlob, Naming};
use crate::index::{IndexError, tables};
use crate::model::change::{BlobPlace, NewBlob, Relocation, SegmentId};
use crate::model::{Digest, LayerId, Sequence};

/// The rows of contents, and what hangs on their counts.
pub(crate) struct Counts<'txn> {
    txn: &'txn WriteTransaction,
    blobs: Table<'txn, &'static [u8; 32], Bytes>,
    namings: Namings<'txn>,
    /// Opened when it is wanted first.
    dead: Option<Table<'txn, (u64, &'static [u8; 32]), ()>>,
}

impl<'txn> Counts<'txn> {
    pub(crate) fn of(txn: &'txn WriteTransaction) -> Result<Self, IndexError> {
        let blobs = txn.open_table(tables::BLOBS)?;
        Ok(Self { txn, blobs, namings: Namings::of(txn), dead: None })
    }

    fn get(&self, digest: &Digest) -> Result<Option<NamedBlob>, IndexError> {
        let row = self.blobs.get(digest.as_bytes())?;
        Ok(row.map(|row| NamedBlob::decode(row.value())).transpose()?)
    }

    fn put(&mut self, digest: &Digest, blob: &NamedBlob) -> Result<(), IndexError> {
        self.blobs.insert(digest.as_bytes(), blob.encode()?.as_slice())?;
        Ok(())
    }

    /// The content is dead from this change on.
    fn bury(&mut self, digest: &Digest, sequence: Sequence) -> Result<(), IndexError> {
        let dead = match self.dead.take() {
            Some(dead) => dead,
            None => self.txn.open_table(tables::DEAD_BLOBS)?,
        };
        self.dead.insert(dead).insert((sequence.0, digest.as_bytes()), ())?;
        Ok(())
    }

    /// One more row, of this layer and name, names the content (I4); `false` if there is no such
    /// content.
    fn up(&mut self, digest: &Digest, layer: LayerId, name: &str) -> Result<bool, IndexError> {
        self.change(digest, |blob, namings| {
            blob.row.count += 1;
            if blob.enter(layer, name) { Ok(()) } else { namings.enter(digest, layer, name) }
        })
    }

    /// Changes what is known of a content; `false` if there is no such content.
    fn change(
        &mut self,
        digest: &Digest,
        change: impl FnOnce(&mut NamedBlob, &mut Namings<'txn>) -> Result<(), IndexError>,
    ) -> Result<bool, IndexError> {
        let Some(mut row) = self.blobs.get_mut(digest.as_bytes())? else { return Ok(false) };
        let mut blob = NamedBlob::decode(row.value())?;
        change(&mut blob, &mut self.namings)?;
        let bytes = blob.encode()?;
        if bytes.len() <= row.value().len() {
            row.insert(bytes.as_slice())?;
        } else {
            // Put in place of the old row it makes its page larger; inserted it splits one that is full.
            drop(row);
            self.blobs.insert(digest.as_bytes(), bytes.as_slice())?;
        }
        Ok(true)
    }

    /// The row that names the content under this name is in another layer now.
    fn relabel(
        &mut self,
        digest: &Digest,
        layers: (LayerId, LayerId),
        name: &str,
    ) -> Result<(), IndexError> {
        self.change(digest, |blob, namings| {
            if !blob.relabel(layers, name) {
                namings.leave(digest, layers.0, name)?;
                namings.enter(digest, layers.1, name)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// One row less, that of this layer and name, names the content; at none it is dead from
    /// `sequence` on (I4).
    pub(crate) fn down(
        &mut self,
        digest: &Digest,
        (layer, name): (LayerId, &str),
        sequence: Sequence,
    ) -> Result<(), IndexError> {
        let Some(mut blob) = self.get(digest)?.filter(|blob| blob.row.count > 0) else {
            return Err(IndexError::Contradiction(format!(
                "{digest} is named by a row and not counted"
            )));
        };
        if !blob.leave(layer, name) {
            self.namings.leave(digest, layer, name)?;
        }
        blob.row.count -= 1;
        if blob.row.count == 0 {
            blob.row.died = sequence;
            self.bury(digest, sequence)?;
        } else if blob.namings.is_empty() {
            blob.namings.extend(self.namings.take_any(digest)?);
        }
        self.put(digest, &blob)
    }
}

impl Group<'_> {
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<NamedBlob>, IndexError> {
        self.counts.get(digest)
    }

    /// One more row, of this layer and name, names the content (I4).
    pub(super) fn count_up(
        &mut self,
        digest: &Digest,
        layer: LayerId,
        name: &str,
    ) -> Result<(), IndexError> {
        if self.counts.up(digest, layer, name)? {
            return Ok(());
        }
        let Some(blob) = self.fresh.remove(digest) else {
            // I2 is broken: the journal named bytes that are nowhere.
            return Err(IndexError::Contradiction(format!("no bytes are known of {digest}")));
        };
        self.insert_blob(&blob, Some(Naming { layer, name: name.to_owned() }))
    }

    /// Enters a content that comes, named by one row or none.
    fn insert_blob(&mut self, blob: &NewBlob, naming: Option<Naming>) -> Result<(), IndexError> {
        let NewBlob { digest, length, crc32, place } = *blob;
        self.add_live_bytes(place, length, 1);
        let count = u64::from(naming.is_some());
        let row = BlobRow { place, length, crc32, count, died: self.sequence };
        self.counts.put(&digest, &NamedBlob { row, namings: naming.into_iter().collect() })
    }

    /// The row that names the content under this name is in another layer now.
    pub(super) fn relabel(
        &mut self,
        digest: &Digest,
        layers: (LayerId, LayerId),
        name: &str,
    ) -> Result<(), IndexError> {
        self.counts.relabel(digest, layers, name)
    }

    /// One row less, that of this layer and name, names the content; at none it is dead from this
    /// change on.
    pub(super) fn count_down(
        &mut self,
        digest: &Digest,
        layer: LayerId,
        name: &str,
    ) -> Result<(), IndexError> {
        self.counts.down(digest, (layer, name), self.sequence)
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
                self.insert_blob(&blob, None)?;
                self.counts.bury(&blob.digest, self.sequence)?;
                continue;
            };
            if row.row.place != blob.place {
                self.replace(row, &blob)?;
            }
        }
        Ok(())
    }

    /// Points a content's row at other bytes of the same content; the old ones are dead.
    fn replace(&mut self, named: NamedBlob, blob: &NewBlob) -> Result<(), IndexError> {
        let NewBlob { digest, length, crc32, place } = *blob;
        let NamedBlob { row: old, namings } = named;
        self.add_live_bytes(old.place, old.length, -1);
        self.add_live_bytes(place, length, 1);
        self.remove_large(&digest, old.place)?;
        self.counts
            .put(&digest, &NamedBlob { row: BlobRow { place, length, crc32, ..old }, namings })
    }

    /// Of a content that a record brings twice the last bytes count. The others may be in a file, which
    /// no row will name: it goes as one does that a row has left.
    pub(super) fn remove_displaced(&self, blobs: &[NewBlob]) -> Result<(), IndexError> {
        // Nearly always each is another content.
        if self.fresh.len() == blobs.len() {
            return Ok(());
        }
        for NewBlob { digest, place, .. } in blobs {
            if self.fresh.get(digest).is_some_and(|kept| kept.place != *place) {
                self.remove_large(digest, *place)?;
            }
        }
        Ok(())
    }

    /// Has the file of a content, if it is in one, removed after the next checkpoint.
    fn remove_large(&self, digest: &Digest, place: BlobPlace) -> Result<(), IndexError> {
        if let BlobPlace::Large(file) = place {
            let mut removals = self.txn.open_table(tables::LARGE_REMOVALS)?;
            removals.insert((digest.as_bytes(), file.start, file.number), ())?;
        }
        Ok(())
    }

    /// Follows contents to the journal's head, where the index still points at the old place.
    pub(super) fn relocate(
        &mut self,
        moves: &[Relocation],
        blobs: &[NewBlob],
    ) -> Result<(), IndexError> {
        let blobs: HashMap<_, _> = blobs.iter().map(|blob| (blob.digest, blob)).collect();
        for Relocation { digest, from } in moves {
            let Some(blob) = blobs.get(digest) else { continue };
            let Some(mut named) = self.blob(digest)? else {
                continue;
            };
            let row = &mut named.row;
            if row.place == *from {
                let (length, before) = (row.length, std::mem::replace(&mut row.place, blob.place));
                self.add_live_bytes(before, length, -1);
                self.add_live_bytes(blob.place, length, 1);
                self.counts.put(digest, &named)?;
            }
        }
        Ok(())
    }
}

/// Bytes that a content keeps of its segment. An empty one counts as one byte, since its segment
/// must not go without it.
pub(crate) fn live_bytes_of(length: u64) -> u64 {
    length.max(1)
}

/// By how much the live bytes of segments change.
pub(crate) type LiveBytes = BTreeMap<SegmentId, i64>;

/// Counts bytes of a place in or out (`sign` 1 or -1).
pub(crate) fn add_live_bytes(live_bytes: &mut LiveBytes, place: BlobPlace, length: u64, sign: i64) {
    if let BlobPlace::Segment { segment, .. } = place {
        let bytes = i64::try_from(live_bytes_of(length)).unwrap_or(i64::MAX);
        *live_bytes.entry(segment).or_default() += sign * bytes;
    }
}

/// Adds the changes of live bytes to their rows.
pub(crate) fn write_live_bytes(
    txn: &WriteTransaction,
    live_bytes: &LiveBytes,
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

#[cfg(test)]
mod tests;
