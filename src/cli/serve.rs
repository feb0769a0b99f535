//! `granary serve`: opens the store, serves the API, and ends in order.

use std::env;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use granary::auth::load_or_create_key;
use granary::{AppState, FirstStart, bootstrap, router};
use granary_engine::limits::ARCHIVES_MAX;
use granary_engine::{ArchiveLevel, Engine, EngineOptions, OpenError};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::purging::{read_retention, sweep_until};
use super::{Ending, listener, say};

/// How long requests under way may take when the server is told to stop.
const GRACE: Duration = Duration::from_secs(30);

/// What a shell shows for a program that the user interrupted.
const STATUS_INTERRUPTED: i32 = 130;

/// Run the server.
///
/// The first start makes the user `admin`, and a team and a project `default`. Its password is
/// `GRANARY_ADMIN_PASSWORD` if that is set, otherwise a random one, which is printed once and
/// written to the file `admin-password` in the data directory. SIGTERM and SIGINT end the server
/// when the requests under way are answered; a second one ends it at once. What was answered is
/// safe either way. `RUST_LOG` chooses what is logged.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory that holds everything; made if there is none.
    #[arg(long, value_name = "DIR", env = "GRANARY_DATA", default_value = "./granary-data")]
    data: PathBuf,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "GRANARY_LISTEN", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Removes soft-deleted datasets for good so long after their deletion, such as 30d or 12h;
    /// the log announces each before. Without it they stay until somebody removes them.
    #[arg(long, value_name = "TIME", env = "GRANARY_PURGE_AFTER", value_parser = read_retention)]
    purge_after: Option<Duration>,
    /// How hard tar.gz and deflated zip archives are compressed: 1 is fast, 9 is small.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "GRANARY_ARCHIVE_LEVEL",
        default_value = "6",
        value_parser = archive_level
    )]
    archive_level: ArchiveLevel,
    /// Archives that are built at the same time; others wait for up to ten seconds.
    #[arg(
        long,
        value_name = "NUMBER",
        env = "GRANARY_ARCHIVES",
        default_value_t = ARCHIVES_MAX,
        value_parser = archives
    )]
    archives: usize,
}

fn archive_level(text: &str) -> Result<ArchiveLevel, String> {
    let level = text.parse().ok().and_then(ArchiveLevel::new);
    level.ok_or_else(|| "a number from 1 to 9 is expected".to_owned())
}

/// Each archive keeps a thread, of which the process has some hundreds.
fn archives(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=256).contains(number));
    number.ok_or_else(|| "a number from 1 to 256 is expected".to_owned())
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    start_log();
    raise_file_limit();
    let engine_options = EngineOptions {
        archive_level: options.archive_level,
        archives_max: options.archives,
        ..EngineOptions::default()
    };
    let engine = open(&options.data, engine_options).await?;
    let ended = serve(&options, &engine).await;
    // Also after a failure: what was accepted meanwhile is finished and checkpointed.
    engine.shutdown().await;
    ended?;
    info!("stopped");
    Ok(Ending::Complete)
}

async fn serve(options: &Options, engine: &Engine) -> anyhow::Result<()> {
    // Before the first start, so that a start without an address leaves nobody's password behind.
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.with_context(|| {
        format!("cannot listen on {}; choose another address with --listen", options.listen)
    })?;
    let address = listener.local_addr().context("cannot tell the address")?;
    // No flag: a command line is there for everybody on the machine to read.
    let password = env::var("GRANARY_ADMIN_PASSWORD").ok();
    if let Some(first) = bootstrap(engine, &options.data, password).await? {
        say(told_once(&first))?;
    }
    let app = state(engine, &options.data).await?;
    let stop = stop_on_signals()?;
    if let Some(retention) = options.purge_after {
        tokio::spawn(sweep_until(stop.clone(), engine.clone(), retention));
    }
    say(format_args!("granary listening on http://{address}"))?;
    let cut = listener::serve(listener, router(app), stop, GRACE).await;
    if cut > 0 {
        warn!(connections = cut, "connections were cut that had not ended in time");
    }
    Ok(())
}

/// What the first start says, and no other.
fn told_once(first: &FirstStart) -> String {
    let username = first.username;
    match &first.password_file {
        Some(file) => format!(
            "first start: user {username}, password {} (also in {})",
            first.password,
            file.display()
        ),
        None => {
            format!("first start: user {username}, password as GRANARY_ADMIN_PASSWORD has it")
        }
    }
}

async fn state(engine: &Engine, directory: &Path) -> anyhow::Result<AppState> {
    let (engine, directory) = (engine.clone(), directory.to_path_buf());
    let made = tokio::task::spawn_blocking(move || {
        let key = load_or_create_key(&directory)
            .with_context(|| format!("cannot use the token key in {}", directory.display()))?;
        AppState::new(engine, key).context("cannot set up the hashing of passwords")
    });
    made.await.context("starting the API broke; please report this")?
}

async fn open(directory: &Path, options: EngineOptions) -> anyhow::Result<Engine> {
    let path = directory.to_path_buf();
    // Recovery reads the journal, so it has a thread to block.
    let opened = tokio::task::spawn_blocking(move || Engine::open(path, &options));
    let engine = opened.await.context("opening the store broke; please report this")?;
    engine.map_err(|error| match error {
        OpenError::Io { .. } => anyhow::Error::new(error).context(
            "the store cannot be opened; choose another directory with --data, or mend it",
        ),
        OpenError::Locked { .. }
        | OpenError::NotAStore { .. }
        | OpenError::NewerFormat { .. }
        | OpenError::JournalDamaged { .. }
        | OpenError::IndexDamaged { .. } => error.into(),
    })
}

/// Turns true with the first SIGTERM or SIGINT; the second ends the process.
fn stop_on_signals() -> anyhow::Result<watch::Receiver<bool>> {
    let heed = |kind| signal(kind).context("cannot heed signals");
    let mut terminate = heed(SignalKind::terminate())?;
    let mut interrupt = heed(SignalKind::interrupt())?;
    let (tell, stop) = watch::channel(false);
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        info!("stopping; a second signal stops at once");
        // Nobody listens any more if the server has ended by itself.
        tell.send(true).ok();
        either(&mut terminate, &mut interrupt).await;
        // Nothing to tidy up: whatever was answered is in the journal (I1).
        std::process::exit(STATUS_INTERRUPTED);
    });
    Ok(stop)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn start_log() {
    let chosen = EnvFilter::try_from_default_env();
    let filter = chosen.unwrap_or_else(|_| EnvFilter::new("granary=info,granary_engine=info"));
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    // Fails only if a log was started before, which then serves as well.
    log.with_writer(io::stderr).try_init().ok();
}

/// Takes as many open files as the system grants: the usual 1,024 end at a thousand clients.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the number of open files");
    }
}
