//! Bodies on their way in, whoever reads them: none may stand still for ever, and none that an
//! answer left unread breaks the connection before the answer has arrived.
//!
//! A client that stops sending would keep its share of the upload memory, and with enough of them
//! everybody's: it is given up. A client that is refused while it sends mostly reads the answer
//! only when it has sent everything. A connection that was closed by then is an error to it, and
//! not the 401 that tells it to renew its token; so what a handler leaves is read and dropped in
//! the background. The answer does not wait for that, and who asked with `Expect` before sending
//! is not read from.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::http::{HeaderMap, Version};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep, timeout};

use super::limits::{BODY_SILENCE_MAX, UNREAD_BODY_TIME_MAX};

/// A client sent nothing for so long that it was given up.
#[derive(Debug, thiserror::Error)]
#[error("nothing came for {} seconds", .0.as_secs())]
pub(crate) struct Silence(Duration);

/// Puts every request's body under watch.
pub(crate) async fn watch(request: Request, next: Next) -> Response {
    let reading = Reading::of(request.version(), request.headers());
    let request = request.map(|body| {
        if body.is_end_stream() {
            body
        } else {
            Body::new(Inflow::new(body, reading, BODY_SILENCE_MAX))
        }
    });
    next.run(request).await
}

/// Whether a body that nobody wants is on its way all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It is, and nothing but reading stops it.
    Comes,
    /// Only once somebody began to read, which tells the client to send.
    ComesWhenRead,
    /// The protocol itself can tell the client to stop.
    Stoppable,
}

impl Reading {
    fn of(version: Version, headers: &HeaderMap) -> Self {
        if version > Version::HTTP_11 {
            Self::Stoppable
        } else if headers.contains_key(EXPECT) {
            Self::ComesWhenRead
        } else {
            Self::Comes
        }
    }
}

/// A body under watch.
#[derive(Debug)]
struct Inflow {
    /// Nothing after the end, or after an error.
    body: Option<Body>,
    reading: Reading,
    silence_max: Duration,
    /// Runs while nothing comes.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Inflow {
    fn new(body: Body, reading: Reading, silence_max: Duration) -> Self {
        Self { body: Some(body), reading, silence_max, silence: None }
    }
}

impl HttpBody for Inflow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        if this.reading == Reading::ComesWhenRead {
            this.reading = Reading::Comes;
        }
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            this.silence = None;
            if !matches!(frame, Some(Ok(_))) {
                this.body = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        let silence = this.silence.get_or_insert_with(|| Box::pin(sleep(this.silence_max)));
        if silence.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.body = None;
        Poll::Ready(Some(Err(Silence(this.silence_max).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        if let Some(body) = unread
            && self.reading == Reading::Comes
            && let Ok(runtime) = Handle::try_current()
        {
            // Nobody waits for it: it ends with the body, the connection or its time.
            drop(runtime.spawn(timeout(UNREAD_BODY_TIME_MAX, read_out(body))));
        }
    }
}

async fn read_out(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use tokio::sync::mpsc;

    use super::*;

    /// A body of what is sent into the channel, which holds one piece.
    fn body() -> (mpsc::Sender<&'static str>, Body) {
        let (sender, receiver) = mpsc::channel(1);
        let pieces = stream::unfold(receiver, async |mut receiver| {
            let piece: &str = receiver.recv().await?;
            Some((Ok::<_, Infallible>(piece), receiver))
        });
        (sender, Body::from_stream(pieces))
    }

    #[tokio::test]
    async fn what_is_left_unread_is_read_out() {
        let (sender, body) = body();
        drop(Inflow::new(body, Reading::Comes, BODY_SILENCE_MAX));
        for _ in 0..100 {
            sender.send("more").await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_waits_for_leave_to_send_is_not_read_from_before_it_was_given() {
        let (sender, unwanted) = body();
        drop(Inflow::new(unwanted, Reading::ComesWhenRead, BODY_SILENCE_MAX));
        sender.closed().await;

        let (sender, begun) = body();
        let mut begun = Inflow::new(begun, Reading::ComesWhenRead, BODY_SILENCE_MAX);
        sender.send("first").await.unwrap();
        begun.frame().await.unwrap().unwrap();
        drop(begun);
        for _ in 0..100 {
            sender.send("more").await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_body_that_stands_still_ends_in_an_error() {
        let (sender, body) = body();
        let mut body = Inflow::new(body, Reading::Stoppable, Duration::ZERO);
        sender.send("first").await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.is::<Silence>(), "{error}");
        assert!(body.frame().await.is_none());
        sender.closed().await;
    }

    #[test]
    fn only_what_cannot_be_stopped_is_read_out() {
        let none = HeaderMap::new();
        let asks = HeaderMap::from_iter([(EXPECT, "100-continue".parse().unwrap())]);
        assert_eq!(Reading::of(Version::HTTP_10, &none), Reading::Comes);
        assert_eq!(Reading::of(Version::HTTP_11, &none), Reading::Comes);
        assert_eq!(Reading::of(Version::HTTP_11, &asks), Reading::ComesWhenRead);
        assert_eq!(Reading::of(Version::HTTP_2, &none), Reading::Stoppable);
    }
}
