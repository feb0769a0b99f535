//! Projects: list, create, retrieve.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::Incoming;
use super::error::ApiError;
use super::path;
use super::respond::{Rows, json, spooled};
use super::state::AppState;
use super::wire::catalogue::{ProjectShape, read_project};
use super::wire::list::ListBody;
use crate::permission::{Action, Object, Principal, Rights, allow};

/// `POST /projects/list`: the projects that the caller may retrieve.
pub(crate) async fn list(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let action = Action::ListProjects;
    drop(allow(&app.snapshot()?, &principal, action, Object::Server)?);
    let list = ListBody::read(incoming.json(&app).await?.value)?;
    let snapshot = app.snapshot()?;
    spooled(&app, StatusCode::OK, move |out| {
        let mut rights = Rights::of(&snapshot, &principal);
        let mut rows = Rows::begin(out);
        for project in snapshot.projects()? {
            let project = project?;
            let active = project.deletion_time.is_none() || list.include_inactive;
            if active && rights.may(Action::RetrieveProject, Object::Team(project.team))? {
                rows.push(&ProjectShape::from(&project))?;
            }
        }
        rows.end()
    })
    .await
}

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
    drop(allow(
        &snapshot,
        &principal,
        Action::RetrieveProject,
        owner,
    )?);
    json(StatusCode::OK, &ProjectShape::from(&project))
}
