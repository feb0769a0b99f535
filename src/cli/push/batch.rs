//! The way of some files to the server, as often as it takes.
//!
//! Each round asks how the files stand and then does what is to be done. What a round leaves open
//! (the connection broke, the server restarted, another client was faster) the next one asks about
//! again, so an attempt that arrived without an answer is found out and nothing is sent twice.

use std::collections::HashSet;
use std::io;
use std::mem::take;
use std::sync::Arc;

use granary_engine::model::Digest;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};

use super::bundle::{self, Bundle, MEMBER_BYTES_MAX};
use super::preflight::{Claim, Need, Preflight, Standing};
use crate::cli::content::{Handles, Identity, identify, identity_of, local};
use crate::cli::digest_cache::DigestCache;
use crate::cli::failure::Failure;
use crate::cli::ledger::Ended;
use crate::cli::report::Outcome;
use crate::cli::upload::{Purpose, Uploader};
use crate::cli::walk::LocalFile;

/// Tars that are on their way at once, each with up to 4 MiB in memory. The server reads eight at
/// once, of all its clients.
const BUNDLES_MAX: usize = 4;

/// What a pushed file meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Whether files with other content are replaced.
    pub(crate) replace: bool,
    /// Whether nothing is changed.
    pub(crate) dry_run: bool,
}

/// All that the batches of a push share.
pub(crate) struct Pusher {
    pub(crate) uploader: Uploader,
    pub(crate) preflight: Preflight,
    pub(crate) cache: DigestCache,
    pub(crate) manner: Manner,
    /// Places of single uploads, and of tars.
    uploads: Semaphore,
    bundles: Semaphore,
    ends: mpsc::Sender<Event>,
}

/// What the account of a push hears.
#[derive(Debug)]
pub(crate) enum Event {
    /// A file was dealt with.
    Ended(Ended),
    /// Something was passed over on purpose.
    Skipped { shown: String, reason: String },
    /// Something could not even be tried.
    Unusable { shown: String, reason: String },
}

impl Event {
    /// What dealt with this broke.
    pub(crate) fn broken(shown: &str, broken: &JoinError) -> Self {
        Self::Unusable { shown: shown.to_owned(), reason: broken.to_string() }
    }
}

/// A file that is not dealt with yet.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is true of some files whatever the others")]
pub(crate) struct Open {
    pub(crate) file: LocalFile,
    identity: Option<Identity>,
    /// Whether its bytes left, perhaps to arrive.
    attempted: bool,
    /// Whether an attempt to attach it was refused.
    must_be_sent: bool,
    /// Whether it can only go alone.
    alone: bool,
    /// Whether it has waited for another file with the same content.
    waited: bool,
}

impl Open {
    pub(super) fn new(file: LocalFile, identity: Option<Identity>) -> Self {
        let (attempted, must_be_sent, alone, waited) = (false, false, false, false);
        Self { file, identity, attempted, must_be_sent, alone, waited }
    }

    /// Its length, as far as it is known.
    pub(crate) fn length(&self) -> u64 {
        self.identity.map_or(self.file.stamp.length, |identity| identity.length)
    }

    /// The digest of its content, as far as it is known.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.identity.map(|identity| identity.digest)
    }

    fn claim(&self) -> Claim<'_> {
        Claim { name: &self.file.name, identity: self.identity }
    }
}

/// What a round is to do.
#[derive(Default)]
struct Round {
    attach: Vec<Open>,
    bundle: Vec<Open>,
    alone: Vec<(Open, Purpose)>,
    /// What is asked about again.
    left: Vec<Open>,
}

impl Pusher {
    /// A push whose ends are heard by the receiver of `ends`.
    pub(crate) fn new(
        uploader: Uploader,
        preflight: Preflight,
        cache: DigestCache,
        manner: Manner,
        jobs: usize,
        ends: mpsc::Sender<Event>,
    ) -> Self {
        let (uploads, bundles) = (Semaphore::new(jobs), Semaphore::new(jobs.min(BUNDLES_MAX)));
        Self { uploader, preflight, cache, manner, uploads, bundles, ends }
    }

    /// Tells what became of something.
    pub(crate) async fn tell(&self, event: Event) {
        // Nobody hears where the push was given up.
        self.ends.send(event).await.ok();
    }

    /// Whether nobody wants to hear more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.ends.is_closed()
    }

    async fn end(&self, open: Open, result: Result<Outcome, Failure>) {
        self.tell(Event::Ended((open.file.name, result))).await;
    }

    /// Brings files to the server.
    pub(crate) async fn carry(self: Arc<Self>, files: Vec<LocalFile>) {
        let mut left = Arc::clone(&self).identified(files).await;
        let mut tried = 0;
        while !left.is_empty() && !self.is_given_up() {
            let before = left.len();
            let Err(failure) = Arc::clone(&self).round(&mut left).await else {
                continue;
            };
            if left.len() < before {
                // As long as it gets on, it is worth while.
                tried = 0;
            }
            tried += 1;
            if let Some(wait) = self.uploader.client.patience.after(tried, &failure) {
                self.uploader.counters.wait(wait).await;
                continue;
            }
            // One of them tells why.
            let mut failures = Some(failure);
            for open in take(&mut left) {
                let unsent = Failure::Altered { reason: "not sent: the request for it failed" };
                self.end(open, Err(failures.take().unwrap_or(unsent))).await;
            }
        }
    }

    /// The files with what is known of their contents; those that cannot be read have ended.
    async fn identified(self: Arc<Self>, files: Vec<LocalFile>) -> Vec<Open> {
        let this = Arc::clone(&self);
        let read = tokio::task::spawn_blocking(move || {
            let read = files.into_iter().map(|file| (this.identity(&file), file));
            read.collect::<Vec<_>>()
        });
        let mut opened = Vec::new();
        let read = match read.await {
            Ok(read) => read,
            Err(broken) => {
                self.tell(Event::broken("some files", &broken)).await;
                return opened;
            }
        };
        for (identity, file) in read {
            match identity {
                Ok(identity) => opened.push(Open::new(file, identity)),
                Err(error) => {
                    let failure = local(&file.path, error);
                    self.tell(Event::Ended((file.name, Err(failure)))).await;
                }
            }
        }
        opened
    }

    fn identity(&self, file: &LocalFile) -> io::Result<Option<Identity>> {
        let need = self.preflight.need(&file.name);
        if self.is_given_up() || need == Need::Nothing {
            return Ok(None);
        }
        let identity = identify(&self.cache, &file.name, &file.path, &file.stamp)?;
        match need {
            // It is another content, or another kind of handle.
            Need::Comparison(handle) if !identity.has(handle) => {
                identity_of(&file.path, Handles::Either).map(Some)
            }
            Need::Comparison(_) | Need::Digest | Need::Nothing => Ok(Some(identity)),
        }
    }

    /// Does with files what is to be done; `left` are those that must be asked about again.
    async fn round(self: Arc<Self>, left: &mut Vec<Open>) -> Result<(), Failure> {
        let claims: Vec<_> = left.iter().map(Open::claim).collect();
        let standings = self.preflight.check(&claims).await?;
        let mut round = Round::default();
        let mut on_their_way = HashSet::new();
        for (mut open, standing) in take(left).into_iter().zip(standings) {
            // Twice the same content: the second is attached once the first is there.
            if standing == Standing::Missing
                && let Some(identity) = open.identity
                && !on_their_way.insert(identity.digest)
                && !(self.manner.dry_run || open.waited)
            {
                open.waited = true;
                round.left.push(open);
                continue;
            }
            self.sort(open, standing, &mut round).await;
        }
        *left = take(&mut round.left);
        let failure = self.attach(round.attach, left).await.err();
        let failure = Arc::clone(&self).send(round.bundle, round.alone, left).await.or(failure);
        failure.map_or(Ok(()), Err)
    }

    /// Ends what needs nothing done, and puts the rest where it belongs.
    async fn sort(&self, open: Open, standing: Standing, round: &mut Round) {
        let (bytes, granary) = (open.length(), self.preflight.is_of_granary());
        let purpose = match standing {
            Standing::Present => {
                self.uploader.counters.bytes_done(bytes);
                let outcome = if open.attempted {
                    Outcome::Transferred { bytes }
                } else {
                    Outcome::AlreadyThere { bytes }
                };
                return self.end(open, Ok(outcome)).await;
            }
            Standing::Differs(_) if !self.manner.replace || !granary => {
                self.uploader.counters.bytes_done(bytes);
                return self.end(open, Ok(Outcome::Differs)).await;
            }
            Standing::Refused(detail) => {
                let status = reqwest::StatusCode::BAD_REQUEST;
                return self.end(open, Err(Failure::Refused { status, detail })).await;
            }
            Standing::Differs(there) => Purpose::Replace(there),
            Standing::Attachable | Standing::Missing => Purpose::Add,
        };
        let attachable = standing == Standing::Attachable && !open.must_be_sent;
        if self.manner.dry_run {
            self.uploader.counters.bytes_done(bytes);
            let outcome = match purpose {
                Purpose::Replace(_) => Outcome::Replaced { bytes },
                Purpose::Add if attachable => Outcome::Attached { bytes },
                Purpose::Add => Outcome::Transferred { bytes },
            };
            return self.end(open, Ok(outcome)).await;
        }
        let small = granary && bytes <= MEMBER_BYTES_MAX && !open.alone;
        match purpose {
            Purpose::Add if attachable => round.attach.push(open),
            Purpose::Add if small => round.bundle.push(open),
            Purpose::Add | Purpose::Replace(_) => round.alone.push((open, purpose)),
        }
    }

    async fn attach(&self, mut files: Vec<Open>, left: &mut Vec<Open>) -> Result<(), Failure> {
        if files.is_empty() {
            return Ok(());
        }
        let claims: Vec<_> = files.iter().map(Open::claim).collect();
        match self.preflight.attach(&claims).await {
            Ok(()) => {
                for open in files {
                    let bytes = open.length();
                    self.uploader.counters.bytes_done(bytes);
                    self.end(open, Ok(Outcome::Attached { bytes })).await;
                }
                Ok(())
            }
            // Something was deleted, or a name was taken, since the check.
            Err(failure @ Failure::Refused { .. }) if !failure.concerns_all() => {
                for open in &mut files {
                    open.must_be_sent = true;
                }
                left.append(&mut files);
                Ok(())
            }
            Err(failure) => {
                left.append(&mut files);
                Err(failure)
            }
        }
    }

    /// Sends bytes, many files at once; gives the failure that stopped some of them.
    async fn send(
        self: Arc<Self>,
        bundle: Vec<Open>,
        alone: Vec<(Open, Purpose)>,
        left: &mut Vec<Open>,
    ) -> Option<Failure> {
        let mut running = JoinSet::new();
        for group in bundle::groups(bundle) {
            running.spawn(Arc::clone(&self).send_bundle(group));
        }
        for (open, purpose) in alone {
            let this = Arc::clone(&self);
            running.spawn(async move {
                this.send_alone(open, purpose).await;
                (Vec::new(), None)
            });
        }
        let mut failure = None;
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((mut open, failed)) => {
                    left.append(&mut open);
                    failure = failed.or(failure);
                }
                Err(broken) => self.tell(Event::broken("a file", &broken)).await,
            }
        }
        failure
    }

    async fn send_alone(&self, open: Open, purpose: Purpose) {
        let Ok(_place) = self.uploads.acquire().await else {
            return;
        };
        let result = self.uploader.transfer(&open.file, open.digest(), purpose).await;
        self.end(open, result).await;
    }

    /// Sends files as a tar; gives those that are to be asked about again, and why.
    async fn send_bundle(self: Arc<Self>, files: Vec<Open>) -> (Vec<Open>, Option<Failure>) {
        let Ok(_place) = self.bundles.acquire().await else {
            return (files, None);
        };
        let read = tokio::task::spawn_blocking(move || (Bundle::read(&files), files)).await;
        let (bundle, mut files) = match read {
            Ok((Ok(bundle), files)) => (bundle, files),
            Ok((Err(_), mut files)) => {
                for open in &mut files {
                    open.alone = true;
                }
                return (files, None);
            }
            Err(broken) => {
                self.tell(Event::broken("some files", &broken)).await;
                return (Vec::new(), None);
            }
        };
        let sent = if bundle.is_empty() {
            Ok(())
        } else {
            bundle.send(&self.uploader.client, self.uploader.dataset, &files).await
        };
        match sent {
            Ok(()) => {}
            Err(failure) => {
                // A refusal may be about one of them: each is asked for itself then.
                let alone = matches!(failure, Failure::Refused { .. }) && !failure.concerns_all();
                for open in &mut files {
                    open.attempted = true;
                    open.alone |= alone;
                }
                return (files, (!alone).then_some(failure));
            }
        }
        let mut left = Vec::new();
        for (mut open, member) in files.into_iter().zip(bundle.members) {
            match member {
                Ok(Some((_, bytes))) => {
                    self.uploader.counters.bytes_done(bytes);
                    self.end(open, Ok(Outcome::Transferred { bytes })).await;
                }
                Ok(None) => {
                    open.alone = true;
                    left.push(open);
                }
                Err(failure) => self.end(open, Err(failure)).await,
            }
        }
        (left, None)
    }
}
