//! Texts that are made from the table: the example file, the reference, the effective values.

use std::fmt::Write as _;

use super::setting::Setting;
use super::table::SETTINGS;

/// Letters of a line of a comment.
const WIDTH: usize = 98;

const EXAMPLE_HEAD: &str = "\
# The server's configuration, with every setting at its default. A line that begins with '#' says
# nothing. Give the file to the server as `granary serve --config FILE` or by GRANARY_CONFIG; what
# the environment or the command line says is stronger. `granary config check` tries a file,
# `granary config show` tells what holds and where it came from.
#
# Sizes have a unit (B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB), times too (ms, s, m, h, d, w).
# Passwords do not stand here: they are in files of their own, or in the environment.
";

const REFERENCE_HEAD: &str = "\
# Settings of the server

Made from the table in `src/config/table.rs`; a test keeps it true. A value comes from the command
line, else from the environment, else from the configuration file (`--config FILE` or
`GRANARY_CONFIG`; there is no file that is read without being named), else it is the default. An
unknown key in the file is an error, and so is a value out of its bounds. `granary config check`
tries a configuration without starting anything, `granary config show` tells what holds and where
each value came from, `granary config example` writes a file with every setting.

Sizes have a unit: B, KiB, MiB, GiB, TiB (powers of 1,024) or kB, MB, GB, TB (powers of 1,000).
Times have one: ms, s, m, h, d (24 hours), w. An empty variable is as one that is not set.

Secrets are no settings. The first password of the user `admin` is in the file that
`admin_password_file` names, or in the variable `GRANARY_ADMIN_PASSWORD`, not both.
";

/// A configuration file with every setting, commented, at its default.
pub fn example() -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    each_with_section(
        SETTINGS.iter().map(|setting| (setting, ())),
        &mut text,
        |text, setting, ()| {
            text.push('\n');
            let about = format!("{} Value: {}.", setting.about, setting.expected());
            for line in wrapped(&about) {
                writeln!(text, "# {line}").unwrap_or_default();
            }
            let value = setting.default.map(|default| written(setting, default));
            // A setting without a default has nothing that could stand there.
            let value = value.unwrap_or_else(|| "\"...\"".to_owned());
            writeln!(text, "#{} = {value}", name(setting)).unwrap_or_default();
        },
    );
    text
}

/// The reference of all settings, as Markdown.
pub fn reference() -> String {
    let mut text = REFERENCE_HEAD.to_owned();
    for setting in SETTINGS {
        let default = setting.default.map_or("none".to_owned(), |text| format!("`{text}`"));
        let older = setting.older_variable.map(|name| format!(", else `{name}`"));
        write!(
            text,
            "\n## `{}`\n\n{}\n\n- flag `--{} {}`, variable `{}`{}\n- value: {}; default: {default}\n",
            setting.key,
            wrapped(setting.about).join("\n"),
            setting.flag(),
            setting.value_name(),
            setting.variable(),
            older.unwrap_or_default(),
            setting.expected(),
        )
        .unwrap_or_default();
    }
    text
}

/// Effective values as a configuration file; `values` has each setting's text and origin.
pub(super) fn effective<'a>(
    values: impl Iterator<Item = (&'static Setting, Option<&'a str>, String)>,
) -> String {
    let mut text = String::new();
    let values = values.map(|(setting, value, origin)| (setting, (value, origin)));
    each_with_section(values, &mut text, |text, setting, (value, origin)| {
        match value {
            Some(value) => {
                writeln!(text, "{} = {}  # {origin}", name(setting), written(setting, value))
            }
            None => writeln!(text, "#{} is not set", name(setting)),
        }
        .unwrap_or_default();
    });
    text
}

/// Writes each setting, and a head where a section begins.
fn each_with_section<T>(
    settings: impl Iterator<Item = (&'static Setting, T)>,
    text: &mut String,
    mut write: impl FnMut(&mut String, &'static Setting, T),
) {
    let mut begun = "";
    for (setting, with) in settings {
        let section = setting.key.split_once('.').map_or("", |(section, _)| section);
        if section != begun {
            writeln!(text, "\n[{section}]").unwrap_or_default();
            begun = section;
        }
        write(text, setting, with);
    }
}

/// The setting's name within its section.
fn name(setting: &Setting) -> &'static str {
    setting.key.split_once('.').map_or(setting.key, |(_, name)| name)
}

/// A value as TOML.
fn written(setting: &Setting, value: &str) -> String {
    if !setting.is_quoted() {
        return value.trim().to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in value.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(letter)).unwrap_or_default();
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A text in lines of a comment's width.
pub(crate) fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_ascii_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Given, file, load};
    use crate::generated;

    #[test]
    fn the_example_and_the_reference_in_the_repository_are_those_of_the_table() {
        generated::assert_same("granary.example.toml", &example());
        generated::assert_same("docs/settings.md", &reference());
    }

    #[test]
    fn the_example_with_its_comments_taken_off_says_the_defaults() {
        let mut text = String::new();
        for line in example().lines() {
            let setting = line.strip_prefix('#').filter(|line| !line.starts_with([' ', '#']));
            writeln!(text, "{}", setting.unwrap_or(line)).unwrap();
        }
        let said = file::read(&text).unwrap();
        assert_eq!(said.len(), SETTINGS.len());
        let mut given = Given::default();
        for said in said {
            let setting = SETTINGS.iter().find(|setting| setting.key == said.key).unwrap();
            assert_eq!(said.text, setting.default.unwrap_or("..."), "{}", said.key);
            if setting.default.is_some() {
                given.flags.insert(said.key, said.text);
            }
        }
        assert_eq!(load(given).unwrap().config, load(Given::default()).unwrap().config);
        assert_eq!(file::read(&example()).unwrap(), []);
    }
}
