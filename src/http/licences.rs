//! Licences: create, retrieve, under both spellings of the path.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::body::Incoming;
use super::error::ApiError;
use super::path;
use super::respond::json;
use super::state::AppState;
use super::wire::catalogue::{LicenceShape, read_licence};
use crate::permission::{Action, Object, Principal, allow};

/// `POST /licences/create`.
pub(crate) async fn create(
    State(app): State<AppState>,
    principal: Principal,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let licence = read_licence(incoming.fields(&app).await?)?;
    let allowed = allow(&app.snapshot()?, &principal, Action::CreateLicence, Object::Server)?;
    let created = app.engine(&allowed).create_licence(licence).await?;
    json(StatusCode::CREATED, &LicenceShape::from(&created))
}

/// `GET /licences/{pk}`.
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
