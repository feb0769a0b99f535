//! Digests of bodies and contents as RFC 9530 has them: checked on what comes in, told of what goes
//! out.
//!
//! `sha-256` is in the registry of hash algorithms for HTTP digest fields; `blake3`, which names
//! contents here, is not, and is written like it: `blake3=:BASE64:`. Other algorithms are passed
//! over, as the RFC wants it. A field that names one of the two in another form is refused rather
//! than passed over: who sends it counts on being checked.
//!
//! No body is coded here, so what comes in is its own representation: `Content-Digest` and
//! `Repr-Digest` ask for the same. They may come as trailers, if `Trailer` announces them.

use axum::body::{Body, Bytes};
use axum::http::header::TRAILER;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granary_engine::model::{Digest, DigestHasher};
use hyper::body::Frame;
use sha2::{Digest as _, Sha256};

use super::error::ApiError;

/// The digest of what is sent.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// The digest of the whole of which a part may be sent.
pub(crate) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

const WANT_CONTENT_DIGEST: HeaderName = HeaderName::from_static("want-content-digest");
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// A way to make digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Sha256,
    Blake3,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::Sha256, Self::Blake3];

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Blake3 => "blake3",
        }
    }
}

/// A digest that a body must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) field: HeaderName,
    pub(crate) algorithm: Algorithm,
    pub(crate) digest: [u8; 32],
}

/// Reads the digests that a section of headers asks for.
///
/// # Errors
/// One of ours is not 32 bytes in base64 between colons.
pub(crate) fn expected(headers: &HeaderMap) -> Result<Vec<Expected>, ApiError> {
    let mut all = Vec::new();
    for field in [CONTENT_DIGEST, REPR_DIGEST] {
        for (name, value) in members(headers, &field) {
            let known = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
            let Some(algorithm) = known else { continue };
            let digest = read_digest(value).ok_or_else(|| {
                ApiError::bad_request(format!(
                    "Bad {} header: {name} must be its 32 bytes in base64 between colons, \
                     such as {name}=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
                    spelled(&field)
                ))
            })?;
            all.push(Expected { field: field.clone(), algorithm, digest });
        }
    }
    Ok(all)
}

/// The members of a dictionary: names and what stands behind `=`, without parameters.
fn members<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (&'h str, &'h str)> + use<'h> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let members = values.flat_map(|value| value.split(','));
    members.map(|member| {
        let (name, value) = member.split_once('=').unwrap_or((member, ""));
        // A digest holds no semicolon.
        (name.trim(), value.split(';').next().unwrap_or_default().trim())
    })
}

/// A field's name as people write it.
fn spelled(field: &HeaderName) -> &'static str {
    if *field == CONTENT_DIGEST { "Content-Digest" } else { "Repr-Digest" }
}

fn read_digest(value: &str) -> Option<[u8; 32]> {
    let coded = value.strip_prefix(':')?.strip_suffix(':')?;
    STANDARD.decode(coded).ok()?.try_into().ok()
}

/// The digests of a body, taken while it passes.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    sha256: Option<Sha256>,
    blake3: Option<DigestHasher>,
    expected: Vec<Expected>,
    /// Whether the body is a part of something, of which `Repr-Digest` is the digest.
    is_part: bool,
}

impl Digests {
    /// What a request asks for in its headers, and may ask for behind its body.
    ///
    /// # Errors
    /// As [`expected`].
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        Self::of_fields(headers, false)
    }

    /// The same where a body is a part of something.
    ///
    /// # Errors
    /// As [`expected`].
    pub(crate) fn of_part(headers: &HeaderMap) -> Result<Self, ApiError> {
        Self::of_fields(headers, true)
    }

    fn of_fields(headers: &HeaderMap, is_part: bool) -> Result<Self, ApiError> {
        let counts = |field: &HeaderName| !is_part || *field == CONTENT_DIGEST;
        let mut expected = expected(headers)?;
        expected.retain(|expected| counts(&expected.field));
        let trailers = headers.get_all(TRAILER).into_iter().filter_map(|value| value.to_str().ok());
        let mut announced = trailers.flat_map(|value| value.split(',')).map(str::trim);
        let comes_later = announced.any(|name| {
            [CONTENT_DIGEST, REPR_DIGEST]
                .iter()
                .any(|field| counts(field) && name.eq_ignore_ascii_case(field.as_str()))
        });
        let needs = |algorithm| {
            comes_later || expected.iter().any(|expected| expected.algorithm == algorithm)
        };
        Ok(Self {
            sha256: needs(Algorithm::Sha256).then(Sha256::new),
            blake3: needs(Algorithm::Blake3).then(DigestHasher::new),
            expected,
            is_part,
        })
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.sha256.is_none() && self.blake3.is_none()
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(blake3) = &mut self.blake3 {
            blake3.update(bytes);
        }
    }

    /// Takes what is asked for behind the body.
    ///
    /// # Errors
    /// As [`expected`].
    pub(crate) fn take_trailers(&mut self, trailers: &HeaderMap) -> Result<(), ApiError> {
        let mut behind = expected(trailers)?;
        behind.retain(|expected| !self.is_part || expected.field == CONTENT_DIGEST);
        self.expected.extend(behind);
        Ok(())
    }

    /// Compares what was asked for with what came, once all of it has.
    ///
    /// # Errors
    /// The first digest that is another one.
    pub(crate) fn verify(self) -> Result<(), ApiError> {
        let Self { sha256, blake3, expected, .. } = self;
        let sha256: Option<[u8; 32]> = sha256.map(|hasher| hasher.finalize().into());
        let blake3 = blake3.map(|hasher| hasher.finish().0);
        for Expected { field, algorithm, digest } in expected {
            let actual = match algorithm {
                Algorithm::Sha256 => sha256,
                Algorithm::Blake3 => blake3,
            };
            // A trailer that `Trailer` does not announce comes too late to be looked at.
            if let Some(actual) = actual.filter(|actual| *actual != digest) {
                return Err(ApiError::bad_request(format!(
                    "{} says {}, and the body that came has {}. Nothing was stored.",
                    spelled(&field),
                    member(algorithm, &digest),
                    member(algorithm, &actual)
                )));
            }
        }
        Ok(())
    }
}

fn member(algorithm: Algorithm, digest: &[u8; 32]) -> String {
    format!("{}=:{}:", algorithm.name(), STANDARD.encode(digest))
}

/// The digest of a content that is in memory.
fn digest_of(algorithm: Algorithm, content: &[u8]) -> [u8; 32] {
    match algorithm {
        Algorithm::Sha256 => Sha256::digest(content).into(),
        Algorithm::Blake3 => Digest::of(content).0,
    }
}

/// What an answer is to tell of its digests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// Of the whole content: the algorithm if all of it is in memory, and the one if not.
    repr: Option<Choice>,
    /// The same of what is sent.
    content: Option<Choice>,
}

/// The algorithm that a client likes best: among both, and of those that need no second look at the
/// content, as BLAKE3 alone does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    best: Option<Algorithm>,
    has_blake3: bool,
}

impl Wanted {
    /// Reads the preferences of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let choice = |name| headers.contains_key(&name).then(|| choice(headers, &name));
        Self { repr: choice(WANT_REPR_DIGEST), content: choice(WANT_CONTENT_DIGEST) }
    }

    /// Whether a content that could be in memory should be, so that all that is wanted can be told.
    pub(crate) fn needs_bytes(self, is_whole: bool) -> bool {
        let needs_sha = self.repr.is_some_and(|choice| choice.best == Some(Algorithm::Sha256));
        let needs_sent = self.content.is_some_and(|choice| {
            choice.best == Some(Algorithm::Sha256) || (!is_whole && choice.best.is_some())
        });
        needs_sha || needs_sent
    }

    /// Adds the fields. `bytes` is the whole content, if it is in memory, and `sent` the range of
    /// it that is sent, if anything is.
    pub(crate) fn tell(
        self,
        answer: &mut HeaderMap,
        digest: &Digest,
        bytes: Option<&Bytes>,
        sent: Option<std::ops::Range<usize>>,
        is_whole: bool,
    ) -> Result<(), ApiError> {
        if let Some(choice) = self.repr {
            put(answer, REPR_DIGEST, choice.of(digest, bytes.map(|bytes| &**bytes)))?;
        }
        if let (Some(choice), Some(range)) = (self.content, sent) {
            let part = bytes.and_then(|bytes| bytes.get(range));
            let told = if is_whole {
                choice.of(digest, part)
            } else {
                // Of a part of a long content nothing is known before it is sent.
                part.and_then(|part| Some((choice.best?, part)))
                    .map(|(best, part)| member(best, &digest_of(best, part)))
            };
            put(answer, CONTENT_DIGEST, told)?;
        }
        Ok(())
    }
}

impl Choice {
    /// The member that is told of a content with this digest.
    fn of(self, digest: &Digest, bytes: Option<&[u8]>) -> Option<String> {
        match (self.best, bytes) {
            (Some(Algorithm::Sha256), Some(bytes)) => {
                let best = Algorithm::Sha256;
                Some(member(best, &digest_of(best, bytes)))
            }
            _ => self.has_blake3.then(|| member(Algorithm::Blake3, &digest.0)),
        }
    }
}

fn put(answer: &mut HeaderMap, name: HeaderName, told: Option<String>) -> Result<(), ApiError> {
    if let Some(told) = told {
        answer.insert(name, HeaderValue::try_from(told).map_err(ApiError::internal)?);
    }
    Ok(())
}

/// The preferences of a field: whole numbers from 1, the best, being 10; 0 refuses one.
fn choice(headers: &HeaderMap, name: &HeaderName) -> Choice {
    let weight = |algorithm: Algorithm| {
        let mut members = members(headers, name);
        let found = members.find(|(name, _)| *name == algorithm.name());
        found.map(|(_, weight)| weight.parse::<u8>().unwrap_or(0))
    };
    let (sha256, blake3) = (weight(Algorithm::Sha256), weight(Algorithm::Blake3));
    let best = match (sha256.unwrap_or(0), blake3.unwrap_or(0)) {
        (0, 0) => None,
        (sha256, blake3) if sha256 > blake3 => Some(Algorithm::Sha256),
        (_, _) => Some(Algorithm::Blake3),
    };
    // To somebody who wants others, or one that is not known ahead, BLAKE3 is still told, as the
    // RFC allows; not to who refuses it.
    let has_blake3 = blake3 != Some(0);
    let best = best.or(has_blake3.then_some(Algorithm::Blake3));
    Choice { best, has_blake3 }
}

/// A body that others read and whose rest can be read to its end afterwards.
#[derive(Debug, Clone)]
pub(crate) struct SharedBody(std::sync::Arc<std::sync::Mutex<Watched>>);

#[derive(Debug)]
struct Watched {
    body: Body,
    digests: Digests,
    trouble: Option<ApiError>,
}

impl SharedBody {
    /// Watches what is read of a body.
    pub(crate) fn new(body: Body, digests: Digests) -> Self {
        let watched = Watched { body, digests, trouble: None };
        Self(std::sync::Arc::new(std::sync::Mutex::new(watched)))
    }

    /// What was asked for and what came, once the body has been read to its end.
    ///
    /// # Errors
    /// As [`Digests::verify`].
    pub(crate) fn verify(&self) -> Result<(), ApiError> {
        let mut watched = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(trouble) = watched.trouble.take() {
            return Err(trouble);
        }
        std::mem::take(&mut watched.digests).verify()
    }
}

impl axum::body::HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut watched = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Watched { body, digests, trouble } = &mut *watched;
        let frame = std::pin::Pin::new(body).poll_frame(context);
        if let std::task::Poll::Ready(Some(Ok(frame))) = &frame {
            if let Some(bytes) = frame.data_ref() {
                digests.update(bytes);
            } else if let Some(trailers) = frame.trailers_ref()
                && let Err(error) = digests.take_trailers(trailers)
            {
                *trouble = Some(error);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        false
    }
}
