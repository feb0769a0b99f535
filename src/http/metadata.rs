//! The metadata of a dataset's files.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::Incoming;
use super::datasets::{Opened, open};
use super::error::ApiError;
use super::file_listing::{list_metadata, wants_page};
use super::openapi::failures::{Growing, Guarded, JsonBody};
use super::openapi::parameters::PageOfFiles;
use super::path;
use super::respond::{json, spooled};
use super::state::AppState;
use super::wire::bodies::{MetadataBody, read_metadata};
use super::wire::datasets::{Metadata, write_all_metadata};
use crate::permission::{Action, Principal};

/// Sets a file's metadata.
///
/// For members of the owning team who may write, who may execute and come from a node, and
/// administrators.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/metadata/{filename}",
    request_body = MetadataBody,
    responses(
        (status = OK, description = "The metadata.", body = Metadata<'_>),
        Guarded, Growing, JsonBody,
    ),
)]
pub(crate) async fn set_metadata(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::SetMetadata, id)?;
    let filename = path::name(&uri)?;
    let metadata = read_metadata(incoming.json(&app).await?.value)?;
    let engine = app.engine(&allowed);
    engine.set_metadata(id, &filename, metadata.clone()).await?;
    json(StatusCode::OK, &Metadata { metadata: &metadata })
}

/// Gives a file's metadata.
///
/// For members of the owning team and administrators.
#[utoipa::path(
    get,
    path = "/v1/datasets/{pk}/metadata/{filename}",
    responses((status = OK, description = "The metadata.", body = Metadata<'_>), Guarded),
)]
pub(crate) async fn get_metadata(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let opened = open(&app, &principal, Action::GetMetadata, id)?;
    let filename = path::name(&uri)?;
    let metadata = opened.snapshot.metadata(&opened.dataset, &filename)?;
    let metadata = metadata.ok_or_else(|| ApiError::no_file(&filename))?;
    json(StatusCode::OK, &Metadata { metadata: &metadata })
}

/// Gives the metadata of all files, or of a page of them.
///
/// A page is asked for by any of `prefix`, `limit` and `after`; `Link` says where the next one is.
/// For members of the owning team and administrators.
#[utoipa::path(
    get,
    path = "/v1/datasets/{pk}/metadata",
    params(PageOfFiles),
    responses(
        (
            status = OK,
            description = "From names to metadata.",
            body = BTreeMap<String, String>,
            headers(("Link" = String, description = "Where the next page is, if there is one.")),
        ),
        Guarded,
    ),
)]
pub(crate) async fn get_all_metadata(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let opened = open(&app, &principal, Action::GetAllMetadata, id)?;
    if wants_page(&uri) {
        return list_metadata(&app, &uri, opened).await;
    }
    let Opened { snapshot, dataset, .. } = opened;
    spooled(&app, StatusCode::OK, move |out| write_all_metadata(out, &snapshot, &dataset)).await
}
