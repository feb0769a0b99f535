//! Users, teams, memberships, projects, licences, nodes, with their unique rules.
//!
//! A file a resource. Each change looks at what it expects and only then writes (I6).

mod access_tokens;

mod licences;

mod nodes;

mod projects;

mod teams;

mod users;

use redb::ReadableTable;
use serde::de::DeserializeOwned;

use super::{Applied, Bytes, Group, Stop};
use crate::codec;
use crate::error::{MutationError, RecordKind, UniqueRule};
use crate::index::IndexError;
use crate::model::change::CatalogueChange;

impl Group<'_> {
    pub(super) fn catalogue(&mut self, change: &CatalogueChange) -> Result<Applied, Stop> {
        match change {
            CatalogueChange::CreateUser { user, at } => self.create_user(user, *at),
            CatalogueChange::SetPassword { user, password_hash } => {
                self.set_password(*user, password_hash)
            }
            CatalogueChange::UpdateUser { user, patch } => self.update_user(*user, patch),
            CatalogueChange::CreateTeam { team, at } => self.create_team(team, *at),
            CatalogueChange::UpdateTeam { team, patch } => self.update_team(*team, patch),
            CatalogueChange::DestroyTeam { team, at } => self.destroy_team(*team, *at),
            CatalogueChange::ReinstateTeam { team } => self.reinstate_team(*team),
            CatalogueChange::HardDeleteTeam { team } => self.hard_delete_team(*team),
            CatalogueChange::AddMember { team, user, permissions, creator, at } => {
                self.add_member(*team, *user, *permissions, *creator, *at)
            }
            CatalogueChange::UpdateMember { team, user, permissions } => {
                self.update_member(*team, *user, *permissions)
            }
            CatalogueChange::RemoveMember { team, user, at } => {
                self.remove_member(*team, *user, *at)
            }
            CatalogueChange::CreateProject { project, at } => self.create_project(project, *at),
            CatalogueChange::UpdateProject { project, patch } => {
                self.update_project(*project, patch)
            }
            CatalogueChange::DestroyProject { project, at } => self.destroy_project(*project, *at),
            CatalogueChange::ReinstateProject { project } => self.reinstate_project(*project),
            CatalogueChange::HardDeleteProject { project } => self.hard_delete_project(*project),
            CatalogueChange::CreateLicence { licence } => self.create_licence(licence),
            CatalogueChange::UpdateLicence { licence, patch } => {
                self.update_licence(*licence, patch)
            }
            CatalogueChange::EditSubdescriptors { licence, kind, edit, names } => {
                self.edit_subdescriptors(*licence, *kind, *edit, names)
            }
            CatalogueChange::DeleteLicence { licence } => self.delete_licence(*licence),
            CatalogueChange::CreateNode { node } => self.create_node(node),
            CatalogueChange::UpdateNode { node, patch } => self.update_node(*node, patch),
            CatalogueChange::DeleteNode { node } => self.delete_node(*node),
            CatalogueChange::Touch { logins, nodes } => self.touch(logins, nodes),
            CatalogueChange::CreateAccessToken { token, at } => {
                self.create_access_token(token, *at)
            }
            CatalogueChange::RevokeAccessToken { token } => self.revoke_access_token(*token),
            CatalogueChange::SetQuota { team, quota } => self.set_quota(*team, *quota),
            CatalogueChange::TouchAccessTokens { uses } => self.touch_access_tokens(uses),
        }
    }

    pub(super) fn record<T: DeserializeOwned>(
        &self,
        table: redb::TableDefinition<'static, u64, Bytes>,
        id: u64,
    ) -> Result<Option<T>, IndexError> {
        let table = self.txn.open_table(table)?;
        let row = table.get(id)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }

    /// The record that a change is about.
    fn expect_record<T: DeserializeOwned>(
        &self,
        table: redb::TableDefinition<'static, u64, Bytes>,
        record: RecordKind,
        id: u64,
    ) -> Result<T, Stop> {
        let found = self.record(table, id)?;
        found.ok_or(Stop::Refused(MutationError::RecordNotFound { record, id }))
    }

    fn remove_record(
        &self,
        table: redb::TableDefinition<'static, u64, Bytes>,
        id: u64,
    ) -> Result<(), IndexError> {
        self.txn.open_table(table)?.remove(id)?;
        Ok(())
    }
}

fn taken(rule: UniqueRule) -> Stop {
    Stop::Refused(MutationError::Taken { rule })
}
