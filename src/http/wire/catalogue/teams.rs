//! Shapes of teams and memberships.

use granary_engine::model::{Membership, NewTeam, PermissionLevel, Team, TeamPatch, UserId};
use granary_engine::{ReadError, Snapshot};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text};
use crate::http::strict::{Strict, refusal};
use crate::http::wire::Time;

/// A team's name.
const NAME: Text = Text::upto(200);

/// A team with its present members.
#[derive(Serialize, ToSchema)]
#[schema(as = Team)]
pub(crate) struct TeamShape<'a> {
    #[schema(examples(1))]
    pk: u64,
    #[schema(examples("vision"))]
    name: &'a str,
    members: Vec<Member>,
    /// The primary key of the user who made it.
    #[schema(required = true, examples(1))]
    creator: Option<u64>,
    creation_time: Time,
    /// When it was soft-deleted; null while it is active.
    #[schema(required = true)]
    deletion_time: Option<Time>,
}

/// A present member of a team.
#[derive(Serialize, ToSchema)]
struct Member {
    #[schema(examples(2))]
    pk: u64,
    #[schema(examples("ann"))]
    username: String,
}

/// The fields of a new or wholly changed team. Fields that can only be read are passed over.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read_team` reads")]
pub(crate) struct TeamFields {
    /// Blanks at both ends are cut. Names of active teams are unique.
    #[schema(min_length = 1, max_length = 200, examples("vision"))]
    name: String,
}

/// The fields of a team that change; what is left out stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read_team_patch` reads")]
pub(crate) struct TeamChange {
    #[schema(required = false, min_length = 1, max_length = 200, examples("hearing"))]
    name: String,
}

impl<'a> TeamShape<'a> {
    /// The team as a snapshot shows it.
    pub(crate) fn of(team: &'a Team, snapshot: &Snapshot) -> Result<Self, ReadError> {
        let mut members = Vec::new();
        for membership in snapshot.memberships(team.id)? {
            let membership = membership?;
            if membership.deletion_time.is_some() {
                continue;
            }
            if let Some(user) = snapshot.user(membership.user)? {
                members.push(Member { pk: user.id.0, username: user.username });
            }
        }
        Ok(Self { members, ..Self::without_members(team) })
    }

    /// The team alone.
    pub(crate) fn without_members(team: &'a Team) -> Self {
        Self {
            pk: team.id.0,
            name: &team.name,
            members: Vec::new(),
            creator: team.creator.map(|creator| creator.0),
            creation_time: Time(team.creation_time),
            deletion_time: team.deletion_time.map(Time),
        }
    }
}

/// Reads the body of a team's create.
pub(crate) fn read_team(mut fields: Fields, creator: Option<UserId>) -> Result<NewTeam, ApiError> {
    let name = fields.text("name", Need::Required, NAME);
    fields.check()?;
    Ok(NewTeam { name: name.unwrap_or_default(), creator })
}

/// Reads the body of a team's update (the name is needed) or partial update.
pub(crate) fn read_team_patch(mut fields: Fields, need: Need) -> Result<TeamPatch, ApiError> {
    let name = fields.text("name", need, NAME);
    fields.check()?;
    Ok(TeamPatch { name })
}

/// A user's place in a team.
#[derive(Serialize, ToSchema)]
#[schema(as = Membership)]
pub(crate) struct MembershipShape {
    /// The primary key of the user.
    #[schema(examples(2))]
    user: u64,
    /// The primary key of the team.
    #[schema(examples(1))]
    team: u64,
    permissions: Level,
    /// The primary key of the user who added this one.
    #[schema(required = true, examples(1))]
    creator: Option<u64>,
    creation_time: Time,
    /// When it ended; null while it lasts.
    #[schema(required = true)]
    deletion_time: Option<Time>,
}

impl From<&Membership> for MembershipShape {
    fn from(membership: &Membership) -> Self {
        Self {
            user: membership.user.0,
            team: membership.team.0,
            permissions: membership.permissions.into(),
            creator: membership.creator.map(|creator| creator.0),
            creation_time: Time(membership.creation_time),
            deletion_time: membership.deletion_time.map(Time),
        }
    }
}

/// What a member may do: read (R), execute (X), write (W), administrate (A); each includes those
/// before it.
#[derive(Serialize, ToSchema)]
pub(crate) enum Level {
    #[serde(rename = "R")]
    Read,
    #[serde(rename = "X")]
    Execute,
    #[serde(rename = "W")]
    Write,
    #[serde(rename = "A")]
    Admin,
}

impl From<PermissionLevel> for Level {
    fn from(level: PermissionLevel) -> Self {
        match level {
            PermissionLevel::Read => Self::Read,
            PermissionLevel::Execute => Self::Execute,
            PermissionLevel::Write => Self::Write,
            PermissionLevel::Admin => Self::Admin,
        }
    }
}

/// What becomes of somebody's place in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MembershipMethod {
    Add(PermissionLevel),
    Update(PermissionLevel),
    Remove,
}

/// A change of one user's place in a team.
#[derive(ToSchema)]
#[schema(as = MembershipChange)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `MembershipBody` reads")]
pub(crate) struct MembershipFields {
    /// The name of an active user.
    #[schema(min_length = 1, examples("ann"))]
    username: String,
    method: MethodName,
    /// What the member may do; left out it is R, for an update too.
    #[schema(required = false)]
    permissions: Level,
}

/// What is done to a user's place in a team.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what `MembershipBody` reads")]
enum MethodName {
    Add,
    Remove,
    Update,
}

/// The strict body of a change of memberships.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MembershipBody {
    pub(crate) username: String,
    pub(crate) method: MembershipMethod,
}

impl MembershipBody {
    /// Reads a body; whoever says no level means R, also for an update.
    pub(crate) fn read(body: Value) -> Result<Self, ApiError> {
        let mut body = Strict::of(body)?;
        let username = body.text("username")?.filter(|username| !username.is_empty());
        let method = body.text("method")?;
        let level = match body.text("permissions")?.as_deref() {
            None | Some("R") => PermissionLevel::Read,
            Some("X") => PermissionLevel::Execute,
            Some("W") => PermissionLevel::Write,
            Some("A") => PermissionLevel::Admin,
            Some(_) => return Err(refusal("'permissions' must be one of 'R', 'X', 'W', 'A'")),
        };
        body.check()?;
        let username = username.ok_or_else(|| refusal("'username' is required"))?;
        let method = match method.as_deref() {
            Some("add") => MembershipMethod::Add(level),
            Some("update") => MembershipMethod::Update(level),
            Some("remove") => MembershipMethod::Remove,
            Some(_) | None => {
                return Err(refusal("'method' must be one of 'add', 'remove', 'update'"));
            }
        };
        Ok(Self { username, method })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_of_memberships_is_strict() {
        let read = |body| MembershipBody::read(body).ok().map(|body| body.method);
        let add = json!({"username": "ann", "method": "add"});
        assert_eq!(read(add), Some(MembershipMethod::Add(PermissionLevel::Read)));
        let update = json!({"username": "ann", "method": "update", "permissions": "A"});
        assert_eq!(read(update), Some(MembershipMethod::Update(PermissionLevel::Admin)));
        let remove = json!({"username": "ann", "method": "remove", "permissions": "X"});
        assert_eq!(read(remove), Some(MembershipMethod::Remove));
        for body in [
            json!({}),
            json!([1]),
            json!({"username": "ann"}),
            json!({"method": "add"}),
            json!({"username": "", "method": "add"}),
            json!({"username": 1, "method": "add"}),
            json!({"username": "ann", "method": "join"}),
            json!({"username": "ann", "method": "add", "permissions": "r"}),
            json!({"username": "ann", "method": "add", "permissions": null}),
            json!({"username": "ann", "method": "add", "team": 1}),
        ] {
            assert_eq!(read(body.clone()), None, "{body}");
        }
    }
}
