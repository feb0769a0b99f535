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
