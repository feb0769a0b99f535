//! Contents on their way out, and the memory that they take for as long as their readers do.
//!
//! A reader that takes its time keeps what it has not taken yet. Thousands of them would keep
//! gigabytes if each had a whole file in memory, and as many as that are no rarity: so all contents
//! share a bound, and those that find none of it left go in short pieces.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use bytes::BytesMut;
use futures_util::stream;
use granary_engine::limits::READ_LEAN_CHUNK_BYTES;
use granary_engine::{Blob, BlobStream, ReadError};

/// The memory of all contents on their way out, as bytes that are left; clones are the same. Nobody waits for
/// it, so it is no semaphore.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing(Arc<AtomicUsize>);

/// A part of it; given back on drop. Contents that are as short as a piece have none.
pub(super) type Share = Option<Part>;

/// What a [`Share`] is of.
#[derive(Debug)]
pub(super) struct Part {
    left: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl Outgoing {
    /// Makes a bound of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// A range of a content as a body. The first chunk is read here, so that a content that cannot
    /// be read is an error and not a broken connection; one chunk is most files' whole content.
    pub(super) async fn body(&self, blob: Blob, range: Range<u64>) -> Result<Body, ReadError> {
        let length = range.end.saturating_sub(range.start);
        let (mut chunks, share) = self.chunks(blob, range);
        let Some(first) = chunks.next().await.transpose()? else {
            return Ok(Body::empty());
        };
        if u64::try_from(first.len()).is_ok_and(|bytes| bytes >= length) {
            return Ok(Body::from(shared(first, share)));
        }
        Ok(body_of(first, chunks, share))
    }

    /// A part of it for an answer of so many bytes, if that much is left.
    pub(super) fn share(&self, bytes: usize) -> Share {
        let relaxed = Ordering::Relaxed;
        self.0.fetch_update(relaxed, relaxed, |left| left.checked_sub(bytes)).ok()?;
        Some(Part { left: Arc::clone(&self.0), bytes })
    }

    /// A whole content, checked; `None` where there is no memory for it.
    pub(super) async fn whole(&self, blob: &Blob) -> Result<Option<Bytes>, ReadError> {
        let length = usize::try_from(blob.length()).unwrap_or(usize::MAX);
        let Some(share) = self.share(length) else {
            return Ok(None);
        };
        let mut chunks = blob.clone().stream(0..blob.length());
        let mut bytes = BytesMut::new();
        while let Some(chunk) = chunks.next().await.transpose()? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(kept_with(bytes.freeze(), share)))
    }

    fn chunks(&self, blob: Blob, range: Range<u64>) -> (BlobStream, Share) {
        let bytes = blob.stream_memory(&range);
        if bytes <= READ_LEAN_CHUNK_BYTES {
            return (blob.stream(range), None);
        }
        match self.share(bytes) {
            Some(share) => (blob.stream(range), Some(share)),
            None => (blob.stream_lean(range), None),
        }
    }
}

fn body_of(first: Bytes, chunks: BlobStream, share: Share) -> Body {
    let share = share.map(Arc::new);
    let first = shared(first, share.clone());
    let start = (Some(first), Some(chunks), share);
    Body::from_stream(stream::unfold(start, |state| async {
        match state {
            (Some(first), chunks, share) => {
                Some((Ok::<Bytes, ReadError>(first), (None, chunks, share)))
            }
            (None, chunks, share) => {
                let mut chunks = chunks?;
                // After an error there is nothing more: the connection breaks.
                let chunk = chunks.next().await?;
                let chunks = chunk.is_ok().then_some(chunks);
                let chunk = chunk.map(|bytes| shared(bytes, share.clone()));
                Some((chunk, (None, chunks, share)))
            }
        }
    }))
}

/// Bytes with what they have of a share, if anything.
fn shared(bytes: Bytes, share: Option<impl Send + 'static>) -> Bytes {
    match share {
        Some(share) => kept_with(bytes, share),
        None => bytes,
    }
}

/// Bytes that hold something until the last part of them has gone: who sends them may keep a few, and with
/// these the memory of all, when nobody asks their body for more.
pub(super) fn kept_with(bytes: Bytes, held: impl Send + 'static) -> Bytes {
    struct Kept<T> {
        bytes: Bytes,
        _held: T,
    }
    impl<T> AsRef<[u8]> for Kept<T> {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Kept { bytes, _held: held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_given_away_than_there_is_and_it_comes_back_with_the_last_byte() {
        let memory = Outgoing::new(100);
        let first = memory.share(60);
        assert!(first.is_some());
        assert!(memory.share(41).is_none());
        let second = kept_with(Bytes::from_static(b"content"), memory.clone().share(40));
        let rest = second.slice(6..);
        drop((first, second));
        assert!(memory.share(61).is_none());
        assert_eq!(rest, "t");
        drop(rest);
        assert!(memory.share(100).is_some());
        assert!(memory.share(101).is_none() && memory.share(usize::MAX).is_none());
        assert!(memory.share(100).is_some(), "what was refused took nothing");
    }
}
