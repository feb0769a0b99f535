//! `Engine`: everything that callers may ask of the store.

mod audit;

mod catalogue;

mod figures;

mod housekeeping;

mod intake;

mod many_files;

mod mutations;

mod offline;

mod reads;

mod resumable;

#[cfg(test)]
pub(crate) mod rig;

mod space;

mod texts;

mod upkeep;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::archive::intake::Rooms;
use crate::archive::kept::KeptManifests;
use crate::archive::press::Press;
use crate::archive::{ArchiveLevel, Workshop};
use crate::backup::StoreKey;
use crate::blobs::Blobs;
use crate::bulk::{Bulk, SetNumbers};
#[cfg(feature = "simulation")]
use crate::committer::Left;
use crate::committer::{Committer, CommitterParts, IndexParts};
use crate::compaction::Compactor;
use crate::counters::Counters;
#[cfg(feature = "simulation")]
use crate::dataset::message::BreakActor;
use crate::disk::{Disk, PromisedDisk, Promises, RealDisk, reserve_bytes};
use crate::error::{MutationError, OpenError};
use crate::index::audit::AuditLimits;
use crate::journal::JournalOptions;
use crate::leases::Leases;
use crate::limits::{
    ARCHIVE_WAIT_MAX, ARCHIVES_MAX, ARCHIVES_WAITING_MAX, AUDIT_BYTES, AUDIT_KEEP,
    BULK_CHANGE_WAIT_MAX, BULK_CHANGES_MAX, BULK_CHANGES_WAITING_MAX, INTAKES_STREAMED_MAX,
    INTAKES_WHOLE_MAX, MANIFESTS_MADE_MAX, MERGE_LAYERS_FROM, RESUMABLE_BYTES,
    RESUMABLE_EXPIRE_AFTER, RESUMABLE_UPLOADS_MAX, SEGMENT_BYTES, SEGMENTS_OPEN_MAX,
};
#[cfg(feature = "simulation")]
use crate::model::DatasetId;
use crate::model::Origin;
use crate::recovery::{self, Recovered};
use crate::resumable::{ResumableLimits, Resumables};
use crate::scrub::{Scrub, ScrubNotes};
use crate::store::{SharedIndex, Store};
use crate::supervisor::Supervisor;
use crate::touches::Touches;
use crate::trace::Trace;
use crate::turns::{Turn, Turns};
use crate::visibility::Visibility;
pub use figures::{Figures, QueueFigures, WorkFigures};
use housekeeping::Housekeeping;
pub use intake::Intake;
pub use mutations::Upload;
use texts::Texts;
pub use upkeep::Quarantined;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bytes that redb may use to cache the index.
    pub index_cache_bytes: usize,
    /// Bytes of one journal segment; less on a small file system.
    pub segment_bytes: u64,
    /// Segments of the journal that are open for reading at a time, a file each; reading another one
    /// opens it and closes one of these.
    pub segments_open_max: usize,
    /// Threads that run dataset actors.
    pub arbiters: usize,
    /// Archives that are built at once; the others wait, and some are refused.
    pub archives_max: usize,
    /// How hard archives are compressed.
    pub archive_level: ArchiveLevel,
    /// Bytes a second that the scrub reads in the background; with 0 it reads only when asked to
    /// ([`Engine::begin_scrub`]).
    pub scrub_bytes_per_second: u64,
    /// Whether the scrub goes on with a pass that did not come to its end before.
    pub continues_scrub: bool,
    /// How long an upload that goes on is kept after its last bytes.
    pub resumable_expire_after: Duration,
    /// Such uploads that are not done, of all users together; each has an open file.
    pub resumable_uploads_max: usize,
    /// Bytes that all such uploads may announce together; one user may have half of them.
    pub resumable_bytes: u64,
    /// How much of the audit log is kept.
    pub audit: AuditLimits,
    /// Files of a source from which on a merge shares the source's layers if no name stands in the
    /// way, instead of writing rows: a stack grows by it, which is not worth it for a few files.
    pub merge_layers_from: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            index_cache_bytes: 256 << 20,
            segment_bytes: SEGMENT_BYTES,
            segments_open_max: SEGMENTS_OPEN_MAX,
            arbiters: cores().min(4),
            archives_max: ARCHIVES_MAX,
            archive_level: ArchiveLevel::default(),
            scrub_bytes_per_second: 0,
            continues_scrub: true,
            resumable_expire_after: RESUMABLE_EXPIRE_AFTER,
            resumable_uploads_max: RESUMABLE_UPLOADS_MAX,
            resumable_bytes: RESUMABLE_BYTES,
            audit: AuditLimits { keep: AUDIT_KEEP, bytes: AUDIT_BYTES },
            merge_layers_from: MERGE_LAYERS_FROM,
        }
    }
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether the store takes changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// It does not until it is opened again (I7).
    ReadOnly {
        /// What failed.
        reason: String,
    },
    /// It is being shut down.
    Stopping,
}

/// The store; clones are handles to the same one.
///
/// The last handle's end stops the store as [`Engine::shutdown`] does.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    /// Who asks for the changes of this handle.
    origin: Option<Arc<Origin>>,
    /// What the bulk changes of this handle keep until they end.
    held: Option<Arc<Turn>>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    committer: Arc<Committer>,
    supervisor: Arc<Supervisor>,
    bulk: Bulk,
    bulk_turns: Turns,
    texts: Texts,
    workshop: Workshop,
    /// At making lists of files for archives.
    manifest_turns: Turns,
    manifests: Arc<KeptManifests>,
    /// At taking in tars while they arrive.
    intake_turns: Turns,
    /// At staging archives that are there whole.
    whole_intake_turns: Turns,
    housekeeping: Housekeeping,
    /// The housekeeping's, for who asks for the space.
    compactor: Arc<Mutex<Compactor>>,
    resumables: Arc<Resumables>,
    /// The store's key, which goes into its backups.
    key: StoreKey,
    scrub: Scrub,
    /// Free bytes below which nothing that grows the store is taken (I7).
    reserve_bytes: u64,
    is_new: bool,
    stopped: std::sync::Once,
}

impl Engine {
    /// Opens the store in a directory, or makes one if the directory is empty or absent. Blocks
    /// while the journal since the last checkpoint is replayed, and starts threads.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(directory: PathBuf, options: &EngineOptions) -> Result<Self, OpenError> {
        let disk = RealDisk::new(directory.clone());
        let disk = disk.map_err(|source| OpenError::Io { path: directory, source })?;
        Self::open_on(Arc::new(disk), options)
    }

    /// As [`Engine::open`], on any disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    #[expect(clippy::needless_pass_by_value, reason = "the engine keeps the disk")]
    pub fn open_on(disk: Arc<dyn Disk>, options: &EngineOptions) -> Result<Self, OpenError> {
        let io = |source: io::Error| OpenError::Io { path: disk.display().into(), source };
        let sizes = Sizes::on(&*disk, options).map_err(io)?;
        let recovered = recovery::open(&disk, sizes.journal, options.index_cache_bytes)?;
        if recovered.replayed_changes > 0 {
            tracing::info!(changes = recovered.replayed_changes, "replayed the journal");
        }
        let (is_new, start) = (recovered.is_new, recovered.applied.start);
        let key = StoreKey(recovered.key);
        let (store, resumables, committer) =
            start_writing(&disk, recovered, &sizes, options).map_err(io)?;
        let (reads, writes) = (Arc::clone(&store), Arc::clone(&committer));
        let supervisor = Arc::new(Supervisor::start(reads, writes, options.arbiters).map_err(io)?);
        let compactor = Compactor::new(Arc::clone(&store), Arc::clone(&committer));
        let compactor = Arc::new(Mutex::new(compactor));
        let bulk = Bulk {
            store: Arc::clone(&store),
            committer: Arc::clone(&committer),
            supervisor: Arc::clone(&supervisor),
            compactor: Arc::clone(&compactor),
            sets: Arc::new(SetNumbers::new(start)),
            merge_layers_from: options.merge_layers_from,
            rooms: Rooms::default(),
            origin: None,
        };
        let housekeeping =
            Housekeeping::start(&store, &committer, &compactor, &resumables).map_err(io)?;
        let scrub = Scrub::start(&store, &committer, options).map_err(io)?;
        let inner = Inner {
            store,
            committer,
            supervisor,
            bulk,
            bulk_turns: bulk_turns(BULK_CHANGES_MAX),
            texts: Texts::default(),
            workshop: Workshop {
                press: Press::new(options.archive_level, cores()),
                disk: Arc::clone(&disk),
                turns: Turns::new(options.archives_max, ARCHIVES_WAITING_MAX, ARCHIVE_WAIT_MAX),
            },
            manifest_turns: Turns::new(MANIFESTS_MADE_MAX, ARCHIVES_WAITING_MAX, ARCHIVE_WAIT_MAX),
            manifests: Arc::default(),
            intake_turns: Turns::new(INTAKES_STREAMED_MAX, 0, Duration::ZERO),
            whole_intake_turns: bulk_turns(INTAKES_WHOLE_MAX),
            housekeeping,
            compactor,
            resumables,
            key,
            scrub,
            reserve_bytes: sizes.reserve_bytes,
            is_new,
            stopped: std::sync::Once::new(),
        };
        Ok(Self { inner: Arc::new(inner), origin: None, held: None })
    }

    /// Whether this opening made the store.
    pub fn is_new(&self) -> bool {
        self.inner.is_new
    }

    /// Takes no more changes, finishes those that were accepted, checkpoints, ends all threads.
    pub async fn shutdown(&self) {
        let inner = Arc::clone(&self.inner);
        if tokio::task::spawn_blocking(move || inner.stop()).await.is_err() {
            tracing::error!("stopping the store panicked");
        }
    }

    /// Moves live contents out of mostly dead segments now instead of soon. For tests.
    ///
    /// # Errors
    /// Reading or committing failed; what was moved stays moved.
    #[cfg(feature = "simulation")]
    pub async fn compact(&self) -> Result<(), MutationError> {
        let inner = Arc::clone(&self.inner);
        let work = move || {
            let (store, committer) = (Arc::clone(&inner.store), Arc::clone(&inner.committer));
            let usual = crate::compaction::Thrift::Usual;
            Compactor::new(store, committer).compact(usual, &|| false, &|_| {}).map(drop)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(MutationError::Panicked))
    }

    /// Does a step of the background's work now; tells whether there is more. For tests.
    ///
    /// # Errors
    /// The store has ended.
    #[cfg(feature = "simulation")]
    pub async fn step_background(&self) -> Result<bool, MutationError> {
        let inner = Arc::clone(&self.inner);
        let step = move || Ok(inner.committer.step_blocking()? == Left::More);
        tokio::task::spawn_blocking(step).await.unwrap_or(Err(MutationError::Panicked))
    }

    /// Writes the times of logins and sightings now instead of within a minute. For tests.
    #[cfg(feature = "simulation")]
    pub async fn write_touches(&self) {
        let inner = Arc::clone(&self.inner);
        let write = move || housekeeping::write_touches(&inner.store, &inner.committer);
        drop(tokio::task::spawn_blocking(write).await);
    }

    /// Kinds of all that this store did since it was opened. For tests.
    #[cfg(feature = "simulation")]
    pub fn done(&self) -> std::collections::BTreeSet<&'static str> {
        self.inner.store.trace.done()
    }

    /// Kinds of all that any store does: changes, and what is done without a record in the
    /// journal. For tests.
    #[cfg(feature = "simulation")]
    pub fn all_that_is_done() -> std::collections::BTreeSet<&'static str> {
        let unjournaled = crate::trace::UNJOURNALED;
        crate::model::change::Change::all_kinds().chain(unjournaled).collect()
    }

    /// Panics in a handler of a dataset's actor, as a bug would. For tests.
    ///
    /// # Errors
    /// `Panicked`, whenever the actor got to it.
    #[cfg(feature = "simulation")]
    pub async fn break_actor(&self, dataset: DatasetId) -> Result<(), MutationError> {
        let asked = self.inner.supervisor.ask(dataset, BreakActor).await;
        asked.map(drop)
    }

    /// Ends all threads as a power cut would. For crash tests, whose disk has stopped already.
    #[cfg(feature = "simulation")]
    pub fn abandon(&self) {
        self.inner.stopped.call_once(|| {
            self.inner.scrub.stop();
            self.inner.housekeeping.stop();
            self.inner.committer.abandon();
            self.inner.supervisor.stop();
        });
    }

    /// Whether the store takes changes, and why not.
    pub fn health(&self) -> Health {
        match self.inner.committer.refusal() {
            None => Health::Ready,
            Some(MutationError::ReadOnly { cause }) => {
                Health::ReadOnly { reason: cause.to_string() }
            }
            Some(_) => Health::Stopping,
        }
    }

    /// Dataset actors that are alive.
    pub fn actor_count(&self) -> usize {
        self.inner.supervisor.actor_count()
    }

    /// Makes the index durable now instead of soon; opening then has less to replay.
    ///
    /// # Errors
    /// The store takes no changes.
    pub async fn checkpoint(&self) -> Result<(), MutationError> {
        self.inner.committer.checkpoint().await
    }
}

/// Turns for so many, for which one waits as for that of a bulk change.
fn bulk_turns(at_once: usize) -> Turns {
    Turns::new(at_once, BULK_CHANGES_WAITING_MAX, BULK_CHANGE_WAIT_MAX)
}

impl Inner {
    fn stop(&self) {
        self.stopped.call_once(|| {
            self.scrub.stop();
            self.housekeeping.stop();
            // First the writer: what actors planned is finished and answered.
            self.committer.stop();
            self.supervisor.stop();
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What reads and writes stand on, from the state that opening found.
pub(crate) fn start_writing(
    disk: &Arc<dyn Disk>,
    recovered: Recovered,
    sizes: &Sizes,
    options: &EngineOptions,
) -> io::Result<(Arc<Store>, Arc<Resumables>, Arc<Committer>)> {
    let promises = Promises::default();
    let bare_disk = Arc::clone(disk);
    let counters = Arc::<Counters>::default();
    let disk = PromisedDisk::new(Arc::clone(disk), promises.clone(), Arc::clone(&counters));
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let blobs = Blobs::counting(Arc::clone(&disk), recovered.applied.start, Arc::clone(&counters));
    let store = Arc::new(Store {
        disk: Arc::clone(&disk),
        bare_disk,
        index: Arc::new(SharedIndex::new(recovered.index)),
        segments: recovered.journal.segments(),
        counters,
        blobs,
        leases: Arc::new(Leases::default()),
        touches: Arc::new(Touches::default()),
        trace: Trace::default(),
        quarantine: Arc::new(recovered.quarantine),
        scrub: Arc::new(ScrubNotes::of(recovered.scrub)),
        visibility: Arc::new(Visibility::of(recovered.applied.sequence)),
        rights_version: AtomicU64::default(),
    });
    // Before anything is swept or reclaimed: one of them may lie among the contents, or be about to.
    let limits = ResumableLimits {
        expire_after: options.resumable_expire_after,
        uploads_max: options.resumable_uploads_max,
        bytes_max: options.resumable_bytes,
    };
    let resumables = Resumables::open(Arc::clone(&store), limits)?;
    let committer = Committer::start(CommitterParts {
        disk,
        journal: recovered.journal,
        readers: IndexParts {
            store: Arc::clone(&store),
            applied: recovered.applied,
            key: recovered.key,
            index_cache_bytes: options.index_cache_bytes,
            audit: options.audit,
        },
        reserve_bytes: sizes.reserve_bytes,
        promises,
    })?;
    Ok((store, Arc::new(resumables), Arc::new(committer)))
}

/// The journal's sizes on this disk.
pub(crate) fn journal_options(disk: &dyn Disk, segment_bytes: u64) -> io::Result<JournalOptions> {
    let options = EngineOptions { segment_bytes, ..EngineOptions::default() };
    Ok(Sizes::on(disk, &options)?.journal)
}

/// Sizes that depend on the file system.
pub(crate) struct Sizes {
    pub(crate) journal: JournalOptions,
    reserve_bytes: u64,
}

impl Sizes {
    /// A small file system gets small segments, so that dead ones can go early, and a small
    /// reserve (I7).
    pub(crate) fn on(disk: &dyn Disk, options: &EngineOptions) -> io::Result<Self> {
        let space = disk.space()?;
        let segment_bytes = options.segment_bytes.min((space.total / 32).max(4 << 20));
        let allocate_bytes = (segment_bytes / 8).clamp(64 << 10, 32 << 20);
        let reserve_bytes = reserve_bytes(space);
        let segments_open_max = options.segments_open_max;
        let journal = JournalOptions { segment_bytes, allocate_bytes, segments_open_max };
        Ok(Self { journal, reserve_bytes })
    }
}
