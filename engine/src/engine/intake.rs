//! An archive of files that arrives from a client.
//!
//! What it is shows with its first bytes. A zip is spooled, since its list stands at its end; a
//! tar is taken in while it comes, if one of the few places for that is free, and is spooled
//! otherwise: so those who send slowly keep nobody waiting. Either is added whole or not at all,
//! and what a client that goes away leaves behind is given up.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Engine;
use crate::archive::intake::{IntakeKind, SNIFF_BYTES, sniff};
use crate::bulk::{self, Bulk, Staged};
use crate::error::{IntakeError, MutationError};
use crate::limits::{
    BULK_CHANGES_WAITING_MAX, INTAKE_BYTES_MAX, INTAKE_CHUNK_BYTES, INTAKE_CHUNKS_MAX,
};
use crate::model::{DatasetId, StoredFile};
use crate::spool::SpoolUpload;
use crate::turns::Turn;

/// An archive on its way in.
#[derive(Debug)]
pub struct Intake {
    engine: Engine,
    dataset: DatasetId,
    declared: Option<IntakeKind>,
    /// Bytes that its sender says it has.
    length: Option<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Too few bytes have come to tell what it is.
    Beginning(Vec<u8>),
    Spooled(IntakeKind, SpoolUpload),
    Tar(TarIntake),
    /// After an error, or after a future that was dropped half way.
    Over,
}

impl Engine {
    /// Begins to take in an archive of files; `declared` is what its sender calls it, and `length` how many
    /// bytes it says will come.
    pub fn begin_intake(
        &self,
        dataset: DatasetId,
        declared: Option<IntakeKind>,
        length: Option<u64>,
    ) -> Intake {
        let state = State::Beginning(Vec::new());
        Intake { engine: self.clone(), dataset, declared, length, state }
    }

    /// Adds what is staged first, in one of the turns that archives have which are there whole: that
    /// may take minutes, and no other bulk change waits for it. The turn is kept to the end, so that what waits for its
    /// dataset is bounded in number; what is staged needs no other.
    pub(super) async fn add_staged<F>(
        &self,
        dataset: DatasetId,
        stage: impl FnOnce(Bulk) -> F + Send + 'static,
    ) -> Result<Vec<StoredFile>, IntakeError>
    where
        F: Future<Output = Result<Staged, IntakeError>> + Send,
    {
        let busy = MutationError::Busy {
            what: "the unpacking of archives",
            waiting: BULK_CHANGES_WAITING_MAX,
        };
        let turn = self.inner.whole_intake_turns.take().await.ok_or(busy)?;
        let add = move |bulk: Bulk| async move {
            let staged = stage(bulk.clone()).await?;
            let added = bulk::commit(&bulk, dataset, staged).await;
            drop(turn);
            added
        };
        self.beside_its_caller(add).await
    }
}

impl Intake {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// See [`IntakeError`]; it is over then, and nothing of it remains.
    ///
    /// # Cancellation
    /// After a write that was dropped half way it is over, as after an error.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Beginning(mut start) if start.len() + bytes.len() < SNIFF_BYTES => {
                start.extend_from_slice(bytes);
                State::Beginning(start)
            }
            State::Beginning(start) => {
                // Mostly empty: the first bytes come together.
                let first = [&start, bytes].concat();
                self.begun(&first).await?
            }
            state @ (State::Spooled(..) | State::Tar(_) | State::Over) => {
                written(state, bytes).await?
            }
        };
        Ok(())
    }

    /// Gives memory back while its sender lets it wait.
    ///
    /// # Errors
    /// As [`Intake::write`].
    pub async fn rest(&mut self) -> Result<(), IntakeError> {
        if let State::Spooled(_, spool) = &mut self.state {
            spool.rest().await?;
        }
        Ok(())
    }

    /// Adds the files, once all bytes have come.
    ///
    /// # Errors
    /// See [`IntakeError`]; nothing was added.
    pub async fn finish(mut self) -> Result<Vec<StoredFile>, IntakeError> {
        let state = match std::mem::replace(&mut self.state, State::Over) {
            State::Beginning(start) => self.begun(&start).await?,
            state @ (State::Spooled(..) | State::Tar(_) | State::Over) => state,
        };
        let (engine, dataset) = (self.engine, self.dataset);
        match state {
            State::Spooled(IntakeKind::Zip, spool) => {
                engine.add_files(dataset, spool.finish().await?).await
            }
            State::Spooled(kind, spool) => {
                let archive = spool.finish().await?;
                let unpack = move |bulk: Bulk| async move {
                    bulk::stage_whole_tar(&bulk, dataset, kind, archive).await
                };
                engine.add_staged(dataset, unpack).await
            }
            State::Tar(tar) => {
                let (staged, turn) = tar.finish().await?;
                let commit = move |bulk: Bulk| async move {
                    let added = bulk::commit(&bulk, dataset, staged).await;
                    drop(turn);
                    added
                };
                engine.beside_its_caller(commit).await
            }
            State::Beginning(_) | State::Over => Err(over()),
        }
    }

    /// The state that its first bytes ask for, these bytes taken.
    async fn begun(&self, first: &[u8]) -> Result<State, IntakeError> {
        let kind = sniff(first, self.declared);
        let turn = match kind {
            IntakeKind::Zip => None,
            IntakeKind::Tar | IntakeKind::TarGz => self.engine.inner.intake_turns.try_take(),
        };
        let state = match turn {
            None => {
                let spool = self.engine.begin_spool_upload().expecting(self.length);
                State::Spooled(kind, spool)
            }
            Some(turn) => {
                let bulk = self.engine.bulk();
                State::Tar(TarIntake::begin(bulk, self.dataset, kind, self.length, turn))
            }
        };
        written(state, first).await
    }
}

async fn written(state: State, bytes: &[u8]) -> Result<State, IntakeError> {
    match state {
        State::Spooled(kind, mut spool) => {
            spool.write(bytes).await?;
            Ok(State::Spooled(kind, spool))
        }
        State::Tar(mut tar) => {
            tar.write(bytes).await?;
            Ok(State::Tar(tar))
        }
        State::Beginning(_) | State::Over => Err(over()),
    }
}

fn over() -> IntakeError {
    let cause = io::Error::other("the intake was given up before");
    IntakeError::Mutation(MutationError::Staging { cause: cause.into() })
}

/// A tar, read on the blocking pool while it comes.
#[derive(Debug)]
struct TarIntake {
    sender: mpsc::Sender<Arriving>,
    staging: JoinHandle<Result<(Staged, Turn), IntakeError>>,
    bytes_taken: u64,
}

/// What the reader is told.
#[derive(Debug)]
enum Arriving {
    Bytes(Bytes),
    /// All has come. A channel that closes without it is a client that went away.
    End,
}

impl TarIntake {
    fn begin(
        bulk: Bulk,
        dataset: DatasetId,
        kind: IntakeKind,
        length: Option<u64>,
        turn: Turn,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(INTAKE_CHUNKS_MAX);
        let source = ArrivingReader { receiver, chunk: Bytes::new(), has_ended: false };
        let staging = tokio::task::spawn_blocking(move || {
            let room = bulk.rooms.streamed.begin();
            let staged = bulk::stage_tar(&bulk, dataset, kind, length, source, room)?;
            Ok((staged, turn))
        });
        Self { sender, staging, bytes_taken: 0 }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes_taken = self.bytes_taken.saturating_add(length);
        if self.bytes_taken > INTAKE_BYTES_MAX {
            let (actual, limit) = (self.bytes_taken, INTAKE_BYTES_MAX);
            return Err(IntakeError::TooLarge { what: "the size of the body", actual, limit });
        }
        for chunk in bytes.chunks(INTAKE_CHUNK_BYTES) {
            let chunk = Arriving::Bytes(Bytes::copy_from_slice(chunk));
            if self.sender.send(chunk).await.is_err() {
                return Err(self.refusal().await);
            }
        }
        Ok(())
    }

    /// What it staged, and the turn in which it did, which it keeps until it is added.
    async fn finish(mut self) -> Result<(Staged, Turn), IntakeError> {
        if self.sender.send(Arriving::End).await.is_err() {
            return Err(self.refusal().await);
        }
        let staged = self.staging.await;
        staged.unwrap_or_else(|_panicked| Err(MutationError::Panicked.into()))
    }

    /// Why the reader stopped before the end.
    async fn refusal(&mut self) -> IntakeError {
        match (&mut self.staging).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => over(),
            Err(_panicked) => MutationError::Panicked.into(),
        }
    }
}

/// Reads what arrives. Blocks.
struct ArrivingReader {
    receiver: mpsc::Receiver<Arriving>,
    chunk: Bytes,
    has_ended: bool,
}

impl Read for ArrivingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.has_ended {
            match self.receiver.blocking_recv() {
                Some(Arriving::Bytes(bytes)) => self.chunk = bytes,
                Some(Arriving::End) => self.has_ended = true,
                None => return Err(io::Error::other("its sender went away")),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        let bytes = self.chunk.split_to(length);
        let (target, _) = buffer.split_at_mut(length);
        target.copy_from_slice(&bytes);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use redb::ReadableTableMetadata;
    use tokio::sync::oneshot;

    use super::*;
    use crate::bulk::FileSelection;
    use crate::bulk::rig::run;
    use crate::index::tables;
    use crate::limits::{CHANGE_FILES_MAX, INTAKE_RATIO_FREE_BYTES, INTAKES_WHOLE_MAX};

    /// A tar of so many empty files.
    fn tar_of(count: usize) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for number in 0..count {
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            tar.append_data(&mut header, format!("{number:04}"), io::empty()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    /// A tar.gz of files with these contents, and their names.
    fn tar_gz_of(files: [(&str, &[u8]); 2]) -> Vec<u8> {
        let packing = GzEncoder::new(Vec::new(), Compression::new(6));
        let mut tar = tar::Builder::new(packing);
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len().try_into().unwrap());
            tar.append_data(&mut header, name, content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn a_tar_gz_is_judged_by_all_of_it_where_its_length_is_known() {
        let zeros = vec![0; usize::try_from(INTAKE_RATIO_FREE_BYTES).unwrap() + (8 << 20)];
        let mut noise = vec![0; 1 << 19];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        run(async |engine, dataset| {
            let add = async |archive: Vec<u8>, length: Option<u64>| {
                let mut intake = engine.begin_intake(dataset, None, length);
                intake.write(&archive).await?;
                Ok::<_, IntakeError>(intake.finish().await?.len())
            };
            let is_too_large = |outcome| matches!(outcome, Err(IntakeError::TooLarge { .. }));
            let length = |archive: &Vec<u8>| u64::try_from(archive.len()).ok();

            let first = tar_gz_of([("a", &zeros), ("b", &noise)]);
            assert!(is_too_large(add(first.clone(), None).await), "in chunks");
            let announced = length(&first);
            assert_eq!(add(first, announced).await.unwrap(), 2);
            let last = tar_gz_of([("c", &noise), ("d", &zeros)]);
            assert_eq!(add(last, None).await.unwrap(), 2);
            let bomb = tar_gz_of([("e", &zeros), ("f", &[])]);
            let announced = length(&bomb);
            assert!(is_too_large(add(bomb.clone(), announced).await));
            assert!(is_too_large(add(bomb.clone(), Some(u64::MAX)).await));

            // Those that are spooled are there whole.
            let turns = &engine.inner.intake_turns;
            let taken: Vec<_> = std::iter::from_fn(|| turns.try_take()).collect();
            assert!(is_too_large(add(bomb, None).await));
            let spooled = tar_gz_of([("g", &zeros), ("h", &noise)]);
            assert_eq!(add(spooled, None).await.unwrap(), 2);
            drop(taken);
        });
    }

    #[test]
    fn an_archive_that_came_whole_is_added_though_all_turns_of_bulk_changes_are_taken() {
        run(async |engine, dataset| {
            let turns = &engine.inner.bulk_turns;
            let taken: Vec<_> = std::iter::from_fn(|| turns.try_take()).collect();
            let files = CHANGE_FILES_MAX + 1;
            let mut intake = engine.begin_intake(dataset, None, None);
            intake.write(&tar_of(files)).await.unwrap();
            assert_eq!(intake.finish().await.unwrap().len(), files);
            let sets = engine.bulk().store.snapshot().unwrap().table(tables::SETS).unwrap().len();
            assert_eq!(sets.unwrap(), 0);
            drop(taken);
        });
    }

    #[test]
    fn archives_that_are_unpacked_keep_no_other_bulk_change_waiting() {
        run(async |engine, dataset| {
            let (begun, mut has_begun) = mpsc::channel(INTAKES_WHOLE_MAX);
            let mut senders = Vec::new();
            for _ in 0..INTAKES_WHOLE_MAX {
                let (engine, begun) = (engine.clone(), begun.clone());
                let (sender, is_unpacked) = oneshot::channel::<()>();
                senders.push(sender);
                let unpack = move |_| async move {
                    begun.send(()).await.unwrap();
                    is_unpacked.await.unwrap_err();
                    Err(over())
                };
                drop(tokio::spawn(async move { engine.add_staged(dataset, unpack).await }));
                has_begun.recv().await.unwrap();
            }
            let named = FileSelection::Named(vec!["one".into()]);
            assert_eq!(engine.delete_files(dataset, named).await.unwrap(), 1);
            assert!(engine.inner.whole_intake_turns.try_take().is_none(), "they go on");
            drop(senders);
            while engine.inner.whole_intake_turns.working().0 > 0 {
                tokio::task::yield_now().await;
            }
        });
    }
}
