//! Which connections have a request under way, and which merely keep a place.
//!
//! A connection without a request may be closed at any time: its client sends the next one on
//! another. So when places are short, the one that has waited longest goes, and nobody who speaks
//! waits for thousands who do not. One that has waited for an instant only stays: its request is on
//! its way, and would get no answer. A request is under way until its answer has been taken whole and
//! its body has been read, or given up: a client that is refused while it sends is spoken to until it
//! has sent everything. An answer's last bytes may wait to be sent when its request is no longer under
//! way: a connection on which bytes wait is not idle either.
//!
//! All connections stand in one order, which requests leave as it is: a connection notes for itself since
//! when it is idle, and takes the place that is due to it when it comes to be looked at.

mod bodies;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use bodies::Left;
pub(super) use bodies::{Answer, Asked};

/// The connections of a server that have no request under way, and how many requests the others
/// have.
#[derive(Debug, Default)]
pub(super) struct Idle {
    requests: AtomicUsize,
    waiting: Mutex<Waiting>,
}

/// The connections that are idle, all of them, and others that were when they took their places.
#[derive(Debug, Default)]
struct Waiting {
    next_number: u64,
    connections: BTreeMap<Place, Weak<Presence>>,
}

/// Since when a connection was idle when it took its place, the longest first, and a number of its own. It may
/// be idle since later, or busy, but not idle since earlier.
type Place = (Instant, u64);

impl Idle {
    /// Tells the connection that has waited longest to end, if it has for so long; `false` if none
    /// has. Each connection that is looked at in vain had a request since it took its place.
    pub(super) fn end_longest(&self, idle_min: Duration) -> bool {
        while let Some((place, presence)) = self.take_first(idle_min) {
            if presence.upgrade().is_some_and(|presence| presence.gives_way(place)) {
                return true;
            }
        }
        false
    }

    /// The first place, which is free from now on, if nobody who has one can have waited longer. Whose it is,
    /// is asked when no lock is held: who takes a place has a lock of its own.
    fn take_first(&self, idle_min: Duration) -> Option<(Place, Weak<Presence>)> {
        let mut waiting = self.waiting();
        let first = waiting.connections.first_entry()?;
        (first.key().0.elapsed() >= idle_min).then(|| first.remove_entry())
    }

    /// Requests that are under way, on all connections, but for those that are refused.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn enter(&self, since: Instant, presence: &Arc<Presence>) -> Place {
        let mut waiting = self.waiting();
        let place = (since, waiting.next_number);
        waiting.next_number += 1;
        waiting.connections.insert(place, Arc::downgrade(presence));
        place
    }

    fn leave(&self, place: Place) {
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
    told: Notify,
    /// An answer goes out whose client knows its end by that of the connection alone.
    ends_with_answer: AtomicBool,
    /// Locked before the places of all, where both are.
    requests: Mutex<Requests>,
}

#[derive(Debug)]
struct Requests {
    /// While there is no request and nothing to send.
    idle_since: Option<Instant>,
    /// Whoever is idle has one, unless it was told to end; who is busy may have kept it, or lost it.
    place: Option<Place>,
    /// Since when it was idle when it was told to end.
    told_since: Option<Instant>,
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
    /// Whether it is idle ever since it was told to end.
    fn is_told_to_end(&self) -> bool {
        self.idle_since.is_some() && self.idle_since == self.told_since
    }

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
        let requests = Requests {
            idle_since: None,
            place: None,
            told_since: None,
            is_sending: false,
            next: 0,
            under_way: 0,
            untaken: HashMap::new(),
        };
        let (told, requests) = (Notify::new(), Mutex::new(requests));
        let presence = Arc::new(Self {
            idle: Arc::clone(idle),
            told,
            ends_with_answer: AtomicBool::new(false),
            requests,
        });
        presence.rests(&mut presence.requests());
        presence
    }

    /// A request begins; it lasts until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut requests = self.requests();
        requests.idle_since = None;
        let (number, ahead_beside) = (requests.next, requests.under_way);
        requests.next += 1;
        requests.under_way += 1;
        let ahead = self.idle.requests.fetch_add(1, Ordering::Relaxed);
        UnderWay { presence: Arc::clone(self), number, ahead, ahead_beside, is_counted: true }
    }

    /// Bytes wait to be sent from now on, or none do.
    pub(super) fn sends(self: &Arc<Self>, is_sending: bool) {
        let mut requests = self.requests();
        requests.is_sending = is_sending;
        if is_sending {
            requests.idle_since = None;
        } else {
            self.rests(&mut requests);
        }
    }

    /// Whether an answer goes out that its client takes for whole when the connection ends as usual.
    pub(super) fn ends_with_answer(&self) -> bool {
        self.ends_with_answer.load(Ordering::Relaxed)
    }

    /// Notes that it is idle from now on, if it is, and takes its place unless it has one.
    fn rests(self: &Arc<Self>, requests: &mut Requests) {
        if requests.under_way > 0 || requests.is_sending || requests.idle_since.is_some() {
            return;
        }
        let now = Instant::now();
        requests.idle_since = Some(now);
        if requests.place.is_none() {
            requests.place = Some(self.idle.enter(now, self));
        }
    }

    /// It has lost its place, and is told to end if it has been idle ever since it took it. Otherwise it takes
    /// the one that is due to it: now if it is idle, or when it comes to be.
    fn gives_way(self: &Arc<Self>, place: Place) -> bool {
        let mut requests = self.requests();
        requests.place = None;
        let Some(since) = requests.idle_since else { return false };
        if since == place.0 {
            requests.told_since = Some(since);
            self.told.notify_one();
            return true;
        }
        requests.place = Some(self.idle.enter(since, self));
        false
    }

    /// Ends when the connection is to end: its place is wanted, or no request came for so long.
    pub(super) async fn over(&self, idle_max: Duration) -> Leave {
        let mut idle_for = std::pin::pin!(self.idle_for(idle_max));
        loop {
            tokio::select! {
                () = self.told.notified() => {
                    // A request that came before this was heard is answered, and who asked is kept.
                    if self.requests().is_told_to_end() {
                        return Leave::AtOnce;
                    }
                }
                () = idle_for.as_mut() => return Leave::InAMoment,
            }
        }
    }

    /// Looks again only when it may be over, so that a request costs no timer. The time before this is waited
    /// for does not count.
    async fn idle_for(&self, idle_max: Duration) {
        let begun = Instant::now();
        loop {
            let since = self.requests().idle_since.map(|since| since.max(begun));
            if since.is_some_and(|since| since.elapsed() >= idle_max) {
                return;
            }
            sleep_until(since.unwrap_or_else(Instant::now) + idle_max).await;
        }
    }

    /// Ends when no request has come so long from now, and never once there was one.
    pub(super) async fn unasked_for(&self, time_max: Duration) {
        sleep(time_max).await;
        if self.requests().next > 0 {
            std::future::pending::<()>().await;
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
        if let Some(place) = self.requests().place.take() {
            self.idle.leave(place);
        }
    }
}

/// How a connection that is over goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Somebody waits for its place.
    AtOnce,
    /// Its client may have a request on its way.
    InAMoment,
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    presence: Arc<Presence>,
    number: u64,
    ahead: usize,
    ahead_beside: usize,
    /// Among those of all connections.
    is_counted: bool,
}

impl UnderWay {
    /// Requests that were under way, on all connections, when this one began; none that was refused.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// Requests that were under way on the same connection then, refused ones too.
    pub(super) fn ahead_beside(&self) -> usize {
        self.ahead_beside
    }

    /// Notes that it ends, or is refused, so that it takes no other one's place. Its connection is busy until it
    /// has ended all the same.
    pub(super) fn counts_no_more(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.presence.idle.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Notes that the answer ends with the connection.
    fn ends_connection(&self) {
        self.presence.ends_with_answer.store(true, Ordering::Relaxed);
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
        self.counts_no_more();
        let presence = &self.presence;
        let mut requests = presence.requests();
        debug_assert!(!requests.untaken.contains_key(&self.number), "its answer went before");
        requests.under_way -= 1;
        presence.rests(&mut requests);
    }
}

#[cfg(test)]
mod tests;
