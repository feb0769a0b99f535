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

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names = HashSet::new();
        for metric in METRICS.iter() {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("granary_") || name.starts_with("process_"), "{name}");
            assert!(
                name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'),
                "{name}"
            );
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(metric.about.ends_with('.'), "{name}");
            assert!(!metric.labels.iter().any(|(label, _)| *label == "le"), "{name}");
        }
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

    #[test]
    fn every_metric_that_the_dashboard_names_is_there() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/grafana.json");
        let dashboard: Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
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
        let mut queries = Vec::new();
        each_query(&dashboard, &mut queries);
        let named: HashSet<&str> = queries.iter().flat_map(|query| names_in(query)).collect();
        assert!(named.len() > 20, "{named:?}");
        for name in named {
            assert!(known.contains(name), "{name}");
        }
    }
}
