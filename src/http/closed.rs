//! What a server answers that serves nothing yet, nothing more, or nothing at this moment: how it is,
//! and that one should come back.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, get};

use super::edge::Edge;
use super::error::ApiError;
use super::state::{AppState, Observers, Outside};
use super::{headers, health, inflow, metrics};

/// The API while the store is being opened.
pub fn recovering_router(outside: &Outside) -> Router {
    let recovering = async || {
        let reason = "the server has just started and reads what its journal has beyond the index";
        health::not_ready("recovering", reason)
    };
    let refuse = async || ApiError::unavailable("The server is starting.");
    let router = Router::new().route("/readyz", only(get(recovering))).fallback(refuse);
    let router = router.route("/livez", only(get(async || health::alive())));
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
        .route("/livez", only(get(health::live)))
        .route("/readyz", only(get(health::ready)))
        .route("/metrics", only(get(metrics::show)))
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
        .route("/livez", only(get(health::live)))
        .route("/readyz", only(get(health::ready)))
        .route("/metrics", only(get(show)))
        .fallback(headers::no_route)
        .with_state(app.clone());
    observed(router, headers::Told::of(app.outside()), Arc::clone(app.observers()))
}

/// These methods of a path, and the refusal of all others.
fn only<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>) -> MethodRouter<S> {
    methods.fallback(headers::other_method)
}

fn observed(router: Router, told: headers::Told, observers: Arc<Observers>) -> Router {
    router.layer(Edge::new(observers, inflow::usual_pace(), told))
}
