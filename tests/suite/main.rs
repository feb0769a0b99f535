//! The API as its clients see it: stories through the router, each over a store of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "helpers of tests may fail by panicking, as tests do"
)]

/// A server, its users and their requests.
mod support;

/// Access tokens: what programs prove with that they may act for a user.
mod access_tokens;

/// Archives in parts, compressed ones, and archives of others.
mod archives;

/// Who changed what, when, from where.
mod audit;

/// Who somebody is: tokens and the headers that carry them.
mod auth;

/// Backups under way.
mod backups;

/// Many files in one change, and files under new names.
mod bulk;

/// Writers who do not know of each other.
mod conditions;

/// Digests of bodies and contents.
mod integrity;

/// What need not be sent.
mod preflight;

/// Uploads that go on where they stopped.
mod uploads;

/// Users, teams, projects, licences and nodes, as far as datasets need them.
mod catalogue;

/// Datasets as a whole: made, changed, copied, merged, deleted, brought back.
mod datasets;

/// What the documents name is there.
mod documents;

/// Datasets as archives.
mod download;

/// What takes the space, and what is given back.
mod space;

/// Whether what is stored is sound, and what becomes of what is not.
mod store;

/// What every answer has, and what bad requests get.
mod errors;

/// Bodies of rubbish, on every action.
mod bad_input;

/// Paths, queries and headers of rubbish.
mod bad_paths;

/// Rights that end while a request is on its way.
mod revocation;

/// Logins that their connections keep.
mod kept_logins;

/// What no answer and no line of the log holds.
mod secrets;

/// What the server tells of itself: metrics, health, the ids of requests.
mod observation;

/// What is better here than in the server that the API comes from.
mod faults;

/// What the published clients rely on.
mod clients;

/// The outer rules that hold of every action: paths, bodies, statuses, the order of checks.
mod conventions;

/// Files and metadata page by page.
mod file_listing;

/// Files: names, contents, many at once, reading in part.
mod files;

/// Multipart forms without an end.
mod forms;

/// Large JSON bodies of changes that wait.
mod large_bodies;

/// JSON that takes more than its bytes.
mod hostile_json;

/// What filters and orders must not tell.
mod filter_secrets;

/// The filter language.
mod filters;

/// Who may do what, as one matrix.
mod matrix;

/// The metadata of files.
mod metadata;

/// The document that describes the API, and the page that shows it.
mod openapi;

/// Lists page by page.
mod paging;

/// Who may do what.
mod permissions;

/// Users: changed, deactivated, brought back.
mod users;

/// Teams and who is a member.
mod teams;

/// How much teams may hold.
mod quotas;

/// Projects and what becomes of the datasets in them.
mod projects;

/// Licences and what they say.
mod licences;

/// Nodes, and what they may do for themselves.
mod nodes;

/// What was soft-deleted long ago, and goes.
mod purge;

/// The seeds of the fuzz targets that speak HTTP.
mod seeds;

/// Readers that take their time, and how little each may keep in memory.
mod slow_readers;

/// Senders that stand still, and those beside them.
mod slow_senders;

/// A server over a simulated disk, which those targets share.
#[path = "../../fuzz/src/server.rs"]
mod server;
