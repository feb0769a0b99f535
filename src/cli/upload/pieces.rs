//! A large file as the body of a request, read as the network takes it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reqwest::Body;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use crate::cli::content::{Hasher, Identity, PIECE_BYTES};
use crate::cli::progress::Counters;

/// The next `left` bytes of a file, as a body, which tells why if they cannot be read; `counted` is
/// kept at how many have left.
pub(crate) fn pieces_of(
    file: tokio::fs::File,
    left: u64,
    counters: &Arc<Counters>,
    counted: &Arc<AtomicU64>,
) -> (Body, oneshot::Receiver<io::Result<Identity>>) {
    let (identity, read) = oneshot::channel();
    let pieces = Pieces {
        file,
        left,
        hasher: None,
        identity: Some(identity),
        counters: Arc::clone(counters),
        counted: Arc::clone(counted),
    };
    (pieces.into_body(), read)
}

/// A large file, read piece by piece as the network takes it.
pub(super) struct Pieces {
    pub(super) file: tokio::fs::File,
    pub(super) left: u64,
    /// None if nobody wants to know what was read.
    pub(super) hasher: Option<Hasher>,
    pub(super) identity: Option<oneshot::Sender<io::Result<Identity>>>,
    pub(super) counters: Arc<Counters>,
    pub(super) counted: Arc<AtomicU64>,
}

impl Pieces {
    pub(super) fn into_body(self) -> Body {
        Body::wrap_stream(stream::try_unfold(self, Self::next))
    }

    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let piece = match self.read().await {
            Ok(piece) => piece,
            Err(error) => {
                self.tell(Err(io::Error::new(error.kind(), error.to_string())));
                return Err(error);
            }
        };
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        self.left = self.left.saturating_sub(length);
        self.counted.fetch_add(length, Ordering::Relaxed);
        self.counters.bytes_done(length);
        // Told with the last piece: nobody asks for another one once the length is reached.
        if self.left == 0
            && let Some(hasher) = self.hasher.take()
        {
            self.tell(Ok(hasher.finish()));
        }
        Ok(Some((piece, self)))
    }

    async fn read(&mut self) -> io::Result<Bytes> {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let read = (&mut self.file).take(self.left).read_buf(&mut piece).await?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            ));
        }
        Ok(piece.freeze())
    }

    fn tell(&mut self, identity: io::Result<Identity>) {
        if let Some(sender) = self.identity.take() {
            // The request may have been given up meanwhile.
            sender.send(identity).ok();
        }
    }
}
