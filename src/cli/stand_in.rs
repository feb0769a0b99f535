//! A server for the client's tests: one dataset in memory, and faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use granary_engine::model::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::client::{Client, http_client};
use super::progress::Counters;
use super::retry::Patience;
use super::session::{Credentials, Session};

mod uploads;

use uploads::Upload;

/// What goes wrong with one request for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 503, and nothing was done.
    Busy,
    /// 503, although the file was stored.
    StoredUnanswered,
    /// 401: the token has worn out.
    Worn,
    /// Refused, since another client's upload of this name is under way; it does not show yet.
    NameOnItsWay,
    /// 507, after half of what is sent was kept.
    Full,
    /// 429: no further upload that goes on where it stopped may begin.
    TooManyUploads,
    /// The answer's body ends after this many bytes.
    CutAfter(usize),
    /// The answer's bytes are other ones.
    Rotten,
}

#[derive(Debug, Default)]
struct Inner {
    files: Mutex<BTreeMap<String, Bytes>>,
    /// Uploads that go on where they stopped, by number; none in place of those that were given up.
    uploads: Mutex<Vec<Option<Upload>>>,
    faults: Mutex<VecDeque<Fault>>,
    /// A file that somebody writes on the client's side while the next one is fetched, or sent in
    /// parts.
    meanwhile: Mutex<Option<(PathBuf, String)>>,
    logins: AtomicU64,
    ranges: AtomicU64,
    is_of_another_kind: AtomicBool,
}

/// The server; clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct StandIn(Arc<Inner>);

/// Number of the one dataset.
pub(crate) const DATASET: u64 = 1;

impl StandIn {
    /// Starts a server that meets these faults in turn, and a client of it.
    pub(crate) async fn start(faults: &[Fault]) -> (Self, Client) {
        Self::start_with(faults, Router::new()).await
    }

    /// The same of one that answers something else, too.
    pub(crate) async fn start_with(faults: &[Fault], others: Router) -> (Self, Client) {
        // Another test of the same process may have been first.
        rustls::crypto::ring::default_provider().install_default().ok();
        let stand_in = Self::default();
        lock(&stand_in.0.faults).extend(faults);
        let router = Router::new()
            .route("/v1/auth/obtain", post(obtain))
            .route("/v1/auth/refresh", post(refresh))
            .route("/v1/datasets/1/files/{*name}", get(fetch).post(store))
            .merge(uploads::routes())
            .with_state(stand_in.clone())
            .merge(others);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });

        let url = url.parse().unwrap();
        let http = http_client(&url, None).unwrap();
        let credentials =
            Credentials { username: "admin".to_owned(), password: "secret".to_owned() };
        let client = Client {
            session: Session::with(http.clone(), url.clone(), credentials),
            http,
            url,
            patience: Patience {
                first_wait: Duration::from_millis(1),
                wait_max: Duration::from_millis(1),
                tries_max: 4,
            },
        };
        (stand_in, client)
    }

    /// From now on its handles are SHA-256.
    pub(crate) fn become_another_kind(&self) {
        self.0.is_of_another_kind.store(true, Ordering::Relaxed);
    }

    /// Puts a file into the dataset.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        let content = Bytes::copy_from_slice(content);
        lock(&self.0.files).insert(name.to_owned(), content);
    }

    /// The content of a file of the dataset.
    pub(crate) fn content(&self, name: &str) -> Option<Bytes> {
        lock(&self.0.files).get(name).cloned()
    }

    /// Removes a file of the dataset.
    pub(crate) fn remove(&self, name: &str) {
        lock(&self.0.files).remove(name);
    }

    /// Has somebody write this file while the next one is fetched, or sent in parts.
    pub(crate) fn write_meanwhile(&self, path: &std::path::Path, content: &str) {
        *lock(&self.0.meanwhile) = Some((path.to_path_buf(), content.to_owned()));
    }

    /// How many uploads were begun that go on where they stopped.
    pub(crate) fn uploads(&self) -> usize {
        lock(&self.0.uploads).len()
    }

    /// How many of these were not given up.
    pub(crate) fn uploads_left(&self) -> usize {
        lock(&self.0.uploads).iter().flatten().count()
    }

    /// How often tokens were given.
    pub(crate) fn logins(&self) -> u64 {
        self.0.logins.load(Ordering::Relaxed)
    }

    /// How often a part of a file was asked for.
    pub(crate) fn ranges(&self) -> u64 {
        self.0.ranges.load(Ordering::Relaxed)
    }

    /// How many faults nothing has met yet.
    pub(crate) fn faults_left(&self) -> usize {
        lock(&self.0.faults).len()
    }

    /// What happens on the client's side meanwhile.
    async fn pass_time(&self) {
        let meanwhile = lock(&self.0.meanwhile).take();
        if let Some((path, content)) = meanwhile {
            tokio::fs::write(path, content).await.unwrap();
        }
    }

    fn next_fault(&self) -> Option<Fault> {
        lock(&self.0.faults).pop_front()
    }

    /// Whether this fault is the next one, which it then was.
    fn meets(&self, fault: Fault) -> bool {
        lock(&self.0.faults).pop_front_if(|next| *next == fault).is_some()
    }
}

/// Counters that nobody watches.
pub(crate) fn counters() -> Arc<Counters> {
    Arc::new(Counters::default())
}

async fn obtain(State(stand_in): State<StandIn>) -> Response {
    stand_in.0.logins.fetch_add(1, Ordering::Relaxed);
    Json(json!({ "access": "a", "refresh": "r" })).into_response()
}

async fn refresh(State(stand_in): State<StandIn>) -> Response {
    stand_in.0.logins.fetch_add(1, Ordering::Relaxed);
    Json(json!({ "access": "b" })).into_response()
}

async fn store(
    State(stand_in): State<StandIn>,
    Path(name): Path<String>,
    content: Body,
) -> Response {
    let content = axum::body::to_bytes(content, usize::MAX).await.unwrap();
    let fault = stand_in.next_fault();
    match fault {
        Some(Fault::Busy) => return busy(),
        Some(Fault::Worn) => return StatusCode::UNAUTHORIZED.into_response(),
        Some(Fault::NameOnItsWay) => return name_in_use(&name),
        Some(
            Fault::StoredUnanswered
            | Fault::Full
            | Fault::TooManyUploads
            | Fault::CutAfter(_)
            | Fault::Rotten,
        )
        | None => {}
    }
    if stand_in.content(&name).is_some() {
        return name_in_use(&name);
    }
    stand_in.put(&name, &content);
    if fault == Some(Fault::StoredUnanswered) {
        return busy();
    }
    let handle = if stand_in.0.is_of_another_kind.load(Ordering::Relaxed) {
        Digest(Sha256::digest(&content).into())
    } else {
        Digest::of(&content)
    };
    let handle = handle.to_string();
    Json(json!({ "filename": name, "handle": handle })).into_response()
}

async fn fetch(
    State(stand_in): State<StandIn>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(mut content) = stand_in.content(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    stand_in.pass_time().await;
    let etag = format!("\"{}\"", Digest::of(&content));
    let range = headers.get(header::RANGE).map(|range| {
        assert_eq!(headers.get(header::IF_RANGE).unwrap(), etag.as_str());
        let from = range.to_str().unwrap().trim_start_matches("bytes=");
        from.trim_end_matches('-').parse::<usize>().unwrap()
    });
    let whole = content.len();
    let mut answer = Response::builder().header(header::ETAG, etag);
    if let Some(from) = range {
        stand_in.0.ranges.fetch_add(1, Ordering::Relaxed);
        content = content.slice(from..);
        let place = format!("bytes {from}-{}/{whole}", whole - 1);
        answer = answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, place);
    }
    let body = match stand_in.next_fault() {
        Some(Fault::Busy) => return busy(),
        Some(Fault::CutAfter(length)) => {
            let piece = stream::iter([Ok(content.slice(..length))]);
            let end = stream::once(async {
                // Gives the piece time to leave before the connection breaks.
                tokio::task::yield_now().await;
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            });
            Body::from_stream(piece.chain(end))
        }
        Some(Fault::Rotten) => Body::from(content.iter().map(|byte| !byte).collect::<Vec<_>>()),
        Some(
            Fault::StoredUnanswered
            | Fault::Worn
            | Fault::NameOnItsWay
            | Fault::Full
            | Fault::TooManyUploads,
        )
        | None => Body::from(content),
    };
    answer.body(body).unwrap()
}

fn name_in_use(name: &str) -> Response {
    let detail = format!("Bad name '{name}': Filename already in use");
    (StatusCode::BAD_REQUEST, Json(json!({ "detail": detail }))).into_response()
}

fn busy() -> Response {
    let retry = [(header::RETRY_AFTER, "0")];
    (StatusCode::SERVICE_UNAVAILABLE, retry).into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
