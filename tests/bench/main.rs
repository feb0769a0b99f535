//! `granary bench` as it is typed: every workload against a server of its own, a foreign server,
//! what goes wrong. Bounded by counts of requests, and nothing is asserted of speed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "as tests do")]

/// A directory to work in, the program in it, and servers.
mod support;

/// Loads that come to their end, and what they report.
mod loads;

/// Loads that are interrupted.
mod interrupts;
