//! Shapes of teams and memberships.

use granary_engine::model::{Membership, NewTeam, PermissionLevel, Team, TeamPatch, UserId};
use granary_engine::{ReadError, Snapshot};
use serde::Serialize;
use serde_json::Value;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text};
use crate::http::strict::{Strict, refusal};
use crate::http::wire::Time;

/// A team's name.
const NAME: Text = Text::upto(200);

/// A team with its present members.
#[derive(Serialize)]
pub(crate) struct TeamShape<'a> {
    pk: u64,
    name: &'a str,
    members: Vec<Member>,
    creator: Option<u64>,
    creation_time: Time,
    deletion_time: Option<Time>,
}

#[derive(Serialize)]
struct Member {
    pk: u64,
    username: String,
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
        Ok(Self {
            pk: team.id.0,
            name: &team.name,
            members,
            creator: team.creator.map(|creator| creator.0),
            creation_time: Time(team.creation_time),
            deletion_time: team.deletion_time.map(Time),
        })
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
#[derive(Serialize)]
pub(crate) struct MembershipShape {
    user: u64,
    team: u64,
    permissions: &'static str,
    creator: Option<u64>,
    creation_time: Time,
    deletion_time: Option<Time>,
}

impl From<&Membership> for MembershipShape {
    fn from(membership: &Membership) -> Self {
        Self {
            user: membership.user.0,
            team: membership.team.0,
            permissions: letter_of(membership.permissions),
            creator: membership.creator.map(|creator| creator.0),
            creation_time: Time(membership.creation_time),
            deletion_time: membership.deletion_time.map(Time),
        }
    }
}

/// The letter that the wire has for a level.
pub(crate) fn letter_of(level: PermissionLevel) -> &'static str {
    match level {
        PermissionLevel::Read => "R",
        PermissionLevel::Execute => "X",
        PermissionLevel::Write => "W",
        PermissionLevel::Admin => "A",
    }
}

/// What becomes of somebody's place in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MembershipMethod {
    Add(PermissionLevel),
    Update(PermissionLevel),
    Remove,
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
