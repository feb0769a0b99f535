//! `granary pull`: a dataset into a folder.

mod mirror;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::api::Dataset;
use super::client::Client;
use super::confirm::ConfirmOptions;
use super::dataset_name::{DatasetName, ProjectOptions};
use super::digest_cache::DigestCache;
use super::download::Downloader;
use super::ledger::{Ledger, TellOptions};
use super::listing::{Detail, Listing};
use super::partial::Partial;
use super::progress::Counters;
use super::selection::{Selection, SelectionOptions};
use super::transfer::Transfers;
use super::{Ending, ServerOptions, complain, say};
use mirror::Names;

/// Download a dataset into a folder.
///
/// Every file is checked against its digest before it gets its name. Files that are there with
/// the same content are not fetched again, so run it again after an interruption: large files go on
/// where they stopped, and files that have not changed since they were fetched or read are not even
/// read (their digests are kept in ~/.cache/granary; --checksum reads all). A dataset that changes
/// meanwhile is fetched as its pages of 10,000 names were when they were listed.
///
/// GLOBs are compared with names in the dataset: * and ? stop at slashes, ** does not; without a
/// slash the last part of the name counts, with one the whole name; a folder stands for all below
/// it. --exclude wins over --include.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    /// NAME (its newest version), NAME@VERSION or primary key.
    #[arg(long, value_name = "DATASET")]
    dataset: DatasetName,
    /// Folder to download into; it is made if there is none.
    path: PathBuf,
    #[command(flatten)]
    project: ProjectOptions,
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    selection: SelectionOptions,
    /// Replace local files whose content differs; without it they are reported and kept.
    #[arg(long, visible_alias = "replace")]
    overwrite: bool,
    /// Delete local files that are selected and not in the dataset, once all is fetched.
    #[arg(long)]
    delete: bool,
    /// Say what would be done, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Read every file that is there, even if it seems not to have changed.
    #[arg(long)]
    checksum: bool,
    /// Files that are fetched at the same time.
    #[arg(long, short, value_name = "N", default_value_t = 16, value_parser = super::jobs)]
    jobs: usize,
    #[command(flatten)]
    tell: TellOptions,
    #[command(flatten)]
    confirm: ConfirmOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let selection = Selection::new(&options.selection)?;
    let path = &options.path;
    if options.delete && !options.dry_run && path.exists() {
        let what = format!("files in {} that are not in the dataset go", path.display());
        options.confirm.confirm(&what)?;
    }
    let client = Arc::new(Client::new(&options.server)?);
    let dataset = client.dataset(&options.project, &options.dataset).await?;
    announce(&options, &dataset)?;

    // Locks the folder, and makes it.
    let partial = if options.dry_run { None } else { Some(Partial::open(path)?) };
    let counters = Arc::new(Counters::default());
    let ledger = Ledger::new("fetched", options.dry_run, options.tell, Arc::clone(&counters));
    let downloader = Arc::new(Downloader {
        client: Arc::clone(&client),
        dataset: dataset.pk,
        target: path.clone(),
        partial,
        overwrite: options.overwrite,
        cache: DigestCache::open(path, options.checksum),
        counters,
    });
    let mut transfers = Transfers::new(options.jobs, ledger);
    let names = pull(&options, &dataset, &selection, &downloader, &mut transfers).await?;
    let mut ledger = transfers.finish().await?;

    let is_whole = ledger.report.has_no_failures() && !ledger.report.is_stopped();
    downloader.cache.finish(is_whole && selection.is_all());
    if options.delete && is_whole {
        names.delete_others(path, &selection, options.dry_run, &mut ledger)?;
    } else if options.delete {
        complain("nothing was deleted, since not all files could be fetched");
    }
    let unread = downloader.cache.hits();
    // What has come of files that were not selected is for a later pull of them.
    if let Err(error) = close(downloader, is_whole && selection.is_all()) {
        ledger.fail(&path.display().to_string(), &format!("cannot tidy up: {error}"))?;
    }
    let differ = ledger.report.has_differences();
    let ending = ledger.finish(&json!({ "dry_run": options.dry_run, "unread": unread }))?;
    if differ {
        complain("files that differ were kept as they are here; replace them with --overwrite");
    }
    Ok(ending)
}

fn announce(options: &Options, dataset: &Dataset) -> anyhow::Result<()> {
    complain(format_args!(
        "pulling dataset {:?}, version {}, to {}",
        dataset.name,
        dataset.version,
        options.path.display()
    ));
    if options.tell.json {
        say(json!({
            "event": "begin",
            "command": "pull",
            "path": options.path.to_string_lossy(),
            "url": options.server.url.as_str(),
            "dataset": dataset.pk,
            "name": dataset.name,
            "version": dataset.version,
            "dry_run": options.dry_run,
        }))?;
    }
    Ok(())
}

/// Fetches what is selected; gives the names of all, if they will be needed.
async fn pull(
    options: &Options,
    dataset: &Dataset,
    selection: &Selection,
    downloader: &Arc<Downloader>,
    transfers: &mut Transfers,
) -> anyhow::Result<Names> {
    let mut names = Names::default();
    let (mut files, mut bytes) = (0, 0);
    let mut listing = Listing::new(&downloader.client, dataset, Detail::Plain);
    loop {
        let mut page = match listing.next_page().await {
            Ok(page) if page.is_empty() => return Ok(names),
            Ok(page) => page,
            Err(failure) => {
                transfers.ledger.report.stop(failure);
                return Ok(names);
            }
        };
        page.retain(|file| selection.takes(&file.name));
        files += u64::try_from(page.len()).unwrap_or(u64::MAX);
        bytes += page.iter().map(|file| file.size.unwrap_or(0)).sum::<u64>();
        downloader.counters.expect(files, bytes);
        for file in page {
            if options.delete {
                names.add(&file.name);
            }
            let here = options.delete.then(|| names.here());
            let downloader = Arc::clone(downloader);
            let transfer = async move {
                let path = downloader.target.join(&file.name);
                let result = downloader.transfer(&file).await;
                if let Some(here) = here.filter(|_| result.is_ok()) {
                    // One system call; what it cannot tell is not spared.
                    here.note(&path);
                }
                (file.name, result)
            };
            transfers.start(transfer).await?;
            if transfers.ledger.report.is_stopped() {
                return Ok(names);
            }
        }
    }
}

fn close(downloader: Arc<Downloader>, complete: bool) -> io::Result<()> {
    let partial = Arc::into_inner(downloader).and_then(|downloader| downloader.partial);
    partial.map_or(Ok(()), |partial| partial.close(complete))
}
