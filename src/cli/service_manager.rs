//! What a service manager is told (`sd_notify(3)`): that the server is ready, stops, lives.
//!
//! Without `NOTIFY_SOCKET` in the environment nobody is told anything.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The server takes requests.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The server is told to stop, and may take so long about it.
pub(super) fn stopping(grace: Duration) {
    let time = u32::try_from(grace.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: what is under way is answered"),
        NotifyState::ExtendTimeoutUsec(time),
    ]);
}

/// What the server does before it is ready.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Tells that the program lives, twice in the time after which it would be taken for hung, as long
/// as its tasks come to run. A slow disk is no reason to kill it, so nothing else is looked at.
pub(super) fn keep_telling() {
    if let Some(time) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(time / 2);
            loop {
                ticks.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        });
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        warn!(%error, "cannot tell the service manager");
    }
}
