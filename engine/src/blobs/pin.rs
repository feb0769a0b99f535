//! What must not be removed yet: the gap of I3, closed from both sides.
//!
//! A content's row is removed by the index thread in a transaction that becomes visible only when
//! it is committed. An uploader who looks a content up in between would find a row that is about
//! to go, send no bytes, and name a content that nobody has. So both sides meet here, under the
//! lock of the digest's shard:
//!
//! - An uploader **pins first, then looks up** in a snapshot that it takes after [`Pins::pin`]
//!   returned. A pinned digest is not doomed by anyone until the last pin is dropped.
//! - The index thread **dooms, removes the rows of what it could doom, commits, and then drops**
//!   [`Doomed`]. A pin that is taken in between knows ([`Pin::is_doomed`]) that a row it may still
//!   see does not count.
//!
//! | order | what happens |
//! |---|---|
//! | pin, look up, doom | the digest is passed over; its row stays |
//! | doom, pin, commit | the pin is doomed: the uploader sends its bytes |
//! | doom, commit, end of doom, pin | the pin is not doomed, and the look-up finds no row |
//! | doom, pin, transaction given up | bytes are sent though the row stays; the change that brings them finds the row and counts it up |
//!
//! Between the record that brings a content and its row there is nothing to look up. So the journal
//! thread notes here what it has written ([`Pin::note_brought`]): for as long as the content stays
//! pinned without a break, whoever missed it in the index names it without bytes of its own.
//!
//! Nothing here is on disk: after a crash no upload is in flight.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use crate::model::Digest;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Shards of the map; uploads of different contents rarely meet at one lock.
const SHARDS: usize = 64;

/// The pins of all contents; clones are handles to the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    shards: Arc<[Mutex<Shard>; SHARDS]>,
}

/// Holds digests that are pinned or doomed, and no others. Hashed with a key that nobody knows: clients name
/// digests without having contents, a hundred thousand at once.
type Shard = HashMap<Digest, PinState>;

#[derive(Debug, Default)]
struct PinState {
    pins: usize,
    is_doomed: bool,
    /// Whether a record that brings the content is in the journal, and it has been pinned ever since.
    /// Its pins have it too, so that they need neither the lock nor a look.
    is_brought: Arc<AtomicBool>,
}

impl PinState {
    fn is_idle(&self) -> bool {
        self.pins == 0 && !self.is_doomed
    }
}

impl Pins {
    /// Makes a set of pins that is empty.
    pub(crate) fn new() -> Self {
        Self { shards: Arc::new(std::array::from_fn(|_| Mutex::default())) }
    }

    /// Pins a content, whether anyone has heard of it or not.
    pub(crate) fn pin(&self, digest: Digest) -> Pin {
        let mut shard = self.shard(&digest);
        let state = shard.entry(digest).or_default();
        state.pins += 1;
        let (is_doomed, is_brought) = (state.is_doomed, Arc::clone(&state.is_brought));
        Pin { digest, is_doomed, is_brought, pins: self.clone() }
    }

    /// Has a content that was found damaged brought once more, whoever brought it before.
    pub(crate) fn forget_brought(&self, digest: &Digest) {
        if let Some(state) = self.shard(digest).get(digest) {
            state.is_brought.store(false, Ordering::Release);
        }
    }

    /// Contents that are pinned.
    pub(crate) fn count(&self) -> usize {
        let pinned = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().filter(|state| state.pins > 0).count()
        };
        self.shards.iter().map(pinned).sum()
    }

    /// Dooms those of the digests that nobody has pinned (nor doomed already).
    ///
    /// For the index thread, before it removes their rows; the guard is dropped after the commit.
    pub(crate) fn doom(&self, digests: impl Iterator<Item = Digest>) -> Doomed {
        let mut doomed = Doomed { digests: HashSet::new(), pins: self.clone() };
        for digest in digests {
            let mut shard = self.shard(&digest);
            let state = shard.entry(digest).or_default();
            if state.is_idle() {
                state.is_doomed = true;
                doomed.digests.insert(digest);
            }
        }
        doomed
    }

    /// Locks a digest's shard. A panic elsewhere cannot leave a shard half changed, so poison is
    /// passed over.
    #[expect(clippy::indexing_slicing, reason = "the remainder is below the array's length")]
    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        let [first, ..] = digest.0;
        let shard = &self.shards[usize::from(first) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a digest's state and forgets it if nothing is left of it.
    fn release(&self, digest: Digest, change: impl FnOnce(&mut PinState)) {
        if let Entry::Occupied(mut entry) = self.shard(&digest).entry(digest) {
            change(entry.get_mut());
            if entry.get().is_idle() {
                entry.remove();
            }
        }
    }
}

/// Keeps one content's row from being removed for as long as it lives.
///
/// An upload holds it from before the look-up until its change is applied. A clone counts as
/// another pin and says the same of doom.
#[derive(Debug)]
#[must_use = "the content's row may be removed as soon as the pin is dropped"]
pub(crate) struct Pin {
    digest: Digest,
    is_doomed: bool,
    is_brought: Arc<AtomicBool>,
    pins: Pins,
}

impl Pin {
    /// Whether the content's row was about to be removed when this pin was taken: then it counts
    /// as absent, even if a snapshot still shows the row.
    pub(crate) fn is_doomed(&self) -> bool {
        self.is_doomed
    }

    /// Notes that a synced record of the journal brings the content.
    pub(crate) fn note_brought(&self) {
        self.is_brought.store(true, Ordering::Release);
    }

    /// Whether the index has the content, or will have it before it applies a record that is written
    /// from now on; and keeps it for as long as this pin lives.
    pub(crate) fn is_brought(&self) -> bool {
        self.is_brought.load(Ordering::Acquire)
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        let mut clone = self.pins.pin(self.digest);
        clone.is_doomed = self.is_doomed;
        clone
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.release(self.digest, |state| {
            state.pins -= 1;
            if state.pins == 0 {
                state.is_brought.store(false, Ordering::Release);
            }
        });
    }
}

/// Digests whose rows the index thread removes in the transaction under way.
#[derive(Debug)]
#[must_use = "pins taken after the drop trust the rows they see: hold it until the commit"]
pub(crate) struct Doomed {
    digests: HashSet<Digest>,
    pins: Pins,
}

impl Doomed {
    /// Whether none of them is.
    pub(crate) fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether a digest's row may be removed.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        for digest in &self.digests {
            self.pins.release(*digest, |state| state.is_doomed = false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn may_doom(pins: &Pins, name: &str) -> bool {
        pins.doom(std::iter::once(digest(name))).contains(&digest(name))
    }

    fn entries(pins: &Pins) -> usize {
        let shards = pins.shards.iter();
        shards.map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn what_is_pinned_is_not_doomed_until_the_last_pin_is_dropped() {
        let pins = Pins::new();
        let (pinned, free) = (digest("pinned"), digest("free"));
        let pin = pins.pin(pinned);
        let clone = pin.clone();
        let doomed = pins.doom([pinned, free].into_iter());
        assert!(doomed.contains(&free) && !doomed.contains(&pinned));
        drop(pin);
        assert!(!may_doom(&pins, "pinned"));
        drop(clone);
        assert!(may_doom(&pins, "pinned"));
    }

    #[test]
    fn what_was_brought_is_known_for_as_long_as_it_is_pinned() {
        let pins = Pins::new();
        let first = pins.pin(digest("a"));
        assert!(!first.is_brought());
        first.note_brought();
        let second = pins.pin(digest("a"));
        assert!(second.is_brought() && !pins.pin(digest("b")).is_brought());
        drop(first);
        assert!(pins.pin(digest("a")).is_brought());
        pins.forget_brought(&digest("a"));
        pins.forget_brought(&digest("b"));
        assert!(!second.is_brought());
        second.note_brought();
        drop(second);
        assert!(!pins.pin(digest("a")).is_brought());

        // Nor does it outlive the pins while the row is being removed.
        let doomed = pins.doom([digest("a")].into_iter());
        let third = pins.pin(digest("a"));
        third.note_brought();
        drop(third);
        assert!(!pins.pin(digest("a")).is_brought());
        drop(doomed);
        assert_eq!(entries(&pins), 0);
    }

    #[test]
    fn a_pin_taken_before_the_doom_is_not_doomed() {
        let pins = Pins::new();
        let pin = pins.pin(digest("a"));
        let _doomed = pins.doom([digest("a")].into_iter());
        assert!(!pin.is_doomed());
        assert!(!pins.pin(digest("a")).is_doomed());
    }

    #[test]
    fn a_pin_taken_between_doom_and_commit_is_doomed_and_so_are_its_clones() {
        let pins = Pins::new();
        let doomed = pins.doom([digest("a")].into_iter());
        let pin = pins.pin(digest("a"));
        drop(doomed);
        assert!(pin.is_doomed());
        assert!(pin.clone().is_doomed());
        // Another uploader, after the commit, looks up for itself.
        assert!(!pins.pin(digest("a")).is_doomed());
        // And the content that is on its way is safe from the next removal.
        assert!(!may_doom(&pins, "a"));
    }

    #[test]
    fn a_pin_taken_after_the_commit_is_not_doomed() {
        let pins = Pins::new();
        drop(pins.doom([digest("a")].into_iter()));
        assert!(!pins.pin(digest("a")).is_doomed());
    }

    #[test]
    fn a_digest_is_doomed_once() {
        let pins = Pins::new();
        let doomed = pins.doom([digest("a"), digest("a")].into_iter());
        assert!(doomed.contains(&digest("a")));
        assert!(!may_doom(&pins, "a"));
    }

    #[test]
    fn nothing_stays_behind() {
        let pins = Pins::new();
        let pin = pins.pin(digest("a"));
        let doomed = pins.doom([digest("a"), digest("b")].into_iter());
        let late = pins.pin(digest("b"));
        drop((pin, doomed, late));
        assert_eq!(entries(&pins), 0);
    }

    #[test]
    fn threads_that_pin_and_doom_never_both_have_a_digest_to_themselves() {
        let pins = Pins::new();
        let contended = digest("contended");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let pin = pins.pin(contended);
                        // Not doomed when pinned: no one can doom it now.
                        let doomed = pins.doom([contended].into_iter());
                        assert!(!doomed.contains(&contended));
                        drop((doomed, pin));
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let doomed = pins.doom([contended].into_iter());
                    let is_mine = doomed.contains(&contended);
                    assert!(!is_mine || pins.pin(contended).is_doomed());
                }
            });
        });
        assert_eq!(entries(&pins), 0);
    }
}
