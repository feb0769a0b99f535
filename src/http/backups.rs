//! Backups: one state of the whole store and its contents, for who copies them elsewhere.
//!
//! What travels is the engine's own (`granary_engine::backup`): it holds the hashes of passwords
//! and the key of tokens, so it is for administrators only. Nothing here knows where a backup goes.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::Response;
use futures_util::stream::{self, Stream};
use granary_engine::Spooled;
use granary_engine::model::Digest;

use super::body::Incoming;
use super::error::ApiError;
use super::kept_backups::Kept;
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
    let (pk, kept) = app.backups().add(backup);
    json(StatusCode::CREATED, &BackupShape::of(pk, &kept.backup))
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
    let kept = app.backups().get(path::backup(&uri)?)?;
    let state = kept.backup.state();
    let last = usize::try_from(state.len()).map_err(ApiError::internal)?;
    let from = query::number(&uri, "from", 0..=last)?.unwrap_or(0);
    let from = u64::try_from(from).map_err(ApiError::internal)?;
    let length = state.len() - from;
    let mut response = bytes(Body::from_stream(state_from(kept, state, from)));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(response)
}

/// A state from a byte on. Each chunk counts as a use of the backup, however long it takes to send
/// all of them.
fn state_from(
    kept: Arc<Kept>,
    state: Spooled,
    from: u64,
) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(from, move |at| {
        let (kept, state) = (Arc::clone(&kept), state.clone());
        async move {
            kept.touch();
            let chunk = state.chunk(at).await?;
            let next = at + u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            Ok((!chunk.is_empty()).then_some((chunk, next)))
        }
    })
}

/// Contents one behind the other; each chunk counts as a use of the backup.
fn contents_of(
    kept: Arc<Kept>,
    handles: Vec<Digest>,
) -> impl Stream<Item = std::io::Result<Bytes>> {
    let frames = kept.backup.read(handles);
    stream::unfold((kept, frames), |(kept, mut frames)| async {
        kept.touch();
        let chunk = frames.next().await?;
        Some((Ok(chunk), (kept, frames)))
    })
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
    let allowed = may(&app, &principal)?;
    let kept = app.backups().get(path::backup(&uri)?)?;
    let handles = read_handles(incoming.json(&app).await?.value)?;
    app.expect_still(&allowed)?;
    Ok(bytes(Body::from_stream(contents_of(kept, handles))))
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use futures_util::StreamExt;
    use granary_engine::{Engine, EngineOptions};

    use super::*;
    use crate::http::kept_backups::KeptBackups;

    #[tokio::test]
    async fn each_chunk_of_an_answer_counts_as_a_use_of_the_backup() {
        let directory = tempfile::tempdir().unwrap();
        let options = EngineOptions { arbiters: 1, ..EngineOptions::default() };
        let engine = Engine::open(directory.path().to_owned(), &options).unwrap();
        let backup = engine.begin_backup(vec![]).await.unwrap();
        let (_, kept) = KeptBackups::default().add(backup);
        let state = kept.backup.state();
        let mut state = Box::pin(state_from(Arc::clone(&kept), state, 0));
        let handle = Digest::of(b"told as failed");
        let mut contents = Box::pin(contents_of(Arc::clone(&kept), vec![handle]));

        let before = Instant::now().checked_sub(Duration::from_millis(1)).unwrap();
        kept.touch_at(before);
        assert!(!state.next().await.unwrap().unwrap().is_empty());
        assert!(kept.used() > before);
        kept.touch_at(before);
        assert!(!contents.next().await.unwrap().unwrap().is_empty());
        assert!(kept.used() > before);
    }
}
