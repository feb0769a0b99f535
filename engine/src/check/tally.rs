//! Two ways to count the same contents, compared in bounded memory.
//!
//! Every row that names a content adds a number that digest, length and CRC-32 make; the content's
//! own row takes that number away as often as it says that it is named. Contents that agree leave
//! zero. Sums are kept by the digest's first bits, so that what does not agree is found again by
//! reading a small part of the rows once more. That different errors cancel out is one chance in
//! two to the 127.

use crate::model::Digest;

/// Sums that are kept apart.
pub(super) const PARTS: usize = 4096;

/// Spreads length and CRC-32 over the whole number; odd, so that none is lost.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// What a row says of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) digest: Digest,
    /// Bytes.
    pub(super) length: u64,
    pub(super) crc32: u32,
}

impl Told {
    fn number(&self) -> u128 {
        let [_, _, first @ ..] = self.digest.0;
        let digest = first.first_chunk().map_or(0, |bytes: &[u8; 16]| u128::from_le_bytes(*bytes));
        let rest = (u128::from(self.length) << 32) | u128::from(self.crc32);
        digest.wrapping_add(rest.wrapping_mul(SPREAD))
    }
}

/// The part that a digest belongs to.
pub(super) fn part_of(digest: &Digest) -> usize {
    let [first, second, ..] = digest.0;
    (usize::from(first) << 4) | usize::from(second >> 4)
}

/// The sums.
#[derive(Debug)]
pub(super) struct Tally {
    parts: Vec<u128>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { parts: vec![0; PARTS] }
    }

    /// A row names the content.
    pub(super) fn name(&mut self, told: &Told) {
        if let Some(part) = self.parts.get_mut(part_of(&told.digest)) {
            *part = part.wrapping_add(told.number());
        }
    }

    /// The content says that so many rows name it.
    pub(super) fn counted(&mut self, told: &Told, times: u64) {
        if let Some(part) = self.parts.get_mut(part_of(&told.digest)) {
            *part = part.wrapping_sub(told.number().wrapping_mul(u128::from(times)));
        }
    }

    /// Parts in which the two do not agree.
    pub(super) fn disagreeing(&self) -> Vec<usize> {
        let parts = self.parts.iter().enumerate();
        parts.filter(|(_, sum)| **sum != 0).map(|(part, _)| part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(number: u64) -> Told {
        Told { digest: Digest::of(&number.to_le_bytes()), length: number % 7, crc32: 5 }
    }

    #[test]
    fn what_agrees_leaves_nothing_and_every_difference_shows_in_its_part() {
        let balanced = |change: &dyn Fn(&mut Tally)| {
            let mut tally = Tally::new();
            for number in 0..1000 {
                for _ in 0..number % 3 {
                    tally.name(&told(number));
                }
                tally.counted(&told(number), number % 3);
            }
            change(&mut tally);
            tally.disagreeing()
        };
        assert_eq!(balanced(&|_| {}), [0; 0]);
        let part = part_of(&told(4).digest);
        assert_eq!(balanced(&|tally| tally.name(&told(4))), [part]);
        assert_eq!(balanced(&|tally| tally.counted(&told(4), 1)), [part]);
        assert_eq!(balanced(&|tally| tally.counted(&told(4), u64::MAX)), [part]);
        for (length, crc32) in [(3, 5), (4, 6)] {
            let other = Told { length, crc32, ..told(4) };
            assert_eq!(
                balanced(&|tally| {
                    tally.name(&other);
                    tally.counted(&told(4), 1);
                }),
                [part]
            );
        }
    }
}
