//! One file on its way from the server, as often as it takes.
//!
//! A file appears under its name only when its bytes have the digest that the dataset names. An
//! attempt that breaks off is continued where it ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use granary_engine::DigestHasher;
use granary_engine::model::{Digest, Filename};
use reqwest::header::{CONTENT_RANGE, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::client::Client;
use super::content::{digest_of, local, on_blocking_pool};
use super::failure::Failure;
use super::partial::{self, Partial};
use super::progress::Counters;
use super::report::Outcome;

/// Fetches files of one dataset into one folder.
pub(crate) struct Downloader {
    pub(crate) client: Client,
    pub(crate) dataset: u64,
    /// Folder that the files go to.
    pub(crate) target: PathBuf,
    pub(crate) partial: Partial,
    /// Whether a file with other content is replaced.
    pub(crate) overwrite: bool,
    pub(crate) counters: Arc<Counters>,
}

/// What has arrived of a file so far.
struct Incoming {
    file: File,
    path: PathBuf,
    hasher: DigestHasher,
    length: u64,
}

impl Downloader {
    /// Brings a file here unless it is here.
    ///
    /// # Errors
    /// Why it is not here.
    pub(crate) async fn transfer(&self, name: &str, digest: Digest) -> Result<Outcome, Failure> {
        let path = self.place(name)?;
        if let Some(outcome) = self.look(&path, digest).await? {
            return Ok(outcome);
        }
        let place = self.partial.fresh();
        let fetched = self.fetch(name, digest, &place).await;
        let bytes = match fetched {
            Ok(bytes) => bytes,
            Err(failure) => {
                // What is left of it is removed by the next pull at the latest.
                tokio::fs::remove_file(&place).await.ok();
                return Err(failure);
            }
        };
        on_blocking_pool(&path, move |path| {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            fs::rename(&place, path)
        })
        .await?;
        Ok(Outcome::Transferred { bytes })
    }

    /// Where a file goes. The server's rules keep every name inside; this does not rely on them.
    fn place(&self, name: &str) -> Result<PathBuf, Failure> {
        let ours = name.split('/').next() == Some(partial::DIRECTORY);
        if ours || Filename::exact(name).is_none() {
            return Err(Failure::Altered {
                reason: "the name would leave the folder; rename the file on the server",
            });
        }
        Ok(self.target.join(name))
    }

    /// The outcome, if something is here under the name already.
    async fn look(&self, path: &Path, digest: Digest) -> Result<Option<Outcome>, Failure> {
        match tokio::fs::symlink_metadata(path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(local(path, error)),
            Ok(metadata) if metadata.is_dir() => {
                Err(local(path, io::ErrorKind::IsADirectory.into()))
            }
            Ok(_) if digest_of(path).await? == digest => Ok(Some(Outcome::AlreadyThere)),
            Ok(_) if self.overwrite => Ok(None),
            Ok(_) => Ok(Some(Outcome::Differs)),
        }
    }

    async fn fetch(&self, name: &str, digest: Digest, place: &Path) -> Result<u64, Failure> {
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).open(place).await;
        let mut incoming = Incoming {
            file: opened.map_err(|error| local(place, error))?,
            path: place.to_path_buf(),
            hasher: DigestHasher::new(),
            length: 0,
        };
        let mut tried = 0;
        loop {
            tried += 1;
            let failure = match self.attempt(name, digest, &mut incoming).await {
                Ok(()) if incoming.hasher.finish() == digest => return Ok(incoming.length),
                Ok(()) => {
                    return Err(Failure::Altered {
                        reason: "the bytes that arrived are not those that the dataset named",
                    });
                }
                Err(failure) => failure,
            };
            match self.client.patience.after(tried, &failure) {
                Some(wait) => self.counters.wait(wait).await,
                None => return Err(failure),
            }
        }
    }

    async fn attempt(
        &self,
        name: &str,
        digest: Digest,
        incoming: &mut Incoming,
    ) -> Result<(), Failure> {
        let address = self.client.url.file(self.dataset, name);
        let mut request = self.client.http.get(address);
        if incoming.length > 0 {
            request = request
                .header(RANGE, format!("bytes={}-", incoming.length))
                .header(IF_RANGE, format!("\"{digest}\""));
        }
        let mut response = self.client.send(request).await?;
        if !continues(&response, incoming.length) {
            self.counters.bytes_undone(incoming.length);
            incoming.restart().await?;
        }
        loop {
            let piece = response.chunk().await;
            let piece = piece.map_err(|error| Failure::on_the_way(&self.client.url, &error))?;
            let Some(piece) = piece else {
                return incoming.flush().await;
            };
            incoming.take(&piece).await?;
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.counters.bytes_done(length);
        }
    }
}

impl Incoming {
    async fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.hasher.update(piece);
        self.length += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let written = self.file.write_all(piece).await;
        written.map_err(|error| local(&self.path, error))
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.file.flush().await;
        flushed.map_err(|error| local(&self.path, error))
    }

    /// Forgets what has arrived.
    async fn restart(&mut self) -> Result<(), Failure> {
        self.flush().await?;
        let emptied = self.file.set_len(0).await;
        let emptied = match emptied {
            Ok(()) => self.file.rewind().await,
            Err(error) => Err(error),
        };
        emptied.map_err(|error| local(&self.path, error))?;
        self.hasher = DigestHasher::new();
        self.length = 0;
        Ok(())
    }
}

/// Whether an answer goes on where the last one broke off.
fn continues(response: &Response, length: u64) -> bool {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return length == 0;
    }
    let range = response.headers().get(CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {length}-")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stand_in::{DATASET, Fault, StandIn, counters};

    struct Pulled {
        folder: tempfile::TempDir,
        server: StandIn,
        result: Result<Outcome, Failure>,
    }

    /// Pulls the file `d/name` with this content into a folder that holds what `before` says.
    async fn pulled(faults: &[Fault], content: &[u8], before: Option<&[u8]>) -> Pulled {
        let (server, client) = StandIn::start(faults).await;
        server.put("d/name", content);
        let folder = tempfile::tempdir().unwrap();
        if let Some(before) = before {
            let path = folder.path().join("d/name");
            fs::create_dir(path.parent().unwrap()).unwrap();
            tokio::fs::write(path, before).await.unwrap();
        }
        let downloader = downloader(client, folder.path());
        let result = downloader.transfer("d/name", Digest::of(content)).await;
        downloader.partial.close().unwrap();
        Pulled { folder, server, result }
    }

    fn downloader(client: Client, target: &Path) -> Downloader {
        Downloader {
            client,
            dataset: DATASET,
            target: target.to_path_buf(),
            partial: Partial::open(target).unwrap(),
            overwrite: false,
            counters: counters(),
        }
    }

    fn content_of(pulled: &Pulled) -> Option<Vec<u8>> {
        fs::read(pulled.folder.path().join("d/name")).ok()
    }

    #[tokio::test]
    async fn a_download_that_breaks_off_goes_on_where_it_ended() {
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
        let faults = [Fault::CutAfter(100_000), Fault::Busy];
        let pulled = pulled(&faults, &content, None).await;
        assert_eq!(pulled.result.as_ref().unwrap(), &Outcome::Transferred { bytes: 300_000 });
        assert_eq!(content_of(&pulled).unwrap(), content);
        assert!(pulled.server.ranges() > 0);
    }

    #[tokio::test]
    async fn bytes_that_are_not_the_named_ones_never_get_the_name() {
        let pulled = pulled(&[Fault::Rotten], b"content", None).await;
        assert!(matches!(pulled.result, Err(Failure::Altered { .. })));
        assert_eq!(content_of(&pulled), None);
    }

    #[tokio::test]
    async fn a_file_with_equal_content_is_not_fetched_again() {
        let pulled = pulled(&[Fault::Rotten], b"content", Some(b"content")).await;
        assert_eq!(pulled.result.unwrap(), Outcome::AlreadyThere);
    }

    #[tokio::test]
    async fn a_file_with_other_content_is_kept() {
        let pulled = pulled(&[], b"content", Some(b"mine")).await;
        assert_eq!(pulled.result.as_ref().unwrap(), &Outcome::Differs);
        assert_eq!(content_of(&pulled).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn names_that_would_leave_the_folder_are_refused() {
        let (_server, client) = StandIn::start(&[]).await;
        let folder = tempfile::tempdir().unwrap();
        let downloader = downloader(client, folder.path());
        for name in ["../x", "/etc/x", "a/../../x", ".granary-partial/0", ""] {
            let failure = downloader.transfer(name, Digest::of(b"")).await;
            assert!(matches!(failure, Err(Failure::Altered { .. })), "{name}");
        }
    }
}
