//! Checks a data directory that no process uses, and changes nothing in it.
//!
//! Opening a store repairs it: it cuts a torn end of the journal, applies the journal to the
//! index, sweeps what was left over. A check must find things as they are, so here the index is
//! opened with all that is written to it kept in memory, every page of it is compared with its
//! checksum, and the journal is applied to it there. What opening would repair without a loss is
//! no finding. The directory's lock is held meanwhile (I10).

use std::path::Path;
use std::sync::Arc;

use super::findings::Findings;
use super::progress::Stage;
use super::{CheckProgress, CheckReport, Halt, Scope, check_into};
use crate::disk::{Disk, RealDisk};
use crate::error::{OpenError, ReadError};
use crate::recovery::{self, Looked};

/// Bytes of the index that are cached while it is checked.
const INDEX_CACHE_BYTES: usize = 128 << 20;

/// Why a directory could not be checked to the end.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It is no store that can be looked into, or another process uses it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The check was told to stop.
    #[error("the check was stopped before its end")]
    Stopped,
}

/// Checks a directory that no process uses; `is_deep` reads all contents. Blocks.
///
/// Works on a file system that is mounted read-only. Needs memory for the changes since the last
/// checkpoint, beside some 200 MiB.
///
/// # Errors
/// See [`CheckError`]; damage is no error.
pub fn check_directory(
    directory: &Path,
    is_deep: bool,
    progress: &CheckProgress,
) -> Result<CheckReport, CheckError> {
    let disk = RealDisk::for_reading(directory.to_owned())
        .map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    check_files(&disk, is_deep, progress)
}

/// As [`check_directory`], on any disk.
///
/// # Errors
/// As there.
#[cfg(any(test, feature = "simulation"))]
pub fn check_disk(
    disk: &Arc<dyn Disk>,
    is_deep: bool,
    progress: &CheckProgress,
) -> Result<CheckReport, CheckError> {
    check_files(disk, is_deep, progress)
}

fn check_files(
    disk: &Arc<dyn Disk>,
    is_deep: bool,
    progress: &CheckProgress,
) -> Result<CheckReport, CheckError> {
    let mut findings = Findings::default();
    progress.begin(Stage::Pages, 0);
    let looked = recovery::look(disk, INDEX_CACHE_BYTES, &mut || progress.begin(Stage::Replay, 0))?;
    let Looked { store, damage, torn_bytes, headless, _lock: lock } = looked;
    for (invariant, what) in damage {
        findings.disk(invariant, what);
    }
    for segment in headless {
        findings.disk("I9", format!("the header of journal segment {segment} fails its checksum"));
    }
    if torn_bytes > 0 {
        findings.note(format!(
            "the journal ends in {torn_bytes} bytes of a group that a crash cut off; nobody was \
             answered for it, and the next start takes it away"
        ));
    }
    if let Some(store) = store {
        let scope = Scope { is_deep, is_alone: true };
        match check_into(&store, scope, progress, &mut findings) {
            Ok(()) => {}
            Err(Halt::Stopped) => return Err(CheckError::Stopped),
            Err(Halt::Failed(
                error @ (ReadError::Corrupt { .. } | ReadError::IndexFailed { .. }),
            )) => {
                let what = format!("the index cannot be read any further: {}", error_text(&error));
                findings.disk("I4", what);
            }
            Err(Halt::Failed(error)) => return Err(error.into()),
        }
    }
    drop(lock);
    Ok(findings.into_report(is_deep, progress))
}

fn error_text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", error_text(cause)),
        None => error.to_string(),
    }
}
