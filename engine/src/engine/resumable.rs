//! Uploads that go on where they stopped: begun, gone on with, and made a file of.

use super::Engine;
use crate::blobs::{StagedBlob, staging_error};
use crate::error::MutationError;
use crate::limits::INLINE_BYTES_MAX;
use crate::model::{
    DatasetId, Digest, Filename, RequestedFilename, StoredFile, UploadTerms, Usage, UserId,
};
use crate::resumable::{Arrived, ResumableId, ResumablePart, ResumableState, ResumableTerms};

impl Engine {
    /// Begins an upload that goes on over interruptions and restarts.
    ///
    /// # Durability
    /// It is known after a crash when this returns.
    ///
    /// # Errors
    /// It is too long, there are too many, or the disk is full or failed.
    pub async fn begin_resumable(
        &self,
        terms: ResumableTerms,
    ) -> Result<ResumableId, MutationError> {
        if let Some(refusal) = self.inner.committer.refusal() {
            return Err(refusal);
        }
        let filename = terms.filename.clone();
        match RequestedFilename::parse(&filename) {
            Ok(RequestedFilename::Named(_)) => {}
            // The same upload completed twice would get two numbers.
            Ok(RequestedFilename::Numbered(_)) => {
                let reason = crate::model::FilenameError::Directory;
                return Err(MutationError::BadFilename { filename, reason });
            }
            Err(reason) => return Err(MutationError::BadFilename { filename, reason }),
        }
        let resumables = std::sync::Arc::clone(&self.inner.resumables);
        let begun = tokio::task::spawn_blocking(move || resumables.create(terms)).await;
        begun.unwrap_or(Err(MutationError::Panicked))
    }

    /// Takes the right to go on with an upload, from whoever has it, and makes what it brought
    /// durable.
    ///
    /// # Errors
    /// `UploadNotFound` if this owner has none of that name for the dataset, `Busy` if another
    /// request on it does not end, or the disk failed.
    pub async fn resume(
        &self,
        id: ResumableId,
        owner: UserId,
        dataset: DatasetId,
    ) -> Result<ResumablePart, MutationError> {
        let part = self.inner.resumables.take_over(id, owner, dataset).await?;
        let mut part = part.settle().await?;
        part.writer.rewind();
        Ok(part)
    }

    /// How far an upload is.
    pub fn resumable_state(&self, part: &ResumablePart) -> ResumableState {
        self.inner.resumables.state(part)
    }

    /// Takes an upload from whoever goes on with it, gives it up and frees its space. Its bytes need not
    /// be settled for that, so it works where the disk does not.
    ///
    /// # Errors
    /// As [`Self::resume`], but for the disk's.
    pub async fn give_up_resumable(
        &self,
        id: ResumableId,
        owner: UserId,
        dataset: DatasetId,
    ) -> Result<(), MutationError> {
        let part = self.inner.resumables.take_over(id, owner, dataset).await?;
        self.remove_resumable(part).await;
        Ok(())
    }

    /// Gives an upload up and frees its space.
    async fn remove_resumable(&self, part: ResumablePart) {
        let resumables = std::sync::Arc::clone(&self.inner.resumables);
        if tokio::task::spawn_blocking(move || resumables.remove(part)).await.is_err() {
            tracing::error!("removing an upload panicked");
        }
    }

    /// Makes a file of an upload of which all bytes have come; it runs to its end even if the
    /// caller goes away. If the file is there with this very content, it is done: an earlier attempt
    /// may have got so far and no further.
    ///
    /// # Errors
    /// Those of [`Engine::upload_file`], or the disk's, after which the upload is still there and its
    /// last byte is to be sent again; or `OtherDigest`, after which it is not.
    pub async fn complete_resumable(
        &self,
        part: ResumablePart,
    ) -> Result<(ResumablePart, StoredFile), MutationError> {
        let engine = self.clone();
        let completing = tokio::spawn(async move { engine.complete(part).await });
        completing.await.unwrap_or(Err(MutationError::Panicked))
    }

    async fn complete(
        &self,
        part: ResumablePart,
    ) -> Result<(ResumablePart, StoredFile), MutationError> {
        let terms = std::sync::Arc::clone(part.writer.terms());
        let filename = terms.named().ok_or(MutationError::Panicked)?;
        if let Some(digest) = part.writer.added() {
            return Ok((part, StoredFile { filename, digest }));
        }
        let part = part.settle().await?;
        let (part, arrived) = part.arrived().await?;
        let arrived = match arrived {
            Ok(arrived) => arrived,
            Err(error) => {
                if matches!(error, MutationError::OtherDigest { .. }) {
                    self.remove_resumable(part).await;
                }
                return Err(error);
            }
        };
        self.expect_quota(&terms, &filename, arrived.digest)?;
        self.add_arrived(part, arrived, filename).await
    }

    /// Adds the file. Whatever refuses it leaves the upload its bytes.
    pub(crate) async fn add_arrived(
        &self,
        part: ResumablePart,
        arrived: Arrived,
        filename: Filename,
    ) -> Result<(ResumablePart, StoredFile), MutationError> {
        let terms = std::sync::Arc::clone(part.writer.terms());
        let digest = arrived.digest;
        let (part, content) = self.staged(part, arrived).await?;
        let upload = UploadTerms { replaces: terms.replaces, condition: terms.condition.clone() };
        let requested = RequestedFilename::Named(filename.clone());
        let stored = match self.upload_file(terms.dataset, requested, content, upload).await {
            Err(MutationError::FilenameTaken { .. } | MutationError::ConditionFailed { .. })
                if self.is_there(terms.dataset, &filename, digest).await? =>
            {
                StoredFile { filename, digest }
            }
            Err(refused) => {
                self.give_back(part).await;
                return Err(refused);
            }
            Ok(stored) => stored,
        };
        let resumables = std::sync::Arc::clone(&self.inner.resumables);
        let noted = tokio::task::spawn_blocking(move || {
            let mut part = part;
            resumables.note_added(&mut part, digest).map(|()| part)
        });
        let part = noted.await.unwrap_or(Err(MutationError::Panicked))?;
        Ok((part, stored))
    }

    /// After a refusal: makes the bytes the upload's own again, where they are the store's by now.
    /// Where that fails, the next request on the upload tries again.
    async fn give_back(&self, part: ResumablePart) {
        if self.inner.committer.refusal().is_some() {
            // The disk has failed, and replay decides what became of the change.
            return;
        }
        let id = part.id;
        let regained = part.blocking(|writer| writer.regain().map_err(staging_error)).await;
        if let Err(error) | Ok((_, Err(error))) = regained {
            tracing::warn!(%id, %error, "an upload's bytes could not be copied");
        }
    }

    /// Refuses what the team's quota has no room for while the bytes are still the upload's: after a
    /// change that is refused once it is in the journal they would have to be copied.
    fn expect_quota(
        &self,
        terms: &ResumableTerms,
        filename: &Filename,
        digest: Digest,
    ) -> Result<(), MutationError> {
        let snapshot = self.inner.store.snapshot_as_applied()?;
        let Some(header) = snapshot.dataset(terms.dataset)? else { return Ok(()) };
        let added = match snapshot.file(&header, filename.as_str())? {
            Some(before) if before.digest == digest => return Ok(()),
            Some(before) => Usage { files: 0, bytes: terms.length.saturating_sub(before.length) },
            None => Usage { files: 1, bytes: terms.length },
        };
        snapshot.expect_room(header.project, added)
    }

    #[cfg(test)]
    pub(crate) fn resumables(&self) -> &crate::resumable::Resumables {
        &self.inner.resumables
    }

    async fn is_there(
        &self,
        dataset: DatasetId,
        filename: &Filename,
        digest: Digest,
    ) -> Result<bool, MutationError> {
        let snapshot = self.inner.store.snapshot_soon().await?;
        let Some(header) = snapshot.dataset(dataset)? else { return Ok(false) };
        let file = snapshot.file(&header, filename.as_str())?;
        Ok(file.is_some_and(|record| record.digest == digest))
    }

    /// The content, pinned and where the journal wants it (I2, I3).
    async fn staged(
        &self,
        part: ResumablePart,
        arrived: Arrived,
    ) -> Result<(ResumablePart, StagedBlob), MutationError> {
        if arrived.length <= INLINE_BYTES_MAX {
            let (part, bytes) =
                part.blocking(|writer| writer.bytes().map_err(staging_error)).await?;
            let mut upload = self.begin_upload(Some(arrived.length)).await?;
            upload.write(&bytes?).await?;
            return Ok((part, upload.finish().await?));
        }
        let store = std::sync::Arc::clone(&self.inner.store);
        let publish = move |writer: &mut crate::resumable::Writer| {
            let digest = arrived.digest;
            let pin = store.blobs.pins().pin(digest);
            if !pin.is_doomed() && store.knows(&digest)? {
                return Ok(StagedBlob::resumed(pin, &arrived, None));
            }
            let id = store.blobs.next_id();
            let file = writer.publish(id, digest).map_err(staging_error)?;
            Ok(StagedBlob::resumed(pin, &arrived, Some(file)))
        };
        let (part, staged) = part.blocking(publish).await?;
        Ok((part, staged?))
    }
}
