//! `granary audit`: who changed what, when, from where.

use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::catalogue::{Catalogue, Which, second_of};
use super::output::{Output, is_closed};
use super::table::{Side, Table};
use super::{Ending, ServerOptions, complain};

/// Entries of one page.
const PAGE: u64 = 1000;

/// How often new entries are asked for.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// Show the audit log, the oldest of the entries first.
///
/// For administrators. Every change that was answered with success has an entry, and so have logins
/// and refused changes. Without filters, the newest 100 entries are shown. How long entries are
/// kept is a setting of the server (audit.keep, audit.size).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  granary audit
  granary audit --user ann --since 7d --limit 1000
  granary audit --dataset 5 --action files_delete_file
  granary audit --after 12345 --json >> audit.log
  granary audit --follow --json | jq -r 'select(.status == 401) | .address'")]
pub(crate) struct Options {
    /// Of this user: a name as it was then, or a primary key.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Of this action, as the metrics name it: `files_add_file`, `auth_obtain`.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Of this dataset, by its primary key: it may be gone.
    #[arg(long, value_name = "PK")]
    dataset: Option<u64>,
    /// Of this team: a name or a primary key.
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    /// Of the request with this id.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// From then on: so long ago (2h, 7d), or a time such as 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Until then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// How many of the newest, or all.
    #[arg(long, value_name = "NUMBER|all", default_value = "100", value_parser = limit)]
    limit: u64,
    /// All after the entry of this number, to go on from there.
    #[arg(long, value_name = "NUMBER", conflicts_with = "limit")]
    after: Option<u64>,
    /// Then go on with what is new, until it is interrupted or nobody reads on.
    #[arg(long)]
    follow: bool,
    /// Print each entry as a line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Deserialize)]
struct Page {
    entries: Vec<Value>,
    next: Option<u64>,
    first: Option<u64>,
    last: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    sequence: u64,
    time: String,
    username: Option<String>,
    access_token: Option<u64>,
    action: String,
    status: u16,
    address: Option<String>,
    team: Option<u64>,
    project: Option<u64>,
    dataset: Option<u64>,
    filename: Option<String>,
    files: Option<u64>,
    record: Option<String>,
    record_pk: Option<u64>,
    name: Option<String>,
    detail: Option<String>,
}

/// The log on its way from the server to standard output.
struct Log<'a> {
    catalogue: &'a Catalogue,
    /// Parts of every query.
    filter: String,
    as_json: bool,
    /// Whether the server has answered.
    is_begun: bool,
    /// Whether something was shown.
    has_head: bool,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    match show(&options).await {
        // Whoever closed it has read enough.
        Err(error) if is_closed(&error) => Ok(Ending::Complete),
        Err(error) => Err(error),
        Ok(()) => Ok(Ending::Complete),
    }
}

async fn show(options: &Options) -> anyhow::Result<()> {
    let catalogue = &Catalogue::open(&options.server, "an administrator")?;
    let filter = filter(catalogue, options).await?;
    let as_json = options.json;
    let mut log = Log { catalogue, filter, as_json, is_begun: false, has_head: false };
    let mut last = match options.after {
        None if options.limit < u64::MAX => log.pass_on_newest(options.limit).await?,
        after => log.pass_on(after.unwrap_or_default()).await?,
    };
    if !options.follow {
        return Ok(());
    }
    // Until it is interrupted, nobody reads on, or the server is gone.
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        last = log.pass_on(last).await?;
    }
}

/// The filters as parts of a query.
async fn filter(catalogue: &Catalogue, options: &Options) -> anyhow::Result<String> {
    let mut parts = Vec::new();
    let mut add = |name: &str, value: &str| {
        parts.push(format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    };
    if let Some(user) = &options.user {
        let is_pk = user.bytes().all(|letter| letter.is_ascii_digit());
        add(if is_pk { "user" } else { "username" }, user);
    }
    if let Some(team) = &options.team {
        let team = catalogue.team(team, Which::Any).await?;
        add("team", &team.pk.to_string());
    }
    for (name, value) in [("action", &options.action), ("request_id", &options.request)] {
        if let Some(value) = value {
            add(name, value);
        }
    }
    if let Some(dataset) = options.dataset {
        add("dataset", &dataset.to_string());
    }
    for (name, time) in [("from", options.since), ("to", options.until)] {
        if let Some(time) = time {
            add(name, &time.to_string());
        }
    }
    Ok(parts.concat())
}

impl Log<'_> {
    /// Shows so many of the newest entries; gives the number of the newest that there is.
    async fn pass_on_newest(&mut self, limit: u64) -> anyhow::Result<u64> {
        let mut entries = Vec::new();
        let (mut after, mut last) = (String::new(), None);
        let missing = |entries: &Vec<Value>| {
            limit.saturating_sub(u64::try_from(entries.len()).unwrap_or(u64::MAX))
        };
        while missing(&entries) > 0 {
            let wanted = missing(&entries).min(PAGE);
            let page = self.page(&format!("order=newest&limit={wanted}{after}")).await?;
            last = last.or(page.last);
            entries.extend(page.entries);
            let Some(next) = page.next else {
                tell_gap(page.first, 0);
                break;
            };
            after = format!("&after={next}");
        }
        entries.reverse();
        self.write(entries)?;
        Ok(last.unwrap_or_default())
    }

    /// Shows what came after an entry until now, the oldest first, page by page as it comes; gives the
    /// number of the last that was looked at.
    async fn pass_on(&mut self, mut last: u64) -> anyhow::Result<u64> {
        let mut end = None;
        loop {
            let after = if last > 0 { format!("&after={last}") } else { String::new() };
            let page = self.page(&format!("order=oldest&limit={PAGE}{after}")).await?;
            tell_gap(page.first, last);
            tell_end(page.last, last);
            self.write(page.entries)?;
            // What comes meanwhile may come faster than it is passed on.
            let end = *end.get_or_insert(page.last.unwrap_or(last));
            match page.next {
                Some(next) if next < end => last = next,
                Some(next) => return Ok(next),
                None => return Ok(page.last.unwrap_or(last)),
            }
        }
    }

    async fn page(&mut self, query: &str) -> anyhow::Result<Page> {
        let path = format!("audit?{query}{}", self.filter);
        let page = self.catalogue.get_patiently(&path, !self.is_begun).await?;
        self.is_begun = true;
        self.catalogue.read(page)
    }

    fn write(&mut self, entries: Vec<Value>) -> anyhow::Result<()> {
        let mut output = Output::new();
        if self.as_json {
            entries.iter().try_for_each(|entry| output.line(entry))?;
            return Ok(output.flush()?);
        }
        if entries.is_empty() && self.has_head {
            return Ok(());
        }
        let mut table = Table::new(&[
            ("NUMBER", Side::Right),
            ("TIME", Side::Left),
            ("WHO", Side::Left),
            ("FROM", Side::Left),
            ("STATUS", Side::Right),
            ("ACTION", Side::Left),
            ("WHAT", Side::Left),
        ]);
        for entry in entries {
            let entry: Entry = self.catalogue.read(entry)?;
            table.row(cells(&entry));
        }
        table.write(&mut output, !self.has_head)?;
        self.has_head = true;
        Ok(())
    }
}

/// Says that entries between the last that was looked at and the first that there is are gone.
fn tell_gap(first: Option<u64>, last: u64) {
    if let Some(first) = first.filter(|first| *first > last.saturating_add(1)) {
        complain(format_args!(
            "entries before number {first} were rotated away (audit.keep, audit.size)"
        ));
    }
}

/// Says that the last that was looked at is not there, as in a store of before.
fn tell_end(end: Option<u64>, last: u64) {
    if let Some(end) = end.filter(|end| *end < last) {
        complain(format_args!(
            "the log ends at entry {end}, before entry {last}: the store was restored, or is another \
             one; its new entries are those after {end}"
        ));
    }
}

fn cells(entry: &Entry) -> [String; 7] {
    let mut who = entry.username.clone().unwrap_or_else(|| "-".to_owned());
    if let Some(token) = entry.access_token {
        who = format!("{who} (token {token})");
    }
    [
        entry.sequence.to_string(),
        second_of(&entry.time),
        who,
        entry.address.clone().unwrap_or_else(|| "-".to_owned()),
        entry.status.to_string(),
        entry.action.clone(),
        what(entry),
    ]
}

/// What an entry is about, from the large to the small.
fn what(entry: &Entry) -> String {
    let mut parts = Vec::new();
    let record = entry.record.as_ref().zip(entry.record_pk);
    match (entry.dataset, record, entry.project, entry.team) {
        (Some(dataset), ..) => parts.push(format!("dataset {dataset}")),
        (None, Some((record, pk)), ..) => parts.push(format!("{record} {pk}")),
        (None, None, Some(project), _) => parts.push(format!("project {project}")),
        (None, None, None, Some(team)) => parts.push(format!("team {team}")),
        (None, None, None, None) => {}
    }
    if let Some(name) = &entry.name {
        parts.push(format!("({name})"));
    }
    // Of a member, or a token that is good in a team.
    if let (Some(_), Some(team)) = (record, entry.team) {
        parts.push(format!("in team {team}"));
    }
    parts.extend(entry.filename.clone());
    if let Some(files) = entry.files {
        parts.push(format!("{files} files"));
    }
    if let Some(detail) = &entry.detail {
        parts.push(if parts.is_empty() { detail.clone() } else { format!("- {detail}") });
    }
    parts.join(" ")
}

/// Reads how long ago something was, or when.
fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("'{text}' is no time such as 2h, 7d or 2027-01-01T00:00:00Z");
    if let Ok(time) = text.trim().parse::<Timestamp>() {
        return Ok(time);
    }
    let span: Span = text.trim().parse().map_err(|_no_span| wrong())?;
    let ago = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_none| wrong())?;
    if ago < SignedDuration::ZERO {
        return Err(wrong());
    }
    Timestamp::now().checked_sub(ago).map_err(|_too_long| wrong())
}

fn limit(text: &str) -> Result<u64, String> {
    if text == "all" {
        return Ok(u64::MAX);
    }
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "a number above 0, or all, is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::json;

    use super::*;
    use crate::cli::stand_in::StandIn;

    #[test]
    fn times_lie_so_long_ago_or_are_given() {
        let given: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(time("2027-01-01T00:00:00Z"), Ok(given));
        let (hour, day) = (time("1h").unwrap(), time("1d").unwrap());
        assert!(day < hour && hour < Timestamp::now());
        for wrong in ["", "7", "-1d", "yesterday", "1mo"] {
            time(wrong).unwrap_err();
        }
        assert_eq!(limit("all"), Ok(u64::MAX));
        for wrong in ["", "0", "-1", "some"] {
            limit(wrong).unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_log_that_grows_faster_than_it_is_read_has_an_end() {
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let show = move || async move {
            let next = PAGE * (counted.fetch_add(1, Ordering::Relaxed) + 1);
            if next > 5 * PAGE {
                return StatusCode::NOT_FOUND.into_response();
            }
            let page = json!({ "entries": [], "next": next, "first": 1, "last": 2 * PAGE + next });
            Json(page).into_response()
        };
        let others = Router::new().route("/v1/audit", get(show));
        let (_server, client) = StandIn::start_with(&[], others).await;
        let catalogue = &Catalogue::with(client);
        let filter = String::new();
        let mut log = Log { catalogue, filter, as_json: true, is_begun: false, has_head: false };
        assert_eq!(log.pass_on(0).await.unwrap(), 3 * PAGE);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn an_entry_is_a_row_that_says_who_and_what() {
        let entry = json!({
            "sequence": 7, "time": "2027-01-01T00:00:00.123456Z", "username": "ann",
            "access_token": 3, "action": "files_rename_file", "status": 200,
            "address": "192.0.2.7", "team": 1, "project": 1, "dataset": 5, "filename": "a.png", "files": null,
            "record": null, "record_pk": null, "name": "birds", "detail": "to b.png",
        });
        let entry: Entry = serde_json::from_value(entry).unwrap();
        let expected = [
            "7",
            "2027-01-01T00:00:00",
            "ann (token 3)",
            "192.0.2.7",
            "200",
            "files_rename_file",
            "dataset 5 (birds) a.png - to b.png",
        ];
        assert_eq!(cells(&entry), expected);
    }
}
