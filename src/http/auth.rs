//! Obtaining, refreshing and verifying tokens.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use granary_engine::model::UserId;

use super::body::Incoming;
use super::caller::NodeChecked;
use super::error::ApiError;
use super::openapi::failures::FieldsBody;
use super::respond::json;
use super::state::AppState;
use super::wire::auth::{AccessToken, AnyToken, Credentials, RefreshToken, Tokens, Verified};
use crate::auth::TokenKind;
use crate::permission::Principal;

/// Logs a user in.
///
/// A wrong password, an unknown and a deactivated user look alike and take the same time.
#[utoipa::path(
    post,
    path = "/v1/auth/obtain",
    request_body = Credentials,
    responses((status = OK, description = "The tokens.", body = Tokens), FieldsBody),
    security(()),
)]
pub(crate) async fn obtain(
    State(app): State<AppState>,
    _: NodeChecked,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let credentials = Credentials::read(incoming.fields(&app).await?)?;
    let user = app.snapshot()?.user_by_name(&credentials.username)?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let matches = app.passwords().verify(credentials.password, hash).await?;
    let user =
        user.filter(|user| matches && user.is_active).ok_or_else(ApiError::no_active_account)?;
    let tokens = Tokens {
        refresh: issue(&app, user.id, TokenKind::Refresh)?,
        access: issue(&app, user.id, TokenKind::Access)?,
    };
    let node = None;
    app.touch(&Principal::User { user: Box::new(user), node });
    json(StatusCode::OK, &tokens)
}

/// Gives a fresh access token for a refresh token.
///
/// A deactivated user gets none.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    request_body = RefreshToken,
    responses((status = OK, description = "The token.", body = AccessToken), FieldsBody),
    security(()),
)]
pub(crate) async fn refresh(
    State(app): State<AppState>,
    _: NodeChecked,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let RefreshToken { refresh } = RefreshToken::read(incoming.fields(&app).await?)?;
    let verdict = app.tokens().verify(&refresh, Some(TokenKind::Refresh));
    let user = verdict.map_err(ApiError::bad_token)?;
    let user = app.snapshot()?.user(user)?.ok_or_else(ApiError::unknown_user)?;
    if !user.is_active {
        return Err(ApiError::inactive_user());
    }
    let access = issue(&app, user.id, TokenKind::Access)?;
    json(StatusCode::OK, &AccessToken { access })
}

/// Says whether a token, of either kind, is a good one.
#[utoipa::path(
    post,
    path = "/v1/auth/verify",
    request_body = AnyToken,
    responses((status = OK, description = "It is; an empty object.", body = Verified), FieldsBody),
    security(()),
)]
pub(crate) async fn verify(
    State(app): State<AppState>,
    _: NodeChecked,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let AnyToken { token } = AnyToken::read(incoming.fields(&app).await?)?;
    let verdict = app.tokens().verify(&token, None);
    verdict.map_err(ApiError::bad_token)?;
    json(StatusCode::OK, &Verified {})
}

fn issue(app: &AppState, user: UserId, kind: TokenKind) -> Result<String, ApiError> {
    app.tokens().issue(user, kind).map_err(ApiError::internal)
}
