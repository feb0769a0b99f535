//! How often a login may fail: by account and by address, in memory that does not grow.
//!
//! The `governor` crate decides (GCRA: so many at once, then one as time goes by); the places that
//! it counts in are a table of fixed size, which names and addresses share by a keyed hash. So
//! nobody makes the table grow by trying names, nor knows which names share a place; two that do
//! share their failures. Only failures are counted, so any number of good logins of one user may
//! be under way at once. Of bad ones that are tried at once, as many slip through as have a turn to
//! hash: who waited for one looks again.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

/// Places that failures are counted in, 8 bytes each, for accounts and for addresses: with a
/// thousand accounts under attack, one in 64 others shares the place of one of them.
const PLACES: usize = 1 << 16;

/// Bits of an IPv6 address that tell one customer from another; the rest is theirs to choose.
const IPV6_PREFIX_BITS: u32 = 64;

/// How many logins may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginBounds {
    /// Failures of one account within the window; with 0 they are not counted.
    pub per_account: u32,
    /// Failures from one address within the window; with 0 they are not counted.
    pub per_address: u32,
    /// The time in which all of them may come again, one by one.
    pub window: Duration,
}

impl Default for LoginBounds {
    fn default() -> Self {
        Self { per_account: 10, per_address: 100, window: Duration::from_mins(5) }
    }
}

/// Too many logins failed; nothing was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyFailures {
    /// After which another attempt is looked at, if nobody else makes one.
    pub(crate) retry_after: Duration,
}

/// Counts the failures; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct LoginLimits(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    accounts: Option<Limit>,
    addresses: Option<Limit>,
    hash: RandomState,
}

impl LoginLimits {
    pub(crate) fn new(bounds: LoginBounds) -> Self {
        let limit = |failures| Limit::new(NonZeroU32::new(failures)?, bounds.window);
        let (accounts, addresses) = (limit(bounds.per_account), limit(bounds.per_address));
        Self(Arc::new(Limits { accounts, addresses, hash: RandomState::new() }))
    }

    /// Whether an attempt may be made.
    ///
    /// # Errors
    /// The account, whether it is there or not, or the address has had its failures.
    pub(crate) fn look(
        &self,
        username: &str,
        address: Option<IpAddr>,
    ) -> Result<(), TooManyFailures> {
        for (limit, place) in self.places(username, address) {
            // The rule tells by charging.
            limit.charge(place)?;
            limit.take_back(place);
        }
        Ok(())
    }

    /// Begins an attempt.
    pub(crate) fn attempt(&self, username: &str, address: Option<IpAddr>) -> Attempt {
        Attempt { limits: self.clone(), username: username.to_owned(), address, was_right: false }
    }

    /// Counts an attempt that failed.
    fn count(&self, username: &str, address: Option<IpAddr>) {
        for (limit, place) in self.places(username, address) {
            // A place that is full stays so.
            limit.charge(place).ok();
        }
    }

    fn places(
        &self,
        username: &str,
        address: Option<IpAddr>,
    ) -> impl Iterator<Item = (&Limit, usize)> {
        let Limits { accounts, addresses, hash } = &*self.0;
        let account = accounts.as_ref().map(|limit| (limit, place(hash.hash_one(username))));
        let address = addresses.as_ref().zip(address);
        let address =
            address.map(|(limit, address)| (limit, place(hash.hash_one(network_of(address)))));
        [account, address].into_iter().flatten()
    }
}

/// An attempt, which counts as one that failed when it is dropped unless it was right: whoever goes away
/// before the answer has had a password looked at, too.
#[derive(Debug)]
pub(crate) struct Attempt {
    limits: LoginLimits,
    username: String,
    address: Option<IpAddr>,
    was_right: bool,
}

impl Attempt {
    /// Ends it without a failure.
    pub(crate) fn was_right(mut self) {
        self.was_right = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.was_right {
            self.limits.count(&self.username, self.address);
        }
    }
}

fn place(hash: u64) -> usize {
    usize::try_from(hash % (1 << 16)).unwrap_or_default() % PLACES
}

/// An address as far as it tells who is there.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let mask = !(u128::MAX >> IPV6_PREFIX_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

/// One kind of limit: its places and the rule for all of them.
struct Limit {
    limiter: RateLimiter<usize, Places, MonotonicClock>,
    places: Arc<[AtomicU64]>,
    /// What one attempt adds to its place.
    charge: Nanos,
}

impl fmt::Debug for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Limit").field("charge", &self.charge).finish_non_exhaustive()
    }
}

impl Limit {
    fn new(failures: NonZeroU32, window: Duration) -> Option<Self> {
        let quota = Quota::with_period(window / failures.get())?.allow_burst(failures);
        let places: Arc<[AtomicU64]> = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        let limiter = RateLimiter::new(quota, Places(Arc::clone(&places)), MonotonicClock);
        Some(Self { limiter, places, charge: Nanos::from(quota.replenish_interval()) })
    }

    fn charge(&self, place: usize) -> Result<(), TooManyFailures> {
        self.limiter.check_key(&place).map_err(|not_until| TooManyFailures {
            retry_after: not_until.wait_time_from(MonotonicClock.now()),
        })
    }

    fn take_back(&self, place: usize) {
        if let Some(place) = self.places.get(place) {
            let less = |due: u64| Some(due.saturating_sub(self.charge.as_u64()));
            // The closure always gives a value, so this does not fail.
            place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok();
        }
    }
}

/// Of each place, the time at which nothing is charged to it any more; 0 of one without a charge.
struct Places(Arc<[AtomicU64]>);

impl StateStore for Places {
    type Key = usize;

    fn measure_and_replace<T, F, E>(&self, key: &usize, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Some(place) = self.0.get(*key) else {
            return decide(None).map(|(outcome, _)| outcome);
        };
        let mut due = place.load(Ordering::Relaxed);
        loop {
            let (outcome, next) = decide((due != 0).then(|| Nanos::new(due)))?;
            let swapped = place.compare_exchange_weak(
                due,
                next.as_u64(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Ok(outcome),
                Err(found) => due = found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));

    fn limits(per_account: u32, per_address: u32) -> LoginLimits {
        let window = Duration::from_hours(24);
        LoginLimits::new(LoginBounds { per_account, per_address, window })
    }

    fn fail(limits: &LoginLimits, username: &str, address: &str) -> bool {
        let address = Some(address.parse().unwrap());
        let is_looked_at = limits.look(username, address).is_ok();
        if is_looked_at {
            limits.count(username, address);
        }
        is_looked_at
    }

    #[test]
    fn an_account_has_so_many_failures_from_wherever_they_come() {
        let limits = limits(2, 0);
        assert!(fail(&limits, "anna", "10.0.0.1"));
        assert!(fail(&limits, "anna", "10.0.0.2"));
        let refused = limits.look("anna", HERE).unwrap_err();
        let wait = Duration::from_hours(11)..=Duration::from_hours(12);
        assert!(wait.contains(&refused.retry_after), "{refused:?}");
        assert!(fail(&limits, "berta", "10.0.0.1"));
    }

    #[test]
    fn an_address_has_so_many_failures_whatever_names_it_tries() {
        let limits = limits(0, 2);
        assert!(fail(&limits, "anna", "2001:db8:1:2::1"));
        assert!(fail(&limits, "berta", "2001:db8:1:2:3::4"));
        assert!(!fail(&limits, "carla", "2001:db8:1:2:ffff::"));
        assert!(fail(&limits, "carla", "2001:db8:1:3::1"));
        assert!(fail(&limits, "anna", "10.0.0.1"));
        assert!(fail(&limits, "anna", "::ffff:10.0.0.1"));
        assert!(!fail(&limits, "anna", "10.0.0.1"));
    }

    #[test]
    fn good_logins_are_not_counted_and_refused_ones_charge_nobody() {
        let limits = limits(1, 2);
        for _ in 0..10 {
            limits.look("anna", HERE).unwrap();
        }
        assert!(fail(&limits, "anna", "::1"));
        for _ in 0..10 {
            // Refused for the account, so the address pays nothing.
            assert!(!fail(&limits, "anna", "::1"));
        }
        assert!(fail(&limits, "berta", "::1"));
        // Refused for the address, so the account pays nothing.
        assert!(!fail(&limits, "carla", "::1"));
        assert!(fail(&limits, "carla", "10.0.0.1"));
    }

    #[test]
    fn whatever_is_tried_the_memory_is_the_same() {
        let limits = limits(1, 1);
        for number in 0..3 * PLACES {
            let address = Ipv6Addr::from_bits(u128::try_from(number).unwrap() << 64);
            limits.count(&number.to_string(), Some(address.into()));
        }
        let places = limits.0.accounts.as_ref().map(|limit| limit.places.len());
        assert_eq!(places, Some(PLACES));
    }
}
