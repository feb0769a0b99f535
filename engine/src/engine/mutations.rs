//! Changing: each call returns once its change is durable and every read from then on sees it (I1), or
//! it is refused.
//!
//! # Cancellation
//! A caller that drops the future of a change that was sent changes nothing about the change:
//! it is made, or refused, whole.

use std::sync::Arc;

use bytes::Bytes;

use super::texts::Room;
use super::{Engine, Inner};
use crate::blobs::{self, StagedBlob};
use crate::bulk::{self, Bulk};
use crate::dataset::message::{
    AddFile, ClearDataset, CopyDataset, DeleteFile, DestroyDataset, HardDeleteDataset,
    PurgeDataset, ReinstateDataset, SetMetadata, UpdateDataset,
};
use crate::error::{IntakeError, MutationError};
use crate::index::apply::Applied;
use crate::limits::{
    BULK_CHANGES_WAITING_MAX, CHANGES_QUEUED_MAX, DATASET_QUEUE_MAX, METADATA_BYTES_MAX,
    PLAN_ATTEMPTS_MAX,
};
use crate::model::change::{Change, CopyTarget, SourceAfterMerge};
use crate::model::{
    Dataset, DatasetId, DatasetPatch, FileCondition, NewDataset, RequestedFilename, StoredFile,
    Timestamp, UploadTerms, UserId,
};
use crate::spool::Spooled;
use crate::store::Store;
use crate::turns::Turn;

/// A content on its way in. Dropping it at any time leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    upload: blobs::Upload,
    store: Arc<Store>,
}

impl Upload {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// There is no space or memory for them, or the content is too long; nothing remains of it.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), MutationError> {
        self.upload.write(chunk).await
    }

    /// As [`Upload::write`]; but where the first bytes are all that the content was said to have, and
    /// not few, they may stay where they are until the content is in the journal. They must never change,
    /// and be part of no more memory than they count as,
    /// [`KEPT_PIECE_MEMORY_BYTES`](crate::limits::KEPT_PIECE_MEMORY_BYTES).
    ///
    /// # Errors
    /// As for [`Upload::write`].
    pub async fn take(&mut self, chunk: Bytes) -> Result<(), MutationError> {
        self.upload.take(chunk).await
    }

    /// Gives its memory to those who wait for some; for while its sender lets it wait.
    ///
    /// # Errors
    /// As for [`Upload::write`].
    pub async fn rest(&mut self) -> Result<(), MutationError> {
        self.upload.rest().await
    }

    /// Ends the content. It is pinned, and kept until it is dropped or a file names it.
    ///
    /// # Errors
    /// As for [`Upload::write`].
    pub async fn finish(self) -> Result<StagedBlob, MutationError> {
        let store = self.store;
        self.upload.finish(move |digest| store.knows(digest)).await
    }
}

/// Plans a small change of a file again where it stood on another one that was refused, such as a
/// replacement for which there was no space.
pub(super) async fn again_if_moved<T, F>(attempt: impl Fn() -> F) -> Result<T, MutationError>
where
    F: Future<Output = Result<T, MutationError>>,
{
    for _ in 1..PLAN_ATTEMPTS_MAX {
        match attempt().await {
            Err(MutationError::Moved { .. }) => {}
            outcome => return outcome,
        }
    }
    attempt().await
}

/// Takes what a change made out of its verdict; the committer answers each change in kind.
macro_rules! made {
    ($verdict:expr, $kind:ident) => {
        match $verdict? {
            Applied::$kind(made) => Ok(*made),
            other => {
                tracing::error!(answer = ?other, "a change was answered with another's result");
                Err(MutationError::Panicked)
            }
        }
    };
}

pub(super) use made;

pub(super) fn expect_metadata_fits(metadata: &str) -> Result<(), MutationError> {
    if metadata.len() <= METADATA_BYTES_MAX {
        return Ok(());
    }
    let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let (actual, limit) = (bytes(metadata.len()), bytes(METADATA_BYTES_MAX));
    Err(MutationError::TooLarge { what: "the metadata", actual, limit })
}

impl Engine {
    /// Refuses, as the change itself would be, what is to be added to a dataset that is behind: to
    /// be asked before a content is taken, since under overload taking and hashing what is then
    /// refused would leave little for the others.
    ///
    /// # Errors
    /// `Busy`, or the store takes nothing.
    pub fn expect_room(&self, dataset: DatasetId) -> Result<(), MutationError> {
        let Inner { committer, supervisor, store, .. } = &*self.inner;
        if let Some(refusal) = committer.refusal() {
            return Err(refusal);
        }
        if committer.is_full() {
            store.counters.refused_by_journal.increment();
            return Err(MutationError::Busy { what: "the server", waiting: CHANGES_QUEUED_MAX });
        }
        if supervisor.is_full(dataset) {
            store.counters.refused_by_dataset.increment();
            return Err(MutationError::Busy { what: "the dataset", waiting: DATASET_QUEUE_MAX });
        }
        Ok(())
    }

    /// Begins an upload; `length` is what the client announced, if it did. Memory is kept for what
    /// comes, from the first byte on.
    ///
    /// # Errors
    /// `TooLarge`, or the store takes nothing.
    #[expect(clippy::unused_async, reason = "callers need not know when it waits")]
    pub async fn begin_upload(&self, length: Option<u64>) -> Result<Upload, MutationError> {
        if let Some(refusal) = self.inner.committer.refusal() {
            return Err(refusal);
        }
        let upload = self.inner.store.blobs.begin_upload(length)?;
        Ok(Upload { upload, store: Arc::clone(&self.inner.store) })
    }

    /// Adds a file under a name as the wire gives it; one that ends in a slash asks for a number.
    ///
    /// # Errors
    /// See [`MutationError`]; nothing was added.
    pub async fn add_file(
        &self,
        dataset: DatasetId,
        filename: &str,
        content: StagedBlob,
    ) -> Result<StoredFile, MutationError> {
        let requested = RequestedFilename::parse(filename).map_err(|reason| {
            MutationError::BadFilename { filename: filename.to_owned(), reason }
        })?;
        self.upload_file(dataset, requested, content, UploadTerms::default()).await
    }

    /// As [`Engine::add_file`], of a name that was looked at; the terms may let it take the place of a file
    /// of its name, whose metadata then ends, and ask for something of that file.
    ///
    /// # Errors
    /// `ConditionFailed`, and those of [`Engine::add_file`]; nothing was changed.
    pub async fn upload_file(
        &self,
        dataset: DatasetId,
        filename: RequestedFilename,
        content: StagedBlob,
        terms: UploadTerms,
    ) -> Result<StoredFile, MutationError> {
        let message = AddFile { filename, content, terms };
        let (file, ticket) = self.ask(dataset, message).await?;
        ticket.redeem().await?;
        Ok(file)
    }

    /// Adds all files of a zip archive, or none (I6).
    ///
    /// # Errors
    /// See [`IntakeError`]; nothing was added.
    pub async fn add_files(
        &self,
        dataset: DatasetId,
        archive: Spooled,
    ) -> Result<Vec<StoredFile>, IntakeError> {
        let stage = move |bulk| async move { bulk::stage_zip(&bulk, dataset, archive).await };
        self.add_staged(dataset, stage).await
    }

    /// Removes a file by its exact name.
    ///
    /// # Errors
    /// See [`MutationError`]; nothing was removed.
    pub async fn delete_file(
        &self,
        dataset: DatasetId,
        filename: &str,
    ) -> Result<StoredFile, MutationError> {
        self.delete_file_if(dataset, filename, FileCondition::default()).await
    }

    /// Removes a file by its exact name, if a condition holds of it.
    ///
    /// # Errors
    /// `ConditionFailed`, and those of [`Engine::delete_file`]; nothing was removed.
    pub async fn delete_file_if(
        &self,
        dataset: DatasetId,
        filename: &str,
        condition: FileCondition,
    ) -> Result<StoredFile, MutationError> {
        let delete = || async {
            let (filename, condition) = (filename.to_owned(), condition.clone());
            let (file, ticket) = self.ask(dataset, DeleteFile { filename, condition }).await?;
            ticket.redeem().await?;
            Ok(file)
        };
        again_if_moved(delete).await
    }

    /// Sets a file's metadata by its exact name.
    ///
    /// # Errors
    /// See [`MutationError`]; nothing was set.
    pub async fn set_metadata(
        &self,
        dataset: DatasetId,
        filename: &str,
        metadata: String,
    ) -> Result<(), MutationError> {
        self.set_metadata_if(dataset, filename, metadata, FileCondition::default()).await
    }

    /// Sets a file's metadata by its exact name, if a condition holds of what it is.
    ///
    /// # Errors
    /// `ConditionFailed`, `Moved` if it was to be set of a content that was refused meanwhile, and those of [`Engine::set_metadata`]; nothing was set.
    pub async fn set_metadata_if(
        &self,
        dataset: DatasetId,
        filename: &str,
        metadata: String,
        condition: FileCondition,
    ) -> Result<(), MutationError> {
        expect_metadata_fits(&metadata)?;
        let _room = self.room_for_text(dataset, metadata.len())?;
        let message = SetMetadata { filename: filename.to_owned(), metadata, condition };
        let ((), ticket) = self.ask(dataset, message).await?;
        ticket.redeem().await.map(drop)
    }

    fn room_for_text(&self, dataset: DatasetId, bytes: usize) -> Result<Room<'_>, MutationError> {
        self.inner.texts.room(bytes, self.inner.supervisor.has_waiting(dataset))
    }

    /// Makes an empty dataset, version 1.
    ///
    /// # Errors
    /// `Taken`, `ProjectNotFound`, `LicenceNotFound`, or the store takes no changes.
    pub async fn create_dataset(&self, dataset: NewDataset) -> Result<Dataset, MutationError> {
        let change = Change::CreateDataset { dataset, at: Timestamp::now() };
        made!(self.inner.committer.commit(change, self.origin.clone()).await, Dataset)
    }

    /// Changes header fields; `None` leaves a field as it is.
    ///
    /// # Errors
    /// `DatasetNotFound`, `Taken`, `ProjectNotFound`, `LicenceNotFound`, or the store takes no
    /// changes.
    pub async fn update_dataset(
        &self,
        dataset: DatasetId,
        patch: DatasetPatch,
    ) -> Result<Dataset, MutationError> {
        let texts = [&patch.name, &patch.description, &patch.tags];
        let texts = texts.into_iter().flatten().map(String::len);
        let _room = self.room_for_text(dataset, texts.sum())?;
        let ((), ticket) = self.ask(dataset, UpdateDataset { patch }).await?;
        made!(ticket.redeem().await, Dataset)
    }

    /// Soft-deletes; once more changes nothing.
    ///
    /// # Errors
    /// `DatasetNotFound`, or the store takes no changes.
    pub async fn destroy_dataset(&self, dataset: DatasetId) -> Result<Dataset, MutationError> {
        let ((), ticket) = self.ask(dataset, DestroyDataset).await?;
        made!(ticket.redeem().await, Dataset)
    }

    /// Takes a soft deletion back; one that is not deleted stays as it is.
    ///
    /// # Errors
    /// `DatasetNotFound`, `Taken`, or the store takes no changes.
    pub async fn reinstate_dataset(&self, dataset: DatasetId) -> Result<Dataset, MutationError> {
        let ((), ticket) = self.ask(dataset, ReinstateDataset).await?;
        made!(ticket.redeem().await, Dataset)
    }

    /// Removes a dataset for good; gives its last header.
    ///
    /// # Errors
    /// `DatasetNotFound`, or the store takes no changes.
    pub async fn hard_delete_dataset(&self, dataset: DatasetId) -> Result<Dataset, MutationError> {
        let ((), ticket) = self.ask(dataset, HardDeleteDataset).await?;
        made!(ticket.redeem().await, Dataset)
    }

    /// Removes a dataset for good if it is soft-deleted since this very time; gives its last
    /// header.
    ///
    /// # Errors
    /// `Moved` if it was reinstated meanwhile, `DatasetNotFound`, or the store takes no changes.
    pub async fn purge_dataset(
        &self,
        dataset: DatasetId,
        deleted_at: Timestamp,
    ) -> Result<Dataset, MutationError> {
        let ((), ticket) = self.ask(dataset, PurgeDataset { deleted_at }).await?;
        made!(ticket.redeem().await, Dataset)
    }

    /// Makes all metadata of a dataset empty.
    ///
    /// # Errors
    /// `DatasetNotFound`, or the store takes no changes.
    pub async fn clear_dataset(&self, dataset: DatasetId) -> Result<Dataset, MutationError> {
        let ((), ticket) = self.ask(dataset, ClearDataset).await?;
        made!(ticket.redeem().await, Dataset)
    }

    /// Copies a dataset: under a new name, or as its next version. With `only_files` those of
    /// them that are there, otherwise all, which costs the same however many they are.
    ///
    /// # Errors
    /// `DatasetNotFound`, `Taken`, or the store takes no changes.
    pub async fn copy_dataset(
        &self,
        source: DatasetId,
        new_name: Option<String>,
        only_files: Option<Vec<String>>,
        creator: Option<UserId>,
    ) -> Result<Dataset, MutationError> {
        let copy = CopyTarget { new_name, creator, at: Timestamp::now() };
        let verdict = match only_files {
            None => {
                let ((), ticket) = self.ask(source, CopyDataset { copy }).await?;
                ticket.redeem().await
            }
            Some(names) => {
                let copy =
                    move |bulk| async move { bulk::copy_files(&bulk, source, copy, names).await };
                self.to_its_end(copy).await
            }
        };
        made!(verdict, Dataset)
    }

    /// Merges the files of `source` into `target`, which it gives; `after` says what becomes of
    /// the source, in the same change.
    ///
    /// # Errors
    /// See [`MutationError`]; neither dataset was changed.
    pub async fn merge_datasets(
        &self,
        target: DatasetId,
        source: DatasetId,
        after: SourceAfterMerge,
    ) -> Result<Dataset, MutationError> {
        let merge =
            move |bulk| async move { bulk::merge_datasets(&bulk, target, source, after).await };
        made!(self.to_its_end(merge).await, Dataset)
    }

    /// This handle to the store, whose bulk changes keep a turn of the caller's until they end, even if the
    /// caller goes away: what was asked for is in memory for as long.
    #[must_use]
    pub fn holding(self, turn: Option<Turn>) -> Self {
        Self { held: turn.map(Arc::new), ..self }
    }

    /// Runs a bulk change in its turn, as [`Engine::beside_its_caller`] does. `Busy` if too many wait
    /// for theirs.
    pub(super) async fn to_its_end<T, E, F>(
        &self,
        change: impl FnOnce(Bulk) -> F + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<MutationError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send,
    {
        let busy = MutationError::Busy {
            what: "the planning of large changes",
            waiting: BULK_CHANGES_WAITING_MAX,
        };
        let turn = self.inner.bulk_turns.take().await.ok_or(busy)?;
        let in_turn = move |bulk| async move {
            let _turn = turn;
            change(bulk).await
        };
        self.beside_its_caller(in_turn).await
    }

    /// Runs a bulk change to its end even if the caller goes away: its holds and its turns must not
    /// be let go while its plan is still made.
    pub(super) async fn beside_its_caller<T, E, F>(
        &self,
        change: impl FnOnce(Bulk) -> F + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<MutationError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send,
    {
        let (bulk, held) = (self.bulk(), self.held.clone());
        let under_way = tokio::spawn(async move {
            let _held = held;
            change(bulk).await
        });
        under_way.await.unwrap_or(Err(MutationError::Panicked.into()))
    }
}
