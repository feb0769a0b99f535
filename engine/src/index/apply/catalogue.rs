//! Users, teams, memberships, projects, licences, nodes, with their unique rules.

use redb::ReadableTable;
use serde::de::DeserializeOwned;

use super::{Applied, Bytes, Group, Stop};
use crate::codec;
use crate::error::{MutationError, UniqueRule};
use crate::index::{IndexError, tables};
use crate::model::change::CatalogueChange;
use crate::model::{
    Licence, LicenceId, Membership, NewLicence, NewNode, NewProject, NewTeam, NewUser, Node,
    NodeId, PermissionLevel, Project, ProjectId, Team, TeamId, Timestamp, User, UserId,
};

impl Group<'_> {
    pub(super) fn catalogue(&mut self, change: &CatalogueChange) -> Result<Applied, Stop> {
        match change {
            CatalogueChange::CreateUser { user, at } => self.create_user(user, *at),
            CatalogueChange::SetPassword { user, password_hash } => {
                self.set_password(*user, password_hash)
            }
            CatalogueChange::CreateTeam { team, at } => self.create_team(team, *at),
            CatalogueChange::AddMember { team, user, permissions, creator, at } => {
                self.add_member(*team, *user, *permissions, *creator, *at)
            }
            CatalogueChange::CreateProject { project, at } => self.create_project(project, *at),
            CatalogueChange::CreateLicence { licence } => self.create_licence(licence),
            CatalogueChange::CreateNode { node } => self.create_node(node),
            CatalogueChange::Touch { logins, nodes } => self.touch(logins, nodes),
        }
    }

    fn record<T: DeserializeOwned>(
        &self,
        table: redb::TableDefinition<'static, u64, Bytes>,
        id: u64,
    ) -> Result<Option<T>, IndexError> {
        let table = self.txn.open_table(table)?;
        let row = table.get(id)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }

    fn create_user(&mut self, new: &NewUser, at: Timestamp) -> Result<Applied, Stop> {
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

    fn set_password(&mut self, id: UserId, password_hash: &str) -> Result<Applied, Stop> {
        let mut user = self.user(id)?;
        password_hash.clone_into(&mut user.password_hash);
        self.put_record(tables::USERS, id.0, &user)?;
        Ok(Applied::User(Box::new(user)))
    }

    fn user(&self, id: UserId) -> Result<User, Stop> {
        let user = self.record(tables::USERS, id.0)?;
        user.ok_or(Stop::Refused(MutationError::UserNotFound { user: id }))
    }

    fn active_team(&self, id: TeamId) -> Result<Team, Stop> {
        let team: Option<Team> = self.record(tables::TEAMS, id.0)?;
        let team = team.filter(|team| team.deletion_time.is_none());
        team.ok_or(Stop::Refused(MutationError::TeamNotFound { team: id }))
    }

    fn create_team(&mut self, new: &NewTeam, at: Timestamp) -> Result<Applied, Stop> {
        let mut names = self.txn.open_table(tables::TEAM_NAMES)?;
        if names.get(new.name.as_str())?.is_some() {
            return Err(taken(UniqueRule::TeamName));
        }
        let id = TeamId(self.next_number("team")?);
        names.insert(new.name.as_str(), id.0)?;
        let team = Team {
            id,
            name: new.name.clone(),
            creator: new.creator,
            creation_time: at,
            deletion_time: None,
        };
        self.put_record(tables::TEAMS, id.0, &team)?;
        Ok(Applied::Team(Box::new(team)))
    }

    fn add_member(
        &mut self,
        team: TeamId,
        user: UserId,
        permissions: PermissionLevel,
        creator: Option<UserId>,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        self.active_team(team)?;
        self.user(user)?;
        let mut table = self.txn.open_table(tables::MEMBERSHIPS)?;
        let row = table.get((team.0, user.0))?.map(|row| codec::decode::<Membership>(row.value()));
        if row.transpose()?.is_some_and(|row| row.deletion_time.is_none()) {
            return Err(MutationError::MemberAlready { team, user }.into());
        }
        let membership =
            Membership { team, user, permissions, creator, creation_time: at, deletion_time: None };
        table.insert((team.0, user.0), codec::encode(&membership)?.as_slice())?;
        Ok(Applied::Membership(Box::new(membership)))
    }

    fn create_project(&mut self, new: &NewProject, at: Timestamp) -> Result<Applied, Stop> {
        self.active_team(new.team)?;
        let mut names = self.txn.open_table(tables::PROJECT_NAMES)?;
        if names.get((new.team.0, new.name.as_str()))?.is_some() {
            return Err(taken(UniqueRule::ProjectName));
        }
        let id = ProjectId(self.next_number("project")?);
        names.insert((new.team.0, new.name.as_str()), id.0)?;
        let project = Project {
            id,
            name: new.name.clone(),
            team: new.team,
            creator: new.creator,
            creation_time: at,
            deletion_time: None,
        };
        self.put_record(tables::PROJECTS, id.0, &project)?;
        Ok(Applied::Project(Box::new(project)))
    }

    fn create_licence(&mut self, new: &NewLicence) -> Result<Applied, Stop> {
        let mut names = self.txn.open_table(tables::LICENCE_NAMES)?;
        if names.get(new.name.as_str())?.is_some() {
            return Err(taken(UniqueRule::LicenceName));
        }
        let id = LicenceId(self.next_number("licence")?);
        names.insert(new.name.as_str(), id.0)?;
        let NewLicence { name, url, permissions, conditions, limitations, domains } = new.clone();
        let licence = Licence { id, name, url, permissions, conditions, limitations, domains };
        self.put_record(tables::LICENCES, id.0, &licence)?;
        Ok(Applied::Licence(Box::new(licence)))
    }

    fn create_node(&mut self, new: &NewNode) -> Result<Applied, Stop> {
        let mut addresses = self.txn.open_table(tables::NODE_ADDRESSES)?;
        if addresses.get((new.ip.as_str(), new.index))?.is_some() {
            return Err(taken(UniqueRule::NodeAddress));
        }
        let id = NodeId(self.next_number("node")?);
        addresses.insert((new.ip.as_str(), new.index), id.0)?;
        let node = Node {
            id,
            ip: new.ip.clone(),
            index: new.index,
            driver_version: new.driver_version.clone(),
            hardware_generation: new.hardware_generation,
            gpu_mem: new.gpu_mem,
            cpu_mem: new.cpu_mem,
            last_seen: None,
            current_job: new.current_job,
        };
        self.put_record(tables::NODES, id.0, &node)?;
        Ok(Applied::Node(Box::new(node)))
    }

    /// Writes what was remembered in memory; things that have gone since are passed over.
    fn touch(
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

fn taken(rule: UniqueRule) -> Stop {
    Stop::Refused(MutationError::Taken { rule })
}
