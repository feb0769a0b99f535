//! Changes of many files at once, and a file's new name: each is one change, made whole or not at
//! all.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::{Incoming, Json};
use super::datasets::{Opened, open};
use super::error::ApiError;
use super::openapi::failures::{Growing, Guarded, JsonBody};
use super::path;
use super::respond::json;
use super::state::AppState;
use super::wire::File;
use super::wire::files::{
    Count, MetadataMap, RenameBody, Selection, read_metadata_map, read_selection,
};
use crate::permission::{Action, Principal};

/// Deletes files by name, all of which must be there, or by the text that their names begin with.
///
/// For members of the owning team who may write, who may execute and come from a node, and
/// administrators.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/files-delete",
    request_body = Selection,
    responses(
        (status = OK, description = "How many files were deleted.", body = Count),
        Guarded, JsonBody,
    ),
)]
pub(crate) async fn delete_files(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::DeleteFiles, id)?;
    let Json { value, turn, .. } = incoming.json(&app).await?;
    let selection = read_selection(value)?;
    let count = app.engine(&allowed)?.holding(turn).delete_files(id, selection).await?;
    json(StatusCode::OK, &Count { count })
}

/// Sets the metadata of many files, all of which must be there.
///
/// For the same as setting one file's.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/metadata-multi",
    request_body = MetadataMap,
    responses(
        (status = OK, description = "How many files got metadata.", body = Count),
        Guarded, Growing, JsonBody,
    ),
)]
pub(crate) async fn set_many_metadata(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::SetManyMetadata, id)?;
    let Json { value, turn, .. } = incoming.json(&app).await?;
    let metadata = read_metadata_map(value)?;
    let count = app.engine(&allowed)?.holding(turn).set_many_metadata(id, metadata).await?;
    json(StatusCode::OK, &Count { count })
}

/// Gives a file another name; content, metadata and time of creation come along.
///
/// For members of the owning team who may write, who may execute and come from a node, and
/// administrators. The new name is cleaned, and refused, as that of an added file.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/files-rename",
    request_body = RenameBody,
    responses(
        (status = OK, description = "The file under its new name.", body = File<'_>),
        Guarded, Growing, JsonBody,
    ),
)]
pub(crate) async fn rename_file(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::RenameFile, id)?;
    let RenameBody { from, to } = RenameBody::read(incoming.json(&app).await?.value)?;
    let renamed = app.engine(&allowed)?.rename_file(id, &from, &to).await?;
    json(StatusCode::OK, &File::from(&renamed))
}
