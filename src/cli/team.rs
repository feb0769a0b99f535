//! `granary team`: people who own projects together, and what each may do.

mod quota;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::catalogue::{Catalogue, Team, Which, second_of, tell};
use super::server_url::ServerUrl;
use super::table::{Side, Table};
use super::{Ending, ServerOptions, say};

/// The right to make and reinstate teams, and to remove them for good.
const ADMINISTRATOR: &str = "an administrator";

/// The right to change a team.
const TEAM_ADMINISTRATOR: &str = "an administrator of the team or of the server";

/// Make and change teams, and who is in them with which right.
///
/// TEAM and USER are names or primary keys; what consists of digits is a primary key. A team owns
/// projects, and its members' levels say what they may do with the datasets in them: read; execute
/// (as read, and change content from a registered node); write; admin (as write, and change the
/// team's members). Making, reinstating and removing for good are for administrators of the server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  granary team create vision
  granary team add-member vision ann --level write
  granary team change-member vision ann --level admin
  granary team show vision
  granary team quota vision --bytes 2TiB --files none")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the teams: one's own, or all for administrators
    List(ListOptions),
    /// Show a team and what its members may do
    Show(OneOptions),
    /// Make a team
    Create(NameOptions),
    /// Give a team another name
    Rename(RenameOptions),
    /// Add a member
    AddMember(LevelOptions),
    /// Change what a member may do
    ChangeMember(LevelOptions),
    /// End a membership
    RemoveMember(MemberOptions),
    /// Show what a team may hold and what it holds, or set what it may hold
    Quota(quota::Options),
    /// Delete a team: memberships end, projects stay
    Rm(RemoveOptions),
    /// Bring a deleted team back, without its memberships
    Reinstate(OneOptions),
}

/// What a member may do; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// See and fetch datasets.
    #[value(alias = "R")]
    Read,
    /// Change content from a registered node too.
    #[value(alias = "X")]
    Execute,
    /// Make, change and delete datasets and projects.
    #[value(alias = "W")]
    Write,
    /// Change the team and its members.
    #[value(alias = "A")]
    Admin,
}

impl Level {
    fn letter(self) -> &'static str {
        match self {
            Self::Read => "R",
            Self::Execute => "X",
            Self::Write => "W",
            Self::Admin => "A",
        }
    }
}

/// What the API's letter means.
fn level_name(letter: &str) -> &str {
    match letter {
        "R" => "read",
        "X" => "execute",
        "W" => "write",
        "A" => "admin",
        other => other,
    }
}

#[derive(Debug, Args)]
struct ListOptions {
    /// Deleted teams too.
    #[arg(long)]
    all: bool,
    /// Print the records as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct OneOptions {
    /// Name or primary key.
    team: String,
    /// Print the team's record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct NameOptions {
    /// Name of the new team.
    name: String,
    /// Print the team's record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct RenameOptions {
    /// Name or primary key.
    team: String,
    /// The new name.
    name: String,
    /// Print the team's record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct LevelOptions {
    #[command(flatten)]
    member: MemberOptions,
    /// What the member may do.
    #[arg(long)]
    level: Level,
}

#[derive(Debug, Args)]
struct MemberOptions {
    /// Name or primary key of the team.
    team: String,
    /// Name of the user; a primary key is for administrators.
    user: String,
    /// Print the membership as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct RemoveOptions {
    /// Name or primary key.
    team: String,
    /// Remove it for good, which needs that no project belongs to it; for administrators.
    #[arg(long)]
    hard: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    match options.what {
        What::List(options) => list(options).await?,
        What::Show(options) => show(options).await?,
        What::Create(options) => create(options).await?,
        What::Rename(options) => rename(options).await?,
        What::AddMember(options) => set_level(options, "add").await?,
        What::ChangeMember(options) => set_level(options, "update").await?,
        What::RemoveMember(options) => remove_member(options).await?,
        What::Quota(options) => quota::run(options).await?,
        What::Rm(options) => remove(options).await?,
        What::Reinstate(options) => reinstate(options).await?,
    }
    Ok(Ending::Complete)
}

async fn list(options: ListOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, "a user who is logged in")?;
    let teams = catalogue.list("teams", options.all).await?;
    if options.json {
        return Ok(say(serde_json::to_string_pretty(&teams)?)?);
    }
    let mut table = Table::new(&[
        ("PK", Side::Right),
        ("NAME", Side::Left),
        ("MADE", Side::Left),
        ("STATE", Side::Left),
        ("MEMBERS", Side::Left),
    ]);
    for team in teams {
        let team: Team = catalogue.read(team)?;
        let members: Vec<String> = team.members.into_iter().map(|member| member.username).collect();
        table.row([
            team.pk.to_string(),
            team.name,
            second_of(&team.creation_time),
            if team.deletion_time.is_some() { "deleted" } else { "active" }.to_owned(),
            members.join(", "),
        ]);
    }
    Ok(table.print()?)
}

async fn show(options: OneOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, TEAM_ADMINISTRATOR)?;
    let team = catalogue.team(&options.team, Which::Any).await?;
    let mut record = catalogue.ask(Method::GET, &path(&team), None).await?;
    let mut table =
        Table::new(&[("PK", Side::Right), ("MEMBER", Side::Left), ("LEVEL", Side::Left)]);
    let mut levels = Vec::new();
    for member in &team.members {
        let who = ServerUrl::escaped(&member.username);
        let asked = format!("{}/permissions/{who}", path(&team));
        // Members see who is there; what each may do is for the team's administrators to see.
        let letter = catalogue.ask_if_allowed(&asked).await?;
        let letter = letter.unwrap_or(Value::Null);
        let level =
            letter.as_str().map_or("(for its administrators to see)", level_name).to_owned();
        levels.push(json!({ "pk": member.pk, "username": member.username, "permissions": letter }));
        table.row([member.pk.to_string(), member.username.clone(), level]);
    }
    if options.json {
        if let Some(fields) = record.as_object_mut() {
            fields.insert("members".to_owned(), levels.into());
        }
        return Ok(say(serde_json::to_string_pretty(&record)?)?);
    }
    let state = if team.deletion_time.is_some() { ", deleted" } else { "" };
    let made = second_of(&team.creation_time);
    say(super::shown(&format!("team {} ({}), made {made}{state}", team.name, team.pk)))?;
    Ok(table.print()?)
}

fn path(team: &Team) -> String {
    format!("teams/{}", team.pk)
}

async fn create(options: NameOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, ADMINISTRATOR)?;
    let fields = json!({ "name": options.name });
    let made = catalogue.ask(Method::POST, "teams/create", Some(&fields)).await?;
    let team: Team = catalogue.read(made.clone())?;
    tell(&made, options.json, &format!("made team {} ({})", team.name, team.pk))
}

async fn rename(options: RenameOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, TEAM_ADMINISTRATOR)?;
    let team = catalogue.team(&options.team, Which::Active).await?;
    let fields = json!({ "name": options.name });
    let changed = catalogue.ask(Method::PATCH, &path(&team), Some(&fields)).await?;
    let sentence = format!("team {} ({}) is now {}", team.name, team.pk, options.name);
    tell(&changed, options.json, &sentence)
}

async fn set_level(options: LevelOptions, method: &str) -> anyhow::Result<()> {
    let LevelOptions { member, level } = options;
    let fields = [("method", method), ("permissions", level.letter())];
    let level = level_name(level.letter());
    change_member(member, fields_of(&fields), &format!("has the level {level}")).await
}

async fn remove_member(options: MemberOptions) -> anyhow::Result<()> {
    change_member(options, fields_of(&[("method", "remove")]), "is no longer a member").await
}

fn fields_of(fields: &[(&str, &str)]) -> Map<String, Value> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
}

async fn change_member(
    options: MemberOptions,
    mut fields: Map<String, Value>,
    outcome: &str,
) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, TEAM_ADMINISTRATOR)?;
    let team = catalogue.team(&options.team, Which::Active).await?;
    let is_pk = options.user.bytes().all(|letter| letter.is_ascii_digit());
    let who = if is_pk { catalogue.user(&options.user).await?.username } else { options.user };
    fields.insert("username".to_owned(), who.as_str().into());
    let asked = format!("{}/memberships", path(&team));
    let membership = catalogue.ask(Method::PATCH, &asked, Some(&fields.into())).await?;
    tell(&membership, options.json, &format!("{who} {outcome} in team {}", team.name))
}

async fn remove(options: RemoveOptions) -> anyhow::Result<()> {
    let needed = if options.hard { ADMINISTRATOR } else { TEAM_ADMINISTRATOR };
    let catalogue = Catalogue::open(&options.server, needed)?;
    let which = if options.hard { Which::Any } else { Which::Active };
    let team = catalogue.team(&options.team, which).await?;
    let (asked, what) = if options.hard {
        (format!("{}/hard", path(&team)), "removed for good")
    } else {
        (path(&team), "deleted; its projects stay, and nobody but administrators sees them")
    };
    catalogue.ask(Method::DELETE, &asked, None).await?;
    Ok(say(super::shown(&format!("team {} ({}) is {what}", team.name, team.pk)))?)
}

async fn reinstate(options: OneOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, ADMINISTRATOR)?;
    let team = catalogue.team(&options.team, Which::Deleted).await?;
    let asked = format!("{}/reinstate", path(&team));
    let back = catalogue.ask(Method::DELETE, &asked, None).await?;
    let sentence = format!("team {} ({}) is back; add its members again", team.name, team.pk);
    tell(&back, options.json, &sentence)
}
