//! Uploads of large files that go on where they stopped: tus 1.0 (<https://tus.io/protocols/resumable-upload>).
//!
//! The core protocol with the extensions creation, creation-with-upload, expiration and termination.
//! Every answer is sent after what it counts is durable, so an offset is exact, whatever broke off
//! and whoever was killed. A request on an upload ends the one before it, whose connection may have
//! died without the server's knowing. The last byte counts only when the file was added: until then
//! the offset stays one short, and sending it again tries again.

mod protocol;

mod untold;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granary_engine::model::{
    Dataset, DatasetId, Digest, FileCondition, RequestedFilename, Tags, UserId,
};
use granary_engine::{
    MutationError, ResumableId, ResumablePart, ResumableState, ResumableTerms, Snapshot,
    WholeDigest,
};
use utoipa_axum::routes;

use super::body::{Incoming, Poured};
use super::conditions::{text, write_condition};
use super::datasets::{Opened, open};
use super::error::ApiError;
use super::integrity::{Algorithm, REPR_DIGEST, expected};
use super::limits::{UPLOAD_DIGESTS_MAX, UPLOAD_METADATA_BYTES_MAX};
use super::openapi::failures::{
    Conditional, ContentBody, Guarded, UnfinishedUploads, UploadConflict,
};
use super::openapi::parameters::{
    PartDigest, PartHeaders, UploadHeaders, WholeDigests, WriteConditions,
};
use super::path;
use super::quotas;
use super::respond::{empty, json};
use super::routes::Route;
use super::state::AppState;
use super::wire::Content;
use super::wire::uploads::Upload;
use crate::permission::{Action, Allowed, Principal};
pub(super) use protocol::method_meant;
use protocol::{expect_version, spoken};
use untold::Untold;

const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");

/// The type of bodies that go on with an upload.
const PART: &str = "application/offset+octet-stream";

/// Begins an upload that goes on where it stopped, over lost connections and restarts of the server.
///
/// tus 1.0: `Upload-Length` is the length of the whole file, `Upload-Metadata` has its `filename`,
/// and `replace` with the value `true` to put it in the place of a file of its name. What the
/// conditions and `Repr-Digest` ask for is looked at when all has come. A body, if there is one, is
/// the file's beginning; where it breaks off or is refused, nothing was begun. For the same as adding
/// one file; the user who began an upload goes on with it, nobody else.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/uploads",
    params(UploadHeaders, WriteConditions, WholeDigests),
    request_body(content((Content = "application/offset+octet-stream"))),
    responses(
        (
            status = CREATED,
            description = "The upload has begun.",
            headers(
                ("Location" = String, description = "Where to go on with it."),
                ("Upload-Offset" = u64, description = "Bytes that have come, if there was a body."),
                ("Upload-Expires" = String, description = "When it is given up."),
                ("ETag" = String, description = "The file's handle, once it was added."),
            ),
        ),
        Guarded, ContentBody, Conditional, UploadConflict, UnfinishedUploads,
    ),
)]
pub(crate) async fn create_upload(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { snapshot, dataset, allowed } = open(&app, &principal, Action::CreateUpload, id)?;
    let owner = owner(&principal)?;
    let headers = incoming.headers();
    expect_version(headers)?;
    let terms = read_terms(headers, owner, id)?;
    expect_place(&snapshot, &dataset, &terms)?;
    drop(snapshot);
    let has_part = media_type(headers).is_some_and(|kind| kind == PART);
    let engine = app.engine(&allowed)?;
    let is_empty = terms.length == 0;
    let (upload, untold) = Untold::begin(&engine, terms).await?;
    let location = format!("/v1/datasets/{}/uploads/{upload}", id.0);
    let part = engine.resume(upload, owner, id).await?;
    // Nothing more will come of an empty file, so it is there at once.
    let state = if has_part || is_empty {
        match go_on(&app, &allowed, part, incoming).await {
            Ok(state) => state,
            Err(refused) => {
                untold.give_up().await;
                return Err(refused);
            }
        }
    } else {
        engine.resumable_state(&part)
    };
    let mut response = described(StatusCode::CREATED, &state, has_part)?;
    let location = HeaderValue::try_from(location).map_err(ApiError::internal)?;
    response.headers_mut().insert(LOCATION, location);
    untold.tell();
    Ok(response)
}

/// Shows how far an upload has come: `Upload-Offset` is where to go on.
///
/// For the user who began it.
#[utoipa::path(
    method(get, head),
    path = "/v1/datasets/{pk}/uploads/{upload}",
    responses(
        (
            status = OK,
            description = "How far it has come.",
            body = Upload<'_>,
            headers(
                ("Upload-Offset" = u64, description = "Bytes that have come and are durable."),
                ("Upload-Length" = u64, description = "Bytes of the whole."),
                ("Upload-Metadata" = String, description = "As it was sent when it began."),
                ("Upload-Expires" = String, description = "When it is given up."),
                ("ETag" = String, description = "The file's handle, once it was added."),
            ),
        ),
        Guarded,
    ),
)]
pub(crate) async fn get_upload(
    State(app): State<AppState>,
    principal: Principal,
    method: Method,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, snapshot, .. } = open(&app, &principal, Action::ResumeUpload, id)?;
    drop(snapshot);
    let engine = app.engine(&allowed)?;
    let part = engine.resume(upload_id(&uri)?, owner(&principal)?, id).await?;
    let state = engine.resumable_state(&part);
    let mut shown = described(StatusCode::OK, &state, true)?;
    if method != Method::HEAD {
        let headers = shown.into_parts().0.headers;
        shown = json(StatusCode::OK, &Upload::from(&state))?;
        shown.headers_mut().extend(headers);
    }
    shown.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(shown)
}

/// Goes on with an upload from where it stopped.
///
/// `Upload-Offset` must be the byte that comes next (409 if not). Where the body breaks off, what has
/// come of it counts, unless it has a `Content-Digest`: then all of it counts or nothing. With the
/// last byte the file is added, and `ETag` tells its handle; if that is refused, the upload stays and
/// the last byte is to be sent again, but for wrong bytes (`Repr-Digest`), which end it. If the file
/// is there already with this very content, the upload is done. For the user who began it.
#[utoipa::path(
    patch,
    path = "/v1/datasets/{pk}/uploads/{upload}",
    params(PartHeaders, PartDigest),
    request_body(content((Content = "application/offset+octet-stream"))),
    responses(
        (
            status = NO_CONTENT,
            description = "What came is durable; with the last byte, the file was added.",
            headers(
                ("Upload-Offset" = u64, description = "Bytes that have come."),
                ("Upload-Expires" = String, description = "When it is given up."),
                ("ETag" = String, description = "The file's handle, once it was added."),
            ),
        ),
        Guarded, ContentBody, Conditional, UploadConflict,
    ),
)]
pub(crate) async fn resume_upload(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, snapshot, .. } = open(&app, &principal, Action::ResumeUpload, id)?;
    drop(snapshot);
    let upload = upload_id(&uri)?;
    let owner = owner(&principal)?;
    let headers = incoming.headers();
    expect_version(headers)?;
    if media_type(headers).is_none_or(|kind| kind != PART) {
        let sent = text(headers, CONTENT_TYPE).unwrap_or_default();
        return Err(ApiError::unsupported_media_type(sent));
    }
    let offset = number(headers, &UPLOAD_OFFSET)?;
    let offset = offset.ok_or_else(|| ApiError::bad_request("Upload-Offset is required."))?;
    let engine = app.engine(&allowed)?;
    let part = engine.resume(upload, owner, id).await?;
    let state = engine.resumable_state(&part);
    if state.offset != offset {
        return Err(ApiError::wrong_offset(offset, state.offset));
    }
    let state = match state.added {
        // The last answer was lost.
        Some(_) => state,
        None => go_on(&app, &allowed, part, incoming).await?,
    };
    described(StatusCode::NO_CONTENT, &state, true)
}

/// Gives an upload up; what has come of it goes. One whose file was added is forgotten, and the file
/// stays.
///
/// For the user who began it.
#[utoipa::path(
    delete,
    path = "/v1/datasets/{pk}/uploads/{upload}",
    responses((status = NO_CONTENT, description = "It is gone."), Guarded),
)]
pub(crate) async fn delete_upload(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, snapshot, .. } = open(&app, &principal, Action::ResumeUpload, id)?;
    drop(snapshot);
    let engine = app.engine(&allowed)?;
    engine.give_up_resumable(upload_id(&uri)?, owner(&principal)?, id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The routes of uploads; a POST to one is what `X-HTTP-Method-Override` says.
pub(crate) fn routes() -> [Route; 2] {
    let (schemas, paths, methods) = routes!(get_upload, resume_upload, delete_upload);
    [spoken(routes!(create_upload)), spoken((schemas, paths, methods.post(as_meant)))]
}

async fn as_meant(
    state: State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    match method_meant(incoming.headers()) {
        Some(Method::PATCH) => resume_upload(state, principal, uri, incoming).await,
        Some(Method::DELETE) => delete_upload(state, principal, uri).await,
        Some(Method::HEAD) => get_upload(state, principal, Method::HEAD, uri).await,
        Some(_) | None => Err(ApiError::method_not_allowed(&Method::POST)),
    }
}

/// Pours a body into an upload, and ends the upload where that was the last of it.
async fn go_on(
    app: &AppState,
    allowed: &Allowed,
    part: ResumablePart,
    incoming: Incoming,
) -> Result<ResumableState, ApiError> {
    let Poured { part, outcome } = incoming.pour_part(part).await?;
    let part = part.settle().await?;
    outcome?;
    let engine = app.engine(allowed)?;
    if part.offset() < part.length() {
        return Ok(engine.resumable_state(&part));
    }
    let (part, _file) = engine.complete_resumable(part).await?;
    Ok(engine.resumable_state(&part))
}

/// An answer that says how far an upload has come.
fn described(
    status: StatusCode,
    state: &ResumableState,
    has_offset: bool,
) -> Result<Response, ApiError> {
    let mut response = empty(status);
    let headers = response.headers_mut();
    protocol::told(headers);
    if has_offset {
        headers.insert(UPLOAD_OFFSET, state.offset.into());
    }
    if status == StatusCode::OK {
        headers.insert(UPLOAD_LENGTH, state.terms.length.into());
        let metadata = HeaderValue::try_from(&state.terms.metadata).map_err(ApiError::internal)?;
        headers.insert(UPLOAD_METADATA, metadata);
    }
    let expires = jiff::Timestamp::from_microsecond(state.expires.0);
    let expires = expires.unwrap_or(jiff::Timestamp::MAX);
    let expires = expires.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    headers.insert(UPLOAD_EXPIRES, HeaderValue::try_from(expires).map_err(ApiError::internal)?);
    if let Some(digest) = state.added {
        let tag = HeaderValue::try_from(format!("\"{digest}\"")).map_err(ApiError::internal)?;
        headers.insert(ETAG, tag);
    }
    Ok(response)
}

/// Who goes on with an upload; the permission is there, so somebody is logged in.
fn owner(principal: &Principal) -> Result<UserId, ApiError> {
    principal.user_id().ok_or_else(ApiError::not_logged_in)
}

fn upload_id(uri: &Uri) -> Result<ResumableId, ApiError> {
    let name = path::name(uri)?;
    let id = name.strip_suffix('/').unwrap_or(&name).parse();
    id.map_err(|()| ApiError::no_record("Upload"))
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let kind = text(headers, CONTENT_TYPE)?.split(';').next()?.trim();
    Some(kind.to_ascii_lowercase())
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, ApiError> {
    let Some(value) = text(headers, name.clone()) else { return Ok(None) };
    let is_digits = !value.is_empty() && value.bytes().all(|letter| letter.is_ascii_digit());
    let number = is_digits.then(|| value.parse().ok()).flatten();
    let wrong = || ApiError::bad_request(format!("Bad {name} header '{value}': bytes, in digits"));
    number.map(Some).ok_or_else(wrong)
}

fn read_terms(
    headers: &HeaderMap,
    owner: UserId,
    dataset: DatasetId,
) -> Result<ResumableTerms, ApiError> {
    let length = number(headers, &UPLOAD_LENGTH)?.ok_or_else(|| {
        ApiError::bad_request("Upload-Length is required: the bytes of the whole file.")
    })?;
    let metadata = text(headers, UPLOAD_METADATA).unwrap_or_default();
    if metadata.len() > UPLOAD_METADATA_BYTES_MAX {
        return Err(ApiError::bad_request(format!(
            "Upload-Metadata has {} bytes; {UPLOAD_METADATA_BYTES_MAX} are kept at most.",
            metadata.len()
        )));
    }
    let (mut filename, mut replaces) = (None, false);
    for entry in metadata.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (key, value) = entry.split_once(' ').unwrap_or((entry, ""));
        let value = STANDARD.decode(value.trim()).ok();
        let value = value.and_then(|value| String::from_utf8(value).ok());
        let value = value.ok_or_else(|| {
            let text = format!("Bad Upload-Metadata header: '{key}' must be UTF-8 in base64");
            ApiError::bad_request(text)
        })?;
        match key {
            "filename" => filename = Some(value),
            "replace" => replaces = value == "true",
            // What others tell of their files is theirs.
            _ => {}
        }
    }
    let filename = filename.ok_or_else(|| {
        ApiError::bad_request("Upload-Metadata must have a 'filename', in base64.")
    })?;
    let (digests, condition) = read_digests(headers)?;
    let metadata = metadata.to_owned();
    Ok(ResumableTerms { owner, dataset, filename, length, replaces, condition, digests, metadata })
}

/// Reads which digests the whole must have, and what must hold of the file of its name.
fn read_digests(headers: &HeaderMap) -> Result<(Vec<WholeDigest>, FileCondition), ApiError> {
    let digests = expected(headers)?.into_iter().filter(|digest| digest.field == REPR_DIGEST);
    let digests = digests.map(|expected| match expected.algorithm {
        Algorithm::Sha256 => WholeDigest::Sha256(expected.digest),
        Algorithm::Blake3 => WholeDigest::Blake3(Digest(expected.digest)),
    });
    let digests: Vec<_> = digests.collect();
    let condition = write_condition(headers);
    let tags = [&condition.matches, &condition.matches_none].into_iter().flatten();
    let kept = digests.len() + tags.map(Tags::count).sum::<usize>();
    if kept > UPLOAD_DIGESTS_MAX {
        return Err(ApiError::bad_request(format!(
            "Repr-Digest, If-Match and If-None-Match name {kept} digests; {UPLOAD_DIGESTS_MAX} are \
             kept at most."
        )));
    }
    Ok((digests, condition))
}

/// Refuses at once what would be refused when all has come, as things stand.
fn expect_place(
    snapshot: &Snapshot,
    dataset: &Dataset,
    terms: &ResumableTerms,
) -> Result<(), ApiError> {
    let ResumableTerms { filename, .. } = terms;
    let named = match RequestedFilename::parse(filename) {
        Ok(RequestedFilename::Named(named)) => named,
        Ok(RequestedFilename::Numbered(_)) => {
            return Err(ApiError::bad_name(filename, "Must name a file, not a directory"));
        }
        Err(reason) => return Err(ApiError::bad_name(filename, reason)),
    };
    let file = snapshot.file(dataset, named.as_str())?;
    let digest = file.map(|record| record.digest);
    let filename = named.to_string();
    if !terms.condition.holds(digest.as_ref()) {
        return Err(MutationError::ConditionFailed { filename }.into());
    }
    if digest.is_some() && !terms.replaces {
        return Err(MutationError::FilenameTaken { filename }.into());
    }
    quotas::expect_room_to_replace(snapshot, dataset, named.as_str(), Some(terms.length))
}
