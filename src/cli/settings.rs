//! The server's settings on a command line: a flag for each row of the table.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use granary::config::{Given, Loaded, SETTINGS, Setting, load};

/// Flag and variable of the configuration file.
const FILE_FLAG: &str = "config";
const FILE_VARIABLE: &str = "GRANARY_CONFIG";

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
        let variables = SETTINGS.iter().filter_map(|setting| {
            let names = [Some(setting.variable()), setting.older_variable.map(str::to_owned)];
            let set = |name: String| Some((name.clone(), variable(&name)?));
            Some((setting.key, names.into_iter().flatten().find_map(set)?))
        });
        let variables = variables.collect();
        Ok(load(Given { file: self.file, variables, flags: self.flags })?)
    }
}

/// A variable, unless it is empty: that is how files of others leave one out.
fn variable(name: &str) -> Option<String> {
    let value = env::var_os(name).filter(|value| !value.is_empty())?;
    // What is no text is no value of any setting, and is told as such.
    Some(value.to_string_lossy().into_owned())
}

fn argument(setting: &'static Setting) -> Arg {
    let default = setting.default.map(|default| format!(" [default: {default}]"));
    let variable = format!(" [env: {}]", setting.variable());
    Arg::new(setting.key)
        .long(setting.flag())
        .value_name(setting.value_name())
        .help(format!("{}{}{variable}", setting.about, default.unwrap_or_default()))
        .value_parser(|text: &str| setting.check(text).map(|()| text.to_owned()))
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE_FLAG)
            .long(FILE_FLAG)
            .value_name("FILE")
            .env(FILE_VARIABLE)
            .hide_env_values(true)
            .value_parser(clap::value_parser!(PathBuf))
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
        if let Some(file) = matches.get_one::<PathBuf>(FILE_FLAG) {
            self.file = (!file.as_os_str().is_empty()).then(|| file.clone());
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
