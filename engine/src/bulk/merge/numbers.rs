//! The numbers that a merge gives to names which are in use.

use std::collections::HashMap;

use crate::model::{Digest, Filename};

/// Digits of the first numbers.
const DIGITS_MIN: usize = 4;

/// Which numbers were tried.
///
/// Names that differ only where they are cut to make room for the number are one and the same with any
/// number. Each takes the first that is free; what those before it found in use, it need not try again.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The next one to be tried, by the digest of all that stands around it, and its digits: where there are
    /// more of those, a name is cut elsewhere.
    next: HashMap<Digest, u64>,
}

impl Numbers {
    /// The first numbered name that is not in use, and is from then on. What is in use must remain so.
    pub(super) fn first_free<E>(
        &mut self,
        filename: &Filename,
        mut is_in_use: impl FnMut(&Filename) -> Result<bool, E>,
    ) -> Result<Filename, E> {
        let mut digits = DIGITS_MIN;
        loop {
            let (before, behind) = filename.around_number(digits);
            // No name has a NUL.
            let around = format!("{before}\0{behind}\0{digits}");
            let (first, last) = numbers_of(digits);
            let next = self.next.entry(Digest::of(around.as_bytes())).or_insert(first);
            while *next <= last {
                let candidate = filename.suffixed(*next);
                *next += 1;
                if !is_in_use(&candidate)? {
                    return Ok(candidate);
                }
            }
            digits += 1;
        }
    }
}

/// The first and the last number that has so many digits.
fn numbers_of(digits: usize) -> (u64, u64) {
    let power = |exponent: usize| {
        u32::try_from(exponent).ok().and_then(|exponent| 10_u64.checked_pow(exponent))
    };
    let first = if digits == DIGITS_MIN { Some(1) } else { power(digits - 1) };
    (first.unwrap_or(u64::MAX), power(digits).map_or(u64::MAX, |beyond| beyond - 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use super::*;
    use crate::limits::FILENAME_BYTES_MAX;

    fn name(text: &str) -> Filename {
        Filename::exact(text).unwrap()
    }

    /// The first number that is free, looked for from the start.
    fn plain(filename: &Filename, used: &BTreeSet<Filename>) -> Filename {
        (1..=100_000)
            .map(|number| filename.suffixed(number))
            .find(|name| !used.contains(name))
            .unwrap()
    }

    #[test]
    fn each_name_gets_the_number_that_it_would_get_by_itself() {
        let long = |end: &str| format!("{}{end}", "x".repeat(FILENAME_BYTES_MAX - end.len()));
        // An extension that leaves room for a number of four digits, and for none of five.
        let extension = format!(".{}", "e".repeat(FILENAME_BYTES_MAX - 7));
        let mut names: Vec<Filename> = [
            "a",
            "a.txt",
            "d/a",
            &long("1"),
            &long("2"),
            &long("é"),
            &long("3.txt"),
            &long("4.txt"),
        ]
        .map(name)
        .into();
        names.extend(["pq", "pr", "ps"].map(|base| name(&format!("{base}{extension}"))));
        let mut used: BTreeSet<Filename> =
            [2, 3, 5].map(|number| name("a").suffixed(number)).into();
        // All of four digits for those that are cut.
        for of in [&names[3], &names[6], &names[8]] {
            used.extend((1..10_000).filter(|n| n % 4999 != 0).map(|n| of.suffixed(n)));
        }
        let mut numbers = Numbers::default();
        for round in 0..4 {
            for filename in &names {
                let expected = plain(filename, &used);
                let found =
                    numbers.first_free(filename, |name| Ok::<_, Infallible>(used.contains(name)));
                assert_eq!(found.unwrap(), expected, "{round}");
                used.insert(expected);
            }
        }
    }

    #[test]
    fn numbers_follow_each_other() {
        let all = (DIGITS_MIN..=20).map(numbers_of);
        let mut next = 1;
        for (first, last) in all {
            assert_eq!(first, next);
            next = last.wrapping_add(1);
        }
        assert_eq!(next, 0, "to the largest");
    }
}
