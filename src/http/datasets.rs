//! Actions on datasets as a whole.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::{Dataset, DatasetId};
use granary_engine::{MutationError, Snapshot, UniqueRule};

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::openapi::failures::{
    FieldsBody, Growing, Guarded, JsonBody, KnownParameters, Restricted,
};
use super::openapi::parameters::ShowFiles;
use super::path;
use super::respond::{changed_dataset, dataset, empty, read_dataset};
use super::state::AppState;
use super::wire::bodies::{AllFields, CopyBody, DatasetBody, MergeBody, SomeFields, read_merge};
use super::wire::datasets::Shape;
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// A dataset that an action is permitted on, in the state that said so.
pub(crate) struct Opened {
    pub(crate) snapshot: Snapshot,
    pub(crate) dataset: Dataset,
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

/// Whether the answer is to hold the map of files; `?files=false` leaves it out.
fn with_files(uri: &Uri) -> bool {
    path::query(uri, "files") != Some("false")
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
    let new = new.ok_or_else(|| ApiError::internal("a complete body gave no dataset"))?;
    let created = app.engine(&allowed).create_dataset(new).await?;
    changed_dataset(&app, StatusCode::CREATED, created, with_files(&uri)).await
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
    let opened = open(&app, &principal, Action::RetrieveDataset, path::dataset(&uri)?)?;
    let Opened { snapshot, dataset: shown, .. } = opened;
    dataset(&app, StatusCode::OK, snapshot, shown, with_files(&uri)).await
}

/// Changes a dataset; the same fields are needed as for a new one.
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
    request_body = SomeFields,
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
    let Opened { dataset, allowed, .. } = open(app, principal, Action::UpdateDataset, id)?;
    let fields = incoming.fields(app).await?;
    let patch = {
        let snapshot = app.snapshot()?;
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
    let changed = app.engine(&allowed).update_dataset(id, patch).await?;
    changed_dataset(app, StatusCode::OK, changed, with_files(uri)).await
}

/// Soft-deletes a dataset; it can be reinstated.
///
/// For members of the owning team who may write, and administrators. Once more changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/datasets/{pk}",
    responses((status = NO_CONTENT, description = "It is deleted."), Guarded),
)]
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::DestroyDataset, id)?;
    app.engine(&allowed).destroy_dataset(id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Empties the metadata of all files of a dataset.
///
/// For members of the owning team who may write, who may execute and come from a node, and
/// administrators.
#[utoipa::path(
    delete,
    path = "/v1/datasets/{pk}/clear",
    params(ShowFiles),
    responses(
        (status = OK, description = "The cleared dataset.", body = Shape<'_>),
        Guarded, Growing,
    ),
)]
pub(crate) async fn clear(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::ClearDataset, id)?;
    let cleared = app.engine(&allowed).clear_dataset(id).await?;
    changed_dataset(&app, StatusCode::OK, cleared, with_files(&uri)).await
}

/// Adds the files of another dataset, with their metadata.
///
/// A file of the same name and content stays as it is; one of the same name and another content
/// comes as `NAME-0001.EXTENSION`, with the next number that is free. For members of the owning
/// teams of both who may write, who may execute and come from a node, and administrators.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/merge/{other}",
    params(ShowFiles),
    request_body = MergeBody,
    responses(
        (status = OK, description = "The target.", body = Shape<'_>),
        Guarded, Growing, JsonBody,
    ),
)]
pub(crate) async fn merge(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let (target, source) = (path::dataset(&uri)?, path::other_dataset(&uri)?);
    let allowed = {
        let snapshot = app.snapshot()?;
        let into = read_dataset(&snapshot, target)?;
        let from = read_dataset(&snapshot, source)?;
        let action = Action::MergeDatasets;
        drop(allow(&snapshot, &principal, action, Object::Dataset(&from))?);
        allow(&snapshot, &principal, action, Object::Dataset(&into))?
    };
    let after = read_merge(incoming.json(&app).await?.value)?;
    let merged = app.engine(&allowed).merge_datasets(target, source, after).await?;
    changed_dataset(&app, StatusCode::OK, merged, with_files(&uri)).await
}

/// Copies a dataset with its files and their metadata.
///
/// For members of the owning team and administrators.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/copy",
    params(ShowFiles),
    request_body = Option<CopyBody>,
    responses(
        (status = OK, description = "The copy.", body = Shape<'_>),
        Guarded, Growing, JsonBody, KnownParameters,
    ),
)]
pub(crate) async fn copy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::CopyDataset, id)?;
    let body = incoming.json(&app).await?;
    let CopyBody { new_name, only_files } = CopyBody::read(body.value)?;
    let (name, creator) = (new_name.clone(), principal.user_id());
    let copy = app.engine(&allowed).copy_dataset(id, new_name, only_files, creator);
    let copied = match (copy.await, name) {
        (Err(MutationError::Taken { rule: UniqueRule::DatasetName }), Some(name)) => {
            return Err(ApiError::bad_name(&name, "New dataset name is already taken"));
        }
        (copied, _) => copied?,
    };
    changed_dataset(&app, StatusCode::OK, copied, with_files(&uri)).await
}

/// Deletes a dataset for good.
///
/// For administrators; the right is looked at before the dataset.
#[utoipa::path(
    delete,
    path = "/v1/datasets/{pk}/hard",
    params(ShowFiles),
    responses((status = OK, description = "What was there.", body = Shape<'_>), Guarded),
)]
pub(crate) async fn hard_delete(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let snapshot = app.snapshot()?;
    let allowed = allow(&snapshot, &principal, Action::HardDeleteDataset, Object::Server)?;
    let id = path::dataset(&uri)?;
    let shown = read_dataset(&snapshot, id)?;
    let response = dataset(&app, StatusCode::OK, snapshot, shown, with_files(&uri)).await?;
    app.engine(&allowed).hard_delete_dataset(id).await?;
    Ok(response)
}

/// Brings a soft-deleted dataset back; an active one stays as it is.
///
/// For administrators; the right is looked at before the dataset.
#[utoipa::path(
    delete,
    path = "/v1/datasets/{pk}/reinstate",
    params(ShowFiles),
    responses(
        (status = OK, description = "The dataset.", body = Shape<'_>),
        Guarded, Growing,
    ),
)]
pub(crate) async fn reinstate(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (id, allowed) = {
        let snapshot = app.snapshot()?;
        let action = Action::ReinstateDataset;
        let allowed = allow(&snapshot, &principal, action, Object::Server)?;
        let id = path::dataset(&uri)?;
        read_dataset(&snapshot, id)?;
        (id, allowed)
    };
    let reinstated = app.engine(&allowed).reinstate_dataset(id).await?;
    changed_dataset(&app, StatusCode::OK, reinstated, with_files(&uri)).await
}
