//! `granary pull`: a dataset into a folder.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::client::Client;
use super::download::Downloader;
use super::file_map::FileMap;
use super::partial::Partial;
use super::progress::Counters;
use super::report::Report;
use super::transfer::Transfers;
use super::{Ending, ServerOptions, complain, counted, say};

/// Download a dataset into a folder.
///
/// Every file is checked against its digest before it gets its name. Files that are there with
/// the same content are not fetched again, so run it again after an interruption.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Name of the dataset; its newest version is fetched.
    #[arg(long, value_name = "NAME")]
    dataset: String,
    /// Folder to download into; it is made if there is none.
    path: PathBuf,
    /// Project that the dataset belongs to.
    #[arg(long, value_name = "NAME", default_value = "default")]
    project: String,
    #[command(flatten)]
    server: ServerOptions,
    /// Files that are fetched at the same time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = super::jobs)]
    jobs: usize,
    /// Replace local files whose content differs; without it they are reported and kept.
    #[arg(long)]
    overwrite: bool,
    /// Name each file when it has arrived.
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let client = Client::new(&options.server.url)?;
    let project = client.project(&options.project).await?;
    let dataset = client.existing(&project, &options.dataset).await?;
    let files = client.files(&dataset).await?;
    complain(format_args!(
        "pulling dataset {:?}, version {}, with {} to {}",
        dataset.name,
        dataset.version,
        counted(files.len()),
        options.path.display()
    ));

    let counters = Arc::new(Counters::default());
    counters.expect(u64::try_from(files.len()).unwrap_or(u64::MAX), 0);
    let downloader = Arc::new(Downloader {
        client,
        dataset: dataset.pk,
        target: options.path.clone(),
        partial: Partial::open(&options.path)?,
        overwrite: options.overwrite,
        counters: Arc::clone(&counters),
    });
    let report = pull(&options, &files, &downloader, counters).await?;
    if let Some(downloader) = Arc::into_inner(downloader) {
        let closed = downloader.partial.close();
        closed.with_context(|| format!("cannot tidy up {}", options.path.display()))?;
    }
    say(&report)?;
    if report.has_differences() {
        complain("files that differ were kept as they are here; replace them with --overwrite");
    }
    Ok(report.ending())
}

async fn pull(
    options: &Options,
    files: &FileMap,
    downloader: &Arc<Downloader>,
    counters: Arc<Counters>,
) -> anyhow::Result<Report> {
    let mut transfers = Transfers::new("fetched", options.jobs, options.verbose, counters);
    for (name, digest) in files.iter() {
        let (name, downloader) = (name.to_owned(), Arc::clone(downloader));
        let transfer = async move {
            let result = downloader.transfer(&name, digest).await;
            (name, result)
        };
        transfers.start(transfer).await?;
        if transfers.report.is_stopped() {
            break;
        }
    }
    transfers.finish().await
}
