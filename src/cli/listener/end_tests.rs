//! How connections end on which no request is under way: when, and what their clients are told. The clock
//! moves only where nobody has anything to do.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::answer_tests::{Came, next_frame};
use super::hostile_tests::{PREFACE, asks, frame, patient, tls};
use super::pipe_tests::{Pipe, connection};
use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A moment later a connection has ended that was to end.
const MOMENT: Duration = Duration::from_secs(2);

fn bounds() -> Bounds {
    let (head_time_max, idle_time_max) = (Duration::from_secs(30), Duration::from_secs(75));
    Bounds { head_time_max, idle_time_max, ..patient() }
}

fn here(bounds: Bounds) -> Pipe {
    Pipe::to(Router::new().route("/", get(async || "here")), bounds)
}

/// A connection of HTTP/2 whose first request was answered.
async fn answered(bounds: Bounds) -> Pipe {
    let mut pipe = here(bounds);
    pipe.sends(&[PREFACE, &frame(4, 0, 0, &[]), &asks(1)].concat()).await;
    assert_eq!(data(&mut pipe).await, b"here");
    pipe
}

/// The next answer.
async fn data(pipe: &mut Pipe) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < 4 {
        data.extend(next_of(pipe, 0).await.payload);
    }
    data
}

/// The next frame of a kind.
async fn next_of(pipe: &mut Pipe, kind: u8) -> Came {
    loop {
        let came = next_frame(&mut pipe.theirs).await;
        if came.kind == kind {
            return came;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_its_next_request_longer_than_for_its_first() {
    let mut pipe = here(bounds());
    for begun in [&b""[..], GET, b"GET / HT"] {
        pipe.sends(begun).await;
        let (since, mut came) = (Instant::now(), Vec::new());
        let waited = if begun == GET { bounds().idle_time_max } else { bounds().head_time_max };
        pipe.theirs.read_to_end(&mut came).await.unwrap();
        assert_eq!(came.ends_with(b"here"), begun == GET);
        assert!((waited..waited + MOMENT).contains(&since.elapsed()), "{:?}", since.elapsed());
        pipe = here(bounds());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_on_its_way_when_its_client_is_told_of_the_end_is_answered() {
    let mut pipe = answered(bounds()).await;
    let goaway = next_of(&mut pipe, 7).await;
    assert_eq!(goaway.payload[4..8], [0; 4], "for no error");
    pipe.sends(&asks(3)).await;
    assert_eq!(data(&mut pipe).await, b"here");
    pipe.theirs.read_to_end(&mut Vec::new()).await.unwrap();
    pipe.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_gives_way_to_another_one_is_told_so_and_keeps_nobody_waiting() {
    let mut pipe = answered(patient()).await;
    let since = Instant::now();
    while !pipe.idle.end_longest(Duration::ZERO) {
        tokio::task::yield_now().await;
    }
    next_of(&mut pipe, 7).await;
    pipe.serving.await.unwrap();
    assert_eq!(since.elapsed(), Duration::ZERO);
}

/// Over TLS its client would take the end for somebody's who came in between.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_over_ends_as_tls_has_it() {
    for is_wanted in [false, true] {
        let router = Router::new().route("/", get(async || "here"));
        let (mut connection, idle, _stop) = connection(router, bounds());
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let outflow = Outflow::new(ours, bounds().answer_pace, Arc::clone(&connection.presence));
        let (acceptor, connector) = tls();
        tokio::spawn(async move {
            let stream = connection.shake_hands(outflow, &acceptor).await.unwrap();
            connection.serve(stream, Peer::new([127, 0, 0, 1].into())).await;
        });
        let mut stream = connector.connect("localhost".try_into().unwrap(), theirs).await.unwrap();
        stream.write_all(GET).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            answer.push(stream.read_u8().await.unwrap());
        }
        while is_wanted && !idle.end_longest(Duration::ZERO) {
            tokio::task::yield_now().await;
        }
        // Without the word for it this is an error.
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
}
