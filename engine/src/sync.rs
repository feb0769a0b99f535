//! The primitives that our own concurrency is made of: those of the standard library, or with the
//! feature `interleavings` shuttle's, under which tests choose which thread runs on at each of
//! them. So what is tested is the code itself.
//!
//! What no test interleaves uses the standard library directly, above all the simulated disk: redb
//! calls it with its own locks held, where no other thread may come to run.

#[cfg(not(feature = "interleavings"))]
mod primitives {
    use std::time::Duration;

    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic, mpsc};
    pub(crate) use std::thread;

    use tokio::sync::oneshot;

    pub(crate) use dashmap::DashMap as Map;
    pub(crate) use tokio::time::timeout;

    /// Waits for the one message of a channel, on a thread that may block.
    pub(crate) fn receive<T>(
        receiver: oneshot::Receiver<T>,
    ) -> Result<T, oneshot::error::RecvError> {
        receiver.blocking_recv()
    }

    /// Visits all values of a map, in no order.
    pub(crate) fn visit<K: Eq + std::hash::Hash, V>(map: &Map<K, V>, mut visit: impl FnMut(&V)) {
        map.iter().for_each(|entry| visit(entry.value()));
    }

    /// Where another thread may come to run though nothing is locked or sent. Does nothing.
    pub(crate) fn others_may_run() {}

    /// Waits so long for the next message.
    pub(crate) fn receive_within<T>(
        receiver: &mpsc::Receiver<T>,
        wait_max: Duration,
    ) -> Result<T, mpsc::RecvTimeoutError> {
        receiver.recv_timeout(wait_max)
    }

    /// Does some work; a panic is its result, as it is that of a thread.
    pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
    }

    /// Waits until it is told to go on, or for so long; or less, for no reason.
    pub(crate) fn wait_at_most<'a, T>(
        told: &Condvar,
        guard: MutexGuard<'a, T>,
        wait_max: Duration,
    ) -> MutexGuard<'a, T> {
        let waited = told.wait_timeout(guard, wait_max);
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
    }
}

#[cfg(feature = "interleavings")]
mod primitives {
    use std::borrow::Borrow;
    use std::collections::HashMap;
    use std::collections::hash_map;
    use std::hash::Hash;
    use std::ops::Deref;
    use std::pin::pin;
    use std::sync::PoisonError;
    use std::task::Poll;
    use std::time::Duration;

    use shuttle::rand::Rng as _;
    use tokio::sync::oneshot;

    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic, mpsc};
    pub(crate) use shuttle::thread;

    /// Waits for the one message of a channel.
    pub(crate) fn receive<T>(
        receiver: oneshot::Receiver<T>,
    ) -> Result<T, oneshot::error::RecvError> {
        shuttle::future::block_on(receiver)
    }

    /// Where another thread may come to run though nothing is locked or sent.
    pub(crate) fn others_may_run() {
        thread::yield_now();
    }

    /// Looks for the next message; waits for it, however long, where it may wait at all.
    pub(crate) fn receive_within<T>(
        receiver: &mpsc::Receiver<T>,
        wait_max: Duration,
    ) -> Result<T, mpsc::RecvTimeoutError> {
        if wait_max.is_zero() {
            return receiver.try_recv().map_err(|error| match error {
                mpsc::TryRecvError::Empty => mpsc::RecvTimeoutError::Timeout,
                mpsc::TryRecvError::Disconnected => mpsc::RecvTimeoutError::Disconnected,
            });
        }
        receiver.recv().map_err(|_closed| mpsc::RecvTimeoutError::Disconnected)
    }

    /// Does some work, whose panic a test must see.
    #[expect(clippy::unnecessary_wraps, reason = "the other one catches panics")]
    pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
        Ok(work())
    }

    /// Waits for no time at all, as it may; others come to run where the guard is let go of.
    pub(crate) fn wait_at_most<'a, T>(
        _: &Condvar,
        guard: MutexGuard<'a, T>,
        _: Duration,
    ) -> MutexGuard<'a, T> {
        guard
    }

    /// The time was up.
    #[derive(Debug)]
    pub(crate) struct Elapsed;

    /// Awaits a future; each time that it is not ready the time may be up.
    pub(crate) async fn timeout<F: Future>(_: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if shuttle::rand::thread_rng().gen_bool(0.1) => Poll::Ready(Err(Elapsed)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// What `DashMap` promises, with one lock.
    #[derive(Debug)]
    pub(crate) struct Map<K, V> {
        entries: Mutex<HashMap<K, V>>,
    }

    impl<K, V> Default for Map<K, V> {
        fn default() -> Self {
            Self { entries: Mutex::new(HashMap::new()) }
        }
    }

    impl<K: Eq + Hash + Clone, V> Map<K, V> {
        fn entries(&self) -> MutexGuard<'_, HashMap<K, V>> {
            self.entries.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn entry(&self, key: K) -> MapEntry<'_, K, V> {
            MapEntry { entries: self.entries(), key }
        }

        pub(crate) fn get(&self, key: &K) -> Option<MapRef<'_, K, V>> {
            let entries = self.entries();
            let is_there = entries.contains_key(key);
            is_there.then(|| MapRef { entries, key: key.clone() })
        }

        pub(crate) fn remove_if(
            &self,
            key: &K,
            is_wanted: impl FnOnce(&K, &V) -> bool,
        ) -> Option<(K, V)> {
            let mut entries = self.entries();
            match entries.entry(key.clone()) {
                hash_map::Entry::Occupied(found) if is_wanted(key, found.get()) => {
                    Some(found.remove_entry())
                }
                hash_map::Entry::Occupied(_) | hash_map::Entry::Vacant(_) => None,
            }
        }

        pub(crate) fn len(&self) -> usize {
            self.entries().len()
        }
    }

    /// Visits all values of a map, in no order.
    pub(crate) fn visit<K: Eq + Hash + Clone, V>(map: &Map<K, V>, visit: impl FnMut(&V)) {
        map.entries().values().for_each(visit);
    }

    /// An entry of a [`Map`], which is locked meanwhile.
    pub(crate) struct MapEntry<'a, K, V> {
        entries: MutexGuard<'a, HashMap<K, V>>,
        key: K,
    }

    impl<'a, K: Eq + Hash + Clone, V> MapEntry<'a, K, V> {
        pub(crate) fn or_insert_with(mut self, make: impl FnOnce() -> V) -> MapRef<'a, K, V> {
            self.entries.entry(self.key.clone()).or_insert_with(make);
            MapRef { entries: self.entries, key: self.key }
        }
    }

    /// A value of a [`Map`], which is locked meanwhile.
    pub(crate) struct MapRef<'a, K, V> {
        entries: MutexGuard<'a, HashMap<K, V>>,
        key: K,
    }

    impl<K: Eq + Hash, V> Deref for MapRef<'_, K, V> {
        type Target = V;

        #[expect(
            clippy::indexing_slicing,
            reason = "it was found or put there under the same lock"
        )]
        fn deref(&self) -> &V {
            &self.entries[self.key.borrow()]
        }
    }
}

pub(crate) use primitives::*;
