//! Clients that mean no good, on real sockets: each is cut off, and the next one is answered.
//! Bounds are short here; nothing is said of how long anything takes.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::routing::{get, post};
use granary::{AppState, Pace, router};
use granary_engine::{Engine, EngineOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::bounds::STREAMS_MAX;
use super::*;

pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// Bounds that nobody meets within a test.
pub(super) fn patient() -> Bounds {
    Bounds {
        connections_max: 100,
        idle_time_min: Duration::ZERO,
        crowd_min: usize::MAX,
        late_after: HOUR,
        head_time_max: HOUR,
        idle_time_max: HOUR,
        handshake_time_max: HOUR,
        answer_pace: Pace { span: HOUR, bytes: 0 },
    }
}

/// A server, until it is dropped.
pub(super) struct Server {
    address: std::net::SocketAddr,
    pub(super) counts: Arc<Connections>,
    _stop: watch::Sender<bool>,
}

impl Server {
    pub(super) async fn start(router: Router, bounds: Bounds) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(Connections::default());
        let entrance = Entrance::from(listener).counting(Arc::clone(&counts));
        tokio::spawn(serve(entrance, router, stopped, Duration::ZERO, bounds));
        Self { address, counts, _stop: stop }
    }

    /// A server that says "here" and reads whatever it is sent.
    pub(super) async fn simple(bounds: Bounds) -> Self {
        let read = async |body: Bytes| body.len().to_string();
        let router = Router::new().route("/", get(async || "here")).route("/", post(read));
        Self::start(router, bounds).await
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A client as it should be is answered.
    pub(super) async fn serves(&self) {
        let mut stream = self.connect().await;
        stream.write_all(REQUEST).await.unwrap();
        let answer = text(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
    }
}

/// What comes until the connection ends, in whichever way.
pub(super) async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An end that is no clean one is one too.
    stream.read_to_end(&mut bytes).await.ok();
    bytes
}

pub(super) async fn text(stream: &mut TcpStream) -> String {
    String::from_utf8_lossy(&rest(stream).await).into_owned()
}

#[tokio::test]
async fn idle_connections_give_way_when_places_are_short() {
    let server = Server::simple(Bounds { connections_max: 50, ..patient() }).await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(server.connect().await);
    }
    for _ in 0..100 {
        server.serves().await;
    }
    // The first ones went.
    assert_eq!(rest(&mut idle[0]).await, b"");
    assert!(server.counts.given_up.get() >= 450, "{:?}", server.counts);
    assert_eq!((server.counts.refused.get(), server.counts.limit.get()), (0, 50));
}

#[tokio::test]
async fn a_connection_with_a_request_gives_way_to_nobody() {
    let (begun, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(Semaphore::new(0)));
    let (begins, goes_on) = (Arc::clone(&begun), Arc::clone(&go_on));
    let slow = async move || {
        begins.notify_one();
        drop(goes_on.acquire().await);
        "done"
    };
    let router = Router::new().route("/slow", get(slow)).route("/", get(async || "here"));
    let server = Server::start(router, Bounds { connections_max: 3, ..patient() }).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    begun.notified().await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(server.connect().await);
        server.serves().await;
    }
    go_on.add_permits(1);
    let answer = text(&mut busy).await;
    assert!(answer.ends_with("done"), "{answer}");
}

#[tokio::test]
async fn who_finds_all_places_taken_by_requests_is_refused_at_once_and_told_when_to_come_back() {
    let (begun, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (begins, goes_on) = (Arc::clone(&begun), Arc::clone(&go_on));
    let slow = async move || {
        begins.add_permits(1);
        drop(goes_on.acquire().await);
        "here"
    };
    let router = Router::new().route("/", get(slow));
    // A third one has only just come, and its request is on its way.
    let bounds = Bounds { connections_max: 3, idle_time_min: HOUR, ..patient() };
    let server = Server::start(router, bounds).await;
    let mut busy = [server.connect().await, server.connect().await, server.connect().await];
    for stream in &mut busy[..2] {
        stream.write_all(REQUEST).await.unwrap();
        begun.acquire().await.unwrap().forget();
    }
    let large = [&b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"[..], b"nine here"];
    for request in [REQUEST.to_vec(), large.concat()] {
        let mut refused = server.connect().await;
        refused.write_all(&request).await.unwrap();
        let answer = text(&mut refused).await;
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"),
            "{answer}"
        );
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        assert!(answer.contains(&format!("content-length: {}", body.len())), "{answer}");
    }
    assert_eq!((server.counts.refused.get(), server.counts.open.get()), (2, 3));
    go_on.add_permits(3);
    busy[2].write_all(REQUEST).await.unwrap();
    for stream in &mut busy {
        assert!(text(stream).await.ends_with("here"));
    }
    server.serves().await;
}

#[tokio::test]
async fn a_server_that_is_behind_takes_no_more_connections_and_answers_those_it_has() {
    let (begun, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (begins, goes_on) = (Arc::clone(&begun), Arc::clone(&go_on));
    let slow = async move || {
        begins.add_permits(1);
        drop(goes_on.acquire().await);
        "here"
    };
    let router = Router::new().route("/", get(slow));
    // Any lateness is too much, but for a server that has less than one request under way.
    let bounds = Bounds { crowd_min: 1, late_after: Duration::ZERO, ..patient() };
    let server = Server::start(router, bounds).await;
    let mut busy = server.connect().await;
    busy.write_all(REQUEST).await.unwrap();
    begun.acquire().await.unwrap().forget();
    let mut refused = server.connect().await;
    refused.write_all(REQUEST).await.unwrap();
    let answer = text(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    go_on.add_permits(2);
    assert!(text(&mut busy).await.ends_with("here"));
    server.serves().await;
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused_though_their_connection_has_its_place() {
    let idle = Arc::default();
    let (one, other) = (Presence::new(&idle), Presence::new(&idle));
    let desk = desk(Bounds { connections_max: 1, ..patient() });
    let first = one.begin();
    let second = other.begin();
    assert_eq!((first.ahead(), second.ahead()), (0, 1));
    assert_eq!(answer_at(&desk, second).await, (503, true));
    drop(first);
    assert_eq!(answer_at(&desk, other.begin()).await, (200, false));
}

#[tokio::test]
async fn a_server_that_is_behind_refuses_requests_on_connections_that_it_has() {
    let idle = Arc::default();
    let (one, other) = (Presence::new(&idle), Presence::new(&idle));
    let desk = desk(Bounds { crowd_min: 1, late_after: Duration::ZERO, ..patient() });
    let first = one.begin();
    assert_eq!(answer_at(&desk, other.begin()).await, (503, true));
    assert_eq!(answer_at(&desk, first).await, (200, false), "who came before the crowd is served");
}

pub(super) fn desk(bounds: Bounds) -> Desk {
    let routers = Router::new().route("/", get(async || "here")).into();
    Desk { routers, lag: Lag::watch(), bounds }
}

pub(super) async fn response_at(desk: &Desk, under_way: UnderWay) -> Response<Answer> {
    let request = Request::builder().header("host", "h").body(Body::empty()).unwrap();
    desk.answer(request, Peer::new([127, 0, 0, 1].into()), under_way).await.unwrap()
}

/// What a request gets: its status, and whether it is told when to come back.
pub(super) async fn answer_at(desk: &Desk, under_way: UnderWay) -> (u16, bool) {
    let answered = response_at(desk, under_way).await;
    (answered.status().as_u16(), answered.headers().contains_key("retry-after"))
}

#[tokio::test]
async fn who_does_not_finish_a_head_is_cut_off() {
    let head_time_max = Duration::from_millis(20);
    let server = Server::simple(Bounds { head_time_max, ..patient() }).await;
    // Nothing, half a head, what may become either protocol, one that never asks for anything.
    let greeted = [PREFACE, &frame(4, 0, 0, &[])].concat();
    for start in [b"", &b"GET / HTTP/1.1\r\nX: "[..], b"PR", &PREFACE[..20], &greeted] {
        let mut stream = server.connect().await;
        stream.write_all(start).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(!answer.windows(4).any(|four| four == b"here"), "{answer:?}");
        server.serves().await;
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = Server::simple(patient()).await;
    for line in ["X: y\r\n", &format!("X: {}\r\n", "y".repeat(1000)), "x"] {
        let mut stream = server.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n").await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let endless = async {
            let lines = line.repeat(100);
            while writing.write_all(lines.as_bytes()).await.is_ok() {}
        };
        let mut answer = [0; 12];
        // A server that goes on reading would leave this undecided.
        let ((), _) = tokio::join!(endless, reading.read_exact(&mut answer));
        assert!([*b"HTTP/1.1 431", [0; 12]].contains(&answer), "{answer:?}");
        server.serves().await;
    }
}

#[tokio::test]
async fn garbage_behind_a_request_is_refused_after_its_answer() {
    let server = Server::simple(patient()).await;
    let garbage: Vec<u8> = (0..=255).collect();
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    stream.write_all(&garbage).await.unwrap();
    let answer = text(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("here"), "{answer}");
    assert!(answer.contains("HTTP/1.1 400"), "{answer}");
    server.serves().await;
}

#[tokio::test]
async fn a_client_that_closes_its_half_is_gone() {
    let server = Server::simple(Bounds { connections_max: 1, ..patient() }).await;
    for start in
        [&b""[..], b"GET / HT", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n12"]
    {
        let mut stream = server.connect().await;
        stream.write_all(start).await.unwrap();
        stream.shutdown().await.unwrap();
        rest(&mut stream).await;
        // The one place is free again.
        server.serves().await;
    }
}

#[tokio::test]
async fn who_takes_an_answer_too_slowly_is_cut_off() {
    let large = async || vec![7; 64 << 20];
    let router = Router::new().route("/large", get(large)).route("/", get(async || "here"));
    let answer_pace = Pace { span: Duration::from_millis(20), bytes: 1 << 30 };
    let bounds = Bounds { connections_max: 1, answer_pace, ..patient() };
    let server = Server::start(router, bounds).await;
    for is_slow in [false, true] {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        if is_slow {
            // Byte by byte, to the end that the server makes.
            while stream.read_u8().await.is_ok() && !is_reset(&stream) {}
        }
        // It has the one place until it is cut off.
        while !is_reset(&stream) {
            tokio::task::yield_now().await;
        }
        server.serves().await;
    }
}

/// Whether the peer has given the connection up; what came before may still be read.
fn is_reset(stream: &TcpStream) -> bool {
    let error = stream.take_error().ok().flatten();
    error.is_some() || stream.try_write(b"x").is_err_and(|error| is_end(&error))
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// A body that comes a byte at a time is refused in words, through the whole server.
#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let options = EngineOptions { segment_bytes: 4 << 20, ..EngineOptions::default() };
    let engine = Engine::open(directory.path().to_owned(), &options).unwrap();
    let key = granary::auth::load_or_create_key(directory.path()).unwrap();
    let pace = Pace { span: Duration::from_millis(50), bytes: 1 << 30 };
    let app = AppState::new(engine.clone(), key).unwrap().with_body_pace(pace);
    let server = Server::start(router(app), patient()).await;

    let mut stream = server.connect().await;
    let head = b"POST /v1/auth/obtain HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\
        Content-Length: 1000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut answer = [0; 12];
    let read = reading.read_exact(&mut answer);
    let mut read = std::pin::pin!(read);
    let trickle = async {
        while writing.write_all(b" ").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    // What was sent before the connection ended is there to be read.
    tokio::select! {
        read = read.as_mut() => drop(read.unwrap()),
        () = trickle => drop(read.await.unwrap()),
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
    engine.shutdown().await;
}

/// A frame of HTTP/2.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A request for `/`: method, scheme and path from the protocol's table, and an authority.
pub(super) fn asks(stream: u32) -> Vec<u8> {
    frame(1, 0b101, stream, &[0x82, 0x86, 0x84, 0x41, 1, b'h'])
}

/// The time that a handler runs, counted.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_do_not_pile_up() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, seen) = (Arc::clone(&running), Arc::clone(&most));
    let endless = async move || {
        let count = now.fetch_add(1, Ordering::SeqCst) + 1;
        let _running = Running(now);
        seen.fetch_max(count, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/", get(endless)).route("/other", get(async || "here"));
    let server = Server::start(router, patient()).await;
    let mut stream = server.connect().await;
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let resets = async {
        for stream in (1..200_000).step_by(2) {
            let cancel = 8_u32.to_be_bytes();
            let both = [asks(stream), frame(3, 0, stream, &cancel)].concat();
            if writing.write_all(&both).await.is_err() {
                return true;
            }
        }
        false
    };
    let mut taken = Vec::new();
    let (was_cut_off, _) = tokio::join!(resets, reading.read_to_end(&mut taken));
    assert!(was_cut_off);
    assert!(most.load(Ordering::SeqCst) <= usize::try_from(STREAMS_MAX).unwrap());
    while running.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    let mut other = server.connect().await;
    other.write_all(b"GET /other HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(text(&mut other).await.ends_with("here"));
}

/// The protocol lets a client ask and take nothing, while it answers every question for life.
#[tokio::test]
async fn an_answer_for_which_no_window_opens_is_cut_off() {
    let answer_pace = Pace { span: Duration::from_millis(20), bytes: 0 };
    let bounds = Bounds { connections_max: 1, answer_pace, ..patient() };
    let server = Server::simple(bounds).await;
    let mut stream = server.connect().await;
    // SETTINGS_INITIAL_WINDOW_SIZE is nothing.
    let shut = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    stream.write_all(&[PREFACE, &shut, &asks(1)].concat()).await.unwrap();
    rest(&mut stream).await;
    server.serves().await;
}

#[tokio::test]
async fn who_does_not_come_to_an_end_with_the_handshake_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    let entrance = Entrance::with_tls(listener, tls().0);
    let bounds = Bounds { handshake_time_max: Duration::from_millis(20), ..patient() };
    tokio::spawn(serve(entrance, Router::new(), stopped, Duration::ZERO, bounds));
    // Nothing at all, and the beginning of a record that never comes.
    for begun in [&b""[..], &[22, 3, 1, 2, 0]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
    // Somebody who takes it for a server without TLS learns so at once.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

/// What speaks TLS as localhost, and what trusts it.
pub(super) fn tls() -> (TlsAcceptor, TlsConnector) {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let server = server.with_single_cert(vec![certificate.cert.der().clone()], key.into()).unwrap();
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(certificate.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider);
    let client = client.with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(trusted).with_no_client_auth();
    (Arc::new(server).into(), Arc::new(client).into())
}
