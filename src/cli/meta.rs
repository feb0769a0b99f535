//! `granary meta get` and `meta set`: the metadata of a dataset's files.

use std::io::{self, Read, Write};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::client::Client;
use super::dataset_name::{DatasetName, ProjectOptions};
use super::listing::{Detail, Listing};
use super::output::{Output, is_closed};
use super::{Ending, ServerOptions, say, shown};

/// Read or set the metadata of files: a text for each.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(GetOptions),
    Set(SetOptions),
}

/// Write a file's metadata as it is, or that of all files, one a line with its name.
#[derive(Debug, Args)]
struct GetOptions {
    #[command(flatten)]
    at: DatasetOptions,
    /// File whose metadata is wanted; without it, all that have any.
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// Write JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Set a file's metadata; the empty text removes it.
#[derive(Debug, Args)]
struct SetOptions {
    #[command(flatten)]
    at: DatasetOptions,
    /// File whose metadata is set.
    #[arg(value_name = "FILE")]
    file: String,
    /// The text; - reads it from standard input.
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    text: String,
}

#[derive(Debug, Args)]
struct DatasetOptions {
    /// NAME (its newest version), NAME@VERSION or primary key.
    #[arg(value_name = "DATASET")]
    dataset: DatasetName,
    #[command(flatten)]
    project: ProjectOptions,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Deserialize)]
struct Metadata {
    metadata: String,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    match options.command {
        Command::Get(options) => match get(options).await {
            // Whoever read it has had enough of it.
            Err(error) if is_closed(&error) => Ok(Ending::Complete),
            ending => ending,
        },
        Command::Set(options) => set(options).await,
    }
}

async fn get(options: GetOptions) -> anyhow::Result<Ending> {
    let DatasetOptions { dataset, project, server } = &options.at;
    let client = Client::new(server)?;
    let dataset = client.dataset(project, dataset).await?;
    if let Some(file) = &options.file {
        let address = client.url.metadata(dataset.pk, file);
        let Metadata { metadata } = client.ask(client.http.get(address)).await?;
        if options.json {
            say(json!({ "name": file, "metadata": metadata }))?;
        } else {
            // As it is: whoever wrote a line's end into it gets it, and nobody else.
            let mut output = io::stdout().lock();
            output.write_all(metadata.as_bytes())?;
            output.flush()?;
        }
        return Ok(Ending::Complete);
    }
    let mut listing = Listing::new(&client, &dataset, Detail::WithMetadata);
    let mut output = Output::new();
    loop {
        let page = listing.next_page().await?;
        if page.is_empty() {
            output.flush()?;
            return Ok(Ending::Complete);
        }
        for file in page.iter().filter(|file| !file.metadata.is_empty()) {
            if options.json {
                output.line(json!({ "name": file.name, "metadata": file.metadata }))?;
            } else {
                output.line(format_args!("{}: {}", shown(&file.name), shown(&file.metadata)))?;
            }
        }
    }
}

async fn set(options: SetOptions) -> anyhow::Result<Ending> {
    let DatasetOptions { dataset, project, server } = &options.at;
    let mut text = options.text;
    if text == "-" {
        text.clear();
        let read = io::stdin().lock().read_to_string(&mut text);
        read.context("cannot read the metadata from standard input; it must be UTF-8")?;
    }
    let client = Client::new(server)?;
    let dataset = client.dataset(project, dataset).await?;
    let address = client.url.metadata(dataset.pk, &options.file);
    client.send(client.http.post(address).json(&json!({ "metadata": text }))).await?;
    Ok(Ending::Complete)
}
