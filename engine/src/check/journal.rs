//! Segments of the journal: their groups' checksums, and whether they hold what the index says
//! that they hold.

use std::collections::BTreeSet;
use std::io;

use super::Halt;
use super::counts::ContentRows;
use super::findings::Findings;
use super::progress::{CheckProgress, Stage};
use crate::disk::is_for_want_of_means;
use crate::error::ReadError;
use crate::index::rows::BlobRow;
use crate::index::{IndexError, tables};
use crate::model::change::{NewBlob, SegmentId};
use crate::store::Store;

/// Reads headers and records of every segment; gives those whose contents are to be looked at one
/// by one, since the index may say something else of them.
pub(super) fn check_journal(
    store: &Store,
    rows: &ContentRows,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<BTreeSet<SegmentId>, Halt> {
    let segments = store.segments.ids();
    progress.begin(Stage::Segments, u64::try_from(segments.len()).unwrap_or(u64::MAX));
    let mut doubtful = BTreeSet::new();
    for segment in segments {
        let expected = rows.in_segment.get(&segment).copied().unwrap_or(0);
        match confirmed(store, segment)? {
            // What was written or moved meanwhile makes a difference too, which is no harm.
            Ok(found) if found == expected => {}
            Ok(_) => {
                doubtful.insert(segment);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) if is_for_want_of_means(&source) => {
                return Err(ReadError::Io { what: "a segment of the journal", source }.into());
            }
            Err(error) => {
                findings.disk("I9", format!("journal segment {}: {error}", segment.0));
                doubtful.insert(segment);
            }
        }
        progress.advance(1)?;
    }
    Ok(doubtful)
}

/// Contents of a segment that the index has at their very places.
fn confirmed(store: &Store, segment: SegmentId) -> Result<io::Result<u64>, ReadError> {
    // Kept as long as its table, or nobody would know that it is read.
    let snapshot = store.snapshot()?;
    let table = snapshot.table(tables::BLOBS)?;
    let is_at_its_place = |blob: &NewBlob| -> Result<bool, IndexError> {
        let Some(row) = table.get(blob.digest.as_bytes())? else { return Ok(false) };
        let row = BlobRow::decode(row.value())?;
        Ok(row.place == blob.place && row.length == blob.length && row.crc32 == blob.crc32)
    };
    let (mut count, mut failure) = (0, None);
    let visited = store.segments.blobs_of(segment, |blob| {
        match is_at_its_place(&blob) {
            Ok(true) => count += 1,
            Ok(false) => {}
            Err(error) => failure = Some(error),
        }
        failure.is_none()
    });
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(visited.map(|()| count)),
    }
}
