//! A server of the load's own: a child process of the same program on a directory of its own,
//! both of which end with the load.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::super::client::{Client, http_client};
use super::super::retry::Patience;
use super::super::session::{Credentials, Session};
use super::numbers::random;
use super::report::replace;

/// How long the server may take to begin. A new store takes a second on a slow disk.
const START_TIME_MAX: Duration = Duration::from_mins(1);

/// How long it may take to end, which includes a checkpoint.
const END_TIME_MAX: Duration = Duration::from_mins(1);

/// What the server does with uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is the server that everybody runs.
    Real,
    /// It authenticates, permits, and discards the bodies.
    Sink,
}

/// A directory that goes when this is dropped.
///
/// # Errors
/// It cannot be made there.
pub(crate) fn temporary(prefix: &str, parent: &Path) -> anyhow::Result<TempDir> {
    TempDir::with_prefix_in(prefix, parent).with_context(|| {
        format!("cannot make a directory in {}; name another with --dir", parent.display())
    })
}

/// The server; it is killed and its directory removed when this is dropped.
pub(crate) struct OwnServer {
    child: Killed,
    /// Removed when this is dropped, after the server was killed; none if it is somebody's own.
    _directory: Option<TempDir>,
    client: Client,
}

impl OwnServer {
    /// Starts a server on a fresh directory in `parent` and waits until it listens.
    ///
    /// # Errors
    /// The directory cannot be made, or the server ended or was silent; what it said is told.
    pub(crate) async fn start(parent: &Path, mode: Mode) -> anyhow::Result<Self> {
        let directory = temporary("granary-bench-", parent)?;
        let password = format!("{:032x}", u128::from_le_bytes(random()?));
        let data = directory.path().join("data");
        Self::begin(&data, password, mode, Some(directory)).await
    }

    /// Starts a server on a directory that is kept, where an earlier one may have been, and waits
    /// until it listens.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub(crate) async fn on(directory: &Path) -> anyhow::Result<Self> {
        // Of the first start, which the later ones are logged in to with as well.
        let file = directory.join("bench-password");
        let password = if let Ok(password) = std::fs::read_to_string(&file) {
            password
        } else {
            let password = format!("{:032x}", u128::from_le_bytes(random()?));
            replace(&file, password.as_bytes())?;
            password
        };
        Self::begin(&directory.join("data"), password, Mode::Real, None).await
    }

    async fn begin(
        data: &Path,
        password: String,
        mode: Mode,
        directory: Option<TempDir>,
    ) -> anyhow::Result<Self> {
        let mut child = Killed::new(command(data, &password, mode)?);
        let announcements = child.0.stdout.take().context("the server has no output")?;
        let (tell, told) = oneshot::channel();
        // Reads to the end, so that the server never writes into a closed pipe.
        std::thread::spawn(move || read(announcements, tell));
        let url = timeout(START_TIME_MAX, told).await;
        let url = url.context("the server did not begin to listen in time")?;
        let url = url.context("the server ended before it listened; what it said stands above")?;
        let url = url.parse().context("the server names no address")?;
        let credentials = Credentials { username: "admin".to_owned(), password };
        let http = http_client(&url, None)?;
        let session = Session::with(http.clone(), url.clone(), credentials);
        let client = Client { http, url, session, patience: Patience::USUAL };
        Ok(Self { child, _directory: directory, client })
    }

    /// A client that is logged in as the server's administrator.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The server's process.
    pub(crate) fn process(&self) -> u32 {
        self.child.0.id()
    }

    /// Ends the server as an operator does, and removes its directory.
    ///
    /// # Errors
    /// It did not end well.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let Self { mut child, _directory, .. } = self;
        let id = Pid::from_raw(i32::try_from(child.0.id())?);
        let id = id.context("the server has no process number")?;
        kill_process(id, Signal::TERM)?;
        let ended = spawn_blocking(move || -> std::io::Result<ExitStatus> { child.0.wait() });
        let Ok(status) = timeout(END_TIME_MAX, ended).await else {
            // It is waited for, so the number is its own still.
            kill_process(id, Signal::KILL).context("the server cannot be killed")?;
            bail!("the server did not end in time, and was killed");
        };
        let status = status.context("waiting for the server broke")??;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

/// A process that is killed when this is dropped, if it has not ended by then.
pub(crate) struct Killed(Child);

impl Killed {
    /// Will be killed.
    pub(crate) fn new(child: Child) -> Self {
        Self(child)
    }

    /// Ends it with SIGTERM, as one that has children of its own wants it, and waits.
    pub(crate) fn end(&mut self) {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // What cannot be told to end is killed when this is dropped.
        if id.is_some_and(|id| kill_process(id, Signal::TERM).is_ok()) {
            self.0.wait().ok();
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn command(data: &Path, password: &str, mode: Mode) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new(program);
    match mode {
        Mode::Real => command.arg("serve"),
        Mode::Sink => command.args(["bench", "sink-server"]),
    };
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data);
    // Settings of the operator's own server have no place here.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GRANARY_") {
            command.env_remove(name);
        }
    }
    command.env("GRANARY_ADMIN_PASSWORD", password);
    command.env("RUST_LOG", "error").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().context("cannot start the server")
}

/// Reads what the server says to the end; tells where it listens.
fn read(announcements: ChildStdout, tell: oneshot::Sender<String>) {
    let mut tell = Some(tell);
    for line in BufReader::new(announcements).lines().map_while(Result::ok) {
        if let Some(url) = line.strip_prefix("granary listening on ")
            && let Some(tell) = tell.take()
        {
            // Nobody waits any more if it took too long.
            tell.send(url.trim().to_owned()).ok();
        }
    }
}
