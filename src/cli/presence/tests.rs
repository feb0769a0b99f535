//! Who is idle, who gives way, and what is told to those that end.

use axum::body::Body;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use tokio::time::{advance, timeout};

use super::*;

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn the_one_that_has_waited_longest_is_told_to_end_and_none_with_a_request() {
    let idle = Arc::new(Idle::default());
    let (first, second) = (Presence::new(&idle), Presence::new(&idle));
    let request = first.begin();
    assert!(!idle.end_longest(HOUR), "it has not waited for long");
    assert!(idle.end_longest(Duration::ZERO));
    second.over(HOUR).await;
    assert!(!idle.end_longest(Duration::ZERO));
    drop(request);
    assert!(idle.end_longest(Duration::ZERO));
    first.over(HOUR).await;
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
async fn a_request_that_came_before_the_connection_heard_that_it_is_to_end_is_answered() {
    let idle = Arc::new(Idle::default());
    let presence = Presence::new(&idle);
    assert!(idle.end_longest(Duration::ZERO));
    let request = presence.begin();
    let mut over = Box::pin(presence.over(HOUR));
    assert!((&mut over).now_or_never().is_none());
    drop(request);
    assert!((&mut over).now_or_never().is_none(), "nobody asks for its new place");
    assert!(idle.end_longest(Duration::ZERO));
    over.await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_answered_a_request_before_it_heard_that_it_is_to_end_is_kept() {
    let idle = Arc::new(Idle::default());
    let presence = Presence::new(&idle);
    assert!(idle.end_longest(Duration::ZERO));
    advance(HOUR).await;
    drop(presence.begin());
    let mut over = Box::pin(presence.over(HOUR));
    assert!((&mut over).now_or_never().is_none());
    assert!(idle.end_longest(Duration::ZERO), "it has a place, as of now");
    assert_eq!(over.await, Leave::AtOnce);
}

#[tokio::test(start_paused = true)]
async fn a_request_puts_its_connection_behind_those_that_waited_meanwhile() {
    let idle = Arc::new(Idle::default());
    let first = Presence::new(&idle);
    advance(HOUR / 2).await;
    let second = Presence::new(&idle);
    advance(HOUR / 2).await;
    drop(first.begin());
    assert!(!idle.end_longest(HOUR), "the first has only just had a request");
    assert!(idle.end_longest(HOUR / 2));
    second.over(2 * HOUR).await;
    assert!(!idle.end_longest(HOUR / 2));
    advance(HOUR / 2).await;
    assert!(idle.end_longest(HOUR / 2));
    first.over(2 * HOUR).await;
    assert!(!idle.end_longest(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_looked_at_while_a_request_ends_or_begins_keeps_one_place() {
    let idle = Arc::new(Idle::default());
    let presence = Presence::new(&idle);
    let ask = |place| presence.gives_way(place);

    let request = presence.begin();
    let (place, _) = idle.take_first(Duration::ZERO).unwrap();
    advance(HOUR).await;
    drop(request);
    assert!(!ask(place), "it is idle since later");
    assert!(!idle.end_longest(HOUR));
    let (place, _) = idle.take_first(Duration::ZERO).unwrap();
    let request = presence.begin();
    assert!(!ask(place), "it is busy");
    assert!(idle.take_first(Duration::ZERO).is_none());
    drop(request);
    assert!(idle.end_longest(Duration::ZERO));
    assert!(!idle.end_longest(Duration::ZERO), "it has one place");
}

#[tokio::test]
async fn a_connection_that_goes_while_it_is_looked_at_leaves_nothing_behind() {
    let idle = Arc::new(Idle::default());
    let (presence, other) = (Presence::new(&idle), Presence::new(&idle));
    let (place, looked_at) = idle.take_first(Duration::ZERO).unwrap();
    let held = looked_at.upgrade().unwrap();
    drop(presence.begin());
    drop(presence);
    held.gives_way(place);
    drop(held);
    assert!(looked_at.upgrade().is_none());
    assert!(idle.end_longest(Duration::ZERO));
    other.over(HOUR).await;
    assert!(idle.waiting().connections.is_empty());
}

#[test]
fn with_many_requests_while_places_are_wanted_each_connection_has_one_in_the_end() {
    let idle = Arc::new(Idle::default());
    let connections: Vec<_> = (0..4).map(|_| Presence::new(&idle)).collect();
    std::thread::scope(|scope| {
        for presence in &connections {
            scope.spawn(|| (0..10_000).for_each(|_| drop(presence.begin())));
        }
        scope.spawn(|| {
            for _ in 0..10_000 {
                idle.end_longest(Duration::ZERO);
            }
        });
    });
    for presence in &connections {
        drop(presence.begin());
    }
    for _ in &connections {
        assert!(idle.end_longest(Duration::ZERO));
    }
    assert!(!idle.end_longest(Duration::ZERO));
    assert_eq!(idle.requests(), 0);
}

#[tokio::test]
async fn without_a_request_for_long_it_is_over() {
    let presence = Presence::new(&Arc::new(Idle::default()));
    presence.over(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_over_so_long_after_its_last_request_and_no_later() {
    let presence = Presence::new(&Arc::new(Idle::default()));
    let moment = HOUR / 60;
    let mut over = Box::pin(presence.over(HOUR));
    assert!(timeout(HOUR / 2, &mut over).await.is_err());
    let request = presence.begin();
    assert!(timeout(HOUR * 2, &mut over).await.is_err());
    drop(request);
    assert!(timeout(moment * 59, &mut over).await.is_err());
    timeout(moment * 2, over).await.unwrap();
    // Who is to be kept for a while more is, however long it has been idle.
    let mut over = Box::pin(presence.over(moment * 2));
    assert!(timeout(moment, &mut over).await.is_err());
    timeout(moment * 2, over).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_late_and_does_not_make_others_so() {
    let presence = Presence::new(&Arc::new(Idle::default()));
    // As one piece it waits at the connection, which is held to its pace.
    let mut whole = Answer::whole(Body::from("taken"), Arc::new(presence.begin()));
    whole.frame().await.unwrap().unwrap();
    assert!(presence.requests().untaken.is_empty());
    drop(whole);
    let mut answer = Answer::in_pieces(Body::from("taken"), Arc::new(presence.begin()));
    answer.frame().await.unwrap().unwrap();
    presence.stalled_for(Duration::ZERO).await;
    presence.all_stalled_for(Duration::ZERO).await;
    let other = presence.begin();
    presence.stalled_for(Duration::ZERO).await;
    assert!(!presence.requests().are_all_late(Duration::ZERO));
    drop(other);
    presence.sends(true);
    assert!(!presence.requests().are_all_late(Duration::ZERO), "what comes before it is sent");
    presence.sends(false);
    assert!(answer.frame().await.unwrap().is_err(), "it was given up");
    assert!(presence.requests().untaken.is_empty());
    drop(answer);
    assert!(!presence.requests().are_all_late(Duration::ZERO), "nothing is under way");
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
