//! The configuration file: TOML whose every key is a setting, with the place of what is wrong.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::setting::Setting;
use super::table::SETTINGS;

/// What a file says of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) key: &'static str,
    pub(super) text: String,
    /// Line in the file, from 1.
    pub(super) line: usize,
}

/// Reads a file's text. Everything that is wrong is found, each with line and column.
///
/// # Errors
/// What is wrong in the order of the text, a sentence each, beginning with `LINE:COLUMN: `.
pub(super) fn read(text: &str) -> Result<Vec<Said>, Vec<String>> {
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let place = error.span().map_or(0, |span| span.start);
            return Err(vec![at(text, place, &format!("no TOML: {}", error.message()))]);
        }
    };
    let mut reading = Reading { text, said: Vec::new(), wrong: Vec::new() };
    reading.table("", &table);
    let Reading { said, mut wrong, .. } = reading;
    if wrong.is_empty() {
        return Ok(said);
    }
    // The table has its keys in an order of its own.
    wrong.sort();
    Err(wrong.into_iter().map(|(offset, what)| at(text, offset, &what)).collect())
}

struct Reading<'text> {
    text: &'text str,
    said: Vec<Said>,
    /// Each with its place, in bytes from the beginning.
    wrong: Vec<(usize, String)>,
}

impl Reading<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = format!("{section}{}", name.get_ref());
            match (setting(&key), value.get_ref()) {
                (Some(setting), _) => self.value(setting, value),
                (None, DeValue::Table(inner)) if section.is_empty() && is_section(&key) => {
                    self.table(&format!("{key}."), inner);
                }
                (None, _) if section.is_empty() && is_section(&key) => {
                    let why = format!("'{key}' is a section: write [{key}], and its keys below it");
                    self.complain(&name.span(), &why);
                }
                (None, _) => self.complain(&name.span(), &unknown(&key)),
            }
        }
    }

    fn value(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>) {
        let Some(text) = scalar(value.get_ref()) else {
            let kind = value.get_ref().type_str();
            let why =
                format!("{}: {} is expected, not a TOML {kind}", setting.key, setting.expected());
            return self.complain(&value.span(), &why);
        };
        match setting.check(&text) {
            Ok(()) => {
                let line = place(self.text, value.span().start).0;
                self.said.push(Said { key: setting.key, text, line });
            }
            Err(why) => self.complain(&value.span(), &format!("{}: {why}", setting.key)),
        }
    }

    fn complain(&mut self, span: &Range<usize>, what: &str) {
        self.wrong.push((span.start, what.to_owned()));
    }
}

fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

fn is_section(name: &str) -> bool {
    SETTINGS
        .iter()
        .any(|setting| setting.key.split_once('.').is_some_and(|(section, _)| section == name))
}

/// A value as it would be typed on a command line.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix());
            Some(number.ok()?.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn unknown(key: &str) -> String {
    if key == "admin_password" {
        return "passwords do not stand in this file, which many may read; put it into a file of \
                its own and name that as admin_password_file"
            .to_owned();
    }
    // Whoever forgot the section has written the rest of the key.
    let distance = |setting: &&Setting| {
        let name = setting.key.split_once('.').map_or(setting.key, |(_, name)| name);
        let distance = |known| strsim::damerau_levenshtein(key, known);
        distance(setting.key).min(distance(name))
    };
    let nearest = SETTINGS.iter().min_by_key(distance).map_or("", |setting| setting.key);
    format!(
        "unknown key '{key}'; the nearest known one is '{nearest}' (`granary config example` \
         shows all)"
    )
}

fn at(text: &str, offset: usize, what: &str) -> String {
    let (line, column) = place(text, offset);
    format!("{line}:{column}: {what}")
}

/// Line and column of a byte, both from 1; a column is a letter.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before.get(line_start..).unwrap_or("").chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        read(text).unwrap_err().join("\n")
    }

    #[test]
    fn values_are_read_with_their_lines() {
        let text =
            "# a comment\ndata = '/srv/granary'\narchives = 0x10\n\n[log]\nformat = \"json\"\n";
        let said = read(text).unwrap();
        let of = |key, text: &str, line| Said { key, text: text.to_owned(), line };
        assert_eq!(said.len(), 3);
        assert!(said.contains(&of("data", "/srv/granary", 2)));
        assert!(said.contains(&of("archives", "16", 3)));
        assert!(said.contains(&of("log.format", "json", 6)));
        assert_eq!(read("log.format = 'json'").unwrap(), [of("log.format", "json", 1)]);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_the_nearest_known_one() {
        let said = wrong("data = 'x'\n  archive_levle = 3\n");
        assert!(said.starts_with("2:3: unknown key 'archive_levle'"), "{said}");
        assert!(said.contains("'archive_level'"), "{said}");
        let said = wrong("[log]\nformt = 'json'\n");
        assert!(said.starts_with("2:1: unknown key 'log.formt'"), "{said}");
        assert!(said.contains("'log.format'"), "{said}");
        let said = wrong("[logs]\nformat = 'json'\n");
        assert!(said.starts_with("1:2: unknown key 'logs'"), "{said}");
        assert!(wrong("[log]\n[log.format]\nx = 1\n").contains("not a TOML table"));
        assert!(wrong("grace = '5s'\n").contains("'shutdown.grace'"));
        for text in ["log = 3\n", "[[log]]\n"] {
            assert!(wrong(text).contains("'log' is a section: write [log]"), "{text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let said = read("archives = 0\nx = 1\nindex_cache = 64\n").unwrap_err();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("1:12: archives: '0' is too little"), "{said:?}");
        assert!(said[1].starts_with("2:1: unknown key 'x'"), "{said:?}");
        assert!(said[2].starts_with("3:15: index_cache: '64' has no unit"), "{said:?}");
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_place() {
        let said = wrong("data = 'x'\nlisten = \n");
        assert!(said.starts_with("2:"), "{said}");
        assert!(wrong("data = 'x'\ndata = 'y'\n").starts_with("2:1:"));
    }

    #[test]
    fn a_password_does_not_stand_in_the_file() {
        let said = wrong("admin_password = 'secret-12345'\n");
        assert!(said.contains("admin_password_file"), "{said}");
        assert!(!said.contains("secret-12345"), "{said}");
    }
}
