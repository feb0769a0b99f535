//! `docs/limits.md`: every bound of the program with its reason, made from the sources that state
//! them, and the test that keeps it true.

use std::fmt::Write as _;
use std::path::Path;

use crate::generated;

/// The sources whose constants are bounds, and what is said above each.
const SOURCES: &[(&str, &str)] = &[
    ("src/http/limits.rs", "Requests"),
    ("src/auth/token.rs", "Tokens"),
    ("src/auth/password.rs", "Passwords"),
    ("src/cli/listener/bounds.rs", "Connections"),
    ("src/cli/listener/refusal.rs", "Connections that are refused"),
    ("src/http/witness.rs", "Refusals in the audit log"),
    ("src/http/access_log.rs", "Lines of the log about requests"),
    ("src/purge.rs", "Purging"),
    ("engine/src/limits.rs", "The storage engine"),
    ("src/cli/client.rs", "Client commands: connections"),
    ("src/cli/retry.rs", "Client commands: trying again"),
];

const HEAD: &str = "\
# Limits

Made from the constants in the sources, which say why each bound is what it is; a test keeps it
true. What the server's configuration can change is in `settings.md`; `ARCHITECTURE.md` section 1 has
the queues. What a request gets beyond a bound:

| on | status |
|---|---|
| load | it waits, then 503 with `Retry-After` |
| what one user has under way, or tries in vain | 429 with `Retry-After` |
| what is sent | 400 or 413, with a text that names the bound; 431 for a head |
| the time that a body takes | 408; a head that does not come ends the connection |
| space: the disk's reserve, a team's quota | 507 |
";

/// A constant: its name, its value as it is written, and what is said of it.
struct Constant<'a> {
    name: &'a str,
    kind: &'a str,
    value: &'a str,
    about: String,
}

fn constants(source: &str) -> Vec<Constant<'_>> {
    let (mut found, mut about) = (Vec::new(), String::new());
    for line in source.lines() {
        if let Some(said) = line.strip_prefix("/// ") {
            about.push(' ');
            about.push_str(said);
            continue;
        }
        let is_of_file = line.starts_with("const ") || line.starts_with("pub");
        let declared = line.split_once("const ").filter(|_| is_of_file);
        if let Some((_, declared)) = declared
            && let Some((name, rest)) = declared.split_once(": ")
            && let Some((kind, value)) = rest.trim_end_matches(';').split_once(" = ")
            && ["usize", "u64", "u32", "u16", "u8", "Duration"].contains(&kind)
        {
            found.push(Constant { name, kind, value, about: about.trim().to_owned() });
        }
        about.clear();
    }
    found
}

/// A product or a shift of numbers.
fn number(text: &str) -> Option<u64> {
    if let Some((number, by)) = text.split_once(" << ") {
        return Some(self::number(number)? << self::number(by)?);
    }
    text.split(" * ").try_fold(1u64, |product, factor| {
        Some(product * factor.trim().replace('_', "").parse::<u64>().ok()?)
    })
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if number > 0 && number.is_multiple_of(1 << shift) {
            return format!("{} {unit}", with_commas(number >> shift));
        }
    }
    format!("{} bytes", with_commas(number))
}

fn time(milliseconds: u64) -> String {
    for (unit, of) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)] {
        // A day and a half is told in hours.
        if milliseconds > 0 && milliseconds.is_multiple_of(of) {
            return format!("{} {unit}", with_commas(milliseconds / of));
        }
    }
    format!("{} ms", with_commas(milliseconds))
}

/// A value with its unit; what is computed otherwise stands as it is written.
fn shown(constant: &Constant<'_>) -> String {
    let Constant { name, kind, value, .. } = constant;
    let as_written = || format!("`{value}`");
    if *kind == "Duration" {
        let parts = value.strip_prefix("Duration::from_").and_then(|rest| rest.split_once('('));
        let Some((unit, count)) = parts else { return as_written() };
        let of = match unit {
            "millis" => 1,
            "secs" => 1000,
            "mins" => 60_000,
            "hours" => 3_600_000,
            _ => return as_written(),
        };
        return number(count.trim_end_matches(')'))
            .map_or_else(as_written, |count| time(count * of));
    }
    let Some(number) = number(value) else { return as_written() };
    if name.contains("BYTES") {
        bytes(number)
    } else if name.contains("SECONDS") {
        time(number * 1000)
    } else if name.contains("PERCENT") {
        format!("{number} %")
    } else {
        with_commas(number)
    }
}

/// What is said, as a cell of a table: names of constants stand as such, without brackets.
fn cell(about: &str) -> String {
    about.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

fn reference() -> String {
    let mut text = HEAD.to_owned();
    for (source, title) in SOURCES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let code = std::fs::read_to_string(path).unwrap();
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        write!(text, "\n## {title}\n\nFrom `{source}`.\n\n| limit | value | |\n|---|---|---|\n")
            .unwrap();
        for constant in constants(code) {
            let (name, value, about) = (constant.name, shown(&constant), cell(&constant.about));
            writeln!(text, "| `{name}` | {value} | {about} |").unwrap();
        }
    }
    text
}

#[test]
fn the_reference_of_limits_is_that_of_the_sources() {
    generated::assert_same("docs/limits.md", &reference());
}

#[test]
fn values_are_shown_with_their_units() {
    let shown = |name, kind, value| shown(&Constant { name, kind, value, about: String::new() });
    assert_eq!(shown("UPLOAD_MEMORY_BYTES", "usize", "96 << 20"), "96 MiB");
    assert_eq!(shown("FILENAME_BYTES_MAX", "usize", "4096"), "4 KiB");
    assert_eq!(shown("GROUP_CHANGES_MAX", "usize", "65_536"), "65,536");
    assert_eq!(shown("REFRESH_SECONDS", "u64", "8 * 60 * 60"), "8 h");
    assert_eq!(shown("SCRUB_PERIOD", "Duration", "Duration::from_hours(7 * 24)"), "7 d");
    assert_eq!(shown("MEMORY_WAIT", "Duration", "Duration::from_millis(100)"), "100 ms");
    assert_eq!(shown("DEAD_PERCENT_MAX", "u64", "20"), "20 %");
    assert_eq!(shown("OTHER", "usize", "FIRST + 1"), "`FIRST + 1`");
}

/// What the page for operators says of limits, in its own words, with the constant that it is about.
#[test]
fn the_page_for_operators_says_the_same_of_limits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let page = read("docs/operating.md").split_whitespace().collect::<Vec<_>>().join(" ");
    for (source, name, value, words) in [
        (
            "engine/src/limits.rs",
            "UPLOAD_MEMORY_BYTES",
            "96 MiB",
            "uploads on their way | 96 MiB, and",
        ),
        (
            "engine/src/limits.rs",
            "SPOOL_KEPT_BYTES_MAX",
            "48 MiB",
            "that are kept until they are whole | 48 MiB;",
        ),
        ("engine/src/blobs/spares.rs", "UPLOAD_SPARES_MAX", "4", "and 4 MiB to receive large ones"),
        ("engine/src/limits.rs", "DEAD_PERCENT_MAX", "20 %", "up to a fifth of the live ones"),
        ("engine/src/limits.rs", "SCRUB_BYTES_PER_SECOND", "8 MiB", "a terabyte at 8 MiB/s"),
        ("engine/src/limits.rs", "COMPACTION_GAIN_PERCENT_MIN", "10 %", "a tenth of a segment"),
        ("engine/src/limits.rs", "INLINE_BYTES_MAX", "1 MiB", "contents up to 1 MiB"),
        ("engine/src/limits.rs", "SEGMENT_BYTES", "128 MiB", "segments of 128 MiB"),
        ("src/auth/token.rs", "ACCESS_SECONDS", "5 min", "access tokens for five minutes"),
        ("src/auth/token.rs", "REFRESH_SECONDS", "8 h", "refresh token for eight hours"),
        ("src/cli/listener/bounds.rs", "INPUT_BYTES_MAX", "64 KiB", "a connection | 64 KiB, up to"),
    ] {
        let code = read(source);
        let found = constants(&code);
        let found = found.iter().find(|constant| constant.name == name).unwrap();
        assert_eq!(shown(found), value, "{name}");
        assert!(page.contains(words), "docs/operating.md does not say: {words}");
    }
}
