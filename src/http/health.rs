//! Whether the process lives, and whether it takes changes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use granary_engine::Health;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::exchange::current_id;
use super::respond::json;
use super::state::AppState;

/// How the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It takes changes.
    Ready,
    /// It was told to stop, and answers what is under way.
    Draining,
    /// It serves reads only until it is started again (I7).
    ReadOnly { reason: String },
    /// Hardly any space is left on the disk, and large uploads are refused.
    NearlyFull { available: u64, wanted: u64 },
    /// The store is being closed.
    Stopping,
}

impl Condition {
    /// The condition of a server over this store.
    pub(super) fn of(app: &AppState) -> Self {
        match app.health() {
            Health::Stopping => return Self::Stopping,
            Health::ReadOnly { reason } => return Self::ReadOnly { reason },
            Health::Ready => {}
        }
        if app.is_draining() {
            return Self::Draining;
        }
        // Uploads on their way stop at twice the reserve, and deletes go on (I7).
        let (available, wanted) = app.space();
        match available {
            Some(available) if available < wanted => Self::NearlyFull { available, wanted },
            // A disk that does not say what it has is no reason to send anybody away.
            Some(_) | None => Self::Ready,
        }
    }

    /// The condition in one word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::ReadOnly { .. } => "read-only",
            Self::NearlyFull { .. } => "nearly-full",
            Self::Stopping => "stopping",
        }
    }

    /// Why the server is not ready, and what to do.
    pub(crate) fn reason(&self) -> Option<String> {
        match self {
            Self::Ready => None,
            Self::Draining => {
                Some("the server was told to stop, and answers what is under way".to_owned())
            }
            Self::ReadOnly { reason } => Some(reason.clone()),
            Self::NearlyFull { available, wanted } => Some(format!(
                "the disk has {available} bytes left, and uploads need {wanted} to remain: delete \
                 data or enlarge the disk; reads and deletes go on, and freed space is enough"
            )),
            Self::Stopping => Some("the store is being closed".to_owned()),
        }
    }
}

/// How the server is.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct Report<'a> {
    #[schema(examples("ready"))]
    status: &'a str,
    /// Why the server is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    reason: Option<&'a str>,
    /// The request's id, where the server is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    id: Option<String>,
}

/// Says that the process lives.
///
/// As soon as it listens, that is: also while a store is being recovered or the server stops.
#[utoipa::path(
    get,
    path = "/livez",
    responses((status = OK, description = "It does.", body = Report<'_>)),
    security(()),
)]
pub(crate) async fn live() -> Result<Response, ApiError> {
    alive()
}

/// Says whether the server takes changes.
///
/// It does not while it is `recovering` its store after a start, is `draining` after it was told to
/// stop, is `read-only` after a failure of its disk, is `nearly-full`, or is `stopping`; the reason
/// says more. A server that is read-only or nearly full still serves reads.
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
    let condition = app.condition();
    match condition.reason() {
        None => report(StatusCode::OK, condition.word(), None),
        Some(reason) => not_ready(condition.word(), &reason),
    }
}

/// That the process lives, be there a store or not.
pub(super) fn alive() -> Result<Response, ApiError> {
    report(StatusCode::OK, "alive", None)
}

/// That the server is not ready, and why.
pub(super) fn not_ready(word: &str, reason: &str) -> Result<Response, ApiError> {
    report(StatusCode::SERVICE_UNAVAILABLE, word, Some(reason))
}

fn report(code: StatusCode, status: &str, reason: Option<&str>) -> Result<Response, ApiError> {
    let id = (code != StatusCode::OK).then(|| current_id().to_string());
    json(code, &Report { status, reason, id })
}
