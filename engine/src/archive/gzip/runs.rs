//! Deflate for a few bytes: letters of the fixed code, and runs of one letter as references to the
//! letter before.

/// Bits of blocks, the lowest first.
#[derive(Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits that do not make a byte yet.
    rest: u32,
    count: u32,
}

impl Bits {
    /// Appends the lowest `count` bits, at most 16.
    fn push(&mut self, bits: u32, count: u32) {
        self.rest |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            let [lowest, ..] = self.rest.to_le_bytes();
            self.bytes.push(lowest);
            self.rest >>= 8;
            self.count -= 8;
        }
    }

    /// Appends a word of a Huffman code, whose highest bit comes first.
    fn push_code(&mut self, code: u32, count: u32) {
        self.push(code.reverse_bits() >> (32 - count), count);
    }

    /// Appends a letter, the end of a block (256) or the base of a length, in the fixed code.
    fn push_symbol(&mut self, symbol: u32) {
        match symbol {
            0..144 => self.push_code(0x30 + symbol, 8),
            144..256 => self.push_code(0x190 + symbol - 144, 9),
            256..280 => self.push_code(symbol - 256, 7),
            _ => self.push_code(0xc0 + symbol - 280, 8),
        }
    }

    /// Appends a reference to the letter before, repeated 3 to 258 times.
    fn push_run(&mut self, length: u32) {
        let (symbol, extra_bits, extra) = match length {
            3..=10 => (254 + length, 0, 0),
            258.. => (285, 0, 0),
            // Four symbols for each number of extra bits, from 11 on.
            _ => {
                let beyond = length - 3;
                let extra_bits = beyond.ilog2() - 2;
                let symbol = 257 + 4 * extra_bits + (beyond >> extra_bits);
                (symbol, extra_bits, beyond & ((1 << extra_bits) - 1))
            }
        };
        self.push_symbol(symbol);
        self.push(extra, extra_bits);
        self.push_code(0, 5); // distance 1
    }
}

/// Bytes as one block that is not the last, and an empty stored one, which ends on a byte.
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.push(0, 1);
    bits.push(1, 2);
    for run in bytes.chunk_by(|one, next| one == next) {
        let Some((letter, repeated)) = run.split_first() else {
            continue;
        };
        bits.push_symbol(u32::from(*letter));
        for piece in repeated.chunks(258) {
            match u32::try_from(piece.len()) {
                Ok(length @ 3..) => bits.push_run(length),
                Ok(_) | Err(_) => {
                    for letter in piece {
                        bits.push_symbol(u32::from(*letter));
                    }
                }
            }
        }
    }
    bits.push_symbol(256);
    bits.push(0, 3);
    bits.push(0, (8 - bits.count) % 8);
    bits.bytes.extend([0, 0, 0xff, 0xff]);
    bits.bytes
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;
    use proptest::prelude::*;

    use super::super::LAST_BLOCK;
    use super::*;

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let stream = [bytes, &LAST_BLOCK].concat();
        let mut unpacked = Vec::new();
        DeflateDecoder::new(stream.as_slice()).read_to_end(&mut unpacked).unwrap();
        unpacked
    }

    #[test]
    fn every_letter_and_every_length_of_a_run_unpacks() {
        for length in 0usize..1200 {
            let letter = [length.to_le_bytes()[0]];
            let bytes = [b"ab".as_slice(), &letter.repeat(length), b"ba"].concat();
            assert_eq!(unpacked(&pack(&bytes)), bytes, "{length}");
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unpacked(&pack(&all)), all);
    }

    #[test]
    fn zeros_take_hardly_any_room() {
        assert!(pack(&[0; 1024]).len() < 20);
        assert_eq!(unpacked(&pack(b"")), b"");
    }

    proptest! {
        #[test]
        fn any_bytes_unpack(
            runs in prop::collection::vec((any::<u8>(), 1usize..300), 0..20)
        ) {
            let bytes: Vec<u8> =
                runs.into_iter().flat_map(|(letter, count)| vec![letter; count]).collect();
            prop_assert_eq!(unpacked(&pack(&bytes)), bytes);
        }
    }
}
