//! What teams hold: running totals, kept true by whoever changes a header, and whether there is
//! room for more.
//!
//! A change notes by how much a project's datasets grew or shrank, which needs no look-up; the
//! totals of the teams follow when the group ends, or before a project moves to another team or is
//! removed.

use redb::ReadableTable;

use super::{Cached, Group, Stop};
use crate::codec;
use crate::error::MutationError;
use crate::index::{IndexError, tables};
use crate::model::change::SourceAfterMerge;
use crate::model::{Dataset, DatasetId, Project, ProjectId, Quota, TeamId, Usage};

/// How much the datasets of a project grew and shrank within a group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Growth {
    more: Usage,
    less: Usage,
}

/// The team of a project, and its quota if it has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) team: TeamId,
    quota: Option<Quota>,
}

impl Dataset {
    /// What it holds.
    pub(crate) fn usage(&self) -> Usage {
        Usage { files: self.file_count, bytes: self.file_bytes }
    }
}

impl Group<'_> {
    /// Notes what becomes of a dataset's counts; `None` if the dataset goes.
    pub(super) fn note_growth(&mut self, id: DatasetId, after: Option<&Dataset>) {
        let before = self.headers.get(&id).and_then(|header| header.value.as_ref());
        let before = before.map(|before| (before.project, before.usage()));
        if let Some((project, usage)) = before {
            let growth = self.growth.entry(project).or_default();
            growth.less = growth.less.plus(usage);
        }
        if let Some(after) = after {
            let growth = self.growth.entry(after.project).or_default();
            growth.more = growth.more.plus(after.usage());
        }
    }

    /// Counts files that came in a loaded header, in place; its revision grows. Only once nothing can
    /// refuse them any longer (I6).
    pub(super) fn count_files(&mut self, id: DatasetId, added: Usage) -> Result<(), IndexError> {
        let Some(Cached { value: Some(header), dirty }) = self.headers.get_mut(&id) else {
            return Err(IndexError::Contradiction(format!("dataset {id} is not cached")));
        };
        header.file_count += added.files;
        header.file_bytes += added.bytes;
        header.revision += 1;
        *dirty = true;
        let growth = self.growth.entry(header.project).or_default();
        growth.more = growth.more.plus(added);
        Ok(())
    }

    /// Writes the totals of all teams whose datasets changed.
    pub(super) fn settle_growth(&mut self) -> Result<(), IndexError> {
        for (project, growth) in std::mem::take(&mut self.growth) {
            // A dataset's project is there as long as the dataset is.
            if let Some(Owner { team, .. }) = self.owner(project)? {
                self.change_usage(team, growth)?;
            }
        }
        Ok(())
    }

    fn change_usage(&self, team: TeamId, growth: Growth) -> Result<(), IndexError> {
        let usage = self.usage(team)?.plus(growth.more).minus(growth.less);
        let mut table = self.txn.open_table(tables::TEAM_USAGE)?;
        table.insert(team.0, codec::encode(&usage)?.as_slice())?;
        Ok(())
    }

    /// What a team held when the group began, or since its totals were written.
    fn usage(&self, team: TeamId) -> Result<Usage, IndexError> {
        let table = self.txn.open_table(tables::TEAM_USAGE)?;
        let row = table.get(team.0)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?.unwrap_or_default())
    }

    pub(super) fn owner(&mut self, project: ProjectId) -> Result<Option<Owner>, IndexError> {
        if let Some(owner) = self.owners.get(&project) {
            return Ok(*owner);
        }
        let found: Option<Project> = {
            let table = self.txn.open_table(tables::PROJECTS)?;
            let row = table.get(project.0)?;
            row.map(|row| codec::decode(row.value())).transpose()?
        };
        let owner = match found {
            None => None,
            Some(Project { team, .. }) => {
                let table = self.txn.open_table(tables::TEAM_QUOTAS)?;
                let row = table.get(team.0)?;
                let quota = row.map(|row| codec::decode(row.value())).transpose()?;
                Some(Owner { team, quota })
            }
        };
        self.owners.insert(project, owner);
        Ok(owner)
    }

    /// Projects or quotas changed; who owns what is to be looked up again.
    pub(super) fn forget_owners(&mut self) {
        self.owners.clear();
    }

    /// Refuses what a project's team has no room for.
    pub(super) fn expect_room(&mut self, project: ProjectId, added: Usage) -> Result<(), Stop> {
        match self.owner(project)? {
            Some(Owner { team, quota: Some(quota) }) => self.expect_room_of(team, quota, added),
            Some(Owner { quota: None, .. }) | None => Ok(()),
        }
    }

    fn expect_room_of(&mut self, team: TeamId, quota: Quota, added: Usage) -> Result<(), Stop> {
        let mut used = self.usage(team)?;
        let grown: Vec<(ProjectId, Growth)> =
            self.growth.iter().map(|(project, growth)| (*project, *growth)).collect();
        let mut less = Usage::default();
        for (project, growth) in grown {
            if self.owner(project)?.is_some_and(|owner| owner.team == team) {
                used = used.plus(growth.more);
                less = less.plus(growth.less);
            }
        }
        let room = quota.expect_room(used.minus(less), added);
        room.map_err(|exceeded| MutationError::QuotaExceeded { team, exceeded }.into())
    }

    /// Refuses a merge for which there is no room. A source that goes for good makes some, if the
    /// same team has it.
    pub(super) fn expect_room_to_merge(
        &mut self,
        target: &Dataset,
        source: &Dataset,
        after: SourceAfterMerge,
        added: Usage,
    ) -> Result<(), Stop> {
        let team = |owner: Option<Owner>| owner.map(|owner| owner.team);
        let is_same_team = team(self.owner(target.project)?) == team(self.owner(source.project)?);
        let freed = match after {
            SourceAfterMerge::HardDelete if is_same_team => source.usage(),
            SourceAfterMerge::HardDelete | SourceAfterMerge::Destroy | SourceAfterMerge::Keep => {
                Usage::default()
            }
        };
        self.expect_room(target.project, added.minus(freed))
    }

    /// Refuses to move a dataset to a project of another team that has no room for it.
    pub(super) fn expect_room_to_move(
        &mut self,
        dataset: &Dataset,
        to: ProjectId,
    ) -> Result<(), Stop> {
        let team = |owner: Option<Owner>| owner.map(|owner| owner.team);
        if team(self.owner(dataset.project)?) == team(self.owner(to)?) {
            return Ok(());
        }
        self.expect_room(to, dataset.usage())
    }

    /// What all datasets of a project hold.
    pub(super) fn usage_within(&self, project: ProjectId) -> Result<Usage, IndexError> {
        let mut usage = Usage::default();
        let table = self.txn.open_table(tables::PROJECT_DATASETS)?;
        for row in table.range((project.0, 0)..=(project.0, u64::MAX))? {
            let id = DatasetId(row?.0.value().1);
            let dataset = self.look_at_header(id)?;
            usage = usage.plus(dataset.map_or_else(Usage::default, |dataset| dataset.usage()));
        }
        Ok(usage)
    }

    /// Refuses to move to a team what it has no room for.
    pub(super) fn expect_room_within(&mut self, team: TeamId, usage: Usage) -> Result<(), Stop> {
        match self.quota(team)? {
            None => Ok(()),
            Some(quota) => self.expect_room_of(team, quota, usage),
        }
    }

    /// Takes what a project holds from one team's total to another's.
    pub(super) fn move_usage(
        &mut self,
        usage: Usage,
        from: TeamId,
        to: TeamId,
    ) -> Result<(), IndexError> {
        // While the project's owner is still the old one.
        self.settle_growth()?;
        self.change_usage(from, Growth { less: usage, ..Growth::default() })?;
        self.change_usage(to, Growth { more: usage, ..Growth::default() })?;
        self.forget_owners();
        Ok(())
    }

    fn quota(&self, team: TeamId) -> Result<Option<Quota>, IndexError> {
        let table = self.txn.open_table(tables::TEAM_QUOTAS)?;
        let row = table.get(team.0)?;
        Ok(row.map(|row| codec::decode(row.value())).transpose()?)
    }
}

#[cfg(test)]
pub(super) mod tests;
