//! What administrators ask of the store itself: the check, the scrub, the quarantine.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::body::Incoming;
use super::error::ApiError;
use super::openapi::failures::{FieldsBody, Restricted};
use super::respond::json;
use super::state::AppState;
use super::wire::store::{CheckFields, CheckShape, QuarantinedShape, ScrubShape, StatusShape};
use crate::metrics::ProcessFigures;
use crate::permission::{Action, Allowed, Object, Principal, allow};

fn allowed(app: &AppState, principal: &Principal, action: Action) -> Result<Allowed, ApiError> {
    Ok(allow(&app.snapshot()?, principal, action, Object::Server)?)
}

/// Shows the check that runs, or the last one with its report.
///
/// For administrators. It is remembered until the server stops.
#[utoipa::path(
    get,
    path = "/v1/store/check",
    responses((status = OK, description = "The check.", body = CheckShape), Restricted),
)]
pub(crate) async fn check(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allowed(&app, &principal, Action::CheckStore)?);
    json(StatusCode::OK, &app.checks().shape())
}

/// Begins a check of everything that is stored; one that runs already goes on, as it is.
///
/// For administrators. It recomputes every count from what is stored and looks at every content's
/// place, and with `deep` at all bytes; the server goes on serving meanwhile.
#[utoipa::path(
    post,
    path = "/v1/store/check",
    request_body = Option<CheckFields>,
    responses((status = ACCEPTED, description = "The check.", body = CheckShape), Restricted, FieldsBody),
)]
pub(crate) async fn begin_check(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let allowed = allowed(&app, &principal, Action::CheckStore)?;
    let mut fields = incoming.fields(&app).await?;
    let is_deep = fields.optional_boolean("deep").unwrap_or_default();
    fields.check()?;
    app.checks().begin(&app.engine(&allowed)?, is_deep);
    json(StatusCode::ACCEPTED, &app.checks().shape())
}

/// Stops the check that runs, soon.
///
/// For administrators.
#[utoipa::path(
    delete,
    path = "/v1/store/check",
    responses((status = OK, description = "The check.", body = CheckShape), Restricted),
)]
pub(crate) async fn stop_check(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allowed(&app, &principal, Action::CheckStore)?);
    app.checks().stop();
    json(StatusCode::OK, &app.checks().shape())
}

/// Shows what is known of the scrub, which reads all contents in the background.
///
/// For administrators.
#[utoipa::path(
    get,
    path = "/v1/store/scrub",
    responses((status = OK, description = "The scrub.", body = ScrubShape), Restricted),
)]
pub(crate) async fn scrub(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    let allowed = allowed(&app, &principal, Action::ScrubStore)?;
    json(StatusCode::OK, &ScrubShape::from(app.engine(&allowed)?.scrub()))
}

/// Begins a pass of the scrub now, unless one is under way.
///
/// For administrators. It begins within the next instants.
#[utoipa::path(
    post,
    path = "/v1/store/scrub",
    responses((status = ACCEPTED, description = "The scrub.", body = ScrubShape), Restricted),
)]
pub(crate) async fn begin_scrub(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    let allowed = allowed(&app, &principal, Action::ScrubStore)?;
    let engine = app.engine(&allowed)?;
    engine.begin_scrub();
    json(StatusCode::ACCEPTED, &ScrubShape::from(engine.scrub()))
}

/// Lists the contents that were found damaged, and the files that name them.
///
/// For administrators. Their bytes are kept. Reading them is refused with 500; uploading the same
/// content, under any name in any dataset, heals them.
#[utoipa::path(
    get,
    path = "/v1/store/quarantine",
    responses(
        (status = OK, description = "The contents.", body = Vec<QuarantinedShape>),
        Restricted,
    ),
)]
pub(crate) async fn quarantine(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    let engine = app.engine(&allowed(&app, &principal, Action::ListQuarantine)?)?;
    // It may visit every row of files.
    let listed = tokio::task::spawn_blocking(move || engine.quarantined()).await;
    let listed = listed.map_err(ApiError::internal)??;
    let shapes: Vec<QuarantinedShape> = listed.into_iter().map(QuarantinedShape::from).collect();
    json(StatusCode::OK, &shapes)
}

/// Shows what the server is, how full and how busy it is, and whether it is well.
///
/// For administrators. `/readyz` tells everybody whether it is ready, and `/metrics` has more
/// numbers.
#[utoipa::path(
    get,
    path = "/v1/store/status",
    responses((status = OK, description = "The status.", body = StatusShape), Restricted),
)]
pub(crate) async fn status(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    let data = app.engine(&allowed(&app, &principal, Action::ShowStatus)?)?.directory();
    // Whoever asks is elsewhere than the server was started.
    let data = std::path::absolute(&data).map_or(data, |path| path.display().to_string());
    let metrics = Arc::clone(&app.observers().metrics);
    let shape = tokio::task::spawn_blocking(move || {
        let process = ProcessFigures::read();
        StatusShape::of(&app.condition(), data, &app.figures(), &metrics, process)
    });
    json(StatusCode::OK, &shape.await.map_err(ApiError::internal)?)
}
