//! Changes that read much before they write: merges, bulk uploads, files by digest, copies of some files, bulk
//! deletions and metadata.
//!
//! Each is planned on the blocking pool, page by page in short snapshots, on datasets whose
//! revision must still be the same when the change is applied. The target's actor stands still
//! meanwhile; a source that moves sends the plan back to its start, and the last attempt makes
//! the source stand still too, so a merge never starves and never loses a file (I5). A small plan
//! is one change; a large one travels in parts, and one small change makes it visible (I6).

mod attach;

mod copy;

mod delete;

mod headroom;

mod intake;

mod merge;

mod metadata;

#[cfg(test)]
pub(crate) mod rig;

use std::sync::{Arc, Mutex};

use crate::archive::intake::Rooms;
use crate::blobs::StagedBlob;
use crate::committer::{Committer, Debt, Reply, Submission, Ticket, Verdict};
use crate::compaction::Compactor;
use crate::error::MutationError;
use crate::index::snapshot::Snapshot;
use crate::leases::Lease;
use crate::limits::{CHANGE_FILES_MAX, PLAN_ATTEMPTS_MAX, STAGED_PARTS_AHEAD_MAX};
use crate::model::change::{Change, NewFile, SetPurpose};
use crate::model::{Dataset, DatasetId, Origin, SetId};
use crate::store::Store;
use crate::supervisor::Supervisor;

pub use attach::{ClaimedFile, MayRead, Presence};
pub(crate) use attach::{attach_files, check_files};
pub(crate) use copy::copy_files;
pub use delete::FileSelection;
pub(crate) use delete::delete_files;
pub(crate) use intake::{Staged, commit, stage_tar, stage_whole_tar, stage_zip};
pub(crate) use merge::merge_datasets;
pub(crate) use metadata::set_many_metadata;

/// What bulk changes work with.
#[derive(Debug, Clone)]
pub(crate) struct Bulk {
    pub(crate) store: Arc<Store>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) supervisor: Arc<Supervisor>,
    /// Shared with the keeper.
    pub(crate) compactor: Arc<Mutex<Compactor>>,
    /// Numbers the large sets of this process.
    pub(crate) sets: Arc<SetNumbers>,
    /// Files of a source from which on a merge looks whether it can share its layers.
    pub(crate) merge_layers_from: u64,
    /// For the names of archives that come in.
    pub(crate) rooms: Rooms,
    /// Who asks for the change at hand.
    pub(crate) origin: Option<Arc<Origin>>,
}

/// Gives out ids of large sets.
#[derive(Debug)]
pub(crate) struct SetNumbers {
    start: u64,
    next: std::sync::atomic::AtomicU64,
}

impl SetNumbers {
    pub(crate) fn new(start: u64) -> Self {
        Self { start, next: std::sync::atomic::AtomicU64::new(1) }
    }

    fn next(&self) -> SetId {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        SetId::of_upload(self.start, number)
    }
}

/// Runs a plan on the blocking pool; it ends even if the caller goes away.
async fn on_blocking_pool<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<MutationError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(MutationError::Panicked.into()),
    }
}

/// Plans again where a dataset moved although it stands still: a merge that takes it away does not wait
/// for those who hold it. Nothing came of the attempt before.
fn again_if_moved<T>(
    mut attempt: impl FnMut() -> Result<T, MutationError>,
) -> Result<T, MutationError> {
    for _ in 1..PLAN_ATTEMPTS_MAX {
        match attempt() {
            Err(MutationError::Moved { .. }) => {}
            verdict => return verdict,
        }
    }
    attempt()
}

/// A header that must be there.
fn header(snapshot: &Snapshot, dataset: DatasetId) -> Result<Dataset, MutationError> {
    let header = snapshot.dataset(dataset)?.map(Arc::unwrap_or_clone);
    header.ok_or(MutationError::DatasetNotFound { dataset })
}

/// A large set on its way: its parts are journaled while later ones are still planned.
///
/// Dropped before its commit it is given up, and nothing of it is ever visible.
#[derive(Debug)]
struct LargeSet {
    bulk: Bulk,
    id: SetId,
    files: u64,
    under_way: std::collections::VecDeque<Ticket>,
    /// Of what its parts name and do not bring.
    lease: Option<Arc<Lease>>,
    /// Whether the store may have something of it; an empty part makes a layer too.
    is_begun: bool,
    is_committed: bool,
}

impl LargeSet {
    /// Begins a set; where its parts name contents that they neither bring nor pin, with the lease under
    /// which these were found.
    fn begin(bulk: &Bulk, lease: Option<Arc<Lease>>) -> Self {
        Self {
            lease,
            bulk: bulk.clone(),
            id: bulk.sets.next(),
            files: 0,
            under_way: std::collections::VecDeque::new(),
            is_begun: false,
            is_committed: false,
        }
    }

    /// Queues a part of new files. Blocks while too many of its predecessors are on their way.
    fn stage(
        &mut self,
        files: Vec<NewFile>,
        contents: Vec<StagedBlob>,
    ) -> Result<(), MutationError> {
        let count = files.len();
        self.stage_part(count, Change::StageFiles { set: self.id, files }, contents)
    }

    /// Queues a part that tells of so many files.
    fn stage_part(
        &mut self,
        files: usize,
        change: Change,
        contents: Vec<StagedBlob>,
    ) -> Result<(), MutationError> {
        debug_assert!(files <= CHANGE_FILES_MAX, "a part is bounded");
        self.files += u64::try_from(files).unwrap_or(u64::MAX);
        let (reply, ticket) = Reply::new(None);
        let lease = self.lease.clone();
        let submission = Submission { contents, lease, ..Submission::of(change, reply) };
        self.bulk.committer.submit(submission)?;
        self.is_begun = true;
        self.under_way.push_back(ticket);
        if self.under_way.len() > STAGED_PARTS_AHEAD_MAX {
            self.settle_one()?;
        }
        Ok(())
    }

    fn settle_one(&mut self) -> Result<(), MutationError> {
        match self.under_way.pop_front() {
            Some(ticket) => ticket.redeem_blocking().map(drop),
            None => Ok(()),
        }
    }

    /// Makes the set visible whole, or not at all. Refused, it may be tried again.
    fn commit(&mut self, purpose: SetPurpose) -> Verdict {
        while !self.under_way.is_empty() {
            self.settle_one()?;
        }
        let change = Change::CommitSet { set: self.id, files: self.files, purpose };
        let verdict = submit_blocking(&self.bulk, change);
        self.is_committed = verdict.is_ok();
        verdict
    }
}

impl Drop for LargeSet {
    fn drop(&mut self) {
        if self.is_begun && !self.is_committed {
            // Where even this is refused, opening drops the set.
            drop(self.bulk.committer.give_up(self.id));
        }
    }
}

fn submit_blocking(bulk: &Bulk, change: Change) -> Verdict {
    submit_following_blocking(bulk, change, Debt::default())
}

/// Submits a change of which more follows than it says.
fn submit_following_blocking(bulk: &Bulk, change: Change, follows: Debt) -> Verdict {
    let (reply, ticket) = Reply::to(bulk.origin.clone());
    bulk.committer.submit(Submission::of(change, reply).following(follows))?;
    ticket.redeem_blocking()
}

#[cfg(test)]
mod tests {
    use redb::ReadableTableMetadata;

    use super::*;
    use crate::index::tables;
    use rig::{attach, run};

    #[test]
    fn nothing_remains_of_a_set_that_was_begun_and_not_committed() {
        run(async |engine, dataset| {
            let bulk = engine.bulk();
            let begun = bulk.clone();
            // As a merge does of whose first names the target has all, and whose source moves then.
            let staging = on_blocking_pool(move || {
                let mut set = LargeSet::begin(&begun, None);
                set.stage(Vec::new(), Vec::new())
            });
            staging.await.unwrap();
            // Behind the end of the set.
            attach(engine, dataset, "one", ["later".to_owned()].into_iter()).await;
            let snapshot = bulk.store.snapshot().unwrap();
            let count = |table| snapshot.table(table).unwrap().len().unwrap();
            assert_eq!(count(tables::SETS), 0);
            drop(snapshot);
            assert_eq!(engine.check(true).unwrap(), []);
        });
    }
}
