//! What takes the space, what could be given back, and giving it back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::error::ApiError;
use super::openapi::failures::Restricted;
use super::respond::json;
use super::state::AppState;
use super::wire::space::{CollectionShape, GarbageShape, MeasurementShape};
use crate::permission::{Action, Allowed, Object, Principal, allow};

fn allowed(app: &AppState, principal: &Principal, action: Action) -> Result<Allowed, ApiError> {
    Ok(allow(&app.snapshot()?, principal, action, Object::Server)?)
}

/// Shows the measurement of what takes the space that runs, or the last one with its report.
///
/// For administrators. It is remembered until the server stops.
#[utoipa::path(
    get,
    path = "/v1/store/usage",
    responses((status = OK, description = "The measurement.", body = MeasurementShape), Restricted),
)]
pub(crate) async fn usage(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allowed(&app, &principal, Action::MeasureStore)?);
    json(StatusCode::OK, &app.checks().measurement())
}

/// Begins to measure what takes the space; a measurement that runs already goes on.
///
/// For administrators. It reads all rows of contents and files, some microseconds each; the server
/// goes on serving meanwhile.
#[utoipa::path(
    post,
    path = "/v1/store/usage",
    responses(
        (status = ACCEPTED, description = "The measurement.", body = MeasurementShape),
        Restricted,
    ),
)]
pub(crate) async fn measure(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    let allowed = allowed(&app, &principal, Action::MeasureStore)?;
    app.checks().measure(&app.engine(&allowed)?);
    json(StatusCode::ACCEPTED, &app.checks().measurement())
}

/// Stops the measurement that runs, soon.
///
/// For administrators.
#[utoipa::path(
    delete,
    path = "/v1/store/usage",
    responses((status = OK, description = "The measurement.", body = MeasurementShape), Restricted),
)]
pub(crate) async fn stop_measuring(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allowed(&app, &principal, Action::MeasureStore)?);
    app.checks().stop_measuring();
    json(StatusCode::OK, &app.checks().measurement())
}

/// Tells what could be given back.
///
/// For administrators. It changes nothing.
#[utoipa::path(
    get,
    path = "/v1/store/garbage",
    responses((status = OK, description = "What could be given back.", body = GarbageShape), Restricted),
)]
pub(crate) async fn garbage(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    let engine = app.engine(&allowed(&app, &principal, Action::CollectGarbage)?)?;
    // It visits every content that died and is not gone yet.
    let found = tokio::task::spawn_blocking(move || engine.garbage()).await;
    let found = found.map_err(ApiError::internal)??;
    json(StatusCode::OK, &GarbageShape::from(found))
}

/// Shows the collection of what serves nobody that runs, or the last one with what it did.
///
/// For administrators. It is remembered until the server stops.
#[utoipa::path(
    get,
    path = "/v1/store/collection",
    responses((status = OK, description = "The collection.", body = CollectionShape), Restricted),
)]
pub(crate) async fn collection(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allowed(&app, &principal, Action::CollectGarbage)?);
    json(StatusCode::OK, &app.checks().collection())
}

/// Begins to give back what serves nobody, now instead of soon; a collection that runs already
/// goes on.
///
/// For administrators. It works in steps between which other changes have their turn. Live contents
/// of segments of which a tenth or more is dead are written again, so that these segments can go.
#[utoipa::path(
    post,
    path = "/v1/store/collection",
    responses(
        (status = ACCEPTED, description = "The collection.", body = CollectionShape),
        Restricted,
    ),
)]
pub(crate) async fn collect(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    let allowed = allowed(&app, &principal, Action::CollectGarbage)?;
    app.checks().collect(&app.engine(&allowed)?);
    json(StatusCode::ACCEPTED, &app.checks().collection())
}

/// Stops the collection that runs, soon; what it gave back stays given back.
///
/// For administrators.
#[utoipa::path(
    delete,
    path = "/v1/store/collection",
    responses((status = OK, description = "The collection.", body = CollectionShape), Restricted),
)]
pub(crate) async fn stop_collecting(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allowed(&app, &principal, Action::CollectGarbage)?);
    app.checks().stop_collecting();
    json(StatusCode::OK, &app.checks().collection())
}
