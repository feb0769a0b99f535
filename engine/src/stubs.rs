//! Signatures of the readers' types (skeleton; the final types live in their modules).
use crate::error::*;
use crate::model::*;
use bytes::Bytes;
use std::io;

/// One committed state. Blocking (page cache misses); Send, not Clone.
#[derive(Debug)]
pub struct Snapshot;
#[expect(clippy::missing_errors_doc, unused_variables, reason = "skeleton")]
impl Snapshot {
    pub fn dataset(&self, id: DatasetId) -> Result<Option<Dataset>, ReadError> {
        unimplemented!()
    }
    /// In order of id, soft-deleted ones included.
    pub fn datasets(
        &self,
    ) -> Result<impl Iterator<Item = Result<Dataset, ReadError>> + '_, ReadError> {
        Ok(std::iter::empty())
    }
    /// Exact look-up, no normalisation; an unlawful name is simply not there.
    pub fn file(&self, dataset: &Dataset, filename: &str) -> Result<Option<FileRecord>, ReadError> {
        unimplemented!()
    }
    /// In order of name (bytes).
    pub fn files(
        &self,
        dataset: &Dataset,
    ) -> Result<impl Iterator<Item = Result<(String, FileRecord), ReadError>> + '_, ReadError> {
        Ok(std::iter::empty())
    }
    /// `None`: no such file. A file without metadata has "".
    pub fn metadata(&self, dataset: &Dataset, filename: &str) -> Result<Option<String>, ReadError> {
        unimplemented!()
    }
    /// Every file's name and metadata ("" where none), in order of name.
    pub fn all_metadata(
        &self,
        dataset: &Dataset,
    ) -> Result<impl Iterator<Item = Result<(String, String), ReadError>> + '_, ReadError> {
        Ok(std::iter::empty())
    }
    /// The record of a file of this dataset that holds this content (scans; first in name order).
    pub fn file_by_digest(
        &self,
        dataset: &Dataset,
        digest: &Digest,
    ) -> Result<Option<(String, FileRecord)>, ReadError> {
        unimplemented!()
    }
    pub fn user(&self, id: UserId) -> Result<Option<User>, ReadError> {
        unimplemented!()
    }
    pub fn user_by_name(&self, username: &str) -> Result<Option<User>, ReadError> {
        unimplemented!()
    }
    pub fn users(&self) -> Result<impl Iterator<Item = Result<User, ReadError>> + '_, ReadError> {
        Ok(std::iter::empty())
    }
    pub fn team(&self, id: TeamId) -> Result<Option<Team>, ReadError> {
        unimplemented!()
    }
    pub fn teams(&self) -> Result<impl Iterator<Item = Result<Team, ReadError>> + '_, ReadError> {
        Ok(std::iter::empty())
    }
    /// Ended memberships included (`deletion_time`).
    pub fn membership(&self, team: TeamId, user: UserId) -> Result<Option<Membership>, ReadError> {
        unimplemented!()
    }
    pub fn memberships(
        &self,
        team: TeamId,
    ) -> Result<impl Iterator<Item = Result<Membership, ReadError>> + '_, ReadError> {
        Ok(std::iter::empty())
    }
    pub fn project(&self, id: ProjectId) -> Result<Option<Project>, ReadError> {
        unimplemented!()
    }
    pub fn projects(
        &self,
    ) -> Result<impl Iterator<Item = Result<Project, ReadError>> + '_, ReadError> {
        Ok(std::iter::empty())
    }
    pub fn licence(&self, id: LicenceId) -> Result<Option<Licence>, ReadError> {
        unimplemented!()
    }
    pub fn licences(
        &self,
    ) -> Result<impl Iterator<Item = Result<Licence, ReadError>> + '_, ReadError> {
        Ok(std::iter::empty())
    }
    pub fn node(&self, id: NodeId) -> Result<Option<Node>, ReadError> {
        unimplemented!()
    }
    pub fn nodes(&self) -> Result<impl Iterator<Item = Result<Node, ReadError>> + '_, ReadError> {
        Ok(std::iter::empty())
    }
}

/// A content on its way in. Dropping it at any time leaves nothing behind.
#[derive(Debug)]
pub struct Upload;
#[expect(
    clippy::unused_async,
    clippy::missing_errors_doc,
    unused_variables,
    reason = "skeleton"
)]
impl Upload {
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), MutationError> {
        unimplemented!()
    }
    pub async fn finish(self) -> Result<StagedBlob, MutationError> {
        unimplemented!()
    }
}
/// A content that has arrived whole and is kept until it is dropped or named by a file.
#[derive(Debug)]
pub struct StagedBlob;
impl StagedBlob {
    pub fn digest(&self) -> Digest {
        unimplemented!()
    }
    pub fn length(&self) -> u64 {
        unimplemented!()
    }
}

/// A content, open for reading; stays readable while this lives.
#[derive(Debug, Clone)]
pub struct Blob;
#[expect(clippy::missing_errors_doc, unused_variables, reason = "skeleton")]
impl Blob {
    pub fn digest(&self) -> Digest {
        unimplemented!()
    }
    pub fn length(&self) -> u64 {
        unimplemented!()
    }
    /// Streams a range of bytes (must lie within the content). Reads that are the whole content
    /// are checked against the digest (I9); a mismatch is an error before the last chunk.
    pub fn stream(&self, range: std::ops::Range<u64>) -> BlobStream {
        unimplemented!()
    }
}
/// Chunks of a content in order.
#[derive(Debug)]
pub struct BlobStream;
#[expect(clippy::unused_async, reason = "skeleton")]
impl BlobStream {
    /// Cancel-safe. `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        unimplemented!()
    }
}

/// Kinds of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// Stored zip; its length is known.
    Zip,
    /// One gzip member.
    TarGz,
}
/// An archive on its way out.
#[derive(Debug)]
pub struct Archive;
#[expect(clippy::unused_async, reason = "skeleton")]
impl Archive {
    /// The dataset it describes.
    pub fn dataset(&self) -> &Dataset {
        unimplemented!()
    }
    /// Bytes, if known before the end.
    pub fn length(&self) -> Option<u64> {
        unimplemented!()
    }
    /// Cancel-safe. `None` at the end. An error means the archive is cut: break the connection.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        unimplemented!()
    }
}

/// Bytes of any length on their way somewhere: memory first, then a nameless file. Blocking.
#[derive(Debug)]
pub struct Spool;
#[expect(clippy::missing_errors_doc, reason = "skeleton")]
impl Spool {
    pub fn finish(self) -> io::Result<Spooled> {
        unimplemented!()
    }
}
#[expect(unused_variables, reason = "skeleton")]
impl io::Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unimplemented!()
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
/// As `Spool`, from async code.
#[derive(Debug)]
pub struct SpoolUpload;
#[expect(
    clippy::unused_async,
    clippy::missing_errors_doc,
    unused_variables,
    reason = "skeleton"
)]
impl SpoolUpload {
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), MutationError> {
        unimplemented!()
    }
    pub async fn finish(self) -> Result<Spooled, MutationError> {
        unimplemented!()
    }
}
/// What a spool holds.
#[derive(Debug)]
pub struct Spooled;
#[expect(
    clippy::missing_errors_doc,
    unused_variables,
    clippy::len_without_is_empty,
    reason = "skeleton"
)]
impl Spooled {
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    /// Some or all bytes from `offset`: at most a chunk (256 KiB). Async; `Ok(empty)` at the end.
    pub async fn chunk(&self, offset: u64) -> io::Result<Bytes> {
        unimplemented!()
    }
}
