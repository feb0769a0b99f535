//! Bodies that keep their request under way.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::UnderWay;

/// Bytes of an answer of HTTP/2 that are given away at a time: a frame's, as most clients take them.
const PIECE_BYTES_MAX: usize = 16 << 10;

/// The body of a request, which keeps it under way for as long as anybody reads it.
#[derive(Debug)]
pub(in crate::cli) struct Asked<B> {
    body: B,
    _request: Arc<UnderWay>,
}

impl<B> Asked<B> {
    /// What belongs to a request.
    pub(in crate::cli) fn new(body: B, request: Arc<UnderWay>) -> Self {
        Self { body, _request: request }
    }
}

impl<B: HttpBody + Unpin> HttpBody for Asked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which keeps its request under way until it has been taken; one in pieces, until
/// they have been sent: what waits at the stream is bounded by the number of requests.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    given: Given,
    request: Arc<UnderWay>,
}

/// How an answer is given away.
#[derive(Debug)]
enum Given {
    Whole(Body),
    /// Its end is that of the connection.
    UntilClose(Body),
    /// It may be given up between two, and it is watched when they are taken.
    InPieces(Arc<Left>),
}

impl Answer {
    /// The answer to a request, given away as it comes: what the client does not take waits at the
    /// connection, which is held to its pace (`outflow.rs`).
    pub(in crate::cli) fn whole(body: Body, request: Arc<UnderWay>) -> Self {
        Self { given: Given::Whole(body), request }
    }

    /// The answer to a request of HTTP/1.0 of which nobody knows the length: it ends with the connection, which
    /// has to tell whether that is all of it (`outflow.rs`).
    pub(in crate::cli) fn until_close(body: Body, request: Arc<UnderWay>) -> Self {
        Self { given: Given::UntilClose(body), request }
    }

    /// The answer to a request of HTTP/2, where each stream has a window of its own. The library takes a
    /// piece of any size once the window lets a byte of it through, and says no more of when the rest
    /// goes; so it gets them small, and asks for the next.
    pub(in crate::cli) fn in_pieces(body: Body, request: Arc<UnderWay>) -> Self {
        Self { given: Given::InPieces(Left::of(body)), request }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        match self.given {
            Given::Whole(_) | Given::UntilClose(_) => {}
            Given::InPieces(_) => self.request.is_taken(),
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
        let Self { given, request } = self.get_mut();
        let left = match given {
            Given::Whole(body) => return Pin::new(body).poll_frame(context),
            Given::UntilClose(body) => {
                // Noted only now: an answer to a HEAD has no body, and is never asked for one.
                request.ends_connection();
                return Pin::new(body).poll_frame(context);
            }
            Given::InPieces(left) => left,
        };
        let frame = match left.source().as_mut() {
            Some(source) => source.poll_piece(context),
            None => Poll::Ready(Some(Err(axum::Error::new("the answer was given up")))),
        };
        // Whoever asks for more has taken what there was.
        if matches!(frame, Poll::Ready(Some(Ok(_)))) {
            request.awaits_client(left);
        } else {
            request.is_taken();
        }
        frame.map_ok(|frame| frame.map_data(|bytes| Unsent::of(bytes, request)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.given {
            Given::Whole(body) | Given::UntilClose(body) => body.is_end_stream(),
            Given::InPieces(left) => left.source().as_ref().is_some_and(Source::is_at_end),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.given {
            Given::Whole(body) | Given::UntilClose(body) => body.size_hint(),
            Given::InPieces(left) => {
                left.source().as_ref().map(Source::size_hint).unwrap_or_default()
            }
        }
    }
}

/// A piece of an answer, which keeps its request under way for as long as it is anywhere.
struct Unsent {
    bytes: Bytes,
    _request: Arc<UnderWay>,
}

impl Unsent {
    fn of(bytes: Bytes, request: &Arc<UnderWay>) -> Bytes {
        Bytes::from_owner(Self { bytes, _request: Arc::clone(request) })
    }
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the client has yet to be given of an answer in pieces; nothing once that was given up. The library, which
/// waits for the client, lets go of no answer by itself.
#[derive(Debug)]
pub(super) struct Left(Mutex<Option<Source>>);

impl Left {
    fn of(body: Body) -> Arc<Self> {
        let source = Source { body, rest: Bytes::new() };
        Arc::new(Self(Mutex::new(Some(source))))
    }

    /// Lets go of it, with all that it holds. Who takes more of it after all is told that it broke off.
    pub(super) fn give_up(&self) {
        let source = self.source().take();
        drop(source);
    }

    fn source(&self) -> MutexGuard<'_, Option<Source>> {
        // A body that panicked is not asked again: its connection has ended.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Source {
    body: Body,
    /// What does not go with the last piece.
    rest: Bytes,
}

impl Source {
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

    /// The beginning of some bytes; the rest stays. A last byte goes alone, since the library takes it only
    /// once the window lets all before it through, and then the answer may be over. A piece is a copy: it may
    /// wait for long, and would keep all of what it is a part of.
    fn piece(&mut self, mut bytes: Bytes) -> Bytes {
        self.rest = bytes.split_off(bytes.len().min(PIECE_BYTES_MAX));
        if self.rest.is_empty() && bytes.len() > 1 {
            self.rest = bytes.split_off(bytes.len() - 1);
        }
        Bytes::copy_from_slice(&bytes)
    }

    fn is_at_end(&self) -> bool {
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

    use std::time::Duration;

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

    #[tokio::test]
    async fn an_answer_that_is_dropped_between_two_pieces_is_no_more_awaited() {
        let presence = Presence::new(&Arc::new(Idle::default()));
        let request = Arc::new(presence.begin());
        let mut answer = Answer::in_pieces(Body::from("taken"), Arc::clone(&request));
        let piece = answer.frame().await.unwrap().unwrap();
        assert_eq!(presence.requests().untaken.len(), 1);
        drop(answer);
        assert!(presence.requests().untaken.is_empty());
        assert_eq!(Arc::strong_count(&request), 2, "the piece keeps it under way");
        drop(piece);
        assert_eq!(Arc::strong_count(&request), 1);
    }

    #[tokio::test]
    async fn a_piece_keeps_nothing_of_the_answer_that_was_given_up() {
        struct Held(Vec<u8>, #[expect(dead_code, reason = "it is there to be dropped")] Arc<()>);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let presence = Presence::new(&Arc::new(Idle::default()));
        let held = Arc::new(());
        let bytes = Bytes::from_owner(Held(vec![7; 1 << 20], Arc::clone(&held)));
        let mut answer = Answer::in_pieces(Body::from(bytes), Arc::new(presence.begin()));
        let piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(Arc::strong_count(&held), 2);
        presence.stalled_for(Duration::ZERO).await;
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(piece, vec![7; PIECE_BYTES_MAX]);
    }
}
