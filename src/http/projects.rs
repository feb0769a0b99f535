//! Projects.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::Snapshot;
use granary_engine::model::Project;

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::path;
use super::respond::{empty, json};
use super::state::AppState;
use super::wire::catalogue::{ProjectBody, ProjectShape};
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// `POST /projects/create`. The body is looked at first, whoever sends it.
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let fields = incoming.fields(&app).await?;
    let (project, allowed) = {
        let snapshot = app.snapshot()?;
        let body = ProjectBody::read(fields, &snapshot, Need::Required, None)?;
        let owner = body.team().map_or(Object::Server, Object::Team);
        let allowed = allow(&snapshot, &principal, Action::CreateProject, owner)?;
        (body.project(principal.user_id()), allowed)
    };
    let project = project.ok_or_else(|| ApiError::internal("a complete body gave no project"))?;
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
    let project = read(&snapshot, &uri)?;
    let owner = Object::Team(project.team);
    drop(allow(&snapshot, &principal, Action::RetrieveProject, owner)?);
    json(StatusCode::OK, &ProjectShape::from(&project))
}

fn read(snapshot: &Snapshot, uri: &Uri) -> Result<Project, ApiError> {
    let project = snapshot.project(path::project(uri)?)?;
    project.ok_or_else(|| ApiError::no_record("Project"))
}

/// Finds a project (404, even for the anonymous), then asks for the permission (401, 403).
fn open(
    app: &AppState,
    principal: &Principal,
    action: Action,
    uri: &Uri,
) -> Result<(Project, Allowed), ApiError> {
    let snapshot = app.snapshot()?;
    let project = read(&snapshot, uri)?;
    let allowed = allow(&snapshot, principal, action, Object::Team(project.team))?;
    Ok((project, allowed))
}

/// As [`open`], with the right looked at first: whether the project is there is for
/// administrators.
fn open_for_administrators(
    app: &AppState,
    principal: &Principal,
    action: Action,
    uri: &Uri,
) -> Result<(Project, Allowed), ApiError> {
    let snapshot = app.snapshot()?;
    let allowed = allow(&snapshot, principal, action, Object::Server)?;
    Ok((read(&snapshot, uri)?, allowed))
}

/// `PUT /projects/{pk}`.
pub(crate) async fn update(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    change(&app, &principal, &uri, incoming, Need::Required).await
}

/// `PATCH /projects/{pk}`.
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
    let (project, allowed) = open(app, principal, Action::UpdateProject, uri)?;
    let fields = incoming.fields(app).await?;
    let patch = {
        let snapshot = app.snapshot()?;
        let body = ProjectBody::read(fields, &snapshot, need, Some(project.team))?;
        // Who moves a project must be one who could have made it where it goes.
        if let Some(team) = body.team()
            && team != project.team
        {
            drop(allow(&snapshot, principal, Action::CreateProject, Object::Team(team))?);
        }
        body.patch()
    };
    let changed = app.engine(&allowed).update_project(project.id, patch).await?;
    json(StatusCode::OK, &ProjectShape::from(&changed))
}

/// `DELETE /projects/{pk}`: its datasets are soft-deleted with it.
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (project, allowed) = open(&app, &principal, Action::DestroyProject, &uri)?;
    app.engine(&allowed).destroy_project(project.id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `DELETE /projects/{pk}/hard`. The right is looked at first; the answer shows what was there,
/// without its primary key.
pub(crate) async fn hard_delete(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let action = Action::HardDeleteProject;
    let (project, allowed) = open_for_administrators(&app, &principal, action, &uri)?;
    let gone = app.engine(&allowed).hard_delete_project(project.id).await?;
    json(StatusCode::OK, &ProjectShape::gone(&gone))
}

/// `DELETE /projects/{pk}/reinstate`. The right is looked at first; the datasets stay deleted.
pub(crate) async fn reinstate(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let action = Action::ReinstateProject;
    let (project, allowed) = open_for_administrators(&app, &principal, action, &uri)?;
    let reinstated = app.engine(&allowed).reinstate_project(project.id).await?;
    json(StatusCode::OK, &ProjectShape::from(&reinstated))
}
