//! The server as a process.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Password of the administrator.
pub(crate) const PASSWORD: &str = "a password of these tests only";

/// How long a start may take before the test gives up: a store as small as these takes a blink.
const START_TIME_MAX: Duration = Duration::from_mins(1);

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    let named = std::env::var_os("GRANARY_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_granary").into())
}

/// A server; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Empty until it listens.
    pub(crate) url: String,
    /// From the start of the process to the line that says that it listens.
    pub(crate) start_time: Duration,
    begun: Instant,
    lines: Receiver<String>,
}

impl Server {
    /// Starts a server over `work/data` and waits until it listens.
    pub(crate) fn start(work: &Path) -> Self {
        Self::spawn(work, &mut Command::new(binary())).listening()
    }

    /// Starts a server with a command that ends in the binary's name; does not wait.
    pub(crate) fn spawn(work: &Path, command: &mut Command) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(work.join("server.log"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(work.join("data"))
            .env("GRANARY_ADMIN_PASSWORD", PASSWORD)
            .env("XDG_CONFIG_HOME", work.join("config"))
            .env_remove("GRANARY_DATA")
            .stdout(Stdio::piped())
            .stderr(log.unwrap());
        let begun = Instant::now();
        let mut child = command.spawn().unwrap();
        let (tell, lines) = channel();
        let announcements = BufReader::new(child.stdout.take().unwrap());
        // Reads to the end, so that the server never writes into a closed pipe.
        thread::spawn(move || {
            for line in announcements.lines().map_while(Result::ok) {
                tell.send(line).ok();
            }
        });
        Self { child, url: String::new(), start_time: Duration::ZERO, begun, lines }
    }

    /// Waits until it listens.
    pub(crate) fn listening(mut self) -> Self {
        assert!(self.listens_within(START_TIME_MAX), "the server does not start");
        self
    }

    /// Waits so long for it to listen.
    pub(crate) fn listens_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while self.url.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let url = line.strip_prefix("granary listening on ");
                    url.unwrap_or_default().clone_into(&mut self.url);
                }
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the server ended before it was ready: {:?}", self.child.wait())
                }
            }
        }
        self.start_time = self.begun.elapsed();
        true
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes that the process has in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        resident_bytes(self.pid())
    }

    /// SIGKILL; nothing of the process runs any more when this returns.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and the status with which it ends.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Bytes that a process has in memory.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

/// The lines of the log that tell of a panic or of a request that failed for the server's fault.
pub(crate) fn faults_in_log(work: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(work.join("server.log")).unwrap();
    let faults =
        log.lines().filter(|line| line.contains("panicked") || line.contains("request failed"));
    faults.map(str::to_owned).collect()
}
