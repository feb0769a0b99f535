//! The storage engine of granary (skeleton).
pub mod codec;
pub mod disk;
mod engine;
pub mod error;
pub mod limits;
pub mod model;
mod stubs;

pub use engine::{Engine, EngineOptions, Health};
pub use error::{IntakeError, MutationError, OpenError, ReadError, UniqueRule};
pub use model::change::SourceAfterMerge;
pub use model::digest::DigestHasher;
pub use stubs::{
    Archive, ArchiveFormat, Blob, BlobStream, Snapshot, Spool, SpoolUpload, Spooled, StagedBlob,
    Upload,
};
