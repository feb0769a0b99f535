//! Removing many files in one change: those of some names, or all whose names begin alike.
//!
//! A large deletion is a layer of tombstones on top of the stack, so that it costs nobody a long
//! transaction; the background reclaims what they hide.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::headroom::let_space_come_back;
use super::merge::expected;
use super::{Bulk, LargeSet, again_if_moved, header, on_blocking_pool, submit_blocking};
use crate::error::{MutationError, ReadError};
use crate::index::rows::FileRow;
use crate::index::snapshot::Snapshot;
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_FILES_MAX, MISSING_NAMES_TOLD_MAX};
use crate::model::change::{Change, HiddenFile, SetPurpose};
use crate::model::{Dataset, DatasetId, Filename};

/// Which files of a dataset a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSelection {
    /// Those of these exact names; each must be there, and be named once.
    Named(Vec<String>),
    /// All whose names begin with this text, if any.
    Prefix(String),
}

/// Removes the selected files; tells how many.
pub(crate) async fn delete_files(
    bulk: &Bulk,
    dataset: DatasetId,
    selection: FileSelection,
) -> Result<u64, MutationError> {
    let planner = match selection {
        FileSelection::Named(names) => Planner::Named(Named::of(names)?),
        FileSelection::Prefix(prefix) => Planner::Prefix { prefix, after: None },
    };
    match delete_in_room(bulk, dataset, planner.clone()).await {
        // Others took the room: what they freed is waited for once more.
        Err(MutationError::OutOfSpace) => delete_in_room(bulk, dataset, planner).await,
        deleted => deleted,
    }
}

/// Deletes once what was deleted before has made as much room as it will.
async fn delete_in_room(
    bulk: &Bulk,
    dataset: DatasetId,
    planner: Planner,
) -> Result<u64, MutationError> {
    let roomy = bulk.clone();
    let made_room = on_blocking_pool(move || {
        let_space_come_back(&*roomy.store.disk, &roomy.committer, &roomy.compactor)
    });
    made_room.await?;
    let hold = bulk.supervisor.hold(dataset).await?;
    let planning = bulk.clone();
    let deleted = on_blocking_pool(move || {
        let _hold = hold;
        again_if_moved(|| delete(&planning, dataset, &mut planner.clone()))
    });
    deleted.await
}

fn delete(bulk: &Bulk, id: DatasetId, planner: &mut Planner) -> Result<u64, MutationError> {
    let revision = header(&bulk.store.snapshot()?, id)?.revision;
    let mut page = || -> Result<Page, MutationError> {
        let snapshot = bulk.store.snapshot()?;
        planner.next_page(&snapshot, &expected(&snapshot, id, revision)?)
    };
    let Page { mut files, mut is_last } = page()?;
    if is_last {
        let count = u64::try_from(files.len()).unwrap_or(u64::MAX);
        if !files.is_empty() {
            let filenames = files.into_iter().map(|file| file.filename).collect();
            let change = Change::DeleteFiles { dataset: id, revision, filenames };
            submit_blocking(bulk, change)?;
        }
        return Ok(count);
    }
    let mut set = LargeSet::begin(bulk, None);
    loop {
        if !files.is_empty() {
            let count = files.len();
            set.stage_part(count, Change::StageDeletions { set: set.id, files }, Vec::new())?;
        }
        if is_last {
            break;
        }
        Page { files, is_last } = page()?;
    }
    let count = set.files;
    if count > 0 {
        set.commit(SetPurpose::DeleteFiles { dataset: id, revision })?;
    }
    Ok(count)
}

/// Files that one part hides.
struct Page {
    files: Vec<HiddenFile>,
    is_last: bool,
}

/// Walks a selection.
#[derive(Clone)]
enum Planner {
    Named(Named),
    Prefix { prefix: String, after: Option<String> },
}

impl Planner {
    fn next_page(&mut self, snapshot: &Snapshot, dataset: &Dataset) -> Result<Page, MutationError> {
        match self {
            Self::Named(named) => {
                let mut files = Vec::new();
                let is_last = named.next_page(snapshot, dataset, |filename, length| {
                    files.push(HiddenFile { filename, length });
                })?;
                Ok(Page { files, is_last })
            }
            Self::Prefix { prefix, after } => next_below(snapshot, dataset, prefix, after),
        }
    }
}

fn next_below(
    snapshot: &Snapshot,
    dataset: &Dataset,
    prefix: &str,
    after: &mut Option<String>,
) -> Result<Page, MutationError> {
    let from = after.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
    let mut page = Page { files: Vec::new(), is_last: true };
    let mut bytes = 0;
    let mut last = None;
    let tree = snapshot.tree(dataset).map_err(ReadError::from)?;
    for (visited, row) in tree.rows_from(from).map_err(ReadError::from)?.enumerate() {
        let row = row.map_err(ReadError::from)?;
        if !row.name.starts_with(prefix) {
            break;
        }
        if visited >= CHANGE_FILES_MAX || bytes >= CHANGE_BYTES_MAX {
            page.is_last = false;
            break;
        }
        if let FileRow::File(record) = row.row {
            let damaged =
                || ReadError::Corrupt { what: "a file's name", place: format!("{:?}", row.name) };
            let filename = Filename::exact(&row.name).ok_or_else(damaged)?;
            bytes += u64::try_from(row.name.len()).unwrap_or(u64::MAX);
            page.files.push(HiddenFile { filename, length: record.length });
        }
        last = Some(row.name);
    }
    *after = last.or(after.take());
    Ok(page)
}

/// Files by name, in order of name; those that are not there are counted. Clones share the names.
#[derive(Clone)]
pub(super) struct Named {
    names: Arc<[String]>,
    /// Names that were looked at.
    tried: usize,
    missing: Vec<String>,
    missing_count: u64,
}

impl Named {
    /// Takes names that must differ.
    pub(super) fn of(names: Vec<String>) -> Result<Self, MutationError> {
        let mut sorted = BTreeSet::new();
        for name in names {
            if let Some(filename) = sorted.replace(name) {
                return Err(MutationError::DuplicateFilename { filename });
            }
        }
        let names = sorted.into_iter().collect();
        Ok(Self { names, tried: 0, missing: Vec::new(), missing_count: 0 })
    }

    /// Gives the files that one part takes to `found`; tells whether it was the last.
    ///
    /// # Errors
    /// It was the last, and not all names were there. Once one is missing, nothing more is given.
    pub(super) fn next_page(
        &mut self,
        snapshot: &Snapshot,
        dataset: &Dataset,
        mut found: impl FnMut(Filename, u64),
    ) -> Result<bool, MutationError> {
        let names = Arc::clone(&self.names);
        let mut names = names.iter().skip(self.tried);
        for name in names.by_ref().take(CHANGE_FILES_MAX) {
            self.tried += 1;
            let filename = Filename::exact(name);
            let record = match filename {
                Some(_) => snapshot.file(dataset, name)?,
                None => None,
            };
            match (filename, record) {
                (Some(filename), Some(record)) if self.missing_count == 0 => {
                    found(filename, record.length);
                }
                (Some(_), Some(_)) => {}
                (_, None) | (None, _) => self.note_missing(name),
            }
        }
        let is_last = names.len() == 0;
        if is_last { self.expect_all(dataset.id).map(|()| true) } else { Ok(false) }
    }

    fn note_missing(&mut self, name: &str) {
        self.missing_count += 1;
        if self.missing.len() < MISSING_NAMES_TOLD_MAX {
            self.missing.push(name.to_owned());
        }
    }

    fn expect_all(&mut self, dataset: DatasetId) -> Result<(), MutationError> {
        let filenames = std::mem::take(&mut self.missing);
        match (self.missing_count, <[String; 1]>::try_from(filenames)) {
            (0, _) => Ok(()),
            (_, Ok([filename])) => Err(MutationError::FileNotFound { dataset, filename }),
            (count, Err(filenames)) => {
                Err(MutationError::FilesNotFound { dataset, filenames, count })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use super::super::rig::run;
    use super::*;
    use crate::turns::Turns;

    #[test]
    fn a_turn_is_kept_until_the_change_ends_though_its_caller_has_gone() {
        run(async |engine, dataset| {
            let turns = Turns::new(1, 0, Duration::ZERO);
            // It waits for the dataset.
            let hold = engine.bulk().supervisor.hold(dataset).await.unwrap();
            {
                let engine = engine.clone().holding(turns.try_take());
                let named = FileSelection::Named(vec!["one".into()]);
                let mut deleting = pin!(engine.delete_files(dataset, named));
                tokio::select! {
                    biased;
                    _ = &mut deleting => panic!("the dataset stands still"),
                    () = std::future::ready(()) => {}
                }
            }
            tokio::task::yield_now().await;
            assert!(turns.try_take().is_none(), "its names are still there");
            drop(hold);
            let turn = loop {
                if let Some(turn) = turns.try_take() {
                    break turn;
                }
                tokio::task::yield_now().await;
            };
            drop(turn);
            let snapshot = engine.snapshot().unwrap();
            let header = snapshot.dataset(dataset).unwrap().unwrap();
            assert_eq!(snapshot.file(&header, "one").unwrap(), None, "it was made");
        });
    }
}
