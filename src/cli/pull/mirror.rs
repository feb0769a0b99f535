//! `pull --delete`: removes from the folder what is not in the dataset.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
    /// The same in small letters.
    small: HashSet<[u8; 16]>,
}

impl Names {
    /// Takes a name.
    pub(crate) fn add(&mut self, name: &str) {
        self.exact.insert(short(name));
        self.small.insert(short(&name.to_lowercase()));
    }

    /// Removes the files of a folder that are selected and have none of the names. Links and folders
    /// stay; so does what cannot be looked at, or have a name of a dataset, which is a failure.
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
                Found::File(file) if !self.have(folder, &file) => {
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

    /// Whether a file has one of the names, or the folder takes its name for one of them because it
    /// does not tell letters by their case.
    fn have(&self, folder: &Path, file: &LocalFile) -> bool {
        let name = &file.name;
        if self.exact.contains(&short(name)) {
            return true;
        }
        if !self.small.contains(&short(&name.to_lowercase())) {
            return false;
        }
        let spellings = [
            name.to_lowercase(),
            name.to_uppercase(),
            name.to_ascii_lowercase(),
            name.to_ascii_uppercase(),
        ];
        let here = number_of(&file.path);
        let mut others = spellings.iter().filter(|spelling| *spelling != name);
        here.is_some() && others.any(|other| number_of(&folder.join(other)) == here)
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
        for name in ["Cat.jpg", "Straße", "Dog.jpg", "DOG.JPG", "Bird"] {
            fs::File::create_new(path(name)).unwrap();
        }
        // As a folder shows it that does not tell letters by their case.
        fs::hard_link(path("Cat.jpg"), path("cat.jpg")).unwrap();
        fs::hard_link(path("Straße"), path("STRAßE")).unwrap();
        let mut names = Names::default();
        for name in ["cat.jpg", "straße", "dog.jpg"] {
            names.add(name);
        }
        let has = |name: &str| {
            let path = path(name);
            let stamp = Stamp::of(&fs::symlink_metadata(&path).unwrap());
            names.have(folder.path(), &LocalFile { name: name.to_owned(), path, stamp })
        };
        assert!(has("cat.jpg") && has("Cat.jpg") && has("Straße"));
        assert!(!has("Dog.jpg") && !has("DOG.JPG") && !has("Bird"));
    }
}
