//! One request and its answer, observed: the id, what is counted, the line in the log.
//!
//! The id is in the header of every answer, in the body of every failure of the server's, and in
//! every line of the log that the request's own task writes: whoever writes lines asks
//! [`current_request_id`]. A span would do the same, at a price for every request that no line is
//! written about, as most are not. A client or a proxy may choose the id (`X-Request-Id`); otherwise
//! the server makes one.
//!
//! A handler that counts something by request asks [`current_id`]; what the request's task does not
//! do itself has no id.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::{AccessTokenId, NodeId, Origin, Subject, User};
use hyper::body::{Frame, SizeHint};
use tracing::{Instrument as _, Span};

use super::access_log::Verdict;
use super::actions;
use super::sender;
use super::state::Observers;
use crate::metrics::ActionId;
use crate::permission::Principal;

/// The header with a request's id.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Letters of an id that a client chooses, at most; UUIDs and trace ids are shorter.
pub(crate) const ID_LETTERS_MAX: usize = 128;

/// Letters of a path that a line of the log has at most.
const PATH_LETTERS_MAX: usize = 512;

/// Letters of a method that a line of the log has at most; those of the API have fewer.
const METHOD_LETTERS_MAX: usize = 32;

tokio::task_local! {
    static CURRENT: Arc<Exchange>;
}

/// A request's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestId {
    /// By the client: letters, digits and signs of ASCII.
    Chosen(HeaderValue),
    /// By the server: hexadecimal digits.
    Made([u8; 16]),
}

impl RequestId {
    /// The id that the client chose, if it is one.
    fn chosen(request: &Request) -> Option<Self> {
        let mut values = request.headers().get_all(X_REQUEST_ID).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let is_known = |letter: &u8| letter.is_ascii_alphanumeric() || b"-_.:/+=@".contains(letter);
        let fits = (1..=ID_LETTERS_MAX).contains(&value.len());
        (fits && value.as_bytes().iter().all(is_known)).then(|| Self::Chosen(value.clone()))
    }

    /// An id that this process gives once.
    fn made() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        static FIRST: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(Instant::now()));
        let mut left = scattered(FIRST.wrapping_add(next_number()));
        Self::Made([(); 16].map(|()| {
            left = left.rotate_left(4);
            let digit = usize::try_from(left & 0xf).ok();
            digit.and_then(|digit| DIGITS.get(digit)).copied().unwrap_or(b'0')
        }))
    }

    fn as_str(&self) -> &str {
        // Only what is such text was taken or made.
        match self {
            Self::Chosen(value) => value.to_str().unwrap_or_default(),
            Self::Made(digits) => str::from_utf8(digits).unwrap_or_default(),
        }
    }

    fn header(&self) -> HeaderValue {
        match self {
            Self::Chosen(value) => value.clone(),
            // Hexadecimal digits fit every header.
            Self::Made(digits) => {
                HeaderValue::from_bytes(digits).unwrap_or(HeaderValue::from_static("none"))
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A number that this process gives once.
fn next_number() -> u64 {
    /// Numbers that a thread takes at a time, so that threads do not wait for each other with each.
    const TAKEN: u64 = 1024;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        /// The next one; where they begin anew, none is left.
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    let next = NEXT.get();
    let number =
        if next.is_multiple_of(TAKEN) { COUNT.fetch_add(TAKEN, Ordering::Relaxed) } else { next };
    NEXT.set(number.wrapping_add(1));
    number
}

/// Numbers that follow each other as numbers that do not look so, each from one only (the last step
/// of Steele, Lea and Flood's `SplitMix64`).
fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The id of the request that this task answers; a fresh one where it answers none.
pub(crate) fn current_id() -> RequestId {
    let current = CURRENT.try_with(|exchange| exchange.id.clone());
    current.unwrap_or_else(|_none| RequestId::made())
}

/// The id of the request that this task answers, for a line that it logs.
pub fn current_request_id() -> Option<String> {
    CURRENT.try_with(|exchange| exchange.id.to_string()).ok()
}

/// Whether it is known who sent the request that this task answers.
pub(super) fn is_caller_known() -> bool {
    CURRENT.try_with(|exchange| exchange.caller.get().is_some()).unwrap_or(false)
}

/// The exchange that this task answers, if it answers one.
pub(super) fn current() -> Option<Arc<Exchange>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Who asks, as far as the logs are to know it.
#[derive(Debug)]
struct Caller {
    user: Arc<User>,
    token: Option<AccessTokenId>,
    node: Option<NodeId>,
}

/// A request and what becomes of it.
#[derive(Debug)]
pub(crate) struct Exchange {
    id: RequestId,
    action: ActionId,
    method: Method,
    uri: Uri,
    /// Who asks, once that is known.
    caller: OnceLock<Caller>,
    /// From where, as far as that is known.
    sender: Option<IpAddr>,
    /// What the audit log is to have of a request that is no change of the store.
    subject: OnceLock<Subject>,
    /// Bytes of the body that were read.
    received: AtomicU64,
    sent: AtomicU64,
    /// 0 until there is an answer.
    status: AtomicU16,
    is_over: AtomicBool,
    began: Instant,
    observers: Arc<Observers>,
}

impl Exchange {
    /// Begins; its end is that of the answer.
    pub(super) fn begin(
        request: &Request,
        action: ActionId,
        observers: Arc<Observers>,
    ) -> Arc<Self> {
        observers.metrics.requests.in_flight.enter();
        Arc::new(Self {
            id: RequestId::chosen(request).unwrap_or_else(RequestId::made),
            action,
            method: request.method().clone(),
            uri: request.uri().clone(),
            caller: OnceLock::new(),
            sender: sender::of(
                request.extensions(),
                request.headers(),
                observers.trusted_proxies(),
            ),
            subject: OnceLock::new(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            status: AtomicU16::new(0),
            is_over: AtomicBool::new(false),
            began: Instant::now(),
            observers,
        })
    }

    /// The span of a trace, where something traces; part of the client's trace if it has one.
    #[cfg_attr(
        not(feature = "otel"),
        expect(unused_variables, reason = "without the feature nobody continues a trace")
    )]
    pub(super) fn trace(&self, request: &Request) -> Span {
        let action = self.observers.metrics.requests.of(self.action);
        let action = action.map_or("", |action| action.name.as_str());
        let trace = tracing::debug_span!(
            target: "granary::trace",
            parent: None,
            "exchange",
            otel.name = action,
            otel.kind = "server",
            request_id = self.id.as_str(),
            http.request.method = self.method.as_str(),
            http.response.status_code = tracing::field::Empty,
        );
        #[cfg(feature = "otel")]
        crate::traces::continue_from(&trace, request.headers());
        trace
    }

    /// Notes who asks.
    pub(super) fn is_of(&self, principal: &Principal) {
        if let Principal::User { user, node, .. } = principal {
            let (token, node) = (principal.access_token(), *node);
            let caller = Caller { user: Arc::clone(user), token, node };
            // Of two, the first: a request is one caller's.
            drop(self.caller.set(caller));
        }
    }

    /// Notes what the audit log is to have of the request, if it is to have anything.
    pub(super) fn is_about(&self, subject: Subject) {
        drop(self.subject.set(subject));
    }

    /// What was noted by [`Exchange::is_about`].
    pub(super) fn subject(&self) -> Option<&Subject> {
        self.subject.get()
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The path, cut where it is longer than a line of a log should be.
    pub(super) fn path(&self) -> &str {
        let path = self.uri.path();
        path.get(..path.floor_char_boundary(PATH_LETTERS_MAX)).unwrap_or_default()
    }

    /// What is asked for, and the status that its success has.
    pub(super) fn action(&self) -> (&'static str, u16) {
        actions::told(self.action)
    }

    /// Who asks for what from where, as the audit log has it.
    pub(super) fn origin(&self, status: u16) -> Origin {
        let caller = self.caller.get();
        Origin {
            user: caller.map(|Caller { user, .. }| (user.id, user.username.clone())),
            access_token: caller.and_then(|caller| caller.token),
            node: caller.and_then(|caller| caller.node),
            action: self.action().0.to_owned(),
            address: self.sender,
            request: self.id.as_str().to_owned(),
            status,
        }
    }

    /// Counts bytes of the body.
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn answered(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
        if let Some(action) = self.observers.metrics.requests.of(self.action) {
            action.answered(status.as_u16(), self.began.elapsed());
        }
    }

    /// Counts and logs, once; when the answer was sent or nobody wants it any longer.
    fn end(&self) {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        let requests = &self.observers.metrics.requests;
        requests.in_flight.leave();
        let status = self.status.load(Ordering::Relaxed);
        let (received, sent) =
            (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed));
        let Some(action) = requests.of(self.action) else { return };
        action.moved(received, sent);
        if status == 0 {
            action.gone();
        }
        let user = self.caller.get().map(|caller| caller.user.id.0);
        let path = self.path();
        let duration_ms = self.began.elapsed().as_micros();
        let duration_ms = format_args!("{}.{:03}", duration_ms / 1000, duration_ms % 1000);
        let (action, request_id) = (action.name.as_str(), self.id.as_str());
        let method = self.method.as_str();
        // Clients may make methods up, as long as a head may be.
        let method = method.get(..METHOD_LETTERS_MAX).unwrap_or(method);
        // That a server is not ready, it says to each who asks; the log says it once.
        if status != 500 && actions::is_of_the_server(action) {
            tracing::debug!(target: "granary::access", action, method, path, status, duration_ms, received, sent, user, request_id, "answered");
            return;
        }
        let admitted = self.observers.access_log.admit(status >= 500, &requests.lines_left_out);
        if admitted == Verdict::Nothing {
            return;
        }
        if let Verdict::LineAfter(left_out) = admitted {
            tracing::info!(target: "granary::access", left_out, "requests were not logged, since there were too many");
        }
        if status >= 500 {
            tracing::warn!(target: "granary::access", action, method, path, status, duration_ms, received, sent, user, request_id, "failed");
        } else if status == 0 {
            tracing::info!(target: "granary::access", action, method, path, duration_ms, received, user, request_id, "the client went away");
        } else {
            tracing::info!(target: "granary::access", action, method, path, status, duration_ms, received, sent, user, request_id, "answered");
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end();
    }
}

/// Answers a request as one that this exchange is.
pub(super) async fn observed(
    exchange: Arc<Exchange>,
    trace: Span,
    answering: impl Future<Output = Response>,
) -> Response {
    let answering = CURRENT.scope(Arc::clone(&exchange), answering);
    let mut response = answering.instrument(trace.clone()).await;
    // Before anybody hears of the answer.
    exchange.observers.witness(&exchange, response.status()).await;
    exchange.answered(response.status());
    trace.record("http.response.status_code", response.status().as_u16());
    response.headers_mut().insert(X_REQUEST_ID, exchange.id.header());
    response.map(|body| Body::new(Outgoing { body, exchange, _trace: trace }))
}

/// An answer's body, whose end is that of the exchange.
struct Outgoing {
    body: Body,
    exchange: Arc<Exchange>,
    /// Lasts as long as the answer.
    _trace: Span,
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, exchange, .. } = self.get_mut();
        let poll = || Pin::new(body).poll_frame(context);
        let frame = CURRENT.sync_scope(Arc::clone(exchange), poll);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            exchange.sent.fetch_add(bytes, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.exchange.end();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn chosen(ids: &[&str]) -> Option<String> {
        let mut request = Request::new(Body::empty());
        for id in ids {
            let id = HeaderValue::from_bytes(id.as_bytes()).unwrap();
            request.headers_mut().append(X_REQUEST_ID, id);
        }
        RequestId::chosen(&request).map(|id| id.to_string())
    }

    #[test]
    fn a_sane_id_of_the_clients_is_taken_and_no_other() {
        for id in [
            "a",
            "7f2dcd4a-0b1c-4e8f-9a1b-000000000000",
            "1-5759e988:bd862e3f/x+y=@z_.",
            &"x".repeat(128),
        ] {
            assert_eq!(chosen(&[id]).as_deref(), Some(id));
        }
        for id in ["", "a b", "a\tb", "a\"b", "<a>", "é", "a,b", &"x".repeat(129)] {
            assert_eq!(chosen(&[id]), None, "{id:?}");
        }
        assert_eq!(chosen(&["a", "b"]), None);
    }

    #[test]
    fn no_id_is_made_twice() {
        let made = || (0..3000).map(|_| RequestId::made().to_string()).collect::<Vec<_>>();
        let elsewhere = std::thread::spawn(made);
        let ids: HashSet<String> = made().into_iter().chain(elsewhere.join().unwrap()).collect();
        assert_eq!(ids.len(), 6000);
        assert!(ids.iter().all(|id| id.len() == 16));
    }
}
