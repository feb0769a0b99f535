//! Headers that every answer has, whatever made it: what browsers may do with it, and which methods
//! its path has.

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    ORIGIN, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::respond::empty;

const ALWAYS: [(HeaderName, &str); 4] = [
    (VARY, "Accept, Origin"),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
];

/// Any page may ask: nothing here is proved by a cookie that a browser would add by itself.
const CROSS_ORIGIN: [(HeaderName, &str); 2] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        ACCESS_CONTROL_EXPOSE_HEADERS,
        "accept-ranges, allow, content-disposition, content-range, etag, link",
    ),
];

const PREFLIGHT: [(HeaderName, &str); 3] = [
    (ACCESS_CONTROL_ALLOW_METHODS, "DELETE, GET, OPTIONS, PATCH, POST, PUT"),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        "accept, authorization, content-disposition, content-type, if-match, if-none-match, if-range, \
         node-id, range, user-agent, x-requested-with",
    ),
    (ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// Adds the headers.
pub(crate) async fn add(request: Request, next: Next) -> Response {
    let cross_origin = request.headers().contains_key(ORIGIN);
    let preflight = cross_origin
        && request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    put(headers, &ALWAYS);
    if cross_origin {
        put(headers, &CROSS_ORIGIN);
    }
    if preflight {
        put(headers, &PREFLIGHT);
    }
    response
}

fn put(headers: &mut HeaderMap, values: &[(HeaderName, &'static str)]) {
    for (name, value) in values {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Adds the methods of the path, which are known since the router was built.
pub(crate) async fn allow(State(methods): State<HeaderValue>, mut response: Response) -> Response {
    response.headers_mut().insert(ALLOW, methods);
    response
}

/// What a known path answers to a method that it does not have; OPTIONS is one that all have.
pub(crate) async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        empty(StatusCode::OK)
    } else {
        ApiError::method_not_allowed(&method).into_response()
    }
}

/// What an unknown path answers.
pub(crate) async fn no_route() -> ApiError {
    ApiError::no_route()
}
