//! One kept-alive connection of a load, and one request on it: as cheap as it gets.

use std::error::Error;
use std::io;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::content::Content;
use super::life::Moved;
use super::numbers::count;
use super::target::Address;

/// How long a connection may take to come about.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an answer may take; an archive of a large dataset is one.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(10);

/// Bytes of a refusal that are kept to tell what it said.
const KEPT_BYTES_MAX: usize = 4_096;

/// An answer that came whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Bytes of its body.
    pub(crate) length: u64,
    /// The beginning of its body, if it was asked for or is a refusal.
    pub(crate) kept: Vec<u8>,
}

/// A connection; opened when it is first needed, and again after it broke.
#[derive(Debug)]
pub(crate) struct Connection {
    address: Address,
    sender: Option<SendRequest<Content>>,
    /// Told of what goes of a long content, and of each piece but the first of an answer that is no refusal.
    pub(crate) moved: Moved,
}

impl Connection {
    /// A connection that is not open yet.
    pub(crate) fn new(address: Address, moved: Moved) -> Self {
        Self { address, sender: None, moved }
    }

    /// Opens it, unless it is open.
    ///
    /// # Errors
    /// Nobody listens there, said with the address.
    pub(crate) async fn open(&mut self) -> anyhow::Result<()> {
        let opened = self.ready().await.map(drop);
        opened.map_err(anyhow::Error::msg).with_context(|| {
            let at = &self.address.socket;
            format!("no answer from {at}; check that the server runs and that --url is right")
        })
    }

    /// Sends a request and reads its answer to the end; `keep` keeps what it says.
    ///
    /// # Errors
    /// A few words that name the kind of error, the same for all of a kind.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Content>,
        keep: bool,
    ) -> Result<Answer, String> {
        let moved = self.moved.clone();
        let request = request.map(|content| content.told(&moved));
        let sender = self.ready().await?;
        let answer = timeout(ANSWER_TIME_MAX, answer(sender, request, keep, &moved)).await;
        let answer = answer.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
        if answer.is_err() {
            // Where its bytes stand is unknown, so it cannot be used again.
            self.sender = None;
        }
        answer
    }

    async fn ready(&mut self) -> Result<&mut SendRequest<Content>, String> {
        // The server may have closed it, after an error for instance.
        if self.sender.as_ref().is_some_and(SendRequest::is_closed) {
            self.sender = None;
        }
        if self.sender.is_none() {
            self.sender = Some(connect(&self.address).await?);
        }
        self.sender.as_mut().ok_or_else(|| "no connection".to_owned())
    }
}

async fn connect(address: &Address) -> Result<SendRequest<Content>, String> {
    let stream = timeout(CONNECT_TIME_MAX, TcpStream::connect(address.socket)).await;
    let stream = stream.map_err(|_elapsed| "connecting took too long".to_owned())?;
    let stream = stream.map_err(|error| kind_of(&error))?;
    stream.set_nodelay(true).map_err(|error| kind_of(&error))?;
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
    // Its error is also the request's, which tells it.
    tokio::task::spawn_local(async move { connection.await.ok() });
    Ok(sender)
}

async fn answer(
    sender: &mut SendRequest<Content>,
    request: Request<Content>,
    keep: bool,
    moved: &Moved,
) -> Result<Answer, String> {
    sender.ready().await.map_err(|error| words(&error))?;
    let response = sender.send_request(request).await.map_err(|error| words(&error))?;
    let status = response.status();
    let moved = status.is_success().then_some(moved);
    let read = read(response.into_body(), keep || moved.is_none(), moved).await;
    let (length, kept) = read.map_err(|error| words(&error))?;
    Ok(Answer { status, length, kept })
}

/// Reads a body to its end: its length, and the beginning if that is to be kept. What comes behind the
/// first piece is told.
async fn read<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
    keep: bool,
    moved: Option<&Moved>,
) -> Result<(u64, Vec<u8>), B::Error> {
    let (mut length, mut kept) = (0, Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let data = frame.data_ref().map_or(&[][..], Bytes::as_ref);
        if let Some(moved) = moved.filter(|_| length > 0) {
            moved.add(count(data.len()));
        }
        length += count(data.len());
        if keep && kept.len() < KEPT_BYTES_MAX {
            kept.extend_from_slice(data);
        }
    }
    Ok((length, kept))
}

/// The innermost cause of an error, which says what kind it is.
fn words(error: &hyper::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.downcast_ref().map_or_else(|| cause.to_string(), kind_of)
}

fn kind_of(error: &io::Error) -> String {
    error.kind().to_string()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream::{iter, pending};
    use futures_util::{FutureExt, StreamExt};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    #[tokio::test]
    async fn what_comes_of_a_long_answer_is_told_before_its_end() {
        let pieces = || {
            iter(["abc", "de", "fg"]).map(|piece| Ok::<_, Infallible>(Frame::data(piece.into())))
        };
        let moved = Moved::default();
        let more_to_come = StreamBody::new(pieces().chain(pending()));
        let mut reading = std::pin::pin!(read(more_to_come, false, Some(&moved)));
        assert!(reading.as_mut().now_or_never().is_none());
        assert_eq!(moved.so_far(), 4);
        let whole = read(StreamBody::new(pieces()), true, None).await.unwrap();
        assert_eq!(whole, (7, b"abcdefg".to_vec()));
        assert_eq!(moved.so_far(), 4);
    }
}
