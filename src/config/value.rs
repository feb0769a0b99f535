//! Values as people write them, with their units.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Units of sizes, largest first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of times, largest first, in milliseconds.
const TIMES: [(&str, u128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a path.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("the path is empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// Reads a number.
pub(super) fn number(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.trim().parse().map_err(|_no_number| format!("'{text}' is no number"))?;
    within(number, &bounds, text)
}

/// Reads a size such as `64 MiB` or `1.5GB`.
///
/// # Errors
/// It is none, has no unit, or lies beyond the bounds; the text says which.
pub fn size(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits_end = trimmed.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (digits, unit) = trimmed.split_at(digits_end.unwrap_or(trimmed.len()));
    let unit = unit.trim();
    if unit.is_empty() && digits != "0" {
        return Err(format!("'{text}' has no unit (such as KiB, MiB or GiB)"));
    }
    let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let factor = match known {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => return Err(format!("'{unit}' is no unit of sizes (such as KiB, MiB or GiB)")),
    };
    let bytes = scaled(digits, factor).ok_or_else(|| format!("'{text}' is no size"))?;
    within(bytes, &bounds, text)
}

/// A decimal number times a factor, if that is whole enough for a `u64`.
fn scaled(digits: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: u64 = whole.parse().ok()?;
    let mut sum = whole.checked_mul(factor)?;
    if digits.contains('.') {
        let numerator: u64 = fraction.parse().ok()?;
        let denominator = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = u128::from(numerator) * u128::from(factor) / u128::from(denominator);
        sum = sum.checked_add(u64::try_from(part).ok()?)?;
    }
    Some(sum)
}

/// Reads a time such as `30s`, `5m`, `1d 12h`; a day has 24 hours.
pub(super) fn time(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    let trimmed = text.trim();
    if trimmed.chars().all(|letter| letter.is_ascii_digit()) && trimmed != "0" {
        return Err(format!("'{text}' has no unit (such as 30s, 5m, 12h or 30d)"));
    }
    if trimmed == "0" {
        return within(Duration::ZERO, &bounds, text);
    }
    let wrong =
        |error: jiff::Error| format!("'{text}' is no time such as 30s, 5m, 12h or 30d ({error})");
    let span: Span = trimmed.parse().map_err(wrong)?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(wrong)?;
    let time = Duration::try_from(time).map_err(|_negative| format!("'{text}' is negative"))?;
    within(time, &bounds, text)
}

/// Reads a filter of the log, and gives it without blanks.
///
/// To the library a word that is no level is a target, of which everything is logged, and nothing of any
/// other: a slip in a level would silence the log. So a target has its level here.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let mut parts = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let pair = part.split_once('=').filter(|_| !part.contains('['));
        if let Some((target, level)) = pair {
            parts.push(format!("{}={}", target.trim(), level.trim()));
        } else if part.contains('[') || part.parse::<LevelFilter>().is_ok() {
            parts.push(part.to_owned());
        } else {
            return Err(format!("'{part}' is no level"));
        }
    }
    let filter = parts.join(",");
    EnvFilter::try_new(&filter).map_err(|error| format!("'{text}' is no filter ({error})"))?;
    Ok(filter)
}

fn within<T: PartialOrd>(value: T, bounds: &RangeInclusive<T>, text: &str) -> Result<T, String> {
    if value < *bounds.start() {
        Err(format!("'{text}' is too little"))
    } else if value > *bounds.end() {
        Err(format!("'{text}' is too much"))
    } else {
        Ok(value)
    }
}

/// A size with the largest unit in which it is whole.
pub(super) fn shown_size(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    match UNITS.iter().find(fits) {
        Some((unit, factor)) => format!("{} {unit}", bytes / factor),
        None => format!("{bytes} B"),
    }
}

/// A time with the largest unit in which it is whole.
pub(super) fn shown_time(time: Duration) -> String {
    let millis = time.as_millis();
    let fits = |(_, factor): &&(&str, u128)| millis >= *factor && millis.is_multiple_of(*factor);
    match TIMES.iter().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", millis / factor),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit() {
        for (text, bytes) in [
            ("64 MiB", 64 << 20),
            ("64MiB", 64 << 20),
            (" 1.5 gib ", 3 << 29),
            ("2 GB", 2_000_000_000),
            ("512 B", 512),
            ("0", 0),
        ] {
            assert_eq!(size(text, 0..=u64::MAX), Ok(bytes), "{text}");
        }
        for text in
            ["64", "", "MiB", "64 furlongs", "-1 MiB", "1.2.3 MiB", "1. MiB", "99999999 TiB"]
        {
            assert!(size(text, 0..=u64::MAX).is_err(), "{text}");
        }
        assert!(size("64", 0..=u64::MAX).unwrap_err().contains("no unit"));
    }

    #[test]
    fn a_time_has_a_unit() {
        let hours = |hours| Ok(Duration::from_hours(hours));
        let any = Duration::ZERO..=Duration::MAX;
        for (text, expected) in [
            ("30d", hours(720)),
            ("12h", hours(12)),
            ("2w", hours(336)),
            (" 1d 12h ", hours(36)),
            ("P1D", hours(24)),
            ("30s", Ok(Duration::from_secs(30))),
            ("250ms", Ok(Duration::from_millis(250))),
            ("0", Ok(Duration::ZERO)),
        ] {
            assert_eq!(time(text, any.clone()), expected, "{text}");
        }
        for text in ["", "30", "1mo", "1y", "for ever", "-3", "-1d", "1d ago"] {
            assert!(time(text, any.clone()).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_are_kept_and_shown() {
        assert!(number("256", 1..=256).is_ok());
        assert!(number("257", 1..=256).unwrap_err().contains("too much"));
        assert!(size("1 KiB", (1 << 20)..=(1 << 30)).unwrap_err().contains("too little"));
        assert_eq!(shown_size(3 << 29), "1536 MiB");
        assert_eq!(shown_size(1_000_000), "1 MB");
        assert_eq!(shown_time(Duration::from_secs(90)), "90s");
        assert_eq!(shown_time(Duration::from_hours(48)), "2d");
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for bytes in [0, 1, 1023, 1024, 1 << 20, 5_000_000, u64::MAX] {
            assert_eq!(size(&shown_size(bytes), 0..=u64::MAX), Ok(bytes));
        }
        for millis in [0, 1, 1500, 60_000, 86_400_000] {
            let shown = Duration::from_millis(millis);
            assert_eq!(time(&shown_time(shown), Duration::ZERO..=Duration::MAX), Ok(shown));
        }
    }
}
