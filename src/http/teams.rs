//! Teams: list, create, retrieve, each with its present members.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::Incoming;
use super::error::ApiError;
use super::path;
use super::respond::{Rows, json, spooled};
use super::state::AppState;
use super::wire::catalogue::{TeamShape, read_team};
use super::wire::list::ListBody;
use crate::permission::{Action, Object, Principal, Rights, allow};

/// `POST /teams/list`: the teams that the caller may retrieve.
pub(crate) async fn list(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let action = Action::ListTeams;
    drop(allow(&app.snapshot()?, &principal, action, Object::Server)?);
    let list = ListBody::read(incoming.json(&app).await?.value)?;
    let snapshot = app.snapshot()?;
    spooled(&app, StatusCode::OK, move |out| {
        let mut rights = Rights::of(&snapshot, &principal);
        let mut rows = Rows::begin(out);
        for team in snapshot.teams()? {
            let team = team?;
            let active = team.deletion_time.is_none() || list.include_inactive;
            if active && rights.may(Action::RetrieveTeam, Object::Team(team.id))? {
                rows.push(&TeamShape::of(&team, &snapshot)?)?;
            }
        }
        rows.end()
    })
    .await
}

/// `POST /teams/create`.
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let team = read_team(incoming.fields(&app).await?, principal.user_id())?;
    let allowed = allow(
        &app.snapshot()?,
        &principal,
        Action::CreateTeam,
        Object::Server,
    )?;
    let created = app.engine(&allowed).create_team(team).await?;
    json(
        StatusCode::CREATED,
        &TeamShape::of(&created, &app.snapshot()?)?,
    )
}

/// `GET /teams/{pk}`.
pub(crate) async fn retrieve(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let snapshot = app.snapshot()?;
    let team = snapshot.team(path::team(&uri)?)?;
    let team = team.ok_or_else(|| ApiError::no_record("Team"))?;
    drop(allow(
        &snapshot,
        &principal,
        Action::RetrieveTeam,
        Object::Team(team.id),
    )?);
    json(StatusCode::OK, &TeamShape::of(&team, &snapshot)?)
}
