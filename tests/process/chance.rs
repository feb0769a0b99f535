//! A pseudorandom generator (SplitMix64): one seed gives one sequence, on every machine.

/// Numbers from one seed.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another generator, whose numbers have nothing to do with this one's.
    pub(crate) fn branch(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of these, if there are any.
    pub(crate) fn one_of<T>(&mut self, things: impl IntoIterator<Item = T>) -> Option<T> {
        let mut things: Vec<T> = things.into_iter().collect();
        if things.is_empty() {
            return None;
        }
        let at = self.below(things.len());
        Some(things.swap_remove(at))
    }
}

/// The seed of this run: `GRANARY_SEED`, or the one that is given.
pub(crate) fn seed(otherwise: u64) -> u64 {
    std::env::var("GRANARY_SEED").map_or(otherwise, |seed| seed.parse().unwrap())
}
