//! Uploads that go on where they stopped, whoever was interrupted: the client, the network, the
//! server.
//!
//! What has arrived of one lies in a file of its own in `staging`, beside a file that says what it
//! is and how far it is durable (`record.rs`). Only bytes that were synced, and that a synced record
//! counts, are ever told to a client, so the offset that it hears is exact and true after a crash.
//! Digests are taken while the bytes pass, and from the file again for what passed before a restart.
//!
//! | crash | on disk | what opening does |
//! |---|---|---|
//! | while one is made | parts of its files | removes them: its name was not told |
//! | while bytes arrive | bytes beyond the last record | forgets them |
//! | after a large one's file was renamed to `blobs`, before its file was added | a record that names that file; the index does not | renames it back |
//! | after a change with a large one was refused, before its bytes are its own again | a row with that file; the dataset does not show it | keeps that file, which is copied when more comes |
//! | the same, and after another upload brought the same content in a file of its own | a row with that other file | keeps that one likewise |
//! | after its file was added, before that was noted | a row with that file, or the bytes still here | notes it; or the client sends the last byte again, and finds the file there with that very content |
//!
//! The last byte of one is told to have arrived only when its file was added: a client that hears
//! that all is there need not ask what became of it.

mod places;

mod record;

mod terms;

mod writer;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Buf as _;
use tokio::sync::{OwnedMutexGuard, watch};

use crate::blobs::{BLOBS, STAGING, remove_if_there, staging_error};
use crate::disk::Disk;
use crate::error::MutationError;
use crate::limits::{FILE_BYTES_MAX, RESUMABLE_DONE_MAX, RESUMABLE_TAKE_OVER_MAX};
use crate::model::{DatasetId, Digest, Timestamp, UserId};
use crate::store::Store;

pub(crate) use places::ResumableLimits;
pub(crate) use terms::is_resumable_name;
pub use terms::{ResumableId, ResumableTerms, WholeDigest};
pub(crate) use writer::{Arrived, Writer};

use places::{Begun, Place};
use terms::PREFIX;

/// How far an upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumableState {
    /// What it is for.
    pub terms: Arc<ResumableTerms>,
    /// Bytes that are durable; all of them only once the file was added.
    pub offset: u64,
    /// Digest of the content, once the file was added.
    pub added: Option<Digest>,
    /// When it is given up, unless more of it comes.
    pub expires: Timestamp,
}

/// An upload that goes on, for as long as this process knows it.
#[derive(Debug)]
struct Entry {
    terms: Arc<ResumableTerms>,
    writer: Arc<tokio::sync::Mutex<Writer>>,
    /// How many want to go on with it: tells who does that its own connection may be dead.
    waiting: watch::Sender<usize>,
    /// Set when its file was added.
    is_done: std::sync::atomic::AtomicBool,
}

/// All uploads that go on.
#[derive(Debug)]
pub(crate) struct Resumables {
    store: Arc<Store>,
    limits: ResumableLimits,
    /// Those whose files are being made. Locked before `entries`.
    begun: Mutex<Begun>,
    entries: Mutex<HashMap<ResumableId, Arc<Entry>>>,
}

/// The right to go on with an upload, until it is dropped.
#[derive(Debug)]
pub struct ResumablePart {
    pub(crate) id: ResumableId,
    pub(crate) writer: OwnedMutexGuard<Writer>,
    waiting: watch::Receiver<usize>,
    /// Whether what it brought is still to be checked: until then that goes with the part, whatever
    /// ends it.
    is_unchecked: bool,
}

impl ResumablePart {
    /// Bytes that have come.
    pub fn offset(&self) -> u64 {
        self.writer.arrived_bytes()
    }

    /// Bytes of the whole.
    pub fn length(&self) -> u64 {
        self.writer.terms().length
    }

    /// Returns when somebody else wants to go on with the same upload.
    pub async fn is_wanted(&mut self) {
        // Without an entry there is nobody to want it.
        if self.waiting.wait_for(|waiting| *waiting > 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes the next bytes. `is_checked` says that they are to be checked before they may count,
    /// which they do from [`Self::settle`] on.
    ///
    /// # Errors
    /// There is no space for them or for those before them, or they are too many.
    ///
    /// # Cancellation
    /// What was taken stays, and counts with the next sync; what is to be checked is forgotten, as
    /// it is after an error.
    pub async fn write(
        mut self,
        mut bytes: bytes::Bytes,
        is_checked: bool,
    ) -> Result<Self, MutationError> {
        self.is_unchecked |= is_checked;
        self.writer.expect_announced(bytes.len())?;
        if !self.writer.should_let_go() {
            bytes.advance(self.writer.gather(&bytes));
            if bytes.is_empty() {
                return Ok(self);
            }
        }
        let (part, outcome) =
            self.blocking(move |writer| writer.append(&bytes, is_checked)).await?;
        outcome.map(|()| part)
    }

    /// Gives its memory to those who wait for some, if anybody does; to be called while the sender
    /// lets it wait.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn rest(self) -> Result<Self, MutationError> {
        if !self.writer.should_let_go() {
            return Ok(self);
        }
        let (part, outcome) =
            self.blocking(|writer| writer.let_go().map_err(staging_error)).await?;
        outcome.map(|()| part)
    }

    /// Makes what has come durable, and counts it.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn settle(self) -> Result<Self, MutationError> {
        let settle = if self.is_unchecked { Writer::settle_as_one } else { Writer::settle };
        let (mut part, outcome) = self.blocking(settle).await?;
        outcome?;
        part.is_unchecked = false;
        Ok(part)
    }

    /// Forgets what has come since the last bytes that count.
    pub fn forget(&mut self) {
        self.writer.forget();
        self.is_unchecked = false;
    }

    pub(crate) async fn blocking<T: Send + 'static>(
        mut self,
        step: impl FnOnce(&mut Writer) -> Result<T, MutationError> + Send + 'static,
    ) -> Result<(Self, Result<T, MutationError>), MutationError> {
        let done = tokio::task::spawn_blocking(move || {
            let outcome = step(&mut self.writer);
            (self, outcome)
        });
        done.await.map_err(|error| staging_error(io::Error::other(error)))
    }

    /// All of the content with its digests, once it is there. Reads what passed before a restart.
    pub(crate) async fn arrived(
        self,
    ) -> Result<(Self, Result<Arrived, MutationError>), MutationError> {
        self.blocking(Writer::arrived).await
    }
}

impl Drop for ResumablePart {
    /// Nobody may come to go on with it for long, so its memory goes back, and what it brought counts;
    /// whoever comes first, this or the next one, sees to that.
    fn drop(&mut self) {
        if self.is_unchecked {
            self.writer.forget();
        }
        if self.writer.is_settled() {
            return;
        }
        let writer = Arc::clone(OwnedMutexGuard::mutex(&self.writer));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let mut writer = writer.lock_owned().await;
                let settled = tokio::task::spawn_blocking(move || writer.settle()).await;
                if let Ok(Err(error)) = settled {
                    tracing::debug!(%error, "the last bytes of a part could not be kept");
                }
            });
        }
    }
}

impl Resumables {
    /// Finds the uploads that an earlier process left. What is over, was never told, or is damaged goes;
    /// what could only not be read stays for the next start.
    pub(crate) fn open(store: Arc<Store>, limits: ResumableLimits) -> io::Result<Self> {
        let (begun, entries) = (Mutex::default(), Mutex::default());
        let resumables = Self { store, limits, begun, entries };
        let mut names = resumables.disk().list(STAGING)?;
        names.retain(|name| is_resumable_name(name));
        let mut unread = HashSet::new();
        for name in &names {
            let id = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(".state"));
            let Some(id) = id.and_then(|id| id.parse().ok()) else { continue };
            match Writer::open(&resumables.store, id) {
                Ok(Some(writer)) => resumables.enter(id, writer),
                Ok(None) => {}
                Err(error) if is_damage(&error) => {
                    tracing::warn!(%id, %error, "an upload cannot go on; it is given up");
                }
                Err(error) => {
                    let path = id.state_path();
                    tracing::warn!(path, %error, "an upload cannot go on until a start can read its file");
                    unread.insert(id);
                }
            }
        }
        // Files of no upload: of those just refused, and of those that were never told.
        for name in names {
            let id = name.strip_prefix(PREFIX).and_then(|name| name.split('.').next());
            let id: Option<ResumableId> = id.and_then(|id| id.parse().ok());
            let is_kept = |id| unread.contains(id) || resumables.entries().contains_key(id);
            if !id.as_ref().is_some_and(is_kept) {
                remove_if_there(&**resumables.disk(), &format!("{STAGING}/{name}"))?;
            }
        }
        if !unread.is_empty() {
            // Files of theirs are anywhere, under names that nobody knows.
            tracing::warn!(
                uploads = unread.len(),
                "until a start reads these uploads, large contents of before that are deleted keep their space"
            );
            resumables.store.blobs.keep_large();
        }
        resumables.expire(Timestamp::now());
        Ok(resumables)
    }

    fn disk(&self) -> &Arc<dyn Disk> {
        &self.store.disk
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ResumableId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, id: ResumableId, writer: Writer) {
        let entry = Arc::new(Entry {
            terms: Arc::clone(writer.terms()),
            is_done: writer.added().is_some().into(),
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            waiting: watch::Sender::new(0),
        });
        // In one step, so that it counts once.
        let mut begun = places::lock(&self.begun);
        self.entries().insert(id, entry);
        begun.remove(&id);
    }

    /// Begins an upload. Blocks.
    ///
    /// # Durability
    /// It is known after a crash when this returns.
    ///
    /// # Errors
    /// It is too long, there are too many, or the disk is full or failed.
    pub(crate) fn create(&self, terms: ResumableTerms) -> Result<ResumableId, MutationError> {
        if terms.length > FILE_BYTES_MAX {
            let (actual, limit) = (terms.length, FILE_BYTES_MAX);
            return Err(MutationError::TooLarge { what: "a file", actual, limit });
        }
        self.expire(Timestamp::now());
        let id = ResumableId::draw()?;
        let _place = self.reserve(id, &terms)?;
        let writer = Writer::create(&self.store, id, terms).map_err(|error| {
            self.remove_files(id);
            staging_error(error)
        })?;
        self.enter(id, writer);
        Ok(id)
    }

    /// Takes the place of one more upload, which is its own until its files are made: that takes some
    /// syncs, during which others may begin.
    fn reserve(&self, id: ResumableId, terms: &ResumableTerms) -> Result<Place<'_>, MutationError> {
        let mut begun = places::lock(&self.begun);
        let entries = self.entries();
        let going_on = entries.values().filter(|entry| !entry.is_done());
        let known = going_on.map(|entry| (entry.terms.owner, entry.terms.length));
        self.limits.expect_place(terms, known.chain(begun.values().copied()))?;
        begun.insert(id, (terms.owner, terms.length));
        Ok(Place::new(&self.begun, id))
    }

    fn entry(&self, id: ResumableId, owner: UserId, dataset: DatasetId) -> Option<Arc<Entry>> {
        let entry = self.entries().get(&id).map(Arc::clone)?;
        let is_own = entry.terms.owner == owner && entry.terms.dataset == dataset;
        is_own.then_some(entry)
    }

    /// Takes an upload over from whoever goes on with it: a client that asks again has lost its
    /// last connection, which the server may not have heard of.
    ///
    /// # Errors
    /// Nobody has it, or another request is busy with it and does not end.
    pub(crate) async fn take_over(
        &self,
        id: ResumableId,
        owner: UserId,
        dataset: DatasetId,
    ) -> Result<ResumablePart, MutationError> {
        let not_found = || MutationError::UploadNotFound { id };
        let entry = self.entry(id, owner, dataset).ok_or_else(not_found)?;
        let locked = {
            let _waiting = Waiting::of(&entry.waiting);
            let lock = Arc::clone(&entry.writer).lock_owned();
            tokio::time::timeout(RESUMABLE_TAKE_OVER_MAX, lock).await
        };
        let writer =
            locked.map_err(|_elapsed| MutationError::Busy { what: "the upload", waiting: 1 })?;
        // It may have ended, or expired, meanwhile.
        self.entry(id, owner, dataset).ok_or_else(not_found)?;
        Ok(ResumablePart { id, writer, waiting: entry.waiting.subscribe(), is_unchecked: false })
    }

    /// How far an upload is that nobody else goes on with while the part lives.
    pub(crate) fn state(&self, part: &ResumablePart) -> ResumableState {
        ResumableState {
            terms: Arc::clone(part.writer.terms()),
            offset: part.writer.told(),
            added: part.writer.added(),
            expires: part.writer.touched().after(self.limits.expire_after),
        }
    }

    /// The upload's file was added; that is remembered until it expires.
    ///
    /// # Durability
    /// It is remembered after a crash when this returns: what is told from then on counts all bytes.
    pub(crate) fn note_added(
        &self,
        part: &mut ResumablePart,
        digest: Digest,
    ) -> Result<(), MutationError> {
        part.writer.note_added(digest).map_err(staging_error)?;
        if let Some(entry) = self.entries().get(&part.id) {
            entry.is_done.store(true, std::sync::atomic::Ordering::Release);
        }
        self.forget_oldest_done();
        Ok(())
    }

    /// Gives an upload up and frees its space.
    pub(crate) fn remove(&self, mut part: ResumablePart) {
        part.forget();
        self.entries().remove(&part.id);
        let id = part.id;
        drop(part);
        self.remove_files(id);
    }

    fn remove_files(&self, id: ResumableId) {
        let own = [id.copy_path(), id.data_path(), id.next_state_path(), id.state_path()];
        for path in own {
            if let Err(error) = remove_if_there(&**self.disk(), &path) {
                tracing::warn!(path, %error, "cannot remove an upload's file; the next start will");
            }
        }
    }

    /// Gives up what has come no further for too long, or is for a dataset that is gone. What somebody
    /// goes on with stays, and what came just now and is not counted yet.
    pub(crate) fn expire(&self, now: Timestamp) {
        let datasets_gone = self.datasets_gone();
        let mut expired = Vec::new();
        self.entries().retain(|id, entry| {
            let Ok(writer) = entry.writer.try_lock() else { return true };
            let is_over = writer.touched().after(self.limits.expire_after) <= now
                || datasets_gone.contains(&entry.terms.dataset);
            let stays = !(is_over && writer.is_settled());
            if !stays {
                expired.push(*id);
            }
            stays
        });
        for id in expired {
            tracing::info!(%id, "an upload has expired");
            self.remove_files(id);
        }
    }

    /// Datasets of uploads that were deleted for good: no request finds these uploads any more, not even
    /// to give them up.
    fn datasets_gone(&self) -> HashSet<DatasetId> {
        let mut datasets: HashSet<DatasetId> =
            self.entries().values().map(|entry| entry.terms.dataset).collect();
        if datasets.is_empty() {
            return datasets;
        }
        match self.store.snapshot_as_applied() {
            Ok(snapshot) => datasets.retain(|id| matches!(snapshot.dataset(*id), Ok(None))),
            Err(_) => datasets.clear(),
        }
        datasets
    }

    /// Bounds what is remembered of uploads that are done.
    fn forget_oldest_done(&self) {
        let mut done: Vec<(Timestamp, ResumableId)> = {
            let entries = self.entries();
            let done = entries.iter().filter(|(_, entry)| entry.is_done());
            // Whoever has one is telling of it, or just did it.
            let touched = |entry: &Entry| {
                entry.writer.try_lock().map_or(Timestamp(i64::MAX), |writer| writer.touched())
            };
            done.map(|(id, entry)| (touched(entry), *id)).collect()
        };
        done.sort_unstable_by_key(|(touched, _)| *touched);
        let excess = done.len().saturating_sub(RESUMABLE_DONE_MAX);
        for (_, id) in done.into_iter().take(excess) {
            self.entries().remove(&id);
            self.remove_files(id);
        }
    }
}

/// Somebody who waits for an upload.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn of(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting = waiting.saturating_sub(1));
    }
}

impl Entry {
    fn is_done(&self) -> bool {
        self.is_done.load(std::sync::atomic::Ordering::Acquire)
    }
}

/// Whether what an upload's files hold, or lack, is wrong, rather than that they could not be read.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

/// Makes names in both directories durable.
fn sync_names(disk: &dyn Disk) -> io::Result<()> {
    disk.sync_dir(STAGING)?;
    disk.sync_dir(BLOBS)
}
