//! Projects: create, retrieve.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::Incoming;
use super::error::ApiError;
use super::path;
use super::respond::json;
use super::state::AppState;
use super::wire::catalogue::{ProjectShape, read_project};
use crate::permission::{Action, Object, Principal, allow};

/// `POST /projects/create`. The body is looked at first, whoever sends it.
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let fields = incoming.fields(&app).await?;
    let (project, allowed) = {
        let snapshot = app.snapshot()?;
        let project = read_project(fields, &snapshot, principal.user_id())?;
        let owner = Object::Team(project.team);
        let allowed = allow(&snapshot, &principal, Action::CreateProject, owner)?;
        (project, allowed)
    };
    let created = app.engine(&allowed).create_project(project).await?;
    json(StatusCode::CREATED, &ProjectShape::from(&created))
}

/// `GET /projects/{pk}`.
pub(crate) async fn retrieve(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let snapshot = app.snapshot()?;
    let project = snapshot.project(path::project(&uri)?)?;
    let project = project.ok_or_else(|| ApiError::no_record("Project"))?;
    let owner = Object::Team(project.team);
    drop(allow(&snapshot, &principal, Action::RetrieveProject, owner)?);
    json(StatusCode::OK, &ProjectShape::from(&project))
}
