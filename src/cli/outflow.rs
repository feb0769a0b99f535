//! A connection that gives up a peer which takes nothing, or next to nothing.
//!
//! An answer on its way holds memory, and a large one its turn at the archives or the lists. A
//! peer that has stopped reading, or has gone without a word, would hold them for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use granary::{Pace, Pacer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::presence::Presence;

/// A stream whose writes end in `TimedOut` when the peer takes too little.
#[derive(Debug)]
pub(super) struct Outflow<S> {
    stream: S,
    pacer: Pacer,
    presence: Arc<Presence>,
    /// Told to `presence`: a write waits for the peer.
    is_waiting: bool,
}

impl<S> Outflow<S> {
    /// Watches the writes of a stream, which is that of a connection.
    pub(super) fn new(stream: S, pace: Pace, presence: Arc<Presence>) -> Self {
        Self { stream, pacer: Pacer::new(pace), presence, is_waiting: false }
    }

    fn waits(&mut self, is_waiting: bool) {
        if self.is_waiting != is_waiting {
            self.is_waiting = is_waiting;
            self.presence.sends(is_waiting);
        }
    }

    /// What a write came to, unless too little has come of them for too long.
    fn watched(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.waits(written.is_pending());
        if let Poll::Ready(outcome) = &written {
            self.pacer.moved(outcome.as_ref().map_or(0, |bytes| *bytes));
            return written;
        }
        if self.pacer.poll_too_slow(context).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes too little")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Outflow<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Outflow<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watched(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn presence() -> Arc<Presence> {
        Presence::new(&Arc::default())
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let pace = Pace { span: Duration::ZERO, bytes: 0 };
        let mut stream = Outflow::new(ours, pace, presence());
        stream.write_all(b"eight by").await.unwrap();
        let error = stream.write_all(b"t").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_takes_its_time_gets_everything() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let pace = Pace { span: Duration::from_hours(1), bytes: 100 };
        let mut stream = Outflow::new(ours, pace, presence());
        let writing = tokio::spawn(async move { stream.write_all(&[7; 1000]).await });
        let mut bytes = Vec::new();
        theirs.read_to_end(&mut bytes).await.unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(bytes, [7; 1000]);
    }

    #[tokio::test]
    async fn a_peer_that_takes_byte_by_byte_is_given_up() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let pace = Pace { span: Duration::from_millis(5), bytes: 1 << 20 };
        let mut stream = Outflow::new(ours, pace, presence());
        let taking = tokio::spawn(async move { while theirs.read_u8().await.is_ok() {} });
        let error = loop {
            if let Err(error) = stream.write_all(b"some more bytes than fit").await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(stream);
        taking.await.unwrap();
    }
}
