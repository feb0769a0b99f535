//! `granary ls`: the datasets of a server, or the files of one.

use std::collections::BTreeMap;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::api::Dataset;
use super::client::Client;
use super::dataset_name::{DatasetName, ProjectOptions};
use super::listing::{Detail, Listing, RemoteFile};
use super::output::{Output, is_closed};
use super::selection::{Selection, SelectionOptions};
use super::style::{FAINT, Painted};
use super::table::{Side, Table};
use super::terminal::{self, cut, cut_start};
use super::{Ending, ServerOptions, shown};

/// Columns that a handle keeps where a terminal has no room for all of it, those that a name gets
/// then, and those that it keeps.
const HANDLE_WIDTH_MIN: usize = 9;
const NAME_WIDTH: usize = 24;
const NAME_WIDTH_MIN: usize = 8;

/// List the datasets, or the files of one.
///
/// Without DATASET: primary key, project, name, version and time of creation of each dataset; with
/// --long also how many files it has and how large they are, for which each is listed. With it:
/// handle (the BLAKE3 digest of the content) and name of each file; with --long also size in bytes
/// and the time at which it was added. On a terminal long lines are cut; a file or a pipe gets all.
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
        Err(error) if is_closed(&error) => Ok(Ending::Complete),
        Err(error) => Err(error),
    }
}

async fn list_files(client: &Client, options: &Options, name: &DatasetName) -> anyhow::Result<()> {
    let selection = Selection::new(&options.selection)?;
    let project = options.project.clone().unwrap_or_else(|| "default".to_owned());
    let dataset = client.dataset(&ProjectOptions { project }, name).await?;
    let mut listing = Listing::new(client, &dataset, Detail::Plain);
    let mut output = Output::new();
    let width = terminal::width();
    loop {
        let page = listing.next_page().await?;
        if page.is_empty() {
            return Ok(output.flush()?);
        }
        for file in page.iter().filter(|file| selection.takes(&file.name)) {
            if options.json {
                output.line(file_event(file))?;
            } else {
                output.line(file_line(file, options.long, width))?;
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

fn file_line(file: &RemoteFile, long: bool, width: Option<usize>) -> String {
    let (mut digest, mut name) = (file.digest.to_string(), shown(&file.name));
    let mut more = String::from("  ");
    if long {
        let size = file.size.map_or_else(|| "?".to_owned(), |size| HumanCount(size).to_string());
        let time = file.time.as_deref().and_then(|time| time.get(..19)).unwrap_or("?");
        more = format!("  {size:>15}  {time:<19}  ");
    }
    if let Some(width) = width {
        // The handle gives way first, the same for every file; then the beginning of the name.
        let room = width.saturating_sub(more.len());
        digest = cut(&digest, room.saturating_sub(NAME_WIDTH).max(HANDLE_WIDTH_MIN));
        let room = room.saturating_sub(digest.chars().count());
        name = cut_start(&name, room.max(NAME_WIDTH_MIN));
    }
    format!("{}{more}{name}", Painted(FAINT, digest))
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
    let (mut table, mut output) = (dataset_table(options.long), Output::new());
    for dataset in datasets {
        let content = if options.long { Some(content_of(client, &dataset).await?) } else { None };
        let number = dataset.project.to_string();
        let project = names.get(&dataset.project).cloned().unwrap_or(number);
        let row = Row { dataset, project, content };
        if options.json {
            output.line(dataset_event(&row))?;
        } else {
            table.row(dataset_cells(&row));
        }
    }
    if options.json {
        output.flush()?;
    } else {
        table.print()?;
    }
    Ok(())
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

fn dataset_table(long: bool) -> Table {
    let content: &[_] = if long { &[("FILES", Side::Right), ("SIZE", Side::Right)] } else { &[] };
    let first = [
        ("PK", Side::Right),
        ("PROJECT", Side::Left),
        ("VERSION", Side::Right),
        ("CREATED", Side::Left),
    ];
    Table::new(&[&first, content, &[("NAME", Side::Left)]].concat())
}

fn dataset_cells(row: &Row) -> Vec<String> {
    let Dataset { pk, name, version, creation_time, .. } = &row.dataset;
    let created = creation_time.get(..19).unwrap_or_default().to_owned();
    let mut cells = vec![pk.to_string(), row.project.clone(), version.to_string(), created];
    if let Some((files, bytes)) = row.content {
        let size = bytes.map_or_else(|| "?".to_owned(), |bytes| HumanBytes(bytes).to_string());
        cells.extend([HumanCount(files).to_string(), size]);
    }
    cells.push(name.clone());
    cells
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
