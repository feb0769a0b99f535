//! Projects.

use redb::ReadableTable;

use super::super::{Applied, Group, Stop};
use super::taken;
use crate::error::{MutationError, RecordKind, UniqueRule};
use crate::index::{IndexError, holdings, tables};
use crate::model::{NewProject, Project, ProjectId, ProjectPatch, Timestamp};

impl Group<'_> {
    fn project(&self, id: ProjectId) -> Result<Project, Stop> {
        self.expect_record(tables::PROJECTS, RecordKind::Project, id.0)
    }

    fn put_project(&mut self, project: Project) -> Result<Applied, Stop> {
        self.put_record(tables::PROJECTS, project.id.0, &project)?;
        Ok(Applied::Project(Box::new(project)))
    }

    fn expect_project_name_free(&self, project: &Project) -> Result<(), Stop> {
        let names = self.txn.open_table(tables::PROJECT_NAMES)?;
        match names.get((project.team.0, project.name.as_str()))? {
            None => Ok(()),
            Some(_) => Err(taken(UniqueRule::ProjectName)),
        }
    }

    fn enter_project_name(&mut self, project: &Project) -> Result<(), IndexError> {
        let mut names = self.txn.open_table(tables::PROJECT_NAMES)?;
        names.insert((project.team.0, project.name.as_str()), project.id.0)?;
        Ok(())
    }

    fn leave_project_name(&mut self, project: &Project) -> Result<(), IndexError> {
        let mut names = self.txn.open_table(tables::PROJECT_NAMES)?;
        names.remove((project.team.0, project.name.as_str()))?;
        Ok(())
    }

    pub(super) fn create_project(
        &mut self,
        new: &NewProject,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        self.active_team(new.team)?;
        let mut project = Project {
            id: ProjectId(0),
            name: new.name.clone(),
            team: new.team,
            creator: new.creator,
            creation_time: at,
            deletion_time: None,
        };
        self.expect_project_name_free(&project)?;
        project.id = ProjectId(self.next_number("project")?);
        self.enter_project_name(&project)?;
        holdings::enter_project(self.txn, &project)?;
        self.put_project(project)
    }

    pub(super) fn update_project(
        &mut self,
        id: ProjectId,
        patch: &ProjectPatch,
    ) -> Result<Applied, Stop> {
        let before = self.project(id)?;
        let mut after = before.clone();
        let ProjectPatch { name, team } = patch.clone();
        after.name = name.unwrap_or(after.name);
        after.team = team.unwrap_or(after.team);
        let mut moved = None;
        if after.team != before.team {
            self.active_team(after.team)?;
            let usage = self.usage_within(id)?;
            self.expect_room_within(after.team, usage)?;
            moved = Some(usage);
        }
        let renamed = (&after.name, after.team) != (&before.name, before.team);
        // A deleted project has no name to leave, and takes none.
        if renamed && before.deletion_time.is_none() {
            self.expect_project_name_free(&after)?;
            self.leave_project_name(&before)?;
            self.enter_project_name(&after)?;
        }
        if let Some(usage) = moved {
            self.move_usage(usage, before.team, after.team)?;
            holdings::leave_project(self.txn, &before)?;
            holdings::enter_project(self.txn, &after)?;
        }
        self.put_project(after)
    }

    /// Takes its datasets along, as if each were destroyed. One that is deleted already keeps its
    /// first time, and what was brought back in it since.
    pub(super) fn destroy_project(
        &mut self,
        id: ProjectId,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        let mut project = self.project(id)?;
        if project.deletion_time.is_none() {
            self.leave_project_name(&project)?;
            project.deletion_time = Some(at);
            self.soft_delete_within(id, at)?;
        }
        self.put_project(project)
    }

    pub(super) fn reinstate_project(&mut self, id: ProjectId) -> Result<Applied, Stop> {
        let mut project = self.project(id)?;
        if project.deletion_time.is_some() {
            self.expect_project_name_free(&project)?;
            self.enter_project_name(&project)?;
            project.deletion_time = None;
        }
        self.put_project(project)
    }

    /// Never takes datasets with it.
    pub(super) fn hard_delete_project(&mut self, id: ProjectId) -> Result<Applied, Stop> {
        let project = self.project(id)?;
        if let Some(first) = holdings::first_of(self.txn, tables::PROJECT_DATASETS, id.0)? {
            let (record, inside) = (RecordKind::Project, RecordKind::Dataset);
            return Err(MutationError::NotEmpty { record, id: id.0, inside, first }.into());
        }
        // While it says whose total its last datasets have left.
        self.settle_growth()?;
        if project.deletion_time.is_none() {
            self.leave_project_name(&project)?;
        }
        holdings::leave_project(self.txn, &project)?;
        self.remove_record(tables::PROJECTS, id.0)?;
        Ok(Applied::Project(Box::new(project)))
    }
}
