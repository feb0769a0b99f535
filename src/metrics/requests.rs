//! Requests, counted by what they ask for: an operation of the API, of which there are some
//! seventy, whatever is in paths and queries.

use granary_engine::counters::{Counter, Distribution, Gauge, Histogram};

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
    pub(crate) in_flight: Gauge,
    /// Lines of the log about requests that its bound left out.
    pub(crate) lines_left_out: Counter,
}

/// The requests of one operation.
#[derive(Debug)]
pub(crate) struct OfAction {
    pub(crate) name: String,
    time: Histogram,
    /// One for each of [`STATUSES`], then one for [`OTHER`] and one for [`GONE`].
    statuses: Vec<Counter>,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

impl Requests {
    /// None yet, of operations with these names.
    pub(crate) fn new(names: &[String]) -> Self {
        let of = |name: &String| OfAction {
            name: name.clone(),
            time: Histogram::of_times(),
            statuses: (0..STATUSES.len() + 2).map(|_| Counter::default()).collect(),
            received: Counter::default(),
            sent: Counter::default(),
        };
        let actions = names.iter().map(of).collect();
        Self { actions, in_flight: Gauge::default(), lines_left_out: Counter::default() }
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
        if let Some(count) = self.statuses.get(at) {
            count.increment();
        }
        self.time.record_time(time);
    }

    /// Counts a request whose client went away first.
    pub(crate) fn gone(&self) {
        if let Some(count) = self.statuses.last() {
            count.increment();
        }
    }

    /// Times from a request's head to its answer's, in nanoseconds.
    pub(crate) fn times(&self) -> Distribution {
        self.time.read()
    }

    /// How many requests had a status that is counted apart.
    fn count_of(&self, status: u16) -> u64 {
        let at = STATUSES.binary_search(&status).ok();
        at.and_then(|at| self.statuses.get(at)).map_or(0, Counter::get)
    }

    /// How many requests had which status, without those of which there were none.
    pub(crate) fn by_status(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let names = STATUSES.iter().map(u16::to_string);
        let names = names.chain([OTHER.to_owned(), GONE.to_owned()]);
        let counts = names.zip(self.statuses.iter().map(Counter::get));
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
    }
}
