//! What an upload that goes on is called, and what it is for.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::blobs::{STAGING, staging_error};
use crate::error::MutationError;
use crate::model::{DatasetId, Digest, FileCondition, Filename, RequestedFilename, UserId};

/// How the names of these files begin.
pub(super) const PREFIX: &str = "resumable-";

/// Names one upload; drawn at random, so that none is used twice and none is guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResumableId([u8; 16]);

impl ResumableId {
    pub(super) fn draw() -> Result<Self, MutationError> {
        let mut id = [0; 16];
        let drawn = getrandom::fill(&mut id);
        drawn.map_err(|error| staging_error(io::Error::other(error.to_string())))?;
        Ok(Self(id))
    }

    pub(super) fn state_path(self) -> String {
        format!("{STAGING}/{PREFIX}{self}.state")
    }

    /// Where a shorter one is made, until it is durable.
    pub(super) fn next_state_path(self) -> String {
        format!("{STAGING}/{PREFIX}{self}.next")
    }

    /// Where a copy is made, until it is whole.
    pub(super) fn copy_path(self) -> String {
        format!("{STAGING}/{PREFIX}{self}.copy")
    }

    pub(super) fn data_path(self) -> String {
        format!("{STAGING}/{PREFIX}{self}.data")
    }
}

impl fmt::Display for ResumableId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl FromStr for ResumableId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let id = u128::from_str_radix(text, 16).map_err(drop)?;
        let id = Self(id.to_be_bytes());
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// Whether a name in `staging` is that of a file of an upload that goes on.
pub(crate) fn is_resumable_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// A digest that the whole content must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum WholeDigest {
    Blake3(Digest),
    Sha256([u8; 32]),
}

impl fmt::Display for WholeDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blake3(digest) => write!(formatter, "BLAKE3 {digest}"),
            Self::Sha256(digest) => write!(formatter, "SHA-256 {}", Digest(*digest)),
        }
    }
}

/// What an upload is for, as its owner said when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumableTerms {
    /// Who may go on with it.
    pub owner: UserId,
    /// The dataset that gets the file.
    pub dataset: DatasetId,
    /// The file's name, as the wire gives it.
    pub filename: String,
    /// Bytes of the whole content.
    pub length: u64,
    /// Whether it may take the place of a file of its name.
    pub replaces: bool,
    /// What must hold of the file of its name when all has come.
    pub condition: FileCondition,
    /// Digests that the whole content must have.
    pub digests: Vec<WholeDigest>,
    /// What its owner said of it, word for word (`Upload-Metadata`).
    pub metadata: String,
}

impl ResumableTerms {
    /// The name that the file gets; `None` if no file can have it.
    pub(crate) fn named(&self) -> Option<Filename> {
        match RequestedFilename::parse(&self.filename) {
            Ok(RequestedFilename::Named(filename)) => Some(filename),
            Ok(RequestedFilename::Numbered(_)) | Err(_) => None,
        }
    }
}
