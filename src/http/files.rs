//! The files of a dataset: add one, replace one, add many, get by name or handle, delete.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use granary_engine::Blob;
use granary_engine::model::{DatasetId, Digest, FileRecord, RequestedFilename, UploadTerms};

use super::body::Incoming;
use super::conditions::write_condition;
use super::content;
use super::datasets::{Opened, open};
use super::error::{ApiError, Detail};
use super::openapi::contents::Contents;
use super::openapi::failures::{Conditional, ContentBody, Guarded};
use super::openapi::parameters::{
    BodyDigests, Conditions, GuessType, Replace, WantedDigests, WriteConditions,
};
use super::path;
use super::query;
use super::quotas;
use super::respond::{Rows, json, spooled_after_change};
use super::state::AppState;
use super::waiting::Waiting;
use super::wire::{Content, File, FileForm};
use crate::permission::{Action, Allowed, Principal};

/// How often a file is looked up again when its content went between the look-up and the opening.
const OPEN_ATTEMPTS: u32 = 3;

/// Adds a file; its content is the body, or the one file of a multipart form.
///
/// The name is cleaned as a path is (`a/../b` is `b`); one with a slash at its end asks for a
/// number (`sub/1`). A name that is in use is refused, whatever the content. With
/// `If-None-Match: *` the refusal is 412. For members of the owning team who may write, who may
/// execute and come from a node, and administrators.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/files/{filename}",
    params(WriteConditions, BodyDigests),
    request_body(content(
        (Content = "application/data"),
        (Content = "application/octet-stream"),
        (FileForm = "multipart/form-data"),
    )),
    responses(
        (status = OK, description = "The file.", body = File<'_>),
        Guarded, ContentBody, Conditional,
    ),
)]
pub(crate) async fn add_file(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, snapshot, dataset } = open(&app, &principal, Action::AddFile, id)?;
    let filename = path::name(&uri)?;
    // Looked at before the content, which may be long, is asked for.
    let filename = RequestedFilename::parse(&filename)
        .map_err(|reason| ApiError::bad_name(&filename, reason))?;
    quotas::expect_room(&snapshot, &dataset, incoming.length())?;
    drop(snapshot);
    let place = Place { uri: &uri, id, filename, replaces: false };
    upload(&app, &allowed, place, incoming).await
}

/// Puts a file in the place of the one of its name, in one step; where there is none, adds it.
///
/// `replace=true` must be said: without it this is 405, and POST adds files. The new file's
/// metadata starts empty, as that of a file that was deleted and added again, since what was said of
/// one content is not true of another; a content put in its own place changes nothing, so a request
/// may be repeated. With `If-Match` only the content that the client knows is replaced. For the same
/// as adding one file.
#[utoipa::path(
    put,
    path = "/v1/datasets/{pk}/files/{filename}",
    params(Replace, WriteConditions, BodyDigests),
    request_body(content(
        (Content = "application/data"),
        (Content = "application/octet-stream"),
        (FileForm = "multipart/form-data"),
    )),
    responses(
        (status = OK, description = "The file.", body = File<'_>),
        (status = METHOD_NOT_ALLOWED, description = "`replace=true` was not said.", body = Detail),
        Guarded, ContentBody, Conditional,
    ),
)]
pub(crate) async fn replace_file(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    if query::boolean(&uri, "replace")? != Some(true) {
        return Err(ApiError::put_replaces());
    }
    let Opened { allowed, snapshot, dataset } = open(&app, &principal, Action::ReplaceFile, id)?;
    let filename = path::name(&uri)?;
    let named = match RequestedFilename::parse(&filename) {
        Ok(RequestedFilename::Named(named)) => named,
        Ok(RequestedFilename::Numbered(_)) => {
            return Err(ApiError::bad_name(&filename, "Must name a file to replace it"));
        }
        Err(reason) => return Err(ApiError::bad_name(&filename, reason)),
    };
    quotas::expect_room_to_replace(&snapshot, &dataset, named.as_str(), incoming.length())?;
    drop(snapshot);
    let filename = RequestedFilename::Named(named);
    let place = Place { uri: &uri, id, filename, replaces: true };
    upload(&app, &allowed, place, incoming).await
}

/// Where an upload goes.
struct Place<'a> {
    uri: &'a Uri,
    id: DatasetId,
    filename: RequestedFilename,
    replaces: bool,
}

async fn upload(
    app: &AppState,
    allowed: &Allowed,
    place: Place<'_>,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let (uri, announced) = (place.uri, incoming.announced(app));
    let refused_at = app.refused_uploads().refused_at(uri);
    if refused_at.is_some() && app.refused_uploads().is_rest(uri, &announced) {
        return Err(ApiError::rest_of_stream());
    }
    let answer = receive(app, allowed, place, incoming).await;
    // A login may end while the body comes, and its client begins anew as after any other 401.
    if answer.as_ref().is_err_and(ApiError::is_unauthorized) {
        app.refused_uploads().insert(uri, announced);
    }
    if let Some(refused_at) = refused_at.filter(|_| answer.is_ok()) {
        app.refused_uploads().forget(uri, refused_at);
    }
    answer
}

async fn receive(
    app: &AppState,
    allowed: &Allowed,
    Place { uri, id, filename, replaces }: Place<'_>,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let engine = if replaces { app.engine(allowed)? } else { app.engine_to_add(allowed)? };
    engine.expect_room(id)?;
    let terms = UploadTerms { replaces, condition: write_condition(incoming.headers()) };
    // Dropped before it is finished, the upload leaves nothing: so an interrupted body ends here.
    let mut upload = engine.begin_upload(incoming.length()).await?;
    let declared = incoming.declares_length();
    let poured = incoming.pour(&mut upload).await?;
    if poured == 0 && !declared && app.refused_uploads().holds(uri) {
        return Err(ApiError::stream_read_before());
    }
    let content = upload.finish().await?;
    app.expect_still(allowed)?;
    let stored = engine.upload_file(id, filename, content, terms).await?;
    json(StatusCode::OK, &File::from(&stored))
}

/// Adds the files of a zip, tar or tar.gz, all of them or nothing.
///
/// Directories are passed over. For the same as adding one file.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/files-multi",
    params(BodyDigests),
    request_body(content(
        (Content = "application/data"),
        (Content = "application/octet-stream"),
        (Content = "application/zip"),
        (Content = "application/x-tar"),
        (Content = "application/gzip"),
        (FileForm = "multipart/form-data"),
    )),
    responses(
        (status = OK, description = "The files, in the archive's order.", body = Vec<File<'_>>),
        Guarded, ContentBody,
    ),
)]
pub(crate) async fn add_files(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, snapshot, dataset } = open(&app, &principal, Action::AddFiles, id)?;
    // A packed archive holds more than it weighs, hardly less; its files are counted when they came.
    quotas::expect_room(&snapshot, &dataset, None)?;
    drop(snapshot);
    let engine = app.engine(&allowed)?;
    engine.expect_room(id)?;
    // Dropped before it is finished, the intake leaves nothing, as an upload does.
    let mut intake = engine.begin_intake(id, incoming.archive_kind(), incoming.length());
    incoming.pour(&mut intake).await?;
    app.expect_still(&allowed)?;
    let added = intake.finish().await?;
    spooled_after_change(&app, StatusCode::OK, move |out| {
        let mut rows = Rows::begin(out);
        for file in &added {
            rows.push(&File::from(file))?;
        }
        rows.end()
    })
    .await
}

/// Gives the content of a file.
///
/// For members of the owning team and administrators.
#[utoipa::path(
    method(get, head),
    path = "/v1/datasets/{pk}/files/{filename}",
    params(GuessType, Conditions, WantedDigests),
    responses(Contents, Guarded)
)]
pub(crate) async fn get_file(
    State(app): State<AppState>,
    principal: Principal,
    request: Request,
) -> Result<Response, ApiError> {
    let (Parts { method, uri, headers, .. }, _body) = request.into_parts();
    let id = path::dataset(&uri)?;
    let is_caught_up = app.is_caught_up();
    let mut opened = open_file(&app, &principal, id, &uri);
    if !is_caught_up && !matches!(opened, Ok((_, Some(_)))) {
        // It may have been added just now.
        app.caught_up().await?;
        opened = open_file(&app, &principal, id, &uri);
    }
    let (filename, blob) = opened?;
    let blob = blob.ok_or_else(|| ApiError::no_file(&filename))?;
    let guess_from = query::wants_guess(&uri)?.then_some(filename.as_str());
    content::respond(app.outgoing(), blob, &method, &headers, guess_from).await
}

/// Gives the content of a file of the dataset by its handle.
///
/// For members of the owning team and administrators.
#[utoipa::path(
    method(get, head),
    path = "/v1/datasets/{pk}/file-handles/{handle}",
    params(GuessType, Conditions, WantedDigests),
    responses(Contents, Guarded)
)]
pub(crate) async fn get_file_by_handle(
    State(app): State<AppState>,
    principal: Principal,
    request: Request,
) -> Result<Response, ApiError> {
    let (Parts { method, uri, headers, .. }, _body) = request.into_parts();
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::GetFile, id)?;
    let name = path::name(&uri)?;
    let handle = name.strip_suffix('/').unwrap_or(&name);
    let digest: Option<Digest> = handle.parse().ok();
    let digest = digest.ok_or_else(|| ApiError::no_file(handle))?;
    let filename = name_of(&app, principal, id, digest).await?;
    let filename = filename.ok_or_else(|| ApiError::no_file(handle))?;
    let blob = app.engine_to_read(&allowed)?.open_blob_in(&app.snapshot()?, &digest)?;
    let blob = blob.ok_or_else(|| ApiError::no_file(handle))?;
    let guess_from = query::wants_guess(&uri)?.then_some(filename.as_str());
    content::respond(app.outgoing(), blob, &method, &headers, guess_from).await
}

/// The first name of a content in a dataset. Of many files with the same content, hidden ones too, each may
/// have to be looked at.
async fn name_of(
    app: &AppState,
    principal: Principal,
    id: DatasetId,
    digest: Digest,
) -> Result<Option<String>, ApiError> {
    let Opened { snapshot, dataset, .. } = open(app, &principal, Action::GetFile, id)?;
    if !snapshot.has_many_files(&digest)? {
        let found = snapshot.file_by_digest(&dataset, &digest, || Ok::<_, ApiError>(()))?;
        return Ok(found.map(|(filename, _)| filename));
    }
    drop((snapshot, dataset));
    let turn = app.spooled_answer_turn().await?;
    let state = app.clone();
    let caller = Waiting::default();
    let watched = caller.watch();
    let find = move || {
        // Held by the work itself, which goes on for a file if the caller goes away.
        let _turn = turn;
        let principal = state.renewed(&principal)?;
        let Opened { snapshot, dataset, .. } = open(&state, &principal, Action::GetFile, id)?;
        snapshot.file_by_digest(&dataset, &digest, || watched.expect_waits())
    };
    let found = tokio::task::spawn_blocking(find).await.map_err(ApiError::internal)??;
    Ok(found.map(|(filename, _)| filename))
}

/// Deletes a file.
///
/// For the same as adding one.
#[utoipa::path(
    delete,
    path = "/v1/datasets/{pk}/files/{filename}",
    params(WriteConditions),
    responses((status = OK, description = "What was there.", body = File<'_>), Guarded, Conditional),
)]
pub(crate) async fn delete_file(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::DeleteFile, id)?;
    let filename = path::name(&uri)?;
    let condition = write_condition(&headers);
    let removed = app.engine(&allowed)?.delete_file_if(id, &filename, condition).await?;
    json(StatusCode::OK, &File::from(&removed))
}

/// Opens the content of the file that a path names, if there is such a file; gives the name too, which is read
/// once the permission is there.
fn open_file(
    app: &AppState,
    principal: &Principal,
    id: DatasetId,
    uri: &Uri,
) -> Result<(String, Option<Blob>), ApiError> {
    for _ in 0..OPEN_ATTEMPTS {
        let Opened { allowed, snapshot, dataset } = open(app, principal, Action::GetFile, id)?;
        let filename = path::name(uri)?;
        let Some(FileRecord { digest, .. }) = snapshot.file(&dataset, &filename)? else {
            return Ok((filename, None));
        };
        // The file may be deleted meanwhile, or deleted and added with another content.
        let blob = app.engine_to_read(&allowed)?.open_blob_in(&snapshot, &digest)?;
        if blob.is_some() {
            return Ok((filename, blob));
        }
    }
    Ok((path::name(uri)?, None))
}
