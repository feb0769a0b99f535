//! What a service manager is told (`sd_notify(3)`): that the server is ready, stops, lives.
//!
//! Without `NOTIFY_SOCKET` in the environment nobody is told anything. A manager that does not listen holds
//! up a thread of its own and nothing else, not even the end of the program.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

#[derive(Debug)]
enum Message {
    Status(String),
    Ready(String),
    /// The server may take so long about it.
    Stopping(Duration),
    Lives,
}

/// The server takes requests.
pub(super) fn ready(status: String) {
    tell(Message::Ready(status));
}

/// The server is told to stop, and may take so long about it.
pub(super) fn stopping(grace: Duration) {
    tell(Message::Stopping(grace));
}

/// What the server does before it is ready.
pub(super) fn status(status: &str) {
    tell(Message::Status(status.to_owned()));
}

/// Tells that the program lives, twice in the time after which it would be taken for hung, as long
/// as its tasks come to run. A slow disk is no reason to kill it, so nothing else is looked at.
pub(super) fn keep_telling() {
    if let Some(time) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(time / 2);
            loop {
                ticks.tick().await;
                // One that waits to be told is enough.
                if !LIVES_WAITS.swap(true, Ordering::Relaxed) {
                    tell(Message::Lives);
                }
            }
        });
    }
}

/// Whether a sign of life waits to be told.
static LIVES_WAITS: AtomicBool = AtomicBool::new(false);

/// To the thread that tells, if there is anybody to tell.
static TELLING: LazyLock<Option<Sender<Message>>> = LazyLock::new(|| {
    std::env::var_os("NOTIFY_SOCKET")?;
    let (sender, messages) = channel();
    let telling = thread::Builder::new().name("granary-notify".into());
    match telling.spawn(move || tell_all(&messages)) {
        Ok(_) => Some(sender),
        Err(error) => {
            warn!(%error, "cannot tell the service manager");
            None
        }
    }
});

fn tell(message: Message) {
    if let Some(telling) = &*TELLING {
        // Its thread lives as long as this.
        telling.send(message).ok();
    }
}

fn tell_all(messages: &Receiver<Message>) {
    for message in messages {
        let told = match &message {
            Message::Status(status) => sd_notify::notify(&[NotifyState::Status(status)]),
            Message::Ready(status) => {
                sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)])
            }
            Message::Stopping(grace) => {
                let time = u32::try_from(grace.as_micros()).unwrap_or(u32::MAX);
                sd_notify::notify(&[
                    NotifyState::Stopping,
                    NotifyState::Status("stopping: what is under way is answered"),
                    NotifyState::ExtendTimeoutUsec(time),
                ])
            }
            Message::Lives => {
                LIVES_WAITS.store(false, Ordering::Relaxed);
                sd_notify::notify(&[NotifyState::Watchdog])
            }
        };
        if let Err(error) = told {
            warn!(%error, "cannot tell the service manager");
        }
    }
}
