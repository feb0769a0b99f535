//! A page to browse the API with; all that it loads comes from the binary, and it asks nobody
//! else for anything.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, Uri};
use axum::response::Response;
use utoipa_swagger_ui::Config;

use super::error::ApiError;
use super::openapi::failures::Missing;

const PAGE: &str = include_str!("docs/page.html");

/// Starts the viewer on our document.
const START: &str = include_str!("docs/start.js");

/// Place of the asset in `/docs/ASSET`, split at the slashes.
const ASSET: usize = 2;

/// The viewer sets styles on its elements and has icons in its style sheet; else all is ours.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// Shows the API as a page.
#[utoipa::path(
    get,
    path = "/docs",
    responses((status = OK, description = "The page.", body = String, content_type = "text/html")),
    security(()),
)]
pub(crate) async fn page() -> Response {
    answer(Body::from(PAGE), HeaderValue::from_static("text/html; charset=utf-8"))
}

/// Gives what the page loads.
#[utoipa::path(
    get,
    path = "/docs/{asset}",
    responses(
        (status = OK, description = "A script or a style sheet.", content(
            (String = "text/javascript"),
            (String = "text/css"),
        )),
        Missing,
    ),
    security(()),
)]
pub(crate) async fn asset(uri: Uri) -> Result<Response, ApiError> {
    match uri.path().split('/').nth(ASSET) {
        Some("start.js") => Ok(answer(Body::from(START), JAVASCRIPT)),
        Some(name @ "swagger-ui-bundle.js") => viewer(name, JAVASCRIPT),
        Some(name @ "swagger-ui.css") => viewer(name, HeaderValue::from_static("text/css")),
        Some(_) | None => Err(ApiError::no_route()),
    }
}

const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript");

/// A file of the viewer.
fn viewer(name: &str, content_type: HeaderValue) -> Result<Response, ApiError> {
    // The configuration is for a file of the viewer that `start.js` takes the place of.
    let found = utoipa_swagger_ui::serve(name, Arc::new(Config::default()));
    let file = found.map_err(|error| ApiError::internal(error.to_string()))?;
    let file = file.ok_or_else(ApiError::no_route)?;
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    Ok(answer(Body::from(bytes), content_type))
}

fn answer(body: Body, content_type: HeaderValue) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}
