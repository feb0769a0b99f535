//! Any request to the actions that take contents, archives and metadata: a success that shows, or
//! a refusal in words that leaves the dataset as it was.

use std::collections::BTreeMap;
use std::io;

use arbitrary::{Result, Unstructured};
use axum::body::{Body, Bytes};
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{Method, Request, Uri};
use futures_util::stream;
use granary_engine::FileSelection;
use granary_engine::model::{DatasetId, Digest, Filename};
use serde_json::json;

use crate::server::{Answer, Place, Server, with_server};

/// The dataset that every server gets first.
const DATASET: DatasetId = DatasetId(1);

static PLACE: Place = Place::new(None);

/// Sends the request that the bytes say.
pub fn run(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok(Some(sent)) = sent(&mut input) else {
        return;
    };
    with_server(&PLACE, furnish, |server| check(server, sent));
}

/// A request, and what of it decides about the outcome.
struct Sent {
    request: Request<Body>,
    content: Vec<u8>,
    /// The client goes away before the end.
    breaks_off: bool,
    /// The body is the content of one file.
    is_plain: bool,
}

fn check(server: &Server, sent: Sent) {
    let before = files(server);
    let shown =
        format!("{:?}", (sent.request.method(), sent.request.uri(), sent.request.headers()));
    let is_change = *sent.request.method() != Method::GET && *sent.request.method() != Method::HEAD;
    let answer = server.send(sent.request);
    answer.expect_in_shape();
    let after = files(server);
    let names: Vec<&str> = after.keys().map(String::as_str).collect();
    for name in &names {
        assert!(Filename::exact(name).is_some(), "{shown} made {name:?}");
    }
    if !answer.status.is_success() || !is_change {
        assert_eq!(after, before, "{shown} came to {answer:?}");
        return;
    }
    if sent.is_plain {
        assert!(!sent.breaks_off, "{shown} broke off and came to {answer:?}");
        check_added(server, &answer, &sent.content, &after);
    }
    let everything = FileSelection::Prefix(String::new());
    server.block_on(server.engine.delete_files(DATASET, everything)).expect("they go");
    add_resident(server);
}

/// The file that the answer names is there, with the content that was sent.
fn check_added(
    server: &Server,
    answer: &Answer,
    content: &[u8],
    after: &BTreeMap<String, (Digest, String)>,
) {
    let shape = answer.json().expect("a file");
    let name = shape["filename"].as_str().expect("a name");
    assert_eq!(after.get(name).map(|file| file.0), Some(Digest::of(content)), "{name:?}");
    let encoded = name.bytes().fold(String::new(), |encoded, byte| format!("{encoded}%{byte:02X}"));
    let read = server.get(&format!("/v1/datasets/1/files/{encoded}"));
    assert_eq!(read.body.as_deref(), Some(content), "{name:?}: {:?}", read.status);
}

/// Names, contents and metadata.
fn files(server: &Server) -> BTreeMap<String, (Digest, String)> {
    let snapshot = server.engine.snapshot().expect("a snapshot");
    let dataset = snapshot.dataset(DATASET).expect("readable").expect("there");
    let files = snapshot.files(&dataset).expect("readable");
    files
        .map(|file| {
            let (name, record) = file.expect("readable");
            let metadata = snapshot.metadata(&dataset, &name).expect("readable");
            (name, (record.digest, metadata.unwrap_or_default()))
        })
        .collect()
}

fn furnish(server: &Server) {
    let dataset = json!({"name": "d", "project": 1, "licence": 1, "tags": ""});
    let made = server.post("/v1/datasets/create", &dataset);
    assert_eq!(made.json().expect("a dataset")["pk"], DATASET.0);
    add_resident(server);
}

/// A file that is there before, for names to collide with.
fn add_resident(server: &Server) {
    let request = Request::post("/v1/datasets/1/files/a/b.txt");
    let request = request.header("Content-Type", "application/data").body(Body::from("resident"));
    let added = server.send(request.expect("a request"));
    assert!(added.status.is_success(), "{added:?}");
}

/// A request as the bytes say; `None` if they say what no client can send.
fn sent(input: &mut Unstructured<'_>) -> Result<Option<Sent>> {
    let method =
        input.choose(&["POST", "POST", "POST", "POST", "PUT", "PATCH", "DELETE", "GET"])?;
    let action: u8 = input.int_in_range(0..=6)?;
    let path = path(input, action)?;
    let Ok(uri) = path.parse::<Uri>() else {
        return Ok(None);
    };
    let mut request = Request::builder().method(*method).uri(uri);
    let mut is_form = false;
    for _ in 0..input.int_in_range(0..=4)? {
        let Some((name, value)) = header(input)? else {
            return Ok(None);
        };
        is_form |= name == "content-type";
        request = request.header(name, value);
    }
    let breaks_off = input.ratio(1, 8)?;
    let pieces = input.int_in_range(1..=4)?;
    let content = input.take_rest_of();
    let is_plain = action == 0 && *method == "POST" && !is_form;
    let body = body(&content, pieces, breaks_off);
    let Ok(request) = request.body(body) else {
        return Ok(None);
    };
    Ok(Some(Sent { request, content, breaks_off, is_plain }))
}

/// The rest of the bytes without taking the input by value.
trait TakeRest {
    fn take_rest_of(&mut self) -> Vec<u8>;
}

impl TakeRest for Unstructured<'_> {
    fn take_rest_of(&mut self) -> Vec<u8> {
        let length = self.len();
        self.bytes(length).map(<[u8]>::to_vec).unwrap_or_default()
    }
}

fn path(input: &mut Unstructured<'_>, action: u8) -> Result<String> {
    let name = text(input, 48)?;
    let query = if input.ratio(1, 4)? { format!("?{}", text(input, 24)?) } else { String::new() };
    Ok(match action {
        0 => format!("/v1/datasets/1/files/{name}{query}"),
        1 | 2 => format!("/v1/datasets/1/files-multi{query}"),
        3 => format!("/v1/datasets/1/metadata/{name}{query}"),
        4 => format!("/v1/datasets/1/metadata-multi{query}"),
        5 => format!("/v1/datasets/1/files-delete{query}"),
        _ => format!("/v1/datasets/1/files-rename{query}"),
    })
}

fn text(input: &mut Unstructured<'_>, max: usize) -> Result<String> {
    let length = input.int_in_range(0..=max)?.min(input.len());
    Ok(String::from_utf8_lossy(input.bytes(length)?).into_owned())
}

fn header(input: &mut Unstructured<'_>) -> Result<Option<(HeaderName, HeaderValue)>> {
    let names = [
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "expect",
        "if-match",
        "if-none-match",
        "range",
        "content-disposition",
        "accept",
        "authorization",
    ];
    let name = HeaderName::from_static(input.choose(&names)?);
    let types = [
        "application/data",
        "application/octet-stream",
        "application/zip",
        "application/x-tar",
        "application/gzip",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ];
    let value = if name == "content-type" && input.ratio(3, 4)? {
        Ok(HeaderValue::from_static(input.choose(&types)?))
    } else if name == "content-length" {
        Ok(HeaderValue::from(input.arbitrary::<u64>()?))
    } else {
        let length = input.int_in_range(0..=40)?.min(input.len());
        HeaderValue::from_bytes(input.bytes(length)?)
    };
    Ok(value.ok().map(|value| (name, value)))
}

/// The content in some pieces, and perhaps an error behind them.
fn body(content: &[u8], pieces: usize, breaks_off: bool) -> Body {
    let size = content.len().div_ceil(pieces).max(1);
    let mut frames: Vec<io::Result<Bytes>> =
        content.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    if breaks_off {
        frames.push(Err(io::ErrorKind::ConnectionReset.into()));
    }
    Body::from_stream(stream::iter(frames))
}
