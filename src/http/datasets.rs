//! Datasets: list, create, retrieve, update; their ends and what is made of them stand below.

pub(crate) mod changes;

pub(crate) mod ends;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::Snapshot;
use granary_engine::model::{Dataset, DatasetId};

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::lists;
use super::openapi::failures::{FieldsBody, Growing, Guarded, JsonBody, Restricted};
use super::openapi::parameters::{Page, ShowFiles};
use super::path;
use super::query;
use super::respond::{changed_dataset, dataset, read_dataset};
use super::state::AppState;
use super::wire::bodies::{AllFields, DatasetBody, SomeFields};
use super::wire::datasets::Shape;
use super::wire::filter::FilterBody;
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// A dataset that an action is permitted on, in the state that said so.
pub(crate) struct Opened {
    pub(crate) snapshot: Snapshot,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) allowed: Allowed,
}

/// Finds a dataset (404, even for the anonymous), then asks for the permission (401, 403).
pub(crate) fn open(
    app: &AppState,
    principal: &Principal,
    action: Action,
    id: DatasetId,
) -> Result<Opened, ApiError> {
    let snapshot = app.snapshot()?;
    let dataset = read_dataset(&snapshot, id)?;
    let allowed = allow(&snapshot, principal, action, Object::Dataset(&dataset))?;
    Ok(Opened { snapshot, dataset, allowed })
}

/// Lists the datasets that the caller may see.
///
/// Everybody sees public ones, members those of their teams too, administrators all.
#[utoipa::path(
    post,
    path = "/v1/datasets/list",
    params(ShowFiles, Page),
    request_body = Option<FilterBody>,
    responses(
        (
            status = OK,
            description = "The datasets.",
            body = Vec<Shape<'_>>,
            headers(("Link" = String, description = "Where the next page is, if there is one.")),
        ),
        JsonBody,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    lists::list::<lists::Datasets>(app, principal, uri, incoming).await
}

/// Makes a new, empty dataset, version 1 of its name.
///
/// For members of the project's team who may write, and administrators. The body is looked at
/// first, whoever sends it.
#[utoipa::path(
    post,
    path = "/v1/datasets/create",
    params(ShowFiles),
    request_body = AllFields,
    responses(
        (status = CREATED, description = "The new dataset.", body = Shape<'_>),
        Restricted, Growing, FieldsBody,
    ),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let fields = incoming.fields(&app).await?;
    let (new, allowed) = {
        let snapshot = app.snapshot()?;
        let body = DatasetBody::read(fields, &snapshot, Need::Required, None)?;
        let object =
            body.project.as_ref().map_or(Object::Server, |project| Object::Team(project.team));
        let allowed = allow(&snapshot, &principal, Action::CreateDataset, object)?;
        (body.dataset(principal.user_id()), allowed)
    };
    let with_files = query::with_files(&uri)?;
    let new = new.ok_or_else(|| ApiError::internal("a complete body gave no dataset"))?;
    let created = app.engine(&allowed)?.create_dataset(new).await?;
    changed_dataset(&app, &principal, StatusCode::CREATED, created, with_files).await
}

/// Shows a dataset, soft-deleted or not.
///
/// For members of the owning team and administrators; if it is public, for everybody.
#[utoipa::path(
    get,
    path = "/v1/datasets/{pk}",
    params(ShowFiles),
    responses((status = OK, description = "The dataset.", body = Shape<'_>), Guarded),
    security((), ("bearer" = [])),
)]
pub(crate) async fn retrieve(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let state = app.clone();
    let open = move || {
        let principal = state.renewed(&principal)?;
        let opened = open(&state, &principal, Action::RetrieveDataset, id)?;
        Ok((opened.snapshot, opened.dataset))
    };
    let shown = open()?;
    let with_files = query::with_files(&uri)?;
    dataset(&app, StatusCode::OK, shown, open, with_files).await
}

/// Changes a dataset; the same fields are needed as for a new one. By a form without `is_public` it
/// is no longer public.
///
/// For members of the owning team who may write, who may execute and come from a node, and
/// administrators. Who moves it to another project must be one who may write there.
#[utoipa::path(
    put,
    path = "/v1/datasets/{pk}",
    params(ShowFiles),
    request_body = AllFields,
    responses(
        (status = OK, description = "The changed dataset.", body = Shape<'_>),
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

/// Changes some fields of a dataset.
///
/// For the same as a whole change.
#[utoipa::path(
    patch,
    path = "/v1/datasets/{pk}",
    params(ShowFiles),
    request_body = Option<SomeFields>,
    responses(
        (status = OK, description = "The changed dataset.", body = Shape<'_>),
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
    let id = path::dataset(uri)?;
    drop(open(app, principal, Action::UpdateDataset, id)?);
    let with_files = query::with_files(uri)?;
    let fields = incoming.fields(app).await?;
    // Whoever moved it while the body came has decided what is asked for here.
    let principal = &app.renewed(principal)?;
    let Opened { snapshot, dataset, allowed } = open(app, principal, Action::UpdateDataset, id)?;
    let patch = {
        let body = DatasetBody::read(fields, &snapshot, need, Some(dataset.project))?;
        // Who moves a dataset must be one who could have made it where it goes.
        if let Some(project) = &body.project
            && project.id != dataset.project
        {
            let there = Object::Team(project.team);
            drop(allow(&snapshot, principal, Action::CreateDataset, there)?);
        }
        body.patch()
    };
    drop(snapshot);
    let changed = app.engine(&allowed)?.update_dataset(id, patch).await?;
    changed_dataset(app, principal, StatusCode::OK, changed, with_files).await
}
