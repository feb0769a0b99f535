//! `granary check`: whether everything that is stored is as it must be.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use granary::store_shapes::{CheckProgressShape, CheckReportShape, CheckShape};
use granary_engine::{CheckError, CheckProgress, OpenError, check_directory};
use indicatif::{HumanBytes, HumanCount};

use super::check_progress::CheckBar;
use super::client::Client;
use super::errand::carry_out_shown;
use super::{Ending, ServerOptions, complain, say, shown};

/// Check whether everything that is stored is as it must be.
///
/// Recomputes every count from the rows behind it, compares pages of the index and groups of the
/// journal with their checksums, looks at the place of every content, and reads those that were
/// found damaged before; --deep reads every content and compares its BLAKE3 digest and CRC-32.
/// Nothing is changed. A directory that a server uses is checked by that server, with --online,
/// beside its other work; only the checksums of the index's pages are then left out, and a check that
/// it is at already is waited for. Ends with 0 if
/// everything is sound, 3 if something is wrong, which is told with what it hits and what to do,
/// and 1 if the check could not be carried to its end.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory to check; no server may use it.
    #[arg(
        long,
        value_name = "DIR",
        env = "GRANARY_DATA",
        hide_env_values = true,
        default_value = "./granary-data"
    )]
    data: PathBuf,
    /// Read all contents and compare them with their digests.
    #[arg(long)]
    deep: bool,
    /// Have the server check what it uses; for administrators.
    #[arg(long)]
    online: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let report = if options.online {
        check_online(&Client::new(&options.server)?, options.deep).await?
    } else {
        check_offline(&options).await?
    };
    if options.json {
        say(serde_json::to_string_pretty(&report)?)?;
    } else {
        say(text_of(&report))?;
    }
    Ok(if report.clean { Ending::Complete } else { Ending::Unsound })
}

async fn check_offline(options: &Options) -> anyhow::Result<CheckReportShape> {
    let progress = Arc::new(CheckProgress::default());
    let (directory, is_deep) = (options.data.clone(), options.deep);
    let counted = Arc::clone(&progress);
    let bar = CheckBar::start();
    let mut checking =
        tokio::task::spawn_blocking(move || check_directory(&directory, is_deep, &counted));
    let mut ticks = tokio::time::interval(CheckBar::INTERVAL);
    let checked = loop {
        tokio::select! {
            checked = &mut checking => break checked,
            _ = ticks.tick() => bar.show(&CheckProgressShape::from(&*progress)),
        }
    };
    drop(bar);
    match checked.context("the check broke; please report this")? {
        Ok(report) => Ok(report.into()),
        Err(error @ CheckError::Open(OpenError::Locked { .. })) => Err(anyhow::Error::new(error)
            .context("a server uses the directory; run: granary check --online")),
        Err(error) => Err(anyhow::Error::new(error).context("the check could not be made")),
    }
}

async fn check_online(client: &Client, is_deep: bool) -> anyhow::Result<CheckReportShape> {
    let fields = serde_json::json!({ "deep": is_deep });
    loop {
        let bar = CheckBar::start();
        let show = |check: &CheckShape| {
            if let Some(progress) = &check.progress {
                bar.show(progress);
            }
        };
        let report = carry_out_shown(client, &fields, show).await?;
        drop(bar);
        if report.deep || !is_deep {
            return Ok(report);
        }
        complain("the server was at a check without --deep already; this one begins after it");
    }
}

/// The report for people.
fn text_of(report: &CheckReportShape) -> String {
    let mut lines = Vec::new();
    for note in &report.notes {
        lines.push(format!("note: {}", shown(note)));
    }
    let mut advices: Vec<&str> = Vec::new();
    for finding in &report.findings {
        lines.push(format!("PROBLEM ({}): {}", finding.invariant, shown(&finding.what)));
        for hit in &finding.hits {
            let file = hit.filename.as_deref().map_or(String::new(), |name| format!(": {name}"));
            let dataset =
                format!("dataset {} ({:?}, version {})", hit.dataset, hit.name, hit.version);
            lines.push(format!("    hits {dataset}{}", shown(&file)));
        }
        let told = u64::try_from(finding.hits.len()).unwrap_or(u64::MAX);
        if finding.hit_count > told {
            let more = HumanCount(finding.hit_count - told);
            lines.push(format!("    and {more} more files"));
        }
        if finding.hits_cut {
            lines.push("    not all files were looked for: too many are hit".to_owned());
        } else if finding.handle.is_some() && finding.hit_count == 0 {
            lines.push("    no dataset shows it".to_owned());
        }
        if !advices.contains(&finding.advice.as_str()) {
            advices.push(&finding.advice);
        }
    }
    if report.unlisted > 0 {
        lines.push(format!("... and {} more problems", HumanCount(report.unlisted)));
    }
    for advice in advices {
        lines.push(format!("what to do: {advice}"));
    }
    let count = u64::try_from(report.findings.len()).unwrap_or(u64::MAX) + report.unlisted;
    let verdict = match count {
        0 => "sound".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{} problems", HumanCount(count)),
    };
    let depth = if report.deep {
        format!("{} of contents read", HumanBytes(report.bytes_read))
    } else {
        "of contents those in quarantine read (--deep reads all)".to_owned()
    };
    let (files, contents) = (HumanCount(report.files), HumanCount(report.contents));
    lines.push(format!("{verdict}: {files} rows of files, {contents} contents, {depth}"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::http::StatusCode;
    use axum::response::{IntoResponse, Response};
    use axum::routing::get;
    use axum::{Json, Router};
    use granary::store_shapes::{CheckPhase, FindingShape, HitShape};

    use super::*;
    use crate::cli::stand_in::StandIn;

    fn clean(deep: bool) -> CheckReportShape {
        CheckReportShape {
            clean: true,
            deep,
            files: 7,
            contents: 7,
            bytes_read: 7,
            findings: Vec::new(),
            unlisted: 0,
            notes: Vec::new(),
        }
    }

    /// A server whose check number 1 is not deep, and the others are; each is finished when it is
    /// asked about, which the server does not answer as often as `unanswered` says. With a client,
    /// and how many checks were begun.
    async fn checking(unanswered: usize) -> (Client, Arc<Mutex<u64>>) {
        let begun = Arc::new(Mutex::new(0));
        let (counted, numbered) = (Arc::clone(&begun), Arc::clone(&begun));
        let answer = |state, number, report| -> Response {
            Json(CheckShape { state, number, progress: None, report, error: None }).into_response()
        };
        let start = move || async move {
            let mut count = counted.lock().unwrap();
            *count += 1;
            answer(CheckPhase::Running, *count, None)
        };
        let unanswered = Arc::new(Mutex::new(unanswered));
        let show = move || async move {
            let mut unanswered = unanswered.lock().unwrap();
            if let Some(left) = unanswered.checked_sub(1) {
                *unanswered = left;
                return StatusCode::BAD_GATEWAY.into_response();
            }
            let number = *numbered.lock().unwrap();
            answer(CheckPhase::Finished, number, Some(clean(number > 1)))
        };
        let others = Router::new().route("/v1/store/check", get(show).post(start));
        let (_server, client) = StandIn::start_with(&[], others).await;
        (client, begun)
    }

    #[tokio::test]
    async fn a_check_of_hours_is_not_lost_to_a_moment_without_an_answer() {
        let (client, begun) = checking(3).await;
        assert!(!check_online(&client, false).await.unwrap().deep);
        assert_eq!(*begun.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_check_that_runs_already_is_waited_for_and_does_if_it_is_deep_enough() {
        let (client, begun) = checking(0).await;
        assert!(check_online(&client, true).await.unwrap().deep);
        assert_eq!(*begun.lock().unwrap(), 2);
    }

    #[tokio::test]
    async fn a_check_that_somebody_begins_after_ours_is_joined_and_that_of_another_start_is_not() {
        for (number, is_joined) in [(8, true), (6, false)] {
            let answer = |state, number, report| {
                Json(CheckShape { state, number, progress: None, report, error: None })
            };
            let start = move || async move { answer(CheckPhase::Running, 7, None) };
            let show =
                move || async move { answer(CheckPhase::Finished, number, Some(clean(true))) };
            let others = Router::new().route("/v1/store/check", get(show).post(start));
            let (_server, client) = StandIn::start_with(&[], others).await;
            for is_deep in [false, true] {
                let checked = check_online(&client, is_deep).await;
                assert_eq!(checked.is_ok_and(|report| report.deep), is_joined, "{number}");
            }
        }
    }

    #[test]
    fn the_report_says_what_is_hit_and_what_to_do() {
        let hit =
            HitShape { dataset: 3, name: "cats".into(), version: 2, filename: Some("a".into()) };
        let finding = |what: &str| FindingShape {
            invariant: "I9".into(),
            what: what.into(),
            advice: "upload it again".into(),
            handle: Some("00".into()),
            hits: vec![hit.clone()],
            hit_count: 4,
            hits_cut: false,
        };
        let unhit =
            |hits_cut| FindingShape { hits: vec![], hit_count: 0, hits_cut, ..finding("three") };
        let report = CheckReportShape {
            clean: false,
            deep: false,
            files: 1000,
            contents: 2,
            bytes_read: 0,
            findings: vec![finding("one"), finding("two"), unhit(false), unhit(true)],
            unlisted: 5,
            notes: vec!["a note".into()],
        };
        assert_eq!(
            text_of(&report),
            "note: a note\n\
             PROBLEM (I9): one\n    hits dataset 3 (\"cats\", version 2): a\n    and 3 more files\n\
             PROBLEM (I9): two\n    hits dataset 3 (\"cats\", version 2): a\n    and 3 more files\n\
             PROBLEM (I9): three\n    no dataset shows it\n\
             PROBLEM (I9): three\n    not all files were looked for: too many are hit\n\
             ... and 5 more problems\n\
             what to do: upload it again\n\
             9 problems: 1,000 rows of files, 2 contents, of contents those in \
             quarantine read (--deep reads all)"
        );
    }
}
