//! The API with uploads that come to nothing: what the load tool holds the real one against.
//!
//! A router of its own and not a switch in the state, so that no setting of a server leads here.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::post;
use granary_engine::model::RequestedFilename;

use super::body::{Incoming, Sink};
use super::datasets::{Opened, open};
use super::error::ApiError;
use super::path;
use super::respond::json;
use super::state::AppState;
use crate::permission::{Action, Principal};

/// Where files are added.
const FILES: &str = "/v1/datasets/{pk}/files/{*filename}";

/// The routes of uploads in front of the real ones; other requests go through to those.
pub(super) fn before(real: Router<AppState>, state: &AppState) -> Router<AppState> {
    let real = real.with_state(state.clone());
    let files = post(discard_file).fallback_service(real.clone());
    Router::new().route(FILES, files).fallback_service(real)
}

/// Takes bytes and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    async fn take(&mut self, _: Bytes) -> Result<(), ApiError> {
        Ok(())
    }

    async fn rest(&mut self) -> Result<(), ApiError> {
        Ok(())
    }
}

/// Adding a file without its last step: who asks is found out, whether they may, and whether the
/// name is one; then the body is read to its end and dropped.
async fn discard_file(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::AddFile, id)?;
    let filename = path::name(&uri)?;
    RequestedFilename::parse(&filename).map_err(|reason| ApiError::bad_name(&filename, reason))?;
    drop(allowed);
    incoming.pour(&mut Nowhere).await?;
    json(StatusCode::OK, &serde_json::json!({ "filename": filename, "handle": "" }))
}
