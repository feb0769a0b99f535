//! Answers that wait until they are taken: of what is the client's to do, a connection is neither idle
//! nor late too early.

use axum::routing::get;
use futures_util::StreamExt as _;
use futures_util::stream::{iter, once};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::hostile_tests::{PREFACE, REQUEST, Server, asks, frame, patient, rest, text};
use granary::Pace;

use super::*;

/// Its answer is one piece, and smaller than what the library keeps of it: to the library it is sent
/// when the client has hardly any of it.
#[tokio::test]
async fn an_answer_whose_last_bytes_wait_to_be_taken_gives_way_to_nobody() {
    let idle = Arc::default();
    let presence = Presence::new(&idle);
    let router = Router::new().route("/", get(async || vec![7; 40 << 10]));
    let bounds = patient();
    let desk = Arc::new(Desk { routers: router.into(), lag: Lag::watch(), bounds });
    let (ours, mut theirs) = tokio::io::duplex(1 << 10);
    let (_stop, stop) = watch::channel(false);
    let outflow = Outflow::new(ours, bounds.answer_pace, Arc::clone(&presence));
    let connection = Connection { presence, desk, stop, bounds };
    let serving = tokio::spawn(connection.serve(outflow, Peer::new([127, 0, 0, 1].into())));

    theirs.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(theirs.read_u8().await.unwrap());
    }
    let mut answer = vec![0; 40 << 10];
    let (most, last) = answer.split_at_mut(38 << 10);
    for piece in most.chunks_mut(512) {
        assert!(!idle.end_longest(Duration::ZERO));
        theirs.read_exact(piece).await.unwrap();
    }
    theirs.read_exact(last).await.unwrap();
    assert!(answer.iter().all(|byte| *byte == 7));
    while !idle.end_longest(Duration::ZERO) {
        tokio::task::yield_now().await;
    }
    serving.await.unwrap();
}

/// Over HTTP/2 it waits for its stream's window, which the library says nothing of: neither of one in many
/// pieces nor of a short one, whether or not the end is known when the last of it comes.
#[tokio::test]
async fn an_answer_that_waits_for_its_window_gives_way_to_nobody() {
    let stream = async || Body::from_stream(iter([Ok::<_, Infallible>("short")]));
    let answers = [get(async || vec![7; 40 << 10]), get(async || "short"), get(stream)];
    for answer in answers {
        let router = Router::new().route("/", answer);
        let server = Server::start(router, Bounds { connections_max: 1, ..patient() }).await;
        let mut stream = server.connect().await;
        // SETTINGS_INITIAL_WINDOW_SIZE is one.
        let narrow = frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]);
        stream.write_all(&[PREFACE, &narrow, &asks(1)].concat()).await.unwrap();
        while next_frame(&mut stream).await.kind != 0 {}
        let mut other = server.connect().await;
        other.write_all(REQUEST).await.unwrap();
        let refusal = text(&mut other).await;
        assert!(refusal.starts_with("HTTP/1.1 503 "), "{refusal}");
        assert_eq!(server.counts.given_up.get(), 0);
    }
}

/// The client asks no more of what it left standing, and takes everything else.
#[tokio::test]
async fn an_answer_that_is_left_standing_ends_no_other_on_its_connection() {
    let go_on = Arc::new(Semaphore::new(0));
    let goes_on = Arc::clone(&go_on);
    let slow = async move || {
        drop(goes_on.acquire().await);
        "done"
    };
    let router = Router::new().route("/", get(async || "here")).route("/index.html", get(slow));
    let answer_pace = Pace { span: Duration::from_millis(20), bytes: 0 };
    let server = Server::start(router, Bounds { answer_pace, ..patient() }).await;
    let mut stream = server.connect().await;
    let opening = [PREFACE, &no_window(), &asks(1), &asks_slow(3), &opens(3)].concat();
    stream.write_all(&opening).await.unwrap();
    // GOAWAY.
    while next_frame(&mut stream).await.kind != 7 {}
    go_on.add_permits(1);
    assert_eq!(data(&mut stream, 3, 4).await, b"done");
    rest(&mut stream).await;
}

/// What it holds may be wanted by others, and the library waits for its window for as long as the client
/// takes another answer on the connection.
#[tokio::test]
async fn an_answer_that_is_left_standing_lets_go_of_what_it_holds_while_another_goes_on() {
    let (turns, go_on) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(0)));
    let (turn, goes_on) = (Arc::clone(&turns), Arc::clone(&go_on));
    let held = async move || {
        let turn = turn.acquire_owned().await.unwrap();
        Body::from_stream(futures_util::stream::unfold(turn, async |turn| {
            Some((Ok::<_, Infallible>("more"), turn))
        }))
    };
    let slow = async move || {
        drop(goes_on.acquire().await);
        "done"
    };
    let router = Router::new().route("/", get(held)).route("/index.html", get(slow));
    let answer_pace = Pace { span: Duration::from_millis(20), bytes: 0 };
    let server = Server::start(router, Bounds { answer_pace, ..patient() }).await;
    let mut stream = server.connect().await;
    let opening = [PREFACE, &no_window(), &asks(1), &asks_slow(3), &opens(3)].concat();
    stream.write_all(&opening).await.unwrap();
    // HEADERS.
    while next_frame(&mut stream).await.kind != 1 {}
    drop(turns.acquire().await.unwrap());
    stream.write_all(&opens(1)).await.unwrap();
    // RST_STREAM, of that one only.
    let reset = loop {
        let came = next_frame(&mut stream).await;
        if came.kind == 3 {
            break came.stream;
        }
    };
    assert_eq!(reset, 1);
    go_on.add_permits(1);
    assert_eq!(data(&mut stream, 3, 4).await, b"done");
}

/// SETTINGS, in which the window of a stream is nothing at first.
fn no_window() -> Vec<u8> {
    frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])
}

/// HEADERS, as of `asks`, for `/index.html`, which is in the protocol's table.
fn asks_slow(stream: u32) -> Vec<u8> {
    frame(1, 0b101, stream, &[0x82, 0x86, 0x85, 0x41, 1, b'h'])
}

/// `WINDOW_UPDATE`.
fn opens(stream: u32) -> Vec<u8> {
    frame(8, 0, stream, &100_u32.to_be_bytes())
}

/// The next data on a stream, of so many bytes.
async fn data(stream: &mut TcpStream, of: u32, bytes: usize) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < bytes {
        let came = next_frame(stream).await;
        if (came.kind, came.stream) == (0, of) {
            data.extend(came.payload);
        }
    }
    data
}

/// What came as a frame of HTTP/2.
pub(super) struct Came {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) async fn next_frame(stream: &mut (impl AsyncRead + Unpin)) -> Came {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let [a, b, c, kind, _flags, id @ ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
    stream.read_exact(&mut payload).await.unwrap();
    Came { kind, stream: u32::from_be_bytes(id), payload }
}

/// A server whose answer has no length: a half that comes at once, and another, or none, after a permit.
async fn server_of_halves(second: fn() -> io::Result<&'static str>) -> (Server, Arc<Semaphore>) {
    let go_on = Arc::new(Semaphore::new(0));
    let goes_on = Arc::clone(&go_on);
    let answer = async move || {
        let second = async move {
            drop(goes_on.acquire().await);
            second()
        };
        Body::from_stream(iter([Ok("half")]).chain(once(second)))
    };
    let router = Router::new().route("/", get(answer));
    (Server::start(router, patient()).await, go_on)
}

/// A client of HTTP/1.0 that has the first half.
async fn with_half(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhalf") {
        answer.push(stream.read_u8().await.unwrap());
    }
    stream
}

/// To who speaks HTTP/1.0 an answer without a length ends with the connection.
#[tokio::test]
async fn an_answer_that_ends_with_its_connection_ends_with_a_reset_unless_it_is_whole() {
    let (server, go_on) = server_of_halves(|| Ok("and half")).await;
    let mut stream = with_half(&server).await;
    go_on.add_permits(1);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "and half");

    // One without a body is whole.
    let mut stream = server.connect().await;
    stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").await.unwrap();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("\r\n\r\n"), "{rest}");

    let (server, go_on) = server_of_halves(|| Err(io::Error::other("damaged"))).await;
    let mut broken = with_half(&server).await;
    go_on.add_permits(1);
    let error = broken.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    // The server stops, and does not wait.
    let (server, _go_on) = server_of_halves(|| Ok("and half")).await;
    let mut cut = with_half(&server).await;
    drop(server);
    let error = cut.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    // Who sends no more is gone, whatever they still read.
    let (server, _go_on) = server_of_halves(|| Ok("and half")).await;
    let mut closed = with_half(&server).await;
    closed.shutdown().await.unwrap();
    let error = closed.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
