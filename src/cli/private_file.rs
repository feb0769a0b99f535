//! Small files of the user's own: readable by nobody else, there whole or not at all.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Puts a file of mode 600 in the place of what has its name, in a folder that is made if it is not
/// there.
///
/// # Durability
/// Content and then name go to the disk; a crash leaves the old file or the new one.
///
/// # Errors
/// The file system's; the file of that name is as it was then.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = directory.join(name);
    let written = write(&new, content).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What is left of the attempt is of no use; the first error is the one to tell.
        fs::remove_file(&new).ok();
    }
    written
}

/// Makes a file of mode 600.
///
/// # Errors
/// The file system's.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    // Made anew each time: a file that is there already may have any mode.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
