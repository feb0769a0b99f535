//! One file on its way to the server, as often as it takes.
//!
//! A file counts as sent only when the server has answered with the digest of the bytes that were
//! read here, so what is reported as sent is durable there and equal.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granary_engine::model::Digest;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;

use super::client::Client;
use super::content::{Handles, digest_of_handle, identity_of, local, on_blocking_pool};
use super::failure::Failure;
use super::progress::Counters;
use super::report::Outcome;
use super::resumable::RESUMABLE_BYTES_MIN;
use super::walk::LocalFile;

mod outgoing;

mod pieces;

pub(crate) use pieces::pieces_of;

/// The field that a server compares with what it got (RFC 9530).
pub(crate) const REPR_DIGEST: &str = "Repr-Digest";

/// The server's words for a name that a file of the dataset has.
const NAME_IN_USE: &str = "Filename already in use";

/// Sends files to one dataset.
pub(crate) struct Uploader {
    pub(crate) client: Arc<Client>,
    pub(crate) dataset: u64,
    pub(crate) handles: Handles,
    /// Folder that remembers how to go on with uploads; none if there is no place for it.
    pub(crate) memory: Option<PathBuf>,
    pub(crate) counters: Arc<Counters>,
}

/// What an upload may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Add a file under a free name.
    Add,
    /// Take the place of this content, and of no other.
    Replace(Digest),
}

#[derive(Deserialize)]
struct Stored {
    filename: String,
    handle: String,
}

impl Uploader {
    /// Brings a file to the server unless it is there. `known` is what its digest was a moment ago.
    ///
    /// # Errors
    /// Why it is not there.
    pub(crate) async fn transfer(
        &self,
        file: &LocalFile,
        known: Option<Digest>,
        purpose: Purpose,
    ) -> Result<Outcome, Failure> {
        let (mut tried, mut looked) = (0, 0);
        loop {
            tried += 1;
            let (sent, has_been_repeated) = match self.resumed(file, known, purpose).await {
                Ok(None) => (self.sent(file, known, purpose).await, false),
                Ok(Some(bytes)) => (Ok(bytes), true),
                Err(failure) => (Err(failure), true),
            };
            let failure = match (sent, purpose) {
                (Ok(bytes), Purpose::Add) => return Ok(Outcome::Transferred { bytes }),
                (Ok(bytes), Purpose::Replace(_)) => return Ok(Outcome::Replaced { bytes }),
                (Err(failure), _) => failure,
            };
            if is_name_in_use(&failure) || is_another_content(&failure) {
                let settled = self.settle(file, purpose, tried).await;
                looked += 1;
                // A name is taken from when its upload is planned, and shows once that is durable.
                let is_open = matches!(settled, Err(Failure::Altered { .. }));
                let wait = self.client.patience.before_another_look(looked);
                let Some(wait) = wait.filter(|_| is_open && purpose == Purpose::Add) else {
                    return settled;
                };
                self.counters.wait(wait).await;
                // This attempt was answered, so nothing of it can have arrived.
                tried -= 1;
                continue;
            }
            // An upload that goes on where it stopped has a patience of its own.
            let wait = self.client.patience.after(tried, &failure);
            match wait.filter(|_| !has_been_repeated) {
                Some(wait) => self.counters.wait(wait).await,
                None => return Err(failure),
            }
        }
    }

    /// Decides what a taken name means: an earlier attempt of ours may have arrived unanswered.
    async fn settle(
        &self,
        file: &LocalFile,
        purpose: Purpose,
        tried: u32,
    ) -> Result<Outcome, Failure> {
        let ask = || self.handle_of(&file.name);
        let there = self.client.patience.persist(ask).await?;
        let handles = self.handles;
        let here = on_blocking_pool(&file.path, move |path| identity_of(path, handles)).await?;
        let bytes = here.length;
        self.counters.bytes_done(bytes);
        Ok(match purpose {
            _ if !here.has(there) => Outcome::Differs,
            _ if tried == 1 => Outcome::AlreadyThere { bytes },
            Purpose::Add => Outcome::Transferred { bytes },
            Purpose::Replace(_) => Outcome::Replaced { bytes },
        })
    }

    /// Sends a large file in as many requests as it takes; `None` if it is to be sent in one.
    async fn resumed(
        &self,
        file: &LocalFile,
        known: Option<Digest>,
        purpose: Purpose,
    ) -> Result<Option<u64>, Failure> {
        let is_large = file.stamp.length >= RESUMABLE_BYTES_MIN;
        match known.filter(|_| is_large && self.handles == Handles::Blake3) {
            Some(known) => self.resume(file, known, purpose).await,
            None => Ok(None),
        }
    }

    async fn sent(
        &self,
        file: &LocalFile,
        known: Option<Digest>,
        purpose: Purpose,
    ) -> Result<u64, Failure> {
        let counted = Arc::new(AtomicU64::new(0));
        let sent = self.send(file, known, purpose, &counted).await;
        if sent.is_err() {
            self.counters.bytes_undone(counted.load(Ordering::Relaxed));
        }
        sent
    }

    async fn send(
        &self,
        file: &LocalFile,
        known: Option<Digest>,
        purpose: Purpose,
        counted: &Arc<AtomicU64>,
    ) -> Result<u64, Failure> {
        let outgoing = self.outgoing(file, known, counted).await?;
        let (length, mut read) = (outgoing.length, outgoing.read);
        let mut request = self
            .request(&file.name, purpose)
            .header(CONTENT_TYPE, "application/data")
            .header(CONTENT_DISPOSITION, disposition(&file.name))
            .header(CONTENT_LENGTH, length);
        if let Some(digest) = outgoing.digest {
            request = request.header(REPR_DIGEST, digest_field(&digest));
        }
        let answer = self.client.ask::<Stored>(request.body(outgoing.body)).await;
        let sent = match read.try_recv() {
            // The request broke because the file could not be read on.
            Ok(Err(error)) => return Err(local(&file.path, error)),
            Ok(Ok(identity)) => Some(identity),
            Err(_) => None,
        };
        let stored = answer.map_err(|failure| {
            // Between the first look at a large file and its sending somebody wrote to it.
            let changed = sent.zip(known).is_some_and(|(sent, known)| sent.digest != known);
            if changed && matches!(failure, Failure::Refused { .. }) {
                Failure::changed_meanwhile()
            } else {
                failure
            }
        })?;
        let handle = digest_of_handle(&stored.handle);
        let equal = sent.zip(handle).is_some_and(|(sent, handle)| sent.has(handle));
        if !equal || stored.filename != file.name {
            return Err(Failure::Altered {
                reason: "the server stored something else than was read; delete it there",
            });
        }
        Ok(length)
    }

    fn request(&self, name: &str, purpose: Purpose) -> RequestBuilder {
        let address = self.client.url.file(self.dataset, name);
        match purpose {
            Purpose::Add => self.client.http.post(address),
            Purpose::Replace(seen) => {
                let request = self.client.http.put(address).query(&[("replace", "true")]);
                request.header(IF_MATCH, tag(&seen))
            }
        }
    }

    /// The handle of a file of the dataset as it is now.
    async fn handle_of(&self, name: &str) -> Result<Digest, Failure> {
        let gone = Failure::Altered { reason: "another client took and freed the name meanwhile" };
        if self.handles == Handles::Either {
            // Other servers have no tags.
            let files = self.client.files(self.dataset).await?;
            return files.get(name).ok_or(gone);
        }
        let address = self.client.url.file(self.dataset, name);
        let response = self.client.send(self.client.http.head(address)).await;
        let response = response.map_err(|failure| {
            // The refusal of a HEAD has no words, by which others are told.
            if matches!(failure, Failure::Refused { .. } | Failure::Strange { .. }) {
                gone
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

fn is_name_in_use(failure: &Failure) -> bool {
    if let Failure::Refused { status, detail } = failure {
        *status == StatusCode::BAD_REQUEST && detail.contains(NAME_IN_USE)
    } else {
        false
    }
}

/// Whether what was to be replaced is another content by now, or gone.
fn is_another_content(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { status, .. } if *status == StatusCode::PRECONDITION_FAILED)
}

/// A content's entity tag.
pub(crate) fn tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// A content's digest as RFC 9530 writes it; `blake3` is not in its registry, and servers that do
/// not know it pass it over.
pub(crate) fn digest_field(digest: &Digest) -> String {
    format!("blake3=:{}:", STANDARD.encode(digest.as_bytes()))
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
    use crate::cli::stamp::Stamp;
    use crate::cli::stand_in::{DATASET, Fault, StandIn, counters};

    /// A file `name` in a folder of its own, which lives as long as the first value.
    fn local_file(content: &[u8]) -> (tempfile::NamedTempFile, LocalFile) {
        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        on_disk.write_all(content).unwrap();
        let file = LocalFile {
            name: "d/ü x".to_owned(),
            path: on_disk.path().to_path_buf(),
            stamp: Stamp::of(&on_disk.as_file().metadata().unwrap()),
        };
        (on_disk, file)
    }

    fn uploader(client: Client) -> Uploader {
        let (client, handles) = (Arc::new(client), Handles::Blake3);
        Uploader { client, dataset: DATASET, handles, memory: None, counters: counters() }
    }

    async fn sent(faults: &[Fault], content: &[u8]) -> (StandIn, Result<Outcome, Failure>) {
        let (server, client) = StandIn::start(faults).await;
        let result = push_to(&server, client, content).await;
        (server, result)
    }

    async fn push_to(_: &StandIn, client: Client, content: &[u8]) -> Result<Outcome, Failure> {
        let (_on_disk, file) = local_file(content);
        uploader(client).transfer(&file, None, Purpose::Add).await
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
    async fn a_name_that_is_taken_and_does_not_show_is_looked_at_again() {
        let (server, result) = sent(&[Fault::NameOnItsWay; 3], b"content").await;
        assert_eq!(result.unwrap(), Outcome::Transferred { bytes: 7 });
        assert_eq!(server.content("d/ü x").unwrap(), "content");

        let (server, result) = sent(&[Fault::NameOnItsWay; 4], b"content").await;
        let failure = result.unwrap_err();
        assert!(matches!(failure, Failure::Altered { .. }), "{failure:?}");
        assert_eq!(server.content("d/ü x"), None);
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
        let failure = uploader(client).transfer(&file, None, Purpose::Add).await.unwrap_err();
        assert!(matches!(failure, Failure::Local { .. }), "{failure:?}");
    }

    #[tokio::test]
    async fn a_file_that_has_grown_since_it_was_listed_is_not_read_whole() {
        let (_server, client) = StandIn::start(&[]).await;
        let (on_disk, file) = local_file(b"content");
        on_disk.as_file().set_len(3 << 20).unwrap();
        let uploader = uploader(client);
        let outgoing = uploader.outgoing(&file, None, &Arc::default()).await.unwrap();
        assert_eq!(outgoing.length, 3 << 20);
        assert!(outgoing.body.as_bytes().is_none(), "it is streamed");
        let sent = uploader.transfer(&file, None, Purpose::Add).await;
        assert_eq!(sent.unwrap(), Outcome::Transferred { bytes: 3 << 20 });
    }

    #[tokio::test]
    async fn a_file_whose_every_reading_is_another_one_is_not_sent() {
        let (server, client) = StandIn::start(&[]).await;
        let (_on_disk, mut file) = local_file(b"content");
        file.path = "/proc/sys/kernel/random/uuid".into();
        let known = Some(Digest::of(b"content"));
        let failure = uploader(client).transfer(&file, known, Purpose::Add).await.unwrap_err();
        assert!(matches!(failure, Failure::Altered { .. }), "{failure:?}");
        assert_eq!(server.content("d/ü x"), None);
    }

    #[tokio::test]
    async fn a_server_whose_handles_are_another_digest_is_checked_against_that() {
        for (length, handles) in
            [(7, Handles::Either), (3 << 20, Handles::Either), (7, Handles::Blake3)]
        {
            let (server, client) = StandIn::start(&[]).await;
            server.become_another_kind();
            let (_on_disk, file) = local_file(&vec![7; length]);
            let uploader = Uploader { handles, ..uploader(client) };
            let sent = uploader.transfer(&file, None, Purpose::Add).await;
            assert_eq!(sent.is_ok(), handles == Handles::Either, "{sent:?}");
        }
    }

    #[test]
    fn names_fit_into_a_header() {
        assert_eq!(disposition("a b/c.txt"), "attachment; filename=a b/c.txt");
        assert_eq!(disposition("ü\n"), "attachment; filename*=UTF-8''%C3%BC%0A");
    }
}
