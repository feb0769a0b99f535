//! Access tokens, with which programs act for users within one team.

use std::io::Write;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::{AccessToken, NewAccessToken, TeamId, UserId};

use super::body::Incoming;
use super::error::ApiError;
use super::openapi::failures::{FieldsBody, Growing, Guarded, Restricted};
use super::path;
use super::respond::{Rows, empty, json, spooled};
use super::state::AppState;
use super::wire::access_tokens::{AccessTokenBody, AccessTokenFields, AccessTokenShape};
use crate::auth::Secret;
use crate::permission::{Action, Object, Principal, Rights, allow};

/// Lists access tokens, without their secrets, which nobody keeps.
///
/// For everybody who is logged in: their own, and those of teams that they may administrate;
/// administrators see all. An access token does not see any.
#[utoipa::path(
    get,
    path = "/v1/access-tokens",
    responses(
        (status = OK, description = "The tokens, oldest first.", body = Vec<AccessTokenShape>),
        Restricted,
    ),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allow(&app.snapshot()?, &principal, Action::ListAccessTokens, Object::Server)?);
    let state = app.clone();
    // Users have few tokens each; the store may have many. Who waits for a turn holds no state.
    let write = move |out: &mut dyn Write| {
        let principal = state.renewed(&principal)?;
        let snapshot = state.snapshot()?;
        let mut rights = Rights::of(&snapshot, &principal);
        let mut rows = Rows::begin(out);
        for token in snapshot.access_tokens()? {
            let token = token?;
            if rights.may(Action::RevokeAccessToken, Object::AccessToken(&token))? {
                rows.push(&AccessTokenShape::from(&token))?;
            }
        }
        rows.end()
    };
    spooled(&app, StatusCode::OK, write).await
}

/// Makes an access token and shows it, this once.
///
/// For members of its team, each for themselves. The token is sent as a login's access token is
/// (`Authorization: Bearer granary_…`) and is good for what its owner may do at that moment, in this
/// team alone and up to this level. It reads what is public and what everybody may who is logged in,
/// and makes or revokes no tokens. It ends when it is revoked, when its time is over, when its owner
/// is deactivated or leaves the team.
#[utoipa::path(
    post,
    path = "/v1/access-tokens/create",
    request_body = AccessTokenFields,
    responses(
        (status = CREATED, description = "The token.", body = AccessTokenShape),
        Restricted, Growing, FieldsBody,
    ),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let body = AccessTokenBody::read(incoming.fields(&app).await?)?;
    let principal = app.renewed(&principal)?;
    let team = TeamId(body.team);
    let (allowed, level) = {
        let snapshot = app.snapshot()?;
        let object = Object::Team(team);
        let allowed = allow(&snapshot, &principal, Action::CreateAccessToken, object)?;
        (allowed, Rights::of(&snapshot, &principal).level_in(team)?)
    };
    if level < Some(body.level) {
        return Err(ApiError::level_beyond_own());
    }
    let user = principal.user_id().ok_or_else(ApiError::not_logged_in)?;
    let secret = Secret::random().map_err(ApiError::internal)?;
    let token = new_token(body, user, &secret);
    let created = app.engine(&allowed)?.create_access_token(token).await?;
    let shown = AccessTokenShape::new(&created, secret.token(created.id));
    json(StatusCode::CREATED, &shown)
}

fn new_token(body: AccessTokenBody, user: UserId, secret: &Secret) -> NewAccessToken {
    let AccessTokenBody { name, team, level, expiry_time } = body;
    let (team, secret_hash) = (TeamId(team), secret.hash());
    NewAccessToken { name, user, team, level, secret_hash, expiry_time }
}

/// Revokes an access token for good; whoever shows it from then on gets 401.
///
/// For its owner, members with the right to administrate its team, and administrators.
#[utoipa::path(
    delete,
    path = "/v1/access-tokens/{pk}",
    responses((status = NO_CONTENT, description = "It is revoked."), Guarded),
)]
pub(crate) async fn revoke(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (token, allowed) = {
        let snapshot = app.snapshot()?;
        let token = snapshot.access_token(path::access_token(&uri)?)?;
        let token: AccessToken = token.ok_or_else(|| ApiError::no_record("AccessToken"))?;
        let object = Object::AccessToken(&token);
        let allowed = allow(&snapshot, &principal, Action::RevokeAccessToken, object)?;
        (token.id, allowed)
    };
    app.engine(&allowed)?.revoke_access_token(token).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
