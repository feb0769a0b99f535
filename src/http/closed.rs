//! What a server answers that serves nothing yet, nothing more, or nothing at this moment: how it is,
//! and that one should come back.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use tower::util::MapRequestLayer;

use super::error::ApiError;
use super::exchange::observe;
use super::state::{AppState, Observers, Outside};
use super::{headers, health, inflow, metrics};

/// The API while the store is being opened.
pub fn recovering_router(outside: &Outside) -> Router {
    let recovering = async || {
        let reason = "the server has just started and reads what its journal has beyond the index";
        health::not_ready("recovering", reason)
    };
    let refuse = async || ApiError::unavailable("The server is starting.");
    let router = Router::new().route("/readyz", get(recovering)).fallback(refuse);
    let router = router.route("/livez", get(async || health::alive()));
    observed(router, headers::Told::of(outside), Arc::new(Observers::new()))
}

/// The API after the server was told to stop, while what is under way is answered elsewhere.
pub fn draining_router(app: &AppState) -> Router {
    refusing("The server is stopping.", app)
}

/// The API for requests that come while those under way are more than the server keeps up with.
pub fn crowded_router(app: &AppState) -> Router {
    refusing("Too many requests are under way.", app)
}

/// Says how the server is, and refuses everything else.
fn refusing(reason: &'static str, app: &AppState) -> Router {
    let router = Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .fallback(move || async move { ApiError::unavailable(reason) })
        .with_state(app.clone());
    observed(router, headers::Told::of(app.outside()), Arc::clone(app.observers()))
}

/// Metrics and health alone, for a listener of their own.
pub fn metrics_router(app: &AppState) -> Router {
    let show = async |State(app): State<AppState>| -> Result<Response, ApiError> {
        metrics::answer(app).await
    };
    let router = Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(show))
        .fallback(headers::no_route)
        .with_state(app.clone());
    observed(router, headers::Told::of(app.outside()), Arc::clone(app.observers()))
}

fn observed(router: Router, told: headers::Told, observers: Arc<Observers>) -> Router {
    let pace = inflow::usual_pace();
    router.layer((
        from_fn_with_state(observers, observe),
        // Who is refused while it sends would otherwise meet a broken connection, not the answer.
        MapRequestLayer::new(move |request| inflow::watched(request, pace)),
        from_fn_with_state(told, headers::add),
    ))
}
