//! Users: list, create, retrieve by primary key or by name, update, destroy.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::{UserId, UserPatch};

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::lists;
use super::openapi::failures::{FieldsBody, Growing, Guarded, JsonBody, Restricted};
use super::openapi::parameters::Page;
use super::path;
use super::respond::{empty, json};
use super::state::AppState;
use super::wire::catalogue::{UserBody, UserChange, UserFields, UserOrList, UserShape};
use super::wire::filter::FilterBody;
use crate::first_password;
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// Lists the users.
///
/// For administrators.
#[utoipa::path(
    post,
    path = "/v1/users/list",
    params(Page),
    request_body = Option<FilterBody>,
    responses(
        (
            status = OK,
            description = "The users.",
            body = Vec<UserShape<'_>>,
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
    lists::list::<lists::Users>(app, principal, uri, incoming).await
}

/// Makes a user.
///
/// For administrators. The body is looked at first, the uniqueness of the name last.
#[utoipa::path(
    post,
    path = "/v1/users/create",
    request_body = UserFields,
    responses(
        (status = CREATED, description = "The new user.", body = UserShape<'_>),
        Restricted, Growing, FieldsBody,
    ),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let mut body = UserBody::read(incoming.fields(&app).await?, Need::Required)?;
    let allowed = allow(&app.snapshot()?, &principal, Action::CreateUser, Object::Server)?;
    let password = body.password.take().unwrap_or_default();
    let hash = app.passwords().hash(password).await?;
    let created = app.engine(&allowed)?.create_user(body.user(hash)).await?;
    json(StatusCode::CREATED, &UserShape::from(&created))
}

/// Shows a user by primary key, or by name as a list of one or none.
///
/// For the user and for administrators.
#[utoipa::path(
    get,
    path = "/v1/users/{user}",
    responses((status = OK, description = "The user.", body = UserOrList<'_>), Guarded),
)]
pub(crate) async fn retrieve(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let name = path::username(&uri)?;
    let digits = name.strip_suffix('/').unwrap_or(&name);
    if !digits.is_empty() && digits.bytes().all(|letter| letter.is_ascii_digit()) {
        by_pk(&app, &principal, path::parse_pk(digits).map(UserId))
    } else {
        by_name(&app, &principal, &name)
    }
}

fn by_pk(
    app: &AppState,
    principal: &Principal,
    user: Option<UserId>,
) -> Result<Response, ApiError> {
    let snapshot = app.snapshot()?;
    let user = match user {
        Some(user) => snapshot.user(user)?,
        None => None,
    };
    let user = user.ok_or_else(|| ApiError::no_record("User"))?;
    drop(allow(&snapshot, principal, Action::RetrieveUser, Object::User(user.id))?);
    json(StatusCode::OK, &UserShape::from(&user))
}

/// The right is looked at first: whether a name is taken is for administrators to know.
fn by_name(app: &AppState, principal: &Principal, name: &str) -> Result<Response, ApiError> {
    let snapshot = app.snapshot()?;
    let user = snapshot.user_by_name(name)?;
    let object = user.as_ref().map_or(Object::Server, |user| Object::User(user.id));
    drop(allow(&snapshot, principal, Action::RetrieveUser, object)?);
    let users: Vec<UserShape<'_>> = user.iter().map(UserShape::from).collect();
    json(StatusCode::OK, &users)
}

/// Finds a user (404, even for the anonymous), then asks for the permission (401, 403).
fn open(
    app: &AppState,
    principal: &Principal,
    action: Action,
    uri: &Uri,
) -> Result<(UserId, Allowed), ApiError> {
    let snapshot = app.snapshot()?;
    let user = snapshot.user(path::user(uri)?)?.ok_or_else(|| ApiError::no_record("User"))?;
    let allowed = allow(&snapshot, principal, action, Object::User(user.id))?;
    Ok((user.id, allowed))
}

/// Changes a user; the password is needed again.
///
/// For administrators.
#[utoipa::path(
    put,
    path = "/v1/users/{user}",
    request_body = UserFields,
    responses(
        (status = OK, description = "The changed user.", body = UserShape<'_>),
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

/// Changes some fields of a user.
///
/// For administrators.
#[utoipa::path(
    patch,
    path = "/v1/users/{user}",
    request_body = Option<UserChange>,
    responses(
        (status = OK, description = "The changed user.", body = UserShape<'_>),
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
    let (user, allowed) = open(app, principal, Action::UpdateUser, uri)?;
    let mut body = UserBody::read(incoming.fields(app).await?, need)?;
    let hash = match body.password.take() {
        Some(password) => Some(app.passwords().hash(password).await?),
        None => None,
    };
    let sets_password = hash.is_some();
    let patched = app.engine(&allowed)?.update_user(user, body.patch(hash)).await?;
    if sets_password {
        first_password::forget(app.tokens().directory(), &patched).await;
    }
    // From a state that knows of the last login, which the user's row may not say yet.
    let changed = app.snapshot()?.user(user)?.ok_or_else(|| ApiError::no_record("User"))?;
    json(StatusCode::OK, &UserShape::from(&changed))
}

/// Deactivates a user.
///
/// For administrators. Once more changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/users/{user}",
    responses((status = NO_CONTENT, description = "The user is deactivated."), Guarded),
)]
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (user, allowed) = open(&app, &principal, Action::DestroyUser, &uri)?;
    let patch = UserPatch { is_active: Some(false), ..UserPatch::default() };
    app.engine(&allowed)?.update_user(user, patch).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
