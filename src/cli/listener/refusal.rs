//! Clients for whom there is no room: told so at once, in a few bytes, and to come again.
//!
//! Whoever is left to wait for a place instead, in a queue of the system's that nobody bounds in time,
//! learns nothing and is served when it has long given up.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections that are being refused at the same time, where there are few places; a quarter of these where
/// that is more. Each costs an open file for as long as its client takes to hear of it.
pub(in crate::cli) const REFUSED_AT_ONCE_FEW: usize = 128;

/// How long a client may take to read its refusal.
const READING_TIME_MAX: Duration = Duration::from_secs(1);

/// How long no other connection is taken so that one can be refused in words.
const PLACE_TIME_MAX: Duration = Duration::from_millis(200);

/// Bytes of its request that a client may still send meanwhile. What is not read would break the
/// connection before the refusal has arrived.
const UNREAD_BYTES_MAX: u64 = 256 << 10;

/// What a client is told, in the form of all other refusals.
const TEXT: &str = r#"{"detail":"Too many requests are under way."}"#;

/// Connections that are being refused at the same time beside so many that have places.
fn refused_at_once_max(connections_max: usize) -> usize {
    (connections_max / 4).max(REFUSED_AT_ONCE_FEW)
}

/// Refuses connections.
#[derive(Debug, Clone)]
pub(super) struct Refusals(Arc<Semaphore>);

impl Refusals {
    /// Refuses what comes beside so many connections.
    pub(super) fn beside(connections_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(refused_at_once_max(connections_max))))
    }

    /// Tells the client of a connection that there is no place, in the background. Of more than can
    /// be told at the same time, the next one is cut, unless another one has heard of it in a moment:
    /// most of them are gone as soon as anybody looks.
    pub(super) async fn refuse(&self, stream: TcpStream) {
        let place = timeout(PLACE_TIME_MAX, Arc::clone(&self.0).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return };
        tokio::spawn(async move {
            // Whether the client hears of it is its own matter.
            timeout(READING_TIME_MAX, tell(stream)).await.ok();
            drop(place);
        });
    }
}

async fn tell(mut stream: TcpStream) {
    let length = TEXT.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{TEXT}"
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        let mut unread = stream.take(UNREAD_BYTES_MAX);
        tokio::io::copy(&mut unread, &mut tokio::io::sink()).await.ok();
    }
}

/// The same, as the answer to each request on a connection that has its place.
pub(super) fn router() -> Router {
    let headers = [
        (RETRY_AFTER, HeaderValue::from_static("1")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    Router::new().fallback(async || (StatusCode::SERVICE_UNAVAILABLE, headers, TEXT))
}
