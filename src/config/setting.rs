//! One setting: its names, what values it takes, and where they go.

use std::path::PathBuf;
use std::time::Duration;

use super::{Config, value};

/// A row of the table.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the configuration file, with its section: `log.format`. The flag is
    /// `--log-format`, the variable `GRANARY_LOG_FORMAT`.
    pub key: &'static str,
    /// An older variable that is read where the setting's own is not set.
    pub older_variable: Option<&'static str>,
    /// Its value where nobody says one; `None` where that is none at all.
    pub default: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// What it does: whole sentences, the first of which is a summary.
    pub about: &'static str,
}

/// What values a setting takes, and the field that they go to.
#[expect(missing_docs, reason = "`place` is the field, the others are bounds, both ends included")]
#[derive(Debug)]
pub enum Kind {
    /// A directory.
    Directory { place: fn(&mut Config) -> &mut PathBuf },
    /// A file, or none.
    File { place: fn(&mut Config) -> &mut Option<PathBuf> },
    /// A number without a unit: of things.
    Number { min: u64, max: u64, place: fn(&mut Config) -> &mut u64 },
    /// Bytes.
    Size { min: u64, max: u64, place: fn(&mut Config) -> &mut u64 },
    /// A time.
    Time { min: Duration, max: Duration, place: fn(&mut Config) -> &mut Duration },
    /// A time, or `off`.
    TimeOrOff { min: Duration, max: Duration, place: fn(&mut Config) -> &mut Option<Duration> },
    /// Anything else; `expected` goes on with "expected: ".
    Other {
        name: &'static str,
        expected: &'static str,
        read: fn(&mut Config, &str) -> Result<(), String>,
    },
}

impl Setting {
    /// The command line's name for it, without the dashes before it.
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// The environment's name for it.
    pub fn variable(&self) -> String {
        format!("GRANARY_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// What stands for a value in a help text.
    pub fn value_name(&self) -> &'static str {
        match self.kind {
            Kind::Directory { .. } => "DIR",
            Kind::File { .. } => "FILE",
            Kind::Number { .. } => "NUMBER",
            Kind::Size { .. } => "SIZE",
            Kind::Time { .. } | Kind::TimeOrOff { .. } => "TIME",
            Kind::Other { name, .. } => name,
        }
    }

    /// The values it takes, in words.
    pub fn expected(&self) -> String {
        match &self.kind {
            Kind::Directory { .. } => "the path of a directory".to_owned(),
            Kind::File { .. } => "the path of a file".to_owned(),
            Kind::Number { min, max, .. } => format!("a number from {min} to {max}"),
            Kind::Size { min, max, .. } => {
                format!("a size from {} to {}", value::shown_size(*min), value::shown_size(*max))
            }
            Kind::Time { min, max, .. } => {
                format!("a time from {} to {}", value::shown_time(*min), value::shown_time(*max))
            }
            Kind::TimeOrOff { min, max, .. } => format!(
                "off, or a time from {} to {}",
                value::shown_time(*min),
                value::shown_time(*max)
            ),
            Kind::Other { expected, .. } => (*expected).to_owned(),
        }
    }

    /// Whether values stand in quotes in the configuration file.
    pub(super) fn is_quoted(&self) -> bool {
        !matches!(self.kind, Kind::Number { .. })
    }

    /// Reads a value into its field.
    ///
    /// # Errors
    /// What is wrong with the text and what would be right; the field is as before.
    pub fn read(&self, config: &mut Config, text: &str) -> Result<(), String> {
        let wrong = |why: String| format!("{why}; {} is expected", self.expected());
        match &self.kind {
            Kind::Directory { place } => *place(config) = value::path(text).map_err(wrong)?,
            Kind::File { place } => *place(config) = Some(value::path(text).map_err(wrong)?),
            Kind::Number { min, max, place } => {
                *place(config) = value::number(text, *min..=*max).map_err(wrong)?;
            }
            Kind::Size { min, max, place } => {
                *place(config) = value::size(text, *min..=*max).map_err(wrong)?;
            }
            Kind::Time { min, max, place } => {
                *place(config) = value::time(text, *min..=*max).map_err(wrong)?;
            }
            Kind::TimeOrOff { place, .. } if text.trim() == "off" => *place(config) = None,
            Kind::TimeOrOff { min, max, place } => {
                *place(config) = Some(value::time(text, *min..=*max).map_err(wrong)?);
            }
            Kind::Other { read, .. } => read(config, text).map_err(wrong)?,
        }
        Ok(())
    }

    /// Whether a text is a value of this setting.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn check(&self, text: &str) -> Result<(), String> {
        self.read(&mut Config::blank(), text)
    }
}
