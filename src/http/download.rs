//! `download`: a dataset as one archive, streamed.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use futures_util::stream;
use granary_engine::model::Dataset;
use granary_engine::{Archive, ArchiveFormat, ReadError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::body::Incoming;
use super::content::DATA;
use super::datasets::{Opened, open};
use super::error::ApiError;
use super::openapi::failures::{Guarded, JsonBody, KnownParameters, NoJson};
use super::path;
use super::state::AppState;
use super::wire::Content;
use super::wire::bodies::{DownloadBody, read_download};
use crate::permission::{Action, Principal};

/// Letters that RFC 5987 leaves as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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
    request_body = Option<DownloadBody>,
    responses(
        (
            status = OK,
            description = "The archive.",
            body = Content,
            content_type = "application/data",
            headers(
                ("Content-Disposition" = String, description = "The archive's name."),
                ("Content-Length" = u64, description = "Of a zip; a tar.gz is made on its way."),
            ),
        ),
        Guarded, JsonBody, KnownParameters, NoJson,
    ),
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
    if !accepts_archive(&headers) {
        return Err(ApiError::not_acceptable());
    }
    let archive = app.engine(&allowed).archive(id, format).await?;
    let archive = archive.ok_or_else(|| ApiError::no_record("Dataset"))?;
    let disposition = disposition(archive.dataset(), format);
    let disposition = HeaderValue::try_from(disposition).map_err(ApiError::internal)?;
    let length = archive.length();
    let mut response = Response::new(body(archive));
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, DATA);
    answer.insert(CONTENT_DISPOSITION, disposition);
    if let Some(length) = length {
        answer.insert(CONTENT_LENGTH, length.into());
    }
    Ok(response)
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
        ArchiveFormat::Zip => "zip",
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
