//! The threads that run actors: an actix system on a thread of its own, and its arbiters.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use actix::{Arbiter, ArbiterHandle, System};

/// Running arbiters.
#[derive(Debug)]
pub(crate) struct Arbiters {
    handles: Vec<ArbiterHandle>,
    /// Joined at the end: with its thread the last actor of an arbiter has gone, and what it held.
    running: Mutex<Vec<Arbiter>>,
    system: System,
    thread: Mutex<Option<JoinHandle<()>>>,
    next: AtomicUsize,
}

impl Arbiters {
    /// Starts `count` arbiters, at least one.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let (started, starting) = mpsc::channel();
        let builder = std::thread::Builder::new().name("granary-actors".into());
        let thread = builder.spawn(move || {
            let runner = System::new();
            let arbiters = runner.block_on(async move {
                (0..count.max(1)).map(|_| Arbiter::new()).collect::<Vec<_>>()
            });
            if started.send((System::current(), arbiters)).is_err() {
                return;
            }
            if let Err(error) = runner.run() {
                tracing::error!(%error, "the actors' threads ended badly");
            }
        })?;
        let (system, arbiters) = starting.recv().map_err(io::Error::other)?;
        let handles = arbiters.iter().map(Arbiter::handle).collect();
        let (thread, running) = (Mutex::new(Some(thread)), Mutex::new(arbiters));
        Ok(Self { handles, running, system, thread, next: AtomicUsize::new(0) })
    }

    /// The arbiter whose turn it is.
    pub(crate) fn next(&self) -> &ArbiterHandle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len();
        #[expect(clippy::indexing_slicing, reason = "a remainder is below the length")]
        &self.handles[turn]
    }

    /// Ends them all. Blocks until their threads have ended.
    pub(crate) fn stop(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for arbiter in running.drain(..) {
            arbiter.stop();
            if arbiter.join().is_err() {
                tracing::error!("an arbiter's thread panicked");
            }
        }
        self.system.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the actors' system panicked");
        }
    }
}
