//! Where a new password comes from: a file, a prompt, or chance; never the command line, which
//! every user of the machine can see.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;

/// Where a new password comes from; without any of these it is asked for.
#[derive(Debug, Args)]
pub(crate) struct NewPasswordOptions {
    /// Take the new password from a file, a line break at its end left out.
    ///
    /// With neither this nor --generate-password it is asked for on a terminal, twice, and read
    /// from the first line of standard input elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with = "generate_password")]
    password_file: Option<PathBuf>,
    /// Make the new password up and print it once, also where it is not known whether it was set; it
    /// is kept nowhere.
    #[arg(long)]
    generate_password: bool,
}

/// A new password, and whether whoever asked for it has yet to be told.
pub(crate) struct NewPassword {
    pub(crate) text: String,
    pub(crate) is_made_up: bool,
}

impl NewPasswordOptions {
    /// Gets the new password of a user.
    ///
    /// # Errors
    /// There is none, or the two that were typed differ.
    pub(crate) fn get(&self, username: &str) -> anyhow::Result<NewPassword> {
        if self.generate_password {
            let text = granary::auth::made_up_password();
            let text = text.context("the system has no randomness for a password")?;
            return Ok(NewPassword { text, is_made_up: true });
        }
        let text = match &self.password_file {
            Some(file) => from_file(file)?,
            None if io::stdin().is_terminal() => typed_twice(username)?,
            None => line_of_input("the new password")?,
        };
        ensure!(
            !text.trim().is_empty(),
            "the new password is blank; give one, or --generate-password"
        );
        Ok(NewPassword { text, is_made_up: false })
    }
}

fn from_file(file: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read the password in {}", file.display()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let is_line = !text.contains(['\n', '\r']);
    ensure!(is_line, "{} has more than one line; a password is one", file.display());
    Ok(text.to_owned())
}

fn typed_twice(username: &str) -> anyhow::Result<String> {
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).context("cannot ask for the new password")
    };
    let first = ask(format!("new password of {username}: "))?;
    let second = ask("the same again: ".to_owned())?;
    ensure!(first == second, "the two passwords differ; nothing was changed");
    Ok(first)
}

/// The next line of standard input, without its end.
///
/// # Errors
/// It cannot be read, or there is none.
pub(crate) fn line_of_input(what: &str) -> anyhow::Result<String> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    let read = read.with_context(|| format!("cannot read {what} from standard input"))?;
    ensure!(read > 0, "standard input has no line for {what}");
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
