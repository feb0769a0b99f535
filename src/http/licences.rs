//! Licences and what they say, under both spellings of the path.

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::Response;
use granary_engine::model::LicenceId;

use super::body::Incoming;
use super::error::ApiError;
use super::fields::Need;
use super::lists;
use super::openapi::failures::{FieldsBody, Growing, Guarded, JsonBody, Restricted};
use super::openapi::parameters::Page;
use super::path;
use super::respond::{empty, json};
use super::state::AppState;
use super::wire::catalogue::{
    LicenceChange, LicenceFields, LicenceShape, SubdescriptorsBody, SubdescriptorsFields,
    read_licence, read_licence_patch,
};
use super::wire::filter::FilterBody;
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// Lists the licences.
///
/// For everybody who is logged in.
#[utoipa::path(
    post,
    path = "/v1/licences/list",
    params(Page),
    request_body = Option<FilterBody>,
    responses(
        (
            status = OK,
            description = "The licences.",
            body = Vec<LicenceShape<'_>>,
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
    lists::list::<lists::Licences>(app, principal, uri, incoming).await
}

/// Makes a licence, which says nothing at first.
///
/// For administrators.
#[utoipa::path(
    post,
    path = "/v1/licences/create",
    request_body = LicenceFields,
    responses(
        (
            status = CREATED,
            description = "The new licence.",
            body = LicenceShape<'_>,
            headers(("Location" = String, description = "The address of the licence's text.")),
        ),
        Restricted, Growing, FieldsBody,
    ),
)]
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let licence = read_licence(incoming.fields(&app).await?)?;
    let allowed = allow(&app.snapshot()?, &principal, Action::CreateLicence, Object::Server)?;
    let created = app.engine(&allowed)?.create_licence(licence).await?;
    let mut response = json(StatusCode::CREATED, &LicenceShape::from(&created))?;
    // An address that fits no header is in the body all the same.
    if let Ok(url) = HeaderValue::try_from(created.url.as_str()) {
        response.headers_mut().insert(LOCATION, url);
    }
    Ok(response)
}

/// Shows a licence.
///
/// For everybody who is logged in.
#[utoipa::path(
    get,
    path = "/v1/licences/{pk}",
    responses((status = OK, description = "The licence.", body = LicenceShape<'_>), Guarded),
)]
pub(crate) async fn retrieve(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let snapshot = app.snapshot()?;
    let licence = snapshot.licence(path::licence(&uri)?)?;
    let licence = licence.ok_or_else(|| ApiError::no_record("Licence"))?;
    drop(allow(&snapshot, &principal, Action::RetrieveLicence, Object::Server)?);
    json(StatusCode::OK, &LicenceShape::from(&licence))
}

/// Finds a licence (404, even for the anonymous), then asks for the permission (401, 403).
fn open(
    app: &AppState,
    principal: &Principal,
    action: Action,
    uri: &Uri,
) -> Result<(LicenceId, Allowed), ApiError> {
    let snapshot = app.snapshot()?;
    let licence = snapshot.licence(path::licence(uri)?)?;
    let licence = licence.ok_or_else(|| ApiError::no_record("Licence"))?;
    let allowed = allow(&snapshot, principal, action, Object::Server)?;
    Ok((licence.id, allowed))
}

/// Changes a licence's name and address.
///
/// For administrators.
#[utoipa::path(
    put,
    path = "/v1/licences/{pk}",
    request_body = LicenceFields,
    responses(
        (status = OK, description = "The changed licence.", body = LicenceShape<'_>),
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

/// Changes a licence's name or address.
///
/// For administrators.
#[utoipa::path(
    patch,
    path = "/v1/licences/{pk}",
    request_body = Option<LicenceChange>,
    responses(
        (status = OK, description = "The changed licence.", body = LicenceShape<'_>),
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
    let (licence, allowed) = open(app, principal, Action::UpdateLicence, uri)?;
    let patch = read_licence_patch(incoming.fields(app).await?, need)?;
    let changed = app.engine(&allowed)?.update_licence(licence, patch).await?;
    json(StatusCode::OK, &LicenceShape::from(&changed))
}

/// Deletes a licence for good, if no dataset is under it.
///
/// For administrators.
#[utoipa::path(
    delete,
    path = "/v1/licences/{pk}",
    responses((status = NO_CONTENT, description = "It is deleted."), Guarded),
)]
pub(crate) async fn destroy(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (licence, allowed) = open(&app, &principal, Action::DestroyLicence, &uri)?;
    app.engine(&allowed)?.delete_licence(licence).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Adds to what a licence says, or removes from it.
///
/// For administrators. What is added by name is made if it is new.
#[utoipa::path(
    patch,
    path = "/v1/licences/{pk}/subdescriptors",
    request_body = SubdescriptorsFields,
    responses(
        (status = OK, description = "The changed licence.", body = LicenceShape<'_>),
        Guarded, Growing, JsonBody,
    ),
)]
pub(crate) async fn modify_subdescriptors(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let (licence, allowed) = open(&app, &principal, Action::ModifySubdescriptors, &uri)?;
    let body = SubdescriptorsBody::read(incoming.json(&app).await?.value)?;
    let SubdescriptorsBody { kind, edit, names } = body;
    let changed = app.engine(&allowed)?.edit_subdescriptors(licence, kind, edit, names).await?;
    json(StatusCode::OK, &LicenceShape::from(&changed))
}
