//! `granary push`: a file or a folder into a dataset.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::client::Client;
use super::progress::Counters;
use super::report::Report;
use super::transfer::Transfers;
use super::upload::Uploader;
use super::walk::{self, Found};
use super::{Ending, ServerOptions, complain, counted, say};

/// Upload a file or a folder into a dataset.
///
/// Files are named relative to the folder. The newest version of the dataset is used, and it is
/// made if there is none. Run it again after an interruption: only what is missing is sent.
/// Nothing on the server is ever overwritten; a file that is there with other content is reported.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// File or folder to upload.
    path: PathBuf,
    /// Name of the dataset.
    #[arg(long, value_name = "NAME")]
    dataset: String,
    /// Project that the dataset belongs to.
    #[arg(long, value_name = "NAME", default_value = "default")]
    project: String,
    #[command(flatten)]
    server: ServerOptions,
    /// Files that are sent at the same time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = super::jobs)]
    jobs: usize,
    /// Name each file when the server has confirmed it.
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let path = &options.path;
    // Asked before the server is: a typing error must not make a dataset.
    std::fs::metadata(path)
        .with_context(|| format!("cannot read {}; check the path", path.display()))?;

    let client = Client::new(&options.server.url)?;
    let project = client.project(&options.project).await?;
    let (dataset, made) = client.found_or_made(&project, &options.dataset).await?;
    let present = client.files(&dataset).await?;
    complain(format_args!(
        "pushing {} to {} dataset {:?}, version {}, which holds {}",
        path.display(),
        if made { "the new" } else { "the" },
        dataset.name,
        dataset.version,
        counted(present.len())
    ));

    let counters = Arc::new(Counters::default());
    let uploader =
        Uploader { client, dataset: dataset.pk, present, counters: Arc::clone(&counters) };
    let report = push(&options, Arc::new(uploader), counters).await?;
    say(&report)?;
    if report.has_differences() {
        complain(
            "files that differ were left as they are on the server; delete them there and push \
             again, or push into another dataset",
        );
    }
    Ok(report.ending())
}

async fn push(
    options: &Options,
    uploader: Arc<Uploader>,
    counters: Arc<Counters>,
) -> anyhow::Result<Report> {
    let root = options.path.clone();
    let expected = Arc::clone(&counters);
    // Counted beside the transfer, which must not wait for it; only the progress needs it.
    tokio::task::spawn_blocking(move || {
        let (files, bytes) = walk::count(&root);
        expected.expect(files, bytes);
    });
    let mut found = walk::start(options.path.clone());
    let mut transfers = Transfers::new("sent", options.jobs, options.verbose, counters);
    while let Some(found) = found.recv().await {
        match found {
            Found::File(file) => {
                let uploader = Arc::clone(&uploader);
                let transfer = async move {
                    let result = uploader.transfer(&file).await;
                    (file.name, result)
                };
                transfers.start(transfer).await?;
            }
            Found::Skipped { shown, reason } => transfers.report.skip(&shown, &reason),
            Found::Unusable { shown, reason } => transfers.report.fail(&shown, &reason),
        }
        if transfers.report.is_stopped() {
            break;
        }
    }
    transfers.finish().await
}
