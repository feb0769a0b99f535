//! `granary token`: access tokens for programs, and the key that signs logins.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde::Deserialize;

use super::client::Client;
use super::table::{Side, Table};
use super::{Ending, ServerOptions, complain, say};

/// Make, list and revoke access tokens, with which programs act for a user.
///
/// A program sends one as `Authorization: Bearer TOKEN`; the commands of granary take it from
/// `GRANARY_TOKEN`. It may do in one team what its owner may, up to its level, until it is revoked or
/// its time is over. Only a hash of it is stored.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an access token and print it, this once.
    Create(CreateOptions),
    /// List access tokens: your own, and those of teams that you administrate.
    List(ListOptions),
    /// Revoke access tokens for good.
    Revoke(RevokeOptions),
    /// Make a new key for the tokens of logins, for administrators.
    ///
    /// Every login ends at once, also the one that asks; passwords and access tokens stay. The server
    /// goes on running. Without it: stop the server, remove `token-key` in its data directory, start
    /// it.
    RotateKey(RotateOptions),
}

#[derive(Debug, Args)]
struct CreateOptions {
    /// What the token is for.
    name: String,
    /// Team in which it is good.
    #[arg(long, value_name = "NAME", default_value = "default")]
    team: String,
    /// What it may do there: read, execute (change contents, from a node), write; each includes
    /// those before it.
    #[arg(long, value_enum)]
    level: Level,
    /// When it ends, from now on: 12h, 30d, 52w. Without it, when it is revoked.
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<Duration>,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Read,
    Execute,
    Write,
}

impl Level {
    fn letter(self) -> &'static str {
        match self {
            Self::Read => "R",
            Self::Execute => "X",
            Self::Write => "W",
        }
    }
}

#[derive(Debug, Args)]
struct ListOptions {
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct RevokeOptions {
    /// Numbers of the tokens, as the list has them; a token bears its own behind `granary_`.
    #[arg(required = true, value_name = "NUMBER")]
    tokens: Vec<u64>,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct RotateOptions {
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Deserialize)]
struct Team {
    pk: u64,
    name: String,
    deletion_time: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Created {
    pk: u64,
    token: String,
}

#[derive(Debug, Deserialize)]
struct Listed {
    pk: u64,
    name: String,
    user: u64,
    team: u64,
    permissions: String,
    expiry_time: Option<String>,
    last_use: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    match options.what {
        What::Create(options) => create(options).await?,
        What::List(options) => list(options).await?,
        What::Revoke(options) => revoke(options).await?,
        What::RotateKey(options) => rotate_key(options).await?,
    }
    Ok(Ending::Complete)
}

async fn create(options: CreateOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let expiry_time = match options.expires {
        None => None,
        Some(life) => Some(
            Timestamp::try_from(SystemTime::now())?
                .checked_add(SignedDuration::try_from(life)?)
                .context("the token would end too late for any calendar; give a shorter time")?,
        ),
    };
    let teams = teams(&client).await?;
    let named = teams.into_iter().find(|(_, name)| *name == options.team);
    let (team, _) = named.with_context(|| {
        format!(
            "there is no team {:?} at {} that you are a member of; name another with --team",
            options.team, client.url
        )
    })?;
    let fields = serde_json::json!({
        "name": options.name,
        "team": team,
        "permissions": options.level.letter(),
        "expiry_time": expiry_time.map(|time| time.to_string()),
    });
    let address = client.url.action("access-tokens/create");
    let created: Created = client.ask(client.http.post(address).json(&fields)).await?;
    say(&created.token)?;
    complain(format_args!(
        "this is access token {}; keep it now, nobody can show it again",
        created.pk
    ));
    Ok(())
}

/// Names of the teams that the user may see, by primary key.
async fn teams(client: &Client) -> anyhow::Result<BTreeMap<u64, String>> {
    let request = client.http.post(client.url.action("teams/list"));
    let teams: Vec<Team> = client.ask(request).await?;
    let teams = teams.into_iter().filter(|team| team.deletion_time.is_none());
    Ok(teams.map(|team| (team.pk, team.name)).collect())
}

async fn list(options: ListOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let request = client.http.get(client.url.action("access-tokens"));
    let listed: serde_json::Value = client.ask(request).await?;
    if options.json {
        say(serde_json::to_string_pretty(&listed)?)?;
        return Ok(());
    }
    let teams = teams(&client).await?;
    let listed: Vec<Listed> = serde_json::from_value(listed)?;
    let mut table = Table::new(&[
        ("PK", Side::Right),
        ("USER", Side::Right),
        ("TEAM", Side::Left),
        ("MAY", Side::Left),
        ("ENDS", Side::Left),
        ("LAST USE", Side::Left),
        ("NAME", Side::Left),
    ]);
    for token in listed {
        let team = teams.get(&token.team).cloned().unwrap_or_else(|| token.team.to_string());
        table.row([
            token.pk.to_string(),
            token.user.to_string(),
            team,
            token.permissions,
            second(token.expiry_time.as_deref()).to_owned(),
            second(token.last_use.as_deref()).to_owned(),
            token.name,
        ]);
    }
    Ok(table.print()?)
}

/// A time as the server writes it, without what nobody reads.
fn second(time: Option<&str>) -> &str {
    time.map_or("never", |time| time.get(..19).unwrap_or(time))
}

async fn revoke(options: RevokeOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    for token in options.tokens {
        let address = client.url.action(&format!("access-tokens/{token}"));
        let revoked = client.send(client.http.delete(address)).await;
        revoked.with_context(|| format!("access token {token} is not revoked"))?;
        say(format_args!("revoked access token {token}"))?;
    }
    Ok(())
}

async fn rotate_key(options: RotateOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    client.send(client.http.post(client.url.action("auth/rotate-key"))).await?;
    say("the key is a new one; every login has ended: log in again with granary login")?;
    Ok(())
}

/// Reads a time with its unit.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time such as 12h, 30d or 52w");
    let span: Span = text.trim().parse().map_err(|_no_span| wrong())?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let time = time.map_err(|_no_length| wrong())?;
    Duration::try_from(time).ok().filter(|time| !time.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_has_a_unit_and_lies_ahead() {
        assert_eq!(time("30d"), Ok(Duration::from_hours(720)));
        for wrong in ["", "30", "0s", "-1d", "1mo", "soon"] {
            time(wrong).unwrap_err();
        }
    }
}
