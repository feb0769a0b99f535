//! Obtaining, refreshing and verifying tokens; changing one's own password.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use granary_engine::model::{Subject, SubjectKind, User, UserPatch};

use super::body::Incoming;
use super::caller::NodeChecked;
use super::error::ApiError;
use super::exchange;
use super::openapi::failures::{FieldsBody, Growing, Restricted, Throttled};
use super::respond::{empty, json};
use super::sender::Sender;
use super::state::AppState;
use super::wire::auth::{
    AccessToken, AnyToken, Credentials, NewPassword, PasswordFields, RefreshToken, Tokens, Verified,
};
use crate::auth::{Attempt, TokenFault, TokenKind};
use crate::first_password;
use crate::permission::{Action, Object, Principal, Reach, allow};

/// Logs a user in.
///
/// A wrong password, an unknown and a deactivated user look alike and take the same time. Failed
/// logins are counted, by the name that was tried and by the address that they came from.
#[utoipa::path(
    post,
    path = "/v1/auth/obtain",
    request_body = Credentials,
    responses((status = OK, description = "The tokens.", body = Tokens), FieldsBody, Throttled),
    security(()),
)]
pub(crate) async fn obtain(
    State(app): State<AppState>,
    _: NodeChecked,
    Sender(address): Sender,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let credentials = Credentials::read(incoming.fields(&app).await?)?;
    let Credentials { username, password } = credentials;
    let as_of = app.as_of();
    let user = app.snapshot()?.user_by_name(&username)?;
    note_who_is_tried(user.as_ref());
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let attempt = check_password(&app, &username, address, password, hash).await?;
    let Some((user, attempt)) = user.filter(|user| user.is_active).zip(attempt) else {
        return Err(ApiError::no_active_account());
    };
    attempt.was_right();
    let tokens = tokens(&app, &user)?;
    let (user, node, reach) = (Arc::new(user), None, Reach::Whole);
    let principal = Principal::User { user, node, reach, as_of };
    if let Some(exchange) = exchange::current() {
        exchange.is_of(&principal);
    }
    app.touch(&principal);
    json(StatusCode::OK, &tokens)
}

/// Has the audit log know whose password is tried. A name that is nobody's is not kept: it may well
/// be a password that was typed into the wrong field.
fn note_who_is_tried(user: Option<&User>) {
    let Some(exchange) = exchange::current() else { return };
    let record = user.map(|user| (SubjectKind::User, user.id.0));
    let name = user.map(|user| user.username.clone());
    exchange.is_about(Subject { record, name, ..Subject::default() });
}

/// Looks whether a password is the one of the hash; refused where too many were wrong. A wrong one has
/// been counted when this returns `None`; a right one gives the attempt, which counts too unless the
/// caller says that it was right.
async fn check_password(
    app: &AppState,
    username: &str,
    address: Option<IpAddr>,
    password: String,
    hash: Option<String>,
) -> Result<Option<Attempt>, ApiError> {
    let look = || app.login_limits().look(username, address).map_err(ApiError::too_many_failures);
    look()?;
    let turn = app.passwords().turn().await?;
    // Those that failed while this one waited count too.
    look()?;
    // Counts if the caller goes away: the hash is made to its end all the same.
    let attempt = app.login_limits().attempt(username, address);
    match app.passwords().verify(turn, password, hash).await {
        Ok(matches) => Ok(matches.then_some(attempt)),
        Err(error) => {
            attempt.was_right();
            Err(error.into())
        }
    }
}

/// Gives a fresh access token for a refresh token.
///
/// A deactivated user gets none, and neither does one whose password was changed since the refresh
/// token was made.
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
    let bearer = verdict.map_err(ApiError::bad_token)?;
    let user = app.snapshot()?.user(bearer.user)?.ok_or_else(ApiError::unknown_user)?;
    if !user.is_active {
        return Err(ApiError::inactive_user());
    }
    if !app.tokens().is_current(&bearer, &user) {
        return Err(ApiError::bad_token(TokenFault::Invalid));
    }
    let access = issue(&app, &user, TokenKind::Access)?;
    json(StatusCode::OK, &AccessToken { access })
}

/// Says whether a token, of either kind, is a good one, whatever its user may do.
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
    let bearer = app.tokens().verify(&token, None).map_err(ApiError::bad_token)?;
    let user = app.snapshot()?.user(bearer.user)?;
    if user.is_none_or(|user| !app.tokens().is_current(&bearer, &user)) {
        return Err(ApiError::bad_token(TokenFault::Invalid));
    }
    json(StatusCode::OK, &Verified {})
}

/// Changes one's own password, which ends every token from before; answers with new ones.
///
/// For everybody who is logged in and knows their password; wrong ones count as failed logins.
/// Administrators set the passwords of others by changing the user.
#[utoipa::path(
    post,
    path = "/v1/auth/password",
    request_body = PasswordFields,
    responses(
        (status = OK, description = "Tokens of the new password.", body = Tokens),
        Growing, FieldsBody, Throttled,
    ),
)]
pub(crate) async fn change_password(
    State(app): State<AppState>,
    principal: Principal,
    Sender(address): Sender,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let allowed = allow(&app.snapshot()?, &principal, Action::ChangePassword, Object::Server)?;
    let Principal::User { user, .. } = principal else {
        return Err(ApiError::not_logged_in());
    };
    let NewPassword { old, new } = NewPassword::read(incoming.fields(&app).await?)?;
    let hash = Some(user.password_hash.clone());
    let Some(attempt) = check_password(&app, &user.username, address, old, hash).await? else {
        note_who_is_tried(app.snapshot()?.user(user.id)?.as_ref());
        return Err(NewPassword::wrong_old());
    };
    attempt.was_right();
    let password_hash = Some(app.passwords().hash(new).await?);
    let patch = UserPatch { password_hash, ..UserPatch::default() };
    let changed = app.engine(&allowed)?.update_user(user.id, patch).await?;
    first_password::forget(app.tokens().directory(), &changed).await;
    json(StatusCode::OK, &tokens(&app, &changed)?)
}

fn tokens(app: &AppState, user: &User) -> Result<Tokens, ApiError> {
    Ok(Tokens {
        refresh: issue(app, user, TokenKind::Refresh)?,
        access: issue(app, user, TokenKind::Access)?,
    })
}

/// Makes a new key for the tokens of logins: every login, also the one that asks, ends at once.
///
/// For administrators. Access tokens stay; they are not signed but stored.
#[utoipa::path(
    post,
    path = "/v1/auth/rotate-key",
    responses((status = NO_CONTENT, description = "The new key is in force, and on disk."), Restricted),
)]
pub(crate) async fn rotate_key(
    State(app): State<AppState>,
    principal: Principal,
) -> Result<Response, ApiError> {
    drop(allow(&app.snapshot()?, &principal, Action::RotateKey, Object::Server)?);
    let tokens = app.tokens().clone();
    let rotated = tokio::task::spawn_blocking(move || tokens.rotate()).await;
    rotated.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    tracing::warn!("the key of tokens was changed; every login has ended");
    Ok(empty(StatusCode::NO_CONTENT))
}

fn issue(app: &AppState, user: &User, kind: TokenKind) -> Result<String, ApiError> {
    app.tokens().issue(user, kind).map_err(ApiError::internal)
}
