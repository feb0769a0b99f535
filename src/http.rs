//! The HTTP edge: the route table, in the API's own order.
//!
//! A handler extracts, permits, asks the engine and shapes the answer; the modules below hold what
//! they share. `error` is the only one that knows statuses of failures, `wire` the only one that
//! knows the API's field names.

mod auth;

mod body;

mod bulk;

mod caller;

mod conditions;

mod content;

mod datasets;

mod docs;

mod download;

mod error;

mod fields;

mod file_listing;

mod files;

mod headers;

mod health;

mod inflow;

mod licences;

pub(crate) mod limits;

mod lists;

mod metadata;

mod nodes;

mod openapi;

mod path;

mod projects;

mod range;

mod respond;

mod routes;

mod state;

mod strict;

mod teams;

mod users;

mod wire;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, delete, get, patch, post};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::routes;

use routes::{Route, Routes};

pub use state::AppState;

/// The whole API as a router.
pub fn router(state: AppState) -> Router {
    let (router, _) = routes().split();
    let api = router
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

/// The route table. Methods and paths stand at the handlers, with all else that is said of them.
fn routes() -> Routes {
    Routes::new(openapi::begin())
        .group(&["server"], server_routes())
        .group(&["auth"], auth_routes())
        .group(&["datasets"], dataset_routes())
        .group(&["files"], file_routes())
        .group(&["metadata"], metadata_routes())
        .nameless("/v1/datasets/{pk}/files/", post(files::add_file).delete(files::delete_file))
        .undescribed(catalogue_routes())
}

fn server_routes() -> Vec<Route> {
    vec![
        routes!(health::live),
        routes!(health::ready),
        routes!(openapi::document),
        routes!(docs::page),
        routes!(docs::asset),
    ]
}

fn auth_routes() -> Vec<Route> {
    vec![routes!(auth::obtain), routes!(auth::refresh), routes!(auth::verify)]
}

fn dataset_routes() -> Vec<Route> {
    vec![
        routes!(datasets::create),
        routes!(datasets::retrieve, datasets::update, datasets::partial_update, datasets::destroy),
        routes!(datasets::clear),
        routes!(datasets::merge),
        routes!(download::download),
        routes!(datasets::copy),
        routes!(datasets::hard_delete),
        routes!(datasets::reinstate),
    ]
}

fn file_routes() -> Vec<Route> {
    vec![
        routes!(files::add_file, files::get_file, files::delete_file),
        routes!(files::add_files),
        routes!(files::get_file_by_handle),
    ]
}

fn metadata_routes() -> Vec<Route> {
    vec![
        routes!(metadata::get_all_metadata),
        routes!(metadata::set_metadata, metadata::get_metadata),
    ]
}

/// A path with and without a slash at its end.
fn both(path: &str, methods: impl Fn() -> MethodRouter<AppState>) -> Router<AppState> {
    Router::new().route(path, methods()).route(&format!("{path}/"), methods())
}

fn catalogue_routes() -> Router<AppState> {
    let licences = |path: &str| {
        Router::new()
            .merge(both(&format!("{path}/list"), || post(lists::list::<lists::Licences>)))
            .merge(both(&format!("{path}/create"), || post(licences::create)))
            .merge(both(&format!("{path}/{{pk}}"), || {
                get(licences::retrieve)
                    .put(licences::update)
                    .patch(licences::partial_update)
                    .delete(licences::destroy)
            }))
            .merge(both(&format!("{path}/{{pk}}/subdescriptors"), || {
                patch(licences::modify_subdescriptors)
            }))
    };
    Router::new()
        .merge(both("/v1/datasets/list", || post(lists::list::<lists::Datasets>)))
        .merge(both("/v1/datasets/{pk}/archive.zip", || get(download::zip)))
        .merge(both("/v1/datasets/{pk}/archive.tar.gz", || get(download::tar_gz)))
        .merge(both("/v1/datasets/{pk}/files", || get(file_listing::list_files)))
        .merge(both("/v1/datasets/{pk}/files-delete", || post(bulk::delete_files)))
        .merge(both("/v1/datasets/{pk}/files-rename", || post(bulk::rename_file)))
        .merge(both("/v1/datasets/{pk}/metadata-multi", || post(bulk::set_many_metadata)))
        .merge(both("/v1/users/list", || post(lists::list::<lists::Users>)))
        .merge(both("/v1/users/create", || post(users::create)))
        .route("/v1/users/{*username}", one_user())
        .merge(both("/v1/teams/list", || post(lists::list::<lists::Teams>)))
        .merge(both("/v1/teams/create", || post(teams::create)))
        .merge(both("/v1/teams/{pk}", one_team))
        .merge(team_routes())
        .merge(both("/v1/projects/list", || post(lists::list::<lists::Projects>)))
        .merge(both("/v1/projects/create", || post(projects::create)))
        .merge(both("/v1/projects/{pk}", one_project))
        .merge(both("/v1/projects/{pk}/hard", || delete(projects::hard_delete)))
        .merge(both("/v1/projects/{pk}/reinstate", || delete(projects::reinstate)))
        .merge(licences("/v1/licences"))
        .merge(licences("/v1/licenses"))
        .merge(both("/v1/nodes/list", || post(lists::list::<lists::Nodes>)))
        .merge(both("/v1/nodes/create", || post(nodes::create)))
        .merge(both("/v1/nodes/ping", || get(nodes::ping)))
        .merge(both("/v1/nodes/{pk}", one_node))
        .merge(both("/v1/nodes/{pk}/ping", || get(nodes::ping_one)))
}

fn one_user() -> MethodRouter<AppState> {
    get(users::retrieve).put(users::update).patch(users::partial_update).delete(users::destroy)
}

fn one_team() -> MethodRouter<AppState> {
    get(teams::retrieve).put(teams::update).patch(teams::partial_update).delete(teams::destroy)
}

fn one_project() -> MethodRouter<AppState> {
    get(projects::retrieve)
        .put(projects::update)
        .patch(projects::partial_update)
        .delete(projects::destroy)
}

fn one_node() -> MethodRouter<AppState> {
    get(nodes::retrieve).put(nodes::update).patch(nodes::partial_update).delete(nodes::destroy)
}

fn team_routes() -> Router<AppState> {
    let permissions = || get(teams::get_permissions);
    Router::new()
        .merge(both("/v1/teams/{pk}/memberships", || patch(teams::modify_memberships)))
        // The empty name is a name too, and nobody's.
        .route("/v1/teams/{pk}/permissions/", permissions())
        .route("/v1/teams/{pk}/permissions/{*username}", permissions())
        .merge(both("/v1/teams/{pk}/hard", || delete(teams::hard_delete)))
        .merge(both("/v1/teams/{pk}/reinstate", || delete(teams::reinstate)))
}
