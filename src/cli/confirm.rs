//! Asks before what cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use clap::Args;

/// How a command is told that its user means it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ConfirmOptions {
    /// Do not ask before what cannot be undone; scripts need it, since nobody answers there.
    #[arg(long, short)]
    yes: bool,
}

impl ConfirmOptions {
    /// Goes on if the user means it.
    ///
    /// # Errors
    /// They do not, or there is nobody to ask.
    pub(crate) fn confirm(self, what: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            bail!("{what}, which cannot be undone, and there is no terminal to ask; add --yes");
        }
        let mut question = io::stderr().lock();
        write!(question, "{what}. This cannot be undone. Go on? [y/N] ")?;
        question.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            bail!("nothing was changed");
        }
        Ok(())
    }
}
