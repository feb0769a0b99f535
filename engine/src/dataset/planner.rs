//! Plans the changes of one dataset, each on what its predecessors leave, and submits them (I5).
//!
//! One thing at a time calls it: the dataset's actor, which adds only the mailbox.

use std::sync::Arc;

use super::committed::CommittedFiles;
use super::message::Planned;
use super::overlay::{Left, Overlay};
use super::plan::{NoPlan, PlannedRename, PlannedUpload, View, plan_existing_if, plan_upload};
use crate::blobs::{StagedBlob, byte_count};
use crate::committer::{Basis, Committer, Debt, Footing, Reply, Submission, Ticket};
use crate::error::MutationError;
use crate::in_flight::{Settled, Slot};
use crate::index::file_tree::Looks;
use crate::limits::PLAN_ROWS_MAX;
use crate::model::change::{Change, NewFile};
use crate::model::{
    DatasetId, Digest, FileCondition, FileRecord, Filename, ProjectId, RequestedFilename,
    StoredFile, Timestamp, UploadTerms,
};
use crate::store::Store;

/// What plans of one dataset stand on.
#[derive(Debug)]
pub(crate) struct Planner {
    dataset: DatasetId,
    store: Arc<Store>,
    committer: Arc<Committer>,
    overlay: Overlay,
    /// The project whose team has no quota, as long as plans have the same footing.
    without_quota: Option<(Footing, ProjectId)>,
    /// Bytes of the longest description and the longest tags that changes in flight give the header at most,
    /// until the last of them is settled.
    texts_in_flight: Option<([u64; 2], Settled)>,
}

/// A change of files, ready for the committer.
struct PlannedFileChange {
    left: Vec<(Filename, Left)>,
    change: Change,
    contents: Vec<StagedBlob>,
    basis: Basis,
}

impl Planner {
    pub(crate) fn new(dataset: DatasetId, store: Arc<Store>, committer: Arc<Committer>) -> Self {
        let overlay = Overlay::default();
        Self { dataset, store, committer, overlay, without_quota: None, texts_in_flight: None }
    }

    /// Plans on what is committed and what is in flight. The overlay is tidied before the
    /// snapshot is taken, so nothing settled falls between the two.
    pub(super) fn plan<T>(
        &mut self,
        rule: impl Fn(&View<'_, CommittedFiles<'_>>) -> Result<T, NoPlan>,
    ) -> Result<T, NoPlan> {
        self.overlay.forget_settled();
        let dataset = self.dataset;
        let snapshot = self.store.snapshot_as_applied()?;
        let header = snapshot.dataset(dataset)?;
        let header = header.ok_or(MutationError::DatasetNotFound { dataset })?;
        let looks = Looks::at_most(PLAN_ROWS_MAX);
        let committed = CommittedFiles { snapshot: &snapshot, header: &header, looks };
        View { dataset, committed, overlay: &self.overlay, leaving: None }.apply(rule)
    }

    /// Plans what an upload does under its name, and what that stands on if nothing can have it
    /// refused: not where there is a quota, of which other datasets may take what is left.
    pub(super) fn plan_upload(
        &mut self,
        requested: &RequestedFilename,
        terms: &UploadTerms,
    ) -> Result<(PlannedUpload, Option<Footing>), NoPlan> {
        // Before the snapshot is taken.
        let footing = self.committer.footing();
        let known = self.without_quota;
        let (planned, without_quota) = self.plan(|view| {
            let planned = plan_upload(view, requested, terms)?;
            // With a footing nothing is in flight that frees a name: what the overlay has of that was
            // refused, behind an upload that is not applied yet.
            let is_new = matches!(planned, PlannedUpload::Add(_)) && !view.overlay.frees_names();
            let Some(footing) = footing.filter(|_| is_new) else { return Ok((planned, None)) };
            let CommittedFiles { snapshot, header, .. } = view.committed;
            let wanted = (footing, header.project);
            let is_free = known == Some(wanted) || !snapshot.has_quota(header.project)?;
            Ok((planned, is_free.then_some(wanted)))
        })?;
        self.without_quota = without_quota.or(known);
        Ok((planned, without_quota.map(|(footing, _)| footing)))
    }

    /// The content that a change of an existing file expects.
    pub(super) fn plan_existing(
        &mut self,
        name: &str,
        condition: &FileCondition,
    ) -> Result<(Filename, Digest), NoPlan> {
        self.plan(|view| plan_existing_if(view, name, condition))
    }

    /// Queues a change in the order of the calls; only the answer is awaited, and not by us.
    pub(super) fn submit_intention(&mut self, change: Change, slot: Slot) -> Planned<()> {
        slot.submitted();
        let (reply, ticket) = Reply::new(Some(slot));
        self.committer.submit(Submission::of(change, reply))?;
        Ok(((), ticket))
    }

    /// As [`Planner::submit_intention`], of a change that copies or answers the whole header, whose texts
    /// count with it.
    pub(super) fn submit_of_header(&mut self, change: Change, slot: Slot) -> Planned<()> {
        let in_flight = self.texts_in_flight.take().filter(|(_, settled)| !settled.is_settled());
        // After that look: what is settled is in the snapshot.
        let header = self.store.snapshot_as_applied()?.dataset(self.dataset)?;
        let committed = header.map_or([0, 0], |header| {
            [&header.description, &header.tags].map(|text| byte_count(text.len()))
        });
        // However many follow each other, a header has one of each.
        let longest = in_flight.as_ref().map_or(committed, |(bytes, _)| longer(committed, *bytes));
        self.texts_in_flight = in_flight;
        let sent = if let Change::UpdateDataset { patch, .. } = &change {
            [&patch.description, &patch.tags]
                .map(|text| text.as_ref().map_or(0, |text| byte_count(text.len())))
        } else {
            [0, 0]
        };
        let settled = slot.submitted();
        let (reply, ticket) = Reply::new(Some(slot));
        let follows = Debt { rows: 0, change_bytes: longest.into_iter().sum() };
        self.committer.submit(Submission::of(change, reply).following(follows))?;
        if sent != [0, 0] {
            self.texts_in_flight = Some((longer(longest, sent), settled));
        }
        Ok(((), ticket))
    }

    /// Queues a change of files and remembers what it leaves of each name.
    fn submit_file_change(
        &mut self,
        submission: PlannedFileChange,
        slot: Slot,
    ) -> Result<Ticket, MutationError> {
        let PlannedFileChange { left, change, contents, basis } = submission;
        let settled = slot.submitted();
        let (reply, ticket) = Reply::new(Some(slot));
        self.committer.submit(Submission { contents, basis, ..Submission::of(change, reply) })?;
        for (filename, left) in left {
            self.overlay.insert(filename, left, settled.clone());
        }
        Ok(ticket)
    }

    /// Does with a content what was planned.
    pub(super) fn submit_upload(
        &mut self,
        (planned, footing): (PlannedUpload, Option<Footing>),
        content: StagedBlob,
        slot: Slot,
    ) -> Planned<StoredFile> {
        let digest = content.digest();
        let dataset = self.dataset;
        let (filename, expects, basis) = match planned {
            PlannedUpload::Add(filename) => (filename, None, Basis::Upload(footing)),
            PlannedUpload::Replace { filename, expects } => (filename, Some(expects), Basis::Other),
        };
        let record = FileRecord {
            digest,
            length: content.length(),
            crc32: content.crc32(),
            creation_time: Timestamp::now(),
            compressible: content.compressible(),
        };
        let file = StoredFile { filename: filename.clone(), digest };
        let new = NewFile { filename, record, metadata: String::new() };
        let change = match expects {
            None => Change::AddFiles { dataset, files: vec![new] },
            Some(expects) => Change::ReplaceFile { dataset, expects, file: new },
        };
        let left = vec![(file.filename.clone(), Left::File(digest))];
        let planned = PlannedFileChange { left, change, contents: vec![content], basis };
        let ticket = self.submit_file_change(planned, slot)?;
        Ok((file, ticket))
    }

    /// Gives a file the name that was planned.
    pub(super) fn submit_renamed(
        &mut self,
        planned: PlannedRename,
        slot: Slot,
    ) -> Planned<StoredFile> {
        let PlannedRename { from, to, expects } = planned;
        let left = vec![(from.clone(), Left::Absent), (to.clone(), Left::File(expects))];
        let file = StoredFile { filename: to.clone(), digest: expects };
        let change = Change::RenameFile { dataset: self.dataset, from, to, expects };
        let ticket = self.submit_file_change(
            PlannedFileChange { left, change, contents: Vec::new(), basis: Basis::Other },
            slot,
        )?;
        Ok((file, ticket))
    }

    /// Removes the file that was found.
    pub(super) fn submit_deleted(
        &mut self,
        (filename, digest): (Filename, Digest),
        slot: Slot,
    ) -> Planned<StoredFile> {
        let file = StoredFile { filename: filename.clone(), digest };
        let change = Change::DeleteFile { dataset: self.dataset, filename, expects: digest };
        let left = vec![(file.filename.clone(), Left::Absent)];
        let planned = PlannedFileChange { left, change, contents: Vec::new(), basis: Basis::Other };
        let ticket = self.submit_file_change(planned, slot)?;
        Ok((file, ticket))
    }

    /// Gives the file that was found new metadata.
    ///
    /// What a condition asks of the metadata is looked at when the change is applied: what other
    /// changes in flight leave of it is not known before.
    pub(super) fn submit_metadata(
        &mut self,
        (filename, expects): (Filename, Digest),
        metadata: String,
        condition: FileCondition,
        slot: Slot,
    ) -> Planned<()> {
        let dataset = self.dataset;
        let change = if condition.is_empty() {
            Change::SetMetadata { dataset, filename, expects, metadata }
        } else {
            Change::SetMetadataIf { dataset, filename, expects, condition, metadata }
        };
        self.submit_intention(change, slot)
    }
}

/// What an actor does with a message, for tests that have no actor. What is not settled is refused.
#[cfg(all(test, feature = "interleavings"))]
impl Planner {
    pub(crate) fn add_file(
        &mut self,
        requested: &RequestedFilename,
        content: StagedBlob,
        slot: Slot,
    ) -> Planned<StoredFile> {
        let planned = self.plan_upload(requested, &UploadTerms::default()).map_err(refusal)?;
        self.submit_upload(planned, content, slot)
    }

    pub(crate) fn rename_file(
        &mut self,
        from: &str,
        to: &RequestedFilename,
        slot: Slot,
    ) -> Planned<StoredFile> {
        let planned = self.plan(|view| super::plan::plan_rename_file(view, from, to));
        self.submit_renamed(planned.map_err(refusal)?, slot)
    }

    pub(crate) fn delete_file(&mut self, name: &str, slot: Slot) -> Planned<StoredFile> {
        let planned = self.plan_existing(name, &FileCondition::default()).map_err(refusal)?;
        self.submit_deleted(planned, slot)
    }
}

/// The longer of each.
fn longer([one, other]: [u64; 2], [by_one, by_other]: [u64; 2]) -> [u64; 2] {
    [one.max(by_one), other.max(by_other)]
}

#[cfg(all(test, feature = "interleavings"))]
fn refusal(no_plan: NoPlan) -> MutationError {
    match no_plan {
        NoPlan::Refused(refusal) => refusal,
        NoPlan::TooLong | NoPlan::Unsettled => MutationError::Busy { what: "it", waiting: 1 },
    }
}
