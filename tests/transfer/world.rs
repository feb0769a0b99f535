//! A server with clients in one directory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Ended, PASSWORD, Server, Work, run};

/// A server and the directory that its clients work in.
pub(crate) struct World {
    pub(crate) work: Work,
    pub(crate) server: Option<Server>,
    /// Where the server is, also while it is not.
    pub(crate) address: String,
}

impl World {
    /// A server that is ready, without datasets.
    pub(crate) fn new() -> Self {
        let work = Work::new();
        let server = start(&work, "127.0.0.1:0");
        let address = server.address.clone();
        Self { work, server: Some(server), address }
    }

    /// Kills the server, and starts it again in the same place.
    pub(crate) fn kill_and_restart(&mut self) {
        self.server = None;
        self.server = Some(start(&self.work, &self.address));
    }

    /// A command of a client of the server.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        self.client_at(&self.address, arguments)
    }

    /// A command of a client that takes this address for the server's.
    pub(crate) fn client_at(&self, address: &str, arguments: &[&str]) -> Command {
        let mut command = self.work.granary(arguments);
        let url = format!("http://{address}");
        command.env("GRANARY_URL", url).env("GRANARY_PASSWORD", PASSWORD).stdin(Stdio::null());
        command
    }

    /// Runs a command of a client.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(&mut self.client(arguments))
    }

    /// Runs a command of a client that must do all that it was asked for; what it said.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.status, 0, "{arguments:?}: {ended:?}");
        ended.said
    }

    /// The summary of a `push` or `pull` with `--json`, which must be complete.
    pub(crate) fn summary(&self, arguments: &[&str]) -> Value {
        let said = self.done(&[arguments, &["--json"]].concat());
        summary_of(&said)
    }

    /// Writes files below the directory.
    pub(crate) fn write(&self, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = self.work.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            self.work.file(name, content);
        }
    }

    /// Names and contents of the files below a folder.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.work.path(folder);
        let mut files = BTreeMap::new();
        below(&root, &root, &mut files);
        files
    }
}

fn start(work: &Work, listen: &str) -> Server {
    let mut command = work.granary(&["serve", "--data", "data", "--listen", listen]);
    command.env("GRANARY_ADMIN_PASSWORD", PASSWORD);
    Server::start(&mut command, &work.path(""))
}

fn below(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read(path).unwrap());
        }
    }
}

/// The events of a command with `--json`.
pub(crate) fn events(said: &str) -> Vec<Value> {
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The last of them.
pub(crate) fn summary_of(said: &str) -> Value {
    let summary = events(said).pop().unwrap();
    assert_eq!(summary["event"], "summary", "{said}");
    summary
}

/// Starts a command, and kills it once it has told of so many files, or of all that were left.
pub(crate) fn killed_after(command: &mut Command, files: usize) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = told.filter(|line| line.as_ref().unwrap().contains("\"file\"")).take(files).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told > 0, "it told of nothing");
}

/// Bytes that do not repeat, the same for the same number.
pub(crate) fn noise(number: u64, length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    let mut bytes = vec![0; length];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Writes a file of noise below the directory.
pub(crate) fn write_noise(world: &World, name: &str, number: u64, length: usize) {
    let path = world.work.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's own file needs no durability")]
    std::fs::write(path, noise(number, length)).unwrap();
}
