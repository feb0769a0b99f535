//! A gzip stream of others, which must not come to much more than its own bytes.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::within_ratio;
use crate::error::IntakeError;
use crate::limits::INTAKE_CHUNK_BYTES;

/// Unpacks, and fails where the ratio is that of a bomb.
#[derive(Debug)]
pub(crate) struct Unpacking<R> {
    decoder: MultiGzDecoder<BufReader<Counting<R>>>,
    unpacked_bytes: u64,
}

impl<R: Read> Unpacking<R> {
    pub(crate) fn new(source: R) -> Self {
        let source = Counting { source, bytes: 0 };
        let source = BufReader::with_capacity(INTAKE_CHUNK_BYTES, source);
        Self { decoder: MultiGzDecoder::new(source), unpacked_bytes: 0 }
    }
}

impl<R: Read> Read for Unpacking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.unpacked_bytes += u64::try_from(count).unwrap_or(u64::MAX);
        let packed_bytes = self.decoder.get_ref().get_ref().bytes;
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

    #[test]
    fn a_bomb_ends_where_it_shows_and_what_merely_packs_well_is_read() {
        let pieces = usize::try_from(INTAKE_RATIO_FREE_BYTES >> 20).unwrap() + 8;
        let bomb = packed(&vec![0; 1 << 20], pieces);
        let mut sink = io::sink();
        let error = io::copy(&mut Unpacking::new(&bomb[..]), &mut sink).unwrap_err();
        let told = refusal(&error).unwrap();
        let IntakeError::TooLarge { actual, .. } = told else { panic!("{told}") };
        assert!(actual <= INTAKE_RATIO_FREE_BYTES + (1 << 20), "{actual}");

        // As a table of numbers has it: a fiftieth.
        let text: Vec<u8> = (0..1_u32 << 17).flat_map(|row| (row / 7).to_le_bytes()).collect();
        let text = packed(&text, pieces * 2);
        let length = io::copy(&mut Unpacking::new(&text[..]), &mut sink).unwrap();
        assert!(length > INTAKE_RATIO_FREE_BYTES);
        let small = packed(&vec![0; 1 << 20], 3);
        assert_eq!(io::copy(&mut Unpacking::new(&small[..]), &mut sink).unwrap(), 3 << 20);
    }
}
