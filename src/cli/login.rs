//! `granary login`: asks for a password and remembers the session.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, ensure};
use clap::Args;

use super::client::http_client;
use super::environment;
use super::session::{Credentials, obtain};
use super::token_file::{StoredSession, TokenFile};
use super::{Ending, ServerOptions, say};

/// Log in at a server and remember the session.
///
/// The password is asked for on a terminal, and read from the first line of standard input
/// elsewhere. The session is kept in `~/.config/granary/tokens.json` (`$XDG_CONFIG_HOME` in place
/// of `~/.config` if it is set), readable by you only. Scripts may set `GRANARY_USERNAME` and
/// `GRANARY_PASSWORD` instead, which every command prefers.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    server: ServerOptions,
    /// Name of the user.
    #[arg(
        long,
        value_name = "NAME",
        env = "GRANARY_USERNAME",
        hide_env_values = true,
        default_value = "admin"
    )]
    username: String,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    let url = &options.server.url;
    let file = TokenFile::of_this_user()?;
    let credentials = Credentials {
        password: password(&options.username, url.as_str())?,
        username: options.username,
    };
    let tokens =
        obtain(&http_client(url, options.server.ca_file.as_deref())?, url, &credentials).await?;
    let session = StoredSession { username: credentials.username.clone(), refresh: tokens.refresh };
    file.store(url, session)?;
    say(format_args!(
        "logged in at {url} as {}; the session is kept in {}",
        credentials.username,
        file.path().display()
    ))?;
    Ok(Ending::Complete)
}

fn password(username: &str, url: &str) -> anyhow::Result<String> {
    if let Some(password) = environment::text("GRANARY_PASSWORD") {
        return Ok(password);
    }
    let password = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("password of {username} at {url}: "))
            .context("cannot ask for the password")?
    } else {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        read.context("cannot read the password from standard input")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    ensure!(
        !password.is_empty(),
        "no password was given; type it, or give it as the first line of standard input"
    );
    Ok(password)
}
