//! `granary team quota`: what a team may hold, and what it holds.

use clap::Args;
use granary::config::size;
use indicatif::{HumanBytes, HumanCount};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::cli::catalogue::{Catalogue, Which};
use crate::cli::{ServerOptions, say, shown};

/// The right to set a quota, and to see any.
const NEEDED: &str = "an administrator; to see it, a member of the team";

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Name or primary key.
    team: String,
    /// What all datasets of the team may hold together, with its unit (500GB, 2TiB), or none.
    #[arg(long, value_name = "SIZE|none", value_parser = bytes)]
    bytes: Option<Bound>,
    /// How many files they may hold together, or none.
    #[arg(long, value_name = "NUMBER|none", value_parser = files)]
    files: Option<Bound>,
    /// Print the quota as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// A bound as somebody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound(Option<u64>);

fn bytes(text: &str) -> Result<Bound, String> {
    if text == "none" {
        return Ok(Bound(None));
    }
    size(text, 0..=u64::MAX).map(|bytes| Bound(Some(bytes)))
}

fn files(text: &str) -> Result<Bound, String> {
    if text == "none" {
        return Ok(Bound(None));
    }
    let number = text.parse().map_err(|_no_number| "a number or none is expected".to_owned());
    number.map(|files| Bound(Some(files)))
}

#[derive(Debug, Deserialize)]
struct Quota {
    bytes: Option<u64>,
    files: Option<u64>,
    used_bytes: u64,
    used_files: u64,
}

/// Shows the quota, having set what was asked for; what was not stays.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, NEEDED)?;
    let team = catalogue.team(&options.team, Which::Any).await?;
    let path = format!("teams/{}/quota", team.pk);
    let mut record = catalogue.ask(Method::GET, &path, None).await?;
    let before: Quota = catalogue.read(record.clone())?;
    if options.bytes.is_some() || options.files.is_some() {
        let set = |bound: Option<Bound>, before| bound.map_or(before, |Bound(bound)| bound);
        let (bytes, files) = (set(options.bytes, before.bytes), set(options.files, before.files));
        let fields = json!({ "bytes": bytes, "files": files });
        record = catalogue.ask(Method::PUT, &path, Some(&fields)).await?;
    }
    if options.json {
        return Ok(say(serde_json::to_string_pretty(&record)?)?);
    }
    Ok(say(shown(&sentence(&team.name, &catalogue.read(record)?)))?)
}

fn sentence(team: &str, quota: &Quota) -> String {
    let bounded = |used: String, bound: Option<String>| match bound {
        Some(bound) => format!("{used} of {bound}"),
        None => format!("{used} (no bound)"),
    };
    let bytes = quota.bytes.map(|bytes| HumanBytes(bytes).to_string());
    let files = quota.files.map(|files| HumanCount(files).to_string());
    format!(
        "team {team} holds {}, and of files {}",
        bounded(HumanBytes(quota.used_bytes).to_string(), bytes),
        bounded(HumanCount(quota.used_files).to_string(), files),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_their_unit_or_are_none() {
        assert_eq!(bytes("none"), Ok(Bound(None)));
        assert_eq!(bytes("2KiB"), Ok(Bound(Some(2048))));
        assert_eq!(bytes("0"), Ok(Bound(Some(0))));
        assert_eq!(files("7"), Ok(Bound(Some(7))));
        for wrong in ["", "7", "some", "-1MB"] {
            bytes(wrong).unwrap_err();
        }
        for wrong in ["", "7.5", "-1", "7k"] {
            files(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_sentence_tells_what_is_held_and_what_may_be() {
        let quota = Quota { bytes: Some(2048), files: None, used_bytes: 1024, used_files: 1200 };
        let expected = "team t holds 1.00 KiB of 2.00 KiB, and of files 1,200 (no bound)";
        assert_eq!(sentence("t", &quota), expected);
    }
}
