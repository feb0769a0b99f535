//! `pull --delete`: removes from the folder what is not in the dataset.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use granary_engine::model::Digest;

use crate::cli::content::local;
use crate::cli::ledger::Ledger;
use crate::cli::report::Outcome;
use crate::cli::selection::Selection;
use crate::cli::walk::{Found, LocalFile, walk};

/// The names of a dataset's files: 16 bytes of each one's digest, so that a million take some tens
/// of megabytes, however long they are.
#[derive(Debug, Default)]
pub(crate) struct Names {
    exact: HashSet<[u8; 16]>,
    /// The files that these names lead to here. A folder that does not tell letters by their case, or by how
    /// they are composed, shows some under other names.
    here: Here,
}

/// What tells files from all others of the machine; clones are the same ones.
#[derive(Debug, Default, Clone)]
pub(crate) struct Here(Arc<Mutex<HashSet<(u64, u64)>>>);

impl Here {
    /// Takes the file that a path leads to, if there is one. A call of the file system.
    pub(crate) fn note(&self, path: &Path) {
        if let Some(number) = number_of(path) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        }
    }

    fn has(&self, path: &Path) -> bool {
        let here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        number_of(path).is_some_and(|number| here.contains(&number))
    }
}

impl Names {
    /// Takes a name.
    pub(crate) fn add(&mut self, name: &str) {
        self.exact.insert(short(name));
    }

    /// Where the files of the names are to be noted once they are here.
    pub(crate) fn here(&self) -> Here {
        self.here.clone()
    }

    /// Removes the files of a folder that are selected and have none of the names. Links and folders
    /// stay, and so do hard links to files of the dataset, and what cannot be looked at, or have a name of a dataset, which is a failure.
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
                Found::File(file) if !self.have(&file) => {
                    let removed = if dry_run { Ok(()) } else { fs::remove_file(&file.path) };
                    let result = removed.map_err(|error| local(&file.path, error));
                    ledger.take((file.name, result.map(|()| Outcome::Deleted)))
                }
                Found::File(_) | Found::Skipped { .. } => Ok(()),
                Found::Unusable { shown, reason } => ledger.fail(&shown, &reason),
            };
            told.is_ok()
        });
        told
    }

    /// Whether a file has one of the names, or is what one of them leads to.
    fn have(&self, file: &LocalFile) -> bool {
        self.exact.contains(&short(&file.name)) || self.here.has(&file.path)
    }
}

/// What tells a file from all others of the machine.
fn number_of(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn short(name: &str) -> [u8; 16] {
    let mut short = [0; 16];
    for (place, byte) in short.iter_mut().zip(Digest::of(name.as_bytes()).as_bytes()) {
        *place = *byte;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stamp::Stamp;

    #[test]
    fn a_name_in_other_letters_is_the_same_where_it_leads_to_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["Cat.jpg", "stra\u{df}e", "e\u{301}", "Dog.jpg", "DOG.JPG", "Bird"] {
            fs::File::create_new(path(name)).unwrap();
        }
        // As a folder shows it that does not tell letters by their case, or by how they are composed.
        fs::hard_link(path("Cat.jpg"), path("cat.jpg")).unwrap();
        fs::hard_link(path("stra\u{df}e"), path("strasse")).unwrap();
        fs::hard_link(path("e\u{301}"), path("\u{e9}")).unwrap();
        let mut names = Names::default();
        for name in ["cat.jpg", "strasse", "\u{e9}", "dog.jpg"] {
            names.add(name);
            names.here().note(&path(name));
        }
        let has = |name: &str| {
            let path = path(name);
            let stamp = Stamp::of(&fs::symlink_metadata(&path).unwrap());
            names.have(&LocalFile { name: name.to_owned(), path, stamp })
        };
        for name in ["cat.jpg", "Cat.jpg", "strasse", "stra\u{df}e", "\u{e9}", "e\u{301}"] {
            assert!(has(name), "{name}");
        }
        assert!(!has("Dog.jpg") && !has("DOG.JPG") && !has("Bird"));
    }
}
