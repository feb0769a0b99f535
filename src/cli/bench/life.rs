//! Whether a load still gets anywhere: where nothing but errors comes for too long, it is given up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing but errors may come until the server counts as gone.
pub(crate) const FAILING_TIME_MAX: Duration = Duration::from_secs(3);

/// Bytes of long bodies that moved, which are a sign of life long before such a request ends: those of one
/// connection, and of all together. Clones count the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moved {
    all: Arc<AtomicU64>,
    own: Arc<AtomicU64>,
}

impl Moved {
    /// Those of another connection.
    pub(crate) fn of_another(&self) -> Self {
        Self { all: Arc::clone(&self.all), own: Arc::default() }
    }

    /// Some more did.
    pub(crate) fn add(&self, bytes: u64) {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many have until now, of the connection.
    pub(crate) fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    /// So many have until now, of all.
    pub(crate) fn so_far(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }
}

/// Watches over all threads of a load for how long there are only errors.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    since: Mutex<Option<Since>>,
    /// Whether that is something, so that a success need not take the lock; written under it.
    is_failing: AtomicBool,
}

/// The first of the errors, and what had moved by then, with what moved for nothing since.
#[derive(Debug)]
struct Since {
    at: Instant,
    moved: u64,
}

impl Failing {
    /// A request succeeded.
    pub(crate) fn succeeded(&self) {
        if self.is_failing.load(Ordering::Relaxed) {
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            *since = None;
            self.is_failing.store(false, Ordering::Relaxed);
        }
    }

    /// A request failed, for which so many bytes had moved; whether there has been nothing but errors for
    /// too long.
    pub(crate) fn failed(&self, at: Instant, moved: u64, for_nothing: u64) -> bool {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_failing.store(true, Ordering::Relaxed);
        let is_first = since.is_none();
        let since = since.get_or_insert(Since { at, moved });
        if !is_first {
            since.moved += for_nothing;
        }
        if moved > since.moved {
            *since = Since { at, moved };
        }
        at.saturating_duration_since(since.at) > FAILING_TIME_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_errors_for_too_long_is_the_end() {
        let origin = Instant::now();
        let at = |seconds| origin + Duration::from_secs(seconds);
        let failing = Failing::default();
        assert!(!failing.failed(at(0), 0, 0) && !failing.failed(at(3), 0, 0));
        assert!(failing.failed(at(4), 0, 0));
        failing.succeeded();
        assert!(!failing.failed(at(5), 0, 0), "it counts from here");
        assert!(failing.failed(at(9), 0, 0));
    }

    #[test]
    fn what_moved_for_requests_that_failed_is_no_life() {
        let origin = Instant::now();
        let (failing, one) = (Failing::default(), Moved::default());
        let other = one.of_another();
        let fails = |second, for_nothing| {
            failing.failed(origin + Duration::from_secs(second), one.so_far(), for_nothing)
        };
        for second in 0..4 {
            one.add(10);
            assert!(!fails(second, 10), "{second}");
        }
        one.add(10);
        assert!(fails(4, 10));
        other.add(1);
        assert_eq!((one.own(), other.own(), one.so_far()), (50, 1, 51));
        assert!(!fails(5, 0), "another's goes on");
    }

    #[test]
    fn while_bytes_of_long_bodies_move_errors_beside_them_are_not() {
        let origin = Instant::now();
        let failing = Failing::default();
        for second in 0..20 {
            assert!(!failing.failed(origin + Duration::from_secs(second), second, 0));
        }
        assert!(!failing.failed(origin + Duration::from_secs(22), 19, 0));
        assert!(failing.failed(origin + Duration::from_secs(23), 19, 0));
    }
}
