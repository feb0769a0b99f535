//! What one request sends of a file: all of it, from memory or from the disk.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use granary_engine::model::Digest;
use reqwest::Body;
use tokio::sync::oneshot;

use super::Uploader;
use super::pieces::Pieces;
use crate::cli::content::{Hasher, Identity, local, on_blocking_pool, steady};
use crate::cli::failure::Failure;
use crate::cli::walk::LocalFile;

/// Bytes of the largest file that is read whole; larger ones are streamed. With the number of
/// transfers under way it bounds the memory of a push.
const WHOLE_BYTES_MAX: u64 = 1 << 20;

/// A body, and the identity of its bytes once they were all read.
pub(super) struct Outgoing {
    pub(super) body: Body,
    pub(super) length: u64,
    pub(super) read: oneshot::Receiver<io::Result<Identity>>,
    /// What the digest will be, if it is known ahead.
    pub(super) digest: Option<Digest>,
}

impl Uploader {
    /// The file as it is now: small ones in memory, large ones as they are read.
    pub(super) async fn outgoing(
        &self,
        file: &LocalFile,
        known: Option<Digest>,
        counted: &Arc<AtomicU64>,
    ) -> Result<Outgoing, Failure> {
        let (identity, read) = oneshot::channel();
        let opened = tokio::fs::File::open(&file.path).await;
        let opened = opened.map_err(|error| local(&file.path, error))?;
        let metadata = opened.metadata().await;
        // Now, which may be more than when it was listed.
        let length = metadata.map_err(|error| local(&file.path, error))?.len();
        if length > WHOLE_BYTES_MAX {
            let pieces = Pieces {
                file: opened,
                left: length,
                hasher: Some(Hasher::new(self.handles)),
                identity: Some(identity),
                counters: Arc::clone(&self.counters),
                counted: Arc::clone(counted),
            };
            return Ok(Outgoing { body: pieces.into_body(), length, read, digest: known });
        }
        let handles = self.handles;
        let content = on_blocking_pool(&file.path, move |path: &Path| {
            steady(known, handles, || {
                let mut content = Vec::new();
                fs::File::open(path)?.take(WHOLE_BYTES_MAX + 1).read_to_end(&mut content)?;
                Ok(content)
            })
        });
        let (content, whole) = content.await?.ok_or_else(Failure::changed_meanwhile)?;
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if length > WHOLE_BYTES_MAX {
            return Err(Failure::changed_meanwhile());
        }
        // The receiver is in our hands, so this cannot fail.
        identity.send(Ok(whole)).ok();
        self.counters.bytes_done(length);
        counted.store(length, Ordering::Relaxed);
        let body = Body::from(content);
        Ok(Outgoing { body, length, read, digest: Some(whole.digest) })
    }
}
