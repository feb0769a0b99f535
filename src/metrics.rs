//! What `/metrics` shows: the server's numbers in Prometheus' text format.
//!
//! The engine counts for itself ([`granary_engine::counters`]) and tells its numbers as a plain
//! struct; the server counts requests here. Nothing is looked up by a text when something is
//! counted, and nothing is rendered before somebody asks. The table ([`METRICS`]) is the only place
//! that knows a metric's name: the answer, `docs/metrics.md` and the test of the dashboard follow
//! from it. A new metric is a number that somebody counts and a row of the table.

mod connections;

#[cfg(test)]
mod document;

mod exposition;

mod process;

mod requests;

mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use granary_engine::Figures;

pub use connections::{Connections, OpenConnection};
pub(crate) use exposition::render;
pub use exposition::{Kind, Metric};
pub(crate) use process::ProcessFigures;
pub(crate) use requests::{ActionId, LinesLeftOut, Requests};
pub use table::METRICS;

/// Type of the answer, as Prometheus asks for it.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the server counts itself; handlers reach it through their state.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Requests,
    /// Counted by whoever takes connections, which knows of no state.
    pub(crate) connections: Arc<Connections>,
    started: Instant,
}

impl Metrics {
    /// Nothing counted yet; `actions` are the names of all that may be asked of the server.
    pub(crate) fn new(actions: &[String]) -> Self {
        let requests = Requests::new(actions);
        Self { requests, connections: Arc::default(), started: Instant::now() }
    }

    /// Since the API was put together.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// What the rows of the table read from: everything at one moment, more or less.
pub(crate) struct Scrape<'a> {
    pub(crate) metrics: &'a Metrics,
    pub(crate) figures: Figures,
    pub(crate) process: ProcessFigures,
    /// The server's condition, as `/readyz` has it.
    pub(crate) condition: &'static str,
    /// Work of the HTTP edge.
    pub(crate) works: Vec<Work>,
}

/// Work that only so much of is done at once.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) running: u64,
    pub(crate) limit: u64,
    /// Who got no turn at it.
    pub(crate) refused: u64,
}
