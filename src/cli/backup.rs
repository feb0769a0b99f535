//! `granary backup`: the whole store into a directory of backups.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use granary_engine::backup::{
    BackupDirectory, BackupError, BackupReport, PendingBackup, StateDownload, StateSummary, Wanted,
};
use granary_engine::limits::{BACKUP_BATCH_BYTES, BACKUP_BATCH_CONTENTS_MAX};
use granary_engine::model::Timestamp;
use indicatif::{HumanBytes, HumanCount};
use tokio::sync::mpsc;

use super::backup_source::Source;
use super::client::Client;
use super::failure::Failure;
use super::progress::{Counters, Progress};
use super::retry::Patience;
use super::{Ending, ServerOptions, complain, say};

/// Pieces of some 256 KiB that are on their way to the disk while the next ones arrive.
const PIECES_AHEAD: usize = 8;

/// Back up the whole store: one state of it, and the contents that earlier backups lack.
///
/// From the running server at --url, as an administrator, while it goes on working; or, with
/// --data, from the data directory of a server that does not run. Every content is checked against
/// its digest. Run it again after an interruption: what was copied is kept. A backup is as secret
/// as the data directory: it holds the hashes of passwords and the key that signs tokens.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory that backups are made to: a new or empty one, or that of earlier backups.
    dest: PathBuf,
    /// Data directory of a server that does not run.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    server: ServerOptions,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let dest = options.dest.clone();
    // Before the store is asked for anything.
    let directory = in_background(move || BackupDirectory::open(&dest)).await??;
    let source = match &options.data {
        Some(data) => Source::of_directory(data).await?,
        None => Source::of_server(Client::new(&options.server)?).await?,
    };
    let counters = Arc::new(Counters::default());
    let progress = Progress::start(Arc::clone(&counters));
    let backed_up = copy(directory, &source, &counters).await;
    progress.finish();
    source.end().await;
    let report = backed_up?;
    let dest = options.dest.clone();
    // The backup is there, whatever this look says.
    let states = in_background(move || BackupDirectory::states(&dest)).await?;
    let states = states.map(|states| states.readable).unwrap_or_default();
    for later in dated_later(&states, &report.state) {
        complain(format_args!(
            "warning: backup {later} was there before and is dated later, as after a clock was set \
             back: granary restore takes it for the newest; name this one with --state {}",
            report.state.name
        ));
    }
    tell(&report)
}

/// Backups that a restore would prefer to the one that was just made.
fn dated_later<'a>(
    states: &'a [StateSummary],
    made: &StateSummary,
) -> impl Iterator<Item = &'a str> {
    let taken = made.taken;
    states.iter().filter(move |state| state.taken > taken).map(|state| state.name.as_str())
}

fn tell(report: &BackupReport) -> anyhow::Result<Ending> {
    let BackupReport { state, copied, copied_bytes, failed, failures } = report;
    say(format_args!(
        "backup {}: {} contents ({}), copied {} ({})",
        state.name,
        HumanCount(state.contents),
        HumanBytes(state.content_bytes),
        HumanCount(*copied),
        HumanBytes(*copied_bytes),
    ))?;
    if *failed == 0 {
        return Ok(Ending::Complete);
    }
    for (digest, reason) in failures {
        complain(format_args!("content {digest} is not in the backup: {reason}"));
    }
    complain(format_args!(
        "{} contents could not be read and are not in the backup, which can be restored without \
         them only (granary restore --incomplete); check the store's disk, upload their files again",
        HumanCount(*failed)
    ));
    Ok(Ending::Incomplete)
}

async fn copy(
    directory: BackupDirectory,
    source: &Source,
    counters: &Arc<Counters>,
) -> anyhow::Result<BackupReport> {
    let download = take_state(directory.begin()?, source).await?;
    let pending = in_background(move || download.finish()).await??;
    for unreadable in pending.unreadable() {
        complain(format_args!("{unreadable}; a new one is made all the same"));
    }
    let summary = pending.summary();
    counters.expect(summary.contents, summary.content_bytes);
    let name = name_of(summary.taken, summary.sequence.0);
    let (pending, copied) = take_contents(pending, source, counters).await?;
    match copied {
        Ok(()) => Ok(in_background(move || pending.finish(&name)).await??),
        Err(error) => {
            // What was copied is kept for the next attempt, if the directory can be written at all.
            in_background(move || pending.give_up()).await?.ok();
            Err(error)
        }
    }
}

/// The name of a backup: its time in UTC, and the last change that it holds.
fn name_of(taken: Timestamp, sequence: u64) -> String {
    let time = jiff::Timestamp::from_microsecond(taken.0).unwrap_or(jiff::Timestamp::MAX);
    format!("{}-{sequence}", time.strftime("%Y%m%dT%H%M%SZ"))
}

async fn take_state(download: StateDownload, source: &Source) -> anyhow::Result<StateDownload> {
    let mut download = download;
    let mut trouble = Trouble::default();
    loop {
        let before = download.len();
        let write = |download: &mut StateDownload, piece: &[u8]| download.write(piece);
        let (back, poured) = pour(download, source.send_state(before), write).await?;
        download = back;
        match poured? {
            Ok(()) => return Ok(download),
            Err(failure) => trouble.wait(failure, download.len() > before).await?,
        }
    }
}

type Copied = (PendingBackup, anyhow::Result<()>);

async fn take_contents(
    pending: PendingBackup,
    source: &Source,
    counters: &Arc<Counters>,
) -> anyhow::Result<Copied> {
    let mut pending = pending;
    loop {
        let counters_there = Arc::clone(counters);
        let (back, missing) = in_background(move || {
            let missing = pending.next_missing(&|contents, bytes| {
                counters_there.files_done(contents);
                counters_there.bytes_done(bytes);
            });
            (pending, missing)
        })
        .await?;
        pending = back;
        let missing = match missing {
            Ok(Some(missing)) => missing,
            Ok(None) => return Ok((pending, Ok(()))),
            Err(error) => return Ok((pending, Err(error.into()))),
        };
        let mut rest = missing.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_length(rest));
            rest = later;
            let (back, taken) = take_batch(pending, batch.to_vec(), source, counters).await?;
            pending = back;
            if taken.is_err() {
                return Ok((pending, taken));
            }
        }
    }
}

/// Contents of the next request; one at least.
fn batch_length(rest: &[Wanted]) -> usize {
    let mut bytes = 0;
    let fits = |wanted: &&Wanted| {
        bytes += wanted.length;
        bytes <= BACKUP_BATCH_BYTES
    };
    rest.iter().take(BACKUP_BATCH_CONTENTS_MAX).take_while(fits).count().max(1)
}

async fn take_batch(
    pending: PendingBackup,
    batch: Vec<Wanted>,
    source: &Source,
    counters: &Arc<Counters>,
) -> anyhow::Result<Copied> {
    let mut pending = pending;
    let mut wanted = batch;
    let mut trouble = Trouble::default();
    loop {
        let before = wanted.len();
        let digests = wanted.iter().map(|wanted| wanted.digest).collect();
        pending.expect(wanted);
        let counters = Arc::clone(counters);
        let write = move |pending: &mut PendingBackup, piece: &[u8]| {
            pending.receive(piece, &|contents, bytes| {
                counters.files_done(contents);
                counters.bytes_done(bytes);
            })
        };
        let (back, poured) = pour(pending, source.send_contents(digests), write).await?;
        pending = back;
        wanted = pending.outstanding();
        let failure = match poured {
            Err(error) => return Ok((pending, Err(error.into()))),
            Ok(Ok(())) if wanted.is_empty() => return Ok((pending, Ok(()))),
            Ok(Ok(())) => source.cut_short(),
            Ok(Err(failure)) => failure,
        };
        if let Err(error) = trouble.wait(failure, wanted.len() < before).await {
            return Ok((pending, Err(error)));
        }
    }
}

/// Failures in a row without anything having come between.
#[derive(Default)]
struct Trouble {
    tried: u32,
}

impl Trouble {
    /// Waits before another attempt, if there is one to be made.
    async fn wait(&mut self, failure: Failure, something_came: bool) -> anyhow::Result<()> {
        self.tried = if something_came { 1 } else { self.tried + 1 };
        match Patience::USUAL.after(self.tried, &failure) {
            Some(wait) => tokio::time::sleep(wait).await,
            None if matches!(&failure, Failure::Refused { status, .. } if status.as_u16() == 404) =>
            {
                bail!(
                    "the server keeps this backup no longer: it was started again, or others were \
                     begun meanwhile; run the command again, what was copied is kept"
                );
            }
            None => return Err(failure).context("the backup is not complete; run it again"),
        }
        Ok(())
    }
}

/// Lets a source send pieces, which are written on a thread that may wait for the disk.
async fn pour<T: Send + 'static>(
    taker: T,
    sending: impl AsyncFnOnce(mpsc::Sender<Bytes>) -> Result<(), Failure>,
    mut write: impl FnMut(&mut T, &[u8]) -> Result<(), BackupError> + Send + 'static,
) -> anyhow::Result<(T, Result<Result<(), Failure>, BackupError>)> {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES_AHEAD);
    let writing = in_background(move || {
        let mut taker = taker;
        while let Some(piece) = pieces.blocking_recv() {
            if let Err(error) = write(&mut taker, &piece) {
                return (taker, Err(error));
            }
        }
        (taker, Ok(()))
    });
    let (sent, written) = tokio::join!(sending(sender), writing);
    let (taker, written) = written?;
    Ok((taker, written.map(|()| sent)))
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.context("the backup broke; please report this")
}

#[cfg(test)]
mod tests {
    use granary_engine::model::{Digest, Sequence};

    use super::*;

    #[test]
    fn a_batch_ends_at_its_bound_and_is_never_empty() {
        let wanted = |length| Wanted { digest: Digest::of(b""), length };
        let large = BACKUP_BATCH_BYTES + 1;
        assert_eq!(batch_length(&[wanted(large), wanted(1)]), 1);
        assert_eq!(batch_length(&[wanted(1), wanted(large)]), 1);
        assert_eq!(batch_length(&[wanted(1), wanted(1)]), 2);
        assert_eq!(batch_length(&vec![wanted(0); 5000]), BACKUP_BATCH_CONTENTS_MAX);
    }

    #[test]
    fn a_backup_that_is_dated_later_than_the_new_one_is_named() {
        let state = |name: &str, taken| StateSummary {
            name: name.to_owned(),
            taken: Timestamp(taken),
            sequence: Sequence(1),
            rows: 0,
            contents: 0,
            content_bytes: 0,
        };
        let states = [state("old", 1), state("made", 2), state("later", 3)];
        assert_eq!(dated_later(&states, &states[1]).collect::<Vec<_>>(), ["later"]);
        assert_eq!(dated_later(&states, &states[2]).count(), 0);
    }

    #[test]
    fn a_backup_is_named_by_its_time_and_last_change() {
        assert_eq!(name_of(Timestamp(1_795_000_000_123_456), 42), "20261118T110640Z-42");
    }
}
