//! A directory to work in, the program in it, and servers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const GRANARY: &str = env!("CARGO_BIN_EXE_granary");
pub(crate) const PASSWORD: &str = "a password of this test only";

/// A directory of one test, with nothing of the user's nearby.
pub(crate) struct Work(pub(crate) TempDir);

impl Work {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn granary(&self) -> Command {
        let mut command = heeding_hangups(GRANARY);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GRANARY_")) {
            command.env_remove(name);
        }
        command.env("XDG_CONFIG_HOME", self.path("config")).current_dir(self.0.path());
        command
    }

    /// Runs a load with a server of its own; gives its report.
    pub(crate) fn load(&self, arguments: &[&str]) -> Value {
        let report = self.path("report.json");
        let mut command = self.granary();
        command.arg("bench").args(arguments).args(["--self", "--no-ceiling", "--dir"]);
        let output = command.arg(self.0.path()).arg("--json").arg(&report).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        self.assert_nothing_is_left();
        serde_json::from_slice(&fs::read(report).unwrap()).unwrap()
    }

    pub(crate) fn assert_nothing_is_left(&self) {
        let names = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left = names.filter(|name| name.to_string_lossy().starts_with("granary-"));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<std::ffi::OsString>::new());
    }
}

/// Whether a file system lies on one disk, whose writes the kernel counts: not so of those in memory, of
/// layered ones and of those that are on several.
pub(crate) fn is_on_a_disk(path: &Path) -> bool {
    let device = rustix::fs::stat(path).unwrap().st_dev;
    let wanted = [rustix::fs::major(device), rustix::fs::minor(device)].map(|of| of.to_string());
    let table = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    table.lines().any(|line| line.split_whitespace().take(2).eq(wanted.iter()))
}

pub(crate) fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) fn operation<'a>(report: &'a Value, name: &str) -> &'a Value {
    let operations = report["runs"][0]["operations"].as_array().unwrap();
    operations.iter().find(|operation| operation["operation"] == name).unwrap()
}

pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(work: &Work) -> Self {
        Self::on(work, &work.path("data"))
    }

    /// Of a store that is there or, with the password of these tests, is made.
    pub(crate) fn on(work: &Work, data: &Path) -> Self {
        let mut command = work.granary();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        command.env("GRANARY_ADMIN_PASSWORD", PASSWORD).env("RUST_LOG", "error");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let url = |line: String| Some(line.strip_prefix("granary listening on ")?.to_owned());
        let url = lines.into_iter().find_map(url).unwrap();
        Self { child, url }
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A program that does not ignore SIGHUP, as those inherit it that `nohup` began.
fn heeding_hangups(program: &str) -> Command {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    if u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", program]);
    command
}
