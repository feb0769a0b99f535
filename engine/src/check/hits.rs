//! Which files name a content: what its users lose with it.

use std::collections::{BTreeMap, BTreeSet};

use redb::ReadableTable;

use super::datasets::hit;
use super::findings::{Findings, Hit};
use crate::error::ReadError;
use crate::index::rows::FileRow;
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::limits::{CHECK_HITS_MAX, CHECK_HITS_TOLD_MAX};
use crate::model::Digest;

/// The files that name a content.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Hits {
    /// The first ones.
    pub(crate) told: Vec<Hit>,
    /// How many there are, counted up to a bound.
    pub(crate) count: u64,
}

/// Adds to findings of contents the files that they hit.
pub(super) fn name_hits(snapshot: &Snapshot, findings: &mut Findings) -> Result<(), ReadError> {
    let damaged: BTreeSet<Digest> =
        findings.list_mut().iter().filter_map(|finding| finding.content).collect();
    let mut hits = files_of(snapshot, &damaged)?;
    for finding in findings.list_mut() {
        if let Some(Hits { told, count }) = finding.content.and_then(|digest| hits.remove(&digest))
        {
            (finding.hits, finding.hit_count) = (told, count);
        }
    }
    Ok(())
}

/// The files that name these contents. Visits all rows of files if there are any contents.
pub(crate) fn files_of(
    snapshot: &Snapshot,
    contents: &BTreeSet<Digest>,
) -> Result<BTreeMap<Digest, Hits>, ReadError> {
    let mut hits: BTreeMap<Digest, Hits> = BTreeMap::new();
    if contents.is_empty() {
        return Ok(hits);
    }
    let rows = rows_of(snapshot, contents)?;
    for dataset in snapshot.datasets()? {
        let dataset = dataset?;
        for entry in &dataset.stack {
            for (name, digest) in rows.get(&entry.layer.0).into_iter().flatten() {
                let shown = snapshot.file(&dataset, name)?;
                if shown.is_none_or(|record| record.digest != *digest) {
                    continue;
                }
                let hits = hits.entry(*digest).or_default();
                hits.count += 1;
                if hits.told.len() < CHECK_HITS_TOLD_MAX {
                    hits.told.push(hit(&dataset, Some(name.clone())));
                }
            }
        }
    }
    Ok(hits)
}

/// Layer to the names in it that stand for one of the contents.
type Rows = BTreeMap<u64, Vec<(String, Digest)>>;

fn rows_of(snapshot: &Snapshot, contents: &BTreeSet<Digest>) -> Result<Rows, ReadError> {
    let (mut rows, mut count) = (Rows::new(), 0);
    for entry in snapshot.table(tables::FILES)?.iter().map_err(IndexError::from)? {
        let (key, row) = entry.map_err(IndexError::from)?;
        let Ok(FileRow::File(record)) = FileRow::decode(row.value()) else { continue };
        if contents.contains(&record.digest) {
            let (layer, name) = key.value();
            rows.entry(layer).or_default().push((name.to_owned(), record.digest));
            count += 1;
            if count >= CHECK_HITS_MAX {
                break;
            }
        }
    }
    Ok(rows)
}
