//! Before contents are sent: which of them the server has, and files added without their bytes.
//!
//! Both look only at what the caller may read. Whoever guesses a digest gets the answer about a
//! content that nobody ever sent.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::MayRead;

use super::body::{Incoming, Json};
use super::datasets::{Opened, open};
use super::error::ApiError;
use super::openapi::failures::{Growing, Guarded, JsonBody, UnknownContents};
use super::path;
use super::respond::{Rows, spooled, spooled_after_change};
use super::state::AppState;
use super::waiting::Waiting;
use super::wire::File;
use super::wire::claims::{CheckedFile, Claims, read_claims};
use crate::permission::{Action, Object, Principal, Rights};

/// Says which files a dataset has, and which contents must be sent.
///
/// Of each file, in the order of the request: `present` if the dataset has it with this content;
/// `differs` if the name is that of a file with another content, whose `handle` is told; `attach`
/// if the content need not be sent, because a dataset that the caller may read has it, so that
/// `files-attach` adds the file; `send` if its bytes must be sent; `refused` if no file can have
/// that name here, with the reason. Nothing is changed. A content that only others may read must be
/// sent like one that nobody has. For the same as adding one file.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/files-check",
    request_body = Claims,
    responses(
        (status = OK, description = "What is to be done with each file.", body = Vec<CheckedFile<'_>>),
        Guarded, JsonBody,
    ),
)]
pub(crate) async fn check_files(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    drop(open(&app, &principal, Action::CheckFiles, id)?);
    let Json { value, turn, .. } = incoming.json(&app).await?;
    let claims = read_claims(value)?;
    // Asked again, as the body may have taken its time.
    let principal = app.renewed(&principal)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::CheckFiles, id)?;
    let engine = app.engine(&allowed)?;
    let state = app.clone();
    let caller = Waiting::default();
    let watched = caller.watch();
    spooled(&app, StatusCode::OK, move |out| {
        let principal = state.renewed(&principal)?;
        let Opened { snapshot, dataset, .. } = open(&state, &principal, Action::CheckFiles, id)?;
        let may_read = may_read_for(principal);
        let go_on = || watched.expect_waits();
        let checked = engine.check_files(&snapshot, &dataset, &claims, &may_read, go_on)?;
        let mut rows = Rows::begin(out);
        for (claim, presence) in claims.iter().zip(&checked) {
            rows.push(&CheckedFile::new(claim, presence))?;
        }
        // The claims of a large body were in memory until here.
        drop(turn);
        rows.end()
    })
    .await
}

/// Adds files by their handles, without their bytes, all of them or nothing.
///
/// For contents that the caller may read in some dataset; the bytes of others must be sent, and 409
/// names files with such. For the same as adding one file.
#[utoipa::path(
    post,
    path = "/v1/datasets/{pk}/files-attach",
    request_body = Claims,
    responses(
        (status = OK, description = "The files, in the order of the request.", body = Vec<File<'_>>),
        Guarded, Growing, JsonBody, UnknownContents,
    ),
)]
pub(crate) async fn attach_files(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let id = path::dataset(&uri)?;
    let Opened { allowed, .. } = open(&app, &principal, Action::AttachFiles, id)?;
    let engine = app.engine(&allowed)?;
    engine.expect_room(id)?;
    let Json { value, turn, .. } = incoming.json(&app).await?;
    let claims = read_claims(value)?;
    app.expect_still(&allowed)?;
    let principal = app.renewed(&principal)?;
    let engine = engine.holding(turn);
    let added = engine.attach_files(id, claims, may_read_for(principal)).await?;
    spooled_after_change(&app, StatusCode::OK, move |out| {
        let mut rows = Rows::begin(out);
        for file in &added {
            rows.push(&File::from(file))?;
        }
        rows.end()
    })
    .await
}

/// The datasets whose files somebody may get, soft-deleted ones too.
fn may_read_for(principal: Principal) -> MayRead {
    Arc::new(move |snapshot, dataset| {
        Rights::of(snapshot, &principal).may(Action::GetFile, Object::Dataset(dataset))
    })
}
