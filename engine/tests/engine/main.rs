//! The engine from outside: what it promises its callers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]

mod basics;
mod support;
