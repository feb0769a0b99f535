//! Recomputes the invariants from one committed state; tests and operators use it.

mod catalogue;

use std::collections::{BTreeMap, BTreeSet};

use redb::ReadableTable;

use crate::codec;
use crate::error::ReadError;
use crate::index::apply::live_bytes_of;
use crate::index::rows::{BlobRow, FileRow, LayerRow, SetRow};
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::model::change::BlobPlace;
use crate::model::{Dataset, Digest};
use crate::store::Store;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The invariant that is broken: `"I2"`, `"I4"`, `"I8"` or `"I9"`.
    pub invariant: &'static str,
    /// What is wrong, and where.
    pub what: String,
}

/// Checks a store; see [`crate::Engine::check`].
pub(crate) fn check(store: &Store, deep: bool) -> Result<Vec<Finding>, ReadError> {
    let (snapshot, lease) = store.leased_snapshot()?;
    let mut findings = Vec::new();
    let layers = check_layers(&snapshot, &mut findings)?;
    let counts = check_rows(&snapshot, &layers, &mut findings)?;
    let shown = check_headers(&snapshot, &mut findings)?;
    let named = check_blobs(&snapshot, &counts, &mut findings)?;
    catalogue::check_catalogue(&snapshot, &mut findings)?;
    drop(snapshot);
    for digest in &named {
        check_content(store, digest, shown.contains(digest), deep, &mut findings);
    }
    drop(lease);
    Ok(findings)
}

fn note(findings: &mut Vec<Finding>, invariant: &'static str, what: String) {
    findings.push(Finding { invariant, what });
}

/// Layers that stacks, sets or the background name, with the counts that they should have.
fn check_layers(
    snapshot: &Snapshot,
    findings: &mut Vec<Finding>,
) -> Result<BTreeMap<u64, LayerRow>, ReadError> {
    let mut named: BTreeMap<u64, u64> = BTreeMap::new();
    for dataset in snapshot.datasets()? {
        for entry in dataset?.stack {
            *named.entry(entry.layer.0).or_default() += 1;
        }
    }
    for entry in snapshot.table(tables::SETS)?.iter().map_err(IndexError::from)? {
        let (_, row) = entry.map_err(IndexError::from)?;
        let row: SetRow = codec::decode(row.value()).map_err(IndexError::from)?;
        *named.entry(row.layer.0).or_default() += 1;
    }
    let mut layers = BTreeMap::new();
    for entry in snapshot.table(tables::LAYERS)?.iter().map_err(IndexError::from)? {
        let (id, row) = entry.map_err(IndexError::from)?;
        let row: LayerRow = codec::decode(row.value()).map_err(IndexError::from)?;
        let stacks = named.get(&id.value()).copied().unwrap_or(0);
        if row.stacks != stacks {
            let what =
                format!("layer {} counts {} stacks, {stacks} name it", id.value(), row.stacks);
            note(findings, "I4", what);
        }
        layers.insert(id.value(), row);
    }
    for layer in named.keys().filter(|layer| !layers.contains_key(layer)) {
        note(findings, "I4", format!("layer {layer} is named and has no row"));
    }
    Ok(layers)
}

/// Counts rows by layer and by content.
fn check_rows(
    snapshot: &Snapshot,
    layers: &BTreeMap<u64, LayerRow>,
    findings: &mut Vec<Finding>,
) -> Result<BTreeMap<Digest, u64>, ReadError> {
    let dropped = snapshot.table(tables::DROPPED_LAYERS)?;
    let mut counts: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut rows: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for entry in snapshot.table(tables::FILES)?.iter().map_err(IndexError::from)? {
        let (key, row) = entry.map_err(IndexError::from)?;
        rows.entry(key.value().0).or_default().0 += 1;
        if let FileRow::File(record) = codec::decode(row.value()).map_err(IndexError::from)? {
            *counts.entry(record.digest).or_default() += 1;
        }
    }
    for entry in snapshot.table(tables::METADATA)?.iter().map_err(IndexError::from)? {
        let (key, _) = entry.map_err(IndexError::from)?;
        rows.entry(key.value().0).or_default().1 += 1;
    }
    for (layer, row) in layers {
        let counted = rows.remove(layer).unwrap_or_default();
        let being_dropped = dropped.get(layer).map_err(IndexError::from)?.is_some();
        if !being_dropped && counted != (row.rows, row.metadata_rows) {
            let what = format!("layer {layer} counts {row:?}, its rows are {counted:?}");
            note(findings, "I4", what);
        }
    }
    for layer in rows.keys() {
        note(findings, "I4", format!("layer {layer} has rows and is not known"));
    }
    Ok(counts)
}

/// Counts each dataset's files and bytes, and compares its name's row; gives the contents that
/// datasets show.
fn check_headers(
    snapshot: &Snapshot,
    findings: &mut Vec<Finding>,
) -> Result<BTreeSet<Digest>, ReadError> {
    let mut shown = BTreeSet::new();
    let names = snapshot.table(tables::DATASET_NAMES)?;
    for dataset in snapshot.datasets()? {
        let dataset: Dataset = dataset?;
        let (mut files, mut bytes) = (0u64, 0u64);
        for file in snapshot.files(&dataset)? {
            let record = file?.1;
            files += 1;
            bytes += record.length;
            shown.insert(record.digest);
        }
        if (files, bytes) != (dataset.file_count, dataset.file_bytes) {
            let (id, count, sum) = (dataset.id, dataset.file_count, dataset.file_bytes);
            let what = format!(
                "dataset {id} counts {count} files and {sum} bytes, has {files} and {bytes}"
            );
            note(findings, "I8", what);
        }
        if dataset.deletion_time.is_none() {
            let key = (dataset.project.0, dataset.name.as_str(), dataset.version);
            let holder = names.get(key).map_err(IndexError::from)?.map(|id| id.value());
            if holder != Some(dataset.id.0) {
                note(findings, "I8", format!("dataset {} does not hold its name", dataset.id));
            }
        }
    }
    Ok(shown)
}

/// Compares counts with rows and sums live bytes; gives the contents that files name.
fn check_blobs(
    snapshot: &Snapshot,
    counts: &BTreeMap<Digest, u64>,
    findings: &mut Vec<Finding>,
) -> Result<BTreeSet<Digest>, ReadError> {
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    let mut named = BTreeSet::new();
    let mut known = BTreeSet::new();
    for entry in snapshot.table(tables::BLOBS)?.iter().map_err(IndexError::from)? {
        let (digest, row) = entry.map_err(IndexError::from)?;
        let digest = Digest(*digest.value());
        let row: BlobRow = codec::decode(row.value()).map_err(IndexError::from)?;
        let counted = counts.get(&digest).copied().unwrap_or(0);
        if row.count != counted {
            note(findings, "I4", format!("{digest} counts {}, {counted} rows name it", row.count));
        }
        if let BlobPlace::Segment { segment, .. } = row.place {
            *live.entry(segment.0).or_default() += live_bytes_of(row.length);
        }
        known.insert(digest);
        if counted > 0 {
            named.insert(digest);
        }
    }
    for digest in counts.keys().filter(|digest| !known.contains(digest)) {
        note(findings, "I4", format!("{digest} is named by a row and not known"));
    }
    for entry in snapshot.table(tables::SEGMENTS)?.iter().map_err(IndexError::from)? {
        let (segment, bytes) = entry.map_err(IndexError::from)?;
        let sum = live.remove(&segment.value()).unwrap_or(0);
        if sum != bytes.value() {
            let (segment, bytes) = (segment.value(), bytes.value());
            note(findings, "I4", format!("segment {segment} counts {bytes} live bytes, has {sum}"));
        }
    }
    for (segment, bytes) in live.iter().filter(|(_, bytes)| **bytes > 0) {
        note(findings, "I4", format!("segment {segment} has {bytes} live bytes and no row"));
    }
    Ok(named)
}

/// Opens a content; reads and compares it if `deep`.
///
/// The lease keeps what datasets show. What only rows of a dropped layer name, or hidden ones,
/// the background may have removed since, rows and all.
fn check_content(
    store: &Store,
    digest: &Digest,
    is_shown: bool,
    deep: bool,
    findings: &mut Vec<Finding>,
) {
    let blob = match store.open_blob(digest) {
        Ok(Some(blob)) => blob,
        Ok(None) if !is_shown => return,
        Ok(None) => return note(findings, "I2", format!("{digest} has no place")),
        Err(error) => return note(findings, "I2", format!("{digest}: {error}")),
    };
    if deep && let Err(error) = blob.verify() {
        note(findings, "I9", format!("{digest}: {error}"));
    }
}
