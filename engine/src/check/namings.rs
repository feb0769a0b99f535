//! The ways from contents and layers to datasets, against the rows that they repeat (I4).

use redb::ReadableTable;

use super::Halt;
use super::findings::Findings;
use super::progress::CheckProgress;
use crate::error::ReadError;
use crate::index::rows::{FileRow, NamedBlob, Naming};
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::limits::CHECK_FINDINGS_MAX;
use crate::model::{DatasetId, Digest, LayerId};

/// Rows between two looks at whether the check is to stop.
const ROWS_A_LOOK: u64 = 4096;

/// Compares both tables, and what contents' rows say of files, with the rows of files and headers.
pub(super) fn check_namings(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    check_layer_datasets(snapshot, findings)?;
    // Sums first, which need no look-ups; only where they differ is it worth finding out why.
    if sum_of_files(snapshot, progress)? != sum_of_namings(snapshot, progress)? {
        find_missing(snapshot, progress, findings)?;
        find_untrue(snapshot, progress, findings)?;
        find_repeated(snapshot, progress, findings)?;
    }
    Ok(())
}

/// A number that stands for one file's naming its content.
fn number_of(digest: &Digest, layer: u64, name: &str) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(digest.as_bytes());
    hasher.update(&layer.to_le_bytes());
    hasher.update(name.as_bytes());
    let number = hasher.finalize();
    let number = number.as_bytes().first_chunk().copied().unwrap_or([0; 16]);
    u128::from_le_bytes(number)
}

fn sum_of_files(snapshot: &Snapshot, progress: &CheckProgress) -> Result<u128, Halt> {
    let mut sum = 0u128;
    each_file(snapshot, progress, |digest, layer, name| {
        sum = sum.wrapping_add(number_of(digest, layer, name));
        Ok(true)
    })?;
    Ok(sum)
}

fn sum_of_namings(snapshot: &Snapshot, progress: &CheckProgress) -> Result<u128, Halt> {
    let mut sum = 0u128;
    each_naming(snapshot, progress, |digest, layer, name| {
        sum = sum.wrapping_add(number_of(digest, layer, name));
        Ok(true)
    })?;
    Ok(sum)
}

/// Visits rows of files until told to stop.
fn each_file(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    mut visit: impl FnMut(&Digest, u64, &str) -> Result<bool, ReadError>,
) -> Result<(), Halt> {
    let mut rows = 0u64;
    for entry in snapshot.table(tables::FILES)?.iter().map_err(IndexError::from)? {
        let (key, row) = entry.map_err(IndexError::from)?;
        let (layer, name) = key.value();
        // What cannot be read is told with the layers.
        let Ok(FileRow::File(record)) = FileRow::decode(row.value()) else { continue };
        if !visit(&record.digest, layer, name)? {
            break;
        }
        look(&mut rows, progress)?;
    }
    Ok(())
}

/// Visits what is said of files that name contents, until told to stop.
fn each_naming(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    mut visit: impl FnMut(&Digest, u64, &str) -> Result<bool, ReadError>,
) -> Result<(), Halt> {
    let mut rows = 0u64;
    for entry in snapshot.table(tables::BLOBS)?.iter().map_err(IndexError::from)? {
        let (digest, row) = entry.map_err(IndexError::from)?;
        let blob = NamedBlob::decode(row.value()).map_err(IndexError::from)?;
        for Naming { layer, name } in &blob.namings {
            if !visit(&Digest(*digest.value()), layer.0, name)? {
                return Ok(());
            }
        }
        look(&mut rows, progress)?;
    }
    for entry in snapshot.table(tables::NAMINGS)?.iter().map_err(IndexError::from)? {
        let (key, _) = entry.map_err(IndexError::from)?;
        let (digest, layer, name) = key.value();
        if !visit(&Digest(*digest), layer, name)? {
            break;
        }
        look(&mut rows, progress)?;
    }
    Ok(())
}

fn look(rows: &mut u64, progress: &CheckProgress) -> Result<(), Halt> {
    *rows += 1;
    if rows.is_multiple_of(ROWS_A_LOOK) {
        progress.advance(0)?;
    }
    Ok(())
}

/// Names files that cannot be found from their contents.
fn find_missing(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let blobs = snapshot.table(tables::BLOBS)?;
    let namings = snapshot.table(tables::NAMINGS)?;
    let mut found = 0;
    each_file(snapshot, progress, |digest, layer, name| {
        // One without a row is told with the counts.
        let Some(row) = blobs.get(digest.as_bytes()).map_err(IndexError::from)? else {
            return Ok(true);
        };
        let blob = NamedBlob::decode(row.value()).map_err(IndexError::from)?;
        let key = (digest.as_bytes(), layer, name);
        if !blob.says(LayerId(layer), name) && namings.get(key).map_err(IndexError::from)?.is_none()
        {
            found += 1;
            findings.rows(
                "I4",
                format!("{digest} does not say that {name:?} of layer {layer} names it"),
            );
        }
        Ok(found < CHECK_FINDINGS_MAX)
    })
}

/// Names what is said of files that are not there.
fn find_untrue(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let files = snapshot.table(tables::FILES)?;
    let blobs = snapshot.table(tables::BLOBS)?;
    let mut found = 0;
    each_naming(snapshot, progress, |digest, layer, name| {
        if blobs.get(digest.as_bytes()).map_err(IndexError::from)?.is_none() {
            return Ok(true);
        }
        let row = files.get((layer, name)).map_err(IndexError::from)?;
        let row = row.map(|row| FileRow::decode(row.value())).transpose();
        let names_it = matches!(
            row.map_err(IndexError::from)?,
            Some(FileRow::File(record)) if record.digest == *digest
        );
        if !names_it {
            found += 1;
            findings.rows(
                "I4",
                format!("{digest} says that {name:?} of layer {layer} names it, which does not"),
            );
        }
        Ok(found < CHECK_FINDINGS_MAX)
    })
}

/// Names what a content's row says twice, or says and the other table too.
fn find_repeated(
    snapshot: &Snapshot,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let others = snapshot.table(tables::NAMINGS)?;
    let (mut rows, mut found) = (0u64, 0);
    for entry in snapshot.table(tables::BLOBS)?.iter().map_err(IndexError::from)? {
        let (digest, row) = entry.map_err(IndexError::from)?;
        let mut blob = NamedBlob::decode(row.value()).map_err(IndexError::from)?;
        while let Some(Naming { layer, name }) = blob.namings.pop() {
            let key = (digest.value(), layer.0, name.as_str());
            if blob.says(layer, &name) || others.get(key).map_err(IndexError::from)?.is_some() {
                found += 1;
                let digest = Digest(*digest.value());
                let what = format!("{digest} says twice that {name:?} of layer {layer} names it");
                findings.rows("I4", what);
            }
        }
        if found >= CHECK_FINDINGS_MAX {
            break;
        }
        look(&mut rows, progress)?;
    }
    Ok(())
}

/// Compares the datasets of each layer with the headers.
fn check_layer_datasets(snapshot: &Snapshot, findings: &mut Findings) -> Result<(), Halt> {
    let table = snapshot.table(tables::LAYER_DATASETS)?;
    for dataset in snapshot.datasets()? {
        let dataset = dataset?;
        for entry in &dataset.stack {
            let key = (entry.layer.0, dataset.id.0);
            if table.get(key).map_err(IndexError::from)?.is_none() {
                let what = format!(
                    "layer {} does not say that dataset {} has it",
                    entry.layer, dataset.id
                );
                findings.rows("I4", what);
            }
        }
    }
    for entry in table.iter().map_err(IndexError::from)? {
        let (key, _) = entry.map_err(IndexError::from)?;
        let (layer, id) = key.value();
        let dataset = snapshot.dataset(DatasetId(id))?;
        let has_it = |entry: &crate::model::dataset::StackEntry| entry.layer == LayerId(layer);
        if !dataset.is_some_and(|dataset| dataset.stack.iter().any(has_it)) {
            findings
                .rows("I4", format!("layer {layer} says that dataset {id} has it, which does not"));
        }
    }
    Ok(())
}
