//! Connections: taken, bounded in number and in idle time, and let end when the server stops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::outflow::Outflow;

/// Connections at the same time; the next one waits in the system's queue. Each costs some
/// kilobytes and an open file.
const CONNECTIONS_MAX: usize = 16_384;

/// How long a connection may take to send a request's head, silence before it included.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// Bytes that a connection buffers of what comes in, and so of a request's head. By itself the
/// library takes up to 400 KiB each, which a thousand uploads at once would multiply.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// How long a client may take nothing of an answer that is under way.
const STALL_MAX: Duration = Duration::from_mins(2);

/// How long nothing is taken after the system could not open another connection.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// Serves until `stop` holds true, then lets requests under way end for up to `grace`.
///
/// Returns the number of connections that were cut because they had not ended by then.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) -> usize {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accept(&listener, &room) => match accepted {
                Ok((stream, permit)) => {
                    connections.spawn(hold(stream, permit, router.clone(), stop.clone()));
                }
                Err(error) => {
                    warn!(%error, "cannot take a connection");
                    tokio::time::sleep(PAUSE_AFTER_REFUSAL).await;
                }
            },
        }
    }
    // Whoever connects from here on is refused by the system, and may try elsewhere.
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_ended).await.is_err() {
        return connections.len();
    }
    0
}

/// Ends when the server is told to stop, or nobody is left who could tell it.
async fn told(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Serves one connection to its end.
async fn hold(
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are written whole, so waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set up a connection");
        return;
    }
    // Which protocol is spoken shows with the first bytes, and the library waits for ever for
    // them. Silence is neither a fault of ours nor worth a line.
    tokio::select! {
        () = told(&mut stop) => return,
        spoke = timeout(HEAD_TIME_MAX, stream.readable()) => {
            if !matches!(spoke, Ok(Ok(()))) {
                return;
            }
        }
    }
    let mut builder = Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    http1.max_buf_size(INPUT_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_TIME_MAX);
    let service = TowerToHyperService::new(router);
    let stream = TokioIo::new(Outflow::new(stream, STALL_MAX));
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_before_the_server_ends() {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, goes_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        let slow = async move || {
            begins.notify_one();
            goes_on.notified().await;
            "done"
        };
        let router = Router::new().route("/", get(slow));
        let (listener, address) = listener().await;
        let (tell, stop) = watch::channel(false);
        let server = tokio::spawn(serve(listener, router, stop, Duration::from_mins(1)));

        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(REQUEST).await.unwrap();
        begun.notified().await;
        tell.send(true).unwrap();
        // The idle connection ends at once, the busy one with its answer.
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        go_on.notify_one();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();

        assert!(answer.ends_with("done"), "{answer}");
        assert_eq!(server.await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_when_the_grace_is_over() {
        let begun = Arc::new(Notify::new());
        let begins = Arc::clone(&begun);
        let endless = async move || {
            begins.notify_one();
            std::future::pending::<()>().await;
        };
        let router = Router::new().route("/", get(endless));
        let (listener, address) = listener().await;
        let (tell, stop) = watch::channel(false);
        let server = tokio::spawn(serve(listener, router, stop, Duration::ZERO));

        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(REQUEST).await.unwrap();
        begun.notified().await;
        tell.send(true).unwrap();

        assert_eq!(server.await.unwrap(), 1);
        assert_eq!(busy.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}
