//! Users, and what was remembered of users and nodes.

use redb::ReadableTable;

use super::super::{Applied, Group, Stop};
use super::taken;
use crate::error::{MutationError, UniqueRule};
use crate::index::tables;
use crate::model::{NewUser, Node, NodeId, Timestamp, User, UserId, UserPatch};

impl Group<'_> {
    pub(super) fn create_user(&mut self, new: &NewUser, at: Timestamp) -> Result<Applied, Stop> {
        let mut names = self.txn.open_table(tables::USERNAMES)?;
        if names.get(new.username.as_str())?.is_some() {
            return Err(taken(UniqueRule::Username));
        }
        let id = UserId(self.next_number("user")?);
        names.insert(new.username.as_str(), id.0)?;
        let NewUser { username, password_hash, first_name, last_name, email, .. } = new.clone();
        let user = User {
            id,
            username,
            password_hash,
            first_name,
            last_name,
            email,
            is_superuser: new.is_superuser,
            is_staff: new.is_staff,
            is_active: new.is_active,
            date_joined: at,
            last_login: None,
        };
        self.put_record(tables::USERS, id.0, &user)?;
        Ok(Applied::User(Box::new(user)))
    }

    pub(super) fn set_password(
        &mut self,
        id: UserId,
        password_hash: &str,
    ) -> Result<Applied, Stop> {
        let mut user = self.user(id)?;
        password_hash.clone_into(&mut user.password_hash);
        self.put_record(tables::USERS, id.0, &user)?;
        Ok(Applied::User(Box::new(user)))
    }

    pub(super) fn update_user(&mut self, id: UserId, patch: &UserPatch) -> Result<Applied, Stop> {
        let mut user = self.user(id)?;
        let patch = patch.clone();
        if let Some(username) = patch.username.filter(|username| *username != user.username) {
            let mut names = self.txn.open_table(tables::USERNAMES)?;
            if names.get(username.as_str())?.is_some() {
                return Err(taken(UniqueRule::Username));
            }
            names.remove(user.username.as_str())?;
            names.insert(username.as_str(), id.0)?;
            user.username = username;
        }
        user.password_hash = patch.password_hash.unwrap_or(user.password_hash);
        user.first_name = patch.first_name.unwrap_or(user.first_name);
        user.last_name = patch.last_name.unwrap_or(user.last_name);
        user.email = patch.email.unwrap_or(user.email);
        let was_staff = user.is_staff;
        user.is_staff = patch.is_staff.unwrap_or(user.is_staff);
        if was_staff && !user.is_staff {
            self.revoke_access_tokens_beyond_memberships(id)?;
        }
        user.is_active = patch.is_active.unwrap_or(user.is_active);
        if patch.is_active == Some(false) {
            self.revoke_access_tokens_of_user(id, None)?;
        }
        self.put_record(tables::USERS, id.0, &user)?;
        Ok(Applied::User(Box::new(user)))
    }

    pub(super) fn user(&self, id: UserId) -> Result<User, Stop> {
        let user = self.record(tables::USERS, id.0)?;
        user.ok_or(Stop::Refused(MutationError::UserNotFound { user: id }))
    }

    /// Writes what was remembered in memory; things that have gone since are passed over.
    pub(super) fn touch(
        &mut self,
        logins: &[(UserId, Timestamp)],
        nodes: &[(NodeId, Timestamp)],
    ) -> Result<Applied, Stop> {
        for (id, at) in logins {
            if let Some(mut user) = self.record::<User>(tables::USERS, id.0)? {
                user.last_login = user.last_login.max(Some(*at));
                self.put_record(tables::USERS, id.0, &user)?;
            }
        }
        for (id, at) in nodes {
            if let Some(mut node) = self.record::<Node>(tables::NODES, id.0)? {
                node.last_seen = node.last_seen.max(Some(*at));
                self.put_record(tables::NODES, id.0, &node)?;
            }
        }
        Ok(Applied::Done)
    }
}
