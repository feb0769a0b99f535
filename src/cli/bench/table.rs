//! A report as a table on the terminal.

use std::fmt::{self, Write};

use super::super::shown;
use super::checkpoints::Checkpoints;
use super::floor::Floor;
use super::numbers::whole;
use super::report::{Latency, Report, Run, ServerFigures};
use super::sizes::shown_bytes;

/// Bytes in a megabyte, as disks and networks count.
const MEGABYTE: f64 = 1e6;

/// The report as text.
pub(crate) fn table(report: &Report) -> String {
    let mut text = String::new();
    // A string takes whatever is written to it.
    write(&mut text, report).ok();
    text
}

fn write(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "{}", heading(report))?;
    let Report { machine, .. } = report;
    write!(
        text,
        "{} at {}; {}, {} cores",
        report.server, report.taken_at, machine.processor, machine.cores
    )?;
    write!(text, ", {}", machine.kernel)?;
    if !machine.file_system.is_empty() {
        write!(text, ", {}", machine.file_system)?;
    }
    writeln!(text, "\ndurability: {}\n", report.durability)?;
    writeln!(
        text,
        "{:<12} {:>10} {:>10} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9}  {:<width$} {:>6}",
        "",
        "requests",
        "per s",
        "MB/s",
        "p50 ms",
        "p90",
        "p99",
        "p99.9",
        "max",
        "durability",
        "errors",
        width = durability_width(report)
    )?;
    for (number, run) in report.runs.iter().enumerate() {
        let name = format!("run {}", number + 1);
        let megabytes = format!("{:.1}", run.bytes_per_second / MEGABYTE);
        let figures = (run.requests, run.per_second, megabytes.as_str());
        let errors = Some(run.failed());
        row(text, report, &name, figures, &run.latency, errors)?;
        if run.operations.len() > 1 {
            for operation in &run.operations {
                let name = format!(" {}", operation.operation);
                let figures = (operation.requests, operation.per_second, "");
                row(text, report, &name, figures, &operation.latency, operation.failed)?;
            }
        }
    }
    writeln!(text)?;
    for (number, run) in report.runs.iter().enumerate() {
        if report.runs.len() > 1 {
            writeln!(text, "run {}:", number + 1)?;
        }
        particulars(text, run)?;
    }
    if let (Some(ceiling), Some(share)) = (report.ceiling, report.share_of_ceiling()) {
        writeln!(
            text,
            "load tool: at most {} requests per second against a server that does nothing; \
             {:.0}% of that was reached",
            grouped(whole(ceiling)),
            share * 100.0
        )?;
    }
    if let Some(floor) = &report.floor {
        write_floor(text, floor)?;
    }
    Ok(())
}

/// What was measured, in one line.
pub(crate) fn heading(report: &Report) -> String {
    let settings = &report.settings;
    let many = |number: u32, what: &str| {
        if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
    };
    let mut parts = vec![
        settings.workload.to_string(),
        settings.sizes.to_string(),
        many(settings.connections, "connection"),
        settings.rate.map_or_else(
            || "closed loop".to_owned(),
            |rate| format!("open loop at {rate} a second"),
        ),
    ];
    let datasets = many(settings.datasets, "dataset");
    parts.push(match settings.files {
        0 => datasets,
        files => format!("{datasets} of {} files", grouped(files)),
    });
    if settings.duplicates > 0 {
        parts.push(format!("{}% known contents", settings.duplicates));
    }
    parts.push(settings.extent.clone());
    parts.join(", ")
}

fn row(
    text: &mut String,
    report: &Report,
    name: &str,
    (requests, per_second, megabytes): (u64, f64, &str),
    latency: &Latency,
    errors: Option<u64>,
) -> fmt::Result {
    let errors = errors.map_or_else(String::new, grouped);
    // Of requests of which none succeeded there is none.
    let at = |micros| if requests == 0 { String::new() } else { millis(micros) };
    writeln!(
        text,
        "{name:<12} {:>10} {:>10} {megabytes:>9} {:>8} {:>8} {:>8} {:>8} {:>9}  {:<width$} {errors:>6}",
        grouped(requests),
        rate(per_second),
        at(latency.p50),
        at(latency.p90),
        at(latency.p99),
        at(latency.p999),
        at(latency.max),
        report.durability_words(),
        width = durability_width(report)
    )
}

/// Letters of that column.
fn durability_width(report: &Report) -> usize {
    report.durability_words().chars().count().max("durability".len())
}

fn particulars(text: &mut String, run: &Run) -> fmt::Result {
    if let Some(server) = &run.server {
        write_server(text, server)?;
    }
    writeln!(
        text,
        "load tool: {:.1} us of a processor a request; sent late by {} ms (p99)",
        run.client.processor_per_request,
        millis(run.client.sent_late_p99)
    )?;
    if run.stalls.count > 0 {
        writeln!(
            text,
            "stalls of 20 ms or more: {}, the longest {} ms; {:.2}% of the requests were in one",
            run.stalls.count,
            millis(run.stalls.longest),
            run.stalls.share_of_requests * 100.0
        )?;
    }
    if let Some(checkpoints) = run.checkpoints.as_ref().filter(|found| found.count > 0) {
        writeln!(text, "{}", told(checkpoints))?;
    }
    for (kind, errors) in &run.errors {
        writeln!(
            text,
            "error: {kind}, {} times; the first said: {}",
            errors.times,
            shown(&errors.example)
        )?;
    }
    Ok(())
}

/// Checkpoints in words.
pub(crate) fn told(checkpoints: &Checkpoints) -> String {
    let others = checkpoints.others.map_or_else(
        || "too few other requests to tell of".to_owned(),
        |others| {
            let (p50, p99) = (millis(others.p50), millis(others.p99));
            format!("all other requests: p50 {p50} ms, p99 {p99} ms")
        },
    );
    format!(
        "checkpoints: {}, {:.0}% of the time, beside which {:.0}% of the requests were answered; \
         changes waited {} ms until one was begun, {} ms at most; {others}",
        checkpoints.count,
        checkpoints.share_of_time * 100.0,
        checkpoints.share_of_requests * 100.0,
        millis(checkpoints.stop),
        millis(checkpoints.stop_longest)
    )
}

fn write_server(text: &mut String, server: &ServerFigures) -> fmt::Result {
    write!(
        text,
        "server: {:.1} us of a processor a request ({:.2} cores), {} resident, {} at most",
        server.processor_per_request,
        server.cores,
        shown_bytes(server.resident),
        shown_bytes(server.resident_most.unwrap_or(server.resident_peak))
    )?;
    if let Some(per_byte) = server.written_per_byte {
        write!(text, ", {per_byte:.2} bytes written a byte sent")?;
    }
    writeln!(text)
}

/// The floor as text.
pub(crate) fn write_floor(text: &mut String, floor: &Floor) -> fmt::Result {
    writeln!(
        text,
        "floor: fdatasync of 4 KiB appended {} ms (p99 {}){}; HTTP round trip {} ms (p99 {})",
        millis(floor.sync.p50),
        millis(floor.sync.p99),
        floor.sync_in_place.map_or_else(String::new, |in_place| format!(
            ", in place {} ms (p99 {})",
            millis(in_place.p50),
            millis(in_place.p99)
        )),
        millis(floor.round_trip.p50),
        millis(floor.round_trip.p99)
    )?;
    for group in &floor.groups {
        writeln!(
            text,
            "floor: groups of {} files ({}) appended and synced: {} files per second",
            group.files,
            shown_bytes(group.bytes),
            grouped(whole(group.files_per_second))
        )?;
    }
    writeln!(
        text,
        "floor: sequential writing with a sync every 4 MiB {:.0} MB/s, with one at the end {:.0} MB/s",
        floor.sequential / MEGABYTE,
        floor.whole / MEGABYTE
    )
}

/// Microseconds as milliseconds, with as many digits as say something.
pub(crate) fn millis(micros: f64) -> String {
    let millis = micros / 1e3;
    if millis < 10.0 {
        format!("{millis:.3}")
    } else if millis < 100.0 {
        format!("{millis:.2}")
    } else {
        format!("{millis:.0}")
    }
}

/// A rate with as many digits as say something.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.2}") } else { grouped(whole(per_second)) }
}

/// A number with a comma at every thousand.
pub(crate) fn grouped(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}
