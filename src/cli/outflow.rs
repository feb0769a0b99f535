//! A connection that gives up a peer which takes nothing, or next to nothing.
//!
//! An answer on its way holds memory, and a large one its turn at the archives or the lists. A
//! peer that has stopped reading, or has gone without a word, would hold them for ever.
//!
//! An answer of HTTP/1.0 without a length ends with the connection. That it is whole, only the usual end says: if
//! it breaks off, for whatever reason, the connection ends with a reset, or who got half would take it for all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use granary::{Pace, Pacer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tracing::debug;

use super::presence::Presence;

/// A stream that can end in two ways.
pub(super) trait Resettable {
    /// Lets it end with a reset when it is dropped, even by the end of the process, or as usual again.
    fn reset_at_drop(&self, is_reset: bool) -> io::Result<()>;
}

impl Resettable for TcpStream {
    #[expect(deprecated, reason = "only with a time to linger for does a drop block")]
    fn reset_at_drop(&self, is_reset: bool) -> io::Result<()> {
        if is_reset { self.set_zero_linger() } else { self.set_linger(None) }
    }
}

/// A stream whose writes end in `TimedOut` when the peer takes too little.
#[derive(Debug)]
pub(super) struct Outflow<S> {
    stream: S,
    pacer: Pacer,
    presence: Arc<Presence>,
    /// Told to `presence`: a write waits for the peer.
    is_waiting: bool,
    /// It ends with a reset when it is dropped.
    is_reset_at_drop: bool,
}

impl<S: Resettable> Outflow<S> {
    /// Watches the writes of a stream, which is that of a connection.
    pub(super) fn new(stream: S, pace: Pace, presence: Arc<Presence>) -> Self {
        Self {
            stream,
            pacer: Pacer::new(pace),
            presence,
            is_waiting: false,
            is_reset_at_drop: false,
        }
    }

    fn waits(&mut self, is_waiting: bool) {
        if self.is_waiting != is_waiting {
            self.is_waiting = is_waiting;
            self.presence.sends(is_waiting);
        }
    }

    /// Lets the stream end with a reset from now on, or as usual again.
    fn resets_at_drop(&mut self, is_reset: bool) {
        self.is_reset_at_drop = is_reset;
        if let Err(error) = self.stream.reset_at_drop(is_reset) {
            // The peer may have gone.
            debug!(%error, "cannot set how a connection ends");
        }
    }

    /// What a write came to, unless too little has come of them for too long.
    fn watched(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.presence.ends_with_answer() && !self.is_reset_at_drop {
            self.resets_at_drop(true);
        }
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

impl<S: AsyncWrite + Resettable + Unpin> AsyncWrite for Outflow<S> {
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
        let this = self.get_mut();
        // The library ends a connection so only when it has sent everything.
        if this.is_reset_at_drop {
            this.resets_at_drop(false);
        }
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, Sink, sink};

    use super::*;
    use crate::cli::presence::Answer;

    impl Resettable for DuplexStream {
        fn reset_at_drop(&self, _is_reset: bool) -> io::Result<()> {
            Ok(())
        }
    }

    /// A stream that goes nowhere.
    struct Nowhere {
        stream: Sink,
        is_reset_at_drop: Cell<bool>,
    }

    impl Resettable for Nowhere {
        fn reset_at_drop(&self, is_reset: bool) -> io::Result<()> {
            self.is_reset_at_drop.set(is_reset);
            Ok(())
        }
    }

    impl AsyncWrite for Nowhere {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.get_mut().stream).poll_flush(context)
        }

        fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            assert!(!this.is_reset_at_drop.get(), "what was sent last would be lost");
            Pin::new(&mut this.stream).poll_shutdown(context)
        }
    }

    #[tokio::test]
    async fn while_an_answer_that_ends_with_the_connection_is_sent_that_ends_with_a_reset() {
        let presence = presence();
        let pace = Pace { span: Duration::from_hours(1), bytes: 0 };
        let nowhere = Nowhere { stream: sink(), is_reset_at_drop: Cell::new(false) };
        let mut stream = Outflow::new(nowhere, pace, Arc::clone(&presence));
        stream.write_all(b"an answer with a length").await.unwrap();
        assert!(!stream.stream.is_reset_at_drop.get());
        let request = Arc::new(presence.begin());
        Answer::until_close(Body::from("here"), request).frame().await.unwrap().unwrap();
        stream.write_all(b"here").await.unwrap();
        assert!(stream.stream.is_reset_at_drop.get());
        stream.shutdown().await.unwrap();
    }

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
