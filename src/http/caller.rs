//! Who sends a request: the `Authorization` and `Node-Id` headers as a [`Principal`].
//!
//! Every handler of the API takes one, whatever it permits to whom, since a bad token is 401 and
//! a bad node 400 even where the anonymous may go.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use granary_engine::Snapshot;
use granary_engine::model::{AccessToken, NodeId, Timestamp, User, UserId};

use super::error::ApiError;
use super::exchange;
use super::kept_login::KeptLogin;
use super::path::parse_pk;
use super::sender::Peer;
use super::state::AppState;
use crate::auth::{ACCESS_TOKEN_PREFIX, Claim, TokenFault};
use crate::permission::{Action, Allowed, AsOf, Object, Principal, Reach, allow};

/// Names the node that a request comes from.
pub(crate) const NODE_ID: HeaderName = HeaderName::from_static("node-id");

impl FromRequestParts<AppState> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let exchange = exchange::current();
        let action = exchange.as_ref().map_or("", |exchange| exchange.action().0);
        app.caught_up_for(action).await?;
        let headers = &parts.headers;
        if !headers.contains_key(AUTHORIZATION) && !headers.contains_key(NODE_ID) {
            return Ok(Self::Anonymous);
        }
        let as_of = app.as_of();
        let user = if let Some(user) = kept_login(parts, as_of) {
            Some((user, Reach::Whole))
        } else {
            let token = token(headers)?;
            token.map(|token| user_of(app, token, as_of, parts)).transpose()?
        };
        let node = node_of(app, headers)?;
        let principal =
            user.map_or(Self::Anonymous, |(user, reach)| Self::User { user, node, reach, as_of });
        app.touch(&principal);
        if let Some(exchange) = exchange {
            exchange.is_of(&principal);
        }
        Ok(principal)
    }
}

impl AppState {
    /// The caller as they are now: a body may have taken its time, and rights end at once.
    ///
    /// # Errors
    /// 401: they were deactivated, have another password, or their access token was revoked.
    pub(crate) fn renewed(&self, principal: &Principal) -> Result<Principal, ApiError> {
        let Principal::User { user: before, node, reach, as_of: then } = principal else {
            return Ok(Principal::Anonymous);
        };
        let as_of = self.as_of();
        if as_of == *then {
            return Ok(principal.clone());
        }
        let snapshot = self.snapshot()?;
        let user = active(&snapshot, before.id)?;
        match reach {
            Reach::Whole if as_of.key != then.key || user.password_hash != before.password_hash => {
                return Err(ApiError::bad_access_token(TokenFault::Invalid));
            }
            Reach::Token { token, .. } if snapshot.access_token(*token)?.is_none() => {
                return Err(ApiError::bad_machine_token(false));
            }
            Reach::Whole | Reach::Token { .. } => {}
        }
        Ok(Principal::User { user: Arc::new(user), node: *node, reach: *reach, as_of })
    }

    /// Whether somebody is who they were when their request began, and may do something in a state. What cannot
    /// be found out is a no.
    pub(crate) fn may_still(
        &self,
        snapshot: &Snapshot,
        principal: &Principal,
        action: Action,
        object: Object<'_>,
    ) -> bool {
        let may = |principal| allow(snapshot, &principal, action, object).is_ok();
        self.renewed(principal).is_ok_and(may)
    }

    /// That what was permitted when the request began still is.
    ///
    /// # Errors
    /// 401 or 403: it is not.
    pub(crate) fn expect_still(&self, allowed: &Allowed) -> Result<(), ApiError> {
        if allowed.principal().as_of().is_none_or(|as_of| as_of == self.as_of()) {
            return Ok(());
        }
        let principal = self.renewed(allowed.principal())?;
        Ok(allowed.again(&self.snapshot()?, &principal)?)
    }
}

/// That the `Node-Id` of a request that needs no login is a good one.
#[derive(Debug)]
pub(crate) struct NodeChecked;

impl FromRequestParts<AppState> for NodeChecked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        node_of(app, &parts.headers)?;
        Ok(Self)
    }
}

/// The token of a `Bearer` header; other schemes are as if there were none.
fn token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let mut words = header.as_bytes().split(u8::is_ascii_whitespace);
    if words.find(|word| !word.is_empty()) != Some(b"Bearer") {
        return Ok(None);
    }
    let text = header.to_str().unwrap_or_default();
    let mut words = text.split_ascii_whitespace().skip(1);
    match (words.next(), words.next()) {
        (Some(token), None) => Ok(Some(token)),
        (None | Some(_), _) => Err(ApiError::bad_authorization_header()),
    }
}

/// The user of a login's token or of an access token, and how far it reaches; `as_of` was read before.
fn user_of(
    app: &AppState,
    token: &str,
    as_of: AsOf,
    request: &Parts,
) -> Result<(Arc<User>, Reach), ApiError> {
    if token.starts_with(ACCESS_TOKEN_PREFIX) {
        let snapshot = app.snapshot()?;
        // Whoever has one does not renew it, and so does not come again with an empty upload.
        let AccessToken { id, user, team, level, .. } = shown(&snapshot, token)?;
        let user = active(&snapshot, user)?;
        return Ok((Arc::new(user), Reach::Token { token: id, team, level }));
    }
    let verdict = app.tokens().verify_access(token);
    let refused = |fault| {
        app.refused_uploads().note(request, fault, app.trusted_proxies());
        ApiError::bad_access_token(fault)
    };
    let (bearer, expiry) = verdict.map_err(refused)?;
    let user = if let Some(user) = app.known_users().get(&bearer, as_of) {
        user
    } else {
        let user = active(&app.snapshot()?, bearer.user)?;
        if !app.tokens().is_current(&bearer, &user) {
            return Err(refused(TokenFault::Invalid));
        }
        let user = Arc::new(user);
        app.known_users().note(&user, bearer, as_of);
        user
    };
    if let Some((login, shown)) = shown_over(request) {
        login.keep(shown, expiry, as_of, &user);
    }
    Ok((user, Reach::Whole))
}

/// The user of the login that a request shows, if its connection keeps it.
fn kept_login(request: &Parts, as_of: AsOf) -> Option<Arc<User>> {
    let (login, shown) = shown_over(request)?;
    login.user(shown, as_of)
}

/// What a request shows of its caller, and what its connection keeps of callers.
fn shown_over(request: &Parts) -> Option<(&KeptLogin, &HeaderValue)> {
    let peer: &Peer = request.extensions.get()?;
    Some((&peer.login, request.headers.get(AUTHORIZATION)?))
}

fn active(snapshot: &Snapshot, user: UserId) -> Result<User, ApiError> {
    let user = snapshot.user(user)?.ok_or_else(ApiError::unknown_user)?;
    if user.is_active { Ok(user) } else { Err(ApiError::inactive_user()) }
}

/// The access token that a text is. One that was revoked looks like one that never was.
fn shown(snapshot: &Snapshot, text: &str) -> Result<AccessToken, ApiError> {
    let claim = Claim::read(text).ok_or_else(|| ApiError::bad_machine_token(false))?;
    let token = snapshot.access_token(claim.id)?;
    let token = token.filter(|token| claim.proves(&token.secret_hash));
    let token = token.ok_or_else(|| ApiError::bad_machine_token(false))?;
    if token.is_expired(Timestamp::now()) {
        return Err(ApiError::bad_machine_token(true));
    }
    Ok(token)
}

fn node_of(app: &AppState, headers: &HeaderMap) -> Result<Option<NodeId>, ApiError> {
    let Some(header) = headers.get(NODE_ID) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(header.as_bytes());
    let Some(node) = parse_pk(text.trim()).map(NodeId) else {
        return Err(ApiError::bad_node_id(&text, "Must be a node's primary key"));
    };
    match app.snapshot()?.node(node)? {
        Some(_) => Ok(Some(node)),
        None => Err(ApiError::bad_node_id(&text, "There is no such node")),
    }
}
