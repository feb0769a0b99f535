//! Prometheus' text format, version 0.0.4: what a row of the table is and how it is written.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Write as _;
use std::time::Duration;

use granary_engine::counters::Distribution;

use super::Scrape;

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows, from zero at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values up to each of some bounds.
    Histogram,
}

impl Kind {
    /// The format's own word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct Metric {
    /// Its name, with the unit, and `_total` if it is a counter.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its labels, each with what its values are.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it counts, in words.
    pub about: &'static str,
    /// Writes its present values.
    pub(super) read: fn(&Scrape<'_>, &mut Samples<'_>),
}

/// The unit in which a distribution was counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    /// Shown as it is.
    One,
    /// Shown in seconds.
    Nanoseconds,
}

/// Takes the values of one metric.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    metric: &'a Metric,
    text: &'a mut String,
}

impl Samples<'_> {
    /// The one value of a metric without labels.
    pub(super) fn value(&mut self, value: impl std::fmt::Display) {
        self.labelled(&[], value);
    }

    /// As [`Samples::value`], if it is known.
    pub(super) fn known(&mut self, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.value(value);
        }
    }

    /// A time, in seconds.
    pub(super) fn time(&mut self, time: Duration) {
        self.value(Seconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)));
    }

    /// The value for some labels, given in the order of the row.
    pub(super) fn labelled(&mut self, labels: &[&str], value: impl std::fmt::Display) {
        self.sample("", labels, None, value);
    }

    /// A distribution for some labels.
    pub(super) fn distribution(&mut self, labels: &[&str], values: &Distribution, unit: Unit) {
        for (bound, count) in values.up_to() {
            self.sample("_bucket", labels, Some(&in_unit(bound, unit)), count);
        }
        self.sample("_bucket", labels, Some("+Inf"), values.count());
        self.sample("_sum", labels, None, in_unit(values.sum(), unit));
        self.sample("_count", labels, None, values.count());
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[&str],
        bound: Option<&str>,
        value: impl std::fmt::Display,
    ) {
        let names = self.metric.labels.iter().map(|(name, _)| *name);
        let labels = names.zip(labels.iter().copied()).chain(bound.map(|bound| ("le", bound)));
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let mut before = '{';
        for (name, value) in labels {
            // Writing to a string cannot fail.
            write!(self.text, "{before}{name}=\"{}\"", escaped(value)).unwrap_or_default();
            before = ',';
        }
        let end = if before == ',' { "} " } else { " " };
        writeln!(self.text, "{end}{value}").unwrap_or_default();
    }
}

/// Writes all metrics of a table.
pub(crate) fn render(metrics: &[&Metric], scrape: &Scrape<'_>) -> String {
    let mut text = String::with_capacity(32 << 10);
    for metric in metrics {
        let (name, word) = (metric.name, metric.kind.word());
        let about = metric.about.replace('\\', r"\\");
        writeln!(text, "# HELP {name} {about}\n# TYPE {name} {word}").unwrap_or_default();
        (metric.read)(scrape, &mut Samples { metric, text: &mut text });
    }
    text
}

fn in_unit(value: u64, unit: Unit) -> String {
    match unit {
        Unit::One => value.to_string(),
        Unit::Nanoseconds => Seconds(value).to_string(),
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

/// Nanoseconds, shown as seconds to the last digit.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if rest == 0 {
            return write!(formatter, "{whole}");
        }
        let digits = format!("{rest:09}");
        write!(formatter, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use granary_engine::counters::Histogram;

    use super::*;

    const METRIC: Metric = Metric {
        name: "granary_test_seconds",
        kind: Kind::Histogram,
        labels: &[("action", "anything")],
        about: "A test.",
        read: |_, _| {},
    };

    #[test]
    fn a_distribution_is_cumulative_and_in_seconds() {
        static BOUNDS: [u64; 2] = [100_000, 2_000_000_000];
        let histogram = Histogram::new(&BOUNDS);
        for value in [1, 150_000, 3_000_000_000] {
            histogram.record(value);
        }
        let mut text = String::new();
        let mut samples = Samples { metric: &METRIC, text: &mut text };
        samples.distribution(&["a\"b"], &histogram.read(), Unit::Nanoseconds);
        let expected = r#"granary_test_seconds_bucket{action="a\"b",le="0.0001"} 1
granary_test_seconds_bucket{action="a\"b",le="2"} 2
granary_test_seconds_bucket{action="a\"b",le="+Inf"} 3
granary_test_seconds_sum{action="a\"b"} 3.000150001
granary_test_seconds_count{action="a\"b"} 3
"#;
        assert_eq!(text, expected);
    }
}
