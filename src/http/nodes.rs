//! Nodes: made and seen by whoever is logged in, changed by themselves.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::NodeId;

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::path;
use super::respond::{empty, json};
use super::state::AppState;
use super::wire::catalogue::{NodeShape, read_node, read_node_patch};
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// `POST /nodes/create`.
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let node = read_node(incoming.fields(&app).await?)?;
    let allowed = allow(&app.snapshot()?, &principal, Action::CreateNode, Object::Server)?;
    let created = app.engine(&allowed).create_node(node).await?;
    json(StatusCode::CREATED, &NodeShape::from(&created))
}

/// `GET /nodes/{pk}`.
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

/// `PUT /nodes/{pk}`.
pub(crate) async fn update(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    change(&app, &principal, &uri, incoming, Need::Required).await
}

/// `PATCH /nodes/{pk}`.
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
    app.engine(&allowed).update_node(node, patch).await?;
    // From a state that knows when the node was here last, which its row may not say yet.
    let changed = app.snapshot()?.node(node)?.ok_or_else(|| ApiError::no_record("Node"))?;
    json(StatusCode::OK, &NodeShape::from(&changed))
}

/// `DELETE /nodes/{pk}`: for good.
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (node, allowed) = open(&app, &principal, Action::DestroyNode, &uri)?;
    app.engine(&allowed).delete_node(node).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /nodes/ping`: a node is alive. Its header says so already, see [`Principal`].
pub(crate) async fn ping(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allow(&app.snapshot()?, &principal, Action::PingNode, Object::Server)?);
    Ok(empty(StatusCode::OK))
}

/// `GET /nodes/{pk}/ping`: the same for a node that the path names. A node speaks for itself
/// only; an administrator may say that any was seen.
pub(crate) async fn ping_one(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (node, allowed) = open(&app, &principal, Action::PingNode, &uri)?;
    if principal.is_administrator() {
        app.engine(&allowed).touch_node(node);
    }
    Ok(empty(StatusCode::OK))
}
