//! Projects.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::Snapshot;
use granary_engine::model::Project;

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::lists;
use super::openapi::failures::{FieldsBody, Growing, Guarded, JsonBody, Restricted};
use super::openapi::parameters::Page;
use super::path;
use super::respond::{empty, json};
use super::state::AppState;
use super::wire::catalogue::{
    GoneProject, ProjectBody, ProjectChange, ProjectFields, ProjectShape,
};
use super::wire::filter::FilterBody;
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// Lists the projects.
///
/// For everybody who is logged in; shows the projects of their teams, administrators all.
#[utoipa::path(
    post,
    path = "/v1/projects/list",
    params(Page),
    request_body = Option<FilterBody>,
    responses(
        (
            status = OK,
            description = "The projects.",
            body = Vec<ProjectShape<'_>>,
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
    lists::list::<lists::Projects>(app, principal, uri, incoming).await
}

/// Makes a project.
///
/// For members of the team who may write, and administrators. The body is looked at first, whoever
/// sends it.
#[utoipa::path(
    post,
    path = "/v1/projects/create",
    request_body = ProjectFields,
    responses(
        (status = CREATED, description = "The new project.", body = ProjectShape<'_>),
        Restricted, Growing, FieldsBody,
    ),
)]
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
    let created = app.engine(&allowed)?.create_project(project).await?;
    json(StatusCode::CREATED, &ProjectShape::from(&created))
}

/// Shows a project.
///
/// For members of its team and administrators.
#[utoipa::path(
    get,
    path = "/v1/projects/{pk}",
    responses((status = OK, description = "The project.", body = ProjectShape<'_>), Guarded),
)]
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

/// Changes a project; the same fields are needed as for a new one.
///
/// For members of its team who may write, and administrators. Who moves it to another team must be
/// one who may write there.
#[utoipa::path(
    put,
    path = "/v1/projects/{pk}",
    request_body = ProjectFields,
    responses(
        (status = OK, description = "The changed project.", body = ProjectShape<'_>),
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

/// Changes some fields of a project.
///
/// For the same as a whole change.
#[utoipa::path(
    patch,
    path = "/v1/projects/{pk}",
    request_body = Option<ProjectChange>,
    responses(
        (status = OK, description = "The changed project.", body = ProjectShape<'_>),
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
    drop(open(app, principal, Action::UpdateProject, uri)?);
    let fields = incoming.fields(app).await?;
    // Whoever moved it while the body came has decided what is asked for here.
    let principal = &app.renewed(principal)?;
    let (project, allowed) = open(app, principal, Action::UpdateProject, uri)?;
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
    let changed = app.engine(&allowed)?.update_project(project.id, patch).await?;
    json(StatusCode::OK, &ProjectShape::from(&changed))
}

/// Soft-deletes a project and its datasets.
///
/// For members of its team who may write, and administrators.
#[utoipa::path(
    delete,
    path = "/v1/projects/{pk}",
    responses((status = NO_CONTENT, description = "It is deleted."), Guarded),
)]
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (project, allowed) = open(&app, &principal, Action::DestroyProject, &uri)?;
    app.engine(&allowed)?.destroy_project(project.id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Deletes a project for good, if no dataset is in it.
///
/// For administrators; the right is looked at before the project.
#[utoipa::path(
    delete,
    path = "/v1/projects/{pk}/hard",
    responses(
        (
            status = OK,
            description = "What was there, without its primary key.",
            body = GoneProject<'_>,
        ),
        Guarded,
    ),
)]
pub(crate) async fn hard_delete(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let action = Action::HardDeleteProject;
    let (project, allowed) = open_for_administrators(&app, &principal, action, &uri)?;
    let gone = app.engine(&allowed)?.hard_delete_project(project.id).await?;
    json(StatusCode::OK, &GoneProject::from(&gone))
}

/// Brings a soft-deleted project back; its datasets stay deleted.
///
/// For administrators; the right is looked at before the project.
#[utoipa::path(
    delete,
    path = "/v1/projects/{pk}/reinstate",
    responses(
        (status = OK, description = "The project.", body = ProjectShape<'_>),
        Guarded, Growing,
    ),
)]
pub(crate) async fn reinstate(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let action = Action::ReinstateProject;
    let (project, allowed) = open_for_administrators(&app, &principal, action, &uri)?;
    let reinstated = app.engine(&allowed)?.reinstate_project(project.id).await?;
    json(StatusCode::OK, &ProjectShape::from(&reinstated))
}
