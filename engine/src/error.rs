//! The public errors: one enum for each boundary that a caller stands at.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{
    DatasetId, Digest, Exceeded, FilenameError, LicenceId, ProjectId, SubdescriptorId,
    SubdescriptorKind, TeamId, UserId,
};
use crate::resumable::{ResumableId, WholeDigest};

/// Why a store did not open. Nothing was changed unless the variant says so.
#[expect(missing_docs, reason = "the message documents a variant and its fields")]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "data directory {path:?} is in use by another process; stop it or choose another directory"
    )]
    Locked { path: PathBuf },
    #[error("cannot use data directory {path:?}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path:?} is not a granary data directory, and it is not empty: {reason}")]
    NotAStore { path: PathBuf, reason: String },
    #[error(
        "the store has format version {found}, and this program knows versions up to {known}; use a newer granary"
    )]
    NewerFormat { found: u32, known: u32 },
    #[error(
        "journal segment {segment} is damaged at byte {offset}: {reason}; nothing was changed, restore the file from a copy"
    )]
    JournalDamaged { segment: u64, offset: u64, reason: String },
    #[error("the index is damaged: {reason}")]
    IndexDamaged { reason: String },
}

/// Why a mutation was not acknowledged.
///
/// Nothing was changed, except that after `OutcomeUnknown` only reopening can tell.
#[expect(missing_docs, reason = "the message documents a variant and its fields")]
#[derive(Debug, Clone, thiserror::Error)]
pub enum MutationError {
    #[error("there is no dataset {dataset}")]
    DatasetNotFound { dataset: DatasetId },
    #[error("dataset {dataset} has no file {filename:?}")]
    FileNotFound { dataset: DatasetId, filename: String },
    /// Some of the files that one change names are not there.
    #[error("dataset {dataset} has no files {filenames:?}, {count} in all")]
    FilesNotFound { dataset: DatasetId, filenames: Vec<String>, count: u64 },
    /// Contents that were to be attached are not where their bringer may read them.
    #[error("the contents of {filenames:?}, {count} in all, must be sent")]
    ContentsUnknown { filenames: Vec<String>, count: u64 },
    /// The file is not in the state that the change is for.
    #[error("file {filename:?} is not in the state that the request's conditions ask for")]
    ConditionFailed { filename: String },
    /// There is no such upload that goes on, or it is another user's.
    #[error("there is no upload {id}")]
    UploadNotFound { id: ResumableId },
    #[error(
        "{whose} {count} unfinished uploads of {bytes} bytes, and {count_max} of {bytes_max} bytes are allowed; finish or delete some"
    )]
    TooManyUploads {
        whose: &'static str,
        count: usize,
        bytes: u64,
        count_max: usize,
        bytes_max: u64,
    },
    /// The content that came is not the one that was announced; nothing of it is kept.
    #[error("the content was announced with {expected}, and what came has {actual}")]
    OtherDigest { expected: WholeDigest, actual: WholeDigest },
    #[error("file name {filename:?} is given more than once; give each name once")]
    DuplicateFilename { filename: String },
    #[error("file {filename:?} has that name already; give another one")]
    RenameToItself { filename: String },
    #[error("bad file name {filename:?}: {reason}")]
    BadFilename { filename: String, reason: FilenameError },
    #[error("file name {filename:?} is in use")]
    FilenameTaken { filename: String },
    #[error("{filename:?} is a directory that holds files")]
    FilenameIsDirectory { filename: String },
    #[error("a directory of {filename:?} is the name of a file")]
    DirectoryIsFile { filename: String },
    /// Another record holds what must be unique.
    #[error("{rule} must be unique")]
    Taken { rule: UniqueRule },
    #[error("there is no project {project}")]
    ProjectNotFound { project: ProjectId },
    #[error("there is no licence {licence}")]
    LicenceNotFound { licence: LicenceId },
    #[error("there is no team {team}")]
    TeamNotFound { team: TeamId },
    #[error("there is no user {user}")]
    UserNotFound { user: UserId },
    #[error("user {user} is a member of team {team} already")]
    MemberAlready { team: TeamId, user: UserId },
    #[error("user {user} is no member of team {team}")]
    NotAMember { team: TeamId, user: UserId },
    /// The record that was to be changed is not there.
    #[error("there is no {record} {id}")]
    RecordNotFound { record: RecordKind, id: u64 },
    /// A record is not removed while others, soft-deleted ones too, belong to it.
    #[error("{inside} {first} belongs to {record} {id}")]
    NotEmpty { record: RecordKind, id: u64, inside: RecordKind, first: u64 },
    #[error("there is no {kind} {id}")]
    SubdescriptorNotFound { kind: SubdescriptorKind, id: SubdescriptorId },
    #[error("too many {what}: at most {limit} are allowed")]
    TooMany { what: &'static str, limit: usize },
    /// The team that would hold more must not; nothing was changed.
    #[error(
        "team {team} may hold {} {}, holds {}, and {} more were asked for",
        exceeded.quota, exceeded.held, exceeded.used, exceeded.asked
    )]
    QuotaExceeded { team: TeamId, exceeded: Exceeded },
    #[error("dataset {dataset} cannot be merged into itself and deleted after that")]
    MergeIntoItself { dataset: DatasetId },
    #[error("{what} is too large: {actual} bytes, and {limit} are allowed")]
    TooLarge { what: &'static str, actual: u64, limit: u64 },
    /// A dataset that the change was planned on changed meanwhile, again and again, or a change that it
    /// stood on was refused.
    #[error("dataset {dataset} changed while the change was planned")]
    Moved { dataset: DatasetId },
    /// Refused before anything was queued; the same call may be repeated.
    #[error("{what} is busy: {waiting} changes are waiting")]
    Busy { what: &'static str, waiting: usize },
    #[error(
        "there is no space left on the disk of the data directory: remove files or datasets for good, \
         or enlarge it"
    )]
    OutOfSpace,
    /// I7: nothing more is accepted until the store is opened again.
    #[error("the store is read-only after a failure of its disk")]
    ReadOnly {
        #[source]
        cause: Arc<io::Error>,
    },
    /// The change was on its way when the disk failed; reopening decides.
    #[error("the disk failed while the change was on its way; its outcome is unknown")]
    OutcomeUnknown {
        #[source]
        cause: Arc<io::Error>,
    },
    #[error("the server is stopping")]
    Stopping,
    /// A bug of ours; the dataset's actor is started anew.
    #[error("the request broke the dataset's actor")]
    Panicked,
    /// The bytes of an upload could not be kept; nothing of it remains.
    #[error("the upload could not be stored")]
    Staging {
        #[source]
        cause: Arc<io::Error>,
    },
    #[error("the change could not be planned")]
    Read(#[source] Arc<ReadError>),
}

impl From<ReadError> for MutationError {
    fn from(error: ReadError) -> Self {
        Self::Read(Arc::new(error))
    }
}

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum RecordKind {
    Dataset,
    Team,
    Project,
    Licence,
    Node,
    AccessToken,
}

impl std::fmt::Display for RecordKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Dataset => "dataset",
            Self::Team => "team",
            Self::Project => "project",
            Self::Licence => "licence",
            Self::Node => "node",
            Self::AccessToken => "access token",
        })
    }
}

/// What may be there only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UniqueRule {
    /// Project, name and version of the datasets that are not soft-deleted.
    DatasetName,
    /// A user's name.
    Username,
    /// Name of the teams that are not deleted.
    TeamName,
    /// Team and name of the projects that are not deleted.
    ProjectName,
    /// A licence's name.
    LicenceName,
    /// A node's address and index.
    NodeAddress,
}

impl std::fmt::Display for UniqueRule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::DatasetName => "project, name and version of a dataset",
            Self::Username => "the name of a user",
            Self::TeamName => "the name of a team",
            Self::ProjectName => "team and name of a project",
            Self::LicenceName => "the name of a licence",
            Self::NodeAddress => "address and index of a node",
        })
    }
}

/// Why a read gave no answer.
#[expect(missing_docs, reason = "the message documents a variant and its fields")]
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not what was stored (I9); they are kept as they are.
    #[error("{what} is damaged: {place}")]
    Corrupt { what: &'static str, place: String },
    /// As `Corrupt`, of a content, which is in quarantine from now on: bringing the same content
    /// again heals it.
    #[error("content {digest} is damaged: {reason}")]
    DamagedContent { digest: Digest, reason: String },
    /// The thing was removed while it was read.
    #[error("{what} was removed while it was read")]
    Gone { what: String },
    #[error("cannot read {what}")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the index cannot be read after a failure of its disk")]
    IndexFailed {
        #[source]
        source: Box<redb::Error>,
    },
    #[error("too many reads of this kind are under way")]
    Busy,
    /// A bug of ours; nothing is wrong with what is stored.
    #[error("the reading broke")]
    Panicked,
}

/// Why an archive of files was not taken in. Nothing of it was added.
#[expect(missing_docs, reason = "the message documents a variant and its fields")]
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("the body is not a sound zip, tar or tar.gz archive: {reason}")]
    NotAnArchive { reason: String },
    #[error("member {member:?} of the archive cannot be read: {reason}")]
    BadMember { member: String, reason: String },
    #[error("bad file name {filename:?}: {reason}")]
    BadFilename { filename: String, reason: FilenameError },
    #[error("the archive has two members that are named {filename:?}")]
    DuplicateFilename { filename: String },
    #[error("the archive holds both a file {filename:?} and files below it")]
    FileAndDirectory { filename: String },
    #[error("the archive is too large: {what} is {actual}, and {limit} is allowed")]
    TooLarge { what: &'static str, actual: u64, limit: u64 },
    #[error(transparent)]
    Mutation(#[from] MutationError),
}
