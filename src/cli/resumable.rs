//! A large file on its way to the server in as many requests as it takes, by tus 1.0
//! (<https://tus.io/protocols/resumable-upload>).
//!
//! The server says how many bytes are durable, so neither a broken connection nor the end of the
//! server or of this program costs more than what was on its way. Where to go on is kept in
//! `$XDG_CACHE_HOME/granary/uploads`, in a file for each server, dataset, name and content, until
//! the server has the file.

use std::fs;
use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granary_engine::model::Digest;
use reqwest::header::{CONTENT_TYPE, ETAG, IF_MATCH, LOCATION};
use reqwest::{Body, RequestBuilder, Response, StatusCode};
use tokio::io::AsyncSeekExt;
use tokio::sync::oneshot;

use super::content::{Identity, local};
use super::failure::Failure;
use super::upload::{Purpose, REPR_DIGEST, Uploader, digest_field, pieces_of, tag};
use super::walk::LocalFile;

/// Bytes of the smallest file that is worth the requests.
pub(crate) const RESUMABLE_BYTES_MIN: u64 = 16 << 20;

/// How often an upload that the server has given up is begun again.
const BEGINNINGS_MAX: u32 = 3;

const VERSION: (&str, &str) = ("Tus-Resumable", "1.0.0");
const UPLOAD_LENGTH: &str = "Upload-Length";
const UPLOAD_METADATA: &str = "Upload-Metadata";
const UPLOAD_OFFSET: &str = "Upload-Offset";

/// The type of bodies that go on with an upload.
const PART: &str = "application/offset+octet-stream";

/// One file's way.
struct Way<'a> {
    uploader: &'a Uploader,
    file: &'a LocalFile,
    digest: Digest,
    length: u64,
    purpose: Purpose,
    /// Where the way is kept; nowhere if there is no place for it.
    memory: Option<PathBuf>,
}

/// How a way has gone so far.
#[derive(Default)]
struct Course {
    /// The furthest that the server has said it is; nothing before it has said anything.
    furthest: Option<u64>,
    /// Attempts since it got on.
    tried: u32,
    /// Uploads that were begun.
    beginnings: u32,
}

/// What a step came to.
enum Step {
    /// The file was added.
    Added,
    /// Some of it has come; the rest is asked about again.
    Onward,
    /// An earlier command's upload, which had added its file. That file may be gone by now, and the
    /// upload does not say.
    Spent,
}

/// How far the server says it is.
struct State {
    offset: u64,
    /// The content that the file has, once it was added.
    added: Option<Digest>,
}

impl Uploader {
    /// Sends a file, going on where an earlier command stopped; `None` if the server does not take
    /// files so, or has too many of them unfinished. `digest` is that of its content.
    ///
    /// # Errors
    /// Any [`Failure`]; refused where the name is in use or the content another one.
    pub(crate) async fn resume(
        &self,
        file: &LocalFile,
        digest: Digest,
        purpose: Purpose,
    ) -> Result<Option<u64>, Failure> {
        let way = self.way(file, digest, purpose);
        let counted = Arc::new(AtomicU64::new(0));
        let sent = way.go(&counted).await;
        match sent {
            Ok(Some(_)) => way.forget(),
            Ok(None) | Err(_) => {
                self.counters.bytes_undone(counted.load(Ordering::Relaxed));
            }
        }
        sent
    }

    fn way<'a>(&'a self, file: &'a LocalFile, digest: Digest, purpose: Purpose) -> Way<'a> {
        let key =
            format!("{} {} {} {digest} {purpose:?}", self.client.url, self.dataset, file.name);
        let name = Digest::of(key.as_bytes()).to_string();
        let memory = self.memory.as_ref().map(|directory| directory.join(name));
        Way { uploader: self, file, digest, length: file.stamp.length, purpose, memory }
    }
}

impl Way<'_> {
    async fn go(&self, counted: &Arc<AtomicU64>) -> Result<Option<u64>, Failure> {
        let patience = self.uploader.client.patience;
        let mut address = self.remembered();
        let mut course = Course::default();
        loop {
            let step = match &address {
                Some(address) => self.step(address, counted, &mut course).await,
                None => match self.begin().await {
                    Ok(Some(begun)) => {
                        self.remember(&begun);
                        course.beginnings += 1;
                        address = Some(begun);
                        continue;
                    }
                    Ok(None) => return Ok(None),
                    Err(failure) => Err(failure),
                },
            };
            let failure = match step {
                Ok(Step::Added) => return Ok(Some(self.length)),
                Ok(Step::Onward) => continue,
                Ok(Step::Spent) => {
                    self.forget();
                    address = None;
                    continue;
                }
                Err(failure) => failure,
            };
            if is_gone(&failure) && address.is_some() && course.beginnings < BEGINNINGS_MAX {
                self.forget();
                address = None;
                continue;
            }
            // Where every file is refused, this one may be gone on with once that is over.
            let is_final = matches!(failure, Failure::Refused { .. } | Failure::Altered { .. })
                && !failure.concerns_all();
            if let Some(address) = address.as_ref().filter(|_| is_final) {
                // What the server has of it is of no use any longer; it would go by itself, later.
                self.forget();
                self.uploader
                    .client
                    .send(tus(self.uploader.client.http.delete(address)))
                    .await
                    .ok();
            }
            course.tried += 1;
            match patience.after(course.tried, &failure) {
                Some(wait) => self.uploader.counters.wait(wait).await,
                None => return Err(failure),
            }
        }
    }

    /// Asks how far it is and sends the rest.
    async fn step(
        &self,
        address: &str,
        counted: &Arc<AtomicU64>,
        course: &mut Course,
    ) -> Result<Step, Failure> {
        let client = &self.uploader.client;
        // Not HEAD, whose refusals would say nothing.
        let state = self.state(&client.send(tus(client.http.get(address))).await?)?;
        if state.added.is_some() {
            let is_of_before = course.beginnings == 0 && course.furthest.is_none();
            return if is_of_before { Ok(Step::Spent) } else { self.added(&state) };
        }
        if course.furthest.is_none_or(|furthest| state.offset > furthest) {
            // As long as it gets on, it is worth while.
            (course.furthest, course.tried) = (Some(state.offset), 0);
        }
        let before = counted.swap(state.offset, Ordering::Relaxed);
        self.uploader.counters.bytes_undone(before);
        self.uploader.counters.bytes_done(state.offset);
        let (body, mut read) = self.rest(state.offset, counted).await?;
        let request = tus(client.http.patch(address))
            .header(CONTENT_TYPE, PART)
            .header(UPLOAD_OFFSET, state.offset)
            .body(body);
        let answer = client.send(request).await;
        if let Ok(Err(error)) = read.try_recv() {
            // The request broke because the file could not be read on.
            let is_shorter = error.kind() == io::ErrorKind::UnexpectedEof;
            return Err(if is_shorter {
                Failure::changed_meanwhile()
            } else {
                local(&self.file.path, error)
            });
        }
        match answer {
            Ok(response) => self.added(&self.state(&response)?),
            // Another request on it was faster, perhaps an earlier one of ours.
            Err(Failure::Refused { status: StatusCode::CONFLICT, detail }) => {
                let (url, reason) = (client.url.clone(), detail);
                Err(Failure::Unreachable { url, reason, connected: true })
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether the file was added, as what it should be.
    fn added(&self, state: &State) -> Result<Step, Failure> {
        match state.added {
            None => Ok(Step::Onward),
            Some(digest) if digest == self.digest => Ok(Step::Added),
            Some(_) => Err(Failure::Altered {
                reason: "the server stored something else than was read; delete it there",
            }),
        }
    }

    async fn begin(&self) -> Result<Option<String>, Failure> {
        let client = &self.uploader.client;
        let dataset = self.uploader.dataset;
        let encoded = STANDARD.encode(&self.file.name);
        let (replace, condition) = match self.purpose {
            Purpose::Add => ("", None),
            Purpose::Replace(seen) => (",replace dHJ1ZQ==", Some(tag(&seen))),
        };
        let mut request =
            tus(client.http.post(client.url.action(&format!("datasets/{dataset}/uploads"))))
                .header(UPLOAD_LENGTH, self.length)
                .header(UPLOAD_METADATA, format!("filename {encoded}{replace}"))
                .header(REPR_DIGEST, digest_field(&self.digest));
        if let Some(condition) = condition {
            request = request.header(IF_MATCH, condition);
        }
        let response = match client.send(request).await {
            Ok(response) => response,
            Err(failure) if super::listing::is_no_route(&failure) => return Ok(None),
            // Too many are unfinished: nothing keeps the file from being sent in one request.
            Err(Failure::Busy { status: StatusCode::TOO_MANY_REQUESTS, .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        // Behind a proxy that puts something before the path, the server does not know it.
        let path = location.and_then(|location| location.split_once("/v1/"));
        let path = path.map(|(_, path)| client.url.action(path));
        path.map(Some).ok_or_else(|| self.strange("no Location of the upload"))
    }

    /// What is to be sent, and why it broke off if it could not be read on.
    async fn rest(
        &self,
        offset: u64,
        counted: &Arc<AtomicU64>,
    ) -> Result<(Body, oneshot::Receiver<io::Result<Identity>>), Failure> {
        let path = &self.file.path;
        let opened = tokio::fs::File::open(path).await;
        let mut file = opened.map_err(|error| local(path, error))?;
        let metadata = file.metadata().await.map_err(|error| local(path, error))?;
        if metadata.len() != self.length {
            return Err(Failure::changed_meanwhile());
        }
        let sought = file.seek(SeekFrom::Start(offset)).await;
        sought.map_err(|error| local(path, error))?;
        let left = self.length.saturating_sub(offset);
        Ok(pieces_of(file, left, &self.uploader.counters, counted))
    }

    fn state(&self, response: &Response) -> Result<State, Failure> {
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let offset = header(UPLOAD_OFFSET).and_then(|offset| offset.parse().ok());
        let offset = offset.filter(|offset| *offset <= self.length);
        let offset = offset.ok_or_else(|| self.strange("no offset of the upload"))?;
        let tag = header(ETAG.as_str()).map(|tag| tag.trim_matches('"').parse());
        let added = tag.transpose();
        Ok(State { offset, added: added.map_err(|_error| self.strange("a tag of another kind"))? })
    }

    fn strange(&self, reason: &str) -> Failure {
        Failure::Strange { url: self.uploader.client.url.clone(), reason: reason.to_owned() }
    }

    /// Where an earlier command stopped.
    fn remembered(&self) -> Option<String> {
        let path = fs::read_to_string(self.memory.as_ref()?).ok()?;
        let path = path.strip_suffix('\n')?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '/';
        let is_ours = path.starts_with("datasets/") && path.chars().all(plain);
        is_ours.then(|| self.uploader.client.url.action(path))
    }

    /// Keeps where it is. Where that is not possible, an interrupted upload begins again.
    fn remember(&self, address: &str) {
        let (Some(memory), Some((_, path))) = (&self.memory, address.rsplit_once("/v1/")) else {
            return;
        };
        super::private_file::replace(memory, format!("{path}\n").as_bytes()).ok();
    }

    fn forget(&self) {
        if let Some(memory) = &self.memory {
            fs::remove_file(memory).ok();
        }
    }
}

fn tus(request: RequestBuilder) -> RequestBuilder {
    request.header(VERSION.0, VERSION.1)
}

/// Whether the server knows the upload no longer.
fn is_gone(failure: &Failure) -> bool {
    let Failure::Refused { status, .. } = failure else {
        return false;
    };
    matches!(*status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::client::Client;
    use crate::cli::content::Handles;
    use crate::cli::report::Outcome;
    use crate::cli::stamp::Stamp;
    use crate::cli::stand_in::{DATASET, Fault, StandIn, counters};

    const CONTENT: &[u8] = &[7; 16 << 20];

    /// A file that is large enough, and the folder that remembers its upload.
    struct Large {
        on_disk: tempfile::NamedTempFile,
        memory: tempfile::TempDir,
        file: LocalFile,
    }

    impl Large {
        fn new() -> Self {
            let mut on_disk = tempfile::NamedTempFile::new().unwrap();
            on_disk.write_all(CONTENT).unwrap();
            let path = on_disk.path().to_path_buf();
            let stamp = Stamp::of(&on_disk.as_file().metadata().unwrap());
            let file = LocalFile { name: "d/large".to_owned(), path, stamp };
            Self { on_disk, memory: tempfile::tempdir().unwrap(), file }
        }

        fn uploader(&self, client: Client) -> Uploader {
            Uploader {
                client: Arc::new(client),
                dataset: DATASET,
                handles: Handles::Blake3,
                memory: Some(self.memory.path().to_path_buf()),
                counters: counters(),
            }
        }

        async fn sent(&self, uploader: &Uploader) -> Result<Outcome, Failure> {
            let known = Some(Digest::of(CONTENT));
            uploader.transfer(&self.file, known, Purpose::Add).await
        }
    }

    #[tokio::test]
    async fn what_came_before_the_disk_was_full_is_not_sent_again() {
        let (server, client) = StandIn::start(&[Fault::Full]).await;
        let large = Large::new();
        let uploader = large.uploader(client);
        let failure = large.sent(&uploader).await.unwrap_err();
        assert!(failure.concerns_all(), "{failure:?}");
        let outcome = Outcome::Transferred { bytes: RESUMABLE_BYTES_MIN };
        assert_eq!(large.sent(&uploader).await.unwrap(), outcome);
        assert_eq!(server.content("d/large").unwrap(), CONTENT);
        assert_eq!(server.uploads(), 1);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_on_is_no_fault_of_the_server() {
        let (server, client) = StandIn::start(&[]).await;
        let mut large = Large::new();
        // A directory opens as a file does, has a length, and refuses to be read.
        large.file.path = large.memory.path().to_path_buf();
        tokio::fs::create_dir(large.memory.path().join("something")).await.unwrap();
        large.file.stamp = Stamp::of(&fs::metadata(&large.file.path).unwrap());
        assert!(large.file.stamp.length > 0);
        let uploader = Uploader { memory: None, ..large.uploader(client) };
        let sent = uploader.resume(&large.file, Digest::of(CONTENT), Purpose::Add).await;
        let failure = sent.unwrap_err();
        assert!(matches!(failure, Failure::Local { .. }), "{failure:?}");
        assert_eq!(server.uploads(), 1);
    }

    #[tokio::test]
    async fn what_came_of_a_file_that_became_shorter_is_given_up() {
        let (server, client) = StandIn::start(&[]).await;
        let mut large = Large::new();
        // More than sockets hold.
        large.on_disk.as_file().set_len(128 << 20).unwrap();
        large.file.stamp = Stamp::of(&large.on_disk.as_file().metadata().unwrap());
        server.write_meanwhile(&large.file.path, "short");
        let uploader = large.uploader(client);
        let digest = Digest::of(CONTENT);
        let failure = uploader.resume(&large.file, digest, Purpose::Add).await.unwrap_err();
        assert!(matches!(failure, Failure::Altered { .. }), "{failure:?}");
        assert_eq!((server.uploads(), server.uploads_left()), (1, 0));
        assert_eq!(uploader.way(&large.file, digest, Purpose::Add).remembered(), None);
    }

    #[tokio::test]
    async fn where_too_many_uploads_are_unfinished_a_file_is_sent_plainly() {
        let (server, client) = StandIn::start(&[Fault::TooManyUploads]).await;
        let large = Large::new();
        let uploader = large.uploader(client);
        let outcome = Outcome::Transferred { bytes: RESUMABLE_BYTES_MIN };
        assert_eq!(large.sent(&uploader).await.unwrap(), outcome);
        assert_eq!(server.content("d/large").unwrap(), CONTENT);
        assert_eq!((server.uploads(), server.faults_left()), (0, 0));
    }

    #[tokio::test]
    async fn a_file_is_tried_as_often_as_patience_says_and_no_more() {
        let (server, client) = StandIn::start(&[Fault::Busy; 20]).await;
        let large = Large::new();
        let tries = usize::try_from(client.patience.tries_max).unwrap();
        let uploader = large.uploader(client);
        let failure = large.sent(&uploader).await.unwrap_err();
        assert!(failure.concerns_all(), "{failure:?}");
        assert_eq!(server.faults_left(), 20 - tries);
    }

    #[tokio::test]
    async fn a_file_that_was_removed_since_its_upload_was_done_is_sent_again() {
        let (server, client) = StandIn::start(&[]).await;
        let large = Large::new();
        let uploader = large.uploader(client);
        let outcome = Outcome::Transferred { bytes: RESUMABLE_BYTES_MIN };
        assert_eq!(large.sent(&uploader).await.unwrap(), outcome);
        // As a command leaves it that is interrupted before it hears of the end.
        let way = uploader.way(&large.file, Digest::of(CONTENT), Purpose::Add);
        way.remember(&uploader.client.url.action("datasets/1/uploads/0"));
        assert!(way.remembered().is_some());

        server.remove("d/large");
        assert_eq!(large.sent(&uploader).await.unwrap(), outcome);
        assert_eq!(server.content("d/large").unwrap(), CONTENT);
        assert_eq!(way.remembered(), None);
    }
}
