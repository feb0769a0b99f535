//! Where an archive's bytes go: chunks of an even size, in order.
//!
//! Writers hand on whatever pieces they have; small ones are gathered, large ones pass without a
//! copy. The first chunks are short, so that a client hears at once that its archive has begun.

use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;

use crate::error::ReadError;
use crate::limits::{ARCHIVE_FIRST_CHUNK_BYTES, READ_CHUNK_BYTES};

/// Why an archive ends before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody listens any longer.
    ReceiverGone,
    /// A content or the list of files cannot be read; what was sent so far is all there is.
    Failed(ReadError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

/// What an archive's producer tells its consumer.
#[derive(Debug)]
pub(crate) enum Part {
    /// The next bytes; never empty.
    Chunk(Bytes),
    /// The archive is whole. A channel that closes without it was cut.
    End,
}

/// Takes the chunks of an archive.
pub(crate) trait Sink {
    /// Hands on a chunk; waits for room.
    fn send(&mut self, chunk: Bytes) -> Result<(), Stop>;
}

/// The way to whoever reads an archive.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) sender: mpsc::Sender<Result<Part, ReadError>>,
    /// For waiting with a bound, outside of its threads.
    pub(crate) runtime: Handle,
    /// How long a reader may take nothing before it counts as gone.
    pub(crate) stall_max: Duration,
}

impl Sink for Outlet {
    fn send(&mut self, chunk: Bytes) -> Result<(), Stop> {
        let part = match self.sender.try_send(Ok(Part::Chunk(chunk))) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Stop::ReceiverGone),
            Err(TrySendError::Full(part)) => part,
        };
        // A reader that stalls would keep a thread, a lease and a turn for ever.
        let stall_max = self.stall_max;
        let sent =
            self.runtime.block_on(async { timeout(stall_max, self.sender.send(part)).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Stop::ReceiverGone),
        }
    }
}

/// Gathers pieces of any size to chunks.
///
/// What is gathered and not yet sent is lost on dropping, on purpose: an archive that failed must
/// not look whole.
#[derive(Debug)]
pub(crate) struct Output<S> {
    sink: S,
    gathered: Vec<u8>,
    /// Bytes at which a chunk is sent; doubles up to [`READ_CHUNK_BYTES`].
    chunk_bytes: usize,
}

impl<S: Sink> Output<S> {
    /// An output of which nothing has been sent.
    pub(crate) fn new(sink: S) -> Self {
        Self { sink, gathered: Vec::new(), chunk_bytes: ARCHIVE_FIRST_CHUNK_BYTES }
    }

    /// Appends a short piece.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < self.chunk_bytes {
            return Ok(());
        }
        self.flush()
    }

    /// Appends a piece that may be a chunk by itself, or several.
    pub(crate) fn write_chunk(&mut self, mut chunk: Bytes) -> Result<(), Stop> {
        while chunk.len() >= self.chunk_bytes {
            self.flush()?;
            self.sink.send(chunk.split_to(chunk.len().min(READ_CHUNK_BYTES)))?;
        }
        self.write(&chunk)
    }

    /// Sends what is left and gives the sink back.
    pub(crate) fn finish(mut self) -> Result<S, Stop> {
        self.flush()?;
        Ok(self.sink)
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.chunk_bytes = READ_CHUNK_BYTES.min(self.chunk_bytes * 2);
        // The buffer becomes the chunk; the next one is made for what a chunk usually holds.
        let next = Vec::with_capacity(self.chunk_bytes);
        let mut chunk = Bytes::from(std::mem::replace(&mut self.gathered, next));
        while !chunk.is_empty() {
            let length = chunk.len().min(READ_CHUNK_BYTES);
            self.sink.send(chunk.split_to(length))?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    impl Sink for Vec<Bytes> {
        fn send(&mut self, chunk: Bytes) -> Result<(), Stop> {
            self.push(chunk);
            Ok(())
        }
    }

    /// All bytes that one archive sent.
    pub(crate) fn written(
        write: impl FnOnce(&mut Output<Vec<Bytes>>) -> Result<(), Stop>,
    ) -> Vec<u8> {
        let mut output = Output::new(Vec::new());
        write(&mut output).unwrap();
        output.finish().unwrap().concat()
    }

    #[test]
    fn chunks_start_small_grow_and_lose_nothing() {
        let mut output = Output::new(Vec::new());
        let mut expected = Vec::new();
        for number in 0u32..40_000 {
            let piece =
                number.to_le_bytes().repeat(1 + usize::from(number.is_multiple_of(100)) * 2000);
            output.write(&piece).unwrap();
            expected.extend(piece);
        }
        let large = Bytes::from(vec![7; READ_CHUNK_BYTES]);
        output.write_chunk(large.clone()).unwrap();
        output.write_chunk(Bytes::from_static(b"end")).unwrap();
        expected.extend(&large);
        expected.extend(b"end");

        let chunks = output.finish().unwrap();

        assert!(chunks[0].len() < 2 * ARCHIVE_FIRST_CHUNK_BYTES + 8000);
        assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= READ_CHUNK_BYTES));
        assert!(chunks.concat() == expected);
        assert_eq!(
            chunks[chunks.len() - 2].as_ptr(),
            large.as_ptr(),
            "large pieces are not copied"
        );
    }

    #[test]
    fn what_was_not_flushed_is_not_sent() {
        struct Borrowed<'c>(&'c mut Vec<Bytes>);
        impl Sink for Borrowed<'_> {
            fn send(&mut self, chunk: Bytes) -> Result<(), Stop> {
                self.0.send(chunk)
            }
        }
        let mut chunks: Vec<Bytes> = Vec::new();
        let mut output = Output::new(Borrowed(&mut chunks));
        output.write(b"half an archive").unwrap();
        drop(output);
        assert!(chunks.is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_for_too_long_counts_as_gone() {
        let (sender, mut parts) = mpsc::channel(1);
        let runtime = Handle::current();
        let outlet = Outlet { sender, runtime, stall_max: Duration::ZERO };
        let sending = tokio::task::spawn_blocking(move || {
            let mut outlet = outlet;
            (outlet.send(Bytes::from_static(b"1")), outlet.send(Bytes::from_static(b"2")))
        });
        let (first, second) = sending.await.unwrap();
        assert!(first.is_ok() && matches!(second, Err(Stop::ReceiverGone)));
        assert!(matches!(parts.recv().await, Some(Ok(Part::Chunk(_)))));
        assert!(parts.recv().await.is_none(), "what was cut does not look whole");
    }
}
