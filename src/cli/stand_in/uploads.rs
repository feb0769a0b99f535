//! Uploads of the stand-in that go on where they stopped.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granary_engine::model::Digest;
use serde_json::json;

use super::{Fault, StandIn, busy, lock, name_in_use};

const UPLOAD_LENGTH: &str = "upload-length";
const UPLOAD_METADATA: &str = "upload-metadata";
const UPLOAD_OFFSET: &str = "upload-offset";

/// An upload under way, or one that has added its file.
#[derive(Debug)]
pub(super) struct Upload {
    name: String,
    length: usize,
    content: Vec<u8>,
}

impl Upload {
    fn described(&self, status: StatusCode) -> Response {
        let mut answer = Response::builder().status(status);
        answer = answer.header(UPLOAD_OFFSET, self.content.len());
        if self.content.len() == self.length {
            answer = answer.header(header::ETAG, format!("\"{}\"", Digest::of(&self.content)));
        }
        answer.body(Body::empty()).unwrap()
    }
}

pub(super) fn routes() -> Router<StandIn> {
    Router::new()
        .route("/v1/datasets/1/uploads", post(begin))
        .route("/v1/datasets/1/uploads/{number}", get(show).patch(go_on).delete(give_up))
}

async fn begin(State(stand_in): State<StandIn>, headers: HeaderMap) -> Response {
    let text = |name: &str| headers.get(name).unwrap().to_str().unwrap();
    let name = text(UPLOAD_METADATA).trim_start_matches("filename ");
    let name = String::from_utf8(STANDARD.decode(name).unwrap()).unwrap();
    if stand_in.content(&name).is_some() {
        return name_in_use(&name);
    }
    if stand_in.meets(Fault::TooManyUploads) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let mut uploads = lock(&stand_in.0.uploads);
    let location = format!("/v1/datasets/1/uploads/{}", uploads.len());
    let length = text(UPLOAD_LENGTH).parse().unwrap();
    uploads.push(Some(Upload { name, length, content: Vec::new() }));
    (StatusCode::CREATED, [(header::LOCATION, location)]).into_response()
}

async fn show(State(stand_in): State<StandIn>, Path(number): Path<usize>) -> Response {
    let uploads = lock(&stand_in.0.uploads);
    let Some(upload) = &uploads[number] else {
        let detail = json!({ "detail": "No Upload matches the given query." });
        return (StatusCode::NOT_FOUND, Json(detail)).into_response();
    };
    upload.described(StatusCode::OK)
}

async fn go_on(
    State(stand_in): State<StandIn>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    part: Body,
) -> Response {
    stand_in.pass_time().await;
    let Ok(part) = axum::body::to_bytes(part, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut uploads = lock(&stand_in.0.uploads);
    let upload = uploads[number].as_mut().unwrap();
    assert_eq!(headers.get(UPLOAD_OFFSET).unwrap(), &upload.content.len().to_string());
    if stand_in.meets(Fault::Busy) {
        return busy();
    }
    if stand_in.meets(Fault::Full) {
        upload.content.extend_from_slice(&part[..part.len() / 2]);
        return StatusCode::INSUFFICIENT_STORAGE.into_response();
    }
    upload.content.extend_from_slice(&part);
    if upload.content.len() == upload.length {
        stand_in.put(&upload.name, &upload.content);
    }
    upload.described(StatusCode::NO_CONTENT)
}

async fn give_up(State(stand_in): State<StandIn>, Path(number): Path<usize>) -> StatusCode {
    lock(&stand_in.0.uploads)[number] = None;
    StatusCode::NO_CONTENT
}
