//! Connections, and who was refused before any handler saw it.

use crate::metrics::exposition::{Kind, Metric};

pub(super) static METRICS: [Metric; 4] = [
    Metric {
        name: "granary_connections",
        kind: Kind::Gauge,
        labels: &[],
        about: "Connections to the server's address that have a place.",
        read: |scrape, samples| samples.value(scrape.metrics.connections.open.get()),
    },
    Metric {
        name: "granary_connections_limit",
        kind: Kind::Gauge,
        labels: &[],
        about: "Places for connections: the setting connections, or fewer where the system grants few \
                open files.",
        read: |scrape, samples| samples.value(scrape.metrics.connections.limit.get()),
    },
    Metric {
        name: "granary_connections_refused_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Connections for which there was no place, or that a server that was behind did not \
                take: answered with 503 and closed, or closed at once where they speak TLS or too \
                many come. granary_requests_total does not have them.",
        read: |scrape, samples| samples.value(scrape.metrics.connections.refused.get()),
    },
    Metric {
        name: "granary_connections_given_up_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Connections without a request that were closed so that another one had their place.",
        read: |scrape, samples| samples.value(scrape.metrics.connections.given_up.get()),
    },
];
