//! The least that a peer must do: what comes or goes a byte a second holds memory, a place and a
//! connection as long as what stands still does.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// So many bytes in each such span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Only time counts in which nothing is to be done but to wait for the peer.
    pub span: Duration,
    /// With none, anything at all within the span is enough.
    pub bytes: u64,
}

/// Holds one stream to a pace.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    /// What is left of the span.
    left: Duration,
    /// Bytes within the span so far.
    bytes: u64,
    /// Runs while the peer is waited for.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Pacer {
    /// Begins a first span.
    pub fn new(pace: Pace) -> Self {
        Self { pace, left: pace.span, bytes: 0, waiting: None }
    }

    /// The peer has sent or taken so many bytes, and is not waited for.
    pub fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let waiting = self.waiting.take();
        if self.bytes >= self.pace.bytes {
            self.bytes = 0;
            self.left = self.pace.span;
        } else if let Some((since, _)) = waiting {
            self.left = self.left.saturating_sub(since.elapsed());
        }
    }

    /// Waits for the peer; ready once it has been too slow.
    pub fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        if left.is_zero() {
            // A timer would take another instant, within which the next byte may come.
            return Poll::Ready(());
        }
        let (_, sleep) =
            self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        sleep.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    async fn is_too_slow(pacer: &mut Pacer) -> bool {
        poll_fn(|context| Poll::Ready(pacer.poll_too_slow(context).is_ready())).await
    }

    #[tokio::test]
    async fn who_does_enough_begins_a_new_span() {
        let mut pacer = Pacer::new(Pace { span: HOUR, bytes: 10 });
        assert!(!is_too_slow(&mut pacer).await);
        pacer.left = Duration::ZERO;
        pacer.moved(10);
        assert!(!is_too_slow(&mut pacer).await);
        assert_eq!(pacer.left, HOUR);
    }

    #[tokio::test]
    async fn who_does_too_little_uses_its_span_up_by_waiting() {
        let mut pacer = Pacer::new(Pace { span: HOUR, bytes: 10 });
        let mut left = HOUR;
        for _ in 0..9 {
            assert!(!is_too_slow(&mut pacer).await);
            pacer.moved(1);
            assert!(pacer.left < left);
            left = pacer.left;
        }
        pacer.left = Duration::ZERO;
        assert!(is_too_slow(&mut pacer).await);
    }

    #[tokio::test]
    async fn time_in_which_the_peer_is_not_waited_for_does_not_count() {
        let mut pacer = Pacer::new(Pace { span: HOUR, bytes: 10 });
        pacer.moved(1);
        tokio::task::yield_now().await;
        pacer.moved(1);
        assert_eq!(pacer.left, HOUR);
    }

    #[tokio::test]
    async fn without_a_rate_any_byte_is_enough() {
        let mut pacer = Pacer::new(Pace { span: HOUR, bytes: 0 });
        pacer.left = Duration::ZERO;
        pacer.moved(1);
        assert_eq!(pacer.left, HOUR);
    }
}
