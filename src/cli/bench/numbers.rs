//! Conversions between counts and fractions, and numbers that look random and are not.

use anyhow::anyhow;

/// A count as a fraction; exact up to 2^53, far beyond every count of a benchmark.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "no lossless way exists")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A fraction as a count: rounded, zero if it is negative or no number.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, which is what is wanted"
)]
pub(crate) fn whole(fraction: f64) -> u64 {
    fraction.round() as u64
}

/// A count as an index; one that does not fit is beyond every slice.
pub(crate) fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A length as a count.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The first number over the second, zero where there is nothing to divide by.
pub(crate) fn ratio(of: f64, by: f64) -> f64 {
    if by == 0.0 { 0.0 } else { of / by }
}

/// The middle of some numbers; zero if there are none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied().unwrap_or_default();
    if sorted.len() % 2 == 1 {
        return upper;
    }
    let lower = middle.checked_sub(1).and_then(|below| sorted.get(below)).copied();
    f64::midpoint(lower.unwrap_or_default(), upper)
}

/// Bytes that nobody can foresee.
///
/// # Errors
/// The system has none.
pub(crate) fn random<const BYTES: usize>() -> anyhow::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(bytes)
}

/// A pseudorandom number for each input, so that a run can be repeated.
pub(crate) fn mixed(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A pseudorandom fraction from 0 up to 1 for each input.
pub(crate) fn fraction(seed: u64) -> f64 {
    // The upper 53 bits are as many as a fraction holds.
    float(mixed(seed) >> 11) / float(1 << 53)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_of_figures_lies_between_two() {
        assert!((median(&[4.0, 1.0, 3.0]) - 3.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let below = (0..10_000).filter(|&seed| fraction(seed) < 0.25).count();
        assert!((2_300..2_700).contains(&below), "{below} of 10000 below a quarter");
    }
}
