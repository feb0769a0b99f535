//! Shapes of projects.

use granary_engine::model::{NewProject, Project, ProjectPatch, TeamId, UserId};
use granary_engine::{ReadError, Snapshot};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text, no_object};
use crate::http::wire::Time;

/// A project.
#[derive(Serialize, ToSchema)]
#[schema(as = Project)]
pub(crate) struct ProjectShape<'a> {
    #[schema(examples(1))]
    pk: u64,
    #[schema(examples("faces"))]
    name: &'a str,
    /// The primary key of the team that it belongs to.
    #[schema(examples(1))]
    team: u64,
    /// The primary key of the user who made it.
    #[schema(required = true, examples(1))]
    creator: Option<u64>,
    creation_time: Time,
    /// When it was soft-deleted; null while it is active.
    #[schema(required = true)]
    deletion_time: Option<Time>,
}

impl<'a> From<&'a Project> for ProjectShape<'a> {
    fn from(project: &'a Project) -> Self {
        Self {
            pk: project.id.0,
            name: &project.name,
            team: project.team.0,
            creator: project.creator.map(|creator| creator.0),
            creation_time: Time(project.creation_time),
            deletion_time: project.deletion_time.map(Time),
        }
    }
}

/// A project that is gone: its primary key names nothing now.
#[derive(Serialize, ToSchema)]
pub(crate) struct GoneProject<'a> {
    /// Always null.
    #[schema(value_type = Option<u64>, required = true)]
    pk: (),
    #[schema(examples("faces"))]
    name: &'a str,
    #[schema(examples(1))]
    team: u64,
    #[schema(required = true, examples(1))]
    creator: Option<u64>,
    creation_time: Time,
    #[schema(required = true)]
    deletion_time: Option<Time>,
}

impl<'a> From<&'a Project> for GoneProject<'a> {
    fn from(project: &'a Project) -> Self {
        let ProjectShape { pk: _, name, team, creator, creation_time, deletion_time } =
            ProjectShape::from(project);
        Self { pk: (), name, team, creator, creation_time, deletion_time }
    }
}

/// The fields of a new or wholly changed project. Fields that can only be read are passed over.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `ProjectBody` reads field by field")]
pub(crate) struct ProjectFields {
    /// Blanks at both ends are cut. Names of active projects of a team are unique.
    #[schema(min_length = 1, max_length = 200, examples("faces"))]
    name: String,
    /// The primary key of an active team that the user may write to.
    #[schema(examples(1))]
    team: u64,
}

/// The fields of a project that change; what is left out stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `ProjectBody` reads field by field")]
pub(crate) struct ProjectChange {
    #[schema(required = false, min_length = 1, max_length = 200, examples("hands"))]
    name: String,
    #[schema(required = false, examples(1))]
    team: u64,
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
