//! One file on its way to the server, as often as it takes.
//!
//! A file counts as sent only when the server has answered with the digest of the bytes that were
//! read here, so what is reported as sent is durable there and equal.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use granary_engine::DigestHasher;
use granary_engine::model::Digest;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use reqwest::{Body, StatusCode};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use super::client::Client;
use super::content::{PIECE_BYTES, digest_of, local, on_blocking_pool};
use super::failure::Failure;
use super::file_map::FileMap;
use super::progress::Counters;
use super::report::Outcome;
use super::walk::LocalFile;

/// Bytes of the largest file that is read whole; larger ones are streamed. With the number of
/// transfers under way it bounds the memory of a push.
const WHOLE_BYTES_MAX: u64 = 1 << 20;

/// The server's words for a name that a file of the dataset has.
const NAME_IN_USE: &str = "Filename already in use";

/// Sends files to one dataset.
pub(crate) struct Uploader {
    pub(crate) client: Client,
    pub(crate) dataset: u64,
    /// What the dataset held when the push began.
    pub(crate) present: FileMap,
    pub(crate) counters: Arc<Counters>,
}

#[derive(Deserialize)]
struct Stored {
    filename: String,
    handle: String,
}

/// A body, and the digest of its bytes once they were all read.
struct Outgoing {
    body: Body,
    length: u64,
    read: oneshot::Receiver<io::Result<Digest>>,
}

impl Uploader {
    /// Brings a file to the server unless it is there.
    ///
    /// # Errors
    /// Why it is not there.
    pub(crate) async fn transfer(&self, file: &LocalFile) -> Result<Outcome, Failure> {
        if let Some(there) = self.present.get(&file.name) {
            let outcome = compared(file, there, Outcome::AlreadyThere).await;
            self.counters.bytes_done(file.length);
            return outcome;
        }
        let mut tried = 0;
        loop {
            tried += 1;
            let failure = match self.attempt(file).await {
                Ok(bytes) => return Ok(Outcome::Transferred { bytes }),
                Err(failure) => failure,
            };
            if is_name_in_use(&failure) {
                return self.settle(file, tried).await;
            }
            match self.client.patience.after(tried, &failure) {
                Some(wait) => self.counters.wait(wait).await,
                None => return Err(failure),
            }
        }
    }

    /// Decides what a taken name means: an earlier attempt of ours may have arrived unanswered.
    async fn settle(&self, file: &LocalFile, tried: u32) -> Result<Outcome, Failure> {
        let ask = || self.handle_of(&file.name);
        let there = self.client.patience.persist(ask).await?;
        self.counters.bytes_done(file.length);
        let bytes = file.length;
        let equal = if tried > 1 { Outcome::Transferred { bytes } } else { Outcome::AlreadyThere };
        compared(file, there, equal).await
    }

    async fn attempt(&self, file: &LocalFile) -> Result<u64, Failure> {
        let counted = Arc::new(AtomicU64::new(0));
        let sent = self.send(file, &counted).await;
        if sent.is_err() {
            self.counters.bytes_undone(counted.load(Ordering::Relaxed));
        }
        sent
    }

    async fn send(&self, file: &LocalFile, counted: &Arc<AtomicU64>) -> Result<u64, Failure> {
        let outgoing = self.outgoing(file, counted).await?;
        let (length, mut read) = (outgoing.length, outgoing.read);
        let address = self.client.url.file(self.dataset, &file.name);
        let request = self
            .client
            .http
            .post(address)
            .header(CONTENT_TYPE, "application/data")
            .header(CONTENT_DISPOSITION, disposition(&file.name))
            .header(CONTENT_LENGTH, length)
            .body(outgoing.body);
        let answer = self.client.ask::<Stored>(request).await;
        let digest = match read.try_recv() {
            // The request broke because the file could not be read on.
            Ok(Err(error)) => return Err(local(&file.path, error)),
            Ok(Ok(digest)) => Some(digest),
            Err(_) => None,
        };
        let stored = answer?;
        let equal = digest.is_some_and(|digest| stored.handle == digest.to_string());
        if !equal || stored.filename != file.name {
            return Err(Failure::Altered {
                reason: "the server stored something else than was read; delete it there",
            });
        }
        Ok(length)
    }

    async fn outgoing(
        &self,
        file: &LocalFile,
        counted: &Arc<AtomicU64>,
    ) -> Result<Outgoing, Failure> {
        let (digest, read) = oneshot::channel();
        if file.length > WHOLE_BYTES_MAX {
            let opened = tokio::fs::File::open(&file.path).await;
            let opened = opened.map_err(|error| local(&file.path, error))?;
            let metadata = opened.metadata().await;
            let length = metadata.map_err(|error| local(&file.path, error))?.len();
            let pieces = Pieces {
                file: opened,
                left: length,
                hasher: DigestHasher::new(),
                digest: Some(digest),
                counters: Arc::clone(&self.counters),
                counted: Arc::clone(counted),
            };
            let body = Body::wrap_stream(stream::try_unfold(pieces, Pieces::next));
            return Ok(Outgoing { body, length, read });
        }
        let content = on_blocking_pool(&file.path, |path: &Path| {
            let content = fs::read(path)?;
            let whole = Digest::of(&content);
            Ok((content, whole))
        });
        let (content, whole) = content.await?;
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        // The receiver is in our hands, so this cannot fail.
        digest.send(Ok(whole)).ok();
        self.counters.bytes_done(length);
        counted.store(length, Ordering::Relaxed);
        let body = Body::from(content);
        Ok(Outgoing { body, length, read })
    }

    /// The handle of a file of the dataset as it is now.
    async fn handle_of(&self, name: &str) -> Result<Digest, Failure> {
        let address = self.client.url.file(self.dataset, name);
        let response = self.client.send(self.client.http.head(address)).await;
        let response = response.map_err(|failure| {
            if matches!(failure, Failure::Refused { .. }) {
                Failure::Altered { reason: "another client took and freed the name meanwhile" }
            } else {
                failure
            }
        })?;
        let tag = response.headers().get(ETAG);
        let tag = tag.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        tag.trim_matches('"').parse().map_err(|error| Failure::Strange {
            url: self.client.url.clone(),
            reason: format!("the tag of {name:?} is {error}"),
        })
    }
}

/// A large file, read piece by piece as the network takes it.
struct Pieces {
    file: tokio::fs::File,
    left: u64,
    hasher: DigestHasher,
    digest: Option<oneshot::Sender<io::Result<Digest>>>,
    counters: Arc<Counters>,
    counted: Arc<AtomicU64>,
}

impl Pieces {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let piece = match self.read().await {
            Ok(piece) => piece,
            Err(error) => {
                self.tell(Err(io::Error::new(error.kind(), error.to_string())));
                return Err(error);
            }
        };
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.hasher.update(&piece);
        self.left = self.left.saturating_sub(length);
        self.counted.fetch_add(length, Ordering::Relaxed);
        self.counters.bytes_done(length);
        // Told with the last piece: nobody asks for another one once the length is reached.
        if self.left == 0 {
            self.tell(Ok(self.hasher.finish()));
        }
        Ok(Some((piece, self)))
    }

    async fn read(&mut self) -> io::Result<Bytes> {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let read = (&mut self.file).take(self.left).read_buf(&mut piece).await?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            ));
        }
        Ok(piece.freeze())
    }

    fn tell(&mut self, digest: io::Result<Digest>) {
        if let Some(sender) = self.digest.take() {
            // The request may have been given up meanwhile.
            sender.send(digest).ok();
        }
    }
}

async fn compared(file: &LocalFile, there: Digest, equal: Outcome) -> Result<Outcome, Failure> {
    if digest_of(&file.path).await? == there { Ok(equal) } else { Ok(Outcome::Differs) }
}

fn is_name_in_use(failure: &Failure) -> bool {
    if let Failure::Refused { status, detail } = failure {
        *status == StatusCode::BAD_REQUEST && detail.contains(NAME_IN_USE)
    } else {
        false
    }
}

/// The header that servers of this API may demand; granary itself does not read it.
fn disposition(name: &str) -> String {
    let plain = name.bytes().all(|letter| matches!(letter, b' '..=b'~'));
    if plain {
        return format!("attachment; filename={name}");
    }
    let escaped = utf8_percent_encode(name, NON_ALPHANUMERIC);
    format!("attachment; filename*=UTF-8''{escaped}")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::stand_in::{DATASET, Fault, StandIn, counters};

    /// A file `name` in a folder of its own, which lives as long as the first value.
    fn local_file(content: &[u8]) -> (tempfile::NamedTempFile, LocalFile) {
        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        on_disk.write_all(content).unwrap();
        let file = LocalFile {
            name: "d/ü x".to_owned(),
            path: on_disk.path().to_path_buf(),
            length: u64::try_from(content.len()).unwrap(),
        };
        (on_disk, file)
    }

    async fn sent(faults: &[Fault], content: &[u8]) -> (StandIn, Result<Outcome, Failure>) {
        let (server, client) = StandIn::start(faults).await;
        let result = push_to(&server, client, content).await;
        (server, result)
    }

    async fn push_to(_: &StandIn, client: Client, content: &[u8]) -> Result<Outcome, Failure> {
        let (_on_disk, file) = local_file(content);
        let uploader = Uploader {
            client,
            dataset: DATASET,
            present: FileMap::default(),
            counters: counters(),
        };
        uploader.transfer(&file).await
    }

    #[tokio::test]
    async fn an_upload_is_repeated_until_the_server_takes_it() {
        let (server, result) = sent(&[Fault::Busy, Fault::Busy], b"content").await;
        assert_eq!(result.unwrap(), Outcome::Transferred { bytes: 7 });
        assert_eq!(server.content("d/ü x").unwrap(), "content");
    }

    #[tokio::test]
    async fn an_upload_that_never_gets_through_is_a_failure_that_stops_the_push() {
        let (server, result) = sent(&[Fault::Busy; 4], b"content").await;
        assert!(result.unwrap_err().concerns_all());
        assert_eq!(server.content("d/ü x"), None);
    }

    #[tokio::test]
    async fn an_upload_that_was_stored_but_not_answered_counts_as_sent() {
        let (_, result) = sent(&[Fault::StoredUnanswered], b"content").await;
        assert_eq!(result.unwrap(), Outcome::Transferred { bytes: 7 });
    }

    #[tokio::test]
    async fn a_name_that_holds_other_content_differs() {
        let (server, client) = StandIn::start(&[]).await;
        server.put("d/ü x", b"other");
        let result = push_to(&server, client, b"content").await;
        assert_eq!(result.unwrap(), Outcome::Differs);
        assert_eq!(server.content("d/ü x").unwrap(), "other");
    }

    #[tokio::test]
    async fn a_streamed_upload_outlives_a_worn_login() {
        let large = vec![7; 3 << 20];
        let (server, result) = sent(&[Fault::Worn], &large).await;
        assert_eq!(result.unwrap(), Outcome::Transferred { bytes: 3 << 20 });
        assert_eq!(server.content("d/ü x").unwrap(), large);
        assert_eq!(server.logins(), 2);
    }

    #[tokio::test]
    async fn a_file_that_became_unreadable_is_no_fault_of_the_server() {
        let (_server, client) = StandIn::start(&[]).await;
        let (on_disk, file) = local_file(b"content");
        drop(on_disk);
        let uploader = Uploader {
            client,
            dataset: DATASET,
            present: FileMap::default(),
            counters: counters(),
        };
        let failure = uploader.transfer(&file).await.unwrap_err();
        assert!(matches!(failure, Failure::Local { .. }), "{failure:?}");
    }

    #[test]
    fn names_fit_into_a_header() {
        assert_eq!(disposition("a b/c.txt"), "attachment; filename=a b/c.txt");
        assert_eq!(disposition("ü\n"), "attachment; filename*=UTF-8''%C3%BC%0A");
    }
}
