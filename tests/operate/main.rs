//! The real program as the one who runs it meets it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail by panicking, as tests do")]

/// A directory to work in, and the program in it.
mod support;

/// Settings from everywhere, and what is said of wrong ones.
mod config;
