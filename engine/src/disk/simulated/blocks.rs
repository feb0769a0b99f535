//! Which blocks of a file take space: those that were written or reserved. Holes take none, as on the
//! file systems that stores lie on.

use std::ops::Range;

const BLOCK_BYTES: usize = 4096;

/// The blocks of one file.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    are_taken: Vec<bool>,
    taken: u64,
}

impl Blocks {
    /// Those of a file that has no holes.
    pub(super) fn without_holes(bytes: usize) -> Self {
        let mut blocks = Self::default();
        blocks.take(0..bytes);
        blocks
    }

    /// Bytes of the disk that they take.
    pub(super) fn bytes(&self) -> u64 {
        bytes_of(self.taken)
    }

    /// Bytes of the disk that would be taken for this range beside them.
    pub(super) fn wanted_for(&self, range: Range<usize>) -> u64 {
        let is_taken = |block: &usize| self.are_taken.get(*block).copied().unwrap_or_default();
        let wanted = blocks_of(range).filter(|block| !is_taken(block)).count();
        bytes_of(u64::try_from(wanted).unwrap_or(u64::MAX))
    }

    pub(super) fn take(&mut self, range: Range<usize>) {
        let blocks = blocks_of(range);
        if self.are_taken.len() < blocks.end {
            self.are_taken.resize(blocks.end, false);
        }
        for block in self.are_taken.get_mut(blocks).into_iter().flatten() {
            self.taken += u64::from(!std::mem::replace(block, true));
        }
    }

    /// Lets go of what lies behind a file that is cut.
    pub(super) fn cut(&mut self, length: usize) {
        let kept = length.div_ceil(BLOCK_BYTES).min(self.are_taken.len());
        let gone = self.are_taken.drain(kept..).filter(|is_taken| *is_taken).count();
        self.taken -= u64::try_from(gone).unwrap_or(u64::MAX);
    }
}

fn blocks_of(range: Range<usize>) -> Range<usize> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

fn bytes_of(blocks: u64) -> u64 {
    blocks.saturating_mul(u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX))
}
