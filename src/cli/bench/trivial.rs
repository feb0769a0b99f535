//! A server that does nothing: it reads a request to its end and answers with the same bytes each
//! time. What the load tool reaches against it is the tool's own ceiling.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::numbers::{count, index};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of a request's head at most; the load tool sends some hundreds.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The server; a thread of this process until it is dropped.
#[derive(Debug)]
pub(crate) struct Trivial {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Trivial {
    /// Starts a server whose answers have a body of so many bytes.
    ///
    /// # Errors
    /// There is no free address, or no thread.
    pub(crate) fn start(body_bytes: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no address is free")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {body_bytes}\r\n\r\n");
        answer.extend(std::iter::repeat_n('x', index(body_bytes)));
        let serve = move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async {
                tokio::select! {
                    () = accept(listener, answer.into()) => {}
                    _ = stopped => {}
                }
            });
        };
        Ok(Self { address, stop: Some(stop), thread: Some(std::thread::spawn(serve)) })
    }

    /// Ends the server.
    ///
    /// # Errors
    /// Its thread broke.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        // Whoever serves no more need not be told.
        self.stop.take().map(|stop| stop.send(()).ok());
        let thread = self.thread.take().context("the server was stopped before")?;
        thread.join().map_err(|_panic| anyhow!("the trivial server broke"))
    }
}

async fn accept(listener: std::net::TcpListener, answer: std::rc::Rc<str>) {
    // Fails for no descriptor that is a listener and does not block; then nobody is answered.
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let answer = std::rc::Rc::clone(&answer);
        tokio::task::spawn_local(async move { hold(stream, answer.as_bytes()).await.ok() });
    }
}

/// Answers requests until the client goes.
async fn hold(mut stream: TcpStream, answer: &[u8]) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut head: Vec<u8> = Vec::new();
    loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 || head.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
        let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let length = content_length(head.get(..end).unwrap_or_default());
        let mut left = length.saturating_sub(count(head.len() - end - 4));
        while left > 0 {
            let read = stream.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            left = left.saturating_sub(count(read));
        }
        stream.write_all(answer).await?;
        head.clear();
    }
}

fn content_length(head: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}
