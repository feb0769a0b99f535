//! Answers on their way out: small JSON in one piece, unbounded JSON through a spool, streams that
//! break the connection when they fail.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::stream;
use granary_engine::disk::is_full;
use granary_engine::model::{Dataset, DatasetId};
use granary_engine::{Snapshot, Spool, Spooled, Turn};
use serde::Serialize;

use super::error::ApiError;
use super::limits::{INLINE_ANSWER_BYTES_MAX, INLINE_FILES_MAX};
use super::outgoing::{Share, kept_with};
use super::state::AppState;
use super::wire::datasets::{dataset_without_files, write_dataset};
use crate::permission::{Action, Object, Principal};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Bytes that go to a spool at a time.
const SPOOL_WRITE_BYTES: usize = 32 << 10;

/// An answer that is small by its nature.
pub(crate) fn json(status: StatusCode, shape: &impl Serialize) -> Result<Response, ApiError> {
    Ok(json_response(status, json_text(shape)?.into()))
}

/// Renders what may have a long text in it, for [`long_json`].
pub(crate) fn json_text(shape: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(shape).map_err(ApiError::internal)
}

/// An answer that may be long; then it counts as lists do.
pub(crate) async fn long_json(
    app: &AppState,
    status: StatusCode,
    text: Vec<u8>,
) -> Result<Response, ApiError> {
    inline(app, status, text, Asked::Read).await
}

/// As [`long_json`], of what was changed.
pub(crate) async fn long_json_after_change(
    app: &AppState,
    status: StatusCode,
    text: Vec<u8>,
) -> Result<Response, ApiError> {
    inline(app, status, text, Asked::Change).await
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Says that the client has what it asks for.
pub(crate) fn not_modified(tag: HeaderValue) -> Response {
    let mut response = Response::new(body_of_unknown_length());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(ETAG, tag);
    response
}

/// Nothing, of which nobody says that it has no bytes: that would go for the `Content-Length` of what a HEAD,
/// or who has it already, asked for (RFC 9110, section 8.6).
pub(crate) fn body_of_unknown_length() -> Body {
    Body::from_stream(stream::empty::<io::Result<Bytes>>())
}

/// The fields of a dataset as one snapshot shows them, with or without the map of its files.
///
/// A long map is rendered when its turn comes, from what `again` says of the dataset then: who waits
/// holds no state.
pub(crate) async fn dataset(
    app: &AppState,
    status: StatusCode,
    (snapshot, shown): (Snapshot, Arc<Dataset>),
    again: impl FnOnce() -> Result<(Snapshot, Arc<Dataset>), ApiError> + Send + 'static,
    with_files: bool,
) -> Result<Response, ApiError> {
    if is_small(&shown, with_files) {
        let text = text_of(&snapshot, &shown, with_files)?;
        drop((snapshot, shown));
        return inline(app, status, text, Asked::Read).await;
    }
    drop((snapshot, shown));
    let write = move |out: &mut dyn Write| {
        let (snapshot, shown) = again()?;
        write_dataset(out, &snapshot, &shown, with_files)
    };
    spooled(app, status, write).await
}

/// Whether an answer is rendered faster than it finds its way to the blocking pool.
fn is_small(dataset: &Dataset, with_files: bool) -> bool {
    let texts = dataset.description.len().saturating_add(dataset.tags.len());
    texts <= INLINE_ANSWER_BYTES_MAX && (!with_files || dataset.file_count <= INLINE_FILES_MAX)
}

fn text_of(snapshot: &Snapshot, shown: &Dataset, with_files: bool) -> Result<Vec<u8>, ApiError> {
    let mut text = Vec::new();
    write_dataset(&mut text, snapshot, shown, with_files)?;
    Ok(text)
}

async fn inline(
    app: &AppState,
    status: StatusCode,
    text: Vec<u8>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let text = Bytes::from(text);
    if text.len() <= INLINE_ANSWER_BYTES_MAX {
        return Ok(json_response(status, text));
    }
    let leave = Leave::of(app, text.len(), asked).await?;
    Ok(json_response(status, kept_with(text, leave)))
}

/// The fields of a dataset after a change, from a state that holds the change. One that is shown when a turn
/// has come may hold others as well, and who may not see it by then sees what they changed, without files.
pub(crate) async fn changed_dataset(
    app: &AppState,
    principal: &Principal,
    status: StatusCode,
    changed: Dataset,
    with_files: bool,
) -> Result<Response, ApiError> {
    if let Some(text) = text_at_once(app, &changed, with_files)? {
        return inline(app, status, text, Asked::Change).await;
    }
    let id = changed.id;
    let (state, principal) = (app.clone(), principal.clone());
    let write = move |out: &mut dyn Write| {
        let snapshot = state.snapshot()?;
        let action = Action::RetrieveDataset;
        let is_seen = |shown: &Arc<Dataset>| {
            state.may_still(&snapshot, &principal, action, Object::Dataset(shown))
        };
        match snapshot.dataset(id)?.filter(is_seen) {
            Some(shown) => write_dataset(out, &snapshot, &shown, with_files),
            None => write_shape(out, &dataset_without_files(&changed)),
        }
    };
    spooled_after_change(app, status, write).await
}

/// What is shown of a changed dataset, unless that has to wait for its turn.
fn text_at_once(
    app: &AppState,
    changed: &Dataset,
    with_files: bool,
) -> Result<Option<Vec<u8>>, ApiError> {
    if with_files {
        let snapshot = app.snapshot()?;
        // It may have been deleted for good since.
        if let Some(shown) = snapshot.dataset(changed.id)? {
            let is_small = is_small(&shown, with_files);
            return is_small.then(|| text_of(&snapshot, &shown, with_files)).transpose();
        }
    }
    json_text(&dataset_without_files(changed)).map(Some)
}

/// The dataset in a snapshot, or 404.
pub(crate) fn read_dataset(snapshot: &Snapshot, id: DatasetId) -> Result<Arc<Dataset>, ApiError> {
    let dataset = snapshot.dataset(id)?;
    dataset.ok_or_else(|| ApiError::no_record("Dataset"))
}

/// Renders an answer of unbounded size on the blocking pool, then sends it.
///
/// The whole answer is rendered before its first byte goes, so that a failed read is an error and
/// no broken answer, and the snapshot and the turn live no longer than the rendering. Then a reader
/// that takes its time keeps its share of the memory for answers, and nobody's turn but that of another
/// answer which is too long for memory.
pub(crate) async fn spooled(
    app: &AppState,
    status: StatusCode,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let (response, ()) = spooled_with(app, status, write).await?;
    Ok(response)
}

/// As [`spooled`], of what was changed: it waits for its turn however many others do, since a refusal
/// would leave the client in doubt of what was done; and where it cannot be sent it says so.
pub(crate) async fn spooled_after_change(
    app: &AppState,
    status: StatusCode,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let turn = app.spooled_answer_turn_after_all().await;
    let (response, ()) = rendered(app, turn, status, write, Asked::Change).await?;
    Ok(response)
}

/// As [`spooled`], with what the rendering found out beside the text.
pub(crate) async fn spooled_with<T: Send + 'static>(
    app: &AppState,
    status: StatusCode,
    write: impl FnOnce(&mut dyn Write) -> Result<T, ApiError> + Send + 'static,
) -> Result<(Response, T), ApiError> {
    let turn = app.spooled_answer_turn().await?;
    rendered(app, Some(turn), status, write, Asked::Read).await
}

/// What an answer is to.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Read,
    /// It is made already, whatever becomes of the answer.
    Change,
}

async fn rendered<T: Send + 'static>(
    app: &AppState,
    turn: Option<Turn>,
    status: StatusCode,
    write: impl FnOnce(&mut dyn Write) -> Result<T, ApiError> + Send + 'static,
    asked: Asked,
) -> Result<(Response, T), ApiError> {
    let spool = app.spool();
    // Its turn goes with the work, which goes on if the caller goes away.
    let rendering = move || {
        let rendered = render(spool, write, asked);
        drop(turn);
        rendered
    };
    let rendered = tokio::task::spawn_blocking(rendering).await;
    let (spooled, found) = rendered.map_err(ApiError::internal)??;
    let length = spooled.len();
    if u64::try_from(INLINE_ANSWER_BYTES_MAX).is_ok_and(|max| length <= max) {
        let text = spooled.chunk(0).await.map_err(ApiError::internal)?;
        return Ok((json_response(status, text), found));
    }
    let leave = Leave::of(app, spooled.memory_bytes(), asked).await?;
    let mut response = Response::new(spooled_body(spooled, leave));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CONTENT_LENGTH, length.into());
    Ok((response, found))
}

/// What an answer holds until its last byte is sent, not only taken.
struct Leave {
    _share: Share,
    _turn: Option<Turn>,
}

impl Leave {
    /// A share of the memory for answers, of which it has so many bytes; otherwise, as if it has none, a turn
    /// at sending long ones.
    async fn of(app: &AppState, bytes: usize, asked: Asked) -> Result<Self, ApiError> {
        let share = if bytes > 0 { app.answers().share(bytes) } else { None };
        if share.is_some() {
            return Ok(Self { _share: share, _turn: None });
        }
        let turn = match asked {
            Asked::Read => app.long_answer_turn().await?,
            Asked::Change => {
                app.long_answer_turn_after_change().await.ok_or_else(ApiError::no_turn_to_answer)?
            }
        };
        Ok(Self { _share: None, _turn: Some(turn) })
    }
}

fn render<T>(
    spool: Spool,
    write: impl FnOnce(&mut dyn Write) -> Result<T, ApiError>,
    asked: Asked,
) -> Result<(Spooled, T), ApiError> {
    let mut out = BufWriter::with_capacity(SPOOL_WRITE_BYTES, spool);
    let written = write(&mut out).and_then(|found| {
        out.flush().map_err(ApiError::internal)?;
        Ok(found)
    });
    let (spool, _unwritten) = out.into_parts();
    let is_made = matches!(asked, Asked::Change);
    let found = written.map_err(|error| {
        let is_full = spool.is_refused_for_space();
        if is_full { ApiError::no_space_to_answer(is_made) } else { error }
    })?;
    let unfinished = |error: io::Error| {
        if is_full(&error) {
            ApiError::no_space_to_answer(is_made)
        } else {
            ApiError::internal(error)
        }
    };
    Ok((spool.finish().map_err(unfinished)?, found))
}

fn spooled_body(spooled: Spooled, leave: Leave) -> Body {
    let start = Some((spooled, 0_u64, Arc::new(leave)));
    Body::from_stream(stream::unfold(start, |state| async {
        let (spooled, at, leave) = state?;
        match spooled.chunk(at).await {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => {
                let next = at + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let bytes = kept_with(bytes, Arc::clone(&leave));
                Some((Ok(bytes), Some((spooled, next, leave))))
            }
            Err(error) => Some((Err::<Bytes, io::Error>(error), None)),
        }
    }))
}

fn json_response(status: StatusCode, text: Bytes) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Writes a shape as JSON.
pub(crate) fn write_shape(out: &mut dyn Write, shape: &impl Serialize) -> Result<(), ApiError> {
    serde_json::to_writer(out, shape).map_err(ApiError::internal)
}

/// A JSON array that is written row by row.
pub(crate) struct Rows<'a> {
    out: &'a mut dyn Write,
    begun: bool,
}

impl<'a> Rows<'a> {
    /// Begins an array.
    pub(crate) fn begin(out: &'a mut dyn Write) -> Self {
        Self { out, begun: false }
    }

    /// Begins a row; the caller writes it.
    pub(crate) fn next(&mut self) -> Result<&mut dyn Write, ApiError> {
        let before = if self.begun { b"," } else { b"[" };
        self.begun = true;
        self.out.write_all(before).map_err(ApiError::internal)?;
        Ok(self.out)
    }

    /// Writes a row.
    pub(crate) fn push(&mut self, shape: &impl Serialize) -> Result<(), ApiError> {
        write_shape(self.next()?, shape)
    }

    /// Ends the array.
    pub(crate) fn end(self) -> Result<(), ApiError> {
        let end: &[u8] = if self.begun { b"]" } else { b"[]" };
        self.out.write_all(end).map_err(ApiError::internal)
    }
}

#[cfg(test)]
mod tests;
