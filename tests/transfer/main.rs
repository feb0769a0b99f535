//! The client's commands against the real server, over a network that breaks, from folders that
//! hold what folders hold.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail by panicking, as tests do"
)]

/// A directory to work in, and the program in it.
#[path = "../operate/support.rs"]
#[expect(dead_code, reason = "the other tests of the real program use more of it")]
mod support;

/// A server with clients, and what they said.
mod world;

/// A way to the server that breaks.
mod proxy;

/// A terminal, as wide as a test wants it.
mod terminal;

/// Clients and servers that are killed, connections that are cut, pushers side by side.
mod interrupted;

/// Names, kinds, rights and times of files that are not as one would wish.
mod odd_files;

/// What is sent at all, and what is not.
mod savings;

/// What is selected, deleted, and only said.
mod selected;

/// Datasets compared, copied, merged, renamed, deleted, and their metadata.
mod datasets;

/// What people and programs are told, with a terminal and without.
mod told;
