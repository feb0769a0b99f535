//! The real program as the one who runs it meets it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail by panicking, as tests do"
)]

/// A directory to work in, and the program in it.
mod support;

/// Checks of directories and servers, sound and not.
mod check;

/// Settings from everywhere, and what is said of wrong ones.
mod config;

/// Connections that are encrypted, and certificates that change.
mod tls;

/// Access tokens, and the key of logins.
mod token;

/// The life of a server: what it says at its start, while it works, and at its end.
mod lifecycle;

/// The file with the first password: how long it is there, and what it is good for.
mod first_password;

/// Passwords whose setting was not answered.
mod lost_answers;

/// Backups of a server that works, and the servers that come of them.
mod backup;

/// Users, teams and projects.
mod administer;

/// What takes space, and what is given back.
mod space;
