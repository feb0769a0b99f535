//! Values of the index that are not part of the model: layers, rows, blobs, large sets.

use serde::{Deserialize, Serialize};

use crate::journal::Position;
use crate::model::change::BlobPlace;
use crate::model::{FileRecord, LayerId, Sequence};

/// What a layer says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FileRow {
    /// It is this file.
    File(FileRecord),
    /// It is no file, whatever lower layers say.
    Tombstone,
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
