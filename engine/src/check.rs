//! Recomputes everything that can be recomputed from what is stored, in bounded memory; tests and
//! `granary check` use it.
//!
//! Beside a running store the rows are read in one snapshot, datasets and contents in a fresh one
//! every few seconds, as each of them stands for itself. What is found wrong with something that
//! may have changed meanwhile is looked at again before it is told. A directory that no process
//! uses is read without being changed (`directory.rs`).
//!
//! | what | compared with | where |
//! |---|---|---|
//! | layers' counts and rows | their rows, and the stacks that name them (I4) | `layers.rs` |
//! | counts, lengths and CRC-32 of contents | the rows that name them (I4) | `counts.rs` |
//! | the files that contents say name them, the datasets of layers | the rows of files, the headers (I4) | `namings.rs` |
//! | live bytes of segments, the dead, what is to be removed | contents' rows (I4) | `counts.rs` |
//! | files and bytes of a dataset, its name | the files that it shows (I8) | `datasets.rs`, `shown.rs` |
//! | users, teams, members, projects, licences, nodes, access tokens, numbers | each other | `catalogue.rs` |
//! | what each team holds together | the headers of its datasets (I4) | `catalogue.rs` |
//! | entries of the audit log | their numbers, and what is noted of all of them (I4) | `audit.rs` |
//! | groups of the journal | their checksums, and the places that the index names | `journal.rs` |
//! | contents | their files (I2), and if `deep`, or in quarantine, their digest and CRC-32 (I9) | `contents.rs` |
//! | files in the directory | the index | `leftovers.rs` |
//! | pages of the index | their checksums, where no process uses them | `directory.rs` |

mod audit;

mod catalogue;

mod contents;

mod counts;

mod datasets;

mod directory;

mod findings;

mod hits;

mod journal;

mod layers;

mod leftovers;

mod namings;

mod progress;

mod shown;

mod tally;

#[cfg(test)]
mod tests;

use crate::error::ReadError;
use crate::index::snapshot::Snapshot;
use crate::store::Store;

pub(crate) use contents::{Page, contents_from};
#[cfg(feature = "simulation")]
pub use directory::check_disk;
pub use directory::{CheckError, check_directory};
pub use findings::{CheckReport, Finding, Hit};
pub(crate) use hits::files_of;
pub use progress::CheckProgress;

use findings::Findings;

/// What a check looks at, and how.
#[derive(Debug, Clone, Copy)]
struct Scope {
    /// Whether all contents are read.
    is_deep: bool,
    /// Whether no process uses the store: then everything stands still.
    is_alone: bool,
}

/// The check was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// Why a check did not come to its end.
#[derive(Debug)]
enum Halt {
    Stopped,
    Failed(ReadError),
}

impl<E: Into<ReadError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Checks a store beside whoever uses it; see [`crate::Engine::check`].
pub(crate) fn check(
    store: &Store,
    is_deep: bool,
    progress: &CheckProgress,
) -> Result<Result<CheckReport, Stopped>, ReadError> {
    let mut findings = Findings::default();
    let scope = Scope { is_deep, is_alone: false };
    match check_into(store, scope, progress, &mut findings) {
        Ok(()) => Ok(Ok(findings.into_report(is_deep, progress))),
        Err(Halt::Stopped) => Ok(Err(Stopped)),
        Err(Halt::Failed(error)) => Err(error),
    }
}

fn check_into(
    store: &Store,
    scope: Scope,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let rows = check_rows(&store.snapshot()?, progress, findings)?;
    datasets::check_datasets(store, progress, findings)?;
    let doubtful = journal::check_journal(store, &rows, progress, findings)?;
    contents::check_contents(store, scope, &doubtful, progress, findings)?;
    leftovers::check_leftovers(store, scope, findings)?;
    hits::name_hits(&store.snapshot()?, progress, findings)?;
    Ok(())
}

/// All that must be compared within one state.
fn check_rows(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<counts::ContentRows, Halt> {
    layers::check_stacks(snapshot, findings)?;
    let named = layers::check_layers(snapshot, progress, findings)?;
    let rows = counts::check_counts(snapshot, named, progress, findings)?;
    namings::check_namings(snapshot, progress, findings)?;
    catalogue::check_catalogue(snapshot, findings)?;
    audit::check_audit(snapshot, progress, findings)?;
    Ok(rows)
}
