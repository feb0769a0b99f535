//! Kills the real server again and again while files are pushed to it, and compares: every file
//! that a client was told is stored is there after the restart, byte for byte.
//!
//! `GRANARY_KILLS` sets the number of kills (default 6).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

const GRANARY: &str = env!("CARGO_BIN_EXE_granary");
const PASSWORD: &str = "a password of this test only";
const FILES: u32 = 3_000;

struct Server {
    child: Child,
    url: String,
    /// Kept open, so that the server never writes into a closed pipe.
    announcements: BufReader<ChildStdout>,
}

impl Server {
    fn start(work: &Path) -> Self {
        let mut command = granary(work);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(work.join("data"));
        command.env("GRANARY_ADMIN_PASSWORD", PASSWORD).env("RUST_LOG", "error");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let announcements = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, url: String::new(), announcements };
        while server.url.is_empty() {
            let mut line = String::new();
            let read = server.announcements.read_line(&mut line).unwrap();
            assert!(read > 0, "the server ended before it was ready");
            let url = line.trim().strip_prefix("granary listening on ");
            server.url = url.unwrap_or_default().to_owned();
        }
        server
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn granary(work: &Path) -> Command {
    let mut command = Command::new(GRANARY);
    command
        .env("XDG_CONFIG_HOME", work.join("config"))
        .env("GRANARY_USERNAME", "admin")
        .env("GRANARY_PASSWORD", PASSWORD)
        .stderr(Stdio::null());
    command
}

fn push(work: &Path, url: &str) -> Command {
    let mut command = granary(work);
    command.arg("push").arg(work.join("local"));
    command.args(["--dataset", "killed", "--verbose", "--url", url]);
    command
}

/// A pseudorandom number for each input; the files' sizes and bytes, and when to kill.
fn mixed(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn make_files(directory: &Path) {
    for number in 0..FILES {
        let seed = u64::from(number);
        // Every fiftieth is beyond what travels in the journal.
        let length = if number % 50 == 7 { 1_200_000 } else { 1 + mixed(seed) % 30_000 };
        let mut bytes = Vec::new();
        let mut word = seed;
        while bytes.len() < usize::try_from(length).unwrap() {
            word = mixed(word);
            bytes.extend(word.to_le_bytes());
        }
        let path = directory.join(format!("{:02}/{number}.bin", number % 40));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file needs no durability")]
        fs::write(path, bytes).unwrap();
    }
}

/// Pushes until this many files were answered for, then kills server and client. Gives the names
/// that the client was told are stored.
fn push_and_kill(work: &Path, server: Server, kill_after: u64) -> BTreeSet<String> {
    let mut client = push(work, &server.url).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(client.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut sent = BTreeSet::new();
    let mut server = Some(server);
    for line in lines {
        if let Some(name) = line.strip_prefix("sent ").filter(|name| name.contains('/')) {
            sent.insert(name.to_owned());
        }
        if u64::try_from(sent.len()).unwrap() >= kill_after
            && let Some(server) = server.take()
        {
            server.kill();
            client.kill().unwrap();
        }
    }
    if let Some(server) = server {
        server.kill();
    }
    client.wait().unwrap();
    sent
}

fn pull(work: &Path, url: &str, into: &Path) {
    let mut command = granary(work);
    command.args(["pull", "--dataset", "killed", "--url", url]).arg(into);
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "pull failed");
}

fn assert_same(work: &Path, pulled: &Path, name: &str) {
    let local = fs::read(work.join("local").join(name)).unwrap();
    let stored = fs::read(pulled.join(name));
    let stored = stored.unwrap_or_else(|error| panic!("{name} was answered for and lost: {error}"));
    assert!(local == stored, "{name} differs from what was answered for");
}

#[test]
fn every_answered_file_survives_kill_9() {
    let kills = std::env::var("GRANARY_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let work: PathBuf = directory.path().into();
    make_files(&work.join("local"));
    let mut answered = BTreeSet::new();
    for round in 0..kills {
        let server = Server::start(&work);
        let left = u64::from(FILES) - u64::try_from(answered.len()).unwrap();
        let sent = push_and_kill(&work, server, 1 + mixed(round) % (left / 4).max(1));
        answered.extend(sent);

        let server = Server::start(&work);
        let pulled = work.join(format!("pulled-{round}"));
        pull(&work, &server.url, &pulled);
        for name in &answered {
            assert_same(&work, &pulled, name);
        }
        fs::remove_dir_all(pulled).unwrap();
        server.kill();
    }
    let server = Server::start(&work);
    assert!(push(&work, &server.url).stdout(Stdio::null()).status().unwrap().success());
    let pulled = work.join("pulled");
    pull(&work, &server.url, &pulled);
    for number in 0..FILES {
        assert_same(&work, &pulled, &format!("{:02}/{number}.bin", number % 40));
    }
    server.kill();
}
