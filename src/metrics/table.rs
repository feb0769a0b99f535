//! The table of metrics, in the order in which they are shown.

mod process;

mod requests;

mod store;

use std::sync::LazyLock;

use super::Metric;

/// Every metric of the server.
pub static METRICS: LazyLock<Vec<&'static Metric>> = LazyLock::new(|| {
    requests::METRICS.iter().chain(&store::METRICS).chain(&process::METRICS).collect()
});
