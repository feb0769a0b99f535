//! `download` and `archive.*`: a dataset as one archive, whole or in parts.
//!
//! A stored zip has a length and a strong tag before its first byte, so an interrupted download
//! goes on where it stopped: with `Range` and `If-Range` (a stale tag gets the whole new archive)
//! or `If-Match` (a stale tag gets 412), never a mixture. Several ranges in one request get the
//! whole. What is compressed on its way has neither length nor ranges, and a weak tag.
//! `POST .../download`, which the API defines without a word on ranges, heeds the same headers; as
//! no POST may be answered with 304, a matching `If-None-Match` gets 412 there.

use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    ACCEPT, ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use futures_util::stream;
use granary_engine::model::{Dataset, DatasetId};
use granary_engine::{Archive, ArchiveFormat, PreparedArchive, ReadError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::body::Incoming;
use super::conditions::{has_it_already, range_applies, text, wants_another};
use super::content::DATA;
use super::datasets::{Opened, open};
use super::error::ApiError;
use super::openapi::archives::{AnyArchive, TarGzArchive, ZipArchive};
use super::openapi::failures::{Guarded, JsonBody, KnownParameters};
use super::openapi::parameters::{Compression, Conditions};
use super::path;
use super::query;
use super::range::{Wanted, wanted};
use super::respond::{body_of_unknown_length, empty, not_modified};
use super::state::AppState;
use super::wire::bodies::{DownloadBody, read_download};
use crate::permission::{Action, Allowed, Principal};

/// Letters that RFC 5987 leaves as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const ZIP: HeaderValue = HeaderValue::from_static("application/zip");
const GZIP: HeaderValue = HeaderValue::from_static("application/gzip");

/// Media types of which an archive is one.
const TYPES: [&str; 6] = [
    "*/*",
    "application/*",
    "application/data",
    "application/zip",
    "application/gzip",
    "application/octet-stream",
];

/// Gives a dataset as one archive, in one state however long it takes.
///
/// For members of the owning team and administrators.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/download",
    params(Compression, Conditions),
    request_body = Option<DownloadBody>,
    responses(AnyArchive, Guarded, JsonBody, KnownParameters)
)]
pub(crate) async fn download(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    headers: HeaderMap,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::DownloadDataset, id)?;
    let format = read_download(incoming.json(&app).await?.value)?;
    let format = compressed(format, &uri)?;
    let request = Request { id, format, media_type: DATA, method: Method::POST, headers };
    request.answer(&app, &allowed).await
}

/// Gives a dataset as a zip, whole or in parts.
///
/// For members of the owning team and administrators.
#[utoipa::path(
    method(get, head),
    path = "/v1/datasets/{pk}/archive.zip",
    params(Compression, Conditions),
    responses(ZipArchive, Guarded)
)]
pub(crate) async fn zip(
    State(app): State<AppState>,
    principal: Principal,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::DownloadDataset, id)?;
    let format = compressed(ArchiveFormat::Zip, &uri)?;
    Request { id, format, media_type: ZIP, method, headers }.answer(&app, &allowed).await
}

/// Gives a dataset as a tar.gz.
///
/// For members of the owning team and administrators.
#[utoipa::path(
    method(get, head),
    path = "/v1/datasets/{pk}/archive.tar.gz",
    params(Conditions),
    responses(TarGzArchive, Guarded)
)]
pub(crate) async fn tar_gz(
    State(app): State<AppState>,
    principal: Principal,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::DownloadDataset, id)?;
    let format = compressed(ArchiveFormat::TarGz, &uri)?;
    Request { id, format, media_type: GZIP, method, headers }.answer(&app, &allowed).await
}

/// The format with what `?compression=` says of it.
fn compressed(format: ArchiveFormat, uri: &Uri) -> Result<ArchiveFormat, ApiError> {
    let name = "compression";
    match (query::text(uri, name)?.as_deref(), format) {
        (None, format) => Ok(format),
        (Some(_), ArchiveFormat::TarGz) => {
            Err(query::wrong(name, "Is for zip archives; a tar.gz is compressed in any case."))
        }
        (Some("store"), _) => Ok(ArchiveFormat::Zip),
        (Some("deflate"), _) => Ok(ArchiveFormat::ZipDeflated),
        (Some(_), _) => Err(query::wrong(name, "Must be 'store' or 'deflate'.")),
    }
}

/// Somebody who may have it wants an archive.
struct Request {
    id: DatasetId,
    format: ArchiveFormat,
    media_type: HeaderValue,
    method: Method,
    headers: HeaderMap,
}

impl Request {
    async fn answer(self, app: &AppState, allowed: &Allowed) -> Result<Response, ApiError> {
        if !accepts_archive(&self.headers) {
            return Err(ApiError::not_acceptable());
        }
        let prepared = app.engine(allowed)?.prepare_archive(self.id, self.format).await?;
        let prepared = prepared.ok_or_else(|| ApiError::no_record("Dataset"))?;
        let etag = etag(&prepared);
        let etag_value = HeaderValue::try_from(&etag).map_err(ApiError::internal)?;
        if wants_another(&self.headers, &etag) {
            return Err(ApiError::precondition_failed());
        }
        if has_it_already(&self.headers, &etag) {
            if self.method == Method::POST {
                return Err(ApiError::precondition_failed());
            }
            return Ok(not_modified(etag_value));
        }
        let disposition = disposition(prepared.dataset(), self.format);
        let disposition = HeaderValue::try_from(disposition).map_err(ApiError::internal)?;
        let part = self.part(prepared.length(), &etag)?;
        let mut response = empty(StatusCode::OK);
        let answer = response.headers_mut();
        answer.insert(ETAG, etag_value);
        answer.insert(CONTENT_TYPE, self.media_type);
        answer.insert(CONTENT_DISPOSITION, disposition);
        if let Some(length) = prepared.length() {
            let sent = part.as_ref().map_or(length, |part| part.end - part.start);
            answer.insert(CONTENT_LENGTH, sent.into());
            answer.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            if let Some(Range { start, end }) = part {
                let range = format!("bytes {start}-{}/{length}", end.saturating_sub(1));
                let range = HeaderValue::try_from(range).map_err(ApiError::internal)?;
                answer.insert(CONTENT_RANGE, range);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
        } else {
            answer.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
        }
        *response.body_mut() = match self.method {
            Method::HEAD => body_of_unknown_length(),
            _ => body(prepared.start(part).await?),
        };
        Ok(response)
    }

    /// The bytes that are wanted; `None` if that is all of them.
    fn part(&self, length: Option<u64>, etag: &str) -> Result<Option<Range<u64>>, ApiError> {
        let (Some(length), Some(range)) = (length, text(&self.headers, RANGE)) else {
            return Ok(None);
        };
        // Of a HEAD, which has no bytes, no range is defined.
        if self.method == Method::HEAD || !range_applies(&self.headers, etag) {
            return Ok(None);
        }
        match wanted(range, length) {
            Wanted::Whole => Ok(None),
            Wanted::Part(part) => Ok(Some(part)),
            Wanted::Outside => Err(ApiError::range_not_satisfiable(length)),
        }
    }
}

/// Strong only where equal tags are equal bytes.
fn etag(prepared: &PreparedArchive) -> String {
    let tag = prepared.tag();
    if prepared.length().is_some() { format!("\"{tag}\"") } else { format!("W/\"{tag}\"") }
}

/// An archive that fails on its way ends in an error, which breaks the connection: no client can
/// take the part it got for the whole.
fn body(archive: Archive) -> Body {
    Body::from_stream(stream::unfold(Some(archive), |archive| async {
        let mut archive = archive?;
        let chunk: Result<Bytes, ReadError> = archive.next().await?;
        let rest = match &chunk {
            Ok(_) => Some(archive),
            Err(error) => {
                tracing::error!(error = %error, dataset = %archive.dataset().id, "archive was cut");
                None
            }
        };
        Some((chunk, rest))
    }))
}

fn accepts_archive(headers: &HeaderMap) -> bool {
    let mut accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .peekable();
    accepted.peek().is_none() || accepted.any(|range| TYPES.contains(&range))
}

/// `attachment` with the archive's name, made safe for old readers and exact for new ones.
fn disposition(dataset: &Dataset, format: ArchiveFormat) -> String {
    let extension = match format {
        ArchiveFormat::Zip | ArchiveFormat::ZipDeflated => "zip",
        ArchiveFormat::TarGz => "tar.gz",
    };
    attachment(&format!("{}.v{}.{extension}", dataset.name, dataset.version))
}

fn attachment(name: &str) -> String {
    let safe = |letter: char| match letter {
        '"' | '\\' | '/' => '_',
        letter if letter.is_ascii_graphic() || letter == ' ' => letter,
        _ => '_',
    };
    let plain: String = name.chars().map(safe).collect();
    if plain == name {
        format!("attachment; filename=\"{plain}\"")
    } else {
        let exact = utf8_percent_encode(name, PLAIN);
        format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_its_header() {
        assert_eq!(attachment("cats.v1.zip"), "attachment; filename=\"cats.v1.zip\"");
        assert_eq!(
            attachment("a\"b\r\nX: é.v1.zip"),
            "attachment; filename=\"a_b__X: _.v1.zip\"; \
             filename*=UTF-8''a%22b%0D%0AX%3A%20%C3%A9.v1.zip"
        );
    }

    #[test]
    fn who_wants_json_gets_no_archive() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(value));
            accepts_archive(&headers)
        };
        assert!(accepts("application/json, */*;q=0.1"));
        assert!(accepts("application/data"));
        assert!(!accepts("application/json"));
        assert!(accepts_archive(&HeaderMap::new()));
    }
}
