//! The policy: one table from action to the conditions under which it is permitted.
//!
//! It mirrors the "Permissions" sections of the API's documents line by line. Any one condition
//! suffices; administrators need none, so an empty row says "administrators only".

use granary_engine::model::PermissionLevel;

use Condition::{
    Anyone, LoggedIn, Member, MemberInPerson, MemberWithNode, NodeItself, OnNode, Oneself, Public,
};
use PermissionLevel::{Admin, Execute, Read, Write};

/// Everything that may be asked of the server, by the API's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    ListDatasets,
    CreateDataset,
    RetrieveDataset,
    UpdateDataset,
    DestroyDataset,
    ClearDataset,
    MergeDatasets,
    DownloadDataset,
    CopyDataset,
    AddFile,
    AddFiles,
    GetFile,
    DeleteFile,
    SetMetadata,
    GetMetadata,
    GetAllMetadata,
    HardDeleteDataset,
    ReinstateDataset,
    ListFiles,
    DeleteFiles,
    SetManyMetadata,
    RenameFile,
    CheckFiles,
    AttachFiles,
    ReplaceFile,
    CreateUpload,
    ResumeUpload,

    ListUsers,
    CreateUser,
    RetrieveUser,
    UpdateUser,
    DestroyUser,
    ChangePassword,

    ListTeams,
    CreateTeam,
    RetrieveTeam,
    UpdateTeam,
    DestroyTeam,
    ModifyMemberships,
    GetPermissions,
    RetrieveQuota,
    SetQuota,
    HardDeleteTeam,
    ReinstateTeam,

    ListProjects,
    CreateProject,
    RetrieveProject,
    UpdateProject,
    DestroyProject,
    HardDeleteProject,
    ReinstateProject,

    ListLicences,
    CreateLicence,
    RetrieveLicence,
    UpdateLicence,
    DestroyLicence,
    ModifySubdescriptors,

    ListNodes,
    CreateNode,
    RetrieveNode,
    UpdateNode,
    DestroyNode,
    PingNode,

    ListAccessTokens,
    CreateAccessToken,
    RevokeAccessToken,
    RotateKey,

    BackUp,
    CheckStore,
    ScrubStore,
    ListQuarantine,
    MeasureStore,
    CollectGarbage,
    ReadMetrics,
    ShowStatus,
    ReadAudit,
}

/// A circumstance that permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// There is none.
    Anyone,
    /// Any active user asks.
    LoggedIn,
    /// The object is the asking user.
    Oneself,
    /// The dataset is public.
    Public,
    /// A member of the owning team asks, of this level or above.
    Member(PermissionLevel),
    /// As `Member`, and the member is logged in; an access token does not do.
    MemberInPerson(PermissionLevel),
    /// As `Member`, and the request comes from a node.
    MemberWithNode(PermissionLevel),
    /// Any active user asks, on a node.
    OnNode,
    /// Any active user asks, on the very node that the object is.
    NodeItself,
}

impl Condition {
    /// Whether it asks who somebody is, and not what a team lets them do or what anybody may.
    pub(super) fn is_of_person(self) -> bool {
        match self {
            Anyone | Public | Member(_) | MemberWithNode(_) => false,
            LoggedIn | Oneself | MemberInPerson(_) | OnNode | NodeItself => true,
        }
    }
}

/// Whether an access token may do what somebody may for who they are: reading what everybody may
/// who is logged in, for programs have to find their way, and saying that a node is there. What
/// teams permit their members is another matter, and so is what only a person does.
pub(super) fn is_open_to_tokens(action: Action) -> bool {
    matches!(
        action,
        Action::RetrieveUser
            | Action::ListTeams
            | Action::ListProjects
            | Action::ListLicences
            | Action::RetrieveLicence
            | Action::ListNodes
            | Action::RetrieveNode
            | Action::PingNode
    )
}

/// Members who may change content: writers, and those who may execute, when on a node.
const CHANGERS: &[Condition] = &[Member(Write), MemberWithNode(Execute)];

/// The conditions of which one must hold.
#[expect(clippy::match_same_arms, reason = "rows stand where the API's documents have them")]
pub(super) fn conditions(action: Action) -> &'static [Condition] {
    match action {
        Action::ListDatasets => &[Anyone],
        Action::RetrieveDataset => &[Member(Read), Public],
        Action::CreateDataset | Action::DestroyDataset => &[Member(Write)],
        Action::UpdateDataset
        | Action::ClearDataset
        | Action::MergeDatasets
        | Action::AddFile
        | Action::AddFiles
        | Action::DeleteFile
        | Action::SetMetadata => CHANGERS,
        Action::DownloadDataset
        | Action::CopyDataset
        | Action::GetFile
        | Action::GetMetadata
        | Action::GetAllMetadata => &[Member(Read)],
        Action::HardDeleteDataset | Action::ReinstateDataset => &[],
        Action::ListFiles => &[Member(Read)],
        Action::DeleteFiles
        | Action::SetManyMetadata
        | Action::RenameFile
        | Action::CheckFiles
        | Action::AttachFiles
        | Action::ReplaceFile
        | Action::CreateUpload
        | Action::ResumeUpload => CHANGERS,

        Action::ListUsers | Action::CreateUser => &[],
        Action::RetrieveUser => &[Oneself],
        Action::UpdateUser | Action::DestroyUser => &[],
        Action::ChangePassword => &[LoggedIn],

        Action::ListTeams => &[LoggedIn],
        Action::CreateTeam => &[],
        Action::RetrieveTeam => &[Member(Read)],
        Action::UpdateTeam
        | Action::DestroyTeam
        | Action::ModifyMemberships
        | Action::GetPermissions => &[Member(Admin)],
        Action::RetrieveQuota => &[Member(Read)],
        Action::SetQuota => &[],
        Action::HardDeleteTeam | Action::ReinstateTeam => &[],

        Action::ListProjects => &[LoggedIn],
        Action::CreateProject => &[Member(Write)],
        Action::RetrieveProject => &[Member(Read)],
        Action::UpdateProject | Action::DestroyProject => &[Member(Write)],
        Action::HardDeleteProject | Action::ReinstateProject => &[],

        Action::ListLicences | Action::RetrieveLicence => &[LoggedIn],
        Action::CreateLicence => &[],
        Action::UpdateLicence | Action::DestroyLicence | Action::ModifySubdescriptors => &[],

        Action::ListNodes | Action::CreateNode | Action::RetrieveNode => &[LoggedIn],
        Action::UpdateNode | Action::DestroyNode => &[NodeItself],
        Action::PingNode => &[OnNode],

        Action::ListAccessTokens => &[LoggedIn],
        Action::CreateAccessToken => &[MemberInPerson(Read)],
        Action::RevokeAccessToken => &[Oneself, Member(Admin)],
        Action::RotateKey => &[],

        Action::BackUp => &[],
        Action::CheckStore | Action::ScrubStore | Action::ListQuarantine => &[],
        Action::MeasureStore | Action::CollectGarbage => &[],
        Action::ReadMetrics | Action::ShowStatus => &[],
        Action::ReadAudit => &[],
    }
}
