//! Teams, each with its present members, and who is a member.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::{Team, User};
use granary_engine::{MutationError, Snapshot};

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::path;
use super::respond::{empty, json};
use super::state::AppState;
use super::wire::catalogue::{
    MembershipBody, MembershipMethod, MembershipShape, TeamShape, letter_of, read_team,
    read_team_patch,
};
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// `POST /teams/create`.
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let team = read_team(incoming.fields(&app).await?, principal.user_id())?;
    let allowed = allow(&app.snapshot()?, &principal, Action::CreateTeam, Object::Server)?;
    let created = app.engine(&allowed).create_team(team).await?;
    json(StatusCode::CREATED, &TeamShape::of(&created, &app.snapshot()?)?)
}

/// `GET /teams/{pk}`.
pub(crate) async fn retrieve(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let snapshot = app.snapshot()?;
    let team = read(&snapshot, &uri)?;
    drop(allow(&snapshot, &principal, Action::RetrieveTeam, Object::Team(team.id))?);
    json(StatusCode::OK, &TeamShape::of(&team, &snapshot)?)
}

/// A team that an action is permitted on, in the state that said so.
struct Opened {
    snapshot: Snapshot,
    team: Team,
    allowed: Allowed,
}

/// Finds a team (404, even for the anonymous), then asks for the permission (401, 403).
fn open(
    app: &AppState,
    principal: &Principal,
    action: Action,
    uri: &Uri,
) -> Result<Opened, ApiError> {
    let snapshot = app.snapshot()?;
    let team = read(&snapshot, uri)?;
    let allowed = allow(&snapshot, principal, action, Object::Team(team.id))?;
    Ok(Opened { snapshot, team, allowed })
}

/// As [`open`], with the right looked at first: whether the team is there is for administrators.
fn open_for_administrators(
    app: &AppState,
    principal: &Principal,
    action: Action,
    uri: &Uri,
) -> Result<Opened, ApiError> {
    let snapshot = app.snapshot()?;
    let allowed = allow(&snapshot, principal, action, Object::Server)?;
    let team = read(&snapshot, uri)?;
    Ok(Opened { snapshot, team, allowed })
}

fn read(snapshot: &Snapshot, uri: &Uri) -> Result<Team, ApiError> {
    let team = snapshot.team(path::team(uri)?)?;
    team.ok_or_else(|| ApiError::no_record("Team"))
}

/// `PUT /teams/{pk}`.
pub(crate) async fn update(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    change(&app, &principal, &uri, incoming, Need::Required).await
}

/// `PATCH /teams/{pk}`.
pub(crate) async fn partial_update(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    change(&app, &principal, &uri, incoming, Need::Optional).await
}

async fn change(
    app: &AppState,
    principal: &Principal,
    uri: &Uri,
    incoming: Incoming,
    need: Need,
) -> Result<Response, ApiError> {
    let Opened { team, allowed, .. } = open(app, principal, Action::UpdateTeam, uri)?;
    let patch = read_team_patch(incoming.fields(app).await?, need)?;
    let changed = app.engine(&allowed).update_team(team.id, patch).await?;
    json(StatusCode::OK, &TeamShape::of(&changed, &app.snapshot()?)?)
}

/// `DELETE /teams/{pk}`: its memberships end, its projects stay.
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Opened { team, allowed, .. } = open(&app, &principal, Action::DestroyTeam, &uri)?;
    app.engine(&allowed).destroy_team(team.id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `DELETE /teams/{pk}/hard`. The right is looked at first; the answer shows what was there.
pub(crate) async fn hard_delete(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let action = Action::HardDeleteTeam;
    let Opened { snapshot, team, allowed } =
        open_for_administrators(&app, &principal, action, &uri)?;
    let shown = json(StatusCode::OK, &TeamShape::of(&team, &snapshot)?)?;
    drop(snapshot);
    app.engine(&allowed).hard_delete_team(team.id).await?;
    Ok(shown)
}

/// `DELETE /teams/{pk}/reinstate`. The right is looked at first; memberships stay ended.
pub(crate) async fn reinstate(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let action = Action::ReinstateTeam;
    let Opened { team, allowed, .. } = open_for_administrators(&app, &principal, action, &uri)?;
    let reinstated = app.engine(&allowed).reinstate_team(team.id).await?;
    json(StatusCode::OK, &TeamShape::of(&reinstated, &app.snapshot()?)?)
}

/// `PATCH /teams/{pk}/memberships`: answers with the membership, as it is or as it ended.
///
/// The right is looked at first, so that who may not learns nothing about who is there.
pub(crate) async fn modify_memberships(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let Opened { team, allowed, .. } = open(&app, &principal, Action::ModifyMemberships, &uri)?;
    let MembershipBody { username, method } =
        MembershipBody::read(incoming.json(&app).await?.value)?;
    let user = known_user(&app.snapshot()?, &username)?;
    if !user.is_active {
        return Err(ApiError::bad_name(&username, "This user is no longer active"));
    }
    if team.deletion_time.is_some() {
        return Err(ApiError::bad_request("The team is deleted; reinstate it first."));
    }
    let engine = app.engine(&allowed);
    let changed = match method {
        MembershipMethod::Add(level) => {
            engine.add_member(team.id, user.id, level, principal.user_id()).await
        }
        MembershipMethod::Update(level) => engine.update_member(team.id, user.id, level).await,
        MembershipMethod::Remove => engine.remove_member(team.id, user.id).await,
    };
    match changed {
        Ok(membership) => json(StatusCode::OK, &MembershipShape::from(&membership)),
        Err(MutationError::NotAMember { .. }) => Err(not_a_member(&username, &team)),
        Err(MutationError::MemberAlready { .. }) => {
            let reason = format!("This user is already a member of team {}", team.name);
            Err(ApiError::bad_name(&username, reason))
        }
        Err(error) => Err(error.into()),
    }
}

/// `GET /teams/{pk}/permissions/{*username}`: the letter of a present member's level.
pub(crate) async fn get_permissions(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Opened { snapshot, team, .. } = open(&app, &principal, Action::GetPermissions, &uri)?;
    let username = path::name(&uri)?;
    let user = known_user(&snapshot, &username)?;
    let membership = snapshot.membership(team.id, user.id)?;
    let membership = membership.filter(|membership| membership.deletion_time.is_none());
    let membership = membership.ok_or_else(|| not_a_member(&username, &team))?;
    json(StatusCode::OK, &letter_of(membership.permissions))
}

fn known_user(snapshot: &Snapshot, username: &str) -> Result<User, ApiError> {
    let user = snapshot.user_by_name(username)?;
    user.ok_or_else(|| ApiError::bad_name(username, "No user with this username exists"))
}

fn not_a_member(username: &str, team: &Team) -> ApiError {
    let reason = format!("This user is not a member of team {}", team.name);
    ApiError::bad_name(username, reason)
}
