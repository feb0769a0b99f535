//! The bytes of one upload that goes on: written, hashed, made durable, given on.

mod gathering;

mod given;

use std::io;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::record::{Known, Record, StateFile};
use super::{ResumableId, ResumableTerms, WholeDigest};
use crate::blobs::{
    Blobs, CountedBuffer, Hashes, Pin, byte_count, capped, is_compressible, staging_error,
    write_run,
};
use crate::disk::{Disk, DiskFile, OpenMode, expect_room};
use crate::error::MutationError;
use crate::limits::{COMPRESSIBLE_SAMPLE_BYTES, READ_CHUNK_BYTES, STAGE_SYNC_BYTES};
use crate::model::{Digest, Timestamp};
use crate::store::Store;

/// A content that has come whole.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) digest: Digest,
    pub(crate) length: u64,
    pub(crate) crc32: u32,
    pub(crate) compressible: bool,
}

/// What was taken of the bytes from the first to `to`.
#[derive(Debug)]
struct Taken {
    to: u64,
    hashes: Hashes,
    sha256: Option<Sha256>,
}

/// One upload.
#[derive(Debug)]
pub(crate) struct Writer {
    id: ResumableId,
    disk: Arc<dyn Disk>,
    /// Of which it has memory.
    blobs: Arc<Blobs>,
    terms: Arc<ResumableTerms>,
    state: StateFile,
    /// Open under whatever name the file has; `None` once nothing is left to write.
    data: Option<Arc<dyn DiskFile>>,
    /// Whether that file was given to the store, which does not give it back: nothing may be written
    /// to it, and it stays readable for as long as it is open.
    is_given: bool,
    /// Keeps the content that the store was given the file as, until its bytes are the upload's own again.
    pin: Option<Pin>,
    /// Bytes that are in the file.
    written: u64,
    /// Those that have come after them.
    gathered: Option<CountedBuffer>,
    /// Bytes that a durable record counts.
    durable: u64,
    /// Whether bytes were written that no record was made for yet.
    is_dirty: bool,
    taken: Taken,
    /// When the last record was written: it expires so long after that, another process or not.
    touched: Timestamp,
    added: Option<Digest>,
}

impl Taken {
    fn new(terms: &ResumableTerms) -> Self {
        let wants_sha = terms.digests.iter().any(|digest| matches!(digest, WholeDigest::Sha256(_)));
        Self { to: 0, hashes: Hashes::default(), sha256: wants_sha.then(Sha256::new) }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.hashes.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        self.to += byte_count(bytes.len());
    }
}

impl Writer {
    /// Makes both files, durably.
    pub(super) fn create(
        store: &Store,
        id: ResumableId,
        terms: ResumableTerms,
    ) -> io::Result<Self> {
        let disk = &store.disk;
        expect_room(&**disk, 0)?;
        let data = disk.open(&id.data_path(), OpenMode::CreateNew)?;
        let mut state = StateFile::create(&**disk, id, &terms)?;
        let touched = Timestamp::now();
        state.append(&**disk, &Record::Progress { offset: 0, at: touched })?;
        disk.sync_dir(crate::blobs::STAGING)?;
        Ok(Self {
            id,
            disk: Arc::clone(disk),
            blobs: Arc::clone(&store.blobs),
            taken: Taken::new(&terms),
            terms: Arc::new(terms),
            state,
            data: Some(data),
            is_given: false,
            pin: None,
            written: 0,
            gathered: None,
            durable: 0,
            is_dirty: false,
            touched,
            added: None,
        })
    }

    /// Opens what an earlier process left; `None` if it is over.
    pub(super) fn open(store: &Store, id: ResumableId) -> io::Result<Option<Self>> {
        let disk = Arc::clone(&store.disk);
        let Some((state, terms)) = StateFile::open(&*disk, id)? else { return Ok(None) };
        let Known { progress, publishing, added } = *state.known();
        let Some((durable, progressed)) = progress else { return Ok(None) };
        let mut writer = Self {
            id,
            disk,
            blobs: Arc::clone(&store.blobs),
            taken: Taken::new(&terms),
            terms: Arc::new(terms),
            state,
            data: None,
            is_given: false,
            pin: None,
            written: durable,
            gathered: None,
            durable,
            is_dirty: false,
            touched: added.map_or(progressed, |(_, at)| at),
            added: added.map(|(digest, _)| digest),
        };
        for path in [id.copy_path(), id.next_state_path()] {
            crate::blobs::remove_if_there(&*writer.disk, &path)?;
        }
        if writer.added.is_some() {
            crate::blobs::remove_if_there(&*writer.disk, &id.data_path())?;
            return Ok(Some(writer));
        }
        if let Some((file, digest)) = publishing
            && !writer.take_back(store, file, digest)?
        {
            return Ok(None);
        }
        if writer.added.is_none() && !writer.is_given {
            let data = writer.disk.open(&id.data_path(), OpenMode::Existing)?;
            if data.len()? < durable {
                let lost = "its file is shorter than what was told";
                return Err(io::Error::new(io::ErrorKind::InvalidData, lost));
            }
            writer.data = Some(data);
        }
        Ok(Some(writer))
    }

    pub(crate) fn terms(&self) -> &Arc<ResumableTerms> {
        &self.terms
    }

    /// Bytes that have come.
    pub(super) fn arrived_bytes(&self) -> u64 {
        let gathered = self.gathered.as_ref().map_or(0, |gathered| gathered.buffer.len());
        self.written + byte_count(gathered)
    }

    pub(super) fn touched(&self) -> Timestamp {
        self.touched
    }

    pub(crate) fn added(&self) -> Option<Digest> {
        self.added
    }

    /// Bytes that a client is told to have come: all of them only when the file was added, so that
    /// it sends the last one again, and thereby asks for the rest of the work.
    pub(super) fn told(&self) -> u64 {
        if self.added.is_some() {
            return self.terms.length;
        }
        self.durable.min(self.terms.length.saturating_sub(1))
    }

    /// Goes back to what was told.
    pub(crate) fn rewind(&mut self) {
        self.written = self.told();
    }

    /// Refuses bytes beyond those that were announced.
    pub(super) fn expect_announced(&self, more: usize) -> Result<(), MutationError> {
        let (actual, limit) =
            (self.arrived_bytes().saturating_add(byte_count(more)), self.terms.length);
        if actual > limit {
            let what = "the upload, with what was announced of it,";
            return Err(MutationError::TooLarge { what, actual, limit });
        }
        Ok(())
    }

    /// Takes bytes. Now and then what has come is made durable, unless it is to be checked first.
    pub(super) fn append(&mut self, bytes: &[u8], is_checked: bool) -> Result<(), MutationError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.flush().map_err(staging_error)?;
            let gathered = self.gather(rest);
            if gathered == 0 {
                self.keep(rest).map_err(staging_error)?;
                rest = &[];
            }
            rest = rest.get(gathered..).unwrap_or_default();
            if !is_checked && self.written.saturating_sub(self.durable) >= STAGE_SYNC_BYTES {
                self.make_durable()?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.is_given {
            self.regain()?;
        }
        let Some(data) = self.data.clone() else { return Err(already_done()) };
        expect_room(&*self.disk, byte_count(bytes.len()))?;
        if self.taken.to > self.written && !self.has_same(&data, bytes)? {
            self.taken = Taken::new(&self.terms);
        }
        write_run(&*data, bytes, self.written)?;
        if self.taken.to == self.written {
            self.taken.update(bytes);
        }
        self.written += byte_count(bytes.len());
        self.is_dirty = true;
        Ok(())
    }

    /// Whether bytes that come again are those that were hashed.
    fn has_same(&self, data: &Arc<dyn DiskFile>, bytes: &[u8]) -> io::Result<bool> {
        let again = capped(self.taken.to - self.written, bytes.len());
        let mut before = vec![0; again];
        data.read_exact_at(&mut before, self.written)?;
        Ok(bytes.get(..again) == Some(before.as_slice()))
    }

    /// Makes what has come durable, then counts it; gives its memory back.
    pub(super) fn settle(&mut self) -> Result<(), MutationError> {
        if self.state.is_in_doubt() {
            // A record that was not made must not turn up once something else was told.
            self.record_progress(self.durable, self.touched).map_err(staging_error)?;
        }
        let moved = self.let_go();
        self.make_durable()?;
        moved.map_err(staging_error)
    }

    /// As [`Writer::settle`], for bytes that count all together or not at all.
    pub(super) fn settle_as_one(&mut self) -> Result<(), MutationError> {
        if let Err(error) = self.let_go() {
            self.forget();
            return Err(staging_error(error));
        }
        self.settle()
    }

    /// Whether all that has come counts, and no memory is held.
    pub(super) fn is_settled(&self) -> bool {
        self.gathered.is_none() && !self.is_dirty
    }

    fn make_durable(&mut self) -> Result<(), MutationError> {
        if !self.is_dirty {
            return Ok(());
        }
        self.sync().map_err(|error| {
            // What a failed sync was for may be lost, and a second one would not tell (I7): these bytes
            // count only when they have come, and were written, once more.
            self.forget();
            staging_error(error)
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.data.as_ref().ok_or_else(already_done)?.sync_data()?;
        self.record_progress(self.written, Timestamp::now())?;
        self.is_dirty = false;
        Ok(())
    }

    fn record_progress(&mut self, offset: u64, at: Timestamp) -> io::Result<()> {
        self.state.append(&*self.disk, &Record::Progress { offset, at })?;
        (self.durable, self.touched) = (offset, at);
        Ok(())
    }

    /// Forgets bytes that do not count yet; the next ones are written over them.
    pub(super) fn forget(&mut self) {
        (self.gathered, self.is_dirty) = (None, false);
        self.rewind();
        if self.taken.to > self.written {
            self.taken = Taken::new(&self.terms);
        }
    }

    /// The whole content's digests, which must be those that were announced.
    pub(super) fn arrived(&mut self) -> Result<Arrived, MutationError> {
        self.catch_up().map_err(staging_error)?;
        let (digest, crc32) = self.taken.hashes.finish();
        let sha256: Option<[u8; 32]> =
            self.taken.sha256.clone().map(|hasher| hasher.finalize().into());
        for expected in &self.terms.digests {
            let actual = match (expected, sha256) {
                (WholeDigest::Blake3(_), _) => WholeDigest::Blake3(digest),
                (WholeDigest::Sha256(_), sha256) => WholeDigest::Sha256(sha256.unwrap_or_default()),
            };
            if actual != *expected {
                return Err(MutationError::OtherDigest { expected: *expected, actual });
            }
        }
        let mut start = vec![0; capped(self.terms.length, COMPRESSIBLE_SAMPLE_BYTES)];
        if let Some(data) = &self.data {
            data.read_exact_at(&mut start, 0).map_err(staging_error)?;
        }
        Ok(Arrived {
            digest,
            length: self.terms.length,
            crc32,
            compressible: is_compressible(&start),
        })
    }

    /// Hashes what passed before this process was there.
    fn catch_up(&mut self) -> io::Result<()> {
        let Some(data) = self.data.clone() else { return Ok(()) };
        let mut buffer = vec![0; READ_CHUNK_BYTES];
        while self.taken.to < self.written {
            let count = capped(self.written - self.taken.to, buffer.len());
            let piece = buffer.get_mut(..count).unwrap_or_default();
            data.read_exact_at(piece, self.taken.to)?;
            self.taken.update(piece);
        }
        Ok(())
    }

    /// All bytes of a short content.
    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; capped(self.terms.length, usize::MAX)];
        if let Some(data) = &self.data {
            data.read_exact_at(&mut bytes, 0)?;
        }
        Ok(bytes)
    }

    /// The file was added: nothing but that is remembered from here on.
    pub(super) fn note_added(&mut self, digest: Digest) -> io::Result<()> {
        let at = Timestamp::now();
        self.state.append(&*self.disk, &Record::Added { digest, at })?;
        (self.added, self.touched, self.data, self.pin) = (Some(digest), at, None, None);
        let removed = crate::blobs::remove_if_there(&*self.disk, &self.id.data_path());
        if let Err(error) = removed {
            tracing::warn!(id = %self.id, %error, "an upload's bytes stay; the next start removes them");
        }
        Ok(())
    }
}

fn already_done() -> io::Error {
    io::Error::other("the upload's file was added already")
}
