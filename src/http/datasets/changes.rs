//! What is made of whole datasets: cleared, merged, copied.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::{MutationError, UniqueRule};

use super::{Opened, open};
use crate::http::body::{Incoming, Json};
use crate::http::error::ApiError;
use crate::http::openapi::failures::{Growing, Guarded, JsonBody, KnownParameters};
use crate::http::openapi::parameters::ShowFiles;
use crate::http::respond::{changed_dataset, read_dataset};
use crate::http::state::AppState;
use crate::http::wire::bodies::{CopyBody, MergeBody, read_merge};
use crate::http::wire::datasets::Shape;
use crate::http::{path, query};
use crate::permission::{Action, Object, Principal, allow};

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
    let with_files = query::with_files(&uri)?;
    let cleared = app.engine(&allowed)?.clear_dataset(id).await?;
    changed_dataset(&app, &principal, StatusCode::OK, cleared, with_files).await
}

/// Adds the files of another dataset, with their metadata.
///
/// A file of the same name and content stays as it is, and so does a dataset that is merged into itself, which
/// must not be deleted with that; one of the same name and another content
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
    let (into, from) = {
        let snapshot = app.snapshot()?;
        let into = read_dataset(&snapshot, target)?;
        let from = read_dataset(&snapshot, source)?;
        let allow =
            |dataset| allow(&snapshot, &principal, Action::MergeDatasets, Object::Dataset(dataset));
        let from = allow(&from)?;
        (allow(&into)?, from)
    };
    let with_files = query::with_files(&uri)?;
    let after = read_merge(incoming.json(&app).await?.value)?;
    app.expect_still(&from)?;
    let merged = app.engine(&into)?.merge_datasets(target, source, after).await?;
    changed_dataset(&app, &principal, StatusCode::OK, merged, with_files).await
}

/// Copies a dataset with its files and their metadata.
///
/// The copy is in the same project, which must not be deleted, since nothing is made in one that is.
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
    let with_files = query::with_files(&uri)?;
    let Json { value, turn, .. } = incoming.json(&app).await?;
    let CopyBody { new_name, only_files } = CopyBody::read(value)?;
    let (name, creator) = (new_name.clone(), principal.user_id());
    let engine = app.engine(&allowed)?.holding(turn);
    let copy = engine.copy_dataset(id, new_name, only_files, creator);
    let copied = match (copy.await, name) {
        (Err(MutationError::Taken { rule: UniqueRule::DatasetName }), Some(name)) => {
            return Err(ApiError::bad_name(&name, "New dataset name is already taken"));
        }
        // It is the source's own, so it is there.
        (Err(MutationError::ProjectNotFound { project }), _) => {
            return Err(ApiError::project_deleted(project));
        }
        (copied, _) => copied?,
    };
    changed_dataset(&app, &principal, StatusCode::OK, copied, with_files).await
}
