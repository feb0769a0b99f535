//! The table of metrics, in the order in which they are shown.

mod connections;

mod process;

mod requests;

mod store;

use std::sync::LazyLock;

use super::Metric;

/// Every metric of the server.
pub static METRICS: LazyLock<Vec<&'static Metric>> = LazyLock::new(|| {
    let of_the_server = requests::METRICS.iter().chain(&connections::METRICS);
    of_the_server.chain(&store::METRICS).chain(&process::METRICS).collect()
});
