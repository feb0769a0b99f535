//! `pull --delete`: removes from the folder what is not in the dataset.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use granary_engine::model::Digest;

use crate::cli::content::local;
use crate::cli::ledger::Ledger;
use crate::cli::report::Outcome;
use crate::cli::selection::Selection;
use crate::cli::walk::{Found, walk};

/// The names of a dataset's files: 16 bytes of each one's digest, so that a million take some tens
/// of megabytes, however long they are.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<[u8; 16]>);

impl Names {
    /// Takes a name.
    pub(crate) fn add(&mut self, name: &str) {
        self.0.insert(short(name));
    }

    /// Removes the files of a folder that are selected and have none of the names. Links, folders
    /// and whatever else is no file a dataset could hold stay.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) fn delete_others(
        &self,
        folder: &Path,
        selection: &Selection,
        dry_run: bool,
        ledger: &mut Ledger,
    ) -> io::Result<()> {
        let mut told = Ok(());
        if !folder.exists() {
            return told;
        }
        walk(folder, selection, |found| {
            told = match found {
                Found::File(file) if !self.0.contains(&short(&file.name)) => {
                    let removed = if dry_run { Ok(()) } else { fs::remove_file(&file.path) };
                    let result = removed.map_err(|error| local(&file.path, error));
                    ledger.take((file.name, result.map(|()| Outcome::Deleted)))
                }
                Found::File(_) | Found::Skipped { .. } => Ok(()),
                Found::Unusable { shown, reason } => ledger.skip(&shown, &reason),
            };
            told.is_ok()
        });
        told
    }
}

fn short(name: &str) -> [u8; 16] {
    let mut short = [0; 16];
    for (place, byte) in short.iter_mut().zip(Digest::of(name.as_bytes()).as_bytes()) {
        *place = *byte;
    }
    short
}
