//! granary's server: the HTTP edge over the storage engine.
//!
//! All that knows axum, JSON, a status code or a permission is here; the engine below knows none
//! of them. [`router`] gives the whole API as one axum router, so that a test mounts what the
//! server serves; [`bootstrap()`] makes a new store usable.

pub mod auth;

mod bootstrap;

mod checks;

pub mod config;

mod errand;

mod filter;

mod first_password;

#[cfg(test)]
mod generated;

mod http;

#[cfg(test)]
mod limits_reference;

mod metrics;

mod networks;

mod permission;

mod private_file;

mod pace;

mod purge;

#[cfg(feature = "otel")]
mod traces;

pub use bootstrap::{FirstStart, bootstrap, has_started_once};
pub use first_password::remove_first_password_of;
pub use http::wire_of_space as space_shapes;
pub use http::wire_of_store as store_shapes;
pub use http::{
    AppState, BODY_BYTES_A_SECOND, Origins, Outside, Peer, body_pace, crowded_router,
    current_request_id, draining_router, metrics_router, recovering_router, router,
    router_that_discards_uploads,
};
pub use metrics::{Connections, Kind as MetricKind, METRICS, Metric, OpenConnection};
pub use networks::Networks;
pub use pace::{Pace, Pacer};
pub use purge::{Purge, Sweep};
