//! The command line: what can be typed, and how a command ends.
//!
//! Every command ends with status 0 (done), 1 (something failed; standard error says what in one
//! sentence, with the next step), 2 (the command line itself is wrong) or 3 (the command was carried
//! out, and what is stored is not sound, or the server is not well). `diff` ends as diff(1) does: 0 for
//! the same, 1 for a difference, 2 for trouble. Results go to standard output, everything else to
//! standard error.

mod api;

mod audit;

mod backup;

mod backup_source;

mod bench;

mod catalogue;

mod certificate;

mod check;

mod check_progress;

mod client;

mod config;

mod confirm;

mod content;

mod dataset_commands;

mod dataset_name;

mod diff;

mod digest_cache;

mod door;

mod download;

mod environment;

mod errand;

mod failure;

mod file_map;

mod free_name;

mod gc;

mod generate;

mod help;

mod ledger;

mod listener;

mod listing;

mod log;

mod login;

mod ls;

mod meta;

mod new_password;

mod offline_password;

mod offline_store;

mod open_files;

mod outflow;

mod output;

mod partial;

mod presence;

mod private_file;

mod progress;

mod project;

mod pull;

mod purging;

mod push;

mod report;

mod restore;

mod resumable;

mod retry;

mod scrub;

mod selection;

mod serve;

mod server_url;

mod service_manager;

mod session;

mod settings;

mod stamp;

#[cfg(test)]
mod stand_in;

mod stats;

mod status;

mod style;

mod table;

mod team;

mod terminal;

mod token;

mod token_file;

#[cfg(feature = "otel")]
mod traces;

mod transfer;

mod upload;

mod user;

mod walk;

mod whereabouts;

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use server_url::ServerUrl;

/// Transfers at the same time; each holds a file, a connection and about 1 MiB.
const JOBS_MAX: usize = 256;

/// Status of a command that found what is stored not sound.
const STATUS_UNSOUND: u8 = 3;

/// Status of a comparison that came to nothing.
const STATUS_NOT_COMPARED: u8 = 2;

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
    Diff(diff::Options),
    Cp(dataset_commands::CopyOptions),
    Merge(dataset_commands::MergeOptions),
    Mv(dataset_commands::MoveOptions),
    Rm(dataset_commands::RemoveOptions),
    Reinstate(dataset_commands::ReinstateOptions),
    Meta(meta::Options),
    Login(login::Options),
    Token(token::Options),
    Backup(backup::Options),
    Restore(restore::Options),
    Status(status::Options),
    Check(check::Options),
    Scrub(scrub::Options),
    Gc(gc::Options),
    Stats(stats::Options),
    User(user::Options),
    Team(team::Options),
    Project(project::Options),
    Audit(audit::Options),
    Config(config::Options),
    Bench(Box<bench::Options>),
    Completions(generate::CompletionsOptions),
    Man(generate::ManOptions),
}

/// Which server a client command speaks to.
#[derive(Debug, Clone, Args)]
struct ServerOptions {
    /// Address of the server.
    #[arg(
        long,
        env = "GRANARY_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8000"
    )]
    url: ServerUrl,
    /// Certificates (PEM) of the authorities that are trusted to vouch for a server at an https
    /// address; without it, those that the system trusts.
    #[arg(long, value_name = "FILE", env = "GRANARY_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// Whether everything that was asked for was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It was.
    Complete,
    /// Some of it was not; the command has said what.
    Incomplete,
    /// It was, and what is stored is not sound, or the server is not well; the command has said
    /// what.
    Unsound,
    /// It was, and what was compared is not the same.
    Different,
}

/// Runs the command that the command line names.
pub(crate) fn main() -> ExitCode {
    let command = environment::without_empty(Cli::command());
    let cli = help::in_groups(command).get_matches();
    let cli = Cli::from_arg_matches(&cli).unwrap_or_else(|error| error.exit());
    // There is no other provider in the program, so this can only fail by being called twice.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        complain("the TLS library was set up twice; please report this");
        return ExitCode::FAILURE;
    }
    let trouble = if matches!(cli.command, Command::Diff(_)) {
        ExitCode::from(STATUS_NOT_COMPARED)
    } else {
        ExitCode::FAILURE
    };
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
        Ok(Ending::Incomplete | Ending::Different) => ExitCode::FAILURE,
        Ok(Ending::Unsound) => ExitCode::from(STATUS_UNSOUND),
        Err(error) => {
            complain(format_args!("{error:#}"));
            trouble
        }
    }
}

async fn run(command: Command) -> anyhow::Result<Ending> {
    match command {
        Command::Serve(options) => serve::run(options).await,
        Command::Push(options) => push::run(options).await,
        Command::Pull(options) => pull::run(options).await,
        Command::Ls(options) => ls::run(options).await,
        Command::Diff(options) => diff::run(options).await,
        Command::Cp(options) => dataset_commands::copy(options).await,
        Command::Merge(options) => dataset_commands::merge(options).await,
        Command::Mv(options) => dataset_commands::rename(options).await,
        Command::Rm(options) => dataset_commands::remove(options).await,
        Command::Reinstate(options) => dataset_commands::reinstate(options).await,
        Command::Meta(options) => meta::run(options).await,
        Command::Login(options) => login::run(options).await,
        Command::Token(options) => token::run(options).await,
        Command::Backup(options) => backup::run(options).await,
        Command::Restore(options) => restore::run(options).await,
        Command::Status(options) => status::run(options).await,
        Command::Check(options) => check::run(options).await,
        Command::Scrub(options) => scrub::run(options).await,
        Command::Gc(options) => gc::run(options).await,
        Command::Stats(options) => stats::run(options).await,
        Command::User(options) => user::run(options).await,
        Command::Team(options) => team::run(options).await,
        Command::Project(options) => project::run(options).await,
        Command::Audit(options) => audit::run(options).await,
        Command::Config(options) => config::run(options),
        Command::Bench(options) => Box::pin(bench::run(*options)).await,
        Command::Completions(options) => generate::completions(&options),
        Command::Man(options) => generate::man(&options),
    }
}

/// Reads the number of transfers at the same time.
fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs) if (1..=JOBS_MAX).contains(&jobs) => Ok(jobs),
        Ok(_) | Err(_) => Err(format!("a number from 1 to {JOBS_MAX} is expected")),
    }
}

/// Writes to standard error, mostly one line.
fn complain(what: impl Display) {
    // It may name files, and repeat a server's words.
    let what = shown_lines(&what.to_string());
    // Nobody is left to tell if standard error is closed.
    writeln!(io::stderr().lock(), "granary: {what}").ok();
}

/// Writes one line to standard output.
///
/// # Errors
/// Standard output is closed or full.
fn say(line: impl Display) -> io::Result<()> {
    let mut output = anstream::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// A folder of the user's caches, if it can be told where these are.
fn cache_directory(name: &str) -> Option<PathBuf> {
    let absolute = |variable: &str| {
        let path = env::var_os(variable).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("granary").join(name))
}

/// A number of files, in words that fit it.
fn counted(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// A name as it may be shown on a terminal: control characters are escaped, and those that turn
/// the direction of writing, with which one name can look like another.
fn shown(name: &str) -> String {
    let turns = |letter| {
        matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(letter, '\u{2066}'..='\u{2069}')
    };
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_control() || turns(letter) {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    text
}

/// Lines without what could steer the terminal.
fn shown_lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    /// The command lines of a page's examples, without what a shell makes of the rest.
    fn command_lines(page: &str) -> Vec<Vec<String>> {
        let page = page.replace("\\\n", " ").replace(" 2> ", " > ");
        let lines = page.lines().filter_map(|line| line.trim_start().strip_prefix("$ "));
        let granary =
            lines.flat_map(|line| line.split(['#', ';', '|', '&', '<', '>'])).filter_map(|line| {
                let line = line.trim().trim_start_matches("sudo -u granary ");
                line.strip_prefix("cargo run --release -- ").or(line.strip_prefix("granary "))
            });
        granary.map(words).collect()
    }

    /// The words of a line, as a shell takes quotes.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut open) = (vec!["granary".to_owned(), String::new()], None);
        for letter in line.chars() {
            match (open, letter) {
                (None, '"' | '\'') => open = Some(letter),
                (Some(quote), letter) if quote == letter => open = None,
                (None, ' ') => words.push(String::new()),
                (_, letter) => words.last_mut().unwrap().push(letter),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_command_line_of_the_documents_can_be_typed() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = std::fs::read_dir(root.join("docs")).unwrap();
        let pages = pages.map(|page| page.unwrap().path()).chain([root.join("README.md")]);
        let mut count = 0;
        for page in pages.filter(|page| page.extension().is_some_and(|kind| kind == "md")) {
            for line in command_lines(&std::fs::read_to_string(&page).unwrap()) {
                count += 1;
                let read = Cli::command().try_get_matches_from(&line);
                let is_fine = read.as_ref().map_or_else(|error| !error.use_stderr(), |_| true);
                assert!(is_fine, "{}: {line:?}: {:?}", page.display(), read.err());
            }
        }
        assert!(count > 30, "{count}");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n é"), "a\\u{1b}[2Jb\\n é");
        assert_eq!(shown("\u{202e}gnp.قط"), "\\u{202e}gnp.قط");
    }
}
