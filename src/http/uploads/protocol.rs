//! What tus 1.0 asks of every request and answer: versions, what the server can do, methods that
//! stand in a header.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use granary_engine::limits::FILE_BYTES_MAX;
use tower::util::MapResponseLayer;

use crate::http::error::ApiError;
use crate::http::respond::empty;
use crate::http::routes::Route;

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const EXTENSIONS: HeaderValue =
    HeaderValue::from_static("creation,creation-with-upload,expiration,termination");

/// A route of which every answer says that it is tus 1.0, and OPTIONS, whoever asks, what the server
/// can do of it.
pub(crate) fn spoken((schemas, paths, methods): Route) -> Route {
    let methods = methods.options(discover).layer(MapResponseLayer::new(versioned));
    (schemas, paths, methods)
}

/// What clients ask before they begin.
async fn discover() -> Response {
    let mut response = empty(StatusCode::OK);
    told(response.headers_mut());
    response
}

/// Adds what the server can do.
pub(super) fn told(headers: &mut HeaderMap) {
    headers.insert(TUS_VERSION, VERSION);
    headers.insert(TUS_EXTENSION, EXTENSIONS);
    headers.insert(TUS_MAX_SIZE, FILE_BYTES_MAX.into());
}

fn versioned(mut response: Response) -> Response {
    response.headers_mut().insert(TUS_RESUMABLE, VERSION);
    response
}

/// Refuses clients of another version, which would mean something else by these headers.
pub(super) fn expect_version(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(TUS_RESUMABLE) {
        Some(version) if version != VERSION => Err(ApiError::other_tus_version()),
        Some(_) | None => Ok(()),
    }
}

/// The method that a POST means: tus has a header for clients that cannot send PATCH or DELETE.
pub(in crate::http) fn method_meant(headers: &HeaderMap) -> Option<Method> {
    Method::from_bytes(headers.get(METHOD_OVERRIDE)?.as_bytes()).ok()
}
