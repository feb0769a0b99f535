//! A directory to work in, and the program in it, alone with the variables that a test sets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "a password of these tests only";

/// How long what must come may take on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Looks again and again until something is there.
///
/// # Panics
/// It does not come.
pub(crate) fn until<T>(awaited: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited for {PATIENCE:?} in vain: {awaited}");
        std::thread::yield_now();
    }
}

/// A directory to work in.
pub(crate) struct Work(TempDir);

impl Work {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; gives its path as text.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        #[expect(clippy::disallowed_methods, reason = "a test's own file needs no durability")]
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The program, without a variable of whoever runs the tests.
    pub(crate) fn granary(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_granary"));
        command.env_clear().current_dir(self.0.path()).env("HOME", self.0.path()).args(arguments);
        command
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { status: status.code().unwrap(), said: text(stdout), complained: text(stderr) }
}

/// How a command ended, and its words.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) said: String,
    pub(crate) complained: String,
}

/// A server that is ready; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// Everything that it said until it was ready.
    pub(crate) announced: String,
    log: PathBuf,
    /// Kept open, so that the server never writes into a closed pipe.
    _announcements: Option<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts a server, whose log goes to a file in the directory, and waits until it is ready.
    pub(crate) fn start(command: &mut Command, directory: &Path) -> Self {
        let log = directory.join("log");
        let appended = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(appended).spawn().unwrap();
        let mut announcements = BufReader::new(child.stdout.take().unwrap());
        let mut announced = String::new();
        let address = loop {
            let from = announced.len();
            let read = announcements.read_line(&mut announced).unwrap();
            assert!(read > 0, "the server ended: {}", std::fs::read_to_string(&log).unwrap());
            let line = announced[from..].trim();
            let url = line.strip_prefix("granary listening on ");
            if let Some((_scheme, address)) = url.and_then(|url| url.split_once("://")) {
                break address.to_owned();
            }
        };
        Self { child, address, announced, log, _announcements: Some(announcements) }
    }

    /// The same of one whose words nobody reads: where it is it tells a service manager.
    pub(crate) fn start_unheard(command: &mut Command, directory: &Path, stdout: Stdio) -> Self {
        let (log, path) = (directory.join("log"), directory.join("notify"));
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let appended = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let command = command.env("NOTIFY_SOCKET", path).stdout(stdout).stderr(appended);
        let child = command.spawn().unwrap();
        let (address, announced) = (String::new(), String::new());
        // Killed from here on if the test ends early.
        let mut server = Self { child, address, announced, log, _announcements: None };
        let start = Instant::now();
        while server.address.is_empty() {
            let has_ended = server.child.try_wait().unwrap().is_some();
            assert!(!has_ended && start.elapsed() < PATIENCE, "{}", server.log());
            let mut message = [0; 1024];
            let Ok(length) = manager.recv(&mut message) else { continue };
            let told = std::str::from_utf8(&message[..length]).unwrap();
            let address = told.lines().find_map(|line| line.strip_prefix("STATUS=serving on "));
            address.unwrap_or_default().clone_into(&mut server.address);
        }
        server
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// What the log holds by now.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a request and reads the answer: head and body.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        self.try_to_ask(method, path, headers, body).unwrap()
    }

    /// The same of a server that may end connections at any time.
    pub(crate) fn try_to_ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: granary\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
