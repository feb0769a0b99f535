//! What a store gives for a backup: the rows of one state, and the contents that they name.

use std::collections::VecDeque;
use std::io::BufWriter;
use std::sync::Arc;

use bytes::Bytes;

use super::state::{StateHeader, Written, write_state};
use super::{StoreKey, frames};
use crate::blobs::BlobStream;
use crate::error::ReadError;
use crate::leases::Lease;
use crate::limits::{BACKUP_IDLE_MAX, READ_CHUNK_BYTES, SPOOL_READ_BYTES};
use crate::model::{Digest, Sequence, Timestamp};
use crate::recovery::FORMAT_VERSION;
use crate::spool::{Spool, Spooled};
use crate::store::Store;

/// One committed state of a store (I8), kept for who copies it.
///
/// Its contents are kept as long as it is used at least every [`BACKUP_IDLE_MAX`]; some of them that
/// are being read are used with each chunk.
#[derive(Debug)]
pub struct Backup {
    store: Arc<Store>,
    pub(super) lease: Arc<Lease>,
    state: Spooled,
    written: Written,
    sequence: Sequence,
}

/// Takes a state. Blocks until every row is copied.
pub(crate) fn begin(
    store: &Arc<Store>,
    key: &StoreKey,
    files: &[(String, Vec<u8>)],
) -> Result<Backup, ReadError> {
    let (snapshot, lease) = store.leased_rows(BACKUP_IDLE_MAX)?;
    let sequence = snapshot.sequence()?;
    let header = StateHeader::V1 {
        store_format: FORMAT_VERSION,
        key: key.0,
        start: snapshot.start()?,
        sequence,
        taken: Timestamp::now(),
    };
    let mut out = BufWriter::with_capacity(SPOOL_READ_BYTES, Spool::new(Arc::clone(&store.disk)));
    let written = write_state(&snapshot, &header, files, &mut out)?;
    drop(snapshot);
    let spooling = |source| ReadError::Io { what: "a spool", source };
    let spool = out.into_inner().map_err(|error| spooling(error.into_error()))?;
    let state = spool.finish().map_err(spooling)?;
    lease.renew(BACKUP_IDLE_MAX);
    let (store, lease) = (Arc::clone(store), Arc::new(lease));
    Ok(Backup { store, lease, state, written, sequence })
}

impl Backup {
    /// The last change that the state contains.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Contents that the state's rows name.
    pub fn contents(&self) -> u64 {
        self.written.contents
    }

    /// Bytes of these contents.
    pub fn content_bytes(&self) -> u64 {
        self.written.content_bytes
    }

    /// Rows of the state.
    pub fn rows(&self) -> u64 {
        self.written.rows
    }

    /// The state, as a backup directory takes it.
    pub fn state(&self) -> Spooled {
        self.touch();
        self.state.clone()
    }

    /// Keeps the contents for another while.
    pub fn touch(&self) {
        self.lease.renew(BACKUP_IDLE_MAX);
    }

    /// Contents one behind the other, as a backup directory takes them. One that cannot be read,
    /// or is not in the store, is told as failed in its place.
    pub fn read(&self, digests: Vec<Digest>) -> ContentFrames {
        self.touch();
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        ContentFrames { store, lease, waiting: digests.into(), stream: None }
    }
}

/// Contents on their way, each checked against its digest (I9).
#[derive(Debug)]
pub struct ContentFrames {
    store: Arc<Store>,
    lease: Arc<Lease>,
    waiting: VecDeque<Digest>,
    stream: Option<BlobStream>,
}

impl ContentFrames {
    /// The next bytes, some 256 KiB; `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.lease.renew(BACKUP_IDLE_MAX);
        let mut frames = Vec::new();
        while frames.len() < READ_CHUNK_BYTES {
            let Some(stream) = &mut self.stream else {
                let Some(digest) = self.waiting.pop_front() else { break };
                match self.store.open_blob(&digest) {
                    Ok(Some(blob)) => {
                        let length = blob.length();
                        self.stream = Some(blob.stream(0..length));
                    }
                    Ok(None) => frames::put_failure(&mut frames, "the store does not hold it"),
                    Err(error) => frames::put_failure(&mut frames, &with_cause(&error)),
                }
                continue;
            };
            match stream.next().await {
                Some(Ok(bytes)) => {
                    frames::put_bytes(&mut frames, &bytes);
                    continue;
                }
                Some(Err(error)) => frames::put_failure(&mut frames, &with_cause(&error)),
                None => frames::put_end(&mut frames),
            }
            self.stream = None;
        }
        (!frames.is_empty()).then(|| frames.into())
    }
}

fn with_cause(error: &ReadError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
