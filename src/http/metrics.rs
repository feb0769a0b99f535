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
    let turn = app.scrape_turn().await?;
    let text = tokio::task::spawn_blocking(move || {
        let text = render(&METRICS, &scrape(&app));
        drop(turn);
        text
    });
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::limits::{SCRAPES_MAX, TURNS_WAITING_MAX};
    use crate::http::rig::server;

    #[tokio::test]
    async fn so_many_scrapes_are_rendered_at_once_and_the_others_wait_or_are_refused() {
        let (_directory, _engine, app) = server();
        let mut turns = Vec::new();
        for _ in 0..SCRAPES_MAX {
            turns.push(app.scrape_turn().await.unwrap());
        }
        let waiting = (0..TURNS_WAITING_MAX).map(|_| Box::pin(answer(app.clone())));
        let mut waiting: Vec<_> = waiting.collect();
        assert!(waiting.iter_mut().all(|answer| answer.now_or_never().is_none()));
        answer(app.clone()).await.unwrap_err();
        drop(turns);
        for answer in waiting {
            answer.await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_got_no_turn_is_counted_by_the_turn() {
        let (_directory, _engine, app) = server();
        let turn = app.strangers_body_turn().await.unwrap();
        let waiting = (0..TURNS_WAITING_MAX).map(|_| Box::pin(app.strangers_body_turn()));
        let mut waiting: Vec<_> = waiting.collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        app.strangers_body_turn().await.unwrap_err();
        drop((turn, waiting));
        let text = answer(app).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let text = str::from_utf8(&text).unwrap();
        for (queue, refused) in [("strangers_large_bodies", 1), ("large_bodies", 0), ("logins", 0)]
        {
            let sample = format!("granary_queue_refusals_total{{queue=\"{queue}\"}} {refused}\n");
            assert!(text.contains(&sample), "{sample}");
        }
    }
}
