//! The storage engine of granary: durable datasets of named, deduplicated files.
//!
//! One actor per dataset puts its mutations in one order; a write-ahead journal makes them
//! durable, many per sync; redb indexes them; contents are named by their BLAKE3 digest and kept
//! once. [`Engine`] is the whole of it for callers; it knows nothing of HTTP, JSON or permissions.
//!
//! The modules stand in the order in which a write passes through them. What they promise each
//! other are the invariants I1 to I10 of `ARCHITECTURE.md`, cited by number.

// What callers may ask of the store.
mod engine;

// The public errors.
mod error;

// Every bound, with its unit and reason.
pub mod limits;

// Plain values and pure rules.
pub mod model;

// Dataset id to live actor.
mod supervisor;

// One dataset's actor: plans, in order.
mod dataset;

// What is queued or in flight, counted.
mod in_flight;

// Changes that are planned with the actor standing still: merges, bulk uploads, partial copies.
mod bulk;

// The only writer.
mod committer;

// The write-ahead journal.
mod journal;

// Rows and counts in redb.
mod index;

// Contents: arriving, pinned, published, read.
mod blobs;

// Bytes of any length on their way somewhere.
mod spool;

// Datasets as archives, and archives as files.
mod archive;

// Turns at what only so many may do at once.
mod turns;

// What reads stand on.
mod store;

// What long reads stand on.
mod leases;

// What is remembered in memory and written now and then.
mod touches;

// What is counted while the store works.
pub mod counters;

// What was done, by name, for tests.
mod trace;

// Locks, channels and threads, as tests may interleave them.
mod sync;

// What opening repairs, in which order, and why that is enough.
mod recovery;

// Moves live contents out of mostly dead segments.
mod compaction;

// Contents that were found damaged.
mod quarantine;

// Uploads that go on where they stopped.
mod resumable;

// Looks at one content.
mod inspection;

// Recomputes the invariants from disk.
mod check;

// Reads every content in the background.
mod scrub;

// What takes the space.
mod usage;

mod visibility;

// What holds space and serves nobody.
mod garbage;

// The whole store in a directory of its own, and back.
pub mod backup;

// Values as bytes.
mod codec;

// A change and who asked for it, as bytes.
mod noted;

// What must hold whichever thread runs on.
#[cfg(test)]
#[cfg(feature = "interleavings")]
mod interleavings;

// The port to the disk.
pub mod disk;

// Doors for the fuzz targets.
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod fuzzing;

pub use archive::intake::IntakeKind;
#[cfg(feature = "simulation")]
pub use archive::intake::read_archive;
pub use archive::{Archive, ArchiveFormat, ArchiveLevel, PreparedArchive};
pub use blobs::{Blob, BlobStream, StagedBlob};
pub use bulk::{ClaimedFile, FileSelection, MayRead, Presence};
#[cfg(feature = "simulation")]
pub use check::check_disk;
pub use check::{CheckError, CheckProgress, CheckReport, Finding, Hit, Stopped, check_directory};
pub use engine::{
    Engine, EngineOptions, Figures, Health, Intake, Quarantined, QueueFigures, Upload, WorkFigures,
};
pub use error::{IntakeError, MutationError, OpenError, ReadError, RecordKind, UniqueRule};
pub use garbage::{Collected, CollectionProgress, Garbage};
pub use index::audit::{AuditLimits, AuditPage, AuditRange};
pub use index::file_page::{FilePage, ListedFile, PageRequest};
pub use index::snapshot::{ContentSearch, Snapshot};
#[cfg(feature = "simulation")]
pub use index::upgrade::make_older;
pub use model::change::SourceAfterMerge;
pub use model::digest::DigestHasher;
pub use quarantine::Fault;
pub use resumable::{ResumableId, ResumablePart, ResumableState, ResumableTerms, WholeDigest};
pub use scrub::{ScrubPass, ScrubState};
pub use spool::{Spool, SpoolUpload, Spooled};
pub use turns::{Turn, Turns};
pub use usage::{DatasetUsage, ProjectUsage, Taken, Usage, UsageProgress};
