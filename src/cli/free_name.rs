//! Names that are free, and not taken from whoever has them.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Gives a file another name of its file system unless something has that name; whether it did.
///
/// # Errors
/// The file system's; the file has its old name then.
pub(crate) fn take(from: &Path, to: &Path) -> io::Result<bool> {
    let or_else = |way: fn(&Path, &Path) -> io::Result<()>| {
        move |error| if may_be_missing(&error) { way(from, to) } else { Err(error) }
    };
    let taken = by_rename(from, to).or_else(or_else(by_link)).or_else(or_else(by_look));
    match taken {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        taken => taken.map(|()| true),
    }
}

/// Whether a file system may say so of a call that it does not have.
fn may_be_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

fn by_rename(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// For NFS, whose rename always replaces.
fn by_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// For what has no links either: whoever takes the name between the look and the rename loses it.
fn by_look(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_way_takes_a_free_name_and_no_other() {
        for way in [by_rename, by_link, by_look] {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            for name in ["new", "file"] {
                fs::File::create_new(path(name)).unwrap();
            }
            fs::create_dir(path("folder")).unwrap();
            symlink("nowhere", path("link")).unwrap();
            for taken in ["file", "folder", "link"] {
                let refused = way(&path("new"), &path(taken)).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists, "{taken}");
                assert!(path("new").exists());
            }
            way(&path("new"), &path("free")).unwrap();
            assert!(path("free").exists() && !path("new").exists());
        }
    }
}
