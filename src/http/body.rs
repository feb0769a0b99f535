//! Bodies on their way in: JSON and forms read whole within bounds, contents poured on by frames.
//!
//! Handlers take [`Incoming`], which reads nothing by itself: the order of checks wants the right
//! looked at before the body.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, TRANSFER_ENCODING};
use bytes::BytesMut;
use granary_engine::{Intake, IntakeKind, ResumablePart, Turn, Upload};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::error::{ApiError, comes_from};
use super::exchange;
use super::fields::Fields;
use super::form;
use super::inflow::TooSlow;
use super::integrity::{Digests, SharedBody};
use super::json;
use super::limits::{
    BODY_BYTES_MAX, BODY_BYTES_SMALL, FORM_FIELDS_MAX, LARGE_BODY_KEPT_RATIO, LARGE_BODY_TIME_MAX,
    REST_AFTER,
};
use super::refused_uploads::Sent;
use super::state::AppState;

/// A request whose body was not read yet.
#[derive(Debug)]
pub(crate) struct Incoming(Request);

impl<S: Sync> FromRequest<S> for Incoming {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request))
    }
}

/// A JSON value and, if it is a large one, what lets it be in memory.
#[derive(Debug)]
pub(crate) struct Json {
    pub(crate) value: Value,
    /// Bytes of the text that it was.
    pub(crate) text_bytes: usize,
    pub(crate) turn: Option<Turn>,
}

/// Where the bytes of a content go.
pub(crate) trait Sink {
    /// Takes the next bytes.
    async fn take(&mut self, bytes: Bytes) -> Result<(), ApiError>;

    /// Holds as little as it can, since the next bytes let it wait.
    async fn rest(&mut self) -> Result<(), ApiError>;
}

impl Sink for Upload {
    async fn take(&mut self, bytes: Bytes) -> Result<(), ApiError> {
        Ok(Self::take(self, bytes).await?)
    }

    async fn rest(&mut self) -> Result<(), ApiError> {
        Ok(Self::rest(self).await?)
    }
}

impl Sink for Intake {
    async fn take(&mut self, bytes: Bytes) -> Result<(), ApiError> {
        Ok(self.write(&bytes).await?)
    }

    async fn rest(&mut self) -> Result<(), ApiError> {
        Ok(Self::rest(self).await?)
    }
}

/// What became of a body that went into an upload which goes on.
#[derive(Debug)]
pub(crate) struct Poured {
    pub(crate) part: ResumablePart,
    /// Why not all of it came.
    pub(crate) outcome: Result<(), ApiError>,
}

/// Waits for what comes next; while it does not, the sink rests now and then.
pub(super) async fn awaited<T>(
    sink: &mut impl Sink,
    next: impl Future<Output = T>,
) -> Result<T, ApiError> {
    let mut next = std::pin::pin!(next);
    loop {
        match timeout(REST_AFTER, next.as_mut()).await {
            Ok(next) => return Ok(next),
            Err(_elapsed) => sink.rest().await?,
        }
    }
}

impl Incoming {
    fn header(&self, name: axum::http::HeaderName) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The media type without its parameters, in lower case.
    fn media_type(&self) -> Option<String> {
        let text = self.header(CONTENT_TYPE)?;
        let media_type = text.split(';').next().unwrap_or_default().trim();
        (!media_type.is_empty()).then(|| media_type.to_ascii_lowercase())
    }

    fn is_multipart(&self) -> bool {
        self.media_type().as_deref() == Some("multipart/form-data")
    }

    /// Bytes of the content, if the client said so. A multipart body's own length is only near.
    pub(crate) fn length(&self) -> Option<u64> {
        let length = self.header(CONTENT_LENGTH)?.parse().ok()?;
        (!self.is_multipart()).then_some(length)
    }

    /// Whether the client said how long the body is, rather than sending it in chunks.
    pub(crate) fn declares_length(&self) -> bool {
        self.0.headers().contains_key(CONTENT_LENGTH)
    }

    /// What the sender of an archive calls it, if that says anything.
    pub(crate) fn archive_kind(&self) -> Option<IntakeKind> {
        match self.media_type()?.as_str() {
            "application/zip" | "application/x-zip-compressed" => Some(IntakeKind::Zip),
            "application/x-tar" | "application/tar" => Some(IntakeKind::Tar),
            "application/gzip"
            | "application/x-gzip"
            | "application/x-gtar-compressed"
            | "application/x-compressed-tar"
            | "application/x-tgz"
            | "application/tar+gzip" => Some(IntakeKind::TarGz),
            _ => None,
        }
    }

    /// Reads a JSON body; none at all counts as an empty object.
    ///
    /// # Errors
    /// It is too large, of another media type, or no JSON.
    pub(crate) async fn json(self, app: &AppState) -> Result<Json, ApiError> {
        let unsupported = self.unsupported_unless(&["application/json"]);
        let is_known = exchange::is_caller_known();
        let (bytes, turn) = read_whole(self.0.into_body(), app, is_known).await?;
        let text_bytes = bytes.len();
        if bytes.is_empty() {
            return Ok(Json { value: Value::Object(Map::new()), text_bytes, turn });
        }
        if let Some(error) = unsupported {
            return Err(error);
        }
        match turn {
            Some(coming) if is_known => parse_large(bytes, coming, app).await,
            turn @ (Some(_) | None) => Ok(Json { value: json::parse(&bytes)?.0, text_bytes, turn }),
        }
    }

    /// Reads the fields of a record, from JSON or from a form.
    ///
    /// # Errors
    /// As [`Self::json`], and if it is no object.
    pub(crate) async fn fields(self, app: &AppState) -> Result<Fields, ApiError> {
        match self.media_type().as_deref() {
            Some("application/x-www-form-urlencoded") => {
                let is_known = exchange::is_caller_known();
                let (bytes, turn) = read_whole(self.0.into_body(), app, is_known).await?;
                let pairs = form_urlencoded::parse(&bytes);
                if pairs.take(FORM_FIELDS_MAX + 1).count() > FORM_FIELDS_MAX {
                    return Err(ApiError::too_many_fields(FORM_FIELDS_MAX));
                }
                let pairs = pairs.into_owned();
                Ok(Fields::of_form(pairs).holding(turn))
            }
            Some("multipart/form-data") => {
                let pairs = form::texts(self.0).await?;
                Ok(Fields::of_form(pairs.into_iter()))
            }
            Some(_) | None => {
                let Json { value, turn, .. } = self.json(app).await?;
                Ok(Fields::of_json(value)?.holding(turn))
            }
        }
    }

    fn unsupported_unless(&self, known: &[&str]) -> Option<ApiError> {
        let media_type = self.media_type()?;
        let text = self.header(CONTENT_TYPE).unwrap_or_default();
        (!known.contains(&media_type.as_str())).then(|| ApiError::unsupported_media_type(text))
    }

    /// Whether the way added a coding that the server does not take off again. Chunks it does.
    fn is_coded(&self) -> bool {
        let codings = self.0.headers().get_all(TRANSFER_ENCODING);
        codings
            .iter()
            .any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
    }

    /// Kept as it comes, a coded content would be another than the one that was sent.
    fn expect_uncoded(&self) -> Result<(), ApiError> {
        if self.is_coded() {
            return Err(ApiError::bad_request(
                "The only transfer coding that is understood is 'chunked'.",
            ));
        }
        Ok(())
    }

    /// The headers that came before the body.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.0.headers()
    }

    /// The upload that it is, as its sender announced it.
    pub(super) fn announced(&self, app: &AppState) -> Sent {
        Sent::of(self.0.headers(), self.0.extensions(), app.trusted_proxies())
    }

    /// Pours the body into a sink as it arrives; a multipart form's one file is that file. Digests
    /// that the request tells of its body are compared with what came. Gives the bytes that were
    /// poured.
    ///
    /// # Errors
    /// The client went away, sent something else than its digests say, or the sink refused; then
    /// the sink is to be dropped.
    pub(crate) async fn pour(self, sink: &mut impl Sink) -> Result<u64, ApiError> {
        self.expect_uncoded()?;
        if self.0.headers().contains_key(CONTENT_RANGE) {
            return Err(ApiError::content_range());
        }
        let digests = Digests::of(self.0.headers())?;
        if digests.is_empty() {
            return self.pour_unchecked(sink).await;
        }
        let (parts, body) = self.0.into_parts();
        let mut body = SharedBody::new(body, digests);
        let watched = Request::from_parts(parts, Body::new(body.clone()));
        let poured = Self(watched).pour_unchecked(sink).await?;
        // A form may end before its body does.
        while let Some(frame) = awaited(sink, body.frame()).await? {
            drop(frame.map_err(|error| cut_off(&error))?);
        }
        body.verify()?;
        Ok(poured)
    }

    /// Pours the body into an upload that goes on: what has come of one that breaks off stays,
    /// unless the request tells its digest.
    ///
    /// # Errors
    /// Nothing is left to go on with; it is to be asked for again.
    pub(crate) async fn pour_part(self, mut part: ResumablePart) -> Result<Poured, ApiError> {
        let digests = self.expect_uncoded().and_then(|()| Digests::of_part(self.0.headers()));
        let mut digests = match digests {
            Ok(digests) => digests,
            Err(error) => return Ok(Poured { part, outcome: Err(error) }),
        };
        let is_checked = !digests.is_empty();
        let mut body = self.0.into_body();
        let outcome = loop {
            let frame = tokio::select! {
                biased;
                () = part.is_wanted() => break Err(ApiError::upload_taken_over(is_checked)),
                frame = timeout(REST_AFTER, body.frame()) => frame,
            };
            let Ok(frame) = frame else {
                part = part.rest().await?;
                continue;
            };
            let frame = match frame {
                None => break digests.verify(),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => break Err(cut_off(&error)),
            };
            if let Some(trailers) = frame.trailers_ref() {
                if let Err(error) = digests.take_trailers(trailers) {
                    break Err(error);
                }
            } else if let Ok(bytes) = frame.into_data() {
                digests.update(&bytes);
                part = part.write(bytes, is_checked).await?;
            }
        };
        if is_checked && outcome.is_err() {
            part.forget();
        }
        Ok(Poured { part, outcome })
    }

    async fn pour_unchecked(self, sink: &mut impl Sink) -> Result<u64, ApiError> {
        if self.is_multipart() {
            return form::pour_file(self.0, sink).await;
        }
        let (mut body, mut poured) = (self.0.into_body(), 0);
        while let Some(frame) = awaited(sink, body.frame()).await? {
            // Of trailers only digests are looked at, on their way here.
            if let Ok(bytes) = frame.map_err(|error| cut_off(&error))?.into_data() {
                poured += form::length_of(&bytes);
                sink.take(bytes).await?;
            }
        }
        Ok(poured)
    }
}

/// A body ended before its end.
pub(super) fn cut_off(error: &axum::Error) -> ApiError {
    tracing::debug!(%error, "a request's body ended early");
    if comes_from::<TooSlow>(error) {
        return ApiError::too_slow();
    }
    ApiError::bad_request("The request's body ended early.")
}

/// Reads a body within the bounds; beyond the small one it takes memory as it comes, or a stranger's the one
/// turn of strangers, so that these keep nobody waiting but each other. What it took comes with it.
async fn read_whole(
    mut body: Body,
    app: &AppState,
    is_known: bool,
) -> Result<(Bytes, Option<Turn>), ApiError> {
    let mut bytes = BytesMut::new();
    if read_up_to(&mut body, &mut bytes, BODY_BYTES_SMALL).await? {
        return Ok((bytes.freeze(), None));
    }
    let turn = if is_known {
        let memory = app.coming_body_memory(bytes.len()).await?;
        in_time(read_with_memory(&mut body, &mut bytes, memory, app)).await?
    } else {
        let turn = app.strangers_body_turn().await?;
        in_time(read_up_to(&mut body, &mut bytes, BODY_BYTES_MAX)).await?.then_some(turn)
    };
    match turn {
        Some(turn) => Ok((bytes.freeze(), Some(turn))),
        None => Err(ApiError::body_too_large(BODY_BYTES_MAX)),
    }
}

/// Gives up who takes too long to send a large body.
async fn in_time<T>(rest: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    timeout(LARGE_BODY_TIME_MAX, rest).await.map_err(|_elapsed| ApiError::too_slow())?
}

/// Reads the rest of a body that has memory for what has come so far, and takes more of it for what comes, without
/// waiting for it; `None` if it is too long.
async fn read_with_memory(
    body: &mut Body,
    bytes: &mut BytesMut,
    mut memory: Turn,
    app: &AppState,
) -> Result<Option<Turn>, ApiError> {
    loop {
        let held = bytes.len();
        if held > BODY_BYTES_MAX {
            return Ok(None);
        }
        if read_up_to(body, bytes, held).await? {
            return Ok(Some(memory));
        }
        memory = app.more_body_memory(memory, held, bytes.len())?;
    }
}

/// Parses a large body, whose bytes go then: what was asked for may wait for long, and keeps only as much memory
/// from others as such a body is worth.
async fn parse_large(bytes: Bytes, coming: Turn, app: &AppState) -> Result<Json, ApiError> {
    let memory = app.large_body_memory(json::weight_max(bytes.len())).await?;
    let (value, weight) = json::parse(&bytes)?;
    let text_bytes = bytes.len();
    let kept = weight.max(text_bytes.saturating_mul(LARGE_BODY_KEPT_RATIO));
    drop((bytes, coming));
    Ok(Json { value, text_bytes, turn: Some(AppState::shrunk_memory(memory, kept)) })
}

/// Reads until the body ends (true) or more than `limit` bytes have come (false).
async fn read_up_to(body: &mut Body, bytes: &mut BytesMut, limit: usize) -> Result<bool, ApiError> {
    while bytes.len() <= limit {
        let Some(frame) = body.frame().await else {
            return Ok(true);
        };
        if let Ok(data) = frame.map_err(|error| cut_off(&error))?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(false)
}
