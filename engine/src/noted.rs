//! A change as the journal holds it: by itself, or with a note of who asked for it.
//!
//! The note rides in the change's own record, so it is as durable as the change and never there
//! without it. A change without a note has the bytes that it had before there were notes.

use serde::Serialize;

use crate::codec::{self, CodecError};
use crate::model::audit::Note;
use crate::model::change::Change;
use crate::model::{Origin, Subject, Timestamp};

/// First byte of a change with a note; then come the note and the change. That of a change alone
/// is the codec's own version.
const NOTED_VERSION: u8 = 2;

/// Bytes that most notes stay below.
const NOTE_BYTES_USUAL: usize = 128;

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
    pub(crate) fn encode_with(
        change: &Change,
        note: Option<&EncodedNote>,
    ) -> Result<Vec<u8>, CodecError> {
        match note {
            None => codec::encode(change),
            Some(note) => note.followed_by(NOTED_VERSION, change),
        }
    }

    /// As [`NotedChange::encode_with`], with a note that is not encoded yet.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn encode(change: &Change, note: Option<&Note>) -> Result<Vec<u8>, CodecError> {
        let note = note.map(EncodedNote::try_from).transpose()?;
        Self::encode_with(change, note.as_ref())
    }

    /// Reads what [`NotedChange::encode_with`] wrote.
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

/// A note as the change's record has it, and as its row in the audit log begins: encoded once for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodedNote(Vec<u8>);

impl EncodedNote {
    /// The fields of a [`Note`].
    ///
    /// # Errors
    /// They are more than the codec's limit.
    pub(crate) fn of(at: Timestamp, origin: &Origin) -> Result<Self, CodecError> {
        let mut bytes = Vec::with_capacity(NOTE_BYTES_USUAL);
        codec::append(&mut bytes, &(at, origin))?;
        Ok(Self(bytes))
    }

    /// The row of the audit log, an `AuditRow`: the note's fields, then what was changed.
    ///
    /// # Errors
    /// It is more than the codec's limit.
    pub(crate) fn row(&self, subject: &Subject) -> Result<Vec<u8>, CodecError> {
        self.followed_by(codec::FORMAT_VERSION, subject)
    }

    fn followed_by<T: Serialize>(&self, version: u8, value: &T) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::with_capacity(1 + self.0.len() + codec::BYTES_USUAL);
        bytes.push(version);
        bytes.extend_from_slice(&self.0);
        codec::append(&mut bytes, value)?;
        Ok(bytes)
    }
}

impl TryFrom<&Note> for EncodedNote {
    type Error = CodecError;

    fn try_from(Note { at, origin }: &Note) -> Result<Self, CodecError> {
        Self::of(*at, origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::audit::AuditRow;

    #[test]
    fn a_row_of_the_log_is_the_note_and_what_was_changed() {
        let at = Timestamp(1 << 50);
        let origin = Origin { request: "r".repeat(300), ..Origin::of_the_server("act") };
        let named = Subject { name: Some("name".to_owned()), ..Subject::default() };
        let note = EncodedNote::of(at, &origin).unwrap();
        for subject in [named, Subject::default()] {
            let row = note.row(&subject).unwrap();
            let expected = AuditRow { at, origin: origin.clone(), subject };
            assert_eq!(row, codec::encode(&expected).unwrap());
            assert_eq!(codec::decode::<AuditRow>(&row).unwrap(), expected);
        }
    }
}
