//! Changing users, teams, memberships, projects, licences and nodes.
//!
//! Each call returns once its change is durable and visible (I1), or refused. No actor plans these
//! changes: they are intentions, resolved when they are applied, in the order of the journal.

use std::sync::Arc;

use super::Engine;
use super::mutations::made;
use crate::blobs::byte_count;
use crate::committer::{Debt, Verdict};
use crate::error::{MutationError, ReadError};
use crate::index::apply::Applied;
use crate::index::snapshot::Snapshot;
use crate::index::{IndexError, tables};
use crate::limits::{INDEX_PAGE_BYTES, SUBDESCRIPTORS_MAX};
use crate::model::change::{CatalogueChange, Change};
use crate::model::{
    AccessToken, AccessTokenId, Licence, LicenceId, LicencePatch, Membership, NewAccessToken,
    NewLicence, NewNode, NewProject, NewTeam, NewUser, Node, NodeId, NodePatch, PermissionLevel,
    Project, ProjectId, ProjectPatch, Quota, SubdescriptorEdit, SubdescriptorKind,
    SubdescriptorRef, Team, TeamId, TeamPatch, Timestamp, User, UserId, UserPatch,
};

impl Engine {
    async fn catalogue(&self, change: CatalogueChange) -> Verdict {
        self.inner.committer.commit(Change::Catalogue(change), self.origin.clone()).await
    }

    /// Makes a user.
    ///
    /// # Errors
    /// `Taken`, or the store takes no changes.
    pub async fn create_user(&self, user: NewUser) -> Result<User, MutationError> {
        let at = Timestamp::now();
        made!(self.catalogue(CatalogueChange::CreateUser { user, at }).await, User)
    }

    /// Replaces a user's password hash.
    ///
    /// # Errors
    /// `UserNotFound`, or the store takes no changes.
    pub async fn set_password(
        &self,
        user: UserId,
        password_hash: String,
    ) -> Result<User, MutationError> {
        made!(self.catalogue(CatalogueChange::SetPassword { user, password_hash }).await, User)
    }

    /// Changes a user; `None` leaves a field as it is.
    ///
    /// # Errors
    /// `UserNotFound`, `Taken`, or the store takes no changes.
    pub async fn update_user(&self, user: UserId, patch: UserPatch) -> Result<User, MutationError> {
        made!(self.catalogue(CatalogueChange::UpdateUser { user, patch }).await, User)
    }

    /// Makes a team without members.
    ///
    /// # Errors
    /// `Taken`, or the store takes no changes.
    pub async fn create_team(&self, team: NewTeam) -> Result<Team, MutationError> {
        let at = Timestamp::now();
        made!(self.catalogue(CatalogueChange::CreateTeam { team, at }).await, Team)
    }

    /// Changes a team; `None` leaves a field as it is.
    ///
    /// # Errors
    /// `RecordNotFound`, `Taken`, or the store takes no changes.
    pub async fn update_team(&self, team: TeamId, patch: TeamPatch) -> Result<Team, MutationError> {
        made!(self.catalogue(CatalogueChange::UpdateTeam { team, patch }).await, Team)
    }

    /// Soft-deletes a team and ends its memberships; its projects stay. Once more changes nothing.
    ///
    /// # Errors
    /// `RecordNotFound`, or the store takes no changes.
    pub async fn destroy_team(&self, team: TeamId) -> Result<Team, MutationError> {
        let at = Timestamp::now();
        made!(self.catalogue(CatalogueChange::DestroyTeam { team, at }).await, Team)
    }

    /// Takes a soft deletion back; memberships stay ended. One that is not deleted stays as it is.
    ///
    /// # Errors
    /// `RecordNotFound`, `Taken`, or the store takes no changes.
    pub async fn reinstate_team(&self, team: TeamId) -> Result<Team, MutationError> {
        made!(self.catalogue(CatalogueChange::ReinstateTeam { team }).await, Team)
    }

    /// Removes a team and its memberships for good; gives what it was.
    ///
    /// # Errors
    /// `RecordNotFound`, `NotEmpty` if a project belongs to it, or the store takes no changes.
    pub async fn hard_delete_team(&self, team: TeamId) -> Result<Team, MutationError> {
        made!(self.catalogue(CatalogueChange::HardDeleteTeam { team }).await, Team)
    }

    /// Bounds what all datasets of a team may hold together; one that holds more already keeps it
    /// and gets no more.
    ///
    /// # Errors
    /// `RecordNotFound`, or the store takes no changes.
    pub async fn set_quota(&self, team: TeamId, quota: Quota) -> Result<Team, MutationError> {
        made!(self.catalogue(CatalogueChange::SetQuota { team, quota }).await, Team)
    }

    /// Makes a user a member of a team.
    ///
    /// # Errors
    /// `TeamNotFound`, `UserNotFound`, `MemberAlready`, or the store takes no changes.
    pub async fn add_member(
        &self,
        team: TeamId,
        user: UserId,
        permissions: PermissionLevel,
        creator: Option<UserId>,
    ) -> Result<Membership, MutationError> {
        let at = Timestamp::now();
        let change = CatalogueChange::AddMember { team, user, permissions, creator, at };
        made!(self.catalogue(change).await, Membership)
    }

    /// Changes what a present member may do.
    ///
    /// # Errors
    /// `NotAMember`, or the store takes no changes.
    pub async fn update_member(
        &self,
        team: TeamId,
        user: UserId,
        permissions: PermissionLevel,
    ) -> Result<Membership, MutationError> {
        let change = CatalogueChange::UpdateMember { team, user, permissions };
        made!(self.catalogue(change).await, Membership)
    }

    /// Ends a membership.
    ///
    /// # Errors
    /// `NotAMember`, or the store takes no changes.
    pub async fn remove_member(
        &self,
        team: TeamId,
        user: UserId,
    ) -> Result<Membership, MutationError> {
        let at = Timestamp::now();
        let change = CatalogueChange::RemoveMember { team, user, at };
        made!(self.catalogue(change).await, Membership)
    }

    /// Makes a project.
    ///
    /// # Errors
    /// `Taken`, `TeamNotFound`, or the store takes no changes.
    pub async fn create_project(&self, project: NewProject) -> Result<Project, MutationError> {
        let at = Timestamp::now();
        made!(self.catalogue(CatalogueChange::CreateProject { project, at }).await, Project)
    }

    /// Changes a project; `None` leaves a field as it is.
    ///
    /// # Errors
    /// `RecordNotFound`, `Taken`, `TeamNotFound` of the team that it is to move to, or the store
    /// takes no changes.
    pub async fn update_project(
        &self,
        project: ProjectId,
        patch: ProjectPatch,
    ) -> Result<Project, MutationError> {
        made!(self.catalogue(CatalogueChange::UpdateProject { project, patch }).await, Project)
    }

    /// Soft-deletes a project and, in the same change, its datasets (I6). Once more changes
    /// nothing. The more datasets it holds the longer other changes wait for it.
    ///
    /// # Errors
    /// `RecordNotFound`, `OutOfSpace` if the disk has no room for the new headers of so many datasets, or
    /// the store takes no changes.
    pub async fn destroy_project(&self, project: ProjectId) -> Result<Project, MutationError> {
        let store = Arc::clone(&self.inner.store);
        let count = move || taken_by_destroying(&store.snapshot_as_applied()?, project);
        let follows = tokio::task::spawn_blocking(count).await;
        let follows = follows.unwrap_or(Err(MutationError::Panicked))?;
        let change =
            Change::Catalogue(CatalogueChange::DestroyProject { project, at: Timestamp::now() });
        let committer = &self.inner.committer;
        made!(committer.commit_following(change, follows, self.origin.clone()).await, Project)
    }

    /// Takes a soft deletion back; the datasets stay deleted. One that is not deleted stays as it
    /// is.
    ///
    /// # Errors
    /// `RecordNotFound`, `Taken`, or the store takes no changes.
    pub async fn reinstate_project(&self, project: ProjectId) -> Result<Project, MutationError> {
        made!(self.catalogue(CatalogueChange::ReinstateProject { project }).await, Project)
    }

    /// Removes a project for good; gives what it was.
    ///
    /// # Errors
    /// `RecordNotFound`, `NotEmpty` if a dataset belongs to it, or the store takes no changes.
    pub async fn hard_delete_project(&self, project: ProjectId) -> Result<Project, MutationError> {
        made!(self.catalogue(CatalogueChange::HardDeleteProject { project }).await, Project)
    }

    /// Makes a licence, and the subdescriptors that it names and that are not there yet.
    ///
    /// # Errors
    /// `Taken`, or the store takes no changes.
    pub async fn create_licence(&self, licence: NewLicence) -> Result<Licence, MutationError> {
        made!(self.catalogue(CatalogueChange::CreateLicence { licence }).await, Licence)
    }

    /// Changes a licence; `None` leaves a field as it is.
    ///
    /// # Errors
    /// `RecordNotFound`, `Taken`, or the store takes no changes.
    pub async fn update_licence(
        &self,
        licence: LicenceId,
        patch: LicencePatch,
    ) -> Result<Licence, MutationError> {
        made!(self.catalogue(CatalogueChange::UpdateLicence { licence, patch }).await, Licence)
    }

    /// Adds subdescriptors of one kind to a licence, or takes them away; what is so already stays
    /// so.
    ///
    /// # Errors
    /// `RecordNotFound`, `SubdescriptorNotFound`, `TooMany`, or the store takes no changes.
    pub async fn edit_subdescriptors(
        &self,
        licence: LicenceId,
        kind: SubdescriptorKind,
        edit: SubdescriptorEdit,
        names: Vec<SubdescriptorRef>,
    ) -> Result<Licence, MutationError> {
        if names.len() > SUBDESCRIPTORS_MAX {
            let (what, limit) = ("subdescriptors in one change", SUBDESCRIPTORS_MAX);
            return Err(MutationError::TooMany { what, limit });
        }
        let change = CatalogueChange::EditSubdescriptors { licence, kind, edit, names };
        made!(self.catalogue(change).await, Licence)
    }

    /// Removes a licence for good; gives what it was.
    ///
    /// # Errors
    /// `RecordNotFound`, `NotEmpty` if a dataset is under it, or the store takes no changes.
    pub async fn delete_licence(&self, licence: LicenceId) -> Result<Licence, MutationError> {
        made!(self.catalogue(CatalogueChange::DeleteLicence { licence }).await, Licence)
    }

    /// Registers a node.
    ///
    /// # Errors
    /// `Taken`, or the store takes no changes.
    pub async fn create_node(&self, node: NewNode) -> Result<Node, MutationError> {
        made!(self.catalogue(CatalogueChange::CreateNode { node }).await, Node)
    }

    /// Changes a node; `None` leaves a field as it is.
    ///
    /// # Errors
    /// `RecordNotFound`, `Taken`, or the store takes no changes.
    pub async fn update_node(&self, node: NodeId, patch: NodePatch) -> Result<Node, MutationError> {
        made!(self.catalogue(CatalogueChange::UpdateNode { node, patch }).await, Node)
    }

    /// Removes a node for good; gives what it was.
    ///
    /// # Errors
    /// `RecordNotFound`, or the store takes no changes.
    pub async fn delete_node(&self, node: NodeId) -> Result<Node, MutationError> {
        made!(self.catalogue(CatalogueChange::DeleteNode { node }).await, Node)
    }

    /// Makes an access token.
    ///
    /// # Errors
    /// `UserNotFound`, `TeamNotFound`, `TooMany` tokens of this user, or the store takes no changes.
    pub async fn create_access_token(
        &self,
        token: NewAccessToken,
    ) -> Result<AccessToken, MutationError> {
        let at = Timestamp::now();
        made!(self.catalogue(CatalogueChange::CreateAccessToken { token, at }).await, AccessToken)
    }

    /// Removes an access token for good; gives what it was. Whoever shows it from here on is nobody.
    ///
    /// # Errors
    /// `RecordNotFound`, or the store takes no changes.
    pub async fn revoke_access_token(
        &self,
        token: AccessTokenId,
    ) -> Result<AccessToken, MutationError> {
        made!(self.catalogue(CatalogueChange::RevokeAccessToken { token }).await, AccessToken)
    }

    /// Remembers that an access token was shown. Shown at once, written within a minute.
    pub fn touch_access_token(&self, token: AccessTokenId) {
        self.inner.store.touches.touch_access_token(token);
    }

    /// Remembers that a user made a request. Shown at once, written within a minute.
    pub fn touch_login(&self, user: UserId) {
        self.inner.store.touches.touch_login(user);
    }

    /// Remembers that a node made a request. Shown at once, written within a minute.
    pub fn touch_node(&self, node: NodeId) {
        self.inner.store.touches.touch_node(node);
    }
}

/// What the index gets when the datasets of a project that are not soft-deleted become so, all at once: a
/// header, in a page of its own at worst, and a name of each.
fn taken_by_destroying(snapshot: &Snapshot, project: ProjectId) -> Result<Debt, MutationError> {
    let names = snapshot.table(tables::DATASET_NAMES).map_err(ReadError::from)?;
    let headers = snapshot.table(tables::DATASETS).map_err(ReadError::from)?;
    let within = (project.0, "", 0)..(project.0.saturating_add(1), "", 0);
    let mut debt = Debt::default();
    for row in names.range::<(u64, &str, u64)>(within).map_err(read_error)? {
        let (_, id) = row.map_err(read_error)?;
        let header = headers.get(id.value()).map_err(read_error)?;
        let length = header.map_or(0, |header| byte_count(header.value().len()));
        debt = debt.plus(Debt { rows: 2, change_bytes: length + INDEX_PAGE_BYTES / 2 });
    }
    Ok(debt)
}

fn read_error(error: redb::StorageError) -> ReadError {
    IndexError::from(error).into()
}
