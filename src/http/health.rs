//! Whether the process lives, and whether it takes changes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use granary_engine::Health;
use serde::Serialize;

use super::error::ApiError;
use super::respond::json;
use super::state::AppState;

#[derive(Serialize)]
struct Report<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// `GET /livez`.
pub(crate) async fn live() -> Result<Response, ApiError> {
    report(StatusCode::OK, "alive", None)
}

/// `GET /readyz`. A store that is read-only still serves reads, and says why it is (I7).
pub(crate) async fn ready(State(app): State<AppState>) -> Result<Response, ApiError> {
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    match app.health() {
        Health::Ready => report(StatusCode::OK, "ready", None),
        Health::ReadOnly { reason } => report(busy, "read-only", Some(&reason)),
        Health::Stopping => report(busy, "stopping", None),
    }
}

fn report(
    code: StatusCode,
    status: &'static str,
    reason: Option<&str>,
) -> Result<Response, ApiError> {
    json(code, &Report { status, reason })
}
