//! One file on its way from the server, as often as it takes.
//!
//! A file appears under its name only when its bytes have the digest that the dataset names. An
//! attempt that breaks off is continued where it ended, that of an earlier command too if the file
//! is large.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use granary_engine::model::Filename;
use reqwest::header::{CONTENT_RANGE, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode};

use super::client::Client;
use super::content::{Handles, identify, identity_of, on_blocking_pool};
use super::digest_cache::DigestCache;
use super::failure::Failure;
use super::free_name;
use super::listing::RemoteFile;
use super::partial::{self, Partial, Place};
use super::progress::Counters;
use super::report::Outcome;
use super::stamp::{Stamp, settled_past};

mod incoming;

use incoming::Incoming;

/// Bytes of the smallest file whose beginning is worth keeping for the next command.
const KEPT_BYTES_MIN: u64 = 1 << 20;

/// Fetches files of one dataset into one folder.
pub(crate) struct Downloader {
    pub(crate) client: Arc<Client>,
    pub(crate) dataset: u64,
    /// Folder that the files go to.
    pub(crate) target: PathBuf,
    /// None if nothing is to be fetched.
    pub(crate) partial: Option<Partial>,
    /// Whether a file with other content is replaced.
    pub(crate) overwrite: bool,
    pub(crate) cache: DigestCache,
    pub(crate) counters: Arc<Counters>,
}

/// What is here under a file's name.
enum Here {
    Nothing,
    Same {
        bytes: u64,
    },
    Other,
    /// A link in the place of one of the folders that its name names, to anywhere.
    Beyond,
}

impl Downloader {
    /// Brings a file here unless it is here.
    ///
    /// # Errors
    /// Why it is not here.
    pub(crate) async fn transfer(self: Arc<Self>, file: &RemoteFile) -> Result<Outcome, Failure> {
        let path = self.place(&file.name)?;
        let here = Arc::clone(&self).look(&path, file).await?;
        match here {
            Here::Same { bytes } => {
                self.counters.bytes_done(bytes);
                return Ok(Outcome::AlreadyThere { bytes });
            }
            Here::Other if !self.overwrite => return Ok(Outcome::Differs),
            Here::Beyond => return Err(beyond_a_link()),
            Here::Other | Here::Nothing => {}
        }
        let replaces = matches!(here, Here::Other);
        let Some(partial) = &self.partial else {
            return Ok(brought(file.size.unwrap_or(0), replaces));
        };
        let keeps = file.size.is_some_and(|size| size >= KEPT_BYTES_MIN);
        let place = partial.place(keeps.then_some(file.digest));
        let result = Arc::clone(&self).bring(file, &place, &path, replaces).await;
        let is_of_no_use = match &result {
            Ok(outcome) => matches!(outcome, Outcome::AlreadyThere { .. } | Outcome::Differs),
            Err(failure) => place.kept_for.is_none() || matches!(failure, Failure::Altered { .. }),
        };
        if is_of_no_use {
            // What is left of it is removed by the next pull at the latest.
            tokio::fs::remove_file(&place.path).await.ok();
        }
        partial.leave(&place);
        result
    }

    async fn bring(
        self: Arc<Self>,
        file: &RemoteFile,
        place: &Place,
        path: &Path,
        replaces: bool,
    ) -> Result<Outcome, Failure> {
        let bytes = self.fetch(file, &place.path).await?;
        let give_name = |replaces| {
            let (this, file, place) = (Arc::clone(&self), file.clone(), place.path.clone());
            on_blocking_pool(path, move |path| this.give_name(&file, &place, path, replaces))
        };
        if give_name(replaces).await? {
            return Ok(brought(bytes, replaces));
        }
        // Somebody was faster, or the folder takes two names of the dataset for one.
        match Arc::clone(&self).look(path, file).await? {
            Here::Same { bytes } => Ok(Outcome::AlreadyThere { bytes }),
            Here::Other if self.overwrite => {
                let is_given = give_name(true).await?;
                if is_given { Ok(brought(bytes, true)) } else { Err(beyond_a_link()) }
            }
            Here::Other => Ok(Outcome::Differs),
            Here::Beyond => Err(beyond_a_link()),
            Here::Nothing => Err(Failure::Altered {
                reason: "somebody else made and removed a file of this name meanwhile",
            }),
        }
    }

    /// Moves what has arrived to where it belongs, and remembers its digest. Unless it replaces what
    /// is there, nothing must be there, and no folder may have become a link; whether that was so.
    fn give_name(
        &self,
        file: &RemoteFile,
        place: &Path,
        path: &Path,
        replaces: bool,
    ) -> io::Result<bool> {
        if has_link_above(&self.target, &file.name) {
            return Ok(false);
        }
        // Modified a few seconds ago, as far as anybody can see: so whoever writes to it later,
        // and be it at once, gives it another time, and the digest can be remembered now.
        let settled = fs::File::options().write(true).open(place)?.set_modified(settled_past());
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        if replaces {
            fs::rename(place, path)?;
        } else if !free_name::take(place, path)? {
            return Ok(false);
        }
        let stamp = Stamp::of(&fs::symlink_metadata(path)?);
        let settled = settled.is_ok() && stamp.is_modified_before(SystemTime::now());
        if settled && file.handles() == Handles::Blake3 {
            self.cache.put(&file.name, &stamp, file.digest);
        }
        Ok(true)
    }

    /// Where a file goes. The server's rules keep every name inside; this does not rely on them.
    fn place(&self, name: &str) -> Result<PathBuf, Failure> {
        // Also where the folder takes letters of both cases for the same.
        let top = name.split('/').next().unwrap_or_default();
        let ours = top.eq_ignore_ascii_case(partial::DIRECTORY);
        if ours || Filename::exact(name).is_none() {
            return Err(Failure::Altered {
                reason: "the name would leave the folder; rename the file on the server",
            });
        }
        Ok(self.target.join(name))
    }

    async fn look(self: Arc<Self>, path: &Path, file: &RemoteFile) -> Result<Here, Failure> {
        let (name, digest, handles) = (file.name.clone(), file.digest, file.handles());
        on_blocking_pool(path, move |path| {
            if has_link_above(&self.target, &name) {
                return Ok(Here::Beyond);
            }
            let metadata = match fs::metadata(path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A link that leads nowhere is something all the same.
                    let is_link = fs::symlink_metadata(path).is_ok();
                    return Ok(if is_link { Here::Other } else { Here::Nothing });
                }
                Err(error) => return Err(error),
            };
            if metadata.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            // Whatever is no file is not read: a pipe would never end.
            if !metadata.is_file() {
                return Ok(Here::Other);
            }
            let mut here = identify(&self.cache, &name, path, &Stamp::of(&metadata))?;
            if handles == Handles::Either && !here.has(digest) {
                here = identity_of(path, handles)?;
            }
            Ok(if here.has(digest) { Here::Same { bytes: here.length } } else { Here::Other })
        })
        .await
    }

    async fn fetch(&self, file: &RemoteFile, place: &Path) -> Result<u64, Failure> {
        let mut incoming = Incoming::open(place, file.size, file.handles()).await?;
        self.counters.bytes_done(incoming.length);
        let (mut tried, mut furthest) = (0, incoming.length);
        loop {
            let failure = match self.attempt(file, &mut incoming).await {
                Ok(()) if incoming.hasher.finish().has(file.digest) => return Ok(incoming.length),
                Ok(()) if incoming.inherited => {
                    self.counters.bytes_undone(incoming.length);
                    incoming.restart().await?;
                    furthest = 0;
                    continue;
                }
                Ok(()) => {
                    return Err(Failure::Altered {
                        reason: "the bytes that arrived are not those that the dataset named",
                    });
                }
                Err(failure) => failure,
            };
            if incoming.length > furthest {
                // As long as it gets on, it is worth while.
                (furthest, tried) = (incoming.length, 0);
            }
            tried += 1;
            match self.client.patience.after(tried, &failure) {
                Some(wait) => self.counters.wait(wait).await,
                None => return Err(failure),
            }
        }
    }

    async fn attempt(&self, file: &RemoteFile, incoming: &mut Incoming) -> Result<(), Failure> {
        if incoming.length > 0 && Some(incoming.length) == file.size {
            return incoming.flush().await;
        }
        let address = self.client.url.file(self.dataset, &file.name);
        let mut request = self.client.http.get(address);
        if incoming.length > 0 {
            request = request
                .header(RANGE, format!("bytes={}-", incoming.length))
                .header(IF_RANGE, format!("\"{}\"", file.digest));
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
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if file.size.is_some_and(|size| incoming.length.saturating_add(length) > size) {
                return Err(Failure::Altered {
                    reason: "more bytes arrived than the dataset named",
                });
            }
            incoming.take(&piece).await?;
            self.counters.bytes_done(length);
        }
    }
}

/// Whether a folder of a name is a symbolic link below the target. The target itself may be one.
fn has_link_above(target: &Path, name: &str) -> bool {
    let folders = Path::new(name).ancestors().skip(1);
    let mut folders = folders.filter(|folder| !folder.as_os_str().is_empty());
    folders.any(|folder| target.join(folder).is_symlink())
}

fn beyond_a_link() -> Failure {
    Failure::Altered {
        reason: "a folder of its name is a symbolic link here, which pull does not follow; put a \
                 folder in its place",
    }
}

/// What has become of a file that was fetched.
fn brought(bytes: u64, replaces: bool) -> Outcome {
    if replaces { Outcome::Replaced { bytes } } else { Outcome::Transferred { bytes } }
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
    use std::os::unix::fs::symlink;

    use granary_engine::model::Digest;

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
        let file = remote("d/name", content);
        let result = Arc::clone(&downloader).transfer(&file).await;
        Arc::into_inner(downloader).unwrap().partial.unwrap().close(true).unwrap();
        Pulled { folder, server, result }
    }

    fn remote(name: &str, content: &[u8]) -> RemoteFile {
        let digest = Digest::of(content);
        let size = u64::try_from(content.len()).ok();
        RemoteFile { name: name.to_owned(), digest, size, time: None, metadata: String::new() }
    }

    fn downloader(client: Client, target: &Path) -> Arc<Downloader> {
        Arc::new(Downloader {
            client: Arc::new(client),
            dataset: DATASET,
            target: target.to_path_buf(),
            partial: Some(Partial::open(target).unwrap()),
            overwrite: false,
            cache: DigestCache::none(),
            counters: counters(),
        })
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
    async fn a_download_that_gets_on_is_not_given_up_however_often_it_breaks_off() {
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
        let faults = [Fault::CutAfter(20_000); 10];
        let pulled = pulled(&faults, &content, None).await;
        assert_eq!(pulled.result.as_ref().unwrap(), &Outcome::Transferred { bytes: 300_000 });
        assert_eq!(content_of(&pulled).unwrap(), content);
    }

    #[tokio::test]
    async fn bytes_that_are_not_the_named_ones_never_get_the_name() {
        let pulled = pulled(&[Fault::Rotten], b"content", None).await;
        assert!(matches!(pulled.result, Err(Failure::Altered { .. })));
        assert_eq!(content_of(&pulled), None);
    }

    #[tokio::test]
    async fn no_more_is_written_than_the_dataset_named() {
        let (server, client) = StandIn::start(&[]).await;
        server.put("name", b"content and more");
        let folder = tempfile::tempdir().unwrap();
        let downloader = downloader(client, folder.path());
        let failure = Arc::clone(&downloader).transfer(&remote("name", b"content")).await;
        let failure = failure.unwrap_err();
        assert!(failure.to_string().contains("more bytes arrived"), "{failure}");
        assert_eq!(fs::read_dir(folder.path().join(partial::DIRECTORY)).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_with_equal_content_is_not_fetched_again() {
        let pulled = pulled(&[Fault::Rotten], b"content", Some(b"content")).await;
        assert_eq!(pulled.result.unwrap(), Outcome::AlreadyThere { bytes: 7 });
    }

    #[tokio::test]
    async fn what_an_earlier_command_left_of_a_large_file_is_gone_on_with_and_not_believed() {
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(3 << 20).collect();
        let mut wrong = content[..2 << 20].to_vec();
        wrong[7] ^= 1;
        for (left, ranges) in [(&content[..2 << 20], 1), (&wrong, 1), (&content, 0)] {
            let (server, client) = StandIn::start(&[]).await;
            server.put("d/name", &content);
            let folder = tempfile::tempdir().unwrap();
            let downloader = downloader(client, folder.path());
            let file = remote("d/name", &content);
            let place = folder.path().join(partial::DIRECTORY).join(file.digest.to_string());
            tokio::fs::write(place, left).await.unwrap();
            let outcome = Arc::clone(&downloader).transfer(&file).await.unwrap();
            assert_eq!(outcome, Outcome::Transferred { bytes: 3 << 20 });
            assert_eq!(fs::read(folder.path().join("d/name")).unwrap(), content);
            assert_eq!(server.ranges(), ranges);
        }
    }

    #[tokio::test]
    async fn servers_whose_handles_are_another_digest_are_checked_against_that() {
        for (content, fits) in [(&b"content"[..], true), (b"another", false)] {
            let (server, client) = StandIn::start(&[]).await;
            server.put("d/name", content);
            let folder = tempfile::tempdir().unwrap();
            let sha256 = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
            let digest = sha256.parse().unwrap();
            let file = RemoteFile { digest, size: None, ..remote("d/name", b"") };
            let downloader = downloader(client, folder.path());
            let result = Arc::clone(&downloader).transfer(&file).await;
            assert_eq!(result.is_ok(), fits, "{result:?}");
            assert_eq!(folder.path().join("d/name").exists(), fits);
            if fits {
                let again = Arc::clone(&downloader).transfer(&file).await.unwrap();
                assert_eq!(again, Outcome::AlreadyThere { bytes: 7 });
            }
        }
    }

    #[tokio::test]
    async fn a_file_with_other_content_is_kept() {
        let pulled = pulled(&[], b"content", Some(b"mine")).await;
        assert_eq!(pulled.result.as_ref().unwrap(), &Outcome::Differs);
        assert_eq!(content_of(&pulled).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_file_that_appears_while_another_of_its_name_comes_is_treated_as_if_it_had_been_there()
     {
        let same = Outcome::AlreadyThere { bytes: 7 };
        let replaced = Outcome::Replaced { bytes: 7 };
        for (overwrite, mine, outcome, left) in [
            (false, "mine", Outcome::Differs, "mine"),
            (false, "content", same, "content"),
            (true, "mine", replaced, "content"),
        ] {
            let (server, client) = StandIn::start(&[]).await;
            server.put("name", b"content");
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("name");
            server.write_meanwhile(&path, mine);
            let mut downloader = downloader(client, folder.path());
            Arc::get_mut(&mut downloader).unwrap().overwrite = overwrite;
            let file = remote("name", b"content");
            assert_eq!(Arc::clone(&downloader).transfer(&file).await.unwrap(), outcome);
            assert_eq!(fs::read_to_string(path).unwrap(), left);
            Arc::into_inner(downloader).unwrap().partial.unwrap().close(false).unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        }
    }

    #[tokio::test]
    async fn nothing_is_written_through_a_link_in_the_place_of_a_folder() {
        let (server, client) = StandIn::start(&[]).await;
        server.put("d/e/name", b"content");
        let [folder, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let theirs = elsewhere.path().join("e/name");
        fs::create_dir(elsewhere.path().join("e")).unwrap();
        tokio::fs::write(&theirs, b"theirs").await.unwrap();
        symlink(elsewhere.path(), folder.path().join("d")).unwrap();
        let mut downloader = downloader(client, folder.path());
        Arc::get_mut(&mut downloader).unwrap().overwrite = true;
        for name in ["d/e/name", "d/name"] {
            let failure = Arc::clone(&downloader).transfer(&remote(name, b"content")).await;
            assert!(matches!(failure, Err(Failure::Altered { .. })), "{name}");
        }
        assert_eq!(fs::read(theirs).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn names_that_would_leave_the_folder_are_refused() {
        let (_server, client) = StandIn::start(&[]).await;
        let folder = tempfile::tempdir().unwrap();
        let downloader = downloader(client, folder.path());
        for name in ["../x", "/etc/x", "a/../../x", ".granary-partial/0", ".Granary-Partial/0", ""]
        {
            let failure = Arc::clone(&downloader).transfer(&remote(name, b"")).await;
            assert!(matches!(failure, Err(Failure::Altered { .. })), "{name}");
        }
    }
}
