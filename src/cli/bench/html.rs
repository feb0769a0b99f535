//! A report as one HTML page with plots: nothing is fetched, light and dark both look right.

pub(super) mod plot;

mod run;

use std::fmt::{self, Display, Write};

use super::floor::Floor;
use super::numbers::whole;
use super::report::{Latency, Report, ServerFigures};
use super::sizes::shown_bytes;
use super::table::{grouped, heading, millis, rate};

const STYLE: &str = include_str!("html/style.css");

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut page = String::new();
    // A string takes whatever is written to it.
    write(&mut page, report).ok();
    page
}

/// A text as a page may hold it.
pub(crate) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

fn write(page: &mut String, report: &Report) -> fmt::Result {
    let heading = escaped(&heading(report));
    writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>granary bench: {heading}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>granary bench: {}</h1>\n<p>{heading}</p>",
        report.settings.workload
    )?;
    chips(page, report)?;
    cards(page, report)?;
    runs(page, report)?;
    for (number, run) in report.runs.iter().enumerate() {
        if report.runs.len() > 1 {
            writeln!(page, "<h2>Run {}</h2>", number + 1)?;
        } else {
            writeln!(page, "<h2>Course</h2>")?;
        }
        page.push_str(&run::plots(run));
        if let Some(checkpoints) = run.checkpoints.as_ref().filter(|found| found.count > 0) {
            writeln!(page, "<p>{}</p>", super::table::told(checkpoints))?;
        }
    }
    if let Some(floor) = &report.floor {
        write_floor(page, floor)?;
    }
    writeln!(
        page,
        "<footer>Latencies count from the time at which a request was due ({}), and those of \
         requests that failed are left out. Made by granary {}.</footer>\n</main>\n</body>\n</html>",
        match report.settings.rate {
            Some(_) => "an open loop: the server's stalls are seen by all requests that were due",
            None => "a closed loop: when it was sent",
        },
        escaped(&report.granary)
    )
}

fn chips(page: &mut String, report: &Report) -> fmt::Result {
    let machine = &report.machine;
    let place = format!("{}, {} cores, {}", machine.processor, machine.cores, machine.kernel);
    let mut chips = vec![
        ("durability", report.durability.clone()),
        ("server", report.server.clone()),
        ("machine", place),
    ];
    if !machine.file_system.is_empty() {
        chips.push(("file system", machine.file_system.clone()));
    }
    chips.push(("taken", report.taken_at.clone()));
    writeln!(page, "<div class=\"chips\">")?;
    for (name, text) in chips {
        writeln!(page, "<span class=\"chip\">{name} <b>{}</b></span>", escaped(&text))?;
    }
    writeln!(page, "</div>")
}

fn cards(page: &mut String, report: &Report) -> fmt::Result {
    writeln!(page, "<div class=\"cards\">")?;
    let median = |of: fn(&Latency) -> f64| millis(report.median(|run| of(&run.latency)));
    let per_second = rate(report.median(|run| run.per_second));
    card(page, &per_second, "/s", "requests that succeeded")?;
    let megabytes = report.median(|run| run.bytes_per_second) / 1e6;
    if megabytes > 0.05 {
        card(page, format_args!("{megabytes:.1}"), "MB/s", "contents")?;
    }
    card(page, median(|latency| latency.p50), "ms", "p50")?;
    card(page, median(|latency| latency.p99), "ms", "p99")?;
    card(page, median(|latency| latency.p999), "ms", "p99.9")?;
    card(page, median(|latency| latency.max), "ms", "max")?;
    let server = |of: fn(&ServerFigures) -> f64| {
        let figures = report.runs.iter().filter_map(|run| run.server.as_ref()).map(of);
        let figures: Vec<f64> = figures.collect();
        (!figures.is_empty()).then(|| super::numbers::median(&figures))
    };
    if let Some(micros) = server(|server| server.processor_per_request) {
        card(page, format_args!("{micros:.1}"), "us", "server's processor, a request")?;
    }
    if let Some(bytes) =
        server(|server| super::numbers::float(server.resident_most.unwrap_or(server.resident_peak)))
    {
        card(page, shown_bytes(whole(bytes)), "", "server's memory, at most")?;
    }
    if let Some(per_byte) = server(|server| server.written_per_byte.unwrap_or_default())
        && per_byte > 0.0
    {
        card(page, format_args!("{per_byte:.2}"), "", "bytes written a byte sent")?;
    }
    if let Some(share) = report.share_of_ceiling() {
        card(page, format_args!("{:.0}", share * 100.0), "%", "of the load tool's ceiling")?;
    }
    writeln!(page, "</div>")
}

fn card(page: &mut String, figure: impl Display, unit: &str, what: &str) -> fmt::Result {
    writeln!(
        page,
        "<div class=\"card\"><div class=\"figure\">{figure} <small>{unit}</small></div>\
         <div class=\"what\">{what}</div></div>"
    )
}

fn runs(page: &mut String, report: &Report) -> fmt::Result {
    writeln!(
        page,
        "<div class=\"table\"><table><thead><tr><th></th><th>requests</th><th>per s</th>\
         <th>p50 ms</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>durability</th>\
         <th>errors</th></tr></thead><tbody>"
    )?;
    for (number, run) in report.runs.iter().enumerate() {
        let errors = Some(run.failed());
        let name = format!("<td>run {}</td>", number + 1);
        row(page, report, &name, (run.requests, run.per_second), &run.latency, errors)?;
        if run.operations.len() > 1 {
            for operation in &run.operations {
                let name = format!("<td class=\"sub\">{}</td>", operation.operation);
                let figures = (operation.requests, operation.per_second);
                row(page, report, &name, figures, &operation.latency, operation.failed)?;
            }
        }
    }
    writeln!(page, "</tbody></table></div>")?;
    for run in &report.runs {
        for (kind, errors) in &run.errors {
            let (kind, example) = (escaped(kind), escaped(&errors.example));
            writeln!(page, "<p class=\"errors\">{kind}, {} times: {example}</p>", errors.times)?;
        }
    }
    Ok(())
}

fn row(
    page: &mut String,
    report: &Report,
    name: &str,
    (requests, per_second): (u64, f64),
    latency: &Latency,
    errors: Option<u64>,
) -> fmt::Result {
    let errors = match errors {
        None => String::new(),
        Some(0) => "0".to_owned(),
        Some(errors) => format!("<b class=\"errors\">{}</b>", grouped(errors)),
    };
    // Of requests of which none succeeded there is none.
    let at = |micros| if requests == 0 { String::new() } else { millis(micros) };
    writeln!(
        page,
        "<tr>{name}<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{}</td><td>{errors}</td></tr>",
        grouped(requests),
        rate(per_second),
        at(latency.p50),
        at(latency.p90),
        at(latency.p99),
        at(latency.p999),
        at(latency.max),
        escaped(report.durability_words()),
    )
}

fn write_floor(page: &mut String, floor: &Floor) -> fmt::Result {
    let mut text = String::new();
    super::table::write_floor(&mut text, floor)?;
    writeln!(page, "<h2>The machine's own floor</h2>")?;
    for line in text.lines() {
        let line = line.strip_prefix("floor: ").unwrap_or(line);
        writeln!(page, "<p>{}</p>", escaped(line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::{report, run};
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page(&report(vec![run(100, 40)]));
        for outside in ["http:", "https:", "<script", "<link", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.matches("<svg").count() >= 4);
    }

    #[test]
    fn texts_of_others_cannot_become_markup() {
        let mut report = report(vec![run(100, 40)]);
        report.server = "<script>alert(1)</script>".to_owned();
        let page = page(&report);
        assert!(page.contains("a &lt;processor&gt; &amp; more"));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn every_run_has_its_plots() {
        let one = page(&report(vec![run(100, 40)])).matches("<svg").count();
        let two = page(&report(vec![run(100, 40), run(90, 40)])).matches("<svg").count();
        assert_eq!(two, 2 * one);
    }
}
