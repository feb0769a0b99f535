//! `granary project`: datasets of a team that belong together.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, json};

use super::catalogue::{Catalogue, Project, Team, Which, second_of, tell};
use super::table::{Side, Table};
use super::{Ending, ServerOptions, say};

/// The right to make, change and delete a project.
const WRITER: &str = "a member of the project's team with the level write";

/// The right to reinstate a project and to remove it for good.
const ADMINISTRATOR: &str = "an administrator";

/// Make, change and delete projects.
///
/// PROJECT and TEAM are names or primary keys; what consists of digits is a primary key. Names of
/// projects are unique within a team only; --in-team says which team's is meant. Making, changing
/// and deleting need the level write in the project's team; the rest is for administrators.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  granary project create cats --team vision
  granary project change cats --name animals
  granary project rm animals
  granary project reinstate animals")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the projects: of one's teams, or all for administrators
    List(ListOptions),
    /// Show one project
    Show(OneOptions),
    /// Make a project
    Create(CreateOptions),
    /// Give a project another name, or to another team
    Change(ChangeOptions),
    /// Delete a project and the datasets in it
    ///
    /// Both are soft-deleted: reinstate brings the project back, and each dataset of its own.
    Rm(RemoveOptions),
    /// Bring a deleted project back, without its datasets
    Reinstate(OneOptions),
}

#[derive(Debug, Args)]
struct ListOptions {
    /// Projects of one team.
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    /// Deleted projects too.
    #[arg(long)]
    all: bool,
    /// Print the records as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct Chosen {
    /// Name or primary key.
    project: String,
    /// The team whose project is meant, where more than one have it.
    #[arg(long, value_name = "TEAM")]
    in_team: Option<String>,
}

#[derive(Debug, Args)]
struct OneOptions {
    #[command(flatten)]
    chosen: Chosen,
    /// Print the project's record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct CreateOptions {
    /// Name of the new project.
    name: String,
    /// Team that owns it.
    #[arg(long, value_name = "TEAM", default_value = "default")]
    team: String,
    /// Print the project's record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct ChangeOptions {
    #[command(flatten)]
    chosen: Chosen,
    /// Another name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Another team, where you must have the level write too.
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    /// Print the project's record as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Args)]
struct RemoveOptions {
    #[command(flatten)]
    chosen: Chosen,
    /// Remove it for good, which needs that no dataset is in it; for administrators.
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
        What::Change(options) => change(options).await?,
        What::Rm(options) => remove(options).await?,
        What::Reinstate(options) => reinstate(options).await?,
    }
    Ok(Ending::Complete)
}

async fn list(options: ListOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, "a user who is logged in")?;
    let team = match &options.team {
        Some(team) => Some(catalogue.team(team, Which::Any).await?.pk),
        None => None,
    };
    let mut projects = catalogue.list("projects", options.all).await?;
    projects.retain(|project| team.is_none_or(|team| project.get("team") == Some(&team.into())));
    if options.json {
        return Ok(say(serde_json::to_string_pretty(&projects)?)?);
    }
    let teams = teams(&catalogue).await?;
    let mut table = Table::new(&[
        ("PK", Side::Right),
        ("TEAM", Side::Left),
        ("NAME", Side::Left),
        ("MADE", Side::Left),
        ("STATE", Side::Left),
    ]);
    for project in projects {
        let project: Project = catalogue.read(project)?;
        let team = teams.get(&project.team).cloned();
        table.row([
            project.pk.to_string(),
            team.unwrap_or_else(|| project.team.to_string()),
            project.name.clone(),
            second_of(&project.creation_time),
            state(&project).to_owned(),
        ]);
    }
    Ok(table.print()?)
}

/// Names of teams by primary key.
async fn teams(catalogue: &Catalogue) -> anyhow::Result<BTreeMap<u64, String>> {
    let mut names = BTreeMap::new();
    for team in catalogue.list("teams", true).await? {
        let team: Team = catalogue.read(team)?;
        names.insert(team.pk, team.name);
    }
    Ok(names)
}

fn state(project: &Project) -> &'static str {
    if project.deletion_time.is_some() { "deleted" } else { "active" }
}

async fn show(options: OneOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, WRITER)?;
    let project = chosen(&catalogue, &options.chosen, Which::Any).await?;
    let record = catalogue.ask(Method::GET, &path(&project), None).await?;
    let teams = teams(&catalogue).await?;
    let team = teams.get(&project.team).cloned().unwrap_or_else(|| project.team.to_string());
    let made = second_of(&project.creation_time);
    let (pk, name, state) = (project.pk, &project.name, state(&project));
    let sentence = format!("project {name} ({pk}) of team {team}, made {made}, {state}");
    tell(&record, options.json, &sentence)
}

async fn chosen(catalogue: &Catalogue, chosen: &Chosen, which: Which) -> anyhow::Result<Project> {
    catalogue.project(&chosen.project, chosen.in_team.as_deref(), which).await
}

fn path(project: &Project) -> String {
    format!("projects/{}", project.pk)
}

async fn create(options: CreateOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, WRITER)?;
    let team = catalogue.team(&options.team, Which::Active).await?;
    let fields = json!({ "name": options.name, "team": team.pk });
    let made = catalogue.ask(Method::POST, "projects/create", Some(&fields)).await?;
    let project: Project = catalogue.read(made.clone())?;
    let sentence = format!("made project {} ({}) of team {}", project.name, project.pk, team.name);
    tell(&made, options.json, &sentence)
}

async fn change(options: ChangeOptions) -> anyhow::Result<()> {
    anyhow::ensure!(
        options.name.is_some() || options.team.is_some(),
        "nothing to change was given; see: granary project change --help"
    );
    let catalogue = Catalogue::open(&options.server, WRITER)?;
    let project = chosen(&catalogue, &options.chosen, Which::Active).await?;
    let mut fields = Map::new();
    if let Some(name) = options.name {
        fields.insert("name".to_owned(), name.into());
    }
    if let Some(team) = options.team {
        let team = catalogue.team(&team, Which::Active).await?;
        fields.insert("team".to_owned(), team.pk.into());
    }
    let changed = catalogue.ask(Method::PATCH, &path(&project), Some(&fields.into())).await?;
    let project: Project = catalogue.read(changed.clone())?;
    tell(&changed, options.json, &format!("changed project {} ({})", project.name, project.pk))
}

async fn remove(options: RemoveOptions) -> anyhow::Result<()> {
    let needed = if options.hard { ADMINISTRATOR } else { WRITER };
    let catalogue = Catalogue::open(&options.server, needed)?;
    let which = if options.hard { Which::Any } else { Which::Active };
    let project = chosen(&catalogue, &options.chosen, which).await?;
    let (asked, what) = if options.hard {
        (format!("{}/hard", path(&project)), "removed for good")
    } else {
        (path(&project), "deleted, with the datasets in it")
    };
    catalogue.ask(Method::DELETE, &asked, None).await?;
    Ok(say(super::shown(&format!("project {} ({}) is {what}", project.name, project.pk)))?)
}

async fn reinstate(options: OneOptions) -> anyhow::Result<()> {
    let catalogue = Catalogue::open(&options.server, ADMINISTRATOR)?;
    let project = chosen(&catalogue, &options.chosen, Which::Deleted).await?;
    let asked = format!("{}/reinstate", path(&project));
    let back = catalogue.ask(Method::DELETE, &asked, None).await?;
    let (name, pk) = (&project.name, project.pk);
    tell(&back, options.json, &format!("project {name} ({pk}) is back; its datasets stay deleted"))
}
