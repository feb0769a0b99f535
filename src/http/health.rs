//! Whether the process lives, and whether it takes changes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use granary_engine::Health;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::respond::json;
use super::state::AppState;

/// How the server is.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct Report<'a> {
    #[schema(examples("ready"))]
    status: &'static str,
    /// Why the store takes no changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    reason: Option<&'a str>,
}

/// Says that the process lives.
#[utoipa::path(
    get,
    path = "/livez",
    responses((status = OK, description = "It does.", body = Report<'_>)),
    security(()),
)]
pub(crate) async fn live() -> Result<Response, ApiError> {
    report(StatusCode::OK, "alive", None)
}

/// Says whether the server takes changes.
///
/// A store that is read-only still serves reads, and says why it is.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = OK, description = "It does.", body = Report<'_>),
        (status = SERVICE_UNAVAILABLE, description = "It does not.", body = Report<'_>),
    ),
    security(()),
)]
pub(crate) async fn ready(State(app): State<AppState>) -> Result<Response, ApiError> {
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    // After a failed write or sync nothing but reads is served until the store is reopened (I7).
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
