//! Uploads that were refused for their token, remembered in case they come again without all of
//! their content.
//!
//! The published Python client answers a 401 by renewing its token and sending the same request
//! once more. If the content is a stream, the first request has read it to its end, and the second
//! has nothing left to send: an empty body in chunks. Taken as it stands it would be an empty file
//! in place of the one that was sent, and a 200. With access tokens of five minutes that is one
//! file in every five minutes of a long upload.
//!
//! An honest empty file says so with `Content-Length: 0`, or nothing but empty streams was refused at its
//! path before; so what is remembered are paths, no contents, and forgetting one loses nothing but this
//! check. Whether a stream was empty shows only when its end has come, after it was refused.
//!
//! A stranger's body is not read for as long as it takes. Where its connection is closed half way, the
//! client's libraries take the refusal for an answer all the same, and the second request has the rest
//! of the stream with the rest's own length: a whole content by all that it says. So what comes next
//! from the same address to that path is taken only if it is not shorter than what was cut off. It is
//! refused once: its client does not repeat it by itself, and whoever means another, shorter file is
//! not kept from it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Uri};
use tokio::time::Instant;

use super::inflow::Leftover;
use super::limits::{REFUSED_UPLOAD_TIME, REFUSED_UPLOADS_MAX};
use super::path;
use super::sender;
use crate::auth::TokenFault;
use crate::networks::Networks;

/// The paths of refused uploads; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefusedUploads(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// Paths are kept as hashes with keys of this process, which nobody outside can aim at.
    hasher: RandomState,
    refused: Mutex<HashMap<u64, Refused>>,
    /// How many there are. Mostly there is none: then an upload neither hashes its path nor waits for others.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Refused {
    upload: Sent,
    at: Instant,
    /// Whether what is left of its content was refused already.
    is_told: bool,
    /// Whether it may be the repetition of one that was refused with a content: then it being empty
    /// says nothing.
    is_repeated: bool,
}

/// An upload as its sender announced it.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Bytes of the body; nothing where it comes in chunks.
    length: Option<u64>,
    has_body: bool,
    /// From where, as far as that is known.
    sender: Option<IpAddr>,
    leftover: Leftover,
}

impl Sent {
    pub(super) fn of(headers: &HeaderMap, extensions: &Extensions, trusted: &Networks) -> Self {
        let length = headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let leftover: Option<&Leftover> = extensions.get();
        // Over HTTP/2 a stream has neither header.
        let has_body = headers.contains_key(TRANSFER_ENCODING)
            || length.map_or(leftover.is_some(), |length: u64| length > 0);
        Self {
            length,
            has_body,
            sender: sender::of(extensions, headers, trusted),
            leftover: leftover.cloned().unwrap_or_default(),
        }
    }

    /// Whether this may be what was left of another one when that was cut off.
    fn may_be_rest_of(&self, first: &Self) -> bool {
        let is_shorter = match (self.length, first.length) {
            (Some(rest), Some(whole)) => rest < whole,
            (None, _) => true,
            // Who sends in chunks does not know the rest's length either.
            (Some(_), None) => false,
        };
        is_shorter && self.sender == first.sender && first.leftover.is_cut_off()
    }
}

impl RefusedUploads {
    /// Looks at a request that is about to be refused for its token.
    ///
    /// The body of one whose token is ours and merely worn is then read to its end, however long
    /// that takes, so that its client repeats it with nothing rather than with a part.
    pub(super) fn note(&self, parts: &Parts, fault: TokenFault, trusted: &Networks) {
        let is_upload = matches!(parts.method, Method::POST | Method::PUT);
        if !is_upload || !path::is_file(&parts.uri) {
            return;
        }
        let upload = Sent::of(&parts.headers, &parts.extensions, trusted);
        if upload.has_body && fault == TokenFault::Expired {
            upload.leftover.read_to_end();
        }
        self.insert(&parts.uri, upload);
    }

    /// Remembers an upload that was refused, if it had a body.
    pub(super) fn insert(&self, uri: &Uri, upload: Sent) {
        if !upload.has_body {
            return;
        }
        let path = self.hash(uri);
        let mut refused = self.refused();
        let is_repeated = refused.get(&path).is_some_and(Refused::had_content);
        refused.insert(path, Refused { upload, at: Instant::now(), is_told: false, is_repeated });
        if refused.len() > REFUSED_UPLOADS_MAX {
            // Of those that are still being read the first, too.
            let now = Instant::now();
            let age = |refused: &Refused| (refused.last().min(now), refused.at);
            let oldest = refused.iter().min_by_key(|(_, refused)| age(refused));
            let oldest = oldest.map(|(path, _)| *path);
            oldest.and_then(|oldest| refused.remove(&oldest));
        }
        self.note_count(&refused);
    }

    /// When an upload to this path was refused last, if that is remembered.
    pub(super) fn refused_at(&self, uri: &Uri) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        self.refused().get(&self.hash(uri)).map(|refused| refused.at)
    }

    /// Forgets the refusal of then: another upload to the path is there, so what comes next is no repetition.
    pub(super) fn forget(&self, uri: &Uri, at: Instant) {
        let path = self.hash(uri);
        let mut refused = self.refused();
        if refused.get(&path).is_some_and(|refused| refused.at == at) {
            refused.remove(&path);
            self.note_count(&refused);
        }
    }

    /// Whether an upload to this path that was not empty, as far as is known, was refused not long ago.
    pub(super) fn holds(&self, uri: &Uri) -> bool {
        !self.is_empty() && self.refused().get(&self.hash(uri)).is_some_and(Refused::had_content)
    }

    /// Whether an upload may be what was left of one that was refused not long ago; once for each.
    pub(super) fn is_rest(&self, uri: &Uri, upload: &Sent) -> bool {
        let mut refused = self.refused();
        let first = refused.get_mut(&self.hash(uri)).filter(|first| {
            first.is_recent() && !first.is_told && upload.may_be_rest_of(&first.upload)
        });
        first.map(|first| first.is_told = true).is_some()
    }

    fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }

    /// Called with the lock held, so that the last count is that of what is there.
    fn note_count(&self, refused: &HashMap<u64, Refused>) {
        self.0.count.store(refused.len(), Ordering::Release);
    }

    fn hash(&self, uri: &Uri) -> u64 {
        self.0.hasher.hash_one(uri.path())
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<u64, Refused>> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refused {
    fn is_recent(&self) -> bool {
        self.last().elapsed() < REFUSED_UPLOAD_TIME
    }

    /// When it was refused, or the last of its body came: its sender reads the refusal after that.
    fn last(&self) -> Instant {
        self.upload.leftover.last_read(self.at)
    }

    /// Whether it was refused not long ago with a content, or after one was at its path.
    fn had_content(&self) -> bool {
        self.is_recent() && (self.is_repeated || !self.upload.leftover.was_empty())
    }
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
            known.note(&parts, TokenFault::Expired, &Networks::default());
            assert!(!known.holds(&parts.uri), "{method} {uri} {header:?}");
        }
        // The last as a stream over HTTP/2.
        for header in [("content-length", "5"), ("transfer-encoding", "chunked"), ("accept", "*/*")]
        {
            let known = RefusedUploads::default();
            let mut parts = parts("POST", "/v1/datasets/1/files/a", header);
            parts.extensions.insert(Leftover::default());
            known.note(&parts, TokenFault::Invalid, &Networks::default());
            assert!(known.holds(&"/v1/datasets/1/files/a".parse().unwrap()));
            assert!(!known.holds(&"/v1/datasets/1/files/b".parse().unwrap()));
        }
    }

    #[test]
    fn the_body_of_a_worn_token_is_read_to_its_end_and_a_strangers_is_not() {
        for (fault, asked) in [(TokenFault::Expired, true), (TokenFault::Invalid, false)] {
            let mut parts = parts("POST", "/v1/datasets/1/files/a", ("content-length", "5"));
            let body = Leftover::default();
            parts.extensions.insert(body.clone());
            RefusedUploads::default().note(&parts, fault, &Networks::default());
            assert_eq!(body.is_read_to_end(), asked, "{fault:?}");
        }
    }

    #[test]
    fn a_refusal_is_known_until_it_is_forgotten() {
        let known = RefusedUploads::default();
        let [first, second] = ["/v1/datasets/1/files/a", "/v1/datasets/1/files/b"]
            .map(|path| path.parse::<Uri>().unwrap());
        let refused = || Sent { has_body: true, ..Sent::default() };
        assert!(known.refused_at(&first).is_none());
        known.insert(&first, refused());
        known.insert(&second, refused());
        for path in [&first, &second] {
            let at = known.refused_at(path).unwrap();
            known.forget(path, at);
            assert!(known.refused_at(path).is_none() && !known.holds(path));
        }
        known.insert(&first, refused());
        assert!(known.refused_at(&first).is_some(), "after there was none");
    }

    #[test]
    fn the_oldest_is_forgotten_beyond_the_bound() {
        let known = RefusedUploads::default();
        let path = |number: usize| format!("/v1/datasets/1/files/{number}").parse::<Uri>().unwrap();
        for number in 0..=REFUSED_UPLOADS_MAX {
            known.insert(&path(number), Sent { has_body: true, ..Sent::default() });
        }
        assert!(!known.holds(&path(0)));
        assert!(known.holds(&path(1)) && known.holds(&path(REFUSED_UPLOADS_MAX)));
    }
}
