//! Plain values and pure rules: what a dataset, a file, a user is, and what a change says.
//!
//! Depends on nothing else in the engine, and everything else may use it. Nothing here reads or
//! writes a disk.

pub mod access_token;

pub mod audit;

pub mod catalogue;

pub mod change;

pub mod condition;

mod change_kinds;

pub mod dataset;

pub mod digest;

pub mod filename;

pub mod ids;

pub mod patches;

pub mod quota;

pub mod subdescriptor;

pub mod time;

pub use access_token::{AccessToken, NewAccessToken};
pub use audit::{AuditEntry, Origin, Subject, SubjectKind};
pub use catalogue::{
    Licence, Membership, NewLicence, NewNode, NewProject, NewTeam, NewUser, Node, PermissionLevel,
    Project, Team, User,
};
pub use condition::{FileCondition, Tags, UploadTerms, metadata_tag};
pub use dataset::{Dataset, DatasetPatch, FileRecord, NewDataset, StoredFile};
pub use digest::{Digest, DigestHasher};
pub use filename::{Filename, FilenameError, RequestedFilename};
pub use ids::{
    AccessTokenId, DatasetId, LayerId, LicenceId, NodeId, ProjectId, Sequence, SetId,
    SubdescriptorId, TeamId, UserId,
};
pub use patches::{LicencePatch, NodePatch, ProjectPatch, TeamPatch, UserPatch};
pub use quota::{Exceeded, Held, Quota, Usage};
pub use subdescriptor::{SubdescriptorEdit, SubdescriptorKind, SubdescriptorRef};
pub use time::Timestamp;
