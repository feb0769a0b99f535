//! A file's content as an answer: whole, a range of it, or nothing where the client has it.
//!
//! The digest is a strong `ETag`, since equal digests are equal bytes.

use std::fmt::Write as _;
use std::ops::Range;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use granary_engine::Blob;
use granary_engine::model::Digest;

use super::conditions::{has_it_already, range_applies, text, wants_another};
use super::error::ApiError;
use super::integrity::Wanted as WantedDigests;
use super::limits::IN_MEMORY_BYTES_MAX;
use super::outgoing::Outgoing;
use super::range::{Wanted, wanted};
use super::respond;

/// The API's own type for contents.
pub(crate) const DATA: HeaderValue = HeaderValue::from_static("application/data");

/// Headers that most contents are sent with, those of every answer too, so that their map need not grow.
const HEADERS_USUAL: usize = 12;

/// What the type of a content is guessed from, if the client asked for a guess.
pub(crate) type GuessFrom<'a> = Option<&'a str>;

/// Answers with a content as the request's headers want it.
pub(crate) async fn respond(
    outgoing: &Outgoing,
    blob: Blob,
    method: &Method,
    headers: &HeaderMap,
    guess_from: GuessFrom<'_>,
) -> Result<Response, ApiError> {
    let digest = blob.digest();
    let etag_value = etag_of(&digest)?;
    let etag = etag_value.to_str().map_err(ApiError::internal)?;
    if wants_another(headers, etag) {
        return Err(ApiError::precondition_failed());
    }
    if has_it_already(headers, etag) {
        return Ok(respond::not_modified(etag_value));
    }
    let length = blob.length();
    // Of a HEAD, which has no bytes, no range is defined.
    let wanted = match text(headers, RANGE).filter(|_| *method != Method::HEAD) {
        Some(range) if range_applies(headers, etag) => wanted(range, length),
        Some(_) | None => Wanted::Whole,
    };
    let (content_range, range) = match wanted {
        Wanted::Whole => (None, 0..length),
        Wanted::Part(range) => (Some(content_range(&range, length)?), range),
        Wanted::Outside => return Err(ApiError::range_not_satisfiable(length)),
    };
    let sent = range.end - range.start;
    let digests = WantedDigests::of(headers);
    let is_whole = sent == length;
    let in_memory = if digests.needs_bytes(is_whole) && length <= IN_MEMORY_BYTES_MAX {
        outgoing.whole(&blob).await?
    } else {
        None
    };
    let places = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    let places = places.map(|(start, end)| start..end);
    let body = match (method, &in_memory, &places) {
        (&Method::HEAD, ..) => Body::empty(),
        (_, Some(bytes), Some(places)) => Body::from(bytes.slice(places.clone())),
        (..) => outgoing.body(blob, range).await?,
    };
    let mut response = Response::new(body);
    let mut answer = HeaderMap::with_capacity(HEADERS_USUAL);
    let sent_places = places.filter(|_| *method != Method::HEAD);
    digests.tell(&mut answer, &digest, in_memory.as_ref(), sent_places, is_whole)?;
    answer.insert(ETAG, etag_value);
    answer.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(CONTENT_LENGTH, sent.into());
    if let Some(content_range) = content_range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        answer.insert(CONTENT_RANGE, content_range);
    }
    describe(&mut answer, guess_from)?;
    *response.headers_mut() = answer;
    Ok(response)
}

fn etag_of(digest: &Digest) -> Result<HeaderValue, ApiError> {
    // As long as it becomes.
    let mut etag = String::with_capacity(2 * digest.as_bytes().len() + 2);
    write!(etag, "\"{digest}\"").map_err(ApiError::internal)?;
    HeaderValue::try_from(etag).map_err(ApiError::internal)
}

fn content_range(range: &Range<u64>, length: u64) -> Result<HeaderValue, ApiError> {
    let text = format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1));
    HeaderValue::try_from(text).map_err(ApiError::internal)
}

/// Says what the content is, and if that is a guess, keeps a browser from running it.
fn describe(answer: &mut HeaderMap, guess_from: GuessFrom<'_>) -> Result<(), ApiError> {
    let Some(filename) = guess_from else {
        answer.insert(CONTENT_TYPE, DATA);
        return Ok(());
    };
    let guess = mime_guess::from_path(filename).first_or_octet_stream();
    let guess = HeaderValue::try_from(guess.as_ref()).map_err(ApiError::internal)?;
    answer.insert(CONTENT_TYPE, guess);
    let sandbox =
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    answer.insert(CONTENT_SECURITY_POLICY, sandbox);
    Ok(())
}
