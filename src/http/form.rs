//! Multipart forms: texts, or the one file that goes somewhere as it arrives.
//!
//! The library keeps whatever comes until it finds a part's beginning, and looks through all of it
//! again and again, so what may come that is no file's content is bounded on its way to it.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request};
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

use super::body::{Sink, awaited, cut_off};
use super::error::{ApiError, cause, comes_from};
use super::inflow::TooSlow;
use super::limits::{BODY_BYTES_SMALL, FORM_BYTES_MAX, FORM_FIELDS_MAX, TEXTS_BYTES_MAX};

/// Pours the file of a form that holds exactly one into a sink as it arrives; gives its bytes.
///
/// # Errors
/// It is no such form, or the client went away, or the sink refused.
pub(super) async fn pour_file(request: Request, sink: &mut impl Sink) -> Result<u64, ApiError> {
    let (mut form, passed) = multipart(request, FORM_BYTES_MAX).await?;
    let (mut files, mut poured) = (0, 0);
    while let Some(mut part) = awaited(sink, next_part(&mut form)).await?? {
        if part.file_name().is_none() {
            continue;
        }
        files += 1;
        if files > 1 {
            break;
        }
        // What came with its head may be its content.
        passed.begin_anew();
        while let Some(bytes) =
            awaited(sink, part.chunk()).await?.map_err(|error| bad_form(&error))?
        {
            passed.begin_anew();
            poured += length_of(&bytes);
            sink.take(bytes).await?;
        }
    }
    if files == 1 {
        Ok(poured)
    } else {
        Err(ApiError::bad_request("Multipart form parse error - exactly one file is expected"))
    }
}

/// The texts of a form; of an empty body none.
///
/// # Errors
/// It is no form, or too long, or its texts are none.
pub(super) async fn texts(request: Request) -> Result<Vec<(String, String)>, ApiError> {
    let Some(request) = unless_empty(request).await? else {
        return Ok(Vec::new());
    };
    // Anybody may send one, as many as there are connections.
    let (mut form, _passed) = multipart(request, TEXTS_BYTES_MAX).await?;
    let mut pairs = Vec::new();
    let mut bytes_read = 0;
    while let Some(mut part) = next_part(&mut form).await? {
        if pairs.len() == FORM_FIELDS_MAX {
            return Err(ApiError::too_many_fields(FORM_FIELDS_MAX));
        }
        let name = part.name().unwrap_or_default().to_owned();
        let mut value = Vec::new();
        while let Some(bytes) = part.chunk().await.map_err(|error| bad_form(&error))? {
            bytes_read += bytes.len();
            if bytes_read > BODY_BYTES_SMALL {
                return Err(ApiError::body_too_large(BODY_BYTES_SMALL));
            }
            value.extend_from_slice(&bytes);
        }
        let Ok(value) = String::from_utf8(value) else {
            return Err(ApiError::bad_request("Multipart form parse error - texts must be UTF-8"));
        };
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// The same request, if there is anything in its body.
async fn unless_empty(request: Request) -> Result<Option<Request>, ApiError> {
    let (parts, mut body) = request.into_parts();
    while let Some(frame) = body.frame().await {
        let bytes = frame.map_err(|error| cut_off(&error))?.into_data().unwrap_or_default();
        if !bytes.is_empty() {
            let begun = stream::once(ready(Ok(bytes))).chain(body.into_data_stream());
            return Ok(Some(Request::from_parts(parts, Body::from_stream(begun))));
        }
    }
    Ok(None)
}

pub(super) fn length_of(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

async fn multipart(request: Request, max: usize) -> Result<(Multipart, Passed), ApiError> {
    let passed = Passed::default();
    let counted = passed.clone();
    let mut request = request
        .map(|body| Body::new(Counted { body, passed: counted, max, last: 0, rests: false }));
    // It has bounds of its own.
    DefaultBodyLimit::disable().apply(&mut request);
    let form = Multipart::from_request(request, &()).await;
    match form {
        Ok(form) => Ok((form, passed)),
        Err(error) => Err(ApiError::bad_request(format!("Multipart form parse error - {error}"))),
    }
}

async fn next_part(form: &mut Multipart) -> Result<Option<Field<'_>>, ApiError> {
    form.next_field().await.map_err(|error| bad_form(&error))
}

fn bad_form(error: &MultipartError) -> ApiError {
    if let Some(TooLong(max)) = cause(error) {
        return ApiError::form_too_large(*max);
    }
    if comes_from::<TooSlow>(error) {
        return ApiError::too_slow();
    }
    ApiError::bad_request(format!("Multipart form parse error - {}", error.body_text()))
}

/// Bytes of a form that have come since the last of a file's content was handed on, the last piece left out:
/// what of that is content is not known yet.
#[derive(Debug, Clone, Default)]
struct Passed(Arc<AtomicUsize>);

impl Passed {
    fn begin_anew(&self) {
        // One task reads the form and hears of it.
        self.0.store(0, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn are_more_than(&self, max: usize) -> bool {
        self.0.load(Ordering::Relaxed) > max
    }
}

/// A form has too much that is no file's content.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes came that are no file's content")]
struct TooLong(usize);

/// A form's body, which ends in an error where too much comes that is no file's content.
///
/// The library takes pieces as long as there are some, before it looks at any: after each one it hears
/// that there is none for the moment.
#[derive(Debug)]
struct Counted {
    body: Body,
    passed: Passed,
    max: usize,
    /// Bytes of the last piece.
    last: usize,
    rests: bool,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.passed.are_more_than(this.max) {
            return Poll::Ready(Some(Err(TooLong(this.max).into())));
        }
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            this.passed.add(std::mem::replace(&mut this.last, bytes));
            this.rests = true;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
