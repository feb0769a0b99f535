//! Small secrets in the data directory: readable by their owner alone, there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file of mode 600 that replaces what has its name.
///
/// # Durability
/// When this returns, content and name are on disk; a crash before leaves the old file or none.
///
/// # Errors
/// The file system's; the file of that name is then as it was.
pub(crate) fn write(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let staged = directory.join(format!("{name}.new"));
    // A crash may have left one behind, with whatever mode and content.
    remove_if_there(&staged)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&staged, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Removes a file for good; one that is not there is no error.
///
/// # Errors
/// The file system's.
pub(crate) fn remove(directory: &Path, name: &str) -> io::Result<()> {
    remove_if_there(&directory.join(name))?;
    File::open(directory)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_replaces_its_predecessor_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "secret", b"one").unwrap();
        write(directory.path(), "secret", b"two").unwrap();

        let path = directory.path().join("secret");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_left_half_written_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        fs::copy("/dev/null", directory.path().join("secret.new")).unwrap();
        write(directory.path(), "secret", b"whole").unwrap();
        assert_eq!(fs::read(directory.path().join("secret")).unwrap(), b"whole");
    }
}
