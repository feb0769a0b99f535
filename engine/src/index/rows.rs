//! Values of the index that are not part of the model: layers, rows, blobs, large sets.

use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::journal::Position;
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
            (NAMED_VERSION, rest) => codec::decode_front(rest),
            (_, _) => codec::decode(bytes),
        }
    }
}

/// Version of a content's row that says which file names it; version 1 does not.
const NAMED_VERSION: u8 = 2;

/// A row of a file that names a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) layer: LayerId,
    pub(crate) name: String,
}

/// A content's row as it is stored: what is known of it, and one of the rows that name it. Others
/// stand in a table of their own: most contents are named once, and so cost no row more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedBlob {
    pub(crate) row: BlobRow,
    /// There if the content is named at all, but for rows that were restored or written by earlier
    /// versions and not yet completed by opening the store.
    pub(crate) naming: Option<Naming>,
}

impl NamedBlob {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        match &self.naming {
            Some(Naming { layer, name }) => {
                codec::encode_as(NAMED_VERSION, &(&self.row, layer, name))
            }
            None => codec::encode(&self.row),
        }
    }

    /// Reads stored bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (NAMED_VERSION, rest) = codec::split_version(bytes)? else {
            return Ok(Self { row: codec::decode(bytes)?, naming: None });
        };
        let (row, layer, name) = codec::decode_rest(rest)?;
        Ok(Self { row, naming: Some(Naming { layer, name }) })
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
