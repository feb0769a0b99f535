//! Contents of local files: read in pieces, digested on the way.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use granary_engine::DigestHasher;
use granary_engine::model::Digest;
use sha2::{Digest as _, Sha256};

use super::digest_cache::DigestCache;
use super::failure::Failure;
use super::stamp::Stamp;

/// Bytes that are read or sent at a time.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// A content that was read, or known without that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The BLAKE3, which a granary calls the handle.
    pub(crate) digest: Digest,
    /// The SHA-256, which other servers of this API call so, if it was asked for.
    pub(crate) sha256: Option<Digest>,
    /// Bytes.
    pub(crate) length: u64,
}

impl Identity {
    /// Whether a server's handle is that of this content.
    pub(crate) fn has(&self, handle: Digest) -> bool {
        self.digest == handle || self.sha256 == Some(handle)
    }
}

/// What servers take for a content's handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handles {
    /// The BLAKE3: it is a granary.
    Blake3,
    /// That or the SHA-256: it may be another server of this API.
    Either,
}

/// Takes the identity of a content that passes.
#[derive(Debug, Clone)]
pub(crate) struct Hasher {
    blake3: DigestHasher,
    sha256: Option<Sha256>,
    length: u64,
}

impl Hasher {
    /// Nothing has passed yet.
    pub(crate) fn new(handles: Handles) -> Self {
        let sha256 = (handles == Handles::Either).then(Sha256::new);
        Self { blake3: DigestHasher::new(), sha256, length: 0 }
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.blake3.update(piece);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(piece);
        }
        self.length += u64::try_from(piece.len()).unwrap_or(u64::MAX);
    }

    /// The identity of all that has passed.
    pub(crate) fn finish(&self) -> Identity {
        let sha256 = self.sha256.clone().map(|sha256| Digest(sha256.finalize().into()));
        Identity { digest: self.blake3.finish(), sha256, length: self.length }
    }
}

/// A server's handle as a digest. Other servers put a number behind it where two contents had one.
pub(crate) fn digest_of_handle(handle: &str) -> Option<Digest> {
    handle.split('-').next()?.parse().ok()
}

/// The identity of a file's content, without its SHA-256: from the cache if the file has not changed since it was read,
/// else by reading it. Blocks.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn identify(
    cache: &DigestCache,
    name: &str,
    path: &Path,
    stamp: &Stamp,
) -> io::Result<Identity> {
    if let Some(digest) = cache.get(name, stamp) {
        return Ok(Identity { digest, sha256: None, length: stamp.length });
    }
    let begin = SystemTime::now();
    let mut file = File::open(path)?;
    let before = Stamp::of(&file.metadata()?);
    let identity = read_all(&mut file, Handles::Blake3)?;
    let after = Stamp::of(&file.metadata()?);
    if before == after && before.length == identity.length && before.is_settled_at(begin) {
        cache.put(name, &before, identity.digest);
    }
    Ok(identity)
}

/// The identity of a file's content as it is now, by reading it. Blocks.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn identity_of(path: &Path, handles: Handles) -> io::Result<Identity> {
    read_all(&mut File::open(path)?, handles)
}

fn read_all(file: &mut File, handles: Handles) -> io::Result<Identity> {
    let mut hasher = Hasher::new(handles);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A small content, as it was at some moment, with its identity: that of the digest that is known, or
/// what two readings in a row find; none if each finds another one. Blocks.
///
/// # Errors
/// The reading's.
pub(crate) fn steady(
    known: Option<Digest>,
    handles: Handles,
    mut read: impl FnMut() -> io::Result<Vec<u8>>,
) -> io::Result<Option<(Vec<u8>, Identity)>> {
    let content = read()?;
    let mut hasher = Hasher::new(handles);
    hasher.update(&content);
    let identity = hasher.finish();
    let is_steady = known.is_none_or(|known| known == identity.digest) || read()? == content;
    Ok(is_steady.then_some((content, identity)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_the_known_one_or_one_that_was_read_twice() {
        let steady = |known: &str, readings: &[&str]| {
            let mut readings = readings.iter();
            let read = || Ok(readings.next().unwrap().as_bytes().to_vec());
            let known = Some(Digest::of(known.as_bytes()));
            let steady = steady(known, Handles::Blake3, read).unwrap();
            assert_eq!(readings.next(), None, "nothing is read more often than need be");
            steady.map(|(content, identity)| {
                assert_eq!(identity.digest, Digest::of(&content));
                String::from_utf8(content).unwrap()
            })
        };
        assert_eq!(steady("old", &["old"]).unwrap(), "old");
        assert_eq!(steady("old", &["new", "new"]).unwrap(), "new");
        assert_eq!(steady("old", &["half", "new"]), None);
    }
}
