//! The HTTP edge: the route table, in the API's own order.
//!
//! A handler extracts, permits, asks the engine and shapes the answer; the modules below hold what
//! they share. `error` is the only one that knows statuses of failures, `wire` the only one that
//! knows the API's field names.

mod access_log;

mod access_tokens;

mod actions;

mod audit;

mod auth;

mod backups;

mod body;

mod bulk;

mod caller;

mod closed;

mod conditions;

mod content;

mod datasets;

mod docs;

mod download;

mod edge;

mod error;

mod exchange;

mod fields;

mod file_listing;

mod files;

mod form;

mod headers;

mod health;

mod inflow;

mod integrity;

mod json;

mod kept_backups;

mod kept_login;

mod known_users;

mod licences;

pub(crate) mod limits;

mod lists;

mod metadata;

mod metrics;

mod nodes;

mod openapi;

mod outgoing;

mod path;

mod preflight;

mod projects;

mod query;

mod quotas;

mod range;

mod refused_uploads;

mod respond;

#[cfg(test)]
mod rig;

mod routes;

mod sender;

mod sink;

mod space;

mod state;

mod store;

mod strict;

mod teams;

mod uploads;

mod users;

mod waiting;

mod wire;

mod witness;

use std::sync::Arc;

use axum::Router;
use utoipa_axum::routes;

use edge::Edge;
use routes::{Route, Routes};

pub use closed::{crowded_router, draining_router, metrics_router, recovering_router};
pub use exchange::current_request_id;
pub use headers::Origins;
pub use inflow::body_pace;
pub use limits::BODY_BYTES_A_SECOND;
pub use sender::Peer;
pub use state::{AppState, Outside};
pub use wire::space as wire_of_space;
pub use wire::store as wire_of_store;

/// The whole API as a router.
pub fn router(state: AppState) -> Router {
    layered(real(), state)
}

/// The API for the load tool alone: files that are added come to nothing, though who asks, and
/// whether they may, is looked at as ever.
pub fn router_that_discards_uploads(state: AppState) -> Router {
    layered(sink::before(real(), &state), state)
}

fn real() -> Router<AppState> {
    let (router, _) = routes().split();
    router.fallback(headers::no_route)
}

fn layered(router: Router<AppState>, state: AppState) -> Router {
    let told = headers::Told::of(state.outside());
    let edge = Edge::new(Arc::clone(state.observers()), state.body_pace(), told);
    router.layer(edge).with_state(state)
}

/// The route table. Methods and paths stand at the handlers, with all else that is said of them.
fn routes() -> Routes {
    Routes::new(openapi::begin())
        .group(&["server"], server_routes())
        .group(&["auth"], auth_routes())
        .group(&["access-tokens"], access_token_routes())
        .group(&["users"], user_routes())
        .group(&["teams"], team_routes())
        .group(&["projects"], project_routes())
        .group(&["licences", "licenses"], licence_routes())
        .group(&["nodes"], node_routes())
        .group(&["backups"], backup_routes())
        .group(&["datasets"], dataset_routes())
        .group(&["files"], file_routes())
        .group(&["metadata"], metadata_routes())
        .group(&["store"], store_routes())
        .group(&["audit"], vec![routes!(audit::list)])
        .nameless(vec![
            routes!(files::add_file, files::replace_file, files::delete_file),
            routes!(teams::get_permissions),
            routes!(metadata::set_metadata),
        ])
}

fn server_routes() -> Vec<Route> {
    vec![
        routes!(health::live),
        routes!(health::ready),
        routes!(metrics::show),
        routes!(openapi::document),
        routes!(docs::page),
        routes!(docs::asset),
    ]
}

fn auth_routes() -> Vec<Route> {
    vec![
        routes!(auth::obtain),
        routes!(auth::refresh),
        routes!(auth::verify),
        routes!(auth::change_password),
        routes!(auth::rotate_key),
    ]
}

fn access_token_routes() -> Vec<Route> {
    vec![
        routes!(access_tokens::list),
        routes!(access_tokens::create),
        routes!(access_tokens::revoke),
    ]
}

fn user_routes() -> Vec<Route> {
    vec![
        routes!(users::list),
        routes!(users::create),
        routes!(users::retrieve, users::update, users::partial_update, users::destroy),
    ]
}

fn team_routes() -> Vec<Route> {
    vec![
        routes!(teams::list),
        routes!(teams::create),
        routes!(teams::retrieve, teams::update, teams::partial_update, teams::destroy),
        routes!(teams::modify_memberships),
        routes!(teams::get_permissions),
        routes!(quotas::retrieve_quota, quotas::update_quota),
        routes!(teams::hard_delete),
        routes!(teams::reinstate),
    ]
}

fn project_routes() -> Vec<Route> {
    vec![
        routes!(projects::list),
        routes!(projects::create),
        routes!(projects::retrieve, projects::update, projects::partial_update, projects::destroy),
        routes!(projects::hard_delete),
        routes!(projects::reinstate),
    ]
}

fn licence_routes() -> Vec<Route> {
    vec![
        routes!(licences::list),
        routes!(licences::create),
        routes!(licences::retrieve, licences::update, licences::partial_update, licences::destroy),
        routes!(licences::modify_subdescriptors),
    ]
}

fn node_routes() -> Vec<Route> {
    vec![
        routes!(nodes::list),
        routes!(nodes::create),
        routes!(nodes::ping),
        routes!(nodes::retrieve, nodes::update, nodes::partial_update, nodes::destroy),
        routes!(nodes::ping_one),
    ]
}

fn backup_routes() -> Vec<Route> {
    vec![
        routes!(backups::create),
        routes!(backups::state),
        routes!(backups::contents),
        routes!(backups::destroy),
    ]
}

fn dataset_routes() -> Vec<Route> {
    vec![
        routes!(datasets::list),
        routes!(datasets::create),
        routes!(
            datasets::retrieve,
            datasets::update,
            datasets::partial_update,
            datasets::ends::destroy
        ),
        routes!(datasets::changes::clear),
        routes!(datasets::changes::merge),
        routes!(download::download),
        routes!(download::zip),
        routes!(download::tar_gz),
        routes!(datasets::changes::copy),
        routes!(datasets::ends::hard_delete),
        routes!(datasets::ends::reinstate),
    ]
}

fn file_routes() -> Vec<Route> {
    let files = vec![
        routes!(file_listing::list_files),
        routes!(files::add_file, files::get_file, files::replace_file, files::delete_file),
        routes!(files::add_files),
        routes!(preflight::check_files),
        routes!(preflight::attach_files),
        routes!(files::get_file_by_handle),
        routes!(bulk::delete_files),
        routes!(bulk::rename_file),
    ];
    files.into_iter().chain(uploads::routes()).collect()
}

fn store_routes() -> Vec<Route> {
    vec![
        routes!(store::check, store::begin_check, store::stop_check),
        routes!(store::scrub, store::begin_scrub),
        routes!(store::quarantine),
        routes!(space::usage, space::measure, space::stop_measuring),
        routes!(space::garbage),
        routes!(space::collection, space::collect, space::stop_collecting),
        routes!(store::status),
    ]
}

fn metadata_routes() -> Vec<Route> {
    vec![
        routes!(metadata::get_all_metadata),
        routes!(metadata::set_metadata, metadata::get_metadata),
        routes!(bulk::set_many_metadata),
    ]
}
