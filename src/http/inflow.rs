//! Bodies on their way in, whoever reads them: none may stand still for ever, and none that an
//! answer left unread breaks the connection before the answer has arrived.
//!
//! A client that stops sending, or sends a byte a second, would keep its share of the upload memory
//! and its connection, and with enough of them everybody's: it is given up. A client that is refused while it sends mostly reads the answer
//! only when it has sent everything. A connection that was closed by then is an error to it, and
//! not the 401 that tells it to renew its token; so what a handler leaves is read and dropped in
//! the background, for a while or, if whoever refused it asks for that, to its end. The answer does
//! not wait for that, and who asked with `Expect` before sending is not read from, unless the answer came so
//! late that they no longer wait for leave. Whether it came to its end, and whether it brought anything, is told
//! to whoever asked before ([`Leftover`]).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::http::{HeaderMap, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::exchange::Exchange;
use super::limits::{BODY_BYTES_A_SECOND, BODY_SPAN, LEAVE_TIME_MIN, UNREAD_BODY_TIME_MAX};
use crate::pace::{Pace, Pacer};

/// A client sent so little for so long that it was given up.
#[derive(Debug, thiserror::Error)]
#[error("fewer than {} bytes came in {} seconds", .0.bytes.max(1), .0.span.as_secs())]
pub(crate) struct TooSlow(pub(crate) Pace);

/// The pace of bodies that bring so many bytes a second on average; with none, nothing but silence
/// is too slow.
pub fn body_pace(bytes_a_second: u64) -> Pace {
    Pace { span: BODY_SPAN, bytes: bytes_a_second.saturating_mul(BODY_SPAN.as_secs()) }
}

/// The pace that is asked for where nobody says otherwise.
pub(super) fn usual_pace() -> Pace {
    body_pace(BODY_BYTES_A_SECOND)
}

/// Puts a request's body, if it has one, under watch.
pub(super) fn watched(request: Request, pace: Pace, exchange: &Arc<Exchange>) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let reading = Reading::of(request.version(), request.headers());
    let leftover = Leftover::default();
    let mut request = request.map(|body| {
        let mut inflow = Inflow::new(body, reading, pace);
        inflow.leftover = leftover.clone();
        inflow.exchange = Some(Arc::clone(exchange));
        Body::new(inflow)
    });
    request.extensions_mut().insert(leftover);
    request
}

/// A request's extension: what becomes of its body, and of the part of it that nobody takes. Clones
/// are of the same body.
#[derive(Debug, Clone, Default)]
pub(super) struct Leftover(Arc<Fate>);

/// Nothing else is passed along with either.
#[derive(Debug, Default)]
struct Fate {
    is_read_to_end: AtomicBool,
    /// Nobody took all of it, though some was on its way.
    is_left: AtomicBool,
    has_brought_bytes: AtomicBool,
    has_ended: AtomicBool,
    /// What is left of it is being read.
    is_being_read: AtomicBool,
    /// When that ended.
    read_until: OnceLock<Instant>,
}

impl Leftover {
    /// Asks that it be read to its end, however long that takes, as long as it keeps the pace.
    pub(super) fn read_to_end(&self) {
        self.0.is_read_to_end.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_read_to_end(&self) -> bool {
        self.0.is_read_to_end.load(Ordering::Relaxed)
    }

    /// Whether some of it was on its way and has not been read, or not yet.
    pub(super) fn is_cut_off(&self) -> bool {
        self.0.is_left.load(Ordering::Relaxed) && !self.has_ended()
    }

    /// Whether it was read to its end and brought no byte.
    pub(super) fn was_empty(&self) -> bool {
        self.has_ended() && !self.0.has_brought_bytes.load(Ordering::Relaxed)
    }

    /// The time given, or that at which what was left had been read, if that is later; now, while it is read.
    pub(super) fn last_read(&self, at: Instant) -> Instant {
        if self.0.is_being_read.load(Ordering::Acquire) {
            return Instant::now();
        }
        self.0.read_until.get().map_or(at, |until| at.max(*until))
    }

    fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Acquire)
    }

    fn note_left(&self) {
        self.0.is_left.store(true, Ordering::Relaxed);
    }

    fn note_bytes(&self, bytes: usize) {
        if bytes > 0 {
            self.0.has_brought_bytes.store(true, Ordering::Relaxed);
        }
    }

    /// Whoever sees this sees what it brought.
    fn note_end(&self) {
        self.0.has_ended.store(true, Ordering::Release);
    }
}

/// Whether a body that nobody wants is on its way all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It is, and nothing but reading stops it.
    Comes,
    /// Only once somebody began to read, which tells the client to send, or when it has waited for that for long.
    ComesWhenRead { since: Instant },
    /// The protocol itself can tell the client to stop.
    Stoppable,
}

impl Reading {
    fn of(version: Version, headers: &HeaderMap) -> Self {
        if version > Version::HTTP_11 {
            Self::Stoppable
        } else if headers.contains_key(EXPECT) {
            Self::ComesWhenRead { since: Instant::now() }
        } else {
            Self::Comes
        }
    }

    /// Whether some of it may be on its way.
    fn may_have_begun(self) -> bool {
        match self {
            Self::Comes | Self::Stoppable => true,
            Self::ComesWhenRead { since } => since.elapsed() >= LEAVE_TIME_MIN,
        }
    }
}

/// A body under watch.
#[derive(Debug)]
struct Inflow {
    /// Nothing after the end, or after an error.
    body: Option<Body>,
    reading: Reading,
    pace: Pace,
    pacer: Pacer,
    leftover: Leftover,
    /// How long what is left of it is read otherwise.
    unread_time: Duration,
    /// Whose body it is.
    exchange: Option<Arc<Exchange>>,
}

impl Inflow {
    fn new(body: Body, reading: Reading, pace: Pace) -> Self {
        Self {
            body: Some(body),
            reading,
            pace,
            pacer: Pacer::new(pace),
            leftover: Leftover::default(),
            unread_time: UNREAD_BODY_TIME_MAX,
            exchange: None,
        }
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
        if matches!(this.reading, Reading::ComesWhenRead { .. }) {
            this.reading = Reading::Comes;
        }
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            match &frame {
                Some(Ok(frame)) => {
                    let bytes = data_bytes(frame);
                    this.pacer.moved(bytes);
                    this.leftover.note_bytes(bytes);
                    if let Some(exchange) = &this.exchange {
                        exchange.received(bytes);
                    }
                }
                Some(Err(_)) => this.body = None,
                None => {
                    this.leftover.note_end();
                    this.body = None;
                }
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        if this.pacer.poll_too_slow(context).is_pending() {
            return Poll::Pending;
        }
        this.body = None;
        Poll::Ready(Some(Err(TooSlow(this.pace).into())))
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
        let Some(body) = self.body.take() else { return };
        if body.is_end_stream() {
            return self.leftover.note_end();
        }
        if !self.reading.may_have_begun() {
            return;
        }
        // Who is told to stop has sent some of it all the same, and does not get that back.
        self.leftover.note_left();
        if self.reading == Reading::Stoppable {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let leftover = self.leftover.clone();
            // Nobody waits for it: it ends with the body, the connection, its pace or its time.
            if leftover.is_read_to_end() {
                let rest = Body::new(Self::new(body, Reading::Stoppable, self.pace));
                drop(runtime.spawn(read_out(rest, leftover)));
            } else {
                drop(runtime.spawn(timeout(self.unread_time, read_out(body, leftover))));
            }
        }
    }
}

/// Says as long as it is there that what is left is being read, and then when that ended.
struct BeingRead<'a>(&'a Fate);

impl<'a> BeingRead<'a> {
    fn begin(fate: &'a Fate) -> Self {
        fate.is_being_read.store(true, Ordering::Release);
        Self(fate)
    }
}

impl Drop for BeingRead<'_> {
    fn drop(&mut self) {
        // Read once, so nothing is there yet.
        self.0.read_until.set(Instant::now()).ok();
        self.0.is_being_read.store(false, Ordering::Release);
    }
}

async fn read_out(mut body: Body, leftover: Leftover) {
    let _being_read = BeingRead::begin(&leftover.0);
    loop {
        match body.frame().await {
            Some(Ok(frame)) => leftover.note_bytes(data_bytes(&frame)),
            Some(Err(_)) => return,
            None => return leftover.note_end(),
        }
    }
}

fn data_bytes(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use tokio::sync::mpsc;
    use tokio::time::advance;

    use super::*;

    const PATIENT: Pace = Pace { span: Duration::from_hours(1), bytes: 0 };

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
        drop(Inflow::new(body, Reading::Comes, PATIENT));
        for _ in 0..100 {
            sender.send("more").await.unwrap();
        }
    }

    /// Of who asks before sending.
    fn asking() -> Reading {
        let asks = HeaderMap::from_iter([(EXPECT, "100-continue".parse().unwrap())]);
        Reading::of(Version::HTTP_11, &asks)
    }

    #[tokio::test(start_paused = true)]
    async fn when_what_is_left_was_read_last_is_known_however_long_it_takes() {
        let hour = Duration::from_hours(1);
        let (sender, unread) = body();
        let inflow = Inflow::new(unread, Reading::Comes, PATIENT);
        let leftover = inflow.leftover.clone();
        leftover.read_to_end();
        let refused = Instant::now();
        drop(inflow);
        for _ in 0..10 {
            sender.send("more").await.unwrap();
            advance(hour / 2).await;
        }
        assert_eq!(leftover.last_read(refused), refused + hour * 5, "it is read still");
        drop(sender);
        while leftover.is_cut_off() {
            tokio::task::yield_now().await;
        }
        advance(hour).await;
        assert_eq!(leftover.last_read(refused), refused + hour * 5);
        let unread = Leftover::default();
        assert_eq!(unread.last_read(refused), refused);
    }

    #[tokio::test(start_paused = true)]
    async fn who_no_longer_waits_for_leave_to_send_is_read_from_though_it_was_not_given() {
        let (sender, unwanted) = body();
        let unwanted = Inflow::new(unwanted, asking(), PATIENT);
        let leftover = unwanted.leftover.clone();
        advance(LEAVE_TIME_MIN).await;
        drop(unwanted);
        assert!(leftover.is_cut_off());
        for _ in 0..100 {
            sender.send("more").await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_leave_to_send_is_not_read_from_before_it_was_given() {
        let (sender, unwanted) = body();
        let unwanted = Inflow::new(unwanted, asking(), PATIENT);
        advance(LEAVE_TIME_MIN / 2).await;
        drop(unwanted);
        sender.closed().await;

        let (sender, begun) = body();
        let mut begun = Inflow::new(begun, asking(), PATIENT);
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
        let at_once = Pace { span: Duration::ZERO, bytes: 0 };
        let mut body = Inflow::new(body, Reading::Stoppable, at_once);
        sender.send("first").await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.is::<TooSlow>(), "{error}");
        assert!(body.frame().await.is_none());
        sender.closed().await;
    }

    #[tokio::test]
    async fn a_body_that_comes_byte_by_byte_ends_in_an_error() {
        let (sender, body) = body();
        let pace = Pace { span: Duration::from_millis(1), bytes: 1 << 20 };
        let mut body = Inflow::new(body, Reading::Stoppable, pace);
        let trickle = tokio::spawn(async move {
            while sender.send("x").await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
        // Nobody else runs between two looks, so that each byte is waited for.
        let error = loop {
            if let Err(error) = body.frame().await.unwrap() {
                break error;
            }
        };
        assert!(error.is::<TooSlow>(), "{error}");
        trickle.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_to_be_read_to_its_end_is_read_longer_than_other_bodies() {
        for asked in [false, true] {
            let (sender, body) = body();
            let mut inflow = Inflow::new(body, Reading::Comes, PATIENT);
            inflow.unread_time = Duration::ZERO;
            if asked {
                inflow.leftover.read_to_end();
            }
            drop(inflow);
            if asked {
                for _ in 0..100 {
                    sender.send("more").await.unwrap();
                }
            } else {
                sender.closed().await;
            }
        }
    }

    #[tokio::test]
    async fn whether_what_is_left_came_to_its_end_is_known() {
        let left_of = |mut inflow: Inflow, unread_time| {
            inflow.unread_time = unread_time;
            inflow.leftover.clone()
        };
        let (sender, whole) = body();
        let leftover = left_of(Inflow::new(whole, Reading::Comes, PATIENT), Duration::MAX);
        assert!(leftover.is_cut_off());
        sender.send("more").await.unwrap();
        drop(sender);
        while leftover.is_cut_off() {
            tokio::task::yield_now().await;
        }

        let (sender, cut) = body();
        let leftover = left_of(Inflow::new(cut, Reading::Comes, PATIENT), Duration::ZERO);
        sender.closed().await;
        assert!(leftover.is_cut_off());

        // Who may be told to stop may have begun; who asked first has not.
        for (reading, is_cut_off) in [(asking(), false), (Reading::Stoppable, true)] {
            let (_sender, unsent) = body();
            let leftover = left_of(Inflow::new(unsent, reading, PATIENT), Duration::ZERO);
            assert_eq!(leftover.is_cut_off(), is_cut_off, "{reading:?}");
        }
    }

    #[tokio::test]
    async fn whether_a_body_brought_anything_is_known_once_it_has_ended() {
        let pieces = |pieces: &'static [&'static str]| {
            Body::from_stream(stream::iter(pieces.iter().copied().map(Ok::<_, Infallible>)))
        };
        for (body, was_empty) in [
            (pieces(&[]), true),
            (pieces(&["", ""]), true),
            (pieces(&["", "more"]), false),
            (Body::empty(), true),
        ] {
            let mut inflow = Inflow::new(body, Reading::Stoppable, PATIENT);
            let leftover = inflow.leftover.clone();
            assert!(!leftover.was_empty(), "before anybody looked");
            while let Some(frame) = inflow.frame().await {
                frame.unwrap();
            }
            drop(inflow);
            assert_eq!(leftover.was_empty(), was_empty);
        }

        for (piece, was_empty) in [("", true), ("more", false)] {
            let (sender, unread) = body();
            let inflow = Inflow::new(unread, Reading::Comes, PATIENT);
            let leftover = inflow.leftover.clone();
            drop(inflow);
            sender.send(piece).await.unwrap();
            drop(sender);
            while leftover.is_cut_off() {
                assert!(!leftover.was_empty(), "before its end");
                tokio::task::yield_now().await;
            }
            assert_eq!(leftover.was_empty(), was_empty);
        }

        let unread = Inflow::new(Body::empty(), Reading::Stoppable, PATIENT);
        let leftover = unread.leftover.clone();
        drop(unread);
        assert!(leftover.was_empty(), "its end had come before");

        let (_sender, unsent) = body();
        let unread = Inflow::new(unsent, asking(), PATIENT);
        let leftover = unread.leftover.clone();
        drop(unread);
        assert!(!leftover.was_empty(), "nobody asked it to be sent");
    }

    #[test]
    fn only_what_cannot_be_stopped_is_read_out() {
        let none = HeaderMap::new();
        assert_eq!(Reading::of(Version::HTTP_10, &none), Reading::Comes);
        assert_eq!(Reading::of(Version::HTTP_11, &none), Reading::Comes);
        assert!(matches!(asking(), Reading::ComesWhenRead { .. }));
        assert_eq!(Reading::of(Version::HTTP_2, &none), Reading::Stoppable);
    }
}
