//! Metadata of many files in one change.
//!
//! Much of it is a layer of metadata on top of the stack, made visible by one small change.

use std::collections::BTreeMap;

use super::delete::Named;
use super::merge::expected;
use super::{Bulk, LargeSet, again_if_moved, header, on_blocking_pool, submit_blocking};
use crate::error::MutationError;
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_FILES_MAX};
use crate::model::change::{Change, FileMetadata, SetPurpose};
use crate::model::{DatasetId, Filename};

/// Sets the metadata of files that must all be there; tells how many.
pub(crate) async fn set_many_metadata(
    bulk: &Bulk,
    dataset: DatasetId,
    metadata: BTreeMap<String, String>,
) -> Result<u64, MutationError> {
    let named = Named::of(metadata.keys().cloned().collect())?;
    let hold = bulk.supervisor.hold(dataset).await?;
    let planning = bulk.clone();
    let set = on_blocking_pool(move || {
        let _hold = hold;
        again_if_moved(|| set(&planning, dataset, &metadata, named.clone()))
    });
    set.await
}

fn set(
    bulk: &Bulk,
    dataset: DatasetId,
    metadata: &BTreeMap<String, String>,
    mut named: Named,
) -> Result<u64, MutationError> {
    let revision = header(&bulk.store.snapshot()?, dataset)?.revision;
    let count = u64::try_from(metadata.len()).unwrap_or(u64::MAX);
    loop {
        let snapshot = bulk.store.snapshot()?;
        let header = expected(&snapshot, dataset, revision)?;
        if named.next_page(&snapshot, &header, |_, _| {})? {
            break;
        }
    }
    // Every name is that of a file, so it is in normal form.
    let entries = metadata.iter().filter_map(|(name, metadata)| {
        let metadata = metadata.clone();
        Filename::exact(name).map(|filename| FileMetadata { filename, metadata })
    });
    let mut entries = entries.peekable();
    let part = next_part(&mut entries);
    if part.is_empty() {
        return Ok(0);
    }
    if entries.peek().is_none() {
        let change = Change::SetManyMetadata { dataset, revision, entries: part };
        return submit_blocking(bulk, change).map(|_| count);
    }
    let mut set = LargeSet::begin(bulk, None);
    let mut next = part;
    while !next.is_empty() {
        let files = next.len();
        set.stage_part(files, Change::StageMetadata { set: set.id, entries: next }, Vec::new())?;
        next = next_part(&mut entries);
    }
    set.commit(SetPurpose::SetMetadata { dataset, revision }).map(|_| count)
}

/// As much as one record holds.
fn next_part(entries: &mut impl Iterator<Item = FileMetadata>) -> Vec<FileMetadata> {
    let mut part = Vec::new();
    let mut bytes = 0;
    while part.len() < CHANGE_FILES_MAX && bytes < CHANGE_BYTES_MAX {
        let Some(entry) = entries.next() else { break };
        let length = entry.filename.as_str().len() + entry.metadata.len();
        bytes += u64::try_from(length).unwrap_or(u64::MAX);
        part.push(entry);
    }
    part
}
