//! Nodes: create, retrieve, for whoever is logged in.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::Incoming;
use super::error::ApiError;
use super::path;
use super::respond::json;
use super::state::AppState;
use super::wire::catalogue::{NodeShape, read_node};
use crate::permission::{Action, Object, Principal, allow};

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
