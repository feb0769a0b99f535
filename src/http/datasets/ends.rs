//! The ends of datasets, for good or not, and the way back.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::{Opened, open};
use crate::http::error::ApiError;
use crate::http::openapi::failures::{Growing, Guarded};
use crate::http::openapi::parameters::ShowFiles;
use crate::http::respond::{changed_dataset, dataset, empty, read_dataset};
use crate::http::state::AppState;
use crate::http::wire::datasets::Shape;
use crate::http::{path, query};
use crate::permission::{Action, Object, Principal, allow};

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
    app.engine(&allowed)?.destroy_dataset(id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Deletes a dataset for good.
///
/// For administrators; the right is looked at before the dataset. Where the disk has no space to put a
/// long answer together, the dataset is deleted all the same, and the answer is 507 and says so.
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
    let with_files = query::with_files(&uri)?;
    let state = app.clone();
    let again = move || {
        let snapshot = state.snapshot()?;
        let shown = read_dataset(&snapshot, id)?;
        Ok((snapshot, shown))
    };
    let shown = dataset(&app, StatusCode::OK, (snapshot, shown), again, with_files);
    let response = match shown.await {
        // What makes space must not be refused for want of some.
        Err(refused) if refused.is_for_space() => Err(ApiError::no_space_to_answer(true)),
        response => Ok(response?),
    };
    app.engine(&allowed)?.hard_delete_dataset(id).await?;
    response
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
    let with_files = query::with_files(&uri)?;
    let reinstated = app.engine(&allowed)?.reinstate_dataset(id).await?;
    changed_dataset(&app, &principal, StatusCode::OK, reinstated, with_files).await
}
