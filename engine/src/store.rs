//! What reads stand on: the index, the journal's segments, the blobs, the open leases.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::blobs::{Blob, Blobs};
use crate::counters::Counters;
use crate::disk::Disk;
use crate::error::ReadError;
use crate::index::rows::BlobRow;
use crate::index::snapshot::Snapshot;
use crate::index::{Index, IndexError};
use crate::journal::Segments;
use crate::leases::{Lease, Leases};
use crate::limits::{INLINE_BYTES_MAX, LEASE_MAX};
use crate::model::change::BlobPlace;
use crate::model::{Digest, Sequence};
use crate::quarantine::{Fault, Quarantine};
use crate::scrub::ScrubNotes;
use crate::touches::Touches;
use crate::trace::Trace;
use crate::visibility::Visibility;

/// Times that a read looks again where a content was moved under its hands.
const LOOKS_MAX: u32 = 4;

/// The index that readers use; the index thread alone may replace it.
#[derive(Debug)]
pub(crate) struct SharedIndex {
    index: RwLock<Arc<Index>>,
}

impl SharedIndex {
    pub(crate) fn new(index: Index) -> Self {
        Self { index: RwLock::new(Arc::new(index)) }
    }

    /// The current index.
    pub(crate) fn get(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The latest state of the current index. Taken while that cannot be replaced, which costs readers less
    /// than a handle of their own.
    fn snapshot(
        &self,
        touches: &Arc<Touches>,
        counters: &Arc<Counters>,
    ) -> Result<Snapshot, IndexError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        Snapshot::take(&index, touches, counters)
    }

    /// Puts another index in its place: the one opened for reading after a failure (I7).
    pub(crate) fn replace(&self, index: Index) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }
}

/// Everything that reads need.
#[derive(Debug)]
pub(crate) struct Store {
    /// Its space is what is left beside what is promised to the index.
    pub(crate) disk: Arc<dyn Disk>,
    /// The same as operators know it.
    pub(crate) bare_disk: Arc<dyn Disk>,
    pub(crate) index: Arc<SharedIndex>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) touches: Arc<Touches>,
    pub(crate) trace: Trace,
    pub(crate) counters: Arc<Counters>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) scrub: Arc<ScrubNotes>,
    pub(crate) visibility: Arc<Visibility>,
    /// How often something changed that rights follow from; it grows before that is answered.
    pub(crate) rights_version: AtomicU64,
}

impl Store {
    /// A state that holds all that was answered before. May wait for the index thread, so not for
    /// threads that must not block.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, IndexError> {
        self.visibility.complete_blocking();
        self.snapshot_as_applied()
    }

    /// As [`Store::snapshot`], for tasks.
    pub(crate) async fn snapshot_soon(&self) -> Result<Snapshot, IndexError> {
        self.visibility.complete().await;
        self.snapshot_as_applied()
    }

    /// The latest committed state. New files may lack in it that were answered before, and contents
    /// that heal damaged ones with them; everything else is as it was answered.
    pub(crate) fn snapshot_as_applied(&self) -> Result<Snapshot, IndexError> {
        if self.visibility.is_lacking() {
            let lacking = "it lacks files that are in the journal; open the store again";
            return Err(redb::StorageError::Io(io::Error::other(lacking)).into());
        }
        self.index.snapshot(&self.touches, &self.counters)
    }

    /// The latest committed state, and a lease on its contents.
    pub(crate) fn leased_snapshot(&self) -> Result<(Snapshot, Lease), IndexError> {
        // Before the leases are locked, since the index thread looks at them.
        self.visibility.complete_blocking();
        self.leases.lease(LEASE_MAX, || {
            let snapshot = self.snapshot_as_applied()?;
            let sequence = snapshot.sequence()?;
            Ok((snapshot, sequence))
        })
    }

    /// The latest committed state, and a lease on every content that a row of it names, hidden rows
    /// and rows of dropped layers too: when the background removes such a row, its content dies
    /// with the number of the last change, which may be the state's own.
    pub(crate) fn leased_rows(
        &self,
        duration_max: Duration,
    ) -> Result<(Snapshot, Lease), IndexError> {
        self.visibility.complete_blocking();
        self.leases.lease(duration_max, || {
            let snapshot = self.snapshot_as_applied()?;
            let sequence = snapshot.sequence()?;
            Ok((snapshot, Sequence(sequence.0.saturating_sub(1))))
        })
    }

    /// Whether the index holds a content, named by a row or not, and its bytes are not known to be
    /// damaged: whoever brings such a content again heals it. One that is on its way is found by its
    /// pins.
    pub(crate) fn knows(&self, digest: &Digest) -> Result<bool, ReadError> {
        let Some(row) = self.snapshot_as_applied()?.blob(digest)? else { return Ok(false) };
        let is_damaged = self.quarantine.fault(digest, row.place).is_some();
        if is_damaged {
            self.blobs.pins().forget_brought(digest);
        }
        Ok(!is_damaged)
    }

    /// Takes away the mark of a content whose row has left the bytes that are damaged: it was healed,
    /// or is gone.
    pub(crate) fn forget_left(&self, digest: &Digest) -> Result<(), IndexError> {
        let Some(place) = self.quarantine.place(digest) else { return Ok(()) };
        let row = self.snapshot_as_applied()?.blob(digest)?;
        if row.is_none_or(|row| row.place != place) {
            self.quarantine.release(digest, place);
        }
        Ok(())
    }

    /// Opens a content for reading; `None` if the index does not hold it, see
    /// [`Store::snapshot_as_applied`].
    ///
    /// # Errors
    /// It cannot be read, or is in quarantine.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>, ReadError> {
        let mut place = None;
        for _ in 0..LOOKS_MAX {
            let Some(row) = self.snapshot_as_applied()?.blob(digest)? else {
                return Ok(None);
            };
            self.refuse_damaged(digest, row.place)?;
            if let Some(blob) = self.open_at(digest, &row)? {
                return Ok(Some(blob));
            }
            // It went between the look and the grasp; the index knows better now.
            place = Some(row.place);
        }
        if let Some(place) = place {
            self.quarantine.note(*digest, place, Fault::Missing);
        }
        let reason = Fault::Missing.text().to_owned();
        Err(ReadError::DamagedContent { digest: *digest, reason })
    }

    /// As [`Store::open_blob`], of a content that a file of this state names. Another state is looked at
    /// only where the content has left its place since, or is damaged there.
    ///
    /// # Errors
    /// As [`Store::open_blob`].
    pub(crate) fn open_blob_in(
        &self,
        snapshot: &Snapshot,
        digest: &Digest,
    ) -> Result<Option<Blob>, ReadError> {
        if let Some(row) = snapshot.blob(digest)?
            // A range of a large one is not checked: it must not be of a place that was left as damaged.
            && row.length <= INLINE_BYTES_MAX
            && self.refuse_damaged(digest, row.place).is_ok()
            && let Some(blob) = self.open_at(digest, &row)?
        {
            return Ok(Some(blob));
        }
        self.open_blob(digest)
    }

    /// Opens a content where its row says that it is; `None` if there is no such file.
    fn open_at(&self, digest: &Digest, row: &BlobRow) -> Result<Option<Blob>, ReadError> {
        let (file, offset) = match row.place {
            BlobPlace::Segment { segment, offset } => {
                let file = self.segments.get(segment);
                let what = "a segment of the journal";
                (file.map_err(|source| ReadError::Io { what, source })?, offset)
            }
            BlobPlace::Large(id) => match self.blobs.open_large(digest, id) {
                Ok(file) => (Some(file), 0),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (None, 0),
                Err(source) => return Err(ReadError::Io { what: "a large file", source }),
            },
        };
        Ok(file.map(|file| {
            let blob = Blob::new(*digest, row.length, file, offset);
            blob.watched(&self.quarantine, row.place)
        }))
    }

    fn refuse_damaged(&self, digest: &Digest, place: BlobPlace) -> Result<(), ReadError> {
        match self.quarantine.fault(digest, place) {
            Some(fault) if fault != Fault::Unreadable => {
                let reason = format!("{}; it is in quarantine", fault.text());
                Err(ReadError::DamagedContent { digest: *digest, reason })
            }
            Some(_) | None => Ok(()),
        }
    }
}
