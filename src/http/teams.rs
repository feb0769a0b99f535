//! Teams: create, retrieve, each with its present members.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::Incoming;
use super::error::ApiError;
use super::path;
use super::respond::json;
use super::state::AppState;
use super::wire::catalogue::{TeamShape, read_team};
use crate::permission::{Action, Object, Principal, allow};

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
    let team = snapshot.team(path::team(&uri)?)?;
    let team = team.ok_or_else(|| ApiError::no_record("Team"))?;
    drop(allow(&snapshot, &principal, Action::RetrieveTeam, Object::Team(team.id))?);
    json(StatusCode::OK, &TeamShape::of(&team, &snapshot)?)
}
