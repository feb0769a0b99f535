//! Colours of what is written for people.
//!
//! [`anstream`] leaves them out where standard output is no terminal, where `NO_COLOR` or
//! `TERM=dumb` says so, and puts them in where `CLICOLOR_FORCE` does.

use std::fmt::{self, Display};

use anstyle::{AnsiColor, Style};

/// Something that was added, or went well.
pub(crate) const ADDED: Style = AnsiColor::Green.on_default();

/// Something that was removed, or failed.
pub(crate) const REMOVED: Style = AnsiColor::Red.on_default();

/// Something that is another one than before, or wants a look.
pub(crate) const CHANGED: Style = AnsiColor::Yellow.on_default();

/// The head of a table.
pub(crate) const HEAD: Style = Style::new().bold();

/// What matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// A text in a style.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Painted<T>(pub(crate) Style, pub(crate) T);

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(style, text) = self;
        write!(formatter, "{style}{text}{style:#}")
    }
}
