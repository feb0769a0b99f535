//! `granary restore`: a data directory out of a backup.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use granary_engine::backup::{
    BackupDirectory, RestoreOptions, Restored, StateSummary, States, restore,
};
use indicatif::{HumanBytes, HumanCount};

use super::progress::{Counters, Progress};
use super::table::{Side, Table};
use super::{Ending, complain, say};

/// Restore a backup into a new data directory.
///
/// The new directory is the same server: datasets, versions, users with their passwords, and the
/// key that signs tokens. Every content is checked against its digest. A directory whose restore
/// was interrupted opens as no server; run the command again, it starts over.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory that backups were made to.
    src: PathBuf,
    /// The new data directory; it must be empty or not there.
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    data: Option<PathBuf>,
    /// Name of the backup; without it the newest one that can be read is restored.
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// List the backups there are, and do nothing; ends with 1 if one of them cannot be read.
    #[arg(long)]
    list: bool,
    /// Restore also a backup that lacks contents, or has damaged ones; their files are there and cannot be read.
    #[arg(long)]
    incomplete: bool,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let Options { src, data, state, list, incomplete } = options;
    let listed = src.clone();
    let States { readable: states, unreadable } =
        in_background(move || BackupDirectory::states(&listed)).await??;
    // That of the one that is asked for ends the command.
    for unreadable in unreadable.iter().filter(|other| state.as_ref() != Some(&other.name)) {
        complain(format_args!("{unreadable}; it is passed over"));
    }
    if state.is_none() {
        warn_of_clock(&states);
    }
    let data = match data {
        Some(data) if !list => data,
        Some(_) | None => {
            show(&states)?;
            let is_whole = unreadable.is_empty();
            return Ok(if is_whole { Ending::Complete } else { Ending::Incomplete });
        }
    };
    let counters = Arc::new(Counters::default());
    let wanted = |summary: &&StateSummary| state.as_ref().is_none_or(|name| *name == summary.name);
    if let Some(state) = states.iter().rfind(wanted) {
        counters.expect(state.contents, state.content_bytes);
    }
    let progress = Progress::start(Arc::clone(&counters));
    let target = data.clone();
    let restoring = in_background(move || {
        let options = RestoreOptions { state, incomplete, ..RestoreOptions::default() };
        restore(&src, &target, &options, &|contents, bytes| {
            counters.files_done(contents);
            counters.bytes_done(bytes);
        })
    });
    let restored = restoring.await;
    progress.finish();
    tell(&restored??, &data)
}

/// Says so where the backup that is taken for the newest is not the one with the latest change.
fn warn_of_clock(states: &[StateSummary]) {
    if let Some((newest, latest)) = in_disagreement(states) {
        complain(format_args!(
            "warning: backup {newest} has the latest time, and {latest} the latest change, as after \
             a clock was set back, or an older backup was restored; --state chooses"
        ));
    }
}

/// The backup with the latest time, and the one with the latest change, if these are two.
fn in_disagreement(states: &[StateSummary]) -> Option<(&str, &str)> {
    let newest = states.last()?;
    let latest = states.iter().max_by_key(|state| state.sequence)?;
    (latest.sequence > newest.sequence).then_some((&newest.name, &latest.name))
}

fn tell(restored: &Restored, data: &Path) -> anyhow::Result<Ending> {
    let Restored { state, rows, contents, content_bytes, missing, passed_over } = restored;
    for fault in passed_over {
        complain(format_args!("{fault}; it is passed over"));
    }
    say(format_args!(
        "restored backup {state}: {} rows, {} contents ({}) into {}",
        HumanCount(*rows),
        HumanCount(*contents),
        HumanBytes(*content_bytes),
        data.display()
    ))?;
    if *missing == 0 {
        return Ok(Ending::Complete);
    }
    complain(format_args!(
        "{} contents are missing; their files are there and cannot be read until the same contents \
         are uploaded again",
        HumanCount(*missing)
    ));
    Ok(Ending::Incomplete)
}

fn show(states: &[StateSummary]) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        ("NAME", Side::Left),
        ("ROWS", Side::Right),
        ("CONTENTS", Side::Right),
        ("BYTES", Side::Right),
    ]);
    for state in states {
        let count = |number| HumanCount(number).to_string();
        let bytes = HumanBytes(state.content_bytes).to_string();
        table.row([state.name.clone(), count(state.rows), count(state.contents), bytes]);
    }
    Ok(table.print()?)
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.context("the restore broke; please report this")
}

#[cfg(test)]
mod tests {
    use granary_engine::model::{Sequence, Timestamp};

    use super::*;

    #[test]
    fn the_latest_time_and_the_latest_change_are_told_apart() {
        let state = |name: &str, taken, sequence| StateSummary {
            name: name.to_owned(),
            taken: Timestamp(taken),
            sequence: Sequence(sequence),
            rows: 0,
            contents: 0,
            content_bytes: 0,
        };
        assert_eq!(in_disagreement(&[]), None);
        // Two backups of one state agree.
        assert_eq!(in_disagreement(&[state("a", 1, 7), state("b", 2, 8), state("c", 3, 8)]), None);
        let set_back = [state("a", 1, 7), state("new", 2, 9), state("b", 3, 8)];
        assert_eq!(in_disagreement(&set_back), Some(("b", "new")));
    }
}
