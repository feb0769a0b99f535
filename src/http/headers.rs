//! Headers that every answer has, whatever made it: what browsers may do with it, and which methods
//! its path has.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    CONTENT_SECURITY_POLICY, ORIGIN, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use std::str::FromStr;

use super::actions::Found;
use super::error::ApiError;
use super::respond::empty;
use super::state::Outside;

const ALWAYS: [(HeaderName, &str); 4] = [
    (VARY, "Accept, Origin"),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
];

/// The policy, `Allow`, and the request's id, which comes last.
const ADDED_BESIDE: usize = 3;

/// Of what has no policy of its own: a file that somebody stored is never a page of this server,
/// whatever is in it.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");

/// With TLS: a browser that was here comes with TLS again, for a year.
const COME_ENCRYPTED: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What pages of other origins may see of an answer, beside what they may of any.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "accept-ranges, allow, content-digest, content-disposition, content-range, etag, link, \
     location, repr-digest, retry-after, tus-extension, tus-max-size, tus-resumable, tus-version, \
     upload-expires, upload-length, upload-metadata, upload-offset, x-request-id",
);

const PREFLIGHT: [(HeaderName, &str); 3] = [
    (ACCESS_CONTROL_ALLOW_METHODS, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        "accept, authorization, content-digest, content-disposition, content-type, if-match, \
         if-none-match, if-range, node-id, range, repr-digest, tus-resumable, upload-length, \
         upload-metadata, upload-offset, user-agent, want-content-digest, want-repr-digest, \
         x-http-method-override, x-request-id, x-requested-with",
    ),
    (ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// Origins whose pages a browser lets ask this server. What a page may do there is what its user's
/// token may: nothing is proved by a cookie, which a browser would add by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// None but our own.
    #[default]
    None,
    /// Every one.
    Any,
    /// These, as browsers write them: `https://example.org`.
    These(Vec<HeaderValue>),
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "none" => Ok(Self::None),
            "*" => Ok(Self::Any),
            list => list
                .split(',')
                .map(|part| origin(part.trim()))
                .collect::<Result<_, _>>()
                .map(Self::These),
        }
    }
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("'{text}' is no origin");
    let uri: Uri = text.parse().map_err(|_no_uri| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    // As browsers write it: in small letters, without a path or a slash.
    let written = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
    if written.to_lowercase() != text.to_lowercase() {
        return Err(wrong());
    }
    HeaderValue::try_from(written.to_lowercase()).map_err(|_no_value| wrong())
}

impl Origins {
    /// What a request of this origin is told of who may ask.
    fn allowing(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::These(origins) => origins.contains(origin).then(|| origin.clone()),
        }
    }
}

/// What the headers of all answers depend on.
#[derive(Debug)]
pub(crate) struct Told {
    is_encrypted: bool,
    origins: Origins,
}

impl Told {
    /// As the configuration has it.
    pub(super) fn of(outside: &Outside) -> Self {
        let Outside { is_encrypted, origins, .. } = outside;
        Self { is_encrypted: *is_encrypted, origins: origins.clone() }
    }
}

/// What the headers of one answer depend on.
#[derive(Debug)]
pub(super) struct Asked {
    /// Which pages may see it, if those of another origin ask.
    allowing: Option<HeaderValue>,
    /// A browser asks whether a page may.
    is_preflight: bool,
    /// The methods of the path, if there is such a path.
    methods: Option<&'static HeaderValue>,
}

impl Asked {
    /// As a request has it.
    pub(super) fn by(request: &Request, found: Found, told: &Told) -> Self {
        let origin = request.headers().get(ORIGIN);
        Self {
            allowing: origin.and_then(|origin| told.origins.allowing(origin)),
            is_preflight: request.method() == Method::OPTIONS
                && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD),
            methods: found.methods,
        }
    }
}

/// Adds the headers.
pub(super) fn add(headers: &mut HeaderMap, asked: Asked, told: &Told) {
    // Grown once, and not as each is added.
    headers.reserve(ALWAYS.len() + ADDED_BESIDE);
    put(headers, &ALWAYS);
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    if let Some(methods) = asked.methods {
        headers.insert(ALLOW, methods.clone());
    }
    if told.is_encrypted {
        headers.insert(STRICT_TRANSPORT_SECURITY, COME_ENCRYPTED);
    }
    if let Some(allowing) = asked.allowing {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowing);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if asked.is_preflight {
            put(headers, &PREFLIGHT);
        }
    }
}

fn put(headers: &mut HeaderMap, values: &[(HeaderName, &'static str)]) {
    for (name, value) in values {
        headers.insert(name, HeaderValue::from_static(value));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_write_them() {
        let origins: Origins = "https://Data.example.org, http://localhost:3000".parse().unwrap();
        let allowing = |origin: &'static str| origins.allowing(&HeaderValue::from_static(origin));
        for known in ["https://data.example.org", "http://localhost:3000"] {
            assert_eq!(allowing(known).unwrap(), known);
        }
        for other in ["http://data.example.org", "https://example.org", "null", "http://localhost"]
        {
            assert_eq!(allowing(other), None, "{other}");
        }
        for wrong in ["", "example.org", "https://example.org/", "https://a.b/c", "*,*", "https://"]
        {
            wrong.parse::<Origins>().unwrap_err();
        }
    }
}
