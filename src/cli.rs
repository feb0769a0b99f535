//! The command line: what can be typed, and how a command ends.
//!
//! Every command ends with status 0 (done), 1 (something failed; standard error says what in one
//! sentence, with the next step), 2 (the command line itself is wrong) or 3 (the command was carried
//! out, and what is stored is not sound). Results go to standard
//! output, everything else to standard error.

mod api;

mod backup;

mod backup_source;

mod bench;

mod catalogue;

mod check;

mod check_progress;

mod client;

mod config;

mod content;

mod download;

mod failure;

mod file_map;

mod listener;

mod login;

mod ls;

mod new_password;

mod outflow;

mod partial;

mod presence;

mod progress;

mod project;

mod pull;

mod purging;

mod push;

mod report;

mod restore;

mod retry;

mod scrub;

mod serve;

mod server_url;

mod session;

mod settings;

#[cfg(test)]
mod stand_in;

mod table;

mod team;

mod token_file;

mod transfer;

mod upload;

mod user;

mod walk;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use server_url::ServerUrl;

/// Transfers at the same time; each holds a file, a connection and about 1 MiB.
const JOBS_MAX: usize = 256;

/// Status of a command that found what is stored not sound.
const STATUS_UNSOUND: u8 = 3;

/// A dataset server: durable, deduplicating, fast.
#[derive(Debug, Parser)]
#[command(name = "granary", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Each is described by the doc comment of its options, which is what `--help` shows.
    Serve(serve::Options),
    Push(push::Options),
    Pull(pull::Options),
    Ls(ls::Options),
    Login(login::Options),
    Backup(backup::Options),
    Restore(restore::Options),
    Check(check::Options),
    Scrub(scrub::Options),
    User(user::Options),
    Team(team::Options),
    Project(project::Options),
    Config(config::Options),
    Bench(Box<bench::Options>),
}

/// Which server a client command speaks to.
#[derive(Debug, Clone, Args)]
struct ServerOptions {
    /// Address of the server.
    #[arg(long, env = "GRANARY_URL", default_value = "http://127.0.0.1:8000")]
    url: ServerUrl,
}

/// Whether everything that was asked for was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It was.
    Complete,
    /// Some of it was not; the command has said what.
    Incomplete,
    /// It was, and what is stored is not sound; the command has said what.
    Unsound,
}

/// Runs the command that the command line names.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    // There is no other provider in the program, so this can only fail by being called twice.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        complain("the TLS library was set up twice; please report this");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ending = match runtime {
        Ok(runtime) => {
            let ending = runtime.block_on(run(cli.command));
            // Work that nobody waits for any longer, such as counting files, is not waited for.
            runtime.shutdown_background();
            ending
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the program's threads")),
    };
    match ending {
        Ok(Ending::Complete) => ExitCode::SUCCESS,
        Ok(Ending::Incomplete) => ExitCode::FAILURE,
        Ok(Ending::Unsound) => ExitCode::from(STATUS_UNSOUND),
        Err(error) => {
            complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<Ending> {
    match command {
        Command::Serve(options) => serve::run(options).await,
        Command::Push(options) => push::run(options).await,
        Command::Pull(options) => pull::run(options).await,
        Command::Ls(options) => ls::run(options).await,
        Command::Login(options) => login::run(options).await,
        Command::Backup(options) => backup::run(options).await,
        Command::Restore(options) => restore::run(options).await,
        Command::Check(options) => check::run(options).await,
        Command::Scrub(options) => scrub::run(options).await,
        Command::User(options) => user::run(options).await,
        Command::Team(options) => team::run(options).await,
        Command::Project(options) => project::run(options).await,
        Command::Config(options) => config::run(options),
        Command::Bench(options) => bench::run(*options).await,
    }
}

/// Reads the number of transfers at the same time.
fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs) if (1..=JOBS_MAX).contains(&jobs) => Ok(jobs),
        Ok(_) | Err(_) => Err(format!("a number from 1 to {JOBS_MAX} is expected")),
    }
}

/// Writes one line to standard error.
fn complain(what: impl Display) {
    // Nobody is left to tell if standard error is closed.
    writeln!(io::stderr().lock(), "granary: {what}").ok();
}

/// Writes one line to standard output.
///
/// # Errors
/// Standard output is closed or full.
fn say(line: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// A number of files, in words that fit it.
fn counted(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// A name as it may be shown on a terminal: control characters are escaped.
fn shown(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_control() {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n é"), "a\\u{1b}[2Jb\\n é");
    }
}
