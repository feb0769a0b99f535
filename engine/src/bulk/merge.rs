//! Merging: what of a source comes along, under which name.
//!
//! A name that is free comes along with its metadata; the same name and content stays the
//! target's own; the same name and another content comes under the next free suffix. What would
//! make a file of a directory or the reverse is refused. Where few names of a large source are the
//! target's too, the target takes its layers, and what that costs does not depend on how many there are
//! but for the looking ([`apart`]).

mod apart;

mod numbers;

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use super::{Bulk, LargeSet, header, on_blocking_pool, submit_blocking};
use crate::archive::intake::Room;
use crate::blobs::byte_count;
use crate::committer::Verdict;
use crate::dataset::{FreeNames, Standing};
use crate::error::{MutationError, ReadError};
use crate::index::apply::Applied;
use crate::index::rows::FileRow;
use crate::index::snapshot::{NamesTable, Snapshot};
use crate::leases::Lease;
use crate::limits::{CHANGE_BYTES_MAX, CHANGE_FILES_MAX, LEASE_MAX, PLAN_ATTEMPTS_MAX};
use crate::model::change::{Change, MergePlan, NewFile, SetPurpose, SourceAfterMerge};
use crate::model::{Dataset, DatasetId, Digest, FileRecord, Filename, Timestamp};
use apart::Joined;
use numbers::Numbers;

/// Merges `source` into `target`.
pub(crate) async fn merge_datasets(
    bulk: &Bulk,
    target: DatasetId,
    source: DatasetId,
    after: SourceAfterMerge,
) -> Verdict {
    if target == source {
        return match after {
            SourceAfterMerge::Keep => unchanged(bulk, target).await,
            SourceAfterMerge::Destroy | SourceAfterMerge::HardDelete => {
                Err(MutationError::MergeIntoItself { dataset: target })
            }
        };
    }
    let mut attempt = 1;
    loop {
        let last = attempt >= PLAN_ATTEMPTS_MAX;
        // Both in order of id, so that two merges never wait for each other.
        let (first, second) = (target.min(source), target.max(source));
        let _holds = if last {
            (bulk.supervisor.hold(first).await?, Some(bulk.supervisor.hold(second).await?))
        } else {
            (bulk.supervisor.hold(target).await?, None)
        };
        let planning = bulk.clone();
        let verdict = on_blocking_pool(move || attempt_merge(&planning, target, source, after));
        match verdict.await {
            Err(MutationError::Moved { .. }) if !last => attempt += 1,
            verdict => return verdict,
        }
    }
}

/// What comes of a merge of a dataset into itself: each name has its content there already.
async fn unchanged(bulk: &Bulk, dataset: DatasetId) -> Verdict {
    // Standing still it is as everything before left it.
    let _hold = bulk.supervisor.hold(dataset).await?;
    let store = bulk.store.clone();
    let look = move || Ok(Applied::Dataset(Box::new(header(&store.snapshot()?, dataset)?)));
    on_blocking_pool(look).await
}

fn attempt_merge(
    bulk: &Bulk,
    target: DatasetId,
    source: DatasetId,
    after: SourceAfterMerge,
) -> Verdict {
    let at = Timestamp::now();
    let snapshot = bulk.store.snapshot()?;
    let (into, from) = (header(&snapshot, target)?, header(&snapshot, source)?);
    drop(snapshot);
    if into.file_count == 0 {
        let change = Change::MergeShared { target, source, after, at };
        return submit_blocking(bulk, change);
    }
    let merge = MergePlan {
        target,
        target_revision: into.revision,
        source,
        source_revision: from.revision,
        after,
        at,
    };
    // A part names contents of the source before the end asks whether the source is as it was: what dies
    // in between keeps its row until the last part is applied (I3), even where this gives up before.
    let (_, lease) = bulk.store.leased_rows(LEASE_MAX)?;
    let lease = Arc::new(lease);
    if from.file_count >= bulk.merge_layers_from
        && apart::may_be_joined(&into, &from, 0)
        && let Some(joined) = apart::look(bulk, &merge)?
        && apart::may_be_joined(&into, &from, joined.layers())
    {
        // The background takes tombstones, hidden rows and marks away without a record. So what was found
        // must be what the next start begins with, or a replay would put back what it took (I1).
        bulk.committer.make_durable_blocking()?;
        return submit_joined(bulk, merge, joined, &lease);
    }
    let mut planner = Planner::begin(bulk);
    let mut page = planner.next_page(bulk, &merge)?;
    if planner.is_done() {
        let change = Change::MergeFiles { merge, files: page };
        return submit_blocking(bulk, change);
    }
    let mut set = LargeSet::begin(bulk, Some(lease));
    loop {
        set.stage(page, Vec::new())?;
        if planner.is_done() {
            return set.commit(SetPurpose::Merge(merge));
        }
        page = planner.next_page(bulk, &merge)?;
    }
}

fn submit_joined(bulk: &Bulk, merge: MergePlan, joined: Joined, lease: &Arc<Lease>) -> Verdict {
    let brought = joined.brought;
    let above = joined.into_above();
    if above.is_empty() {
        return submit_blocking(bulk, Change::MergeLayers { merge, files: brought.files });
    }
    let mut set = LargeSet::begin(bulk, Some(Arc::clone(lease)));
    set.stage(above, Vec::new())?;
    set.commit(SetPurpose::MergeLayers { merge, brought })
}

/// Walks a source in order of name.
#[derive(Debug)]
struct Planner {
    after: Option<String>,
    done: bool,
    /// Names that earlier files of this merge took by a suffix; the target does not show them.
    suffixed: HashMap<Filename, Digest>,
    numbers: Numbers,
    /// For what it remembers of these names.
    room: Room,
}

impl Planner {
    fn begin(bulk: &Bulk) -> Self {
        Self {
            after: None,
            done: false,
            suffixed: HashMap::new(),
            numbers: Numbers::default(),
            room: bulk.rooms.whole.begin(),
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    /// The files that one part takes, planned on the revisions that the merge expects.
    fn next_page(&mut self, bulk: &Bulk, merge: &MergePlan) -> Result<Vec<NewFile>, MutationError> {
        let both = Both::now(bulk, merge)?;
        let mut names = both.names()?;
        let tree = both.snapshot.tree(&both.source).map_err(ReadError::from)?;
        let from = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut files = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        self.done = true;
        for (visited, row) in tree.rows_from(from).map_err(ReadError::from)?.enumerate() {
            let row = row.map_err(ReadError::from)?;
            if visited >= CHANGE_FILES_MAX || bytes >= CHANGE_BYTES_MAX {
                self.done = false;
                break;
            }
            if let FileRow::File(record) = row.row {
                let metadata = tree.metadata_at(row.depth, &row.name).map_err(ReadError::from)?;
                let metadata = metadata.unwrap_or_default();
                bytes += u64::try_from(metadata.len() + row.name.len()).unwrap_or(u64::MAX);
                if let Some(filename) = self.place(&mut names, &row.name, &record)? {
                    files.push(NewFile { filename, record, metadata });
                }
            }
            last = Some(row.name);
        }
        self.after = last.or(self.after.take());
        Ok(files)
    }

    /// The name under which a file comes along; `None` if the target has it.
    fn place(
        &mut self,
        names: &mut Names<'_>,
        name: &str,
        record: &FileRecord,
    ) -> Result<Option<Filename>, MutationError> {
        let filename = Filename::exact(name).ok_or_else(|| damaged_name(name))?;
        let there = match self.suffixed.get(&filename) {
            Some(digest) => Some(*digest),
            None => names.in_target(&filename)?.map(|own| own.digest),
        };
        match there {
            Some(digest) if digest == record.digest => Ok(None),
            Some(_) => self.suffix(names, &filename, record).map(Some),
            None => Ok(Some(filename)),
        }
    }

    fn suffix(
        &mut self,
        names: &mut Names<'_>,
        filename: &Filename,
        record: &FileRecord,
    ) -> Result<Filename, MutationError> {
        let Self { suffixed, numbers, room, .. } = self;
        let free = numbers.first_free(filename, |name| {
            Ok::<_, ReadError>(suffixed.contains_key(name) || names.are_using(name, filename)?)
        })?;
        room.grow_of_merge(byte_count(free.as_str().len()))?;
        suffixed.insert(free.clone(), record.digest);
        Ok(free)
    }
}

fn damaged_name(name: &str) -> ReadError {
    ReadError::Corrupt { what: "a file's name", place: format!("{name:?}") }
}

/// The two datasets of a merge in one state.
struct Both {
    snapshot: Snapshot,
    target: Dataset,
    source: Dataset,
}

impl Both {
    /// As they are now, on the revisions that the merge expects.
    fn now(bulk: &Bulk, merge: &MergePlan) -> Result<Self, MutationError> {
        let snapshot = bulk.store.snapshot()?;
        let target = expected(&snapshot, merge.target, merge.target_revision)?;
        let source = expected(&snapshot, merge.source, merge.source_revision)?;
        Ok(Self { snapshot, target, source })
    }

    fn names(&self) -> Result<Names<'_>, MutationError> {
        let tree = |dataset| self.snapshot.tree(dataset).map_err(ReadError::from);
        let (target, source) = (tree(&self.target)?, tree(&self.source)?);
        Ok(Names { both: self, target: FreeNames::of(target), source: FreeNames::of(source) })
    }
}

/// Many looks at the names of both, most of which are plain.
struct Names<'a> {
    both: &'a Both,
    target: FreeNames<'a, NamesTable, NamesTable>,
    source: FreeNames<'a, NamesTable, NamesTable>,
}

impl Names<'_> {
    /// The target's file of a name that a file of the source has.
    ///
    /// # Errors
    /// The name is a directory of the target, or lies below one of its files.
    fn in_target(&mut self, filename: &Filename) -> Result<Option<FileRecord>, MutationError> {
        let own = self.both.snapshot.file(&self.both.target, filename.as_str())?;
        if own.is_none() {
            self.target.look(filename).map_err(ReadError::from)?.expect_free(filename)?;
        }
        Ok(own)
    }

    /// Whether the target has a file or a directory of this name.
    fn target_has(&mut self, name: &Filename) -> Result<bool, ReadError> {
        Ok(matches!(self.target.look(name)?, Standing::File(_) | Standing::Directory))
    }

    /// Whether a suffixed name is in use: as a file of the target, as a directory of either, or as a file
    /// of the source that comes before the one to be suffixed.
    fn are_using(&mut self, candidate: &Filename, filename: &Filename) -> Result<bool, ReadError> {
        let in_source = match self.source.look(candidate)? {
            // A name before this one has been placed already, and is not in the snapshot.
            Standing::File(_) => candidate < filename,
            Standing::Directory => true,
            Standing::Free | Standing::BelowFile => false,
        };
        Ok(in_source || self.target_has(candidate)?)
    }
}

pub(super) fn expected(
    snapshot: &Snapshot,
    dataset: DatasetId,
    revision: u64,
) -> Result<Dataset, MutationError> {
    let header = header(snapshot, dataset)?;
    if header.revision == revision { Ok(header) } else { Err(MutationError::Moved { dataset }) }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{attach, run};
    use super::*;
    use crate::archive::intake::Pool;
    use crate::index::file_tree::visits;
    use crate::limits::FILENAME_BYTES_MAX;

    #[test]
    fn names_that_become_alike_are_looked_for_a_few_times_each() {
        run(async |engine, target| {
            let source = engine.copy_dataset(target, None, None, None).await.unwrap().id;
            let kept = "x".repeat(FILENAME_BYTES_MAX - 5);
            let names = || (0..2000).map(|number| format!("{kept}{number:05}"));
            attach(engine, target, "one", names()).await;
            attach(engine, source, "two", names()).await;
            let bulk = engine.bulk();
            let snapshot = engine.snapshot().unwrap();
            let revision = |dataset| header(&snapshot, dataset).unwrap().revision;
            let merge = MergePlan {
                target,
                target_revision: revision(target),
                source,
                source_revision: revision(source),
                after: SourceAfterMerge::Keep,
                at: Timestamp::now(),
            };
            let (brought, visits) = visits::during(|| {
                let (mut planner, mut brought) = (Planner::begin(&bulk), Vec::new());
                while !planner.is_done() {
                    let page = planner.next_page(&bulk, &merge).unwrap();
                    brought.extend(page.into_iter().map(|file| file.filename.to_string()));
                }
                brought
            });
            let expected: Vec<String> = (1..=2000).map(|n| format!("{kept}-{n:04}")).collect();
            assert!(brought == expected);
            assert!(visits < 20 * 2000, "{visits}");
        });
    }

    #[test]
    fn names_that_a_merge_suffixes_count_as_those_of_archives_do() {
        run(async |engine, target| {
            let source = engine.copy_dataset(target, None, None, None).await.unwrap().id;
            let names = || (0..600).map(|number| format!("{number:04000}"));
            attach(engine, target, "one", names()).await;
            attach(engine, source, "two", names()).await;
            let merged = async |pool: &Pool| {
                let mut bulk = engine.bulk();
                bulk.rooms.whole = pool.clone();
                merge_datasets(&bulk, target, source, SourceAfterMerge::Keep).await
            };
            // Each counts as 160 bytes and twice its own.
            let too_small = Pool::new(u64::MAX, 600 * 8160);
            let refused = merged(&too_small).await.unwrap_err();
            assert!(matches!(refused, MutationError::TooLarge { .. }), "{refused}");
            let in_use = Pool::new(2 << 20, u64::MAX);
            let refused = merged(&in_use).await.unwrap_err();
            assert!(matches!(refused, MutationError::Busy { .. }), "{refused}");
            let enough = Pool::new(4 << 20, 600 * 8170);
            // Where the memory of the first did not come back, there is none for the second.
            for _ in 0..2 {
                merged(&enough).await.unwrap();
            }
            let snapshot = engine.snapshot().unwrap();
            assert_eq!(header(&snapshot, target).unwrap().file_count, 2 + 3 * 600);
        });
    }
}
