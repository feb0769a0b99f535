//! Looks at one content: whether its bytes are there, and are what they should be.
//!
//! What the check and the scrub have in common. Runs beside writers: what was moved or removed
//! meanwhile is looked up again and never taken for damage.

use std::io;

use crate::blobs::{Blob, byte_count};
use crate::disk::is_for_want_of_means;
use crate::error::ReadError;
use crate::index::rows::BlobRow;
use crate::model::Digest;
use crate::model::change::BlobPlace;
use crate::quarantine::Fault;
use crate::store::Store;

/// Times that a content is looked up again that was moved meanwhile.
const LOOKS_MAX: u32 = 8;

/// How closely a content is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Whether its place is there and long enough.
    Place,
    /// All its bytes.
    Bytes,
}

/// What is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is well.
    Sound,
    /// The bytes at this place are damaged.
    Faulty { place: BlobPlace, fault: Fault, reason: String },
    /// The bytes are right, and the index has another CRC-32 of them.
    WrongCrc { actual: u32 },
    /// The store holds the content no longer.
    Gone,
    /// The pace ended it.
    Stopped,
}

/// Looks at a content that the index has in this row, or had a moment ago. `pace` is told of the
/// bytes that are read and ends the reading with `false`.
///
/// # Errors
/// The index cannot be read, or the process has no more open files or memory; what is wrong with a
/// content is no error.
pub(crate) fn inspect(
    store: &Store,
    digest: &Digest,
    row: BlobRow,
    depth: Depth,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<Verdict, ReadError> {
    let mut row = row;
    let mut verdict = Verdict::Gone;
    for _ in 0..LOOKS_MAX {
        verdict = look(store, digest, &row, depth, pace)?;
        if !matches!(verdict, Verdict::Faulty { .. } | Verdict::WrongCrc { .. }) {
            return Ok(verdict);
        }
        match store.snapshot_as_applied()?.blob(digest)? {
            None => return Ok(Verdict::Gone),
            Some(now) if (now.place, now.crc32) == (row.place, row.crc32) => return Ok(verdict),
            Some(now) => row = now,
        }
    }
    Ok(verdict)
}

fn look(
    store: &Store,
    digest: &Digest,
    row: &BlobRow,
    depth: Depth,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<Verdict, ReadError> {
    let faulty = |fault, reason| Verdict::Faulty { place: row.place, fault, reason };
    let blob = match open(store, digest, row) {
        Ok(blob) => blob,
        Err(Closed::Faulty(fault, reason)) => return Ok(faulty(fault, reason)),
        Err(Closed::Failed(error)) => return Err(error),
    };
    if depth == Depth::Place {
        return Ok(Verdict::Sound);
    }
    let (fault, reason) = match blob.verify(pace) {
        Ok(Some(crc32)) if crc32 == row.crc32 => return Ok(Verdict::Sound),
        Ok(Some(actual)) => return Ok(Verdict::WrongCrc { actual }),
        Ok(None) => return Ok(Verdict::Stopped),
        Err(ReadError::Io { what, source }) if is_for_want_of_means(&source) => {
            return Err(ReadError::Io { what, source });
        }
        Err(ReadError::Io { source, .. }) => (Fault::Unreadable, source.to_string()),
        Err(error) => (Fault::WrongBytes, error.to_string()),
    };
    Ok(faulty(fault, reason))
}

/// Why a content's place is not open.
enum Closed {
    /// Something is wrong with it.
    Faulty(Fault, String),
    /// That tells nothing of it.
    Failed(ReadError),
}

impl From<io::Error> for Closed {
    fn from(source: io::Error) -> Self {
        if is_for_want_of_means(&source) {
            Self::Failed(ReadError::Io { what: "a content", source })
        } else if source.kind() == io::ErrorKind::NotFound {
            Self::Faulty(Fault::Missing, "its file is missing".to_owned())
        } else {
            Self::Faulty(Fault::Unreadable, source.to_string())
        }
    }
}

/// Opens the place that a row names, in quarantine or not.
fn open(store: &Store, digest: &Digest, row: &BlobRow) -> Result<Blob, Closed> {
    let (file, offset) = match row.place {
        BlobPlace::Large(id) => {
            let file = store.blobs.open_large(digest, id)?;
            let length = file.len()?;
            if length != row.length {
                let fault = if length < row.length { Fault::EndsEarly } else { Fault::WrongBytes };
                let reason = format!("its file has {length} bytes of {}", row.length);
                return Err(Closed::Faulty(fault, reason));
            }
            (file, 0)
        }
        BlobPlace::Segment { segment, offset } => {
            let Some(file) = store.segments.get(segment)? else {
                let reason = format!("journal segment {} is missing", segment.0);
                return Err(Closed::Faulty(Fault::Missing, reason));
            };
            let end = store.segments.length(segment).min(file.len()?);
            if offset.checked_add(row.length).is_none_or(|wanted| wanted > end) {
                let segment = segment.0;
                let reason = format!("journal segment {segment} ends at byte {end}, before it");
                return Err(Closed::Faulty(Fault::EndsEarly, reason));
            }
            (file, offset)
        }
    };
    Ok(Blob::new(*digest, row.length, file, offset))
}

/// The bytes that looking at a content costs, for whoever paces it: an empty one costs a look too.
pub(crate) fn cost_of(row: &BlobRow) -> u64 {
    row.length.max(byte_count(4096))
}
