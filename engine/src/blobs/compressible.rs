//! Whether a content is worth compressing: an estimate from its first bytes.
//!
//! Wrong guesses cost time or space, never bytes. Compressing a JPEG again costs 20 CPU seconds a
//! gigabyte and saves nothing, so what looks compressed is stored as it is.

use std::sync::LazyLock;

use crate::limits::COMPRESSIBLE_SAMPLE_BYTES;

/// Bits a byte above which a sample counts as compressed or encrypted. Text has 4 to 5, machine
/// code and raw tensors of small range 5 to 7, 4 KiB of random bytes 7.95.
const ENTROPY_BITS_MAX: f64 = 7.4;

/// Bytes of each of the stretches of a full sample that are counted first, a quarter of it together, and how
/// far apart they begin: so each of them stands elsewhere within a kibibyte, as rows of tables and of images
/// like to begin with the same.
const STRETCH_BYTES: usize = 256;
const STRETCHES: usize = COMPRESSIBLE_SAMPLE_BYTES / 4 / STRETCH_BYTES;
const STRETCH_STRIDE_BYTES: usize = 5 * STRETCH_BYTES;

/// Bits a byte of the stretches up to which the whole sample is not above the bound, and above which it is:
/// of a quarter as many bytes the entropy comes out less, by 0.13 bits where they are random and by about as much
/// at the bound. A stretch that is unlike the others, as a header before what is compressed, leaves 6.6 bits, and
/// the rest is counted too.
const STRETCHES_LOW_BITS: f64 = 6.0;
const STRETCHES_HIGH_BITS: f64 = 7.6;

/// How formats that are compressed in themselves begin: bytes, and where they stand.
const COMPRESSED_MAGICS: &[(usize, &[u8])] = &[
    (0, b"\xFF\xD8\xFF"),             // JPEG
    (0, b"\x89PNG\r\n\x1A\n"),        // PNG
    (0, b"GIF8"),                     // GIF
    (8, b"WEBP"),                     // WebP, in RIFF
    (0, b"\x1F\x8B"),                 // gzip
    (0, b"PK\x03\x04"),               // zip, and what is one: docx, npz, jar
    (0, b"\x28\xB5\x2F\xFD"),         // zstd
    (0, b"\xFD7zXZ\0"),               // xz
    (0, b"BZh"),                      // bzip2
    (0, b"7z\xBC\xAF\x27\x1C"),       // 7z
    (0, b"\x04\x22\x4D\x18"),         // lz4
    (0, b"Rar!\x1A\x07"),             // rar
    (4, b"ftyp"),                     // mp4, mov, heic, avif
    (0, b"\x1A\x45\xDF\xA3"),         // webm, mkv
    (0, b"OggS"),                     // ogg, opus
    (0, b"fLaC"),                     // flac
    (0, b"ID3"),                      // mp3 with a tag
    (0, b"\xFF\xFB"),                 // mp3
    (0, b"\xFF\xF3"),                 // mp3, low rate
    (0, b"\xFF\xF1"),                 // aac
    (0, b"\0\0\0\x0CJXL \r\n\x87\n"), // JPEG XL
    (0, b"\0\0\0\x0CjP  \r\n\x87\n"), // JPEG 2000
    (0, b"wOF2"),                     // web font
];

/// Whether compressing a content that begins like this is worth the time.
pub(crate) fn is_compressible(start: &[u8]) -> bool {
    let sample = start.get(..COMPRESSIBLE_SAMPLE_BYTES).unwrap_or(start);
    let is_compressed = COMPRESSED_MAGICS.iter().any(|(offset, magic)| {
        let rest = sample.get(*offset..);
        rest.is_some_and(|rest| rest.starts_with(magic))
    });
    !is_compressed && !looks_random(sample)
}

/// Whether so many bits are in a byte of the sample that it counts as compressed or encrypted.
fn looks_random(sample: &[u8]) -> bool {
    let by_stretches = stretches(sample).and_then(|bytes| {
        let bits = entropy_bits(&bytes);
        let is_clear = bits <= STRETCHES_LOW_BITS || bits > STRETCHES_HIGH_BITS;
        is_clear.then_some(bits > STRETCHES_HIGH_BITS)
    });
    by_stretches.unwrap_or_else(|| entropy_bits(sample) > ENTROPY_BITS_MAX)
}

/// The stretches of a full sample; `None` of a shorter one.
fn stretches(sample: &[u8]) -> Option<[u8; STRETCHES * STRETCH_BYTES]> {
    let mut bytes = [0; STRETCHES * STRETCH_BYTES];
    let (stretches, _) = bytes.as_chunks_mut::<STRETCH_BYTES>();
    for (at, stretch) in stretches.iter_mut().enumerate() {
        *stretch = *sample.get(at * STRETCH_STRIDE_BYTES..)?.first_chunk()?;
    }
    Some(bytes)
}

/// A count times its logarithm, for every count that a sample can have: looked up, since 256
/// logarithms would take as long as a quarter of the content's digest.
static COUNTS_BY_LOGARITHM: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let counts = (0_u32..).map(f64::from).take(COMPRESSIBLE_SAMPLE_BYTES + 1);
    counts.map(|count| if count > 1.0 { count * count.log2() } else { 0.0 }).collect()
});

fn by_logarithm(count: usize) -> f64 {
    COUNTS_BY_LOGARITHM.get(count).copied().unwrap_or(f64::MAX)
}

/// Shannon entropy of the sample's bytes, in bits a byte.
#[expect(clippy::indexing_slicing, reason = "a byte is below the length of an array of 256")]
fn entropy_bits(sample: &[u8]) -> f64 {
    // Four tables in turn: of bytes that are the same, or follow each other closely, the one need not wait
    // until the other is counted.
    let mut counts = [[0_u16; 256]; 4];
    let (fours, rest) = sample.as_chunks::<4>();
    for four in fours {
        for (counts, byte) in counts.iter_mut().zip(four) {
            counts[usize::from(*byte)] += 1;
        }
    }
    let [one, two, three, four] = &mut counts;
    for byte in rest {
        one[usize::from(*byte)] += 1;
    }
    let counts = one.iter().zip(two).zip(three).zip(four);
    let counts = counts.map(|(((one, two), three), four)| *one + *two + *three + *four);
    let of_all = by_logarithm(sample.len());
    let of_each: f64 = counts.map(|count| by_logarithm(usize::from(count))).sum();
    let total = u32::try_from(sample.len()).map_or(f64::MAX, f64::from);
    if total == 0.0 { 0.0 } else { (of_all - of_each) / total }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn random(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn with_magic(offset: usize, magic: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        bytes
    }

    #[test]
    fn text_tables_and_zeros_are_worth_it() {
        let text = "the quick brown fox jumps over the lazy dog\n".repeat(200);
        let table: Vec<u8> = (0..2000u32).flat_map(u32::to_le_bytes).collect();
        assert!(is_compressible(text.as_bytes()));
        assert!(is_compressible(&table));
        assert!(is_compressible(&[0; 10_000]));
        assert!(is_compressible(b""));
        assert!(is_compressible(b"P"));
    }

    #[test]
    fn what_looks_random_is_not() {
        assert!(!is_compressible(&random(4096)));
        assert!(!is_compressible(&random(1 << 20)));
        assert!(!is_compressible(&random(512)));
    }

    #[test]
    fn compressed_formats_are_known_by_how_they_begin() {
        for (offset, magic) in COMPRESSED_MAGICS {
            assert!(!is_compressible(&with_magic(*offset, magic)), "{magic:?}");
            // A sample that ends within the magic is just a short text.
            let cut = &with_magic(*offset, magic)[..offset + magic.len() - 1];
            assert!(is_compressible(cut), "{magic:?}");
        }
    }

    #[test]
    fn only_the_sample_is_looked_at() {
        let mut bytes = vec![b'a'; COMPRESSIBLE_SAMPLE_BYTES];
        bytes.extend(random(1 << 16));
        assert!(is_compressible(&bytes));
    }

    #[test]
    fn entropy_is_that_of_the_textbook() {
        assert!(entropy_bits(&[7; 100]).abs() < 1e-9);
        assert!((entropy_bits(b"abababab") - 1.0).abs() < 1e-9);
        let all: Vec<u8> = (0..=255).collect();
        assert!((entropy_bits(&all) - 8.0).abs() < 1e-9);
    }

    #[test]
    fn every_byte_counts_once_wherever_it_stands() {
        let bytes = random(COMPRESSIBLE_SAMPLE_BYTES);
        for length in (0..70).chain([1021, 1022, 1023, 4095, 4096]) {
            let sample = &bytes[..length];
            let total = f64::from(u32::try_from(length).unwrap());
            let of_each = (0..=255_u8).map(|byte| {
                let count = sample.split(|other| *other == byte).count() - 1;
                let share = f64::from(u32::try_from(count).unwrap()) / total;
                if count == 0 { 0.0 } else { -share * share.log2() }
            });
            assert!((entropy_bits(sample) - of_each.sum::<f64>()).abs() < 1e-9, "{length} bytes");
        }
    }

    #[test]
    fn the_stretches_of_a_full_sample_stand_at_every_place_within_a_kibibyte() {
        let places: Vec<u8> = (0..16).flat_map(|at| [at; STRETCH_BYTES]).collect();
        assert_eq!(places.len(), COMPRESSIBLE_SAMPLE_BYTES);
        let counted = stretches(&places).unwrap();
        let (counted, _) = counted.as_chunks::<STRETCH_BYTES>();
        assert_eq!(counted, [0, 5, 10, 15].map(|at| [at; STRETCH_BYTES]));
        assert!(stretches(&places[1..]).is_none());
    }

    #[test]
    fn a_header_before_random_bytes_has_them_counted_whole() {
        for header in [32, 128, 256, 300] {
            let mut bytes = random(COMPRESSIBLE_SAMPLE_BYTES);
            bytes[..header].fill(0);
            assert!(!is_compressible(&bytes), "{header} bytes");
        }
    }

    proptest! {
        /// Bytes of one kind throughout, from a few values to all, evenly or most of them rare.
        #[test]
        fn stretches_tell_what_the_whole_sample_tells(
            seed: [u8; 32], values in 1_u64..=256, powers in 1..6,
        ) {
            let mut draws = vec![0; 4 * COMPRESSIBLE_SAMPLE_BYTES];
            blake3::Hasher::new_keyed(&seed).finalize_xof().fill(&mut draws);
            let (draws, _) = draws.as_chunks::<4>();
            // The draw is a share of 2^32, and so is each of its powers.
            let byte = |draw: &[u8; 4]| {
                let draw = u64::from(u32::from_le_bytes(*draw));
                let share = (1..powers).fold(draw, |share, _| (share * draw) >> 32);
                u8::try_from((share * values) >> 32).unwrap()
            };
            let sample: Vec<u8> = draws.iter().map(byte).collect();
            prop_assert_eq!(looks_random(&sample), entropy_bits(&sample) > ENTROPY_BITS_MAX);
        }
    }
}
