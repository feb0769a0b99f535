//! The metadata of a dataset's files.

use axum::extract::State;
use axum::http::header::ETAG;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::metadata_tag;

use super::body::Incoming;
use super::conditions::{has_it_already, wants_another, write_condition};
use super::datasets::{Opened, open};
use super::error::ApiError;
use super::file_listing::{list_metadata, wants_page};
use super::openapi::failures::{Conditional, Growing, Guarded, JsonBody, Overtaken};
use super::openapi::parameters::{PageOfFiles, ReadConditions, WriteConditions};
use super::path;
use super::respond::{json_text, long_json, long_json_after_change, not_modified, spooled};
use super::state::AppState;
use super::wire::bodies::{MetadataBody, read_metadata};
use super::wire::datasets::{Metadata, write_all_metadata};
use crate::permission::{Action, Principal};

/// Sets a file's metadata.
///
/// With `If-Match` only if the metadata, or the file's content, has that tag; with
/// `If-None-Match: *` only if none was set.
///
/// For members of the owning team who may write, who may execute and come from a node, and
/// administrators.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/metadata/{filename}",
    params(WriteConditions),
    request_body = MetadataBody,
    responses(
        (status = OK, description = "The metadata.", body = Metadata<'_>),
        Guarded, Growing, JsonBody, Conditional,
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
    let condition = write_condition(incoming.headers());
    let metadata = read_metadata(incoming.json(&app).await?.value)?;
    let engine = app.engine(&allowed)?;
    engine.set_metadata_if(id, &filename, metadata.clone(), condition).await?;
    let text = json_text(&Metadata { metadata: &metadata })?;
    long_json_after_change(&app, StatusCode::OK, text).await
}

/// Gives a file's metadata.
///
/// For members of the owning team and administrators.
#[utoipa::path(
    get,
    path = "/v1/datasets/{pk}/metadata/{filename}",
    params(ReadConditions),
    responses(
        (
            status = OK,
            description = "The metadata.",
            body = Metadata<'_>,
            headers(("ETag" = String, description = "Names this state of the metadata.")),
        ),
        (status = NOT_MODIFIED, description = "The client has it already."),
        Guarded, Overtaken,
    ),
)]
pub(crate) async fn get_metadata(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let opened = open(&app, &principal, Action::GetMetadata, id)?;
    let filename = path::name(&uri)?;
    let metadata = opened.snapshot.metadata(&opened.dataset, &filename)?;
    let file = opened.snapshot.file(&opened.dataset, &filename)?;
    let (Some(metadata), Some(file)) = (metadata, file) else {
        return Err(ApiError::no_file(&filename));
    };
    let tag = format!("\"{}\"", metadata_tag(&file.digest, &metadata));
    if wants_another(&headers, &tag) {
        return Err(ApiError::precondition_failed());
    }
    let tag_value = HeaderValue::try_from(&tag).map_err(ApiError::internal)?;
    if has_it_already(&headers, &tag) {
        return Ok(not_modified(tag_value));
    }
    let text = json_text(&Metadata { metadata: &metadata })?;
    drop(opened);
    let mut response = long_json(&app, StatusCode::OK, text).await?;
    response.headers_mut().insert(ETAG, tag_value);
    Ok(response)
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
    let state = app.clone();
    let open = move || open(&state, &state.renewed(&principal)?, Action::GetAllMetadata, id);
    drop(open()?);
    if wants_page(&uri) {
        return list_metadata(&app, &uri, open).await;
    }
    spooled(&app, StatusCode::OK, move |out| {
        let Opened { snapshot, dataset, .. } = open()?;
        write_all_metadata(out, &snapshot, &dataset)
    })
    .await
}
