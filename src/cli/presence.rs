//! Which connections have a request under way, and which merely keep a place.
//!
//! A connection without a request may be closed at any time: its client sends the next one on
//! another. So when places are short, the one that has waited longest goes, and nobody who speaks
//! waits for thousands who do not. One that has waited for an instant only stays: its request is on
//! its way, and would get no answer. A request is under way until its answer has been taken whole and
//! its body has been read, or given up: a client that is refused while it sends is spoken to until it
//! has sent everything. An answer's last bytes may wait to be sent when its request is no longer under
//! way: a connection on which bytes wait is not idle either.

mod bodies;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use bodies::Left;
pub(super) use bodies::{Answer, Asked};

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
    /// Answers in pieces of which the client has yet to take one.
    untaken: HashMap<u64, Untaken>,
}

/// An answer of which the client has yet to take a piece.
#[derive(Debug)]
struct Untaken {
    since: Instant,
    left: Arc<Left>,
}

impl Requests {
    fn late(&self, stall_max: Duration) -> impl Iterator<Item = &Untaken> {
        self.untaken.values().filter(move |answer| answer.since.elapsed() >= stall_max)
    }

    fn are_all_late(&self, stall_max: Duration) -> bool {
        // Bytes that wait are the pace's matter (`outflow.rs`).
        self.under_way > 0 && !self.is_sending && self.late(stall_max).count() == self.under_way
    }
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

    /// Ends when the connection is to end: its place is wanted, or no request came for so long.
    pub(super) async fn over(&self, idle_max: Duration) {
        let mut idle_for = std::pin::pin!(self.idle_for(idle_max));
        loop {
            tokio::select! {
                () = self.told.notified() => {
                    // A request that came before this was heard is answered.
                    if self.requests().place.is_some() {
                        return;
                    }
                }
                () = idle_for.as_mut() => return,
            }
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

    /// Ends when an answer was left standing for so long, and is given up.
    pub(super) async fn stalled_for(&self, stall_max: Duration) {
        while !self.give_up_late(stall_max) {
            sleep(stall_max / 4).await;
        }
    }

    /// Ends when all answers that are under way were left standing for so long, and there is one. Those
    /// that were are given up while others go on.
    pub(super) async fn all_stalled_for(&self, stall_max: Duration) {
        while !self.requests().are_all_late(stall_max) {
            self.give_up_late(stall_max);
            sleep(stall_max / 4).await;
        }
    }

    /// Lets go of what answers hold that were left standing for so long; whether there is one.
    fn give_up_late(&self, stall_max: Duration) -> bool {
        // A body that goes may end a request, which is noted here.
        let late: Vec<_> =
            self.requests().late(stall_max).map(|answer| Arc::clone(&answer.left)).collect();
        for left in &late {
            left.give_up();
        }
        !late.is_empty()
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

    /// Notes that the client has yet to take what it was given of the answer.
    fn awaits_client(&self, left: &Arc<Left>) {
        let untaken = Untaken { since: Instant::now(), left: Arc::clone(left) };
        self.presence.requests().untaken.insert(self.number, untaken);
    }

    /// Notes that the client has taken it.
    fn is_taken(&self) {
        self.presence.requests().untaken.remove(&self.number);
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::FutureExt as _;
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

    #[tokio::test]
    async fn without_a_request_for_long_it_is_over() {
        let presence = Presence::new(&Arc::new(Idle::default()));
        presence.over(Duration::ZERO).await;
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
}
