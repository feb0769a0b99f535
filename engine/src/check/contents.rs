//! Contents against the bytes that they name (I2, I9).

use std::collections::BTreeSet;

use redb::ReadableTableMetadata;

use super::findings::Findings;
use super::progress::{CheckProgress, Stage};
use super::{Halt, Scope};
use crate::error::ReadError;
use crate::index::rows::BlobRow;
use crate::index::{IndexError, tables};
use crate::inspection::{Depth, Verdict, inspect};
use crate::limits::CHECK_CONTENTS_AT_ONCE;
use crate::model::Digest;
use crate::model::change::{BlobPlace, SegmentId};
use crate::quarantine::Fault;
use crate::store::Store;

/// Looks at every content: so many rows at a time, each such page in the order in which the
/// contents lie on the disk.
pub(super) fn check_contents(
    store: &Store,
    scope: Scope,
    doubtful: &BTreeSet<SegmentId>,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let total = store.snapshot()?.table(tables::BLOBS)?.len().map_err(IndexError::from)?;
    progress.begin(Stage::Contents, total);
    let mut from = Some([0; 32]);
    while let Some(first) = from {
        let page = contents_from(store, &first, CHECK_CONTENTS_AT_ONCE, u64::MAX)?;
        from = page.next;
        for (digest, row) in &page.rows {
            let is_doubtful = match row.place {
                BlobPlace::Segment { segment, .. } => doubtful.contains(&segment),
                BlobPlace::Large(_) => false,
            };
            let is_known_damaged = store.quarantine.fault(digest, row.place).is_some();
            let is_read = scope.is_deep || is_doubtful || is_known_damaged;
            let depth = if is_read { Depth::Bytes } else { Depth::Place };
            check_content(store, digest, *row, depth, progress, findings)?;
            progress.note_content();
            progress.advance(1)?;
        }
    }
    Ok(())
}

/// Some rows of contents.
#[derive(Debug)]
pub(crate) struct Page {
    /// In the order of their places.
    pub(crate) rows: Vec<(Digest, BlobRow)>,
    /// Where the next page begins.
    pub(crate) next: Option<[u8; 32]>,
}

/// Rows of contents from a digest on, until they are so many or have so many bytes.
pub(crate) fn contents_from(
    store: &Store,
    first: &[u8; 32],
    rows_max: usize,
    bytes_max: u64,
) -> Result<Page, ReadError> {
    // Kept as long as its table, or nobody would know that it is read.
    let snapshot = store.snapshot()?;
    let table = snapshot.table(tables::BLOBS)?;
    let (mut rows, mut bytes) = (Vec::new(), 0u64);
    let mut next = None;
    for entry in table.range::<&[u8; 32]>(first..).map_err(IndexError::from)? {
        let (digest, row) = entry.map_err(IndexError::from)?;
        if rows.len() >= rows_max || bytes >= bytes_max {
            next = Some(*digest.value());
            break;
        }
        let row = BlobRow::decode(row.value()).map_err(IndexError::from)?;
        bytes = bytes.saturating_add(row.length);
        rows.push((Digest(*digest.value()), row));
    }
    rows.sort_by_key(|(digest, row)| match row.place {
        BlobPlace::Segment { segment, offset } => (0, segment.0, offset, *digest),
        BlobPlace::Large(file) => (1, file.start, file.number, *digest),
    });
    Ok(Page { rows, next })
}

fn check_content(
    store: &Store,
    digest: &Digest,
    row: BlobRow,
    depth: Depth,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let mut pace = |bytes| {
        progress.note_bytes(bytes);
        !progress.is_stopped()
    };
    match inspect(store, digest, row, depth, &mut pace)? {
        Verdict::Sound | Verdict::Gone => {}
        Verdict::Stopped => return Err(Halt::Stopped),
        Verdict::WrongCrc { actual } => {
            let what = format!("{digest} has the CRC-32 {actual:08x}, its row another");
            findings.rows("I9", what);
        }
        Verdict::Faulty { place, fault, reason } => {
            store.quarantine.note(*digest, place, fault);
            let invariant = match fault {
                Fault::Missing | Fault::EndsEarly => "I2",
                Fault::WrongBytes | Fault::Unreadable => "I9",
            };
            let what = format!("content {digest} ({} bytes): {reason}", row.length);
            findings.content(invariant, *digest, what);
        }
    }
    Ok(())
}
