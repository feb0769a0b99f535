//! One gzip member made of pieces that know nothing of each other.
//!
//! A piece is a run of deflate blocks that ends on a byte and refers to nothing before it, either
//! compressed and fully flushed or stored as it is. So pieces can be made in any order, and side
//! by side, and are joined by appending; their CRC-32s are combined. One member, because readers
//! that stream (Python's `tarfile` in mode `r|gz`) stop at the end of the first.

mod runs;

use flate2::{Compress, CompressError, Compression, FlushCompress, Status};

/// How hard archives are compressed: 1 is fast, 9 is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLevel(u32);

impl ArchiveLevel {
    /// The level of this number, if there is one.
    pub fn new(level: u32) -> Option<Self> {
        (1..=9).contains(&level).then_some(Self(level))
    }
}

impl Default for ArchiveLevel {
    /// The default of gzip itself.
    fn default() -> Self {
        Self(6)
    }
}

/// Bytes that a stored block holds at most; its length field has 16 bits.
const STORED_BLOCK_BYTES: u16 = u16::MAX;

/// Bytes of room beyond the data, so that a flush and its end are always made in one call.
const FLUSH_ROOM_BYTES: usize = 64;

/// Bytes up to which a piece is packed by its runs alone: two tar headers and what lies between.
pub(crate) const RUNS_BYTES_MAX: usize = 2048;

/// Magic, deflate, no flags, no time, no extra flags, unknown system: the same bytes every time.
pub(crate) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An empty stored block that is the last one.
pub(crate) const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// Deflate blocks, and what they unpack to.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The blocks.
    pub(crate) blocks: Vec<u8>,
    /// Of the bytes before compression; knows their number too.
    crc32: crc32fast::Hasher,
}

impl Piece {
    /// Wraps bytes that do not compress, which costs 5 bytes in 65,535 and hardly any time.
    pub(crate) fn stored(bytes: &[u8]) -> Self {
        let chunks = bytes.chunks(usize::from(STORED_BLOCK_BYTES));
        let mut blocks = Vec::with_capacity(bytes.len() + 5 * chunks.len());
        for chunk in chunks {
            let length = u16::try_from(chunk.len()).unwrap_or(STORED_BLOCK_BYTES);
            blocks.push(0);
            blocks.extend(length.to_le_bytes());
            blocks.extend((!length).to_le_bytes());
            blocks.extend_from_slice(chunk);
        }
        Self { blocks, crc32: crc32_of(bytes) }
    }

    /// Packs a few bytes, of which nothing is gained but where one repeats. Setting up a real
    /// compressor costs more than packing a tar header, and nearly all of that is zeros.
    pub(crate) fn runs(bytes: &[u8]) -> Self {
        Self { blocks: runs::pack(bytes), crc32: crc32_of(bytes) }
    }
}

/// Makes compressed pieces; its tables are kept from one piece to the next, its history is not.
#[derive(Debug)]
pub(crate) struct Deflater(Compress);

impl Deflater {
    /// A deflater, about 300 KB large.
    pub(crate) fn new(level: ArchiveLevel) -> Self {
        Self(Compress::new(Compression::new(level.0), false))
    }

    /// Compresses bytes, of which the caller bounds the number.
    ///
    /// # Errors
    /// The compressor is broken; nothing of the piece can be used.
    pub(crate) fn piece(&mut self, bytes: &[u8]) -> Result<Piece, CompressError> {
        self.0.reset();
        let mut blocks = Vec::with_capacity(bytes.len() / 2 + FLUSH_ROOM_BYTES);
        loop {
            let used = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX);
            let rest = bytes.get(used..).unwrap_or_default();
            self.0.compress_vec(rest, &mut blocks, FlushCompress::Full)?;
            // Only a flush that is complete leaves room over.
            if blocks.len() < blocks.capacity() {
                break;
            }
            blocks.reserve(bytes.len() / 4 + FLUSH_ROOM_BYTES);
        }
        Ok(Piece { blocks, crc32: crc32_of(bytes) })
    }

    /// Compresses bytes, of which the caller bounds the number, to a stream that ends.
    ///
    /// # Errors
    /// The compressor is broken; nothing of the stream can be used.
    pub(crate) fn finished(&mut self, bytes: &[u8]) -> Result<Vec<u8>, CompressError> {
        self.0.reset();
        let mut blocks = Vec::with_capacity(bytes.len() / 2 + FLUSH_ROOM_BYTES);
        loop {
            let used = usize::try_from(self.0.total_in()).unwrap_or(usize::MAX);
            let rest = bytes.get(used..).unwrap_or_default();
            if self.0.compress_vec(rest, &mut blocks, FlushCompress::Finish)? == Status::StreamEnd {
                return Ok(blocks);
            }
            blocks.reserve(bytes.len() / 4 + FLUSH_ROOM_BYTES);
        }
    }
}

/// What a member's end says of the pieces before it.
#[derive(Debug, Default)]
pub(crate) struct Trailer {
    /// Of all bytes before compression.
    crc32: crc32fast::Hasher,
}

impl Trailer {
    /// Counts a piece; the order is that of the member.
    pub(crate) fn add(&mut self, piece: &Piece) {
        self.crc32.combine(&piece.crc32);
    }

    /// The last block, the CRC-32 and the length.
    pub(crate) fn finish(self) -> Vec<u8> {
        // The length counts modulo 2^32, so its low half is all there is to say.
        let length = self.crc32.total_len().to_le_bytes();
        let crc32 = self.crc32.finalize().to_le_bytes();
        let low_half = length.iter().take(4);
        LAST_BLOCK.iter().chain(&crc32).chain(low_half).copied().collect()
    }
}

fn crc32_of(bytes: &[u8]) -> crc32fast::Hasher {
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(bytes);
    crc32
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn member_of(parts: &[(Vec<u8>, bool)]) -> Vec<u8> {
        let (mut deflater, mut trailer) =
            (Deflater::new(ArchiveLevel::default()), Trailer::default());
        let mut member = HEADER.to_vec();
        for (bytes, compressible) in parts {
            let piece =
                if *compressible { deflater.piece(bytes).unwrap() } else { Piece::stored(bytes) };
            trailer.add(&piece);
            member.extend(piece.blocks);
        }
        member.extend(trailer.finish());
        member
    }

    /// Unpacks one member that must be all there is; checks its CRC-32 and length.
    fn unpacked(member: &[u8]) -> Vec<u8> {
        let mut decoder = GzDecoder::new(member);
        let mut bytes = Vec::new();
        decoder.read_to_end(&mut bytes).unwrap();
        assert!(decoder.into_inner().is_empty(), "one member, and nothing behind it");
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn pieces_of_both_kinds_join_to_one_member(
            parts in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..3000), any::<bool>()), 0..12)
        ) {
            let member = member_of(&parts);
            let bytes: Vec<u8> = parts.into_iter().flat_map(|(bytes, _)| bytes).collect();
            prop_assert_eq!(unpacked(&member), bytes);
        }
    }

    #[test]
    fn long_pieces_join_too() {
        let noise: Vec<u8> =
            (0u32..50_000).flat_map(|n| n.wrapping_mul(n ^ 0x9e37_79b9).to_le_bytes()).collect();
        let parts = [
            (vec![b'a'; 1 << 20], true),
            (noise.clone(), true),
            (noise, false),
            (vec![0; usize::from(STORED_BLOCK_BYTES)], false),
            (vec![b'b'; 10], true),
        ];
        let member = member_of(&parts);
        let bytes: Vec<u8> = parts.into_iter().flat_map(|(bytes, _)| bytes).collect();
        assert!(unpacked(&member) == bytes);
    }
}
