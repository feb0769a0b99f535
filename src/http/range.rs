//! The `Range` header: one range of bytes, or as if there were none.

use std::ops::Range;

/// The part of a content that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: no range, several, or one that is not understood.
    Whole,
    /// These bytes, not empty and within the content.
    Part(Range<u64>),
    /// Bytes that are not there.
    Outside,
}

/// Reads the header against a content of `length` bytes.
pub(crate) fn wanted(header: &str, length: u64) -> Wanted {
    parse(header, length).unwrap_or(Wanted::Whole)
}

fn parse(header: &str, length: u64) -> Option<Wanted> {
    let (unit, range) = header.split_once('=')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let range = match (first, last) {
        ("", suffix) => {
            let suffix = number(suffix)?;
            // All of a content that is shorter is meant, be it nothing (RFC 9110, 14.1.2); of
            // nothing no part can be told.
            if length == 0 && suffix > 0 {
                return Some(Wanted::Whole);
            }
            length.saturating_sub(suffix)..length
        }
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some(if range.start < range.end { Wanted::Part(range) } else { Wanted::Outside })
}

/// A number of bytes; one beyond 64 bits is beyond every content too.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_cut_to_the_content() {
        for (header, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("bytes=8-", 8..10),
            ("bytes=8-99999999999999999999999", 8..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
            ("Bytes = 1-1", 1..2),
        ] {
            assert_eq!(wanted(header, 10), Wanted::Part(range), "{header}");
        }
    }

    #[test]
    fn the_last_bytes_of_an_empty_content_are_all_of_it() {
        assert_eq!(wanted("bytes=-5", 0), Wanted::Whole);
        for header in ["bytes=-0", "bytes=0-", "bytes=0-4"] {
            assert_eq!(wanted(header, 0), Wanted::Outside, "{header}");
        }
    }

    #[test]
    fn what_lies_outside_is_told_and_what_is_strange_is_ignored() {
        for header in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(wanted(header, 10), Wanted::Outside, "{header}");
        }
        for header in ["bytes=4-2", "bytes=0-1,3-4", "bytes=-", "bytes=a-b", "lines=1-2", "bytes"] {
            assert_eq!(wanted(header, 10), Wanted::Whole, "{header}");
        }
    }
}
