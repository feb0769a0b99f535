//! Requests, and what the HTTP edge does at once.

use crate::metrics::exposition::{Kind, Metric, Unit};

const ACTION: (&str, &str) = (
    "action",
    "the operation's id in `/openapi.json`, such as `files_add_file`; `none` for unknown paths and \
     methods",
);

pub(super) static METRICS: [Metric; 8] = [
    Metric {
        name: "granary_requests_total",
        kind: Kind::Counter,
        labels: &[
            ACTION,
            ("status", "the answer's status; `gone` if the client went away before there was one"),
        ],
        about: "Requests that were answered, by operation and status.",
        read: |scrape, samples| {
            for action in scrape.metrics.requests.seen() {
                for (status, count) in action.by_status() {
                    samples.labelled(&[&action.name, &status], count);
                }
            }
        },
    },
    Metric {
        name: "granary_faults_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Requests that were answered with 500: faults of the server. It is there from the start, so \
                the first one counts as an increase.",
        read: |scrape, samples| samples.value(scrape.metrics.requests.faults()),
    },
    Metric {
        name: "granary_request_duration_seconds",
        kind: Kind::Histogram,
        labels: &[ACTION],
        about: "Time from a request's head to its answer's: with the body of an upload and its sync, \
                without the time that a client takes to fetch what follows the head.",
        read: |scrape, samples| {
            for action in scrape.metrics.requests.seen() {
                samples.distribution(&[&action.name], &action.times(), Unit::Nanoseconds);
            }
        },
    },
    Metric {
        name: "granary_request_body_bytes_total",
        kind: Kind::Counter,
        labels: &[ACTION],
        about: "Bytes of requests' bodies that were read.",
        read: |scrape, samples| {
            for action in scrape.metrics.requests.seen() {
                samples.labelled(&[&action.name], action.received());
            }
        },
    },
    Metric {
        name: "granary_response_body_bytes_total",
        kind: Kind::Counter,
        labels: &[ACTION],
        about: "Bytes of answers' bodies that were handed to the connection.",
        read: |scrape, samples| {
            for action in scrape.metrics.requests.seen() {
                samples.labelled(&[&action.name], action.sent());
            }
        },
    },
    Metric {
        name: "granary_requests_in_flight",
        kind: Kind::Gauge,
        labels: &[],
        about: "Requests that came and are not wholly answered.",
        read: |scrape, samples| samples.value(scrape.metrics.requests.in_flight.get()),
    },
    Metric {
        name: "granary_log_lines_left_out_total",
        kind: Kind::Counter,
        labels: &[],
        about: "Lines about requests that were not logged, since there were more in a second than \
                the setting log.requests lets through.",
        read: |scrape, samples| samples.value(scrape.metrics.requests.lines_left_out.get()),
    },
    Metric {
        name: "granary_uptime_seconds",
        kind: Kind::Gauge,
        labels: &[],
        about: "Time since the server became ready.",
        read: |scrape, samples| samples.time(scrape.metrics.uptime()),
    },
];
