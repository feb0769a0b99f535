//! Teams, each with its present members, and who is a member.

use std::io::Write;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::{Team, User};
use granary_engine::{MutationError, Snapshot};

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::lists;
use super::openapi::failures::{FieldsBody, Growing, Guarded, JsonBody, Restricted, Taken};
use super::openapi::parameters::Page;
use super::path;
use super::respond::{empty, json, spooled, spooled_after_change, write_shape};
use super::state::AppState;
use super::wire::catalogue::{
    Level, MembershipBody, MembershipFields, MembershipMethod, MembershipShape, TeamChange,
    TeamFields, TeamShape, read_team, read_team_patch,
};
use super::wire::filter::FilterBody;
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// Lists the teams.
///
/// For everybody who is logged in; shows the teams that they are a member of, administrators all.
#[utoipa::path(
    post,
    path = "/v1/teams/list",
    params(Page),
    request_body = Option<FilterBody>,
    responses(
        (
            status = OK,
            description = "The teams.",
            body = Vec<TeamShape<'_>>,
            headers(("Link" = String, description = "Where the next page is, if there is one.")),
        ),
        Restricted, JsonBody,
    ),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    lists::list::<lists::Teams>(app, principal, uri, incoming).await
}

/// Makes a team.
///
/// For administrators. Names of active teams are unique.
#[utoipa::path(
    post,
    path = "/v1/teams/create",
    request_body = TeamFields,
    responses(
        (status = CREATED, description = "The new team.", body = TeamShape<'_>),
        Restricted, Growing, FieldsBody,
    ),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let team = read_team(incoming.fields(&app).await?, principal.user_id())?;
    let allowed = allow(&app.snapshot()?, &principal, Action::CreateTeam, Object::Server)?;
    let created = app.engine(&allowed)?.create_team(team).await?;
    json(StatusCode::CREATED, &TeamShape::of(&created, &app.snapshot()?)?)
}

/// Shows a team with its present members.
///
/// For members and administrators.
#[utoipa::path(
    get,
    path = "/v1/teams/{pk}",
    responses((status = OK, description = "The team.", body = TeamShape<'_>), Guarded),
)]
pub(crate) async fn retrieve(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let snapshot = app.snapshot()?;
    let team = read(&snapshot, &uri)?;
    drop(allow(&snapshot, &principal, Action::RetrieveTeam, Object::Team(team.id))?);
    drop(snapshot);
    let state = app.clone();
    // Of any number of members, as they are when its turn comes.
    let write = move |out: &mut dyn Write| {
        let principal = state.renewed(&principal)?;
        let Opened { snapshot, team, .. } = open(&state, &principal, Action::RetrieveTeam, &uri)?;
        write_shape(out, &TeamShape::of(&team, &snapshot)?)
    };
    spooled(&app, StatusCode::OK, write).await
}

/// A team after a change, as it is when its turn has come; without members where it is gone, or who changed it
/// may not see it any more.
pub(super) async fn shown_changed(
    app: &AppState,
    principal: &Principal,
    changed: Team,
) -> Result<Response, ApiError> {
    let (state, principal) = (app.clone(), principal.clone());
    let write = move |out: &mut dyn Write| {
        let snapshot = state.snapshot()?;
        let object = Object::Team(changed.id);
        let is_seen = state.may_still(&snapshot, &principal, Action::RetrieveTeam, object);
        match snapshot.team(changed.id)?.filter(|_| is_seen) {
            Some(shown) => write_shape(out, &TeamShape::of(&shown, &snapshot)?),
            None => write_shape(out, &TeamShape::without_members(&changed)),
        }
    };
    spooled_after_change(app, StatusCode::OK, write).await
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

/// Changes a team.
///
/// For members with the right to administrate it, and administrators.
#[utoipa::path(
    put,
    path = "/v1/teams/{pk}",
    request_body = TeamFields,
    responses(
        (status = OK, description = "The changed team.", body = TeamShape<'_>),
        Guarded, Growing, FieldsBody,
    ),
)]
pub(crate) async fn update(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    change(&app, &principal, &uri, incoming, Need::Required).await
}

/// Changes some fields of a team.
///
/// For the same as a whole change.
#[utoipa::path(
    patch,
    path = "/v1/teams/{pk}",
    request_body = Option<TeamChange>,
    responses(
        (status = OK, description = "The changed team.", body = TeamShape<'_>),
        Guarded, Growing, FieldsBody,
    ),
)]
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
    let changed = app.engine(&allowed)?.update_team(team.id, patch).await?;
    shown_changed(app, principal, changed).await
}

/// Soft-deletes a team: its memberships end, its projects stay.
///
/// For members with the right to administrate it, and administrators.
#[utoipa::path(
    delete,
    path = "/v1/teams/{pk}",
    responses((status = NO_CONTENT, description = "It is deleted."), Guarded),
)]
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Opened { team, allowed, .. } = open(&app, &principal, Action::DestroyTeam, &uri)?;
    app.engine(&allowed)?.destroy_team(team.id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Deletes a team for good, if no project belongs to it.
///
/// For administrators; the right is looked at before the team.
#[utoipa::path(
    delete,
    path = "/v1/teams/{pk}/hard",
    responses((status = OK, description = "What was there.", body = TeamShape<'_>), Guarded),
)]
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
    app.engine(&allowed)?.hard_delete_team(team.id).await?;
    Ok(shown)
}

/// Brings a soft-deleted team back; memberships stay ended.
///
/// For administrators; the right is looked at before the team.
#[utoipa::path(
    delete,
    path = "/v1/teams/{pk}/reinstate",
    responses(
        (status = OK, description = "The team.", body = TeamShape<'_>),
        Guarded, Growing, Taken,
    ),
)]
pub(crate) async fn reinstate(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let action = Action::ReinstateTeam;
    let Opened { team, allowed, .. } = open_for_administrators(&app, &principal, action, &uri)?;
    let reinstated = app.engine(&allowed)?.reinstate_team(team.id).await?;
    json(StatusCode::OK, &TeamShape::of(&reinstated, &app.snapshot()?)?)
}

/// Adds a member to a team, removes one, or changes what one may do.
///
/// For members with the right to administrate the team, and administrators; the right is looked at
/// first, so that who may not learns nothing about who is there.
#[utoipa::path(
    patch,
    path = "/v1/teams/{pk}/memberships",
    request_body = MembershipFields,
    responses(
        (
            status = OK,
            description = "The membership, as it is or as it ended.",
            body = MembershipShape,
        ),
        Guarded, Growing, JsonBody,
    ),
)]
pub(crate) async fn modify_memberships(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    drop(open(&app, &principal, Action::ModifyMemberships, &uri)?);
    let MembershipBody { username, method } =
        MembershipBody::read(incoming.json(&app).await?.value)?;
    let Opened { team, allowed, .. } = open(&app, &principal, Action::ModifyMemberships, &uri)?;
    let user = known_user(&app.snapshot()?, &username)?;
    if !user.is_active {
        return Err(ApiError::bad_name(&username, "This user is no longer active"));
    }
    if team.deletion_time.is_some() {
        return Err(ApiError::bad_request("The team is deleted; reinstate it first."));
    }
    let engine = app.engine(&allowed)?;
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

/// Gives the letter of what a present member may do.
///
/// For members with the right to administrate the team, and administrators.
#[utoipa::path(
    get,
    path = "/v1/teams/{pk}/permissions/{username}",
    responses((status = OK, description = "The letter.", body = Level), Guarded),
)]
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
    json(StatusCode::OK, &Level::from(membership.permissions))
}

fn known_user(snapshot: &Snapshot, username: &str) -> Result<User, ApiError> {
    let user = snapshot.user_by_name(username)?;
    user.ok_or_else(|| ApiError::bad_name(username, "No user with this username exists"))
}

fn not_a_member(username: &str, team: &Team) -> ApiError {
    let reason = format!("This user is not a member of team {}", team.name);
    ApiError::bad_name(username, reason)
}
