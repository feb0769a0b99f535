//! Contents of local files: read in pieces, digested on the way.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use granary_engine::DigestHasher;
use granary_engine::model::Digest;

use super::failure::Failure;

/// Bytes that are read or sent at a time.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// The digest of a file's content, computed on the blocking pool.
///
/// # Errors
/// The file cannot be read.
pub(crate) async fn digest_of(path: &Path) -> Result<Digest, Failure> {
    on_blocking_pool(path, |path| {
        let mut file = File::open(path)?;
        let mut hasher = DigestHasher::new();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(length) => hasher.update(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    })
    .await
}

/// Runs file-system work off the network's threads; its failure names the path.
///
/// # Errors
/// The work's own.
pub(crate) async fn on_blocking_pool<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let owned: PathBuf = path.to_path_buf();
    let done = tokio::task::spawn_blocking(move || work(&owned)).await;
    let done = done.unwrap_or_else(|broken| Err(io::Error::other(broken)));
    done.map_err(|source| local(path, source))
}

/// A failure of the local file system.
pub(crate) fn local(path: &Path, source: io::Error) -> Failure {
    Failure::Local { path: path.to_path_buf(), source }
}
