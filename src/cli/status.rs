//! `granary status`: what a server is, since when, how full, how busy, and whether it is well.

use clap::Args;
use granary::store_shapes::StatusShape;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde::Deserialize;
use std::time::Duration;

use super::client::{Client, http_client};
use super::failure::Failure;
use super::{Ending, ServerOptions, complain, say, shown, shown_lines};

/// What a server that is not ready says, or one that is.
#[derive(Debug, Deserialize)]
struct Readiness {
    status: String,
    reason: Option<String>,
}

/// Show how long a server has run, how full and busy it is, and whether it is well.
///
/// Whether it is ready can be asked by everybody, the numbers by administrators. Ends with 0 if the
/// server is ready and no content is damaged, 3 if it answers and is not well, 1 if it cannot be
/// asked.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Ask only whether the server is ready, which needs no login: for health checks.
    #[arg(long)]
    ready: bool,
    /// Print what is known as JSON.
    #[arg(long, conflicts_with = "ready")]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let readiness = readiness(&options.server).await?;
    let url = &options.server.url;
    if options.ready || !serves(&readiness) {
        say(shown(&in_words(&readiness)))?;
        return Ok(ending(readiness.status == "ready"));
    }
    let client = Client::new(&options.server)?;
    let status: StatusShape =
        match client.ask(client.http.get(client.url.action("store/status"))).await {
            Ok(status) => status,
            Err(failure @ (Failure::NotLoggedIn { .. } | Failure::Forbidden { .. }))
                if !options.json =>
            {
                say(shown(&in_words(&readiness)))?;
                complain(format_args!("the numbers are for administrators: {}", failure.chain()));
                return Ok(ending(readiness.status == "ready"));
            }
            Err(failure) => return Err(failure.into()),
        };
    if options.json {
        say(serde_json::to_string_pretty(&status)?)?;
    } else {
        say(shown_lines(&text_of(url.as_str(), &status)))?;
    }
    Ok(ending(status.condition == "ready" && status.quarantined == 0))
}

async fn readiness(server: &ServerOptions) -> anyhow::Result<Readiness> {
    let ServerOptions { url, ca_file } = server;
    let address = format!("{}/readyz", url.as_str().trim_end_matches('/'));
    let answer = http_client(url, ca_file.as_deref())?.get(address).send().await;
    let answer = answer.map_err(|error| Failure::on_the_way(url, &error))?;
    let text = answer.text().await.map_err(|error| Failure::on_the_way(url, &error))?;
    let read = serde_json::from_str(&text);
    Ok(read.map_err(|error| Failure::Strange { url: url.clone(), reason: error.to_string() })?)
}

/// Whether the server answers more than how it is.
fn serves(readiness: &Readiness) -> bool {
    matches!(readiness.status.as_str(), "ready" | "read-only" | "nearly-full")
}

fn ending(is_well: bool) -> Ending {
    if is_well { Ending::Complete } else { Ending::Unsound }
}

fn in_words(readiness: &Readiness) -> String {
    match &readiness.reason {
        None => readiness.status.clone(),
        Some(reason) => format!("{}: {reason}", readiness.status),
    }
}

fn text_of(url: &str, status: &StatusShape) -> String {
    let bytes =
        |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| HumanBytes(bytes).to_string());
    let count = |count: u64| HumanCount(count).to_string();
    let files = |files: Option<u64>| files.map_or("?".to_owned(), count);
    let reason = status.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let damaged = match status.quarantined {
        0 => "nothing is damaged".to_owned(),
        damaged => format!("{} DAMAGED contents, see: granary scrub", count(damaged)),
    };
    let scrub = match (status.scrub_progress, &status.scrub_finished) {
        (Some(share), _) => format!("{:.0}% of a pass", share * 100.0),
        (None, Some(finished)) => format!("came to its end {finished}"),
        (None, None) => "has read nothing yet".to_owned(),
    };
    let uptime = HumanDuration(Duration::from_secs(status.uptime_seconds));
    [
        format!("granary {} at {url}: {}{reason}", status.version, status.condition),
        format!("since     {} ({uptime})", status.started),
        format!(
            "disk      {}: {} of {} free; uploads stop at {}",
            status.data,
            bytes(status.disk_available_bytes),
            bytes(status.disk_total_bytes),
            HumanBytes(status.disk_wanted_bytes)
        ),
        format!(
            "stored    journal {} live and {} dead, index {}",
            bytes(status.journal_live_bytes),
            bytes(status.journal_dead_bytes),
            bytes(status.index_bytes)
        ),
        format!(
            "busy      {} requests under way of {}, {} changes and uploads waiting, {} datasets in \
             use, {} archives; {} refused so far",
            count(status.requests_in_flight),
            count(status.requests),
            count(status.waiting),
            count(status.actors),
            count(status.archives),
            count(status.refused)
        ),
        format!(
            "journal   {} since the last checkpoint {} s ago",
            HumanBytes(status.checkpoint_journal_bytes),
            status.checkpoint_age_seconds
        ),
        format!(
            "process   {} of memory, {} of {} open files",
            bytes(status.resident_bytes),
            files(status.open_files),
            files(status.open_files_max)
        ),
        format!("scrub     {scrub}; {damaged}"),
    ]
    .join("\n")
}
