//! Backups: one state of the whole store and its contents, for who copies them elsewhere.
//!
//! What travels is the engine's own (`granary_engine::backup`): it holds the hashes of passwords
//! and the key of tokens, so it is for administrators only. Nothing here knows where a backup goes.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::Response;
use futures_util::stream;
use granary_engine::Spooled;
use granary_engine::backup::ContentFrames;

use super::body::Incoming;
use super::error::ApiError;
use super::openapi::failures::{Growing, Guarded, JsonBody, Restricted};
use super::openapi::parameters::From;
use super::path;
use super::query;
use super::respond::{empty, json};
use super::state::AppState;
use super::wire::Content;
use super::wire::backups::{BackupShape, Handles, read_handles};
use crate::permission::{Action, Allowed, Object, Principal, allow};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Begins a backup: copies all rows of one state, and keeps the contents that they name until the
/// backup is ended, or is not asked for anything for half an hour.
///
/// For administrators. At most four are kept; then the one that was used longest ago goes.
#[utoipa::path(
    post,
    path = "/v1/backups/create",
    responses(
        (status = CREATED, description = "The backup.", body = BackupShape),
        Restricted, Growing,
    ),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    let allowed = may(&app, &principal)?;
    let key = app.tokens().to_bytes().to_vec();
    let backup = app.engine(&allowed)?.begin_backup(vec![("token-key".to_owned(), key)]).await?;
    let (pk, backup) = app.backups().add(backup);
    json(StatusCode::CREATED, &BackupShape::of(pk, &backup))
}

/// Gives the state that a backup holds, in the form that `granary backup` keeps.
///
/// For administrators.
#[utoipa::path(
    get,
    path = "/v1/backups/{pk}/state",
    params(From),
    responses(
        (
            status = OK,
            description = "The state.",
            body = Content,
            content_type = "application/octet-stream",
        ),
        Guarded,
    ),
)]
pub(crate) async fn state(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let _allowed = may(&app, &principal)?;
    let backup = app.backups().get(path::backup(&uri)?)?;
    let state = backup.state();
    let last = usize::try_from(state.len()).map_err(ApiError::internal)?;
    let from = query::number(&uri, "from", 0..=last)?.unwrap_or(0);
    let from = u64::try_from(from).map_err(ApiError::internal)?;
    let mut response = bytes(Body::from_stream(stream::unfold(Some((state.clone(), from)), next)));
    response.headers_mut().insert(CONTENT_LENGTH, (state.len() - from).into());
    Ok(response)
}

async fn next(
    at: Option<(Spooled, u64)>,
) -> Option<(std::io::Result<Bytes>, Option<(Spooled, u64)>)> {
    let (state, at) = at?;
    match state.chunk(at).await {
        Ok(chunk) if chunk.is_empty() => None,
        Ok(chunk) => {
            let next = at + u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            Some((Ok(chunk), Some((state, next))))
        }
        Err(error) => Some((Err(error), None)),
    }
}

/// Gives contents of a backup by handle, in the order asked for, in the form that `granary backup`
/// reads: one that cannot be read is told in its place.
///
/// For administrators.
#[utoipa::path(
    post,
    path = "/v1/backups/{pk}/contents",
    request_body = Handles,
    responses(
        (
            status = OK,
            description = "The contents.",
            body = Content,
            content_type = "application/octet-stream",
        ),
        Guarded, JsonBody,
    ),
)]
pub(crate) async fn contents(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let _allowed = may(&app, &principal)?;
    let backup = app.backups().get(path::backup(&uri)?)?;
    let handles = read_handles(incoming.json(&app).await?.value)?;
    let frames = backup.read(handles);
    Ok(bytes(Body::from_stream(stream::unfold(frames, |mut frames: ContentFrames| async {
        let chunk = frames.next().await?;
        Some((Ok::<Bytes, std::io::Error>(chunk), frames))
    }))))
}

/// Ends a backup: the contents that it kept may go.
///
/// For administrators.
#[utoipa::path(
    delete,
    path = "/v1/backups/{pk}",
    responses((status = NO_CONTENT, description = "It is ended."), Guarded),
)]
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let _allowed = may(&app, &principal)?;
    app.backups().remove(path::backup(&uri)?)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn may(app: &AppState, principal: &Principal) -> Result<Allowed, ApiError> {
    Ok(allow(&app.snapshot()?, principal, Action::BackUp, Object::Server)?)
}

fn bytes(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, BYTES);
    response
}
