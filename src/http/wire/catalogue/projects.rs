//! Shapes of projects.

use granary_engine::model::{NewProject, Project, ProjectPatch, TeamId, UserId};
use granary_engine::{ReadError, Snapshot};
use serde::Serialize;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text, no_object};
use crate::http::wire::Time;

/// A project.
#[derive(Serialize)]
pub(crate) struct ProjectShape<'a> {
    pk: Option<u64>,
    name: &'a str,
    team: u64,
    creator: Option<u64>,
    creation_time: Time,
    deletion_time: Option<Time>,
}

impl<'a> From<&'a Project> for ProjectShape<'a> {
    fn from(project: &'a Project) -> Self {
        Self {
            pk: Some(project.id.0),
            name: &project.name,
            team: project.team.0,
            creator: project.creator.map(|creator| creator.0),
            creation_time: Time(project.creation_time),
            deletion_time: project.deletion_time.map(Time),
        }
    }
}

impl<'a> ProjectShape<'a> {
    /// A project that is gone, as the API shows one: its primary key names nothing now.
    pub(crate) fn gone(project: &'a Project) -> Self {
        Self { pk: None, ..Self::from(project) }
    }
}

/// The fields of a project in a body, none of them granted.
pub(crate) struct ProjectBody {
    patch: ProjectPatch,
}

impl ProjectBody {
    /// Reads the body of create, update (all needed) or partial update (none).
    ///
    /// A team must be there and not deleted, unless it is the one that the project is in.
    pub(crate) fn read(
        mut fields: Fields,
        snapshot: &Snapshot,
        need: Need,
        current: Option<TeamId>,
    ) -> Result<Self, ApiError> {
        let name = fields.text("name", need, Text::upto(200));
        let team = fields.pk("team", need).map(TeamId);
        if let Some(team) = team
            && current != Some(team)
            && !is_active(snapshot, team)?
        {
            fields.refuse("team", no_object(team));
        }
        fields.check()?;
        Ok(Self { patch: ProjectPatch { name, team } })
    }

    /// The team that the body names.
    pub(crate) fn team(&self) -> Option<TeamId> {
        self.patch.team
    }

    /// The change of a project.
    pub(crate) fn patch(self) -> ProjectPatch {
        self.patch
    }

    /// A new project; `None` if the body was not read as one that needs all fields.
    pub(crate) fn project(self, creator: Option<UserId>) -> Option<NewProject> {
        let ProjectPatch { name, team } = self.patch;
        Some(NewProject { name: name?, team: team?, creator })
    }
}

fn is_active(snapshot: &Snapshot, team: TeamId) -> Result<bool, ReadError> {
    Ok(snapshot.team(team)?.is_some_and(|team| team.deletion_time.is_none()))
}
