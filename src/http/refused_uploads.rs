//! Uploads that were refused for their token, remembered in case they come again without content.
//!
//! The published Python client answers a 401 by renewing its token and sending the same request
//! once more. If the content is a stream, the first request has read it to its end, and the second
//! has nothing left to send: an empty body in chunks. Taken as it stands it would be an empty file
//! in place of the one that was sent, and a 200. With access tokens of five minutes that is one
//! file in every five minutes of a long upload.
//!
//! An honest empty file says so with `Content-Length: 0`, or its path was not refused before; so
//! what is remembered are paths, no contents, and forgetting one loses nothing but this check.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};

use super::inflow::ReadToEnd;
use super::limits::{REFUSED_UPLOAD_TIME, REFUSED_UPLOADS_MAX};
use super::path;
use crate::auth::TokenFault;

/// The paths of refused uploads; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefusedUploads(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// Paths are kept as hashes with keys of this process, which nobody outside can aim at.
    hasher: RandomState,
    refused: Mutex<HashMap<u64, Instant>>,
}

impl RefusedUploads {
    /// Looks at a request that is about to be refused for its token.
    ///
    /// The body of one whose token is ours and merely worn is then read to its end, however long
    /// that takes: a connection that is closed half way would leave the stream half read, and what
    /// is left of it cannot be told from a whole content.
    pub(super) fn note(&self, parts: &Parts, fault: TokenFault) {
        let is_upload = matches!(parts.method, Method::POST | Method::PUT);
        if !is_upload || !path::is_file(&parts.uri) || !has_body(&parts.headers) {
            return;
        }
        if fault == TokenFault::Expired
            && let Some(body) = parts.extensions.get::<ReadToEnd>()
        {
            body.ask();
        }
        self.insert(&parts.uri);
    }

    /// Whether an upload to this path was refused not long ago.
    pub(super) fn holds(&self, uri: &Uri) -> bool {
        let path = self.hash(uri);
        self.refused().get(&path).is_some_and(|at| at.elapsed() < REFUSED_UPLOAD_TIME)
    }

    /// Remembers the path of an upload that had a body and was refused.
    pub(super) fn insert(&self, uri: &Uri) {
        let path = self.hash(uri);
        let mut refused = self.refused();
        refused.insert(path, Instant::now());
        if refused.len() > REFUSED_UPLOADS_MAX {
            let oldest = refused.iter().min_by_key(|(_, at)| **at).map(|(path, _)| *path);
            oldest.and_then(|oldest| refused.remove(&oldest));
        }
    }

    fn hash(&self, uri: &Uri) -> u64 {
        self.0.hasher.hash_one(uri.path())
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request has a body, as far as its headers say.
pub(super) fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != b"0")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(method: &str, uri: &str, header: (&str, &str)) -> Parts {
        let request = Request::builder().method(method).uri(uri).header(header.0, header.1);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_refused_uploads_with_a_body_are_remembered() {
        let known = RefusedUploads::default();
        for (method, uri, header) in [
            ("GET", "/v1/datasets/1/files/a", ("content-length", "5")),
            ("POST", "/v1/datasets/1/files/a", ("content-length", "0")),
            ("POST", "/v1/datasets/1/files/a", ("accept", "*/*")),
            ("POST", "/v1/datasets/1/metadata/a", ("content-length", "5")),
        ] {
            let parts = parts(method, uri, header);
            known.note(&parts, TokenFault::Expired);
            assert!(!known.holds(&parts.uri), "{method} {uri} {header:?}");
        }
        for header in [("content-length", "5"), ("transfer-encoding", "chunked")] {
            let known = RefusedUploads::default();
            known.note(&parts("POST", "/v1/datasets/1/files/a", header), TokenFault::Invalid);
            assert!(known.holds(&"/v1/datasets/1/files/a".parse().unwrap()));
            assert!(!known.holds(&"/v1/datasets/1/files/b".parse().unwrap()));
        }
    }

    #[test]
    fn the_body_of_a_worn_token_is_read_to_its_end_and_a_strangers_is_not() {
        for (fault, asked) in [(TokenFault::Expired, true), (TokenFault::Invalid, false)] {
            let mut parts = parts("POST", "/v1/datasets/1/files/a", ("content-length", "5"));
            let body = ReadToEnd::default();
            parts.extensions.insert(body.clone());
            RefusedUploads::default().note(&parts, fault);
            assert_eq!(body.is_asked(), asked, "{fault:?}");
        }
    }

    #[test]
    fn the_oldest_is_forgotten_beyond_the_bound() {
        let known = RefusedUploads::default();
        let path = |number: usize| format!("/v1/datasets/1/files/{number}").parse::<Uri>().unwrap();
        for number in 0..=REFUSED_UPLOADS_MAX {
            known.insert(&path(number));
        }
        assert!(!known.holds(&path(0)));
        assert!(known.holds(&path(1)) && known.holds(&path(REFUSED_UPLOADS_MAX)));
    }
}
