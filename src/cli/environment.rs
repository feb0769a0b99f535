//! Variables of the environment, of which an empty one is as none: that is how files of others leave one
//! out.

use std::env;
use std::ffi::OsString;

use clap::{Arg, Command};

/// A variable, unless it is empty.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The same of one that is text; what is none is as none.
pub(crate) fn text(name: &str) -> Option<String> {
    variable(name)?.into_string().ok()
}

/// The command line without the variables that are empty, which the library would take for values.
pub(crate) fn without_empty(command: Command) -> Command {
    let is_empty = |argument: &Arg| {
        argument.get_env().is_some_and(|name| env::var_os(name).is_some_and(|text| text.is_empty()))
    };
    let command =
        command.mut_args(
            |argument| {
                if is_empty(&argument) { argument.env(None::<&str>) } else { argument }
            },
        );
    command.mut_subcommands(without_empty)
}
