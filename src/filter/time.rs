//! Times as filters spell them: ISO 8601 with an offset or `Z`, without (UTC), or a date only.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Letters of the longest text that is looked at.
const LETTERS_MAX: usize = 64;

/// Nanoseconds since 1970 of a time, or of the midnight (UTC) that a date begins with.
pub(super) fn parse(text: &str) -> Option<i128> {
    // Zones by name and weeks are jiff's, not the API's.
    let known = |letter: u8| letter.is_ascii_digit() || b"-+:. TtZz".contains(&letter);
    if text.len() > LETTERS_MAX || !text.bytes().all(known) {
        return None;
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_nanosecond());
    }
    // An offset that is there and wrong is no reason to read the rest as UTC.
    let clock = text.split_once(['T', 't', ' ']).map_or("", |(_, clock)| clock);
    if clock.contains(['+', '-', 'Z', 'z']) {
        return None;
    }
    let civil: DateTime = text.parse().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    #[test]
    fn times_are_read_in_every_usual_spelling() {
        let expected = 1_700_000_000 * SECOND;
        for text in [
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20.000000Z",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20",
            "2023-11-15T11:13:20+13:00",
            "2023-11-14 14:13:20-08:00",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        assert_eq!(parse("2023-11-14"), Some(1_699_920_000 * SECOND));
        assert_eq!(parse("2023-11-14T22:13"), Some(expected - 20 * SECOND));
        assert_eq!(parse("1970-01-01T00:00:00.000000001Z"), Some(1));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "1700000000",
            "2023-13-01",
            "2023-02-30",
            "2023-11-14T25:00:00Z",
            "2023-11-14T22:13:20+99:00",
            "2023-11-14T22:13:20X",
            "2023-11-14T22:13:20[Europe/Paris]",
            "2023-W46-2",
            "14.11.2023",
            &"2".repeat(1000),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
