//! A dataset and its files as readers see them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DatasetId, Digest, Filename, LayerId, LicenceId, ProjectId, Timestamp, UserId};

/// A dataset's header: everything about it but its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// Primary key.
    pub id: DatasetId,
    /// Name; with project and version unique among the datasets that are not soft-deleted.
    pub name: String,
    /// Free text.
    #[serde(with = "shared_text")]
    pub description: Arc<str>,
    /// Counts from 1.
    pub version: u64,
    /// Version that this one was copied from, if it was made as a new version.
    pub previous_version: Option<u64>,
    /// The owning project.
    pub project: ProjectId,
    /// The licence its content is under.
    pub licence: LicenceId,
    /// Free text.
    #[serde(with = "shared_text")]
    pub tags: Arc<str>,
    /// Whether strangers may see the header.
    pub is_public: bool,
    /// Who made it; `None` if that user is no longer known.
    pub creator: Option<UserId>,
    /// When it was made.
    pub creation_time: Timestamp,
    /// When it was soft-deleted, if it is.
    pub deletion_time: Option<Timestamp>,
    /// Number of files; kept true by whoever changes rows.
    pub file_count: u64,
    /// Bytes of all files together, each counted as often as it is named.
    pub file_bytes: u64,
    /// Grows by one with every change to the dataset; a precondition of merges and copies.
    pub(crate) revision: u64,
    /// The layers of its file tree, the mutable one first.
    pub(crate) stack: Vec<StackEntry>,
}

#[cfg(feature = "simulation")]
#[cfg(test)]
impl Dataset {
    /// The first dataset, with these layers and a header that says nothing of files in them.
    pub(crate) fn with_stack(stack: Vec<StackEntry>) -> Self {
        Self {
            id: DatasetId(1),
            name: "name".into(),
            description: "".into(),
            version: 1,
            previous_version: None,
            project: ProjectId(1),
            licence: LicenceId(1),
            tags: "".into(),
            is_public: false,
            creator: None,
            creation_time: Timestamp(0),
            deletion_time: None,
            file_count: 0,
            file_bytes: 0,
            revision: 0,
            stack,
        }
    }
}

impl Dataset {
    /// Bytes of its free texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.description.len().saturating_add(self.tags.len())
    }

    /// The same for those who keep many: what its texts say is nothing to its files.
    pub(crate) fn without_texts(self) -> Self {
        Self { description: "".into(), tags: "".into(), ..self }
    }

    /// Layers of its file tree. For tests.
    pub fn layer_count(&self) -> usize {
        self.stack.len()
    }
}

/// A text that copies of a header share, encoded as any other.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}

/// A dataset's view of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StackEntry {
    pub(crate) layer: LayerId,
    /// Set by `clear` on the layers that were there: their metadata counts no longer.
    pub(crate) metadata_void: bool,
}

/// What a caller gives to make a dataset; times and version are the engine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Dataset`")]
pub struct NewDataset {
    pub name: String,
    pub description: String,
    pub project: ProjectId,
    pub licence: LicenceId,
    pub tags: String,
    pub is_public: bool,
    pub creator: Option<UserId>,
}

/// Field by field change of a header; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Dataset`")]
pub struct DatasetPatch {
    pub name: Option<String>,
    pub description: Option<String>,
    pub project: Option<ProjectId>,
    pub licence: Option<LicenceId>,
    pub tags: Option<String>,
    pub is_public: Option<bool>,
}

/// What a dataset knows of one file, without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Names the content.
    pub digest: Digest,
    /// Bytes of the content.
    pub length: u64,
    /// CRC-32 (IEEE) of the content, as zip and gzip want it.
    pub crc32: u32,
    /// When the file was added to a dataset; copies keep it.
    pub creation_time: Timestamp,
    /// Whether compressing the content is worth the time; an estimate taken on its way in.
    pub compressible: bool,
}

/// A file that was added to or removed from a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct StoredFile {
    pub filename: Filename,
    pub digest: Digest,
}
