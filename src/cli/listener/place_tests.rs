//! Requests have places, of which one connection has its share and no more.

use tokio::io::AsyncWriteExt as _;

use super::answer_tests::next_frame;
use super::bounds::STREAMS_MAX;
use super::hostile_tests::{PREFACE, Server, answer_at, asks, desk, frame, patient, response_at};
use super::*;

#[tokio::test]
async fn once_half_of_the_places_are_taken_a_connection_has_few_and_who_is_refused_has_none() {
    let idle = Arc::default();
    let (greedy, other) = (Presence::new(&idle), Presence::new(&idle));
    let desk = desk(Bounds { connections_max: 12, ..patient() });
    let first: Vec<_> = (0..6).map(|_| greedy.begin()).collect();
    // Nobody takes their answers, of which there are more than places.
    let mut refusals = Vec::new();
    for _ in 0..20 {
        let refusal = response_at(&desk, greedy.begin()).await;
        assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
        refusals.push(refusal);
    }
    assert_eq!(idle.requests(), 6);
    let few: Vec<_> = (0..4).map(|_| other.begin()).collect();
    assert!(few.iter().all(|request| request.ahead_beside() < 4));
    assert_eq!(answer_at(&desk, other.begin()).await, (503, true));
    assert_eq!(answer_at(&desk, Presence::new(&idle).begin()).await, (200, false));
    drop((first, few, refusals));
    assert_eq!(idle.requests(), 0);
}

#[tokio::test]
async fn a_few_connections_whose_answers_are_left_standing_keep_nobody_else_out() {
    let bounds = Bounds { connections_max: 64, ..patient() };
    let server = Server::simple(bounds).await;
    let streams = bounds.streams_max();
    assert_eq!(streams, 8, "an eighth");
    // SETTINGS_INITIAL_WINDOW_SIZE is nothing.
    let opening = [PREFACE, &frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])].concat();
    let mut standing = Vec::new();
    // As many requests as there are places.
    for _ in 0..8 {
        let mut stream = server.connect().await;
        let requests: Vec<u8> = (0..streams).flat_map(|number| asks(2 * number + 1)).collect();
        stream.write_all(&[&opening[..], &requests].concat()).await.unwrap();
        let mut answered = 0;
        while answered < streams {
            let came = next_frame(&mut stream).await;
            answered += u32::from(came.kind == 1);
        }
        standing.push(stream);
    }
    server.serves().await;
}

#[tokio::test]
async fn one_connection_has_an_eighth_of_the_places_at_most() {
    let settings_of = async |connections_max| {
        let server = Server::simple(Bounds { connections_max, ..patient() }).await;
        let mut stream = server.connect().await;
        stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
        let came = next_frame(&mut stream).await;
        assert_eq!(came.kind, 4);
        // SETTINGS_MAX_CONCURRENT_STREAMS.
        let streams = came.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).unwrap();
        u32::from_be_bytes(streams[2..].try_into().unwrap())
    };
    assert_eq!(settings_of(112).await, 14);
    assert_eq!(settings_of(1).await, 1);
    assert_eq!(settings_of(100_000).await, STREAMS_MAX);
}
