//! The HTTP edge: the route table, in the API's own order.
//!
//! A handler extracts, permits, asks the engine and shapes the answer; the modules below hold what
//! they share. `error` is the only one that knows statuses of failures, `wire` the only one that
//! knows the API's field names.

mod auth;

mod body;

mod caller;

mod conditions;

mod content;

mod datasets;

mod download;

mod error;

mod fields;

mod files;

mod headers;

mod health;

mod inflow;

mod licences;

mod limits;

mod metadata;

mod nodes;

mod path;

mod projects;

mod range;

mod respond;

mod state;

mod strict;

mod teams;

mod users;

mod wire;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub use state::AppState;

/// The whole API as a router.
///
/// Every path is there with and without a slash at its end, except those that end in a name, where
/// the slash is part of it.
pub fn router(state: AppState) -> Router {
    let api = Router::new()
        .merge(both("/livez", || get(health::live)))
        .merge(both("/readyz", || get(health::ready)))
        .merge(auth_routes())
        .merge(dataset_routes())
        .merge(file_routes())
        .merge(catalogue_routes())
        .fallback(headers::no_route)
        .method_not_allowed_fallback(headers::other_method)
        // Bodies have bounds of their own, see `body.rs` and the engine's.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(error::panicked))
        .with_state(state);
    // Around the whole router, since a layer inside runs before the router adds `Allow`.
    let api = Router::new().fallback_service(api);
    api.layer(from_fn(headers::add)).layer(from_fn(inflow::watch))
}

/// A path with and without a slash at its end.
fn both(path: &str, methods: impl Fn() -> MethodRouter<AppState>) -> Router<AppState> {
    Router::new().route(path, methods()).route(&format!("{path}/"), methods())
}

fn auth_routes() -> Router<AppState> {
    Router::new()
        .merge(both("/v1/auth/obtain", || post(auth::obtain)))
        .merge(both("/v1/auth/refresh", || post(auth::refresh)))
        .merge(both("/v1/auth/verify", || post(auth::verify)))
}

fn dataset_routes() -> Router<AppState> {
    let one = || {
        get(datasets::retrieve)
            .put(datasets::update)
            .patch(datasets::partial_update)
            .delete(datasets::destroy)
    };
    Router::new()
        .merge(both("/v1/datasets/list", || post(datasets::list)))
        .merge(both("/v1/datasets/create", || post(datasets::create)))
        .merge(both("/v1/datasets/{pk}", one))
        .merge(both("/v1/datasets/{pk}/clear", || delete(datasets::clear)))
        .merge(both("/v1/datasets/{pk}/merge/{other}", || post(datasets::merge)))
        .merge(both("/v1/datasets/{pk}/download", || post(download::download)))
        .merge(both("/v1/datasets/{pk}/archive.zip", || get(download::zip)))
        .merge(both("/v1/datasets/{pk}/archive.tar.gz", || get(download::tar_gz)))
        .merge(both("/v1/datasets/{pk}/copy", || post(datasets::copy)))
        .merge(both("/v1/datasets/{pk}/hard", || delete(datasets::hard_delete)))
        .merge(both("/v1/datasets/{pk}/reinstate", || delete(datasets::reinstate)))
}

fn file_routes() -> Router<AppState> {
    let file = || post(files::add_file).get(files::get_file).delete(files::delete_file);
    let metadata = || post(metadata::set_metadata).get(metadata::get_metadata);
    let handle = || get(files::get_file_by_handle);
    Router::new()
        // The empty name is a name too, and refused as one.
        .route("/v1/datasets/{pk}/files/", file())
        .route("/v1/datasets/{pk}/files/{*filename}", file())
        .merge(both("/v1/datasets/{pk}/files-multi", || post(files::add_files)))
        .merge(both("/v1/datasets/{pk}/file-handles/{handle}", handle))
        .merge(both("/v1/datasets/{pk}/metadata", || get(metadata::get_all_metadata)))
        .route("/v1/datasets/{pk}/metadata/{*filename}", metadata())
}

fn catalogue_routes() -> Router<AppState> {
    let licences = |path: &str| {
        Router::new()
            .merge(both(&format!("{path}/list"), || post(licences::list)))
            .merge(both(&format!("{path}/create"), || post(licences::create)))
            .merge(both(&format!("{path}/{{pk}}"), || get(licences::retrieve)))
    };
    Router::new()
        .merge(both("/v1/users/list", || post(users::list)))
        .merge(both("/v1/users/create", || post(users::create)))
        .route("/v1/users/{*username}", get(users::retrieve))
        .merge(both("/v1/teams/list", || post(teams::list)))
        .merge(both("/v1/teams/create", || post(teams::create)))
        .merge(both("/v1/teams/{pk}", || get(teams::retrieve)))
        .merge(both("/v1/projects/list", || post(projects::list)))
        .merge(both("/v1/projects/create", || post(projects::create)))
        .merge(both("/v1/projects/{pk}", || get(projects::retrieve)))
        .merge(licences("/v1/licences"))
        .merge(licences("/v1/licenses"))
        .merge(both("/v1/nodes/list", || post(nodes::list)))
        .merge(both("/v1/nodes/create", || post(nodes::create)))
        .merge(both("/v1/nodes/{pk}", || get(nodes::retrieve)))
}
