//! Copies of some files of a dataset: rows of their own, not shared layers.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::merge::expected;
use super::{Bulk, LargeSet, header, on_blocking_pool, submit_blocking};
use crate::committer::Verdict;
use crate::error::{MutationError, ReadError};
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_FILES_MAX, LEASE_MAX, PLAN_ATTEMPTS_MAX};
use crate::model::change::{Change, CopyTarget, NewFile, SetPurpose};
use crate::model::{DatasetId, Filename};

/// Copies those of the named files that the source has.
pub(crate) async fn copy_files(
    bulk: &Bulk,
    source: DatasetId,
    copy: CopyTarget,
    names: Vec<String>,
) -> Verdict {
    // Unlawful names are no files; each name counts once.
    let names: BTreeSet<Filename> = names.iter().filter_map(|name| Filename::exact(name)).collect();
    let names = Arc::new(names);
    let mut attempt = 1;
    loop {
        let last = attempt >= PLAN_ATTEMPTS_MAX;
        let _hold = if last { Some(bulk.supervisor.hold(source).await?) } else { None };
        let (planning, copy, names) = (bulk.clone(), copy.clone(), Arc::clone(&names));
        let verdict = on_blocking_pool(move || attempt_copy(&planning, source, copy, &names));
        match verdict.await {
            Err(MutationError::Moved { .. }) if !last => attempt += 1,
            verdict => return verdict,
        }
    }
}

fn attempt_copy(
    bulk: &Bulk,
    source: DatasetId,
    copy: CopyTarget,
    names: &BTreeSet<Filename>,
) -> Verdict {
    // As for a merge: what a part names keeps its row until it is applied.
    let (_, lease) = bulk.store.leased_rows(LEASE_MAX)?;
    let source_revision = header(&bulk.store.snapshot()?, source)?.revision;
    let mut names = names.iter().peekable();
    let mut page = || -> Result<(Vec<NewFile>, bool), MutationError> {
        let snapshot = bulk.store.snapshot()?;
        let dataset = expected(&snapshot, source, source_revision)?;
        let tree = snapshot.tree(&dataset).map_err(ReadError::from)?;
        let mut files = Vec::new();
        let mut bytes = 0;
        while files.len() < CHANGE_FILES_MAX && bytes < CHANGE_BYTES_MAX {
            let Some(filename) = names.next() else { break };
            if let Some(record) = snapshot.file(&dataset, filename.as_str())? {
                let metadata = tree.metadata(filename.as_str()).map_err(ReadError::from)?;
                let metadata = metadata.unwrap_or_default();
                bytes +=
                    u64::try_from(metadata.len() + filename.as_str().len()).unwrap_or(u64::MAX);
                files.push(NewFile { filename: filename.clone(), record, metadata });
            }
        }
        Ok((files, names.peek().is_none()))
    };
    let (mut files, mut done) = page()?;
    if done {
        let change = Change::CopyFiles { source, source_revision, copy, files };
        return submit_blocking(bulk, change);
    }
    let mut set = LargeSet::begin(bulk, Some(Arc::new(lease)));
    loop {
        set.stage(files, Vec::new())?;
        if done {
            return set.commit(SetPurpose::Copy { source, source_revision, copy });
        }
        (files, done) = page()?;
    }
}
