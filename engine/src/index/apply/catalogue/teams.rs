//! Teams and who is a member.

use redb::ReadableTable;

use super::super::{Applied, Group, Stop};
use super::taken;
use crate::codec;
use crate::error::{MutationError, RecordKind, UniqueRule};
use crate::index::{IndexError, holdings, tables};
use crate::model::{
    Membership, NewTeam, PermissionLevel, Quota, Team, TeamId, TeamPatch, Timestamp, UserId,
};

impl Group<'_> {
    /// A team that is not deleted, as the owner of something new.
    pub(super) fn active_team(&self, id: TeamId) -> Result<Team, Stop> {
        let team: Option<Team> = self.record(tables::TEAMS, id.0)?;
        let team = team.filter(|team| team.deletion_time.is_none());
        team.ok_or(Stop::Refused(MutationError::TeamNotFound { team: id }))
    }

    fn team(&self, id: TeamId) -> Result<Team, Stop> {
        self.expect_record(tables::TEAMS, RecordKind::Team, id.0)
    }

    fn put_team(&mut self, team: Team) -> Result<Applied, Stop> {
        self.put_record(tables::TEAMS, team.id.0, &team)?;
        Ok(Applied::Team(Box::new(team)))
    }

    fn enter_team_name(&mut self, name: &str, id: TeamId) -> Result<(), Stop> {
        let mut names = self.txn.open_table(tables::TEAM_NAMES)?;
        if names.get(name)?.is_some() {
            return Err(taken(UniqueRule::TeamName));
        }
        names.insert(name, id.0)?;
        Ok(())
    }

    fn leave_team_name(&mut self, team: &Team) -> Result<(), IndexError> {
        self.txn.open_table(tables::TEAM_NAMES)?.remove(team.name.as_str())?;
        Ok(())
    }

    pub(super) fn create_team(&mut self, new: &NewTeam, at: Timestamp) -> Result<Applied, Stop> {
        let mut names = self.txn.open_table(tables::TEAM_NAMES)?;
        if names.get(new.name.as_str())?.is_some() {
            return Err(taken(UniqueRule::TeamName));
        }
        let id = TeamId(self.next_number("team")?);
        names.insert(new.name.as_str(), id.0)?;
        self.put_team(Team {
            id,
            name: new.name.clone(),
            creator: new.creator,
            creation_time: at,
            deletion_time: None,
        })
    }

    pub(super) fn update_team(&mut self, id: TeamId, patch: &TeamPatch) -> Result<Applied, Stop> {
        let mut team = self.team(id)?;
        if let Some(name) = patch.name.as_ref().filter(|name| **name != team.name) {
            // A deleted team has no name to leave, and takes none.
            if team.deletion_time.is_none() {
                self.enter_team_name(name, id)?;
                self.leave_team_name(&team)?;
            }
            team.name.clone_from(name);
        }
        self.put_team(team)
    }

    /// One that is deleted already keeps its first time.
    pub(super) fn destroy_team(&mut self, id: TeamId, at: Timestamp) -> Result<Applied, Stop> {
        let mut team = self.team(id)?;
        if team.deletion_time.is_none() {
            self.leave_team_name(&team)?;
            team.deletion_time = Some(at);
            self.end_memberships(id, at)?;
            self.revoke_access_tokens_of_team(id)?;
        }
        self.put_team(team)
    }

    /// Visits the places of one team only.
    fn end_memberships(&mut self, team: TeamId, at: Timestamp) -> Result<(), Stop> {
        let mut ended = Vec::new();
        {
            let places = self.txn.open_table(tables::MEMBERSHIPS)?;
            for row in places.range((team.0, 0)..=(team.0, u64::MAX))? {
                let membership: Membership = codec::decode(row?.1.value())?;
                if membership.deletion_time.is_none() {
                    ended.push(Membership { deletion_time: Some(at), ..membership });
                }
            }
        }
        for membership in ended {
            self.put_member(membership)?;
        }
        Ok(())
    }

    pub(super) fn reinstate_team(&mut self, id: TeamId) -> Result<Applied, Stop> {
        let mut team = self.team(id)?;
        if team.deletion_time.is_some() {
            self.enter_team_name(&team.name, id)?;
            team.deletion_time = None;
        }
        self.put_team(team)
    }

    /// Never takes projects with it; memberships and access tokens mean nothing without their team
    /// and go.
    pub(super) fn hard_delete_team(&mut self, id: TeamId) -> Result<Applied, Stop> {
        let team = self.team(id)?;
        if let Some(first) = holdings::first_of(self.txn, tables::TEAM_PROJECTS, id.0)? {
            let (record, inside) = (RecordKind::Team, RecordKind::Project);
            return Err(MutationError::NotEmpty { record, id: id.0, inside, first }.into());
        }
        if team.deletion_time.is_none() {
            self.leave_team_name(&team)?;
        }
        let mut places = self.txn.open_table(tables::MEMBERSHIPS)?;
        places.retain_in((id.0, 0)..=(id.0, u64::MAX), |_, _| false)?;
        self.revoke_access_tokens_of_team(id)?;
        // Nothing changes the total any more: what its projects grew by was settled when they went.
        self.remove_record(tables::TEAM_USAGE, id.0)?;
        self.remove_record(tables::TEAM_QUOTAS, id.0)?;
        self.remove_record(tables::TEAMS, id.0)?;
        Ok(Applied::Team(Box::new(team)))
    }

    /// No bound at all is no row.
    pub(super) fn set_quota(&mut self, id: TeamId, quota: Quota) -> Result<Applied, Stop> {
        let team = self.team(id)?;
        if quota == Quota::default() {
            self.remove_record(tables::TEAM_QUOTAS, id.0)?;
        } else {
            self.put_record(tables::TEAM_QUOTAS, id.0, &quota)?;
        }
        self.forget_owners();
        Ok(Applied::Team(Box::new(team)))
    }

    pub(super) fn add_member(
        &mut self,
        team: TeamId,
        user: UserId,
        permissions: PermissionLevel,
        creator: Option<UserId>,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        self.active_team(team)?;
        self.user(user)?;
        if self.is_present_member(team, user)? {
            return Err(MutationError::MemberAlready { team, user }.into());
        }
        let (creation_time, deletion_time) = (at, None);
        self.put_member(Membership {
            team,
            user,
            permissions,
            creator,
            creation_time,
            deletion_time,
        })
    }

    pub(super) fn update_member(
        &mut self,
        team: TeamId,
        user: UserId,
        permissions: PermissionLevel,
    ) -> Result<Applied, Stop> {
        let membership = self.present_member(team, user)?;
        self.put_member(Membership { permissions, ..membership })
    }

    pub(super) fn remove_member(
        &mut self,
        team: TeamId,
        user: UserId,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        let membership = self.present_member(team, user)?;
        self.revoke_access_tokens_of_user(user, Some(team))?;
        self.put_member(Membership { deletion_time: Some(at), ..membership })
    }

    fn member(&self, team: TeamId, user: UserId) -> Result<Option<Membership>, IndexError> {
        let table = self.txn.open_table(tables::MEMBERSHIPS)?;
        let row = table.get((team.0, user.0))?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }

    pub(super) fn is_present_member(&self, team: TeamId, user: UserId) -> Result<bool, IndexError> {
        Ok(self.member(team, user)?.is_some_and(|row| row.deletion_time.is_none()))
    }

    pub(super) fn present_member(&self, team: TeamId, user: UserId) -> Result<Membership, Stop> {
        let membership = self.member(team, user)?.filter(|row| row.deletion_time.is_none());
        membership.ok_or(Stop::Refused(MutationError::NotAMember { team, user }))
    }

    fn put_member(&mut self, membership: Membership) -> Result<Applied, Stop> {
        let mut table = self.txn.open_table(tables::MEMBERSHIPS)?;
        let key = (membership.team.0, membership.user.0);
        table.insert(key, codec::encode(&membership)?.as_slice())?;
        Ok(Applied::Membership(Box::new(membership)))
    }
}
