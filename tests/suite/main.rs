//! The API as its clients see it: stories through the router, each over a store of its own.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail by panicking, as tests do"
)]

/// A server, its users and their requests.
mod support;

/// Archives in parts, compressed ones, and archives of others.
mod archives;

/// Who somebody is: tokens and the headers that carry them.
mod auth;

/// Users, teams, projects, licences and nodes, as far as datasets need them.
mod catalogue;

/// Datasets as a whole: made, changed, copied, merged, deleted, brought back.
mod datasets;

/// Datasets as archives.
mod download;

/// What every answer has, and what bad requests get.
mod errors;

/// Files: names, contents, many at once, reading in part.
mod files;

/// The metadata of files.
mod metadata;

/// Who may do what.
mod permissions;
