//! Who sends a request: the `Authorization` and `Node-Id` headers as a [`Principal`].
//!
//! Every handler of the API takes one, whatever it permits to whom, since a bad token is 401 and
//! a bad node 400 even where the anonymous may go.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use granary_engine::Snapshot;
use granary_engine::model::{NodeId, User};

use super::error::ApiError;
use super::path::parse_pk;
use super::state::AppState;
use crate::auth::{TokenFault, TokenKind};
use crate::permission::Principal;

/// Names the node that a request comes from.
pub(crate) const NODE_ID: HeaderName = HeaderName::from_static("node-id");

impl FromRequestParts<AppState> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let headers = &parts.headers;
        if !headers.contains_key(AUTHORIZATION) && !headers.contains_key(NODE_ID) {
            return Ok(Self::Anonymous);
        }
        let snapshot = app.snapshot()?;
        let user = match access_token(headers)? {
            None => None,
            Some(token) => Some(user_of(app, &snapshot, token, parts)?),
        };
        let node = node_of(&snapshot, headers)?;
        let principal =
            user.map_or(Self::Anonymous, |user| Self::User { user: Box::new(user), node });
        app.touch(&principal);
        Ok(principal)
    }
}

/// That the `Node-Id` of a request that needs no login is a good one.
#[derive(Debug)]
pub(crate) struct NodeChecked;

impl FromRequestParts<AppState> for NodeChecked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        if parts.headers.contains_key(NODE_ID) {
            node_of(&app.snapshot()?, &parts.headers)?;
        }
        Ok(Self)
    }
}

/// The token of a `Bearer` header; other schemes are as if there were none.
fn access_token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(header.as_bytes());
    if text.split_ascii_whitespace().next() != Some("Bearer") {
        return Ok(None);
    }
    let text = header.to_str().unwrap_or_default();
    let mut words = text.split_ascii_whitespace().skip(1);
    match (words.next(), words.next()) {
        (Some(token), None) => Ok(Some(token)),
        (None | Some(_), _) => Err(ApiError::bad_authorization_header()),
    }
}

fn user_of(
    app: &AppState,
    snapshot: &Snapshot,
    token: &str,
    request: &Parts,
) -> Result<User, ApiError> {
    let verdict = app.tokens().verify(token, Some(TokenKind::Access));
    let refused = |fault| {
        app.refused_uploads().note(request, fault);
        ApiError::bad_access_token(fault)
    };
    let bearer = verdict.map_err(refused)?;
    let user = snapshot.user(bearer.user)?.ok_or_else(ApiError::unknown_user)?;
    if !user.is_active {
        return Err(ApiError::inactive_user());
    }
    if !app.tokens().is_current(&bearer, &user) {
        return Err(refused(TokenFault::Invalid));
    }
    Ok(user)
}

fn node_of(snapshot: &Snapshot, headers: &HeaderMap) -> Result<Option<NodeId>, ApiError> {
    let Some(header) = headers.get(NODE_ID) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(header.as_bytes());
    let Some(node) = parse_pk(text.trim()).map(NodeId) else {
        return Err(ApiError::bad_node_id(&text, "Must be a node's primary key"));
    };
    match snapshot.node(node)? {
        Some(_) => Ok(Some(node)),
        None => Err(ApiError::bad_node_id(&text, "There is no such node")),
    }
}
