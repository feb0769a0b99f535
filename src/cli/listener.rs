//! Connections: taken, bounded in number, in silence and in slowness, and let end when the server
//! stops.
//!
//! No client is trusted to go on. Every wait for one has an end (`Bounds`), and a connection that
//! has no request under way goes first where places are short (`presence.rs`); where none is, who
//! comes is refused at once (`refusal.rs`). What a body must bring is the router's own matter.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, Request, Response, StatusCode, Version};
use axum::{BoxError, Router};
use futures_util::FutureExt as _;
use futures_util::future::Either;
use granary::{Connections, Peer};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::outflow::Outflow;
use super::presence::{Answer, Asked, Idle, Leave, Presence, UnderWay};
pub(in crate::cli) use bounds::Bounds;
use bounds::{IDLE_AT_END_MAX, PAUSE_AFTER_REFUSAL, PAUSE_BETWEEN_ENDS};
use lag::Lag;
use protocols::builder;
pub(in crate::cli) use refusal::REFUSED_AT_ONCE_FEW;
use refusal::Refusals;
use wakeups::Wakeups;

/// Where connections come from, and whether they are encrypted.
pub(crate) struct Entrance {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    counts: Arc<Connections>,
}

impl From<TcpListener> for Entrance {
    fn from(listener: TcpListener) -> Self {
        Self { listener, tls: None, counts: Arc::default() }
    }
}

impl Entrance {
    /// Connections that speak TLS, and what else they are shown.
    pub(crate) fn with_tls(listener: TcpListener, tls: TlsAcceptor) -> Self {
        Self { listener, tls: Some(tls), counts: Arc::default() }
    }

    /// Counts connections where others read the numbers.
    pub(crate) fn counting(self, counts: Arc<Connections>) -> Self {
        Self { counts, ..self }
    }
}

/// What answers requests.
#[derive(Clone)]
pub(crate) struct Routers {
    usual: Router,
    /// While those under way are more than the server keeps up with.
    crowded: Router,
}

impl Routers {
    pub(crate) fn new(usual: Router, crowded: Router) -> Self {
        Self { usual, crowded }
    }
}

impl From<Router> for Routers {
    fn from(usual: Router) -> Self {
        Self::new(usual, refusal::router())
    }
}

/// Serves until `stop` holds true, then lets requests under way end for up to `grace`.
///
/// Returns the number of connections that were cut because they had not ended by then.
pub(crate) async fn serve(
    entrance: impl Into<Entrance>,
    routers: impl Into<Routers>,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
    bounds: Bounds,
) -> usize {
    let Entrance { listener, tls, counts } = entrance.into();
    counts.limit.set(u64::try_from(bounds.connections_max).unwrap_or(u64::MAX));
    let (room, idle) = (Arc::new(Semaphore::new(bounds.connections_max)), Arc::default());
    let (refusals, lag) = (Refusals::beside(bounds.connections_max), Lag::watch());
    let desk = Arc::new(Desk { routers: routers.into(), lag: lag.clone(), bounds });
    let mut connections = JoinSet::new();
    // Kept from one turn to the next, since it may hold a connection that waits for a place.
    let mut accepting = Box::pin(accept(&listener, &room, &idle, &lag, &counts, bounds));
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accepting.as_mut() => {
                match accepted {
                    Ok((stream, None)) => {
                        counts.refused.increment();
                        // With TLS, a refusal in words would cost a handshake.
                        if tls.is_none() {
                            refusals.refuse(stream).await;
                        }
                    }
                    Ok((stream, Some(permit))) => {
                        let (presence, desk) = (Presence::new(&idle), Arc::clone(&desk));
                        let connection = Connection { presence, desk, stop: stop.clone(), bounds };
                        let (counted, tls) = (counts.enter(), tls.clone());
                        connections.spawn(async move {
                            connection.hold(stream, tls, permit).await;
                            drop(counted);
                        });
                    }
                    Err(error) => {
                        warn!(%error, "cannot take a connection");
                        tokio::time::sleep(PAUSE_AFTER_REFUSAL).await;
                    }
                }
                accepting.set(accept(&listener, &room, &idle, &lag, &counts, bounds));
            }
        }
    }
    // Whoever connects from here on is refused by the system, and may try elsewhere.
    drop(accepting);
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_ended).await.is_err() {
        return connections.len();
    }
    0
}

/// Ends when the server is told to stop, or nobody is left who could tell it.
async fn told(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

/// Takes the next connection, and a place for it: where all are taken, that of one that is idle. If
/// none is, or the server is behind with those that it has, there is no place.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    idle: &Idle,
    lag: &Lag,
    counts: &Connections,
    bounds: Bounds,
) -> io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    let (stream, _) = listener.accept().await?;
    let is_behind = bounds.are_passed(idle.requests(), lag);
    let permit =
        if is_behind { None } else { place(room, idle, counts, bounds.idle_time_min).await? };
    Ok((stream, permit))
}

async fn place(
    room: &Arc<Semaphore>,
    idle: &Idle,
    counts: &Connections,
    idle_min: Duration,
) -> io::Result<Option<OwnedSemaphorePermit>> {
    loop {
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            return Ok(Some(permit));
        }
        if !idle.end_longest(idle_min) {
            return Ok(None);
        }
        counts.given_up.increment();
        if let Ok(permit) = timeout(PAUSE_BETWEEN_ENDS, Arc::clone(room).acquire_owned()).await {
            return permit.map(Some).map_err(io::Error::other);
        }
    }
}

/// One connection.
struct Connection {
    presence: Arc<Presence>,
    desk: Arc<Desk>,
    stop: watch::Receiver<bool>,
    bounds: Bounds,
}

impl Connection {
    /// Serves it to its end, the handshake included if there is one.
    async fn hold(
        mut self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        _permit: OwnedSemaphorePermit,
    ) {
        // Answers are written whole, so waiting for more to send only delays them.
        let peer = match stream.set_nodelay(true).and_then(|()| stream.peer_addr()) {
            Ok(address) => Peer::new(address.ip()),
            Err(error) => {
                debug!(%error, "cannot set up a connection");
                return;
            }
        };
        let stream = Outflow::new(stream, self.bounds.answer_pace, Arc::clone(&self.presence));
        match tls {
            None => self.serve(stream, peer).await,
            Some(tls) => {
                if let Some(stream) = self.shake_hands(stream, &tls).await {
                    self.serve(stream, peer).await;
                }
            }
        }
    }

    /// Encrypts the connection; while that is under way it counts as idle.
    async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: S,
        tls: &TlsAcceptor,
    ) -> Option<tokio_rustls::server::TlsStream<S>> {
        let bounds = self.bounds;
        let over = self.presence.over(bounds.handshake_time_max);
        tokio::select! {
            done = tls.accept(stream) => {
                // What strangers try is no fault of ours.
                done.inspect_err(|error| debug!(%error, "a TLS handshake failed")).ok()
            }
            _ = over => None,
            () = told(&mut self.stop) => None,
        }
    }

    /// Answers the requests that come.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        mut self,
        stream: S,
        peer: Peer,
    ) {
        let bounds = self.bounds;
        let builder = builder(bounds);
        let (requests, desk) = (Arc::clone(&self.presence), self.desk);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            desk.answer(request, peer.clone(), requests.begin())
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let (presence, span) = (&self.presence, bounds.answer_pace.span);
        // The connection goes first: what it has to send is sent before it may be over.
        let wakeups = Wakeups::default();
        let watched = leaves(presence, &mut self.stop, bounds);
        let ended = match wakeups.first(connection.as_mut(), watched).await {
            Either::Left(ended) => Either::Left(ended),
            Either::Right(leave) => {
                // The client is told, as far as the protocol has words for it. The other requests under way
                // are no worse for it; there are no more of them.
                connection.as_mut().graceful_shutdown();
                match leave {
                    Leave::AtOnce => {
                        connection.now_or_never().map_or(Either::Right(()), Either::Left)
                    }
                    Leave::InAMoment => wakeups.first(connection, ends(presence, span)).await,
                }
            }
        };
        if let Either::Left(Err(error)) = ended {
            debug!(%error, "a connection broke off");
        }
    }
}

/// Ends when a connection is to end: its place is wanted, or no request came for long, or an answer was left
/// standing, or the server is to stop. The library by itself waits for ever for the bytes that tell the protocol,
/// and for the next request of one that has many.
async fn leaves(presence: &Presence, stop: &mut watch::Receiver<bool>, bounds: Bounds) -> Leave {
    tokio::select! {
        biased;
        leave = presence.over(bounds.idle_time_max) => leave,
        () = presence.unasked_for(bounds.head_time_max) => Leave::InAMoment,
        () = presence.stalled_for(bounds.answer_pace.span) => Leave::InAMoment,
        () = told(stop) => Leave::InAMoment,
    }
}

/// Ends when a connection whose client was told so has had nothing under way for a moment, or only what was
/// left standing. The library by itself waits for clients of HTTP/2 to say that they have heard of it.
async fn ends(presence: &Presence, span: Duration) {
    tokio::select! {
        biased;
        _ = presence.over(IDLE_AT_END_MAX) => {}
        () = presence.all_stalled_for(span) => {}
    }
}

/// Where requests are answered.
struct Desk {
    routers: Routers,
    lag: Lag,
    bounds: Bounds,
}

impl Desk {
    fn answer<B>(
        &self,
        mut request: Request<B>,
        peer: Peer,
        mut under_way: UnderWay,
    ) -> impl Future<Output = Result<Response<Answer>, Infallible>> + use<B>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let ahead = under_way.ahead();
        let is_crowded = self.bounds.leave_no_place(ahead, under_way.ahead_beside())
            || self.bounds.are_passed(ahead, &self.lag);
        let router = if is_crowded {
            // Its client may let the refusal stand for as long as any answer.
            under_way.counts_no_more();
            &self.routers.crowded
        } else {
            &self.routers.usual
        };
        let router = router.clone();
        async move {
            let under_way = Arc::new(under_way);
            let version = request.version();
            if !names_its_host(&request) {
                return Ok(no_host().map(|body| Answer::whole(body, under_way)));
            }
            request.extensions_mut().insert(peer);
            let request = request.map(|body| {
                if body.is_end_stream() {
                    return Body::empty();
                }
                Body::new(Asked::new(body, Arc::clone(&under_way)))
            });
            let answered = router.oneshot(request).await?;
            let give = if version == Version::HTTP_2 {
                Answer::in_pieces
            } else if version < Version::HTTP_11 && !tells_its_length(&answered) {
                Answer::until_close
            } else {
                Answer::whole
            };
            Ok(answered.map(|body| give(body, under_way)))
        }
    }
}

/// Whether a request of HTTP/1.1 names one host, as all must (RFC 9112, section 3.2): who is in
/// between and knows another one than we would be taken in. The other versions need not, or do it
/// elsewhere.
fn names_its_host<T>(request: &Request<T>) -> bool {
    request.version() != Version::HTTP_11 || request.headers().get_all(HOST).iter().count() == 1
}

fn tells_its_length(answer: &Response<Body>) -> bool {
    answer.headers().contains_key(CONTENT_LENGTH) || answer.body().size_hint().exact().is_some()
}

fn no_host() -> Response<Body> {
    let detail = r#"{"detail":"A request of HTTP/1.1 must have one Host header."}"#;
    let mut response = Response::new(Body::from(detail));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

mod bounds;

mod lag;

mod protocols;

mod refusal;

mod wakeups;

#[cfg(test)]
mod answer_tests;

#[cfg(test)]
mod end_tests;

#[cfg(test)]
mod hostile_tests;

#[cfg(test)]
mod pipe_tests;

#[cfg(test)]
mod place_tests;

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_before_the_server_ends() {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, goes_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        let slow = async move || {
            begins.notify_one();
            goes_on.notified().await;
            "done"
        };
        let router = Router::new().route("/", get(slow));
        let (listener, address) = listener().await;
        let (tell, stop) = watch::channel(false);
        let server =
            tokio::spawn(serve(listener, router, stop, Duration::from_mins(1), Bounds::default()));

        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(REQUEST).await.unwrap();
        begun.notified().await;
        tell.send(true).unwrap();
        // The idle connection ends at once, the busy one with its answer.
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        go_on.notify_one();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();

        assert!(answer.ends_with("done"), "{answer}");
        assert_eq!(server.await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn a_request_names_one_host_where_the_protocol_demands_it() {
        let names = |version, hosts: &[&str]| {
            let request = Request::builder().version(version);
            let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
            names_its_host(&request.body(()).unwrap())
        };
        assert!(names(Version::HTTP_11, &["h"]) && names(Version::HTTP_11, &[""]));
        assert!(!names(Version::HTTP_11, &[]) && !names(Version::HTTP_11, &["h", "h"]));
        assert!(names(Version::HTTP_10, &[]) && names(Version::HTTP_2, &[]));
        assert_eq!(no_host().status(), StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_when_the_grace_is_over() {
        let begun = Arc::new(Notify::new());
        let begins = Arc::clone(&begun);
        let endless = async move || {
            begins.notify_one();
            std::future::pending::<()>().await;
        };
        let router = Router::new().route("/", get(endless));
        let (listener, address) = listener().await;
        let (tell, stop) = watch::channel(false);
        let server = tokio::spawn(serve(listener, router, stop, Duration::ZERO, Bounds::default()));

        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(REQUEST).await.unwrap();
        begun.notified().await;
        tell.send(true).unwrap();

        assert_eq!(server.await.unwrap(), 1);
        assert_eq!(busy.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}
