//! Trying again: which waits lie between the attempts of one request.

use std::time::Duration;

use super::failure::Failure;

/// Longest `Retry-After` that is honoured; a longer one is a server that is gone.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(2);

/// Waits between attempts: each twice as long as the one before, between half of it and all of it
/// by chance, so that clients that failed together do not come back together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Longest first wait.
    pub(crate) first_wait: Duration,
    /// Longest wait.
    pub(crate) wait_max: Duration,
    /// Attempts in all.
    pub(crate) tries_max: u32,
}

impl Patience {
    /// About two minutes in nine attempts: a server that restarts is back by then.
    pub(crate) const USUAL: Self = Self {
        first_wait: Duration::from_millis(500),
        wait_max: Duration::from_mins(1),
        tries_max: 9,
    };

    /// The wait after attempt number `tried` (from 1) failed; `chance` lies in 0..=65535.
    fn wait(&self, tried: u32, chance: u16, asked: Option<Duration>) -> Duration {
        let doublings = tried.saturating_sub(1).min(16);
        let longest = self.first_wait.saturating_mul(1 << doublings).min(self.wait_max);
        let half = longest / 2;
        let wait = half + half * u32::from(chance) / u32::from(u16::MAX);
        wait.max(asked.unwrap_or_default().min(RETRY_AFTER_MAX))
    }

    /// The wait before the next attempt; `None` if there is none to be made.
    pub(crate) fn after(&self, tried: u32, failure: &Failure) -> Option<Duration> {
        if tried >= self.tries_max || !failure.may_pass() {
            return None;
        }
        if matches!(failure, Failure::LoginRenewed) {
            return Some(Duration::ZERO);
        }
        Some(self.wait(tried, chance(), failure.retry_after()))
    }

    /// The wait before looking again at what is about to change; `None` if it was looked at often
    /// enough.
    pub(crate) fn before_another_look(&self, looked: u32) -> Option<Duration> {
        (looked < self.tries_max).then(|| self.wait(looked, chance(), None))
    }

    /// Makes attempts until one succeeds, fails for good, or none is left.
    ///
    /// # Errors
    /// The last attempt's failure.
    pub(crate) async fn persist<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.persist_unless(attempt, |_| false).await
    }

    /// The same for what a command asks first: that the server does not run is said at once.
    ///
    /// # Errors
    /// The last attempt's failure.
    pub(crate) async fn persist_if_it_runs<T, F>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.persist_unless(attempt, Failure::is_without_connection).await
    }

    async fn persist_unless<T, F>(
        &self,
        mut attempt: impl FnMut() -> F,
        is_final: impl Fn(&Failure) -> bool,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tried = 0;
        loop {
            tried += 1;
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(failure) if is_final(&failure) => return Err(failure),
                Err(failure) => match self.after(tried, &failure) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(failure),
                },
            }
        }
    }
}

fn chance() -> u16 {
    let mut bytes = [0; 2];
    // Without random numbers the waits are merely the shortest ones.
    getrandom::fill(&mut bytes).map_or(0, |()| u16::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn refused(status: StatusCode) -> Failure {
        Failure::Refused { status, detail: String::new() }
    }

    fn busy(retry_after: Option<Duration>) -> Failure {
        Failure::Busy {
            url: "http://h".parse().unwrap(),
            status: StatusCode::SERVICE_UNAVAILABLE,
            detail: String::new(),
            retry_after,
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_one() {
        let patience = Patience::USUAL;
        let longest = |tried| patience.wait(tried, u16::MAX, None).as_millis();
        assert_eq!([1, 2, 3, 7, 8, 9].map(longest), [500, 1000, 2000, 32_000, 60_000, 60_000]);
        assert_eq!(patience.wait(2, 0, None), Duration::from_millis(500));
        let total: Duration =
            (1..patience.tries_max).map(|tried| patience.wait(tried, u16::MAX, None)).sum();
        assert!(total <= Duration::from_secs(125), "{total:?}");
    }

    #[test]
    fn the_server_may_ask_for_a_longer_wait_within_reason() {
        let patience = Patience::USUAL;
        let asked = |seconds| patience.wait(1, 0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(7), Duration::from_secs(7));
        assert_eq!(asked(1_000_000), RETRY_AFTER_MAX);
        assert_eq!(asked(0), Duration::from_millis(250));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let patience = Patience::USUAL;
        assert!(patience.after(1, &busy(None)).is_some());
        assert!(patience.after(patience.tries_max, &busy(None)).is_none());
        assert!(patience.after(1, &refused(StatusCode::BAD_REQUEST)).is_none());
    }
}
