//! The reference of all metrics, made from the table.

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write as _;

    use serde_json::Value;

    use crate::config::wrapped;
    use crate::generated;
    use crate::metrics::{Kind, METRICS};

    const HEAD: &str = "\
# Metrics of the server

Made from the table in `src/metrics/table.rs`; a test keeps it true. `GET /metrics` shows them in
Prometheus' text format 0.0.4. Who may read them is the setting `metrics` (`docs/settings.md`), how
to scrape them and which to watch stands in `docs/operating.md`; `docs/grafana.json` is a dashboard.

Counters and histograms begin at zero with each start of the process. Series with the label `action`
appear with the first request of that operation. No label holds what clients choose: there are no
names, paths, users or addresses in them.
";

    fn reference() -> String {
        let mut text = HEAD.to_owned();
        for metric in METRICS.iter() {
            let about = wrapped(metric.about).join("\n");
            write!(text, "\n## `{}`\n\n{about}\n\n- {}\n", metric.name, metric.kind.word())
                .unwrap();
            for (name, values) in metric.labels {
                writeln!(text, "- label `{name}`: {values}").unwrap();
            }
        }
        text
    }

    #[test]
    fn the_reference_in_the_repository_is_that_of_the_table() {
        generated::assert_same("docs/metrics.md", &reference());
    }

    /// Words of a query that begin as names of metrics do.
    fn names_in(query: &str) -> impl Iterator<Item = &str> {
        let words = query.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        words.filter(|word| word.starts_with("granary_") || word.starts_with("process_"))
    }

    fn each_query<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| each_query(value, found)),
            Value::Object(values) => {
                found.extend(values.get("expr").and_then(Value::as_str));
                values.values().for_each(|value| each_query(value, found));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Everything that a query may name.
    fn series_names() -> HashSet<String> {
        let mut known = HashSet::new();
        for metric in METRICS.iter() {
            if metric.kind == Kind::Histogram {
                known.extend(
                    ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", metric.name)),
                );
            } else {
                known.insert(metric.name.to_owned());
            }
        }
        known
    }

    #[test]
    fn every_metric_that_the_handbook_names_is_there() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md");
        let handbook = std::fs::read_to_string(path).unwrap();
        let quoted = handbook.split('`').skip(1).step_by(2);
        let named: HashSet<&str> = quoted.flat_map(names_in).collect();
        assert!(named.len() > 5, "{named:?}");
        let known = series_names();
        for name in named {
            assert!(known.contains(name), "{name}");
        }
    }

    /// What `promtool check metrics` asks for (<https://prometheus.io/docs/practices/naming/>).
    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut seen = HashSet::new();
        for metric in METRICS.iter() {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            let is_plain = |text: &str| {
                text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
            };
            assert!(is_plain(name), "{name}");
            assert!(name.starts_with("granary_") || name.starts_with("process_"), "{name}");
            assert!(metric.labels.iter().all(|(label, _)| is_plain(label) && *label != "le"));
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            for end in ["_bucket", "_sum", "_count"] {
                assert!(!name.ends_with(end), "{name}");
            }
            // Units are those of the base: seconds, bytes, ratios.
            for word in name.split('_') {
                let other = ["milliseconds", "ms", "kib", "mib", "kilobytes", "percent", "minutes"];
                assert!(!other.contains(&word), "{name}");
            }
            assert!(!metric.about.contains('\n') && metric.about.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn every_metric_that_the_dashboard_names_is_there() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/grafana.json");
        let dashboard: Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let known = series_names();
        let mut queries = Vec::new();
        each_query(&dashboard, &mut queries);
        let named: HashSet<&str> = queries.iter().flat_map(|query| names_in(query)).collect();
        assert!(named.len() > 20, "{named:?}");
        for name in named {
            assert!(known.contains(name), "{name}");
        }
    }
}
