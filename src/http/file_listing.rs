//! A dataset's files and their metadata page by page, in order of name, compared byte by byte.
//!
//! A page holds at most `limit` files. It holds fewer, and still names the next one in its `Link`
//! header, where it would have to pass over many traces of deleted files or has grown to several
//! megabytes: the work of one request is bounded. The last page, and only that, has no `Link`.

use std::io::Write;

use axum::extract::State;
use axum::http::header::LINK;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::Response;
use granary_engine::{FilePage, PageRequest};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::oneshot;

use super::datasets::{Opened, open};
use super::error::ApiError;
use super::limits::{LISTED_FILES_DEFAULT, LISTED_FILES_MAX};
use super::openapi::failures::Guarded;
use super::openapi::parameters::{PageOfFiles, WithMetadata};
use super::path;
use super::query;
use super::respond::spooled;
use super::state::AppState;
use super::wire::files::{Listed, write_files, write_metadata};
use crate::permission::{Action, Principal};

/// Letters that RFC 3986 leaves as they are.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Lists the files of a dataset in order of name, page by page.
///
/// For members of the owning team and administrators. A page may hold fewer files than asked for;
/// the last page, and only that, has no `Link`.
#[utoipa::path(
    get,
    path = "/v1/datasets/{pk}/files",
    params(PageOfFiles, WithMetadata),
    responses(
        (
            status = OK,
            description = "The files.",
            body = Vec<Listed<'_>>,
            headers(("Link" = String, description = "Where the next page is, if there is one.")),
        ),
        Guarded,
    ),
)]
pub(crate) async fn list_files(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let state = app.clone();
    let open = move || open(&state, &state.renewed(&principal)?, Action::ListFiles, id);
    drop(open()?);
    let request = page_request(&uri, query::boolean(&uri, "metadata")?.unwrap_or(false))?;
    page(&app, &uri, open, request, write_files).await
}

/// `GET /datasets/{pk}/metadata` with any of the parameters of a page.
pub(crate) async fn list_metadata(
    app: &AppState,
    uri: &Uri,
    open: impl FnOnce() -> Result<Opened, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    page(app, uri, open, page_request(uri, true)?, write_metadata).await
}

/// Whether a page is asked for, rather than all there is.
pub(crate) fn wants_page(uri: &Uri) -> bool {
    ["prefix", "limit", "after"].iter().any(|name| query::has(uri, name))
}

/// A page of the dataset that `open` gives when its turn comes: who waits holds no state.
async fn page(
    app: &AppState,
    uri: &Uri,
    open: impl FnOnce() -> Result<Opened, ApiError> + Send + 'static,
    request: PageRequest,
    write: fn(&mut dyn Write, &mut FilePage<'_>) -> Result<(), ApiError>,
) -> Result<Response, ApiError> {
    let (tell, told) = oneshot::channel();
    let asked = request.clone();
    let mut response = spooled(app, StatusCode::OK, move |out| {
        let Opened { snapshot, dataset, .. } = open()?;
        let mut page = snapshot.file_page(&dataset, &request)?;
        write(out, &mut page)?;
        // Nobody listens if the client has gone.
        tell.send(page.next_after().map(str::to_owned)).ok();
        Ok(())
    })
    .await?;
    if let Some(after) = told.await.map_err(ApiError::internal)? {
        let link = HeaderValue::try_from(link(uri, &asked, &after)).map_err(ApiError::internal)?;
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

/// Where the next page is, relative to the server.
fn link(uri: &Uri, request: &PageRequest, after: &str) -> String {
    let encoded = |text| utf8_percent_encode(text, PLAIN);
    let mut query = vec![format!("limit={}", request.limit)];
    if !request.prefix.is_empty() {
        query.push(format!("prefix={}", encoded(&request.prefix)));
    }
    if request.with_metadata && query::has(uri, "metadata") {
        query.push("metadata=true".to_owned());
    }
    query.push(format!("after={}", encoded(after)));
    format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))
}

fn page_request(uri: &Uri, with_metadata: bool) -> Result<PageRequest, ApiError> {
    let limit = query::number(uri, "limit", 1..=LISTED_FILES_MAX)?;
    Ok(PageRequest {
        prefix: query::text(uri, "prefix")?.unwrap_or_default(),
        after: query::text(uri, "after")?,
        limit: limit.unwrap_or(LISTED_FILES_DEFAULT),
        with_metadata,
    })
}
