//! A gzip stream of others, which must not come to much more than its own bytes.
//!
//! Where it is known how many these are, all of them count from the beginning, since what packs well may stand
//! first. What a sender merely announced counts until the stream has ended: then what has come does.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::within_ratio;
use crate::error::IntakeError;
use crate::limits::INTAKE_CHUNK_BYTES;

/// Unpacks, and fails where the ratio is that of a bomb.
#[derive(Debug)]
pub(crate) struct Unpacking<R> {
    decoder: MultiGzDecoder<BufReader<Counting<R>>>,
    /// Bytes of the whole stream, as far as is known; none where it is not.
    announced_bytes: u64,
    unpacked_bytes: u64,
}

impl<R: Read> Unpacking<R> {
    /// Begins to unpack a stream of so many bytes, if that is known or announced.
    pub(crate) fn new(source: R, length: Option<u64>) -> Self {
        let source = Counting { source, bytes: 0 };
        let source = BufReader::with_capacity(INTAKE_CHUNK_BYTES, source);
        let decoder = MultiGzDecoder::new(source);
        Self { decoder, announced_bytes: length.unwrap_or(0), unpacked_bytes: 0 }
    }
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.unpacked_bytes += u64::try_from(count).unwrap_or(u64::MAX);
        let has_ended = count == 0 && !buffer.is_empty();
        let come_bytes = self.decoder.get_ref().get_ref().bytes;
        let packed_bytes =
            if has_ended { come_bytes } else { come_bytes.max(self.announced_bytes) };
        within_ratio(self.unpacked_bytes, packed_bytes).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// What [`Unpacking`] refused, if an error of a reader is that.
pub(super) fn refusal(error: &io::Error) -> Option<IntakeError> {
    let refused = error.get_ref()?.downcast_ref()?;
    if let IntakeError::TooLarge { what, actual, limit } = *refused {
        return Some(IntakeError::TooLarge { what, actual, limit });
    }
    None
}

#[derive(Debug)]
struct Counting<R> {
    source: R,
    bytes: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bytes += u64::try_from(count).unwrap_or(u64::MAX);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::limits::INTAKE_RATIO_FREE_BYTES;

    fn packed(piece: &[u8], count: usize) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        for _ in 0..count {
            encoder.write_all(piece).unwrap();
        }
        encoder.finish().unwrap()
    }

    /// Unpacked bytes at which a stream is refused that is said to be so long.
    fn refused_at(packed: &[u8], length: Option<u64>) -> u64 {
        let error = io::copy(&mut Unpacking::new(packed, length), &mut io::sink()).unwrap_err();
        let told = refusal(&error).unwrap();
        let IntakeError::TooLarge { actual, .. } = told else { panic!("{told}") };
        actual
    }

    #[test]
    fn a_bomb_ends_where_it_shows_and_what_merely_packs_well_is_read() {
        let pieces = usize::try_from(INTAKE_RATIO_FREE_BYTES >> 20).unwrap() + 8;
        let bomb = packed(&vec![0; 1 << 20], pieces);
        let mut sink = io::sink();
        for length in [None, Some(u64::try_from(bomb.len()).unwrap())] {
            let actual = refused_at(&bomb, length);
            assert!(actual <= INTAKE_RATIO_FREE_BYTES + (1 << 20), "{actual}");
        }

        // As a table of numbers has it: a fiftieth.
        let text: Vec<u8> = (0..1_u32 << 17).flat_map(|row| (row / 7).to_le_bytes()).collect();
        let text = packed(&text, pieces * 2);
        let length = io::copy(&mut Unpacking::new(&text[..], None), &mut sink).unwrap();
        assert!(length > INTAKE_RATIO_FREE_BYTES);
        let small = packed(&vec![0; 1 << 20], 3);
        assert_eq!(io::copy(&mut Unpacking::new(&small[..], None), &mut sink).unwrap(), 3 << 20);
    }

    #[test]
    fn what_packs_well_may_stand_before_what_does_not_where_the_length_is_known() {
        let pieces = usize::try_from(INTAKE_RATIO_FREE_BYTES >> 20).unwrap() + 8;
        let mut noise = vec![0; 1 << 19];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let (zeros, noise) = (packed(&vec![0; 1 << 20], pieces), packed(&noise, 1));
        let unpacked_bytes = (u64::try_from(pieces).unwrap() << 20) + (1 << 19);
        let whole = |stream: &[u8], length| {
            io::copy(&mut Unpacking::new(stream, length), &mut io::sink()).unwrap()
        };
        let first = [&zeros[..], &noise].concat();
        let length = u64::try_from(first.len()).unwrap();
        assert_eq!(whole(&first, Some(length)), unpacked_bytes);
        assert!(refused_at(&first, None) <= INTAKE_RATIO_FREE_BYTES + (1 << 20));
        let last = [&noise[..], &zeros].concat();
        assert_eq!(whole(&last, Some(length)), unpacked_bytes);
        assert_eq!(whole(&last, None), unpacked_bytes);
        // More was announced than came.
        assert_eq!(refused_at(&zeros, Some(u64::MAX)), u64::try_from(pieces).unwrap() << 20);
    }
}
