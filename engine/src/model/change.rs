//! What a change says: intentions and expectations, never places.
//!
//! Layers, counts, revisions, primary keys and version numbers are resolved when a change is
//! applied, so that replaying the journal gives the same store again. Each change names what it
//! expects of what it touches; the committer refuses it whole where an expectation fails.

use serde::{Deserialize, Serialize};

use super::{
    AccessTokenId, DatasetId, DatasetPatch, Digest, FileCondition, FileRecord, Filename, LicenceId,
    LicencePatch, NewAccessToken, NewDataset, NewLicence, NewNode, NewProject, NewTeam, NewUser,
    NodeId, NodePatch, PermissionLevel, ProjectId, ProjectPatch, Quota, SetId, SubdescriptorEdit,
    SubdescriptorKind, SubdescriptorRef, Subject, TeamId, TeamPatch, Timestamp, Usage, UserId,
    UserPatch,
};

/// One change of the store; applied whole or refused whole (I6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Adds files whose names must be free.
    AddFiles { dataset: DatasetId, files: Vec<NewFile> },
    /// Removes a file that must hold this content.
    DeleteFile { dataset: DatasetId, filename: Filename, expects: Digest },
    /// Sets the metadata of a file that must hold this content.
    SetMetadata { dataset: DatasetId, filename: Filename, expects: Digest, metadata: String },
    /// Makes all metadata of a dataset empty.
    ClearDataset { dataset: DatasetId },
    /// Makes an empty dataset, version 1.
    CreateDataset { dataset: NewDataset, at: Timestamp },
    /// Changes header fields.
    UpdateDataset { dataset: DatasetId, patch: DatasetPatch },
    /// Soft-deletes.
    DestroyDataset { dataset: DatasetId, at: Timestamp },
    /// Takes a soft deletion back.
    ReinstateDataset { dataset: DatasetId },
    /// Removes a dataset for good.
    HardDeleteDataset { dataset: DatasetId },
    /// Makes a dataset with the same files by sharing layers.
    CopyDataset { source: DatasetId, copy: CopyTarget },
    /// Makes a dataset with these files of the source, which must not have moved.
    CopyFiles { source: DatasetId, source_revision: u64, copy: CopyTarget, files: Vec<NewFile> },
    /// Gives an empty target the source's files by sharing layers.
    MergeShared { target: DatasetId, source: DatasetId, after: SourceAfterMerge, at: Timestamp },
    /// Adds what a plan took from the source, which must not have moved.
    MergeFiles { merge: MergePlan, files: Vec<NewFile> },
    /// A part of a large set: its files go to a layer that nobody sees yet.
    StageFiles { set: SetId, files: Vec<NewFile> },
    /// Makes a large set visible.
    CommitSet { set: SetId, files: u64, purpose: SetPurpose },
    /// Gives up a large set.
    AbortSet { set: SetId },
    /// A content was copied to the journal's head; the index follows if it still points at the
    /// old place. The new place is that of the record's own blob.
    Relocate { moves: Vec<Relocation> },
    /// A change of the records around datasets.
    Catalogue(CatalogueChange),
    /// Removes files of a dataset that must not have moved since they were looked at.
    DeleteFiles { dataset: DatasetId, revision: u64, filenames: Vec<Filename> },
    /// Sets the metadata of files of a dataset that must not have moved since they were looked at.
    SetManyMetadata { dataset: DatasetId, revision: u64, entries: Vec<FileMetadata> },
    /// Gives a file, which must hold this content, another name, which must be free.
    RenameFile { dataset: DatasetId, from: Filename, to: Filename, expects: Digest },
    /// Removes a dataset for good that must be soft-deleted since this very time.
    PurgeDataset { dataset: DatasetId, deleted_at: Timestamp },
    /// A part of a large set: its layer, which nobody sees yet, will hide these files.
    StageDeletions { set: SetId, files: Vec<HiddenFile> },
    /// A part of a large set: metadata goes to a layer that nobody sees yet.
    StageMetadata { set: SetId, entries: Vec<FileMetadata> },
    /// Puts a file in the place of the one of its name, which must hold this content. The same
    /// content once more changes nothing.
    ReplaceFile { dataset: DatasetId, expects: Digest, file: NewFile },
    /// Sets the metadata of a file that must hold this content, if the condition holds of its
    /// metadata.
    SetMetadataIf {
        dataset: DatasetId,
        filename: Filename,
        expects: Digest,
        condition: FileCondition,
        metadata: String,
    },
    /// Changes nothing, and is in the audit log by the note of who asked for it: a login, a refusal.
    Witness { subject: Subject },
    /// Gives a target the source's layers beside its own, so many files. Neither may have moved, and no
    /// name of either stands in the other's way.
    MergeLayers { merge: MergePlan, files: u64 },
}

impl Change {
    /// Rows that applying the change writes, about; what it shares costs nothing.
    pub(crate) fn row_count(&self) -> u64 {
        let rows = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        match self {
            Self::AddFiles { files, .. }
            | Self::CopyFiles { files, .. }
            | Self::MergeFiles { files, .. }
            | Self::StageFiles { files, .. } => rows(files.len()),
            Self::Relocate { moves } => rows(moves.len()),
            Self::DeleteFiles { filenames, .. } => rows(filenames.len()),
            Self::StageDeletions { files, .. } => rows(files.len()),
            Self::SetManyMetadata { entries, .. } | Self::StageMetadata { entries, .. } => {
                rows(entries.len())
            }
            Self::RenameFile { .. } | Self::ReplaceFile { .. } => 2,
            Self::DeleteFile { .. }
            | Self::SetMetadata { .. }
            | Self::SetMetadataIf { .. }
            | Self::ClearDataset { .. }
            | Self::CreateDataset { .. }
            | Self::UpdateDataset { .. }
            | Self::DestroyDataset { .. }
            | Self::ReinstateDataset { .. }
            | Self::HardDeleteDataset { .. }
            | Self::CopyDataset { .. }
            | Self::MergeShared { .. }
            | Self::MergeLayers { .. }
            | Self::CommitSet { .. }
            | Self::AbortSet { .. }
            | Self::Catalogue(_)
            | Self::PurgeDataset { .. } => 1,
            Self::Witness { .. } => 0,
        }
    }

    /// Whether rights may follow from it: who somebody is, who belongs where, whose a dataset is.
    pub(crate) fn touches_rights(&self) -> bool {
        // What is remembered of logins and sightings is no matter of rights.
        matches!(self, Self::Catalogue(_) | Self::UpdateDataset { .. }) && self.is_told()
    }

    /// Whether it is one of many that are nothing by themselves, and that nobody awaits one by one:
    /// parts of large sets, and what compaction moves.
    pub(crate) fn is_part(&self) -> bool {
        matches!(
            self,
            Self::StageFiles { .. }
                | Self::StageDeletions { .. }
                | Self::StageMetadata { .. }
                | Self::AbortSet { .. }
                | Self::Relocate { .. }
        )
    }

    /// Whether it enters the audit log if somebody asked for it: not the parts of a large set, whose
    /// end tells of them, and not what the store does of itself.
    pub(crate) fn is_told(&self) -> bool {
        match self {
            Self::StageFiles { .. }
            | Self::StageDeletions { .. }
            | Self::StageMetadata { .. }
            | Self::AbortSet { .. }
            | Self::Relocate { .. }
            | Self::Catalogue(
                CatalogueChange::Touch { .. } | CatalogueChange::TouchAccessTokens { .. },
            ) => false,
            Self::AddFiles { .. }
            | Self::CopyFiles { .. }
            | Self::MergeFiles { .. }
            | Self::DeleteFiles { .. }
            | Self::SetManyMetadata { .. }
            | Self::RenameFile { .. }
            | Self::ReplaceFile { .. }
            | Self::DeleteFile { .. }
            | Self::SetMetadata { .. }
            | Self::SetMetadataIf { .. }
            | Self::ClearDataset { .. }
            | Self::CreateDataset { .. }
            | Self::UpdateDataset { .. }
            | Self::DestroyDataset { .. }
            | Self::ReinstateDataset { .. }
            | Self::HardDeleteDataset { .. }
            | Self::CopyDataset { .. }
            | Self::MergeShared { .. }
            | Self::MergeLayers { .. }
            | Self::CommitSet { .. }
            | Self::Catalogue(_)
            | Self::PurgeDataset { .. }
            | Self::Witness { .. } => true,
        }
    }
}

/// A file that a change adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewFile {
    pub(crate) filename: Filename,
    pub(crate) record: FileRecord,
    /// Metadata that comes along in a copy or merge; empty for an upload.
    pub(crate) metadata: String,
}

/// A file's name and the metadata that it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileMetadata {
    pub(crate) filename: Filename,
    pub(crate) metadata: String,
}

/// A file that a large set hides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HiddenFile {
    pub(crate) filename: Filename,
    /// Bytes that its dataset shows less.
    pub(crate) length: u64,
}

/// What a copy is called and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyTarget {
    /// Name of a new dataset; `None` makes the next version of the source.
    pub(crate) new_name: Option<String>,
    pub(crate) creator: Option<UserId>,
    pub(crate) at: Timestamp,
}

/// What becomes of a merge's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceAfterMerge {
    /// It stays as it is.
    Keep,
    /// It is soft-deleted in the same change.
    Destroy,
    /// It is removed for good in the same change.
    HardDelete,
}

/// The datasets and expectations of a planned merge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MergePlan {
    pub(crate) target: DatasetId,
    pub(crate) target_revision: u64,
    pub(crate) source: DatasetId,
    pub(crate) source_revision: u64,
    pub(crate) after: SourceAfterMerge,
    pub(crate) at: Timestamp,
}

/// What a large set is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SetPurpose {
    /// Adds the set's files to a dataset that must not have moved since its names were looked at.
    AddFiles {
        dataset: DatasetId,
        revision: u64,
    },
    Merge(MergePlan),
    Copy {
        source: DatasetId,
        source_revision: u64,
        copy: CopyTarget,
    },
    /// Hides the set's files in a dataset that must not have moved since they were looked at.
    DeleteFiles {
        dataset: DatasetId,
        revision: u64,
    },
    /// Sets metadata in a dataset that must not have moved since its files were looked at.
    SetMetadata {
        dataset: DatasetId,
        revision: u64,
    },
    /// Gives a target the source's layers beside its own, and the set's files above both: what they
    /// say of every other name is nothing to the target. So much comes along in all.
    MergeLayers {
        merge: MergePlan,
        brought: Usage,
    },
}

/// A content's move within the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Relocation {
    pub(crate) digest: Digest,
    pub(crate) from: BlobPlace,
}

/// A change of users, teams, memberships, projects, licences or nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CatalogueChange {
    CreateUser {
        user: NewUser,
        at: Timestamp,
    },
    SetPassword {
        user: UserId,
        password_hash: String,
    },
    CreateTeam {
        team: NewTeam,
        at: Timestamp,
    },
    AddMember {
        team: TeamId,
        user: UserId,
        permissions: PermissionLevel,
        creator: Option<UserId>,
        at: Timestamp,
    },
    CreateProject {
        project: NewProject,
        at: Timestamp,
    },
    CreateLicence {
        licence: NewLicence,
    },
    CreateNode {
        node: NewNode,
    },
    /// What was only remembered in memory until now.
    Touch {
        logins: Vec<(UserId, Timestamp)>,
        nodes: Vec<(NodeId, Timestamp)>,
    },
    UpdateUser {
        user: UserId,
        patch: UserPatch,
    },
    UpdateTeam {
        team: TeamId,
        patch: TeamPatch,
    },
    /// Soft-deletes, and ends all memberships.
    DestroyTeam {
        team: TeamId,
        at: Timestamp,
    },
    /// Takes a soft deletion back; memberships stay ended.
    ReinstateTeam {
        team: TeamId,
    },
    /// Removes a team that has no project, with its memberships.
    HardDeleteTeam {
        team: TeamId,
    },
    /// Changes the rights of a present member.
    UpdateMember {
        team: TeamId,
        user: UserId,
        permissions: PermissionLevel,
    },
    /// Ends a membership.
    RemoveMember {
        team: TeamId,
        user: UserId,
        at: Timestamp,
    },
    UpdateProject {
        project: ProjectId,
        patch: ProjectPatch,
    },
    /// Soft-deletes, the datasets in it too.
    DestroyProject {
        project: ProjectId,
        at: Timestamp,
    },
    /// Takes a soft deletion back; the datasets stay deleted.
    ReinstateProject {
        project: ProjectId,
    },
    /// Removes a project that holds no dataset.
    HardDeleteProject {
        project: ProjectId,
    },
    UpdateLicence {
        licence: LicenceId,
        patch: LicencePatch,
    },
    /// Adds subdescriptors of one kind to a licence, or takes them away.
    EditSubdescriptors {
        licence: LicenceId,
        kind: SubdescriptorKind,
        edit: SubdescriptorEdit,
        names: Vec<SubdescriptorRef>,
    },
    /// Removes a licence that no dataset is under.
    DeleteLicence {
        licence: LicenceId,
    },
    UpdateNode {
        node: NodeId,
        patch: NodePatch,
    },
    DeleteNode {
        node: NodeId,
    },
    CreateAccessToken {
        token: NewAccessToken,
        at: Timestamp,
    },
    /// Removes a token for good.
    RevokeAccessToken {
        token: AccessTokenId,
    },
    /// As `Touch`, of tokens.
    TouchAccessTokens {
        uses: Vec<(AccessTokenId, Timestamp)>,
    },
    /// Bounds what a team may hold; one that holds more already keeps it.
    SetQuota {
        team: TeamId,
        quota: Quota,
    },
}

/// Number of a journal segment; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SegmentId(pub(crate) u64);

/// Where a content's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum BlobPlace {
    /// Inside a journal segment, at this byte offset of its file.
    Segment { segment: SegmentId, offset: u64 },
    /// In a file of its own.
    Large(LargeFileId),
}

impl BlobPlace {
    /// Where a content is that a restore had no bytes of. No start gets this number.
    pub(crate) const NOWHERE: Self = Self::Large(LargeFileId { start: u64::MAX, number: u64::MAX });
}

/// Distinguishes the files that ever held one large content.
///
/// It contains the process's start number, so a dead file's removal can never hit a fresh upload
/// of the same content, and a sweep knows which files this process did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct LargeFileId {
    pub(crate) start: u64,
    pub(crate) number: u64,
}

/// A content that a record brings with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewBlob {
    pub(crate) digest: Digest,
    /// Bytes.
    pub(crate) length: u64,
    pub(crate) crc32: u32,
    pub(crate) place: BlobPlace,
}
