//! What the audit log has beside the changes of the store: logins, what changes the server and not
//! its store, and refusals.
//!
//! Changes enter the log by themselves, with the journal's record of each. What is here has a
//! record of its own, which is durable before the answer is given; where the store takes none, as
//! on a full disk, the answer is given all the same.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use granary_engine::Engine;
use granary_engine::model::{DatasetId, Subject};

use super::exchange::Exchange;

/// Refusals that enter the log at once, at most.
const REFUSALS_AT_ONCE: u32 = 600;

/// How often one more may: 86,400 a day, some 20 MB.
const REFUSAL_EVERY: Duration = Duration::from_secs(1);

/// What is entered if it succeeds though it is no change of the store's rows.
const SUCCESSES: [&str; 4] = ["auth_obtain", "auth_rotate_key", "backups_create", "store_collect"];

/// What changes nothing though it is asked for by another method than GET.
const READS: [&str; 12] = [
    "auth_refresh",
    "auth_verify",
    "datasets_download",
    "datasets_list",
    "files_check_files",
    "licences_list",
    "nodes_list",
    "nodes_ping",
    "nodes_ping_one",
    "projects_list",
    "teams_list",
    "users_list",
];

/// Tells a store's audit log.
#[derive(Debug)]
pub(super) struct Witness {
    engine: Engine,
    refusals: Mutex<Refusals>,
}

impl Witness {
    pub(super) fn new(engine: Engine) -> Self {
        let refusals = Refusals { left: REFUSALS_AT_ONCE, counted: Instant::now(), left_out: 0 };
        Self { engine, refusals: Mutex::new(refusals) }
    }

    /// Tells the log of a request that has this answer, if it is to know of it.
    pub(super) async fn look_at(&self, exchange: &Exchange, status: StatusCode) {
        if exchange.method().is_safe() {
            return;
        }
        let (action, _) = exchange.action();
        let subject = exchange.subject().cloned();
        let subject = if status.is_success() && SUCCESSES.contains(&action) {
            subject.unwrap_or_default()
        } else if is_refusal(action, status, subject.is_some()) {
            let Some(left_out) = self.admit(Instant::now()) else { return };
            refused(exchange, subject.unwrap_or_default(), left_out)
        } else {
            return;
        };
        let told = self.engine.witness(exchange.origin(status.as_u16()), subject).await;
        if let Err(error) = told {
            tracing::warn!(action, %error, "the audit log lacks an entry");
        }
    }

    fn admit(&self, now: Instant) -> Option<u64> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).admit(now)
    }
}

/// Whether an answer is a refusal that the log is to have; `is_noted` says that somebody has noted
/// what it was about, as logins do.
fn is_refusal(action: &str, status: StatusCode, is_noted: bool) -> bool {
    let is_denied = status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN;
    (is_denied && !READS.contains(&action)) || (is_noted && status.is_client_error())
}

/// What a refused request wanted: where it went, and which dataset that is.
fn refused(exchange: &Exchange, subject: Subject, left_out: u64) -> Subject {
    let others = match left_out {
        0 => String::new(),
        left_out => format!("; {left_out} refusals before it were too many to be entered"),
    };
    let detail = format!("refused: {} {}{others}", exchange.method(), exchange.path());
    let dataset = exchange.path().strip_prefix("/v1/datasets/");
    let dataset = dataset.and_then(|rest| rest.split('/').next()?.parse().ok()).map(DatasetId);
    Subject { detail: Some(detail), dataset: subject.dataset.or(dataset), ..subject }
}

/// Bounds the refusals in the log: who floods the server with them must not push everything else
/// out of it. So many at once, then one a second.
#[derive(Debug)]
struct Refusals {
    left: u32,
    /// Up to when what is left was counted.
    counted: Instant,
    left_out: u64,
}

impl Refusals {
    /// Takes a place; tells how many were left out before. `None` if there is none.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let more = now.saturating_duration_since(self.counted).as_secs() / REFUSAL_EVERY.as_secs();
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(REFUSALS_AT_ONCE);
            self.counted += REFUSAL_EVERY * more;
        }
        if self.left == 0 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_cut_and_what_was_left_out_is_told() {
        let began = Instant::now();
        let mut refusals = Refusals { left: 2, counted: began, left_out: 0 };
        assert_eq!([(); 4].map(|()| refusals.admit(began)), [Some(0), Some(0), None, None]);
        let later = began + REFUSAL_EVERY;
        assert_eq!(refusals.admit(later), Some(2));
        assert_eq!(refusals.admit(later), None);
        let much_later = later + REFUSAL_EVERY * 10 * REFUSALS_AT_ONCE;
        let admitted = (0..REFUSALS_AT_ONCE * 2).filter(|_| refusals.admit(much_later).is_some());
        assert_eq!(u32::try_from(admitted.count()), Ok(REFUSALS_AT_ONCE));
    }

    #[test]
    fn the_names_here_are_those_of_actions() {
        for name in SUCCESSES.iter().chain(&READS) {
            assert!(super::super::actions::names().iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn refusals_of_changes_are_entered_and_those_of_reads_are_not() {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
            assert!(is_refusal("files_add_file", status, false));
            assert!(!is_refusal("datasets_list", status, false));
        }
        assert!(!is_refusal("files_add_file", StatusCode::NOT_FOUND, false));
        assert!(is_refusal("auth_obtain", StatusCode::TOO_MANY_REQUESTS, true));
        assert!(!is_refusal("auth_obtain", StatusCode::SERVICE_UNAVAILABLE, true));
    }
}
