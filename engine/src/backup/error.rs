//! Why a backup or a restore came to nothing.

use std::io;

use crate::error::ReadError;
use crate::model::Digest;

/// Why a backup or a restore came to nothing.
///
/// Of a backup directory nothing was lost or changed: states and packs are only added. A data
/// directory that was being restored does not open before a restore into it has ended.
#[expect(missing_docs, reason = "the message documents a variant and its fields")]
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot use {path}")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} is no backup of granary's: {reason}; give a directory that is new or empty, or that earlier backups were made to"
    )]
    NotABackup { path: String, reason: String },
    #[error("{path} holds backups of another store; give each store a directory of its own")]
    OtherStore { path: String },
    #[error("{path} is in use by another backup; wait for its end, or give another directory")]
    Locked { path: String },
    #[error(
        "{what} has format version {found}, and this program knows versions up to {known}; use a newer granary"
    )]
    NewerFormat { what: String, found: u32, known: u32 },
    #[error("{what} is damaged: {reason}")]
    Damaged { what: String, reason: String },
    #[error("there is no backup in {path}")]
    Empty { path: String },
    #[error("there is no backup {name:?} in {path}; see what there is with --list")]
    NoSuchState { path: String, name: String },
    #[error("{path} is not empty: it holds {found:?}; give a directory that is new or empty")]
    TargetNotEmpty { path: String, found: String },
    #[error("{path} is in use by another process; stop it or give another directory")]
    TargetLocked { path: String },
    #[error(
        "backup {state} lacks {missing} of its contents, {first} among them; their bytes were damaged or the packs that held them are gone. Restore another state, or this one without them (--incomplete)"
    )]
    Incomplete { state: String, missing: u64, first: Digest },
    #[error("the store cannot be read")]
    Read(#[source] ReadError),
    #[error(
        "what was restored does not hold together: {reason}; nothing was made usable, please report this"
    )]
    Contradiction { reason: String },
    #[error("{path} cannot be written: {reason}")]
    Target { path: String, reason: String },
}

impl BackupError {
    /// For `map_err` of what was done to a file.
    pub(super) fn io(path: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(super) fn damaged(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), reason: reason.into() }
    }
}

impl From<ReadError> for BackupError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}
