//! `Engine`: everything that callers may ask of the store (skeleton: signatures are final).
use crate::error::*;
use crate::model::change::SourceAfterMerge;
use crate::model::*;
use crate::stubs::*;
use std::path::PathBuf;
use std::sync::Arc;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bytes that redb may use to cache the index.
    pub index_cache_bytes: usize,
    /// Bytes of one journal segment.
    pub segment_bytes: u64,
    /// Threads that run dataset actors.
    pub arbiters: usize,
}
impl Default for EngineOptions {
    fn default() -> Self {
        unimplemented!()
    }
}

/// Whether the store takes changes.
#[derive(Debug, Clone)]
pub enum Health {
    /// It does.
    Ready,
    /// It does not until it is opened again (I7); the text says why.
    ReadOnly { reason: String },
    /// It is being shut down.
    Stopping,
}

/// The store; clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Engine {
    _inner: Arc<()>,
}

#[expect(
    clippy::unused_async,
    clippy::missing_errors_doc,
    unused_variables,
    reason = "skeleton"
)]
impl Engine {
    /// Opens (or creates, if absent or empty) the store in a directory. Blocks; spawns threads.
    pub fn open(directory: PathBuf, options: EngineOptions) -> Result<Self, OpenError> {
        unimplemented!()
    }
    /// Whether this open created the store.
    pub fn is_new(&self) -> bool {
        unimplemented!()
    }
    /// Refuses further changes, finishes what is accepted, checkpoints, stops all threads.
    pub async fn shutdown(&self) -> Result<(), MutationError> {
        unimplemented!()
    }
    pub fn health(&self) -> Health {
        unimplemented!()
    }

    /// One committed state, for reading. Microseconds; hold it at most a few seconds; reading may
    /// touch the disk on cache misses.
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        unimplemented!()
    }

    /// `length`: Content-Length if the client gave one. Waits (bounded) for memory budget.
    pub async fn begin_upload(&self, length: Option<u64>) -> Result<Upload, MutationError> {
        unimplemented!()
    }
    pub async fn add_file(
        &self,
        dataset: DatasetId,
        filename: &str,
        content: StagedBlob,
    ) -> Result<StoredFile, MutationError> {
        unimplemented!()
    }
    /// All or nothing; the body is a zip.
    pub async fn add_files(
        &self,
        dataset: DatasetId,
        archive: Spooled,
    ) -> Result<Vec<StoredFile>, IntakeError> {
        unimplemented!()
    }
    pub async fn delete_file(
        &self,
        dataset: DatasetId,
        filename: &str,
    ) -> Result<StoredFile, MutationError> {
        unimplemented!()
    }
    pub async fn set_metadata(
        &self,
        dataset: DatasetId,
        filename: &str,
        metadata: String,
    ) -> Result<(), MutationError> {
        unimplemented!()
    }

    pub async fn create_dataset(&self, dataset: NewDataset) -> Result<Dataset, MutationError> {
        unimplemented!()
    }
    pub async fn update_dataset(
        &self,
        dataset: DatasetId,
        patch: DatasetPatch,
    ) -> Result<Dataset, MutationError> {
        unimplemented!()
    }
    pub async fn destroy_dataset(&self, dataset: DatasetId) -> Result<Dataset, MutationError> {
        unimplemented!()
    }
    pub async fn reinstate_dataset(&self, dataset: DatasetId) -> Result<Dataset, MutationError> {
        unimplemented!()
    }
    pub async fn hard_delete_dataset(&self, dataset: DatasetId) -> Result<Dataset, MutationError> {
        unimplemented!()
    }
    pub async fn clear_dataset(&self, dataset: DatasetId) -> Result<Dataset, MutationError> {
        unimplemented!()
    }
    /// `only_files: None` copies all; unknown names are passed over.
    pub async fn copy_dataset(
        &self,
        source: DatasetId,
        new_name: Option<String>,
        only_files: Option<Vec<String>>,
        creator: Option<UserId>,
    ) -> Result<Dataset, MutationError> {
        unimplemented!()
    }
    pub async fn merge_datasets(
        &self,
        target: DatasetId,
        source: DatasetId,
        after: SourceAfterMerge,
    ) -> Result<Dataset, MutationError> {
        unimplemented!()
    }

    pub async fn create_user(&self, user: NewUser) -> Result<User, MutationError> {
        unimplemented!()
    }
    pub async fn set_password(
        &self,
        user: UserId,
        password_hash: String,
    ) -> Result<User, MutationError> {
        unimplemented!()
    }
    pub async fn create_team(&self, team: NewTeam) -> Result<Team, MutationError> {
        unimplemented!()
    }
    pub async fn add_member(
        &self,
        team: TeamId,
        user: UserId,
        permissions: PermissionLevel,
        creator: Option<UserId>,
    ) -> Result<Membership, MutationError> {
        unimplemented!()
    }
    pub async fn create_project(&self, project: NewProject) -> Result<Project, MutationError> {
        unimplemented!()
    }
    pub async fn create_licence(&self, licence: NewLicence) -> Result<Licence, MutationError> {
        unimplemented!()
    }
    pub async fn create_node(&self, node: NewNode) -> Result<Node, MutationError> {
        unimplemented!()
    }
    /// Remembered in memory, written at most once a minute. Reads through a snapshot show it.
    pub fn touch_login(&self, user: UserId) {
        unimplemented!()
    }
    /// As `touch_login`, for a node's `last_seen`.
    pub fn touch_node(&self, node: NodeId) {
        unimplemented!()
    }

    /// Opens a content for reading; `Ok(None)` if no row names it any longer.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>, ReadError> {
        unimplemented!()
    }

    /// A whole dataset as an archive; describes one committed state. `Ok(None)`: no such dataset.
    pub async fn archive(
        &self,
        dataset: DatasetId,
        format: ArchiveFormat,
    ) -> Result<Option<Archive>, ReadError> {
        unimplemented!()
    }

    /// A place for a response or intake of any size: memory first, then a nameless file.
    pub fn spool(&self) -> Spool {
        unimplemented!()
    }
    /// As `spool`, for bytes that arrive from the network.
    pub fn begin_spool_upload(&self) -> SpoolUpload {
        unimplemented!()
    }
}
