//! A change as the journal holds it: by itself, or with a note of who asked for it.
//!
//! The note rides in the change's own record, so it is as durable as the change and never there
//! without it. A change without a note has the bytes that it had before there were notes.

use crate::codec::{self, CodecError};
use crate::model::audit::Note;
use crate::model::change::Change;

/// First byte of a change with a note; then come the note and the change. That of a change alone
/// is the codec's own version.
const NOTED_VERSION: u8 = 2;

/// A change, and who asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotedChange {
    pub(crate) change: Change,
    /// `None` for what enters no audit log.
    pub(crate) note: Option<Note>,
}

impl NotedChange {
    /// The bytes for the journal.
    ///
    /// # Errors
    /// They are more than the codec's limit.
    pub(crate) fn encode(change: &Change, note: Option<&Note>) -> Result<Vec<u8>, CodecError> {
        match note {
            None => codec::encode(change),
            Some(note) => codec::encode_as(NOTED_VERSION, &(note, change)),
        }
    }

    /// Reads what [`NotedChange::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are none of its.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        match codec::split_version(bytes)? {
            (NOTED_VERSION, noted) => {
                let (note, change) = codec::decode_rest(noted)?;
                Ok(Self { change, note: Some(note) })
            }
            (_, _) => Ok(Self { change: codec::decode(bytes)?, note: None }),
        }
    }
}
