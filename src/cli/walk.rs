//! The files below a folder, found one after the other and never all held.
//!
//! Names are those that the dataset will have: relative to the folder, parts joined by `/`. What
//! cannot have such a name, or is no regular file, is reported and not silently left out, unless
//! the selection leaves it out.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use granary_engine::model::RequestedFilename;
use tokio::sync::mpsc;

use super::partial;
use super::selection::Selection;
use super::stamp::Stamp;

/// Files that are found ahead of being transferred.
const FOUND_AHEAD_MAX: usize = 1024;

/// What a walk comes upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A file that can go into a dataset.
    File(LocalFile),
    /// Something that is deliberately passed over, and why.
    Skipped {
        /// Where it is, for people.
        shown: String,
        /// Why.
        reason: String,
    },
    /// Something that should have been taken and cannot be, and why.
    Unusable {
        /// Where it is, for people.
        shown: String,
        /// Why.
        reason: String,
    },
}

/// A file below the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalFile {
    /// Its name in the dataset.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it was like when it was found.
    pub(crate) stamp: Stamp,
}

/// Walks on a thread of its own; the receiver is the walk's pace.
pub(crate) fn start(root: PathBuf, selection: Selection) -> mpsc::Receiver<Found> {
    let (sender, receiver) = mpsc::channel(FOUND_AHEAD_MAX);
    tokio::task::spawn_blocking(move || {
        // An error is the receiver having gone: nobody wants the rest.
        walk(&root, &selection, |found| sender.blocking_send(found).is_ok());
    });
    receiver
}

/// Files and bytes that a walk would find; for showing progress only.
pub(crate) fn count(root: &Path, selection: &Selection) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    walk(root, selection, |found| {
        if let Found::File(file) = found {
            files += 1;
            bytes += file.stamp.length;
        }
        true
    });
    (files, bytes)
}

/// Calls `take` with everything that is found and selected, until it answers `false`.
pub(crate) fn walk(root: &Path, selection: &Selection, mut take: impl FnMut(Found) -> bool) {
    let unusable = |path: &Path, error: &io::Error| Found::Unusable {
        shown: path.display().to_string(),
        reason: error.to_string(),
    };
    let metadata = match fs::metadata(root) {
        Ok(metadata) => metadata,
        Err(error) => {
            take(unusable(root, &error));
            return;
        }
    };
    if !metadata.is_dir() {
        let name = root.file_name().unwrap_or_default();
        take(classified(&[], name, root.to_path_buf(), Ok(metadata)));
        return;
    }
    // Directories to be read; each is read whole before the next, so one is open at a time.
    let mut directories = vec![(root.to_path_buf(), Vec::<OsString>::new())];
    while let Some((directory, parents)) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if take(unusable(&directory, &error)) => continue,
            Err(_) => return,
        };
        for entry in entries {
            let found = match entry {
                Ok(entry) => {
                    let name = entry.file_name();
                    let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    if !is_selected(selection, &parents, &name, is_directory) {
                        continue;
                    }
                    if is_directory && !(parents.is_empty() && name == partial::DIRECTORY) {
                        let mut below = parents.clone();
                        below.push(name);
                        directories.push((entry.path(), below));
                        continue;
                    }
                    classified(&parents, &name, entry.path(), entry.metadata())
                }
                Err(error) => unusable(&directory, &error),
            };
            if !take(found) {
                return;
            }
        }
    }
}

/// Whether a file is taken, or a folder looked into. Names that are no UTF-8 are compared with
/// replacement characters in them, so that they can be left out.
fn is_selected(
    selection: &Selection,
    parents: &[OsString],
    name: &OsStr,
    is_directory: bool,
) -> bool {
    if selection.is_all() {
        return true;
    }
    let parts = parents.iter().map(OsString::as_os_str).chain([name]);
    let name = parts.map(OsStr::to_string_lossy).collect::<Vec<_>>().join("/");
    if is_directory { selection.enters(&name) } else { selection.takes(&name) }
}

fn classified(
    parents: &[OsString],
    name: &OsStr,
    path: PathBuf,
    metadata: io::Result<fs::Metadata>,
) -> Found {
    let shown = path.display().to_string();
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) => {
            let reason = error.to_string();
            return Found::Unusable { shown, reason };
        }
    };
    if !metadata.is_file() {
        let reason = if metadata.is_symlink() {
            "a symbolic link"
        } else if metadata.is_dir() {
            "what an unfinished pull left"
        } else {
            "no regular file"
        };
        let reason = reason.to_owned();
        return Found::Skipped { shown, reason };
    }
    let parts: Option<Vec<&str>> =
        parents.iter().map(OsString::as_os_str).chain([name]).map(OsStr::to_str).collect();
    let Some(parts) = parts else {
        let reason = "its name is not UTF-8; rename it".to_owned();
        return Found::Unusable { shown, reason };
    };
    let name = parts.join("/");
    match RequestedFilename::parse(&name) {
        Ok(RequestedFilename::Named(lawful)) if lawful.as_str() == name => {
            let stamp = Stamp::of(&metadata);
            Found::File(LocalFile { name, path, stamp })
        }
        Ok(_) => Found::Unusable {
            shown,
            reason: "a dataset would give it another name; rename it".to_owned(),
        },
        Err(error) => Found::Unusable {
            shown,
            reason: format!("a dataset cannot have this name ({error}); rename it"),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, content: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).open(path).unwrap();
        file.write_all(content).unwrap();
    }

    fn found_below(root: &Path) -> Vec<Found> {
        let mut all = Vec::new();
        walk(root, &Selection::of(&[], &[]), |found| {
            all.push(found);
            true
        });
        all
    }

    fn names_below(root: &Path) -> Vec<String> {
        let files = found_below(root).into_iter().filter_map(|found| match found {
            Found::File(file) => Some(file.name),
            Found::Skipped { .. } | Found::Unusable { .. } => None,
        });
        let mut names: Vec<_> = files.collect();
        names.sort();
        names
    }

    #[test]
    fn names_are_relative_to_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a"), b"");
        write(&folder.path().join("d/e/ü x"), b"12");
        assert_eq!(names_below(folder.path()), ["a", "d/e/ü x"]);
        assert_eq!(count(folder.path(), &Selection::of(&[], &[])), (2, 2));
        assert_eq!(count(folder.path(), &Selection::of(&["d/"], &[])), (1, 2));
        assert_eq!(count(folder.path(), &Selection::of(&[], &["e"])), (1, 0));
    }

    #[test]
    fn a_single_file_has_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d/only.txt");
        write(&path, b"1");
        assert_eq!(names_below(&path), ["only.txt"]);
    }

    #[test]
    fn links_and_leftovers_of_a_pull_are_skipped_with_a_note() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/", folder.path().join("link")).unwrap();
        write(&folder.path().join(partial::DIRECTORY).join("1"), b"half");
        let found = found_below(folder.path());
        assert_eq!(found.len(), 2);
        let skipped = |found: &Found| matches!(found, Found::Skipped { .. });
        assert!(found.iter().all(skipped), "{found:?}");
    }

    #[test]
    fn names_that_a_dataset_cannot_have_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("..odd"), b"");
        write(&folder.path().join(OsStr::from_bytes(b"\xff")), b"");
        let found = found_below(folder.path());
        assert_eq!(found.len(), 2);
        let unusable = |found: &Found| matches!(found, Found::Unusable { .. });
        assert!(found.iter().all(unusable), "{found:?}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_reported() {
        let found = found_below(Path::new("/nowhere/at/all"));
        assert!(matches!(found.as_slice(), [Found::Unusable { .. }]));
    }
}
