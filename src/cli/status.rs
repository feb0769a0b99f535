//! `granary status`: what a server is, since when, how full, how busy, and whether it is well.

use clap::Args;
use granary::store_shapes::StatusShape;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

use super::client::{Client, http_client};
use super::failure::Failure;
use super::session::Session;
use super::{Ending, ServerOptions, complain, say, shown, shown_lines};

/// How long a server may take to say whether it is ready, and then for the numbers, so that a health
/// check comes to an end.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// What a server that is not ready says, or one that is.
#[derive(Debug, Deserialize)]
struct Readiness {
    status: String,
    reason: Option<String>,
}

/// What a server says that has no place for another request, not even for this one.
#[derive(Debug, Deserialize)]
struct Refusal {
    detail: String,
}

/// Show how long a server has run, how full and busy it is, and whether it is well.
///
/// Whether it is ready can be asked by everybody, the numbers by administrators. Of a server that
/// serves nothing yet or nothing more, only its condition and the reason are known. Ends with 0 if the
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
    let readiness = readiness(&options.server, ANSWER_TIME_MAX).await?;
    let url = &options.server.url;
    if options.ready || !serves(&readiness) {
        return tell(&readiness, options.json);
    }
    let client = Client::new(&options.server)?;
    let status = match numbers(&client, ANSWER_TIME_MAX).await {
        Ok(status) => status,
        Err(failure) if !options.json && is_for_want_of_a_login(&failure, &client.session) => {
            complain(format_args!("the numbers are for administrators: {}", failure.chain()));
            return tell(&readiness, false);
        }
        // It has become so since.
        Err(Failure::Busy { status: StatusCode::SERVICE_UNAVAILABLE, detail, .. }) => {
            return tell(&busy(detail), options.json);
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

/// Whether the one who asks is no administrator, which says nothing of the server. A password that
/// was found in a file counts as none given, also where the server has had enough of it.
fn is_for_want_of_a_login(failure: &Failure, session: &Session) -> bool {
    matches!(
        failure,
        Failure::NotLoggedIn { .. }
            | Failure::WrongFirstPassword { .. }
            | Failure::Forbidden { .. }
    ) || (session.is_by_first_password()
        && matches!(failure, Failure::Busy { status: StatusCode::TOO_MANY_REQUESTS, .. }))
}

/// What administrators may know, with the login that it takes.
async fn numbers(client: &Client, time_max: Duration) -> Result<StatusShape, Failure> {
    let answer = client.ask(client.http.get(client.url.action("store/status")));
    tokio::time::timeout(time_max, answer).await.unwrap_or_else(|_elapsed| {
        let reason = format!("nothing came within {} s", time_max.as_secs());
        Err(Failure::Unreachable { url: client.url.clone(), reason, connected: true })
    })
}

async fn readiness(server: &ServerOptions, time_max: Duration) -> anyhow::Result<Readiness> {
    let ServerOptions { url, ca_file } = server;
    let address = format!("{}/readyz", url.as_str().trim_end_matches('/'));
    let request = http_client(url, ca_file.as_deref())?.get(address).timeout(time_max);
    let answer = request.send().await.map_err(|error| Failure::on_the_way(url, &error))?;
    let is_unavailable = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
    let text = answer.text().await.map_err(|error| Failure::on_the_way(url, &error))?;
    let refusal = || serde_json::from_str::<Refusal>(&text).ok().filter(|_| is_unavailable);
    match serde_json::from_str(&text) {
        Ok(readiness) => Ok(readiness),
        Err(error) => match refusal() {
            Some(refusal) => Ok(busy(refusal.detail)),
            None => Err(Failure::Strange { url: url.clone(), reason: error.to_string() }.into()),
        },
    }
}

/// How a server is that answers, and has no time to.
fn busy(reason: String) -> Readiness {
    Readiness { status: "busy".to_owned(), reason: Some(reason) }
}

/// Says only whether the server is ready.
fn tell(readiness: &Readiness, as_json: bool) -> anyhow::Result<Ending> {
    let Readiness { status, reason } = readiness;
    if as_json {
        let known = json!({ "condition": status, "reason": reason });
        say(serde_json::to_string_pretty(&known)?)?;
    } else {
        say(shown(&in_words(readiness)))?;
    }
    Ok(ending(status == "ready"))
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;
    use crate::cli::stand_in::StandIn;

    fn options(listener: &TcpListener) -> ServerOptions {
        // Another test of the same process may have been first.
        rustls::crypto::ring::default_provider().install_default().ok();
        let url = format!("http://{}", listener.local_addr().unwrap());
        ServerOptions { url: url.parse().unwrap(), ca_file: None }
    }

    #[tokio::test]
    async fn a_server_without_room_for_the_question_is_not_ready_and_a_granary() {
        for (status, is_granary) in [(503, true), (404, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = options(&listener);
            let status = StatusCode::from_u16(status).unwrap();
            let words = r#"{"detail":"Too many requests are under way."}"#;
            let router =
                Router::new().route("/readyz", get(move || async move { (status, words) }));
            tokio::spawn(async move { axum::serve(listener, router).await });
            let readiness = readiness(&server, ANSWER_TIME_MAX).await;
            assert_eq!(readiness.is_ok(), is_granary, "{readiness:?}");
            if let Ok(readiness) = readiness {
                assert_eq!(in_words(&readiness), "busy: Too many requests are under way.");
                assert!(!serves(&readiness));
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_not_waited_for_without_end() {
        // The system takes the connection, and nobody reads from it.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = readiness(&options(&listener), Duration::from_millis(1)).await.unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert!(matches!(failure, Failure::Unreachable { .. }), "{failure:?}");
    }

    #[tokio::test]
    async fn numbers_that_do_not_come_are_not_waited_for_without_end() {
        let never = get(std::future::pending::<StatusCode>);
        let others = Router::new().route("/v1/store/status", never);
        let (_server, client) = StandIn::start_with(&[], others).await;
        let failure = numbers(&client, Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(failure, Failure::Unreachable { .. }), "{failure:?}");
    }
}
