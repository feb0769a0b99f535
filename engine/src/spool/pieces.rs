//! A content in memory, in the pieces that it came in.

use std::sync::Arc;

use bytes::Bytes;

use crate::blobs::byte_count;

/// Pieces of one length, but for the last, which may be shorter. Clones share them.
#[derive(Clone)]
pub(super) struct Pieces {
    pieces: Arc<[Bytes]>,
    /// Bytes of all of them.
    length: usize,
}

impl Pieces {
    pub(super) fn new(pieces: Vec<Bytes>) -> Self {
        let length = pieces.iter().map(Bytes::len).sum();
        Self { pieces: pieces.into(), length }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Bytes from `offset` on, at most so many and none of the next piece; none at the end.
    pub(super) fn slice(&self, offset: u64, length_max: usize) -> Bytes {
        let Some((piece, start)) = self.find(offset) else {
            return Bytes::new();
        };
        piece.slice(start..piece.len().min(start.saturating_add(length_max)))
    }

    /// Bytes from `offset` to the end of the piece that they lie in; none at the end.
    pub(super) fn rest_of_piece(&self, offset: u64) -> &[u8] {
        let found = self.find(offset).and_then(|(piece, start)| piece.get(start..));
        found.unwrap_or_default()
    }

    /// The piece that has the byte at `offset`, and where in it that is.
    fn find(&self, offset: u64) -> Option<(&Bytes, usize)> {
        let piece_bytes = byte_count(self.pieces.first()?.len());
        let number = usize::try_from(offset.checked_div(piece_bytes)?).ok()?;
        let start = usize::try_from(offset.checked_rem(piece_bytes)?).ok()?;
        let piece = self.pieces.get(number)?;
        (start < piece.len()).then_some((piece, start))
    }
}
