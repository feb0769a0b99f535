//! `granary ls`: the datasets of a server, or the files of one.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use clap::Args;

use super::client::Client;
use super::{Ending, ServerOptions, shown};

/// List the datasets, or the files of one.
///
/// Without DATASET: primary key, project, name, version and time of creation of each dataset.
/// With it: handle (the BLAKE3 digest of the content) and name of each file of its newest version.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Dataset whose files are listed.
    dataset: Option<String>,
    /// Project to look in; without it all are listed, and DATASET is looked for in `default`.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    server: ServerOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let client = Client::new(&options.server.url)?;
    let written = match &options.dataset {
        Some(dataset) => list_files(&client, options.project.as_deref(), dataset).await?,
        None => list_datasets(&client, options.project.as_deref()).await?,
    };
    match written {
        Ok(()) => Ok(Ending::Complete),
        // Whoever read the list has had enough of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Ending::Complete),
        Err(error) => Err(error.into()),
    }
}

async fn list_files(
    client: &Client,
    project: Option<&str>,
    dataset: &str,
) -> anyhow::Result<io::Result<()>> {
    let project = client.project(project.unwrap_or("default")).await?;
    let dataset = client.existing(&project, dataset).await?;
    let files = client.files(&dataset).await?;
    let lines = files.iter().map(|(name, digest)| format!("{digest}  {}", shown(name)));
    Ok(write_lines(lines))
}

async fn list_datasets(client: &Client, project: Option<&str>) -> anyhow::Result<io::Result<()>> {
    let projects = match project {
        Some(name) => vec![client.project(name).await?],
        None => client.projects().await?,
    };
    let names: BTreeMap<u64, String> =
        projects.into_iter().map(|project| (project.pk, project.name)).collect();
    let mut datasets = client.datasets().await?;
    // Without a project's name also public datasets of projects that the user may not see.
    datasets.retain(|dataset| project.is_none() || names.contains_key(&dataset.project));
    datasets.sort_by(|a, b| (a.project, &a.name, a.version).cmp(&(b.project, &b.name, b.version)));
    let head = row("PK", "PROJECT", "VERSION", "CREATED", "NAME");
    let rows = datasets.iter().map(|dataset| {
        let number = dataset.project.to_string();
        let project = names.get(&dataset.project).unwrap_or(&number);
        row(
            &dataset.pk.to_string(),
            &shown(project),
            &dataset.version.to_string(),
            dataset.creation_time.get(..19).unwrap_or_default(),
            &shown(&dataset.name),
        )
    });
    Ok(write_lines([head].into_iter().chain(rows)))
}

fn row(pk: &str, project: &str, version: &str, created: &str, name: &str) -> String {
    format!("{pk:>8}  {project:<16}  {version:>7}  {created:<19}  {name}")
}

fn write_lines(lines: impl Iterator<Item = String>) -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    for line in lines {
        writeln!(output, "{line}")?;
    }
    output.flush()
}
