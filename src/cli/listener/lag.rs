//! How far behind the server is: what a connection that is taken now would wait for at least.
//!
//! Where processors are what is short, no queue of ours fills. Requests wait in their connections,
//! unread, each turn through all of them takes longer, and the only thing that can be refused is the
//! next connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often a task asks for its turn, to see how late it comes.
const ASKED_EVERY: Duration = Duration::from_millis(50);

/// How late tasks of this runtime come to run; clones tell the same.
#[derive(Debug, Clone)]
pub(super) struct Lag {
    begun: Instant,
    /// Milliseconds since then at which the task that asks is due.
    due: Arc<AtomicU64>,
}

impl Lag {
    /// Begins to look, in a task that ends with the last clone.
    pub(super) fn watch() -> Self {
        let lag = Self { begun: Instant::now(), due: Arc::default() };
        let (begun, due) = (lag.begun, Arc::downgrade(&lag.due));
        tokio::spawn(async move {
            while let Some(due) = due.upgrade() {
                let next = Instant::now() + ASKED_EVERY;
                due.store(milliseconds(next.duration_since(begun)), Ordering::Relaxed);
                drop(due);
                sleep_until(next).await;
            }
        });
        lag
    }

    /// How late it is now, also while the task has not come to run.
    pub(super) fn now(&self) -> Duration {
        let due = self.due.load(Ordering::Relaxed);
        Duration::from_millis(milliseconds(self.begun.elapsed()).saturating_sub(due))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_keeps_the_thread_to_itself_is_seen_to() {
        let lag = Lag::watch();
        tokio::task::yield_now().await;
        let begun = Instant::now();
        while begun.elapsed() < ASKED_EVERY * 3 {
            std::hint::spin_loop();
        }
        assert!(lag.now() >= ASKED_EVERY, "{:?}", lag.now());
    }
}
