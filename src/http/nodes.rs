//! Nodes: made and seen by whoever is logged in, changed by themselves.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::NodeId;

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::lists;
use super::openapi::failures::{FieldsBody, Growing, Guarded, JsonBody, Restricted};
use super::openapi::parameters::Page;
use super::path;
use super::respond::{empty, json};
use super::state::AppState;
use super::wire::catalogue::{NodeChange, NodeFields, NodeShape, read_node, read_node_patch};
use super::wire::filter::FilterBody;
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// Lists the nodes.
///
/// For everybody who is logged in.
#[utoipa::path(
    post,
    path = "/v1/nodes/list",
    params(Page),
    request_body = Option<FilterBody>,
    responses(
        (
            status = OK,
            description = "The nodes.",
            body = Vec<NodeShape<'_>>,
            headers(("Link" = String, description = "Where the next page is, if there is one.")),
        ),
        Restricted, JsonBody,
    ),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    lists::list::<lists::Nodes>(app, principal, uri, incoming).await
}

/// Makes a node.
///
/// For everybody who is logged in. Address and index together are unique.
#[utoipa::path(
    post,
    path = "/v1/nodes/create",
    request_body = NodeFields,
    responses(
        (status = CREATED, description = "The new node.", body = NodeShape<'_>),
        Restricted, Growing, FieldsBody,
    ),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let node = read_node(incoming.fields(&app).await?)?;
    let allowed = allow(&app.snapshot()?, &principal, Action::CreateNode, Object::Server)?;
    let created = app.engine(&allowed)?.create_node(node).await?;
    json(StatusCode::CREATED, &NodeShape::from(&created))
}

/// Shows a node.
///
/// For everybody who is logged in.
#[utoipa::path(
    get,
    path = "/v1/nodes/{pk}",
    responses((status = OK, description = "The node.", body = NodeShape<'_>), Guarded),
)]
pub(crate) async fn retrieve(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let snapshot = app.snapshot()?;
    let node = snapshot.node(path::node(&uri)?)?;
    let node = node.ok_or_else(|| ApiError::no_record("Node"))?;
    drop(allow(&snapshot, &principal, Action::RetrieveNode, Object::Server)?);
    json(StatusCode::OK, &NodeShape::from(&node))
}

/// Finds a node (404, even for the anonymous), then asks for the permission (401, 403).
fn open(
    app: &AppState,
    principal: &Principal,
    action: Action,
    uri: &Uri,
) -> Result<(NodeId, Allowed), ApiError> {
    let snapshot = app.snapshot()?;
    let node = snapshot.node(path::node(uri)?)?;
    let node = node.ok_or_else(|| ApiError::no_record("Node"))?;
    let allowed = allow(&snapshot, principal, action, Object::Node(node.id))?;
    Ok((node.id, allowed))
}

/// Changes a node; the same fields are needed as for a new one.
///
/// For the node itself, as `Node-Id` says, and administrators.
#[utoipa::path(
    put,
    path = "/v1/nodes/{pk}",
    request_body = NodeFields,
    responses(
        (status = OK, description = "The changed node.", body = NodeShape<'_>),
        Guarded, Growing, FieldsBody,
    ),
)]
pub(crate) async fn update(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    change(&app, &principal, &uri, incoming, Need::Required).await
}

/// Changes some fields of a node.
///
/// For the node itself, as `Node-Id` says, and administrators.
#[utoipa::path(
    patch,
    path = "/v1/nodes/{pk}",
    request_body = Option<NodeChange>,
    responses(
        (status = OK, description = "The changed node.", body = NodeShape<'_>),
        Guarded, Growing, FieldsBody,
    ),
)]
pub(crate) async fn partial_update(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    change(&app, &principal, &uri, incoming, Need::Optional).await
}

async fn change(
    app: &AppState,
    principal: &Principal,
    uri: &Uri,
    incoming: Incoming,
    need: Need,
) -> Result<Response, ApiError> {
    let (node, allowed) = open(app, principal, Action::UpdateNode, uri)?;
    let patch = read_node_patch(incoming.fields(app).await?, need)?;
    app.engine(&allowed)?.update_node(node, patch).await?;
    // From a state that knows when the node was here last, which its row may not say yet.
    let changed = app.snapshot()?.node(node)?.ok_or_else(|| ApiError::no_record("Node"))?;
    json(StatusCode::OK, &NodeShape::from(&changed))
}

/// Deletes a node for good.
///
/// For the node itself, as `Node-Id` says, and administrators.
#[utoipa::path(
    delete,
    path = "/v1/nodes/{pk}",
    responses((status = NO_CONTENT, description = "It is deleted."), Guarded),
)]
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (node, allowed) = open(&app, &principal, Action::DestroyNode, &uri)?;
    app.engine(&allowed)?.delete_node(node).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Says that a node is alive: the one that `Node-Id` names.
///
/// For nodes and administrators. Every request with `Node-Id` says the same.
#[utoipa::path(
    get,
    path = "/v1/nodes/ping",
    responses((status = OK, description = "It is noted; no body."), Restricted),
)]
pub(crate) async fn ping(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allow(&app.snapshot()?, &principal, Action::PingNode, Object::Server)?);
    Ok(empty(StatusCode::OK))
}

/// Says that the node of the path is alive.
///
/// A node speaks for itself only; an administrator may say that any was seen.
#[utoipa::path(
    get,
    path = "/v1/nodes/{pk}/ping",
    responses((status = OK, description = "It is noted; no body."), Guarded),
)]
pub(crate) async fn ping_one(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (node, allowed) = open(&app, &principal, Action::PingNode, &uri)?;
    if principal.is_administrator() {
        app.engine(&allowed)?.touch_node(node);
    }
    Ok(empty(StatusCode::OK))
}
