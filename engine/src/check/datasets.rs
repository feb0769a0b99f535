//! Headers against the files that they show (I8).

use std::time::{Duration, Instant};

use redb::ReadableTableMetadata;

use super::Halt;
use super::findings::{Findings, Hit};
use super::progress::{CheckProgress, Stage};
use super::shown::Shown;
use crate::error::ReadError;
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::model::{Dataset, DatasetId, Usage};
use crate::store::Store;

/// How long a snapshot is held; a dataset is read to its end within one, and what datasets share is
/// counted once in each.
const SNAPSHOT_MAX: Duration = Duration::from_secs(5);

/// Counts each dataset's files and bytes, and compares its name's row.
pub(super) fn check_datasets(
    store: &Store,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let total = store.snapshot()?.table(tables::DATASETS)?.len().map_err(IndexError::from)?;
    progress.begin(Stage::Datasets, total);
    let mut from = Some(DatasetId(0));
    while let Some(next) = from {
        from = check_some(&store.snapshot()?, next, progress, findings)?;
    }
    Ok(())
}

/// Checks datasets from an id on until time is up; tells where to go on.
fn check_some(
    snapshot: &Snapshot,
    from: DatasetId,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<Option<DatasetId>, Halt> {
    let began = Instant::now();
    let mut shown = Shown::within(snapshot, progress)?;
    for dataset in snapshot.datasets_from(from)? {
        let dataset = dataset?;
        check_files(&mut shown, &dataset, findings)?;
        check_name(snapshot, &dataset, findings)?;
        progress.advance(1)?;
        if began.elapsed() > SNAPSHOT_MAX {
            return Ok(dataset.id.0.checked_add(1).map(DatasetId));
        }
    }
    Ok(None)
}

/// A dataset as a person knows it.
pub(super) fn hit(dataset: &Dataset, filename: Option<String>) -> Hit {
    let Dataset { id, name, version, .. } = dataset;
    Hit { dataset: *id, name: name.clone(), version: *version, filename }
}

fn check_files(
    shown: &mut Shown<'_>,
    dataset: &Dataset,
    findings: &mut Findings,
) -> Result<(), Halt> {
    let (shown, counted) = (shown.by(&dataset.stack)?, dataset.usage());
    if shown != counted {
        let id = dataset.id;
        let Usage { files, bytes } = shown;
        let Usage { files: count, bytes: sum } = counted;
        let what =
            format!("dataset {id} counts {count} files and {sum} bytes, has {files} and {bytes}");
        findings.dataset(what, hit(dataset, None));
    }
    Ok(())
}

fn check_name(
    snapshot: &Snapshot,
    dataset: &Dataset,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let names = snapshot.table(tables::DATASET_NAMES)?;
    let key = (dataset.project.0, dataset.name.as_str(), dataset.version);
    let holder = names.get(key).map_err(IndexError::from)?.map(|id| id.value());
    if dataset.deletion_time.is_none() && holder != Some(dataset.id.0) {
        let what = format!("dataset {} does not hold its name", dataset.id);
        findings.dataset(what, hit(dataset, None));
    }
    Ok(())
}
