//! `/metrics`: the server's numbers for Prometheus.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;

use super::error::ApiError;
use super::openapi::failures::Restricted;
use super::state::AppState;
use crate::config::MetricsAccess;
use crate::metrics::{self, METRICS, ProcessFigures, Scrape, render};
use crate::permission::{Action, Object, Principal, allow};

/// Shows what the server counts, in Prometheus' text format.
///
/// `docs/metrics.md` describes each number. Who may read them is a setting: everybody unless it says
/// otherwise; 404 where they are not served here.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = OK, description = "The numbers.", body = String, content_type = "text/plain"),
        Restricted,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn show(
    State(app): State<AppState>,
    principal: Result<Principal, ApiError>,
) -> Result<Response, ApiError> {
    match app.metrics_access() {
        MetricsAccess::Open => {}
        MetricsAccess::Admin => {
            let allowed =
                allow(&app.snapshot()?, &principal?, Action::ReadMetrics, Object::Server)?;
            drop(allowed);
        }
        MetricsAccess::Off | MetricsAccess::At(_) => return Err(ApiError::no_route()),
    }
    answer(app).await
}

/// The numbers, for whoever asks.
pub(crate) async fn answer(app: AppState) -> Result<Response, ApiError> {
    // Files are looked at, and there may be thousands of them open.
    let text = tokio::task::spawn_blocking(move || render(&METRICS, &scrape(&app)));
    let text = text.await.map_err(ApiError::internal)?;
    let mut response = Response::new(Body::from(text));
    let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

fn scrape(app: &AppState) -> Scrape<'_> {
    Scrape {
        metrics: &app.observers().metrics,
        figures: app.figures(),
        process: ProcessFigures::read(),
        condition: app.condition().word(),
        works: app.works(),
    }
}
