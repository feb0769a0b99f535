//! Connections, and those for whom there was no room. Who takes connections counts; the server's
//! state has the same numbers for whoever reads them.

use std::sync::Arc;

use granary_engine::counters::{Counter, Gauge};

/// What happens at the server's door.
#[derive(Debug, Default)]
pub struct Connections {
    /// Connections that have a place.
    pub open: Gauge,
    /// Places.
    pub limit: Gauge,
    /// Connections for which there was no place.
    pub refused: Counter,
    /// Connections without a request that ended so that another one had their place.
    pub given_up: Counter,
}

impl Connections {
    /// Counts a connection as open until the result is dropped.
    pub fn enter(self: &Arc<Self>) -> OpenConnection {
        self.open.enter();
        OpenConnection(Arc::clone(self))
    }
}

/// A connection that counts as open.
#[derive(Debug)]
#[must_use = "the connection counts until this is dropped"]
pub struct OpenConnection(Arc<Connections>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.leave();
    }
}
