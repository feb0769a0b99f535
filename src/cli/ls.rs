//! `granary ls`: the datasets of a server, or the files of one.

use std::collections::BTreeMap;
use std::io;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::api::Dataset;
use super::client::Client;
use super::dataset_name::{DatasetName, ProjectOptions};
use super::listing::{Detail, Listing, RemoteFile};
use super::output::Output;
use super::selection::{Selection, SelectionOptions};
use super::style::{FAINT, HEAD, Painted};
use super::{Ending, ServerOptions, shown};

/// List the datasets, or the files of one.
///
/// Without DATASET: primary key, project, name, version and time of creation of each dataset; with
/// --long also how many files it has and how large they are, for which each is listed. With it:
/// handle (the BLAKE3 digest of the content) and name of each file; with --long also size in bytes
/// and the time at which it was added.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// NAME (its newest version), NAME@VERSION or primary key of the dataset whose files are listed.
    dataset: Option<DatasetName>,
    /// Project to look in; without it all are listed, and DATASET is looked for in `default`.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    selection: SelectionOptions,
    /// Say more of each.
    #[arg(long, short)]
    long: bool,
    /// Write each as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let client = Client::new(&options.server)?;
    let listed = match &options.dataset {
        Some(dataset) => list_files(&client, &options, dataset).await,
        None => list_datasets(&client, &options).await,
    };
    match listed {
        Ok(()) => Ok(Ending::Complete),
        // Whoever read the list has had enough of it.
        Err(error) if is_broken_pipe(&error) => Ok(Ending::Complete),
        Err(error) => Err(error),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn list_files(client: &Client, options: &Options, name: &DatasetName) -> anyhow::Result<()> {
    let selection = Selection::new(&options.selection)?;
    let project = options.project.clone().unwrap_or_else(|| "default".to_owned());
    let dataset = client.dataset(&ProjectOptions { project }, name).await?;
    let mut listing = Listing::new(client, &dataset, Detail::Plain);
    let mut output = Output::new();
    loop {
        let page = listing.next_page().await?;
        if page.is_empty() {
            return Ok(output.flush()?);
        }
        for file in page.iter().filter(|file| selection.takes(&file.name)) {
            if options.json {
                output.line(file_event(file))?;
            } else {
                output.line(file_line(file, options.long))?;
            }
        }
    }
}

fn file_event(file: &RemoteFile) -> serde_json::Value {
    json!({
        "name": file.name,
        "handle": file.digest.to_string(),
        "size": file.size,
        "creation_time": file.time,
    })
}

fn file_line(file: &RemoteFile, long: bool) -> String {
    let (digest, name) = (Painted(FAINT, file.digest), shown(&file.name));
    if !long {
        return format!("{digest}  {name}");
    }
    let size = file.size.map_or_else(|| "?".to_owned(), |size| HumanCount(size).to_string());
    let time = file.time.as_deref().and_then(|time| time.get(..19)).unwrap_or("?");
    format!("{digest}  {size:>15}  {time:<19}  {name}")
}

/// A dataset with what only its list tells.
struct Row {
    dataset: Dataset,
    project: String,
    /// Number of files, and bytes of them if the server tells.
    content: Option<(u64, Option<u64>)>,
}

async fn list_datasets(client: &Client, options: &Options) -> anyhow::Result<()> {
    let projects = match &options.project {
        Some(name) => vec![client.project(name).await?],
        None => client.projects().await?,
    };
    let names: BTreeMap<u64, String> =
        projects.into_iter().map(|project| (project.pk, project.name)).collect();
    let mut datasets = client.datasets().await?;
    // Without a project's name also public datasets of projects that the user may not see.
    datasets.retain(|dataset| options.project.is_none() || names.contains_key(&dataset.project));
    datasets.sort_by(|a, b| (a.project, &a.name, a.version).cmp(&(b.project, &b.name, b.version)));
    let mut output = Output::new();
    if !options.json {
        output.line(head(options.long))?;
    }
    for dataset in datasets {
        let content = if options.long { Some(content_of(client, &dataset).await?) } else { None };
        let number = dataset.project.to_string();
        let project = names.get(&dataset.project).cloned().unwrap_or(number);
        let row = Row { dataset, project, content };
        if options.json {
            output.line(dataset_event(&row))?;
        } else {
            output.line(dataset_line(&row))?;
        }
    }
    Ok(output.flush()?)
}

async fn content_of(client: &Client, dataset: &Dataset) -> anyhow::Result<(u64, Option<u64>)> {
    let mut listing = Listing::new(client, dataset, Detail::Plain);
    let (mut files, mut bytes) = (0, Some(0));
    loop {
        let page = listing.next_page().await?;
        if page.is_empty() {
            return Ok((files, bytes));
        }
        for file in page {
            files += 1;
            bytes = bytes.zip(file.size).map(|(bytes, size): (u64, u64)| bytes + size);
        }
    }
}

fn head(long: bool) -> String {
    let content = if long { format!("{:>11}  {:>12}  ", "FILES", "SIZE") } else { String::new() };
    let (pk, project, version) = ("PK", "PROJECT", "VERSION");
    let head = format!("{pk:>8}  {project:<16}  {version:>7}  {:<19}  {content}NAME", "CREATED");
    Painted(HEAD, head).to_string()
}

fn dataset_line(row: &Row) -> String {
    let Dataset { pk, name, version, creation_time, .. } = &row.dataset;
    let content = row.content.map_or_else(String::new, |(files, bytes)| {
        let size = bytes.map_or_else(|| "?".to_owned(), |bytes| HumanBytes(bytes).to_string());
        format!("{:>11}  {size:>12}  ", HumanCount(files).to_string())
    });
    let (project, name) = (shown(&row.project), shown(name));
    let created = creation_time.get(..19).unwrap_or_default();
    format!("{pk:>8}  {project:<16}  {version:>7}  {created:<19}  {content}{name}")
}

fn dataset_event(row: &Row) -> serde_json::Value {
    let dataset = &row.dataset;
    let mut event = json!({
        "pk": dataset.pk,
        "project": row.project,
        "name": dataset.name,
        "version": dataset.version,
        "description": dataset.description,
        "is_public": dataset.is_public,
        "creation_time": dataset.creation_time,
    });
    if let (Some((files, bytes)), Some(event)) = (row.content, event.as_object_mut()) {
        event.insert("files".to_owned(), json!(files));
        event.insert("bytes".to_owned(), json!(bytes));
    }
    event
}
