//! Whether a load still gets anywhere: where nothing but errors comes for too long, it is given up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing but errors may come until the server counts as gone.
pub(crate) const FAILING_TIME_MAX: Duration = Duration::from_secs(3);

/// Bytes of long bodies that moved, which are a sign of life long before such a request ends. Clones
/// count the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moved(Arc<AtomicU64>);

impl Moved {
    /// Some more did.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many have until now.
    pub(crate) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watches over all threads of a load for how long there are only errors.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    since: Mutex<Option<Since>>,
    /// Whether that is something, so that a success need not take the lock; written under it.
    is_failing: AtomicBool,
}

/// The first of the errors, and what had moved by then.
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

    /// A request failed; whether there has been nothing but errors for too long.
    pub(crate) fn failed(&self, at: Instant, moved: &Moved) -> bool {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_failing.store(true, Ordering::Relaxed);
        let moved = moved.so_far();
        let since = since.get_or_insert(Since { at, moved });
        if since.moved != moved {
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
        let (failing, moved) = (Failing::default(), Moved::default());
        assert!(!failing.failed(at(0), &moved) && !failing.failed(at(3), &moved));
        assert!(failing.failed(at(4), &moved));
        failing.succeeded();
        assert!(!failing.failed(at(5), &moved), "it counts from here");
        assert!(failing.failed(at(9), &moved));
    }

    #[test]
    fn while_bytes_of_long_bodies_move_errors_beside_them_are_not() {
        let origin = Instant::now();
        let (failing, moved) = (Failing::default(), Moved::default());
        for second in 0..20 {
            moved.add(1);
            assert!(!failing.failed(origin + Duration::from_secs(second), &moved));
        }
        assert!(!failing.failed(origin + Duration::from_secs(22), &moved));
        assert!(failing.failed(origin + Duration::from_secs(23), &moved));
    }
}
