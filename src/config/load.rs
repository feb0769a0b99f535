//! From all places together: the strongest value of each setting, and where it came from.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use super::setting::Setting;
use super::table::SETTINGS;
use super::{Config, document, file};

/// What was said outside the table, by keys of the table.
#[derive(Debug, Default)]
pub struct Given {
    /// The configuration file, if one is named.
    pub file: Option<PathBuf>,
    /// Variables: name and value.
    pub variables: BTreeMap<&'static str, (String, String)>,
    /// The command line's flags.
    pub flags: BTreeMap<&'static str, String>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said one.
    Default,
    /// The line of the configuration file, from 1.
    File(usize),
    /// The variable of this name.
    Variable(String),
    /// The command line.
    Flag,
}

/// The values of all settings, and where each came from.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    values: Vec<(&'static Setting, Option<String>, Origin)>,
}

/// Everything that is wrong with the configuration, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigFaults(Vec<String>);

impl Display for ConfigFaults {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("\n"))
    }
}

/// Takes the strongest value of each setting: flag, variable, file, default. Reads the file, which
/// blocks for an instant.
///
/// # Errors
/// The file cannot be read, has keys that are no settings, or a value is none of its setting.
pub fn load(given: Given) -> Result<Loaded, ConfigFaults> {
    let mut wrong = Vec::new();
    let mut in_file = read_file(given.file.as_ref()).unwrap_or_else(|faults| {
        wrong = faults;
        BTreeMap::new()
    });
    let Given { file, mut variables, mut flags } = given;
    let mut config = Config::blank();
    let mut values = Vec::with_capacity(SETTINGS.len());
    for setting in SETTINGS {
        let (text, origin) = if let Some(text) = flags.remove(setting.key) {
            (Some(text), Origin::Flag)
        } else if let Some((name, text)) = variables.remove(setting.key) {
            (Some(text), Origin::Variable(name))
        } else if let Some((text, line)) = in_file.remove(setting.key) {
            (Some(text), Origin::File(line))
        } else {
            (setting.default.map(str::to_owned), Origin::Default)
        };
        let read = text.as_deref().map_or(Ok(()), |text| setting.read(&mut config, text));
        if let Err(why) = read {
            wrong.push(format!("{}: {why}", named(setting, &origin)));
        }
        values.push((setting, text, origin));
    }
    if wrong.is_empty() { Ok(Loaded { config, file, values }) } else { Err(ConfigFaults(wrong)) }
}

/// A setting as whoever gave the value calls it.
fn named(setting: &Setting, origin: &Origin) -> String {
    match origin {
        Origin::Flag => format!("--{}", setting.flag()),
        Origin::Variable(name) => name.clone(),
        Origin::File(_) | Origin::Default => setting.key.to_owned(),
    }
}

type InFile = BTreeMap<&'static str, (String, usize)>;

fn read_file(path: Option<&PathBuf>) -> Result<InFile, Vec<String>> {
    let Some(path) = path else {
        return Ok(InFile::new());
    };
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![format!("cannot read the configuration file {shown}: {error}")])?;
    let said = file::read(&text);
    let said = said.map_err(|wrong| -> Vec<String> {
        wrong.into_iter().map(|wrong| format!("{shown}:{wrong}")).collect()
    })?;
    Ok(said.into_iter().map(|said| (said.key, (said.text, said.line))).collect())
}

impl Loaded {
    /// The effective values as a configuration file, each with where it came from.
    pub fn shown(&self) -> String {
        let path = self.file.as_ref().map(|path| path.display().to_string());
        let values = self.values.iter().map(|(setting, text, origin)| {
            let origin = match origin {
                Origin::Default => "default".to_owned(),
                Origin::File(line) => {
                    format!("{}:{line}", path.as_deref().unwrap_or("configuration file"))
                }
                Origin::Variable(name) => name.clone(),
                Origin::Flag => format!("--{}", setting.flag()),
            };
            (*setting, text.as_deref(), origin)
        });
        document::effective(values)
    }

    /// Settings whose value is not the default.
    pub fn count_given(&self) -> usize {
        self.values.iter().filter(|(.., origin)| *origin != Origin::Default).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("granary.toml");
        #[expect(clippy::disallowed_methods, reason = "a test's own file needs no durability")]
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
        let (_directory, path) =
            file_of("archives = 10\narchive_level = 3\nindex_cache = '32 MiB'\n");
        let variable = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let given = Given {
            file: Some(path.clone()),
            variables: [
                ("archives", variable("GRANARY_ARCHIVES", "20")),
                ("archive_level", variable("GRANARY_ARCHIVE_LEVEL", "4")),
            ]
            .into(),
            flags: [("archives", "30".to_owned())].into(),
        };
        let loaded = load(given).unwrap();
        let Config { archives, archive_level, index_cache, purge_after, .. } = loaded.config;
        assert_eq!((archives, archive_level), (30, 4));
        assert_eq!((index_cache, purge_after), (32 << 20, None));
        let shown = loaded.shown();
        let holds = |what: &str| assert!(shown.contains(what), "{what}: {shown}");
        holds("archives = 30  # --archives\n");
        holds("archive_level = 4  # GRANARY_ARCHIVE_LEVEL\n");
        holds(&format!("index_cache = \"32 MiB\"  # {}:3\n", path.display()));
        holds("purge_after = \"off\"  # default\n");
        assert_eq!(loaded.count_given(), 3);
    }

    #[test]
    fn what_is_shown_is_a_file_with_the_same_values() {
        let flags =
            [("data", "/a \"b\"\\c".to_owned()), ("shutdown.grace", "5m".to_owned())].into();
        let first = load(Given { flags, ..Given::default() }).unwrap();
        let (_directory, path) = file_of(&first.shown());
        let second = load(Given { file: Some(path), ..Given::default() }).unwrap();
        assert_eq!(first.config, second.config);
    }

    #[test]
    fn a_wrong_value_is_told_by_the_name_it_was_given_under() {
        let given = Given {
            variables: [("archives", ("GRANARY_ARCHIVES".to_owned(), "many".to_owned()))].into(),
            ..Given::default()
        };
        let said = load(given).unwrap_err().to_string();
        assert!(said.starts_with("GRANARY_ARCHIVES: 'many' is no number"), "{said}");
        let (_directory, path) = file_of("archives = 1000");
        let said = load(Given { file: Some(path.clone()), ..Given::default() }).unwrap_err();
        assert!(said.to_string().starts_with(&format!("{}:1:12: ", path.display())), "{said}");
        let missing = path.with_extension("gone");
        let said = load(Given { file: Some(missing), ..Given::default() }).unwrap_err();
        assert!(said.to_string().contains("cannot read the configuration file"), "{said}");
    }
}
