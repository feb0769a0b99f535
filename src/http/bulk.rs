//! Changes of many files at once, and a file's new name: each is one change, made whole or not at
//! all.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::Incoming;
use super::datasets::{Opened, open};
use super::error::ApiError;
use super::path;
use super::respond::json;
use super::state::AppState;
use super::wire::File;
use super::wire::files::{Count, RenameBody, read_metadata_map, read_selection};
use crate::permission::{Action, Principal};

/// `POST /datasets/{pk}/files-delete`: files by name, all of which must be there, or by the text
/// that their names begin with.
pub(crate) async fn delete_files(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::DeleteFiles, id)?;
    let body = incoming.json(&app).await?;
    let selection = read_selection(body.value)?;
    let count = app.engine(&allowed).delete_files(id, selection).await?;
    json(StatusCode::OK, &Count { count })
}

/// `POST /datasets/{pk}/metadata-multi`: metadata by name of file; all files must be there.
pub(crate) async fn set_many_metadata(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::SetManyMetadata, id)?;
    let body = incoming.json(&app).await?;
    let metadata = read_metadata_map(body.value)?;
    let count = app.engine(&allowed).set_many_metadata(id, metadata).await?;
    json(StatusCode::OK, &Count { count })
}

/// `POST /datasets/{pk}/files-rename`: content, metadata and time of creation come along.
pub(crate) async fn rename_file(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::RenameFile, id)?;
    let RenameBody { from, to } = RenameBody::read(incoming.json(&app).await?.value)?;
    let renamed = app.engine(&allowed).rename_file(id, &from, &to).await?;
    json(StatusCode::OK, &File::from(&renamed))
}
