//! Contents' rows against the rows that name them, and what else counts contents (I4).

use std::collections::BTreeMap;

use redb::{ReadableTable, ReadableTableMetadata};

use super::Halt;
use super::findings::Findings;
use super::progress::CheckProgress;
use super::tally::{PARTS, Tally, Told, part_of};
use crate::error::ReadError;
use crate::index::apply::live_bytes_of;
use crate::index::rows::{BlobRow, FileRow};
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::limits::CHECK_CONTENTS_EXACT_MAX;
use crate::model::Digest;
use crate::model::change::{BlobPlace, SegmentId};

/// What the contents' rows say of the journal.
#[derive(Debug, Default)]
pub(super) struct ContentRows {
    /// Rows that point into each segment.
    pub(super) in_segment: BTreeMap<SegmentId, u64>,
    /// Rows in all.
    pub(super) total: u64,
}

/// Compares contents' rows with what names them.
pub(super) fn check_counts(
    snapshot: &Snapshot,
    named: Tally,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<ContentRows, Halt> {
    let mut tally = named;
    let mut rows = ContentRows::default();
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    let dead = snapshot.table(tables::DEAD_BLOBS)?;
    let removals = snapshot.table(tables::LARGE_REMOVALS)?;
    for entry in snapshot.table(tables::BLOBS)?.iter().map_err(IndexError::from)? {
        let (digest, row) = entry.map_err(IndexError::from)?;
        let digest = Digest(*digest.value());
        let row = BlobRow::decode(row.value()).map_err(IndexError::from)?;
        tally.counted(&told_by(digest, &row), row.count);
        rows.total += 1;
        if rows.total.is_multiple_of(4096) {
            progress.advance(0)?;
        }
        if row.count == 0 {
            let key = (row.died.0, digest.as_bytes());
            if dead.get(key).map_err(IndexError::from)?.is_none() {
                findings.rows("I4", format!("{digest} is named by nothing and never removed"));
            }
        }
        match row.place {
            BlobPlace::Segment { segment, .. } => {
                *live.entry(segment.0).or_default() += live_bytes_of(row.length);
                *rows.in_segment.entry(segment).or_default() += 1;
            }
            BlobPlace::Large(file) => {
                let key = (digest.as_bytes(), file.start, file.number);
                if removals.get(key).map_err(IndexError::from)?.is_some() {
                    findings.rows("I3", format!("the file of {digest} is to be removed"));
                }
            }
        }
    }
    check_live_bytes(snapshot, live, findings)?;
    let disagreeing = tally.disagreeing();
    if !disagreeing.is_empty() {
        compare_exactly(snapshot, &disagreeing, progress, findings)?;
    }
    Ok(rows)
}

fn told_by(digest: Digest, row: &BlobRow) -> Told {
    Told { digest, length: row.length, crc32: row.crc32 }
}

fn check_live_bytes(
    snapshot: &Snapshot,
    mut live: BTreeMap<u64, u64>,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    for entry in snapshot.table(tables::SEGMENTS)?.iter().map_err(IndexError::from)? {
        let (segment, bytes) = entry.map_err(IndexError::from)?;
        let (segment, bytes) = (segment.value(), bytes.value());
        let sum = live.remove(&segment).unwrap_or(0);
        if sum != bytes {
            findings.rows("I4", format!("segment {segment} counts {bytes} live bytes, has {sum}"));
        }
    }
    for (segment, bytes) in live.iter().filter(|(_, bytes)| **bytes > 0) {
        findings.rows("I4", format!("segment {segment} has {bytes} live bytes and no row"));
    }
    Ok(())
}

/// What is told of one content, from both sides.
#[derive(Debug, Default)]
struct Both {
    row: Option<BlobRow>,
    named: u64,
    /// A row of a file that tells something else of the content.
    other: Option<Told>,
}

/// Names the contents that do not agree, among those of so many parts as fit into memory.
fn compare_exactly(
    snapshot: &Snapshot,
    disagreeing: &[usize],
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let contents = snapshot.table(tables::BLOBS)?;
    let total = contents.len().map_err(IndexError::from)?;
    let a_part = usize::try_from(total).unwrap_or(usize::MAX) / PARTS + 1;
    let taken = (CHECK_CONTENTS_EXACT_MAX / a_part).max(1).min(disagreeing.len());
    let (now, later) = disagreeing.split_at(taken);
    findings.unlisted(u64::try_from(later.len()).unwrap_or(u64::MAX));
    let mut both: BTreeMap<Digest, Both> = BTreeMap::new();
    for entry in contents.iter().map_err(IndexError::from)? {
        let (digest, row) = entry.map_err(IndexError::from)?;
        let digest = Digest(*digest.value());
        if now.binary_search(&part_of(&digest)).is_ok() {
            let row = BlobRow::decode(row.value()).map_err(IndexError::from)?;
            both.entry(digest).or_default().row = Some(row);
        }
    }
    for entry in snapshot.table(tables::FILES)?.iter().map_err(IndexError::from)? {
        let (_, row) = entry.map_err(IndexError::from)?;
        // What cannot be read was told before.
        let Ok(FileRow::File(record)) = FileRow::decode(row.value()) else { continue };
        if now.binary_search(&part_of(&record.digest)).is_err() {
            continue;
        }
        let told = Told { digest: record.digest, length: record.length, crc32: record.crc32 };
        let content = both.entry(record.digest).or_default();
        content.named += 1;
        if content.row.is_some_and(|row| told_by(record.digest, &row) != told) {
            content.other = Some(told);
        }
        if both.len() > CHECK_CONTENTS_EXACT_MAX * 2 {
            break;
        }
    }
    progress.advance(0)?;
    for (digest, content) in &both {
        tell(digest, content, findings);
    }
    Ok(())
}

fn tell(digest: &Digest, content: &Both, findings: &mut Findings) {
    let Both { row, named, other } = content;
    let Some(row) = row else {
        let what = format!("{digest} is named by {named} rows and not known");
        return findings.unknown(*digest, what);
    };
    if row.count != *named {
        findings.rows("I4", format!("{digest} counts {}, {named} rows name it", row.count));
    }
    if let Some(other) = other {
        let what = format!(
            "{digest} has {} bytes and CRC-32 {:08x}, a row of a file says {} and {:08x}",
            row.length, row.crc32, other.length, other.crc32
        );
        findings.rows("I4", what);
    }
}
