//! `granary push`: a file or a folder into a dataset.

mod batch;

mod bundle;

mod mirror;

mod preflight;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::api::Dataset;
use super::client::Client;
use super::confirm::ConfirmOptions;
use super::dataset_name::{DatasetName, ProjectOptions};
use super::digest_cache::DigestCache;
use super::ledger::{Ledger, TellOptions};
use super::progress::Counters;
use super::selection::{Selection, SelectionOptions};
use super::transfer::Transfers;
use super::upload::Uploader;
use super::walk::{self, Found, LocalFile};
use super::{Ending, ServerOptions, cache_directory, complain, say};
use batch::{Event, Manner, Pusher};
use mirror::Mirror;
use preflight::Preflight;

/// Files that are asked about and sent together, and bytes of them.
const BATCH_FILES_MAX: usize = 1000;
const BATCH_BYTES_MAX: u64 = 64 << 20;

/// Batches under way at once; each may hash a file.
const BATCHES_MAX: usize = 8;

/// Ends of files that wait to be counted.
const ENDS_AHEAD_MAX: usize = 1024;

/// Upload a file or a folder into a dataset.
///
/// Files are named relative to the folder. Run it again after an interruption: what is there is not
/// sent again, and files that have not changed since they were read are not even read (their digests
/// are kept in ~/.cache/granary; --checksum reads all). Contents that the server has elsewhere, where
/// you may read them, are attached without sending. Files of 16 MiB and more go on where they stopped. A
/// file that is there with other content is reported, or replaced with --replace.
///
/// GLOBs are compared with names in the dataset: * and ? stop at slashes, ** does not; without a
/// slash the last part of the name counts, with one the whole name; a folder stands for all below
/// it. --exclude wins over --include.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    /// File or folder to upload.
    path: PathBuf,
    /// NAME (its newest version; it is made if there is none), NAME@VERSION or primary key.
    #[arg(long, value_name = "DATASET")]
    dataset: DatasetName,
    #[command(flatten)]
    project: ProjectOptions,
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    selection: SelectionOptions,
    /// Replace files whose content differs, each in one step, unless somebody else changes them
    /// meanwhile.
    #[arg(long)]
    replace: bool,
    /// Delete from the dataset what is selected and not in the folder, once all is sent.
    #[arg(long)]
    delete: bool,
    /// Say what would be done, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Read every file, even if it seems not to have changed.
    #[arg(long)]
    checksum: bool,
    /// Files that are sent at the same time.
    #[arg(long, short, value_name = "N", default_value_t = 16, value_parser = super::jobs)]
    jobs: usize,
    #[command(flatten)]
    tell: TellOptions,
    #[command(flatten)]
    confirm: ConfirmOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let path = &options.path;
    // Asked before the server is: a typing error must not make a dataset.
    let shown = path.display();
    let root = std::fs::metadata(path);
    let root = root.with_context(|| format!("cannot read {shown}; check the path"))?;
    ensure!(
        root.is_file() || root.is_dir(),
        "{shown} is neither a file nor a folder, and nothing else can be pushed; of what a pipe gives, \
         make a file first"
    );
    let selection = Selection::new(&options.selection)?;
    if options.delete {
        mirror::check_root(path)?;
        if !options.dry_run {
            let what = format!("files of the dataset that are not in {} go", path.display());
            options.confirm.confirm(&what)?;
        }
    }

    let client = Arc::new(Client::new(&options.server)?);
    let (dataset, made) = found_or_made(&client, &options).await?;
    let preflight = match &dataset {
        Some(dataset) => Preflight::begin(&client, dataset).await?,
        None => Preflight::of_nothing(),
    };
    announce(&options, dataset.as_ref(), made)?;

    let counters = Arc::new(Counters::default());
    let dry_run = options.dry_run;
    let ledger = Ledger::new("sent", dry_run, options.tell, Arc::clone(&counters));
    let (ends, events) = mpsc::channel(ENDS_AHEAD_MAX);
    let manner = Manner { replace: options.replace, dry_run };
    let pk = dataset.as_ref().map_or(0, |dataset| dataset.pk);
    let handles = preflight.handles();
    let memory = cache_directory("uploads");
    let uploader = Uploader { client: Arc::clone(&client), dataset: pk, handles, memory, counters };
    let cache = DigestCache::open(path, options.checksum);
    let pusher = Arc::new(Pusher::new(uploader, preflight, cache, manner, options.jobs, ends));
    let ledger = push(&options, &selection, &pusher, events, ledger).await?;

    let is_whole = ledger.report.has_no_failures() && !ledger.report.is_stopped();
    pusher.cache.finish(is_whole && selection.is_all());
    let mut transfers = Transfers::new(options.jobs, ledger);
    match dataset {
        Some(dataset) if options.delete && is_whole => {
            let root = path.clone();
            let mirror = Mirror { client, dataset, root, selection, dry_run };
            Arc::new(mirror).run(&mut transfers).await?;
        }
        _ if options.delete && !is_whole => {
            complain("nothing was deleted, since not all files could be read and sent");
        }
        Some(_) | None => {}
    }
    let ledger = transfers.finish().await?;
    let differ = ledger.report.has_differences();
    let ending = ledger.finish(&json!({ "dry_run": dry_run, "unread": pusher.cache.hits() }))?;
    if differ && !options.replace {
        complain(
            "files that differ were left as they are on the server; replace them with --replace, \
             or push into another dataset",
        );
    } else if differ {
        complain(
            "files that differ were not replaced: somebody else changed them, or the server \
                  cannot replace files; push again, or delete them there first",
        );
    }
    Ok(ending)
}

/// The dataset that is pushed into, with whether it was made; none if it would have been.
async fn found_or_made(
    client: &Client,
    options: &Options,
) -> anyhow::Result<(Option<Dataset>, bool)> {
    let DatasetName::Newest(name) = &options.dataset else {
        return Ok((Some(client.dataset(&options.project, &options.dataset).await?), false));
    };
    if let Some(dataset) = client.find_dataset(&options.project, &options.dataset).await? {
        return Ok((Some(dataset), false));
    }
    if options.dry_run {
        return Ok((None, true));
    }
    let project = client.project(&options.project.project).await?;
    let (dataset, made) = client.made(&project, name).await?;
    Ok((Some(dataset), made))
}

fn announce(options: &Options, dataset: Option<&Dataset>, made: bool) -> anyhow::Result<()> {
    let path = options.path.display();
    match dataset {
        Some(Dataset { name, version, .. }) => complain(format_args!(
            "pushing {path} to {} dataset {name:?}, version {version}",
            if made { "the new" } else { "the" },
        )),
        None => complain(format_args!(
            "pushing {path} to a dataset {} that would be made",
            options.dataset
        )),
    }
    if options.tell.json {
        say(json!({
            "event": "begin",
            "command": "push",
            "path": options.path.to_string_lossy(),
            "url": options.server.url.as_str(),
            "dataset": dataset.map(|dataset| dataset.pk),
            "name": dataset.map(|dataset| &dataset.name),
            "version": dataset.map(|dataset| dataset.version),
            "made": made && dataset.is_some(),
            "dry_run": options.dry_run,
        }))?;
    }
    Ok(())
}

async fn push(
    options: &Options,
    selection: &Selection,
    pusher: &Arc<Pusher>,
    mut events: mpsc::Receiver<Event>,
    mut ledger: Ledger,
) -> anyhow::Result<Ledger> {
    let (root, selected) = (options.path.clone(), selection.clone());
    let expected = Arc::clone(&pusher.uploader.counters);
    // Counted beside the transfer, which must not wait for it; only the progress needs it.
    tokio::task::spawn_blocking(move || {
        let (files, bytes) = walk::count(&root, &selected);
        expected.expect(files, bytes);
    });
    let found = walk::start(options.path.clone(), selection.clone());
    let batches = options.jobs.min(BATCHES_MAX);
    let mut feeding = tokio::spawn(feed(found, Arc::clone(pusher), batches));
    loop {
        let event = tokio::select! {
            biased;
            Some(event) = events.recv() => event,
            fed = &mut feeding => {
                if let Err(broken) = fed {
                    take(&mut ledger, Event::broken("the rest of the files", &broken))?;
                }
                break;
            }
        };
        take(&mut ledger, event)?;
        if ledger.report.is_stopped() {
            feeding.abort();
            return Ok(ledger);
        }
    }
    // What was told last; the pusher keeps the other end open.
    while let Ok(event) = events.try_recv() {
        take(&mut ledger, event)?;
    }
    Ok(ledger)
}

fn take(ledger: &mut Ledger, event: Event) -> std::io::Result<()> {
    match event {
        Event::Ended(ended) => ledger.take(ended),
        Event::Skipped { shown, reason } => ledger.skip(&shown, &reason),
        Event::Unusable { shown, reason } => ledger.fail(&shown, &reason),
    }
}

/// Cuts what is found into batches and sees them through.
async fn feed(mut found: mpsc::Receiver<Found>, pusher: Arc<Pusher>, batches: usize) {
    let mut running = JoinSet::new();
    let mut batch: Vec<LocalFile> = Vec::new();
    let mut bytes = 0;
    while let Some(found) = found.recv().await {
        match found {
            Found::File(file) => {
                bytes += file.stamp.length;
                batch.push(file);
            }
            Found::Skipped { shown, reason } => {
                pusher.tell(Event::Skipped { shown, reason }).await;
            }
            Found::Unusable { shown, reason } => {
                pusher.tell(Event::Unusable { shown, reason }).await;
            }
        }
        if batch.len() >= BATCH_FILES_MAX || bytes >= BATCH_BYTES_MAX {
            while running.len() >= batches {
                join(&mut running, &pusher).await;
            }
            bytes = 0;
            running.spawn(Arc::clone(&pusher).carry(std::mem::take(&mut batch)));
        }
        if pusher.is_given_up() {
            return;
        }
    }
    if !batch.is_empty() {
        running.spawn(Arc::clone(&pusher).carry(batch));
    }
    while !running.is_empty() {
        join(&mut running, &pusher).await;
    }
}

/// Waits for the end of a batch.
async fn join(running: &mut JoinSet<()>, pusher: &Pusher) {
    if let Some(Err(broken)) = running.join_next().await {
        pusher.tell(Event::broken("some files", &broken)).await;
    }
}
