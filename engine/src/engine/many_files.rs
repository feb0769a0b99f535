//! Changing many files at once, and a file's name: each is one change, whole or refused (I6).
//!
//! # Cancellation
//! As for all changes: one that was begun is made, or refused, whole.

use std::collections::BTreeMap;

use super::Engine;
use super::mutations::{again_if_moved, expect_metadata_fits};
use crate::bulk::{self, ClaimedFile, FileSelection, MayRead, Presence};
use crate::dataset::message::RenameFile;
use crate::error::{IntakeError, MutationError, ReadError};
use crate::index::snapshot::Snapshot;
use crate::model::{Dataset, DatasetId, RequestedFilename, StoredFile};

impl Engine {
    /// Gives a file, by its exact name, another name: one as the wire gives it, to which the rules
    /// of [`Engine::add_file`] apply. Content, metadata and time of creation come along.
    ///
    /// # Errors
    /// See [`MutationError`]; the file has its name still.
    pub async fn rename_file(
        &self,
        dataset: DatasetId,
        from: &str,
        to: &str,
    ) -> Result<StoredFile, MutationError> {
        let requested = RequestedFilename::parse(to)
            .map_err(|reason| MutationError::BadFilename { filename: to.to_owned(), reason })?;
        let rename = || async {
            let message = RenameFile { from: from.to_owned(), to: requested.clone() };
            let (file, ticket) = self.ask(dataset, message).await?;
            ticket.redeem().await?;
            Ok(file)
        };
        again_if_moved(rename).await
    }

    /// Says of files that somebody has whether the dataset has them and whether their contents
    /// must be sent, in the state that `snapshot` shows. `may_read` says in which datasets the
    /// caller may read. Blocks for some ten microseconds a file, and asks `go_on` before each whether
    /// anybody still waits for that.
    ///
    /// # Errors
    /// The index, or a right, cannot be read, or that of `go_on`.
    pub fn check_files<E: From<ReadError>>(
        &self,
        snapshot: &Snapshot,
        dataset: &Dataset,
        files: &[ClaimedFile],
        may_read: &MayRead,
        go_on: impl Fn() -> Result<(), E>,
    ) -> Result<Vec<Presence>, E> {
        bulk::check_files(&self.inner.store, snapshot, dataset, files, may_read, go_on)
    }

    /// Adds files by the digests of their contents, which a dataset that `may_read` permits must
    /// show, in one change (I6).
    ///
    /// # Errors
    /// `ContentsUnknown` names those that must be sent, or what [`Engine::add_files`] refuses;
    /// nothing was added.
    pub async fn attach_files(
        &self,
        dataset: DatasetId,
        files: Vec<ClaimedFile>,
        may_read: MayRead,
    ) -> Result<Vec<StoredFile>, IntakeError> {
        let attach =
            move |bulk| async move { bulk::attach_files(&bulk, dataset, files, may_read).await };
        self.to_its_end(attach).await
    }

    /// Removes many files in one change (I6); tells how many.
    ///
    /// # Errors
    /// `FileNotFound` or `FilesNotFound` if a named one is not there, `DuplicateFilename`, or the
    /// store takes no changes; nothing was removed.
    pub async fn delete_files(
        &self,
        dataset: DatasetId,
        selection: FileSelection,
    ) -> Result<u64, MutationError> {
        let delete = move |bulk| async move { bulk::delete_files(&bulk, dataset, selection).await };
        self.to_its_end(delete).await
    }

    /// Sets the metadata of many files, by their exact names, in one change (I6); tells how many.
    ///
    /// # Errors
    /// `FileNotFound` or `FilesNotFound` if one is not there, `TooLarge` for a text, or the store
    /// takes no changes; nothing was set.
    pub async fn set_many_metadata(
        &self,
        dataset: DatasetId,
        metadata: BTreeMap<String, String>,
    ) -> Result<u64, MutationError> {
        metadata.values().try_for_each(|text| expect_metadata_fits(text))?;
        let set =
            move |bulk| async move { bulk::set_many_metadata(&bulk, dataset, metadata).await };
        self.to_its_end(set).await
    }
}
