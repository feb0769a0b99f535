//! Copies of some files of a dataset: rows of their own, not shared layers.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::merge::expected;
use super::{Bulk, LargeSet, header, on_blocking_pool, submit_following_blocking};
use crate::blobs::byte_count;
use crate::committer::{Debt, Verdict};
use crate::error::{MutationError, ReadError};
use crate::index::snapshot::Snapshot;
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_FILES_MAX, LEASE_MAX, PLAN_ATTEMPTS_MAX};
use crate::model::change::{Change, CopyTarget, NewFile, SetPurpose};
use crate::model::{Dataset, DatasetId, Filename};

/// Copies those of the named files that the source has.
pub(crate) async fn copy_files(
    bulk: &Bulk,
    source: DatasetId,
    copy: CopyTarget,
    names: Vec<String>,
) -> Verdict {
    // Unlawful names are no files; each name counts once.
    let names: BTreeSet<Filename> =
        names.into_iter().filter_map(|name| Filename::exact(&name)).collect();
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
    let found = header(&bulk.store.snapshot()?, source)?;
    let source_revision = found.revision;
    let follows = Debt { rows: 0, change_bytes: byte_count(found.text_bytes()) };
    drop(found);
    let mut names = names.iter().peekable();
    let mut page = || -> Result<(Vec<NewFile>, bool), MutationError> {
        let mut page = Page::default();
        while !page.is_full() && names.peek().is_some() {
            let snapshot = bulk.store.snapshot()?;
            page.fill(&snapshot, &expected(&snapshot, source, source_revision)?, &mut names)?;
        }
        Ok((page.files, names.peek().is_none()))
    };
    let (mut files, mut done) = page()?;
    if done {
        let change = Change::CopyFiles { source, source_revision, copy, files };
        return submit_following_blocking(bulk, change, follows);
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

/// Files that one part takes.
#[derive(Debug, Default)]
struct Page {
    files: Vec<NewFile>,
    bytes: u64,
}

impl Page {
    fn is_full(&self) -> bool {
        self.files.len() >= CHANGE_FILES_MAX || self.bytes >= CHANGE_BYTES_MAX
    }

    /// Looks for as many names as one state is to be held for, whether or not there are files of them.
    fn fill<'n>(
        &mut self,
        snapshot: &Snapshot,
        dataset: &Dataset,
        names: &mut impl Iterator<Item = &'n Filename>,
    ) -> Result<(), MutationError> {
        let tree = snapshot.tree(dataset).map_err(ReadError::from)?;
        for _ in 0..CHANGE_FILES_MAX {
            if self.is_full() {
                break;
            }
            let Some(filename) = names.next() else { break };
            if let Some(record) = snapshot.file(dataset, filename.as_str())? {
                let metadata = tree.metadata(filename.as_str()).map_err(ReadError::from)?;
                let metadata = metadata.unwrap_or_default();
                let bytes = metadata.len() + filename.as_str().len();
                self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
                self.files.push(NewFile { filename: filename.clone(), record, metadata });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::run;
    use super::*;
    use crate::index::file_tree::visits;

    #[test]
    fn a_state_is_held_for_so_many_names_whether_they_are_there_or_not() {
        run(async |engine, dataset| {
            let absent = (0..5000).map(|number| format!("absent/{number}"));
            let names: Vec<String> = absent.chain(["one".into(), "two".into()]).collect();
            let filenames: Vec<Filename> =
                names.iter().map(|name| Filename::exact(name).unwrap()).collect();
            let snapshot = engine.snapshot().unwrap();
            let header = snapshot.dataset(dataset).unwrap().unwrap();
            let mut page = Page::default();
            let mut left = filenames.iter();
            let (filled, visits) = visits::during(|| page.fill(&snapshot, &header, &mut left));
            filled.unwrap();
            assert!(page.files.is_empty());
            assert_eq!(left.len(), filenames.len() - CHANGE_FILES_MAX);
            assert_eq!(usize::try_from(visits).unwrap(), CHANGE_FILES_MAX * header.stack.len());

            let copy = engine.copy_dataset(dataset, None, Some(names), None).await.unwrap();
            assert_eq!(copy.file_count, 2);
        });
    }
}
