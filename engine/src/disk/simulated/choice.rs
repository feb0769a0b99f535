//! Decides what of the pending changes reached the platter.

use super::Reached;

/// Answers the questions that a power loss asks, the same ones for the same seed.
pub(super) enum Choice {
    Nothing,
    Everything,
    Random { generator: SplitMix64, tears: bool },
}

impl Choice {
    pub(super) fn of(reached: Reached) -> Self {
        match reached {
            Reached::Nothing => Self::Nothing,
            Reached::Everything => Self::Everything,
            Reached::Random(seed) => Self::Random { generator: SplitMix64(seed), tears: false },
            Reached::Torn(seed) => Self::Random { generator: SplitMix64(seed), tears: true },
        }
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// A number of 0 to `bound - 1`: 0 for nothing, `bound - 1` for everything.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Everything => bound.saturating_sub(1),
            Self::Random { generator, .. } => {
                let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
                usize::try_from(generator.next() % bound).unwrap_or(0)
            }
        }
    }

    /// How many of a sector's bytes reached the platter; between none and all only where sectors
    /// are torn.
    pub(super) fn of_sector(&mut self, bytes: usize) -> usize {
        let whole = if self.coin() { bytes } else { 0 };
        if matches!(self, Self::Random { tears: true, .. }) && self.below(3) == 0 {
            return self.below(bytes);
        }
        whole
    }

    /// Which of so many changes reached the platter: the first few, as a file system with a
    /// journal has it, or any of them.
    pub(super) fn subset(&mut self, changes: usize) -> Vec<bool> {
        if self.coin() {
            let first = self.below(changes + 1);
            return (0..changes).map(|change| change < first).collect();
        }
        (0..changes).map(|_| self.coin()).collect()
    }
}

/// Steele, Lea and Flood's generator: one word of state, and good enough for coins.
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
