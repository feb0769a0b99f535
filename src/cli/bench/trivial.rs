//! A server that does nothing: it reads a request to its end and answers with the same bytes each
//! time. What the load tool reaches against it is the tool's own ceiling.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::numbers::{count, index};

/// Bytes that are read, and of an answer's body written, at once.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of a request's head at most; the load tool sends some hundreds.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long nothing is taken where the system could not open another connection.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(10);

/// The server; it runs on threads of its own until this is dropped.
#[derive(Debug)]
pub(crate) struct Trivial {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Trivial {
    /// Starts a server whose answers have a body of so many bytes, on so many threads.
    ///
    /// # Errors
    /// There is no free address, or no thread.
    pub(crate) fn start(body_bytes: u64, threads: u32) -> anyhow::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(index(threads.into())).enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no address is free")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(entered);
        runtime.spawn(accept(listener, body_bytes));
        Ok(Self { address, runtime: Some(runtime) })
    }
}

impl Drop for Trivial {
    fn drop(&mut self) {
        // Nothing that it has under way is waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, body_bytes: u64) {
    let answer = Arc::new(Answer::new(body_bytes));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(hold(stream, Arc::clone(&answer)))),
            Err(_none_left) => tokio::time::sleep(PAUSE_AFTER_REFUSAL).await,
        }
    }
}

/// Answers requests until the client goes.
async fn hold(mut stream: TcpStream, answer: Arc<Answer>) -> io::Result<()> {
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
        answer.write(&mut stream).await?;
        head.clear();
    }
}

/// What every request is answered with, in memory that does not grow with it.
struct Answer {
    /// The head with the first bytes of the body.
    first: Vec<u8>,
    /// Bytes of the body that are not among them.
    rest: u64,
    piece: Vec<u8>,
}

impl Answer {
    fn new(body_bytes: u64) -> Self {
        let piece = vec![b'x'; PIECE_BYTES.min(index(body_bytes))];
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {body_bytes}\r\n\r\n");
        let first = [head.as_bytes(), &piece].concat();
        Self { first, rest: body_bytes - count(piece.len()), piece }
    }

    async fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&self.first).await?;
        let mut left = self.rest;
        while left > 0 {
            let piece = self.piece.get(..index(left)).unwrap_or(&self.piece);
            stream.write_all(piece).await?;
            left -= count(piece.len());
        }
        Ok(())
    }
}

fn content_length(head: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}
