//! Values of the index that are not part of the model: layers, rows, blobs, large sets.

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::journal::Position;
use crate::limits::{NAMINGS_IN_ROW_BYTES_MAX, NAMINGS_IN_ROW_MAX};
use crate::model::change::BlobPlace;
use crate::model::{Digest, FileRecord, LayerId, Sequence, Usage};

/// What a layer says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FileRow {
    /// It is this file.
    File(FileRecord),
    /// It is no file, whatever lower layers say.
    Tombstone,
}

impl FileRow {
    /// Decodes as [`codec::decode`] does, in half the time: a digest's bytes are taken at once and
    /// not one by one, which decides how long a walk over many files takes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let Some(([0, digest @ ..], rest)) =
            codec::without_version(bytes)?.split_first_chunk::<33>()
        else {
            return codec::decode(bytes);
        };
        let (length, crc32, creation_time, compressible) = codec::decode_rest(rest)?;
        let digest = Digest(*digest);
        Ok(Self::File(FileRecord { digest, length, crc32, creation_time, compressible }))
    }
}

/// A layer's counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRow {
    /// Stacks that name it; with more than one it is shared and never changes again.
    pub(crate) stacks: u64,
    /// File rows and tombstones.
    pub(crate) rows: u64,
    /// Metadata rows.
    pub(crate) metadata_rows: u64,
}

impl LayerRow {
    /// Rows that a fold of it reads.
    pub(crate) fn all(&self) -> u64 {
        self.rows + self.metadata_rows
    }

    /// Whether the layer says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0 && self.metadata_rows == 0
    }
}

/// What the index knows of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobRow {
    pub(crate) place: BlobPlace,
    /// Bytes.
    pub(crate) length: u64,
    pub(crate) crc32: u32,
    /// File rows that name it (I4).
    pub(crate) count: u64,
    /// Change that took the last row away; meaningful while `count` is zero.
    pub(crate) died: Sequence,
}

impl BlobRow {
    /// Decodes the row of a content and leaves out what it says of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        match codec::split_version(bytes)? {
            (NAMED_VERSION | NAMED_AGAIN_VERSION, rest) => codec::decode_front(rest),
            (_, _) => codec::decode(bytes),
        }
    }
}

/// Version of a content's row that says which file names it; version 1 does not.
const NAMED_VERSION: u8 = 2;

/// Version of a content's row that says of several files that they name it.
const NAMED_AGAIN_VERSION: u8 = 3;

/// A row of a file that names a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Naming {
    pub(crate) layer: LayerId,
    pub(crate) name: String,
}

impl Naming {
    fn is(&self, layer: LayerId, name: &str) -> bool {
        self.layer == layer && self.name == name
    }
}

/// A content's row as it is stored: what is known of it, and a few of the rows that name it. Others
/// stand in a table of their own: most contents are named once or a few times, and so cost no row
/// more, which would lie on a page of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedBlob {
    pub(crate) row: BlobRow,
    /// At least one if the content is named at all, but for rows that were restored or written by
    /// earlier versions and not yet completed by opening the store.
    pub(crate) namings: Vec<Naming>,
}

impl NamedBlob {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        match self.namings.as_slice() {
            [] => codec::encode(&self.row),
            [naming] => codec::encode_as(NAMED_VERSION, &(&self.row, naming)),
            several => codec::encode_as(NAMED_AGAIN_VERSION, &(&self.row, several)),
        }
    }

    /// Reads stored bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (row, namings) = match codec::split_version(bytes)? {
            (NAMED_VERSION, rest) => {
                let (row, naming) = codec::decode_rest(rest)?;
                (row, vec![naming])
            }
            (NAMED_AGAIN_VERSION, rest) => codec::decode_rest(rest)?,
            (_, _) => (codec::decode(bytes)?, Vec::new()),
        };
        Ok(Self { row, namings })
    }

    /// Whether the row itself says that this row of a file names the content.
    pub(crate) fn says(&self, layer: LayerId, name: &str) -> bool {
        self.namings.iter().any(|naming| naming.is(layer, name))
    }

    /// Has the row say that this row of a file names the content, if it has room for that.
    pub(crate) fn enter(&mut self, layer: LayerId, name: &str) -> bool {
        let bytes: usize = self.namings.iter().map(|naming| naming.name.len()).sum();
        let has_room = self.namings.is_empty()
            || self.namings.len() < NAMINGS_IN_ROW_MAX
                && bytes + name.len() <= NAMINGS_IN_ROW_BYTES_MAX;
        if has_room {
            self.namings.push(Naming { layer, name: name.to_owned() });
        }
        has_room
    }

    /// Has the row say no longer that this row of a file names the content; `false` if it did not.
    pub(crate) fn leave(&mut self, layer: LayerId, name: &str) -> bool {
        let position = self.namings.iter().position(|naming| naming.is(layer, name));
        position.map(|position| self.namings.remove(position)).is_some()
    }

    /// The row says of the same name in another layer that it names the content; `false` if it did
    /// not say so of this one.
    pub(crate) fn relabel(&mut self, (from, to): (LayerId, LayerId), name: &str) -> bool {
        let naming = self.namings.iter_mut().find(|naming| naming.is(from, name));
        naming.map(|naming| naming.layer = to).is_some()
    }

    /// Whether some rows of files that name the content stand in the other table.
    pub(crate) fn has_others(&self) -> bool {
        u64::try_from(self.namings.len()).is_ok_and(|here| here < self.row.count)
    }
}

/// A layer under construction that no stack names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetRow {
    pub(crate) layer: LayerId,
    /// Files in it.
    pub(crate) files: u64,
    /// Bytes of these files.
    pub(crate) bytes: u64,
}

impl SetRow {
    /// What its files hold together.
    pub(crate) fn usage(&self) -> Usage {
        Usage { files: self.files, bytes: self.bytes }
    }
}

/// How far the index reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AppliedRow {
    /// End of the last applied group in the journal.
    pub(crate) position: Position,
    /// The last applied change.
    pub(crate) sequence: Sequence,
    /// How often the store was opened; makes names of this process's files unlike all earlier ones.
    pub(crate) start: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    proptest! {
        #[test]
        fn a_file_row_decodes_as_every_value_does(
            digest: [u8; 32], length: u64, crc32: u32, time: i64, compressible: bool, cut in 0usize..60,
        ) {
            let creation_time = Timestamp(time);
            let digest = Digest(digest);
            let record = FileRecord { digest, length, crc32, creation_time, compressible };
            for row in [FileRow::File(record), FileRow::Tombstone] {
                let mut bytes = codec::encode(&row).unwrap();
                prop_assert_eq!(FileRow::decode(&bytes).unwrap(), row);
                bytes.push(0);
                prop_assert!(FileRow::decode(&bytes).is_err());
                bytes.pop();
                bytes.truncate(cut.min(bytes.len() - 1));
                prop_assert!(FileRow::decode(&bytes).is_err());
            }
        }
    }
}
