//! The bodies that a load sends: as many different ones as wanted, at no cost worth naming.
//!
//! All share one block of noise, which does not compress. Each begins with a stamp of its own,
//! so that no two contents are the same unless the load wants them to be.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::life::Moved;
use super::numbers::{count, index, mixed};

/// Bytes of the block: a content that is longer repeats it.
const BLOCK_BYTES: usize = 1 << 20;

/// Where contents come from; clones share the block.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    block: Bytes,
    /// Tells the contents of one run from those of another at the same server.
    run: u64,
}

impl Contents {
    /// Contents of a run.
    pub(crate) fn new(run: u64) -> Self {
        let words =
            (0..count(BLOCK_BYTES / size_of::<u64>())).map(|word| mixed(word).to_le_bytes());
        Self { block: words.flatten().collect(), run }
    }

    /// The noise that all contents share.
    pub(crate) fn noise(&self) -> Bytes {
        self.block.clone()
    }

    /// The content with this number and length; shorter than 16 bytes it may not be unique.
    pub(crate) fn content(&self, number: u64, length: u64) -> Content {
        let mut stamp = [0; 16];
        // Mixed both ways, so that even the first bytes alone differ from run to run.
        let stamps =
            (number ^ mixed(self.run)).to_le_bytes().into_iter().chain(self.run.to_le_bytes());
        for (place, byte) in stamp.iter_mut().zip(stamps) {
            *place = byte;
        }
        let stamp = Bytes::copy_from_slice(&stamp);
        Content { stamp, block: self.block.clone(), left: length, ..Content::none() }
    }
}

/// One body on its way; the empty one if nothing is left.
#[derive(Debug)]
pub(crate) struct Content {
    stamp: Bytes,
    block: Bytes,
    left: u64,
    /// Told of what goes, of each piece behind the first block.
    moved: Option<Moved>,
    /// Whether the first block has gone.
    is_begun: bool,
}

impl Content {
    /// No body.
    pub(crate) fn none() -> Self {
        Self { stamp: Bytes::new(), block: Bytes::new(), left: 0, moved: None, is_begun: false }
    }

    /// The same, of which is told what goes of it.
    pub(crate) fn told(self, moved: &Moved) -> Self {
        let is_long = self.left > count(BLOCK_BYTES);
        Self { moved: is_long.then(|| moved.clone()), ..self }
    }

    /// A body of a few bytes.
    pub(crate) fn text(text: String) -> Self {
        let left = count(text.len());
        Self { stamp: Bytes::from(text), left, ..Self::none() }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = if self.stamp.is_empty() {
            self.block.clone()
        } else {
            std::mem::take(&mut self.stamp)
        };
        piece.truncate(index(self.left));
        self.left -= count(piece.len());
        if let Some(moved) = self.moved.as_ref().filter(|_| self.is_begun) {
            moved.add(count(piece.len()));
        }
        self.is_begun |= piece.len() == BLOCK_BYTES;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http_body_util::BodyExt;

    use super::*;

    async fn bytes(content: Content) -> Bytes {
        content.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_content_has_the_length_that_was_asked_for() {
        let contents = Contents::new(1);
        for length in [0, 1, 15, 16, 17, 20_480, (1 << 20) + 15, 3 << 20] {
            let content = contents.content(7, length);
            assert_eq!(content.size_hint().exact(), Some(length));
            assert_eq!(count(bytes(content).await.len()), length);
        }
    }

    #[tokio::test]
    async fn what_goes_of_a_long_content_is_told() {
        let contents = Contents::new(1);
        for (length, wanted) in
            [(20_480, 0), (1 << 20, 0), ((1 << 20) + 15, 0), (3 << 20, (2 << 20) - 16)]
        {
            let moved = Moved::default();
            bytes(contents.content(7, length).told(&moved)).await;
            assert_eq!(moved.own(), wanted, "{length}");
        }
    }

    #[tokio::test]
    async fn contents_differ_by_number_and_by_run_and_are_the_same_again() {
        let mut seen = BTreeSet::new();
        for run in 0..3 {
            let contents = Contents::new(run);
            for number in 0..100 {
                seen.insert(bytes(contents.content(number, 64)).await);
            }
        }
        assert_eq!(seen.len(), 300);
        assert!(seen.contains(&bytes(Contents::new(2).content(99, 64)).await));
    }
}
