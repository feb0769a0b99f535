//! The process, under the names that Prometheus' own libraries use, and the build.

use crate::metrics::exposition::{Kind, Metric};

pub(super) static METRICS: [Metric; 8] = [
    Metric {
        name: "granary_build_info",
        kind: Kind::Gauge,
        labels: &[("version", "the version")],
        about: "Always 1; tells which version runs.",
        read: |_, samples| samples.labelled(&[env!("CARGO_PKG_VERSION")], 1),
    },
    Metric {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Time on processors, of user and system.",
        read: |scrape, samples| {
            let time = scrape.process.cpu_milliseconds.map(std::time::Duration::from_millis);
            if let Some(time) = time {
                samples.time(time);
            }
        },
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Memory of the process that is in RAM.",
        read: |scrape, samples| samples.known(scrape.process.resident_bytes),
    },
    Metric {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        about: "Address space of the process.",
        read: |scrape, samples| samples.known(scrape.process.virtual_bytes),
    },
    Metric {
        name: "process_open_fds",
        kind: Kind::Gauge,
        labels: &[],
        about: "Open files, connections included.",
        read: |scrape, samples| samples.known(scrape.process.open_files),
    },
    Metric {
        name: "process_max_fds",
        kind: Kind::Gauge,
        labels: &[],
        about: "Open files that the system grants; absent if it sets no bound.",
        read: |scrape, samples| samples.known(scrape.process.open_files_max),
    },
    Metric {
        name: "process_threads",
        kind: Kind::Gauge,
        labels: &[],
        about: "Threads.",
        read: |scrape, samples| samples.known(scrape.process.threads),
    },
    Metric {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        about: "When the process was started, in seconds since 1970.",
        read: |scrape, samples| samples.known(scrape.process.started),
    },
];
