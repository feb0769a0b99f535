//! Requests, counted by what they ask for: an operation of the API, of which there are some
//! seventy, whatever is in paths and queries.

use std::array;

use granary_engine::counters::{ByThread, Counter, Distribution, Gauge, Histogram};

/// Statuses that are counted apart, in their order; all others, of which the API has none, are
/// counted together.
const STATUSES: [u16; 25] = [
    100, 200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 415, 416,
    422, 429, 431, 500, 503, 507,
];

/// The status of a fault of the server.
const FAULT: u16 = 500;

/// What the status of a request is called whose client went away before there was an answer.
const GONE: &str = "gone";

/// What the other statuses are called together.
const OTHER: &str = "other";

/// One operation of the API; 0 is what is none, such as an unknown path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ActionId(pub(crate) usize);

/// The requests of all operations.
#[derive(Debug)]
pub(crate) struct Requests {
    actions: Vec<OfAction>,
    pub(crate) in_flight: ByThread<Gauge>,
    pub(crate) lines_left_out: LinesLeftOut,
}

/// Lines of the log about requests that its bounds left out.
#[derive(Debug, Default)]
pub(crate) struct LinesLeftOut {
    pub(crate) answers: ByThread<Counter>,
    /// About requests that failed by the server's fault.
    pub(crate) failures: ByThread<Counter>,
}

impl LinesLeftOut {
    pub(crate) fn get(&self) -> u64 {
        self.answers.get() + self.failures.get()
    }
}

/// The requests of one operation.
#[derive(Debug)]
pub(crate) struct OfAction {
    pub(crate) name: String,
    counted: ByThread<Counted>,
}

/// What one thread counted of them, or a few.
#[derive(Debug)]
struct Counted {
    time: Histogram,
    /// One for each of [`STATUSES`], then one for [`OTHER`] and one for [`GONE`].
    statuses: [Counter; STATUSES.len() + 2],
    received: Counter,
    sent: Counter,
}

impl Counted {
    fn nothing() -> Self {
        Self {
            time: Histogram::of_times(),
            statuses: array::from_fn(|_| Counter::default()),
            received: Counter::default(),
            sent: Counter::default(),
        }
    }
}

impl Requests {
    /// None yet, of operations with these names.
    pub(crate) fn new(names: &[String]) -> Self {
        let of = |name: &String| {
            let counted = ByThread::new(Counted::nothing);
            OfAction { name: name.clone(), counted }
        };
        let actions = names.iter().map(of).collect();
        Self { actions, in_flight: ByThread::default(), lines_left_out: LinesLeftOut::default() }
    }

    /// The requests of an operation.
    pub(crate) fn of(&self, action: ActionId) -> Option<&OfAction> {
        self.actions.get(action.0)
    }

    /// The operations of which there were any requests.
    pub(crate) fn seen(&self) -> impl Iterator<Item = &OfAction> {
        self.actions.iter().filter(|action| action.by_status().next().is_some())
    }

    /// Requests that were answered with a fault of the server.
    pub(crate) fn faults(&self) -> u64 {
        self.actions.iter().map(|action| action.count_of(FAULT)).sum()
    }

    /// All requests that were answered, or whose client went away.
    pub(crate) fn count(&self) -> u64 {
        self.seen().flat_map(OfAction::by_status).map(|(_, count)| count).sum()
    }
}

impl OfAction {
    /// Counts a request that is answered with this status, the time until then in nanoseconds.
    pub(crate) fn answered(&self, status: u16, time: std::time::Duration) {
        let at = STATUSES.binary_search(&status).unwrap_or(STATUSES.len());
        let counted = self.counted.mine();
        if let Some(count) = counted.statuses.get(at) {
            count.increment();
        }
        counted.time.record_time(time);
    }

    /// Counts a request whose client went away first.
    pub(crate) fn gone(&self) {
        if let Some(count) = self.counted.mine().statuses.last() {
            count.increment();
        }
    }

    /// Counts bytes of a request's body and of its answer's.
    pub(crate) fn moved(&self, received: u64, sent: u64) {
        let counted = self.counted.mine();
        for (counter, bytes) in [(&counted.received, received), (&counted.sent, sent)] {
            // Most requests have one of them.
            if bytes > 0 {
                counter.add(bytes);
            }
        }
    }

    /// Bytes of requests' bodies that were read.
    pub(crate) fn received(&self) -> u64 {
        self.sum(|counted| counted.received.get())
    }

    /// Bytes of answers' bodies that were handed to connections.
    pub(crate) fn sent(&self) -> u64 {
        self.sum(|counted| counted.sent.get())
    }

    /// Times from a request's head to its answer's, in nanoseconds.
    pub(crate) fn times(&self) -> Distribution {
        let times = self.counted.iter().map(|counted| counted.time.read());
        times.fold(Histogram::of_times().read(), |sum, times| sum.and(&times))
    }

    /// How many requests had a status that is counted apart.
    fn count_of(&self, status: u16) -> u64 {
        let at = STATUSES.binary_search(&status).ok();
        at.map_or(0, |at| self.count_at(at))
    }

    fn count_at(&self, at: usize) -> u64 {
        self.sum(|counted| counted.statuses.get(at).map_or(0, Counter::get))
    }

    fn sum(&self, of: impl Fn(&Counted) -> u64) -> u64 {
        self.counted.iter().map(of).sum()
    }

    /// How many requests had which status, without those of which there were none.
    pub(crate) fn by_status(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let names = STATUSES.iter().map(u16::to_string);
        let names = names.chain([OTHER.to_owned(), GONE.to_owned()]);
        let counts = names.enumerate().map(|(at, name)| (name, self.count_at(at)));
        counts.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_status_is_counted_somewhere() {
        assert!(STATUSES.is_sorted());
        let requests = Requests::new(&["none".to_owned(), "files_add_file".to_owned()]);
        let action = requests.of(ActionId(1)).unwrap();
        for status in [200, 200, 503, 299] {
            action.answered(status, Duration::from_millis(1));
        }
        action.gone();
        let by_status: Vec<_> = action.by_status().collect();
        let expected = [("200", 2), ("503", 1), ("other", 1), ("gone", 1)];
        assert_eq!(by_status, expected.map(|(name, count)| (name.to_owned(), count)));
        assert_eq!((requests.count(), action.times().count()), (5, 4));
        assert_eq!(requests.faults(), 0);
        requests.of(ActionId(0)).unwrap().answered(500, Duration::ZERO);
        action.answered(500, Duration::ZERO);
        assert_eq!(requests.faults(), 2);
        assert_eq!(requests.seen().count(), 2);
        action.moved(5, 0);
        std::thread::scope(|scope| scope.spawn(|| action.moved(0, 7)).join()).unwrap();
        assert_eq!((action.received(), action.sent()), (5, 7));
    }
}
