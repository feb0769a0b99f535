//! Leases: what a long read stands on instead of a long transaction.
//!
//! A lease remembers which state a reader copied its names from. Contents that died later keep
//! their rows and bytes until the lease is dropped or expires. Taking one writes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Sequence;
use crate::sync::{Mutex, MutexGuard};

/// The open leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, (Sequence, Instant)>,
}

impl Leases {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a state and a lease on it in one step: `take` runs while no reclamation can look for
    /// the oldest lease, and gives the state's last change.
    ///
    /// # Errors
    /// Those of `take`; there is no lease then.
    pub(crate) fn lease<T, E>(
        self: &Arc<Self>,
        duration_max: Duration,
        take: impl FnOnce() -> Result<(T, Sequence), E>,
    ) -> Result<(T, Lease), E> {
        let mut state = self.state();
        let (taken, sequence) = take()?;
        state.next += 1;
        let id = state.next;
        state.open.insert(id, (sequence, Instant::now() + duration_max));
        drop(state);
        Ok((taken, Lease { id, leases: Arc::clone(self) }))
    }

    /// Leases that have not expired.
    pub(crate) fn count(&self) -> usize {
        let now = Instant::now();
        self.state().open.values().filter(|(_, expires)| *expires > now).count()
    }

    /// The last change of the oldest state that somebody still reads.
    pub(crate) fn oldest(&self) -> Option<Sequence> {
        let now = Instant::now();
        let mut state = self.state();
        state.open.retain(|_, (_, expires)| *expires > now);
        state.open.values().map(|(sequence, _)| *sequence).min()
    }
}

/// Keeps the contents of one state until it is dropped.
#[derive(Debug)]
#[must_use = "the contents may go as soon as the lease is dropped"]
pub(crate) struct Lease {
    id: u64,
    leases: Arc<Leases>,
}

impl Lease {
    /// Keeps the contents for so long from now on, if the lease has not expired meanwhile.
    pub(crate) fn renew(&self, duration_max: Duration) {
        let now = Instant::now();
        let mut state = self.leases.state();
        if let Some((_, expires)) = state.open.get_mut(&self.id)
            && *expires > now
        {
            *expires = now + duration_max;
        }
    }

    /// Until when the contents are kept.
    #[cfg(test)]
    pub(crate) fn expires(&self) -> Option<Instant> {
        self.leases.state().open.get(&self.id).map(|(_, expires)| *expires)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.state().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease_at(leases: &Arc<Leases>, sequence: u64, duration: Duration) -> Lease {
        let taken = leases.lease(duration, || Ok::<_, ()>(((), Sequence(sequence))));
        taken.unwrap().1
    }

    #[test]
    fn the_oldest_lease_counts_until_it_is_dropped() {
        let leases = Arc::new(Leases::default());
        let hour = Duration::from_hours(1);
        assert_eq!(leases.oldest(), None);
        let old = lease_at(&leases, 5, hour);
        let young = lease_at(&leases, 9, hour);
        assert_eq!(leases.oldest(), Some(Sequence(5)));
        drop(old);
        assert_eq!(leases.oldest(), Some(Sequence(9)));
        drop(young);
        assert_eq!(leases.oldest(), None);
    }

    #[test]
    fn a_renewed_lease_lasts_and_an_expired_one_stays_expired() {
        let leases = Arc::new(Leases::default());
        let hour = Duration::from_hours(1);
        let lease = lease_at(&leases, 5, hour);
        lease.renew(Duration::ZERO);
        assert_eq!(leases.oldest(), None);
        lease.renew(hour);
        assert_eq!(leases.oldest(), None);
        let lease = lease_at(&leases, 6, Duration::from_mins(1));
        lease.renew(hour);
        assert_eq!(leases.oldest(), Some(Sequence(6)));
    }

    #[test]
    fn an_expired_lease_holds_nothing_back() {
        let leases = Arc::new(Leases::default());
        let _lease = lease_at(&leases, 5, Duration::ZERO);
        assert_eq!(leases.oldest(), None);
    }
}
