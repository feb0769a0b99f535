//! Which connections have a request under way, and which merely keep a place.
//!
//! A connection without a request may be closed at any time: its client sends the next one on
//! another. So when places are short, the one that has waited longest goes, and nobody who speaks
//! waits for thousands who do not. One that has waited for an instant only stays: its request is on
//! its way, and would get no answer. A request is under way until its answer has been taken whole and
//! its body has been read, or given up: a client that is refused while it sends is spoken to until it
//! has sent everything. An answer's last bytes may wait to be sent when its request is no longer under
//! way: a connection on which bytes wait is not idle either.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Bytes of an answer of HTTP/2 that are given away at a time: a frame's, as most clients take them.
const PIECE_BYTES_MAX: usize = 16 << 10;

/// The connections of a server that have no request under way, and how many requests the others
/// have.
#[derive(Debug, Default)]
pub(super) struct Idle {
    requests: AtomicUsize,
    /// The one that has waited longest first.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_place: u64,
    connections: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

impl Idle {
    /// Tells the connection that has waited longest to end, if it has for so long; `false` if none
    /// has.
    pub(super) fn end_longest(&self, idle_min: Duration) -> bool {
        let mut waiting = self.waiting();
        let longest = waiting.connections.first_entry();
        let longest = longest.filter(|longest| longest.get().0.elapsed() >= idle_min);
        longest.map(|longest| longest.remove().1.notify_one()).is_some()
    }

    /// Requests that are under way, on all connections.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn enter(&self, told: &Arc<Notify>) -> u64 {
        let mut waiting = self.waiting();
        let place = waiting.next_place;
        waiting.next_place += 1;
        waiting.connections.insert(place, (Instant::now(), Arc::clone(told)));
        place
    }

    fn leave(&self, place: u64) {
        self.waiting().connections.remove(&place);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every change is one call, so a panic elsewhere leaves it whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection among the others.
#[derive(Debug)]
pub(super) struct Presence {
    idle: Arc<Idle>,
    /// Told when the connection is to end.
    told: Arc<Notify>,
    requests: Mutex<Requests>,
}

#[derive(Debug)]
struct Requests {
    /// Among the idle, while there is no request and nothing to send.
    place: Option<u64>,
    /// Bytes wait until the client takes some.
    is_sending: bool,
    /// Number of the next one.
    next: u64,
    under_way: usize,
    /// Answers of which the client has yet to take something, with the time since when.
    untaken: HashMap<u64, Instant>,
}

impl Presence {
    /// A new connection, without a request so far.
    pub(super) fn new(idle: &Arc<Idle>) -> Arc<Self> {
        let told = Arc::new(Notify::new());
        let place = Some(idle.enter(&told));
        let requests =
            Requests { place, is_sending: false, next: 0, under_way: 0, untaken: HashMap::new() };
        Arc::new(Self { idle: Arc::clone(idle), told, requests: Mutex::new(requests) })
    }

    /// A request begins; it lasts until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut requests = self.requests();
        self.leave(&mut requests);
        let number = requests.next;
        requests.next += 1;
        requests.under_way += 1;
        let ahead = self.idle.requests.fetch_add(1, Ordering::Relaxed);
        UnderWay { presence: Arc::clone(self), number, ahead }
    }

    /// Bytes wait to be sent from now on, or none do.
    pub(super) fn sends(&self, is_sending: bool) {
        let mut requests = self.requests();
        requests.is_sending = is_sending;
        if is_sending {
            self.leave(&mut requests);
        } else {
            self.enter(&mut requests);
        }
    }

    /// Takes its place among the idle, if it is.
    fn enter(&self, requests: &mut Requests) {
        if requests.under_way == 0 && !requests.is_sending && requests.place.is_none() {
            requests.place = Some(self.idle.enter(&self.told));
        }
    }

    fn leave(&self, requests: &mut Requests) {
        if let Some(place) = requests.place.take() {
            self.idle.leave(place);
        }
    }

    /// Ends when the connection is to end: its place is wanted, no request came for so long, or
    /// an answer was left standing for so long.
    pub(super) async fn over(&self, idle_max: Duration, stall_max: Duration) {
        tokio::select! {
            () = self.told.notified() => {}
            () = self.idle_for(idle_max) => {}
            () = self.stalled_for(stall_max) => {}
        }
    }

    /// Looks now and then, so that a request costs no timer: a connection that had one goes after
    /// up to twice the time.
    async fn idle_for(&self, idle_max: Duration) {
        let mut seen = None;
        loop {
            let next = {
                let requests = self.requests();
                requests.place.map(|_place| requests.next)
            };
            if next.is_some() && next == seen {
                return;
            }
            seen = next;
            sleep(idle_max).await;
        }
    }

    async fn stalled_for(&self, stall_max: Duration) {
        let is_late = |since: &Instant| since.elapsed() >= stall_max;
        while !self.requests().untaken.values().any(is_late) {
            sleep(stall_max / 4).await;
        }
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        // As above.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.leave(&mut self.requests());
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    presence: Arc<Presence>,
    number: u64,
    ahead: usize,
}

impl UnderWay {
    /// Requests that were under way, on all connections, when this one began.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// Notes whose turn it is.
    fn awaits_client(&self, awaits: bool) {
        let mut requests = self.presence.requests();
        if awaits {
            requests.untaken.insert(self.number, Instant::now());
        } else {
            requests.untaken.remove(&self.number);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let presence = &self.presence;
        presence.idle.requests.fetch_sub(1, Ordering::Relaxed);
        let mut requests = presence.requests();
        requests.untaken.remove(&self.number);
        requests.under_way -= 1;
        presence.enter(&mut requests);
    }
}

/// The body of a request, which keeps it under way for as long as anybody reads it.
#[derive(Debug)]
pub(super) struct Asked {
    body: Body,
    _request: Arc<UnderWay>,
}

impl Asked {
    /// What belongs to a request.
    pub(super) fn new(body: Body, request: Arc<UnderWay>) -> Self {
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
pub(super) struct Answer {
    body: Body,
    request: Arc<UnderWay>,
    piece_bytes_max: usize,
    /// What does not go with the last piece.
    rest: Bytes,
}

impl Answer {
    /// The answer to a request, given away as it comes.
    pub(super) fn whole(body: Body, request: Arc<UnderWay>) -> Self {
        Self::new(body, request, usize::MAX)
    }

    /// The answer to a request of HTTP/2, where each stream has a window of its own. The library takes a
    /// piece of any size once the window lets a byte of it through, and says no more of when the rest
    /// goes; so it gets them small, and asks for the next.
    pub(super) fn in_pieces(body: Body, request: Arc<UnderWay>) -> Self {
        Self::new(body, request, PIECE_BYTES_MAX)
    }

    fn new(body: Body, request: Arc<UnderWay>, piece_bytes_max: usize) -> Self {
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
        self.rest = bytes.split_off(bytes.len().min(self.piece_bytes_max));
        bytes
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.request.awaits_client(false);
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
        // Whoever asks for more has taken what there was.
        this.request.awaits_client(matches!(frame, Poll::Ready(Some(Ok(_)))));
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

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn the_one_that_has_waited_longest_is_told_to_end_and_none_with_a_request() {
        let idle = Arc::new(Idle::default());
        let (first, second) = (Presence::new(&idle), Presence::new(&idle));
        let request = first.begin();
        assert!(!idle.end_longest(HOUR), "it has not waited for long");
        assert!(idle.end_longest(Duration::ZERO));
        second.over(HOUR, HOUR).await;
        assert!(!idle.end_longest(Duration::ZERO));
        drop(request);
        assert!(idle.end_longest(Duration::ZERO));
        first.over(HOUR, HOUR).await;
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_or_has_two_requests_keeps_no_place_among_the_idle() {
        let idle = Arc::new(Idle::default());
        drop(Presence::new(&idle));
        assert!(!idle.end_longest(Duration::ZERO));
        let presence = Presence::new(&idle);
        let requests = [presence.begin(), presence.begin()];
        let [first, second] = requests;
        drop(first);
        assert!(!idle.end_longest(Duration::ZERO));
        drop(second);
        assert!(idle.end_longest(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_connection_on_which_bytes_wait_is_not_idle_though_its_request_is_over() {
        let idle = Arc::new(Idle::default());
        let presence = Presence::new(&idle);
        presence.sends(true);
        drop(presence.begin());
        assert!(!idle.end_longest(Duration::ZERO));
        presence.sends(false);
        presence.sends(false);
        assert!(idle.end_longest(Duration::ZERO));
        assert!(!idle.end_longest(Duration::ZERO), "it has one place");
    }

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
    async fn without_a_request_for_long_it_is_over() {
        let presence = Presence::new(&Arc::new(Idle::default()));
        presence.over(Duration::ZERO, HOUR).await;
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends_the_connection() {
        let presence = Presence::new(&Arc::new(Idle::default()));
        let mut answer = Answer::whole(Body::from("taken"), Arc::new(presence.begin()));
        answer.frame().await.unwrap().unwrap();
        presence.over(HOUR, Duration::ZERO).await;
        assert!(answer.frame().await.is_none());
        assert!(presence.requests().untaken.is_empty());
    }

    #[tokio::test]
    async fn a_request_is_under_way_until_its_body_is_read_though_it_has_been_answered() {
        let idle = Arc::new(Idle::default());
        let presence = Presence::new(&idle);
        let request = Arc::new(presence.begin());
        let body = Asked::new(Body::from("sent"), Arc::clone(&request));
        let mut answer = Answer::whole(Body::from("refused"), request);
        answer.frame().await.unwrap().unwrap();
        drop(answer);
        assert!(presence.requests().untaken.is_empty());
        assert!(!idle.end_longest(Duration::ZERO));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "sent");
        assert!(idle.end_longest(Duration::ZERO));
    }
}
