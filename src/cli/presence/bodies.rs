//! Bodies that keep their request under way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::UnderWay;

/// Bytes of an answer of HTTP/2 that are given away at a time: a frame's, as most clients take them.
const PIECE_BYTES_MAX: usize = 16 << 10;

/// The body of a request, which keeps it under way for as long as anybody reads it.
#[derive(Debug)]
pub(in crate::cli) struct Asked {
    body: Body,
    _request: Arc<UnderWay>,
}

impl Asked {
    /// What belongs to a request.
    pub(in crate::cli) fn new(body: Body, request: Arc<UnderWay>) -> Self {
        Self { body, _request: request }
    }
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which keeps its request under way until it has been taken.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    body: Body,
    request: Arc<UnderWay>,
    /// If it goes in pieces, and it is watched when they are taken.
    piece_bytes_max: Option<usize>,
    /// What does not go with the last piece.
    rest: Bytes,
}

impl Answer {
    /// The answer to a request, given away as it comes: what the client does not take waits at the
    /// connection, which is held to its pace (`outflow.rs`).
    pub(in crate::cli) fn whole(body: Body, request: Arc<UnderWay>) -> Self {
        Self::new(body, request, None)
    }

    /// The answer to a request of HTTP/2, where each stream has a window of its own. The library takes a
    /// piece of any size once the window lets a byte of it through, and says no more of when the rest
    /// goes; so it gets them small, and asks for the next.
    pub(in crate::cli) fn in_pieces(body: Body, request: Arc<UnderWay>) -> Self {
        Self::new(body, request, Some(PIECE_BYTES_MAX))
    }

    fn new(body: Body, request: Arc<UnderWay>, piece_bytes_max: Option<usize>) -> Self {
        Self { body, request, piece_bytes_max, rest: Bytes::new() }
    }

    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(Frame::data(self.piece(rest)))));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map_ok(|frame| match frame.into_data() {
            Ok(bytes) => Frame::data(self.piece(bytes)),
            Err(trailers) => trailers,
        })
    }

    /// The beginning of some bytes; the rest stays.
    fn piece(&mut self, mut bytes: Bytes) -> Bytes {
        if let Some(max) = self.piece_bytes_max {
            self.rest = bytes.split_off(bytes.len().min(max));
        }
        bytes
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.piece_bytes_max.is_some() {
            self.request.awaits_client(false);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = this.poll_piece(context);
        if this.piece_bytes_max.is_some() {
            // Whoever asks for more has taken what there was.
            this.request.awaits_client(matches!(frame, Poll::Ready(Some(Ok(_)))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let of_body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower().saturating_add(rest));
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::super::{Idle, Presence};
    use super::*;

    #[tokio::test]
    async fn an_answer_in_pieces_is_the_answer_and_ends_with_the_last() {
        let presence = Presence::new(&Arc::new(Idle::default()));
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(2 * PIECE_BYTES_MAX + 1).collect();
        let body = Body::from(bytes.clone());
        let mut answer = Answer::in_pieces(body, Arc::new(presence.begin()));
        let (mut taken, mut left) = (Vec::new(), u64::try_from(bytes.len()).unwrap());
        while !answer.is_end_stream() {
            assert_eq!(answer.size_hint().exact(), Some(left));
            let piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES_MAX);
            left -= u64::try_from(piece.len()).unwrap();
            taken.extend(piece);
        }
        assert_eq!(taken, bytes);
        assert!(answer.frame().await.is_none());
    }
}
