//! The real server as a process: killed, out of disk space, on a sick disk, overloaded, and at
//! work for long. Each test starts the binary that `GRANARY_BINARY` names, or the one that was
//! built with the tests.
//!
//! What needs a small or a failing disk is ignored here and run by `tests/disk.sh`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests may fail by panicking and say what they count, as tests do"
)]

/// Requests, and answers that may not come.
mod api;

/// Contents that are made again from their number.
mod content;

/// Numbers by chance, the same for the same seed.
mod chance;

/// The process: started, measured, killed.
mod server;

/// What one client did, and what must therefore be there.
mod world;

/// Clients that work at once, each with a world of its own.
mod load;

/// File systems that are small, or fail.
mod small_disk;

/// No space left.
mod full_disk;

/// Writes and syncs that fail.
mod sick_disk;

/// Asked for more than it can do.
mod overload;

/// At work for long.
mod soak;

/// Killed again and again under load.
mod kill;

/// Killed in the middle of an upload that goes on.
mod resumed;
