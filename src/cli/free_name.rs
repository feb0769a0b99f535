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
    take_by(&[by_rename, by_link, by_look], from, to)
}

type Way = fn(&Path, &Path) -> io::Result<()>;

/// Takes the name in the first of these ways that the file system has; the last one's failure counts.
fn take_by(ways: &[Way], from: &Path, to: &Path) -> io::Result<bool> {
    let mut taken = Err(io::ErrorKind::Unsupported.into());
    for way in ways {
        taken = way(from, to);
        if taken.as_ref().is_ok() || taken.as_ref().is_err_and(|error| !may_be_missing(error)) {
            break;
        }
    }
    match taken {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        taken => taken.map(|()| true),
    }
}

/// Whether a file system may say so of a call that it does not have; of links, some have those within a
/// folder only.
fn may_be_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), CrossesDevices | InvalidInput | PermissionDenied | Unsupported)
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
    fn ways_that_a_file_system_lacks_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::File::create_new(path("new")).unwrap();
        let no_flags: Way = |_, _| Err(io::ErrorKind::InvalidInput.into());
        let no_links: Way = |_, _| Err(io::ErrorKind::CrossesDevices.into());
        let full: Way = |_, _| Err(io::ErrorKind::StorageFull.into());
        let failed = take_by(&[no_flags, full, by_look], &path("new"), &path("name"));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(take_by(&[no_flags, no_links, by_look], &path("new"), &path("name")).unwrap());
        assert!(path("name").exists() && !path("new").exists());
    }

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
