//! `granary serve`: opens the store, serves the API, and ends in order.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use clap::Args;
use granary::auth::{LoginBounds, load_or_create_key};
use granary::config::{Config, MetricsAccess};
use granary::{
    AppState, FirstStart, Outside, body_pace, bootstrap, crowded_router, draining_router,
    metrics_router, recovering_router, router, router_that_discards_uploads,
};
use granary_engine::{ArchiveLevel, AuditLimits, Engine, EngineOptions, OpenError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use super::certificate;
use super::config::{PASSWORD_VARIABLE, admin_password};
use super::door::{Door, Porter};
use super::listener::{self, Bounds, Routers};
use super::open_files::OpenFiles;
use super::purging::sweep_until;
use super::settings::Settings;
use super::{Ending, log, say, service_manager, whereabouts};

/// How long closing the store may take after the last answer: a checkpoint, above all.
const CLOSING_TIME: Duration = Duration::from_mins(1);

/// What a shell shows for a program that the user interrupted.
const STATUS_INTERRUPTED: i32 = 130;

/// Run the server.
///
/// The first start makes the user `admin`, and a team and a project `default`. Its password is
/// `GRANARY_ADMIN_PASSWORD` if that is set, or in the file that `--admin-password-file` names,
/// otherwise a random one, which is printed once and written to the file `admin-password` in the
/// data directory. SIGTERM and SIGINT end the server when the requests under way are answered; a
/// second one ends it at once. What was answered is safe either way. SIGHUP changes nothing. Values
/// come from the flags, the environment, the configuration file, in falling order of strength.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    settings: Settings,
}

/// What becomes of files that are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uploads {
    /// They are stored: the server that everybody runs.
    Kept,
    /// They are read and dropped.
    Discarded,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<Ending> {
    run_with(options, Uploads::Kept).await
}

/// Runs a server that keeps uploads or, for the load tool, discards them: then on a new store
/// only, so that nobody's data are ever sent to one.
pub(crate) async fn run_with(options: Options, uploads: Uploads) -> anyhow::Result<Ending> {
    let loaded = options.settings.load()?;
    let config = &loaded.config;
    if uploads == Uploads::Discarded && config.data.exists() {
        let data = config.data.display();
        bail!("a server that discards uploads makes its own store; {data} is there already");
    }
    let log = log::start(config)?;
    info!(version = env!("CARGO_PKG_VERSION"), process = std::process::id(), "granary starts");
    if let Some(file) = &loaded.file {
        info!(file = %file.display(), "read the configuration");
    }
    let files = OpenFiles::granted();
    let connections_max = files.connections(usize::try_from(config.connections)?);
    let bounds = Bounds { connections_max, ..Bounds::default() };
    let stop = stop_on_signals()?;
    service_manager::keep_telling();
    // Before the store, so that whoever asks meanwhile is told to wait; and before the first start,
    // so that a start without an address leaves nobody's password behind.
    let doors = Doors::bind(config).await?;
    let porters = doors.answer(&recovering_router(&outside(config)?), bounds)?;
    let Some(engine) = open_unless_stopped(config, files, stop.clone()).await? else {
        info!("stopped while the store was being opened; nothing is lost by that");
        return Ok(Ending::Complete);
    };
    for porter in porters {
        porter.dismiss().await;
    }
    let ended = serve(config, &engine, &doors, stop, uploads, bounds).await;
    // Also after a failure: what was accepted meanwhile is finished and checkpointed.
    engine.shutdown().await;
    let porters = ended?;
    info!("stopped");
    for porter in porters {
        porter.dismiss().await;
    }
    log.end().await;
    Ok(Ending::Complete)
}

/// The addresses that are listened on.
struct Doors {
    main: Door,
    /// For metrics, where they have their own.
    metrics: Option<Door>,
}

impl Doors {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let tls = certificate::Files::of(config)?.map(certificate::Files::acceptor).transpose()?;
        let main = Door::bind(config.listen, "listen", tls).await?;
        let metrics = match config.metrics {
            MetricsAccess::At(address) => Some(Door::bind(address, "metrics", None).await?),
            MetricsAccess::Open | MetricsAccess::Admin | MetricsAccess::Off => None,
        };
        Ok(Self { main, metrics })
    }

    /// Answers at all of them.
    fn answer(&self, router: &Router, bounds: Bounds) -> anyhow::Result<Vec<Porter>> {
        let doors = [&self.main].into_iter().chain(&self.metrics);
        doors.map(|door| door.answer(router.clone(), bounds)).collect()
    }
}

fn engine_options(config: &Config, files: OpenFiles) -> anyhow::Result<EngineOptions> {
    let level = u32::try_from(config.archive_level).ok().and_then(ArchiveLevel::new);
    Ok(EngineOptions {
        archive_level: level.context("archive_level is no level")?,
        archives_max: usize::try_from(config.archives)?,
        index_cache_bytes: usize::try_from(config.index_cache)?,
        segments_open_max: files.segments(),
        resumable_uploads_max: files.resumable_uploads(),
        scrub_bytes_per_second: config.scrub_rate,
        resumable_expire_after: config.upload_expiry,
        resumable_bytes: config.upload_bytes,
        audit: AuditLimits { keep: config.audit_keep, bytes: config.audit_bytes },
        ..EngineOptions::default()
    })
}

/// Serves until told to stop and what was under way is answered; gives those who go on answering
/// how the server is until the store is closed.
async fn serve(
    config: &Config,
    engine: &Engine,
    doors: &Doors,
    stop: watch::Receiver<bool>,
    uploads: Uploads,
    bounds: Bounds,
) -> anyhow::Result<Vec<Porter>> {
    let address = doors.main.address()?;
    whereabouts::tell_of_store(engine, &config.data);
    let first_start = bootstrap(engine, &config.data, || admin_password(config)).await?;
    if let Some(first) = first_start {
        announce(&told_once(&first, config.admin_password_file.as_deref()));
    }
    let app = state(engine, &config.data).await?;
    let app = app.with_body_pace(body_pace(config.body_rate)).with_metrics(config.metrics);
    let app = app.with_access_log(config.log_requests);
    let app = app.with_audit_of_additions(config.audit_additions);
    let app = app.with_outside(outside(config)?);
    let router = match uploads {
        Uploads::Kept => router(app.clone()),
        Uploads::Discarded => router_that_discards_uploads(app.clone()),
    };
    if let Some(retention) = config.purge_after {
        tokio::spawn(sweep_until(stop.clone(), engine.clone(), retention));
    }
    let metrics = doors.metrics.as_ref();
    let metrics = metrics.map(|door| door.answer(metrics_router(&app), bounds)).transpose()?;
    let entrance = doors.main.entrance()?.counting(app.connections());
    let metrics_address = doors.metrics.as_ref().map(Door::address).transpose()?;
    whereabouts::tell_of_service(config, address, metrics_address, bounds);
    announce(&format!("granary listening on {}://{address}", doors.main.scheme()));
    service_manager::ready(format!("serving on {address}"));
    let routers = Routers::new(router, crowded_router(&app));
    let serving = listener::serve(entrance, routers, stop.clone(), config.shutdown_grace, bounds);
    let (cut, drained) =
        tokio::join!(serving, say_that_it_drains(&doors.main, &app, stop, config, bounds));
    if cut > 0 {
        warn!(connections = cut, "connections were cut that had not ended in time");
    }
    Ok(metrics.into_iter().chain([drained?]).collect())
}

/// Once told to stop: answers whoever comes to the door how the server is, and to come back.
async fn say_that_it_drains(
    door: &Door,
    app: &AppState,
    mut stop: watch::Receiver<bool>,
    config: &Config,
    bounds: Bounds,
) -> anyhow::Result<Porter> {
    // Its sender lives as long as the process listens to signals.
    stop.wait_for(|stopping| *stopping).await.ok();
    app.drain();
    service_manager::stopping(config.shutdown_grace + CLOSING_TIME);
    door.answer(draining_router(app), bounds)
}

fn outside(config: &Config) -> anyhow::Result<Outside> {
    Ok(Outside {
        is_encrypted: config.tls_certificate_file.is_some(),
        origins: config.cors_origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        logins: LoginBounds {
            per_account: u32::try_from(config.login_failures_per_account)?,
            per_address: u32::try_from(config.login_failures_per_address)?,
            window: config.login_failure_window,
        },
    })
}

/// Says a line to whoever looks. That nobody can read it is no reason not to serve: all of it is also
/// in the log, or in the file that holds the password, which is not for the log.
fn announce(line: &str) {
    if let Err(error) = say(line) {
        warn!(%error, "cannot write to standard output where the server listens, nor of a first start");
    }
}

/// What the first start says, and no other.
fn told_once(first: &FirstStart, chosen_in: Option<&Path>) -> String {
    let username = first.username;
    match (&first.password_file, chosen_in) {
        (Some(file), _) => format!(
            "first start: user {username}, password {} (also in {})",
            first.password,
            file.display()
        ),
        (None, Some(file)) => {
            format!("first start: user {username}, password as {} has it", file.display())
        }
        (None, None) => {
            format!("first start: user {username}, password as {PASSWORD_VARIABLE} has it")
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

/// Opens the store, unless a signal comes first. What opening does can be broken off anywhere.
async fn open_unless_stopped(
    config: &Config,
    files: OpenFiles,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<Option<Engine>> {
    service_manager::status("opening the store");
    let options = engine_options(config, files)?;
    tokio::select! {
        opened = open(&config.data, options) => opened.map(Some),
        _ = stop.wait_for(|stopping| *stopping) => Ok(None),
    }
}

async fn open(directory: &Path, options: EngineOptions) -> anyhow::Result<Engine> {
    let path = directory.to_path_buf();
    // Recovery reads the journal, so it has a thread to block.
    let opened = tokio::task::spawn_blocking(move || Engine::open(path, &options));
    let engine = opened.await.context("opening the store broke; please report this")?;
    engine.map_err(|error| match error {
        OpenError::Io { ref source, .. } if granary_engine::disk::is_full(source) => {
            anyhow::Error::new(error).context(
                "there is no space to open the store, in which nothing is lost: free some on its disk, \
                 a few megabytes are enough, and start again",
            )
        }
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

/// Turns true with the first SIGTERM or SIGINT; the second ends the process. SIGHUP is heeded so that
/// it does not.
fn stop_on_signals() -> anyhow::Result<watch::Receiver<bool>> {
    let heed = |kind| signal(kind).context("cannot heed signals");
    let mut terminate = heed(SignalKind::terminate())?;
    let mut interrupt = heed(SignalKind::interrupt())?;
    let mut hang_up = heed(SignalKind::hangup())?;
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
    // Whoever rotates logs or renews certificates sends it to all that serves.
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            info!(
                "SIGHUP changes nothing: renewed certificates are in use by themselves, settings \
                 with the next start"
            );
        }
    });
    Ok(stop)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
