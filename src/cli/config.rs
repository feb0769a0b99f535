//! `granary config`: tries a configuration, shows what holds, writes an example.

use anyhow::Context;
use clap::{Args, Subcommand};
use granary::config::{Config, example};
use granary::has_started_once;

use super::environment;
use super::settings::Settings;
use super::{Ending, certificate, say};

/// Try and show the server's configuration.
///
/// Flags and variables are those of `granary serve`, and stronger than the file.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Try a configuration: say that it is good, or all that is wrong with it
    ///
    /// Files that it names are read, and nothing is started. A file with the first password has to be
    /// there until a server has started once in the data directory, and is not looked at afterwards.
    Check(Settings),
    /// Show the value of every setting and where it came from, as a configuration file
    ///
    /// Secrets are not shown.
    Show(Settings),
    /// Write a configuration file with every setting, commented, at its default
    Example,
}

/// Runs the command.
pub(crate) fn run(options: Options) -> anyhow::Result<Ending> {
    match options.what {
        What::Check(settings) => {
            let loaded = settings.load()?;
            // Later starts do not read it.
            if !has_started_once(&loaded.config.data) {
                admin_password(&loaded.config)?;
            }
            if let Some(files) = certificate::Files::of(&loaded.config)? {
                files.check()?;
            }
            let given = loaded.count_given();
            let given = match given {
                1 => "1 setting is".to_owned(),
                given => format!("{given} settings are"),
            };
            say(format_args!("the configuration is good; {given} not at the default"))?;
        }
        What::Show(settings) => {
            let loaded = settings.load()?;
            let secret = environment::variable(PASSWORD_VARIABLE).is_some();
            if secret {
                say(format_args!("# {PASSWORD_VARIABLE} is set (not shown)"))?;
            }
            say(loaded.shown().trim_end())?;
        }
        What::Example => say(example().trim_end())?,
    }
    Ok(Ending::Complete)
}

/// Variable that holds the first password. No flag: a command line is there for everybody on the
/// machine to read.
pub(super) const PASSWORD_VARIABLE: &str = "GRANARY_ADMIN_PASSWORD";

/// The first password, if the one who starts the server chose it.
///
/// # Errors
/// It is told twice, or its file cannot be read or is empty.
pub(super) fn admin_password(config: &Config) -> anyhow::Result<Option<String>> {
    let in_variable = environment::text(PASSWORD_VARIABLE).filter(|text| !text.trim().is_empty());
    let Some(file) = &config.admin_password_file else { return Ok(in_variable) };
    let shown = file.display();
    anyhow::ensure!(
        in_variable.is_none(),
        "both {PASSWORD_VARIABLE} and admin_password_file are set; keep one of them"
    );
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read the password in {shown}"))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    anyhow::ensure!(!password.trim().is_empty(), "the file {shown} holds no password");
    Ok(Some(password.to_owned()))
}
