//! The server's settings on a command line: a flag for each row of the table.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use granary::config::{Given, Loaded, SETTINGS, Setting, load};

use super::complain;
use super::config::PASSWORD_VARIABLE;
use super::environment;

/// Flag and variable of the configuration file.
const FILE_FLAG: &str = "config";
const FILE_VARIABLE: &str = "GRANARY_CONFIG";

/// Variables of the client commands, and of the file and the first password.
const CLIENT_VARIABLES: &[&str] = &[
    "GRANARY_URL",
    "GRANARY_CA_FILE",
    "GRANARY_TOKEN",
    "GRANARY_USERNAME",
    "GRANARY_PASSWORD",
    FILE_VARIABLE,
    PASSWORD_VARIABLE,
];

/// Letters in which a variable may differ from one of ours to be taken for a slip.
const STRAY_LETTERS_MAX: usize = 2;

/// What the command line and the environment say.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    file: Option<PathBuf>,
    flags: BTreeMap<&'static str, String>,
}

impl Settings {
    /// The strongest value of each setting.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub(crate) fn load(self) -> anyhow::Result<Loaded> {
        for (stray, meant) in strays(env::vars_os().map(|(name, _)| name)) {
            complain(format_args!("warning: {stray} is passed over; {meant} is the variable"));
        }
        let variables = SETTINGS.iter().filter_map(|setting| {
            let names = [Some(setting.variable()), setting.older_variable.map(str::to_owned)];
            let set = |name: String| Some((name.clone(), variable(&name)?));
            Some((setting.key, names.into_iter().flatten().find_map(set)?))
        });
        let variables = variables.collect();
        Ok(load(Given { file: self.file, variables, flags: self.flags })?)
    }
}

/// Variables that are almost one of the server's, and which. Others that begin like ours are no
/// fault of anybody: Kubernetes sets some for every service, such as `GRANARY_PORT`.
fn strays(names: impl Iterator<Item = OsString>) -> Vec<(String, String)> {
    let known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    let near = |name: OsString| {
        let name = name.into_string().ok().filter(|name| name.starts_with("GRANARY_"))?;
        if known.contains(&name) || CLIENT_VARIABLES.contains(&name.as_str()) {
            return None;
        }
        let is_near =
            |known: &&String| strsim::damerau_levenshtein(&name, known) <= STRAY_LETTERS_MAX;
        Some((name.clone(), known.iter().find(is_near)?.clone()))
    };
    names.filter_map(near).collect()
}

/// A variable that is set.
fn variable(name: &str) -> Option<String> {
    // What is no text is no value of any setting, and is told as such.
    Some(environment::variable(name)?.to_string_lossy().into_owned())
}

fn argument(setting: &'static Setting) -> Arg {
    let default = setting.default.map(|default| format!(" [default: {default}]"));
    let variable = format!(" [env: {}]", setting.variable());
    Arg::new(setting.key)
        .long(setting.flag())
        .value_name(setting.value_name())
        .help(format!("{}{}{variable}", summary(setting.about), default.as_deref().unwrap_or("")))
        .long_help(format!("{}{}{variable}", setting.about, default.as_deref().unwrap_or("")))
        .value_parser(|text: &str| setting.check(text).map(|()| text.to_owned()))
}

/// The first sentence: `-h` tells that alone, `--help` all.
fn summary(about: &str) -> &str {
    about.split_once(". ").map_or(about, |(first, _)| first).trim_end_matches('.')
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE_FLAG)
            .long(FILE_FLAG)
            .value_name("FILE")
            .env(FILE_VARIABLE)
            .hide_env_values(true)
            // A variable that is empty is as none, which a path must not be.
            .value_parser(clap::value_parser!(OsString))
            .help("Configuration file (TOML), weaker than the environment and the flags; none is read unless it is named.");
        command.arg(file).args(SETTINGS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut settings = Self::default();
        settings.update_from_arg_matches(matches)?;
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        if let Some(file) = matches.get_one::<OsString>(FILE_FLAG) {
            self.file = (!file.is_empty()).then(|| file.into());
        }
        for setting in SETTINGS {
            if matches.value_source(setting.key) == Some(ValueSource::CommandLine)
                && let Some(text) = matches.get_one::<String>(setting.key)
            {
                self.flags.insert(setting.key, text.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_almost_ours_is_told_and_those_of_others_are_not() {
        let told = |name: &str| strays([OsString::from(name)].into_iter()).pop();
        let slip = ("GRANARY_ARCHIVS".to_owned(), "GRANARY_ARCHIVES".to_owned());
        assert_eq!(told("GRANARY_ARCHIVS"), Some(slip));
        for name in ["GRANARY_ARCHIVES", "GRANARY_PORT", "GRANARY_URL", "ARCHIVES", "GRANARY_"] {
            assert_eq!(told(name), None, "{name}");
        }
    }
}
