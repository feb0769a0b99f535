use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{GRANARY, PASSWORD, Server, Work, said};

/// A load that is going to be interrupted.
struct Load(Child);

impl Load {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Asks again and again; fails if the load ends before it is so.
    fn until<T>(&mut self, condition: impl Fn() -> Option<T>) -> T {
        loop {
            if let Some(found) = condition() {
                return found;
            }
            assert_eq!(self.0.try_wait().unwrap(), None, "the load ended by itself");
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits until it heeds interrupts, not a shell before it; gives the signals that it heeds and those that it ignores, a
    /// bit each.
    fn until_it_heeds_interrupts(&mut self) -> (u64, u64) {
        let status = format!("/proc/{}/status", self.0.id());
        self.until(|| {
            let status = fs::read_to_string(&status).ok()?;
            status.starts_with("Name:\tgranary\n").then_some(())?;
            let signals = |name| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                u64::from_str_radix(line.trim(), 16).ok()
            };
            let caught = signals("SigCgt:")?;
            (caught & bit(Signal::INT) != 0).then_some((caught, signals("SigIgn:")?))
        })
    }

    /// What it says from now on.
    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let stderr = self.0.stderr.take().unwrap();
        BufReader::new(stderr).lines().map_while(Result::ok)
    }

    fn assert_reports_nothing(&mut self, lines: impl Iterator<Item = String>) {
        let last = lines.last().unwrap();
        assert!(last.contains("nothing of the load was reported"), "{last}");
        assert_eq!(self.0.wait().unwrap().code(), Some(1));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The bit of a signal in the kernel's masks.
fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// A server that answers nothing.
fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn a_load_that_is_interrupted_removes_what_it_made_on_somebodys_server() {
    let work = Work::new();
    let server = Server::start(&work);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        nothing_is_left_after(signal, &work, &server);
    }
}

fn nothing_is_left_after(signal: Signal, work: &Work, server: &Server) {
    let datasets = || {
        let mut list = work.granary();
        list.env("GRANARY_PASSWORD", PASSWORD).args(["ls", "--url", &server.url]);
        said(&list.output().unwrap()).matches("granary-bench-").count()
    };
    let mut command = work.granary();
    command.env("GRANARY_PASSWORD", PASSWORD).args(["bench", "upload", "--duration", "3600"]);
    command.args(["--no-ceiling", "--datasets", "3", "--url", &server.url]);
    let mut load = Load::start(&mut command);
    load.until(|| (datasets() == 3).then_some(()));
    load.signal(signal);
    let lines = load.lines();
    load.assert_reports_nothing(lines);
    assert_eq!(datasets(), 0);
}

#[test]
fn a_hangup_ends_a_load_with_its_server_unless_whoever_began_it_ignores_hangups() {
    let work = Work::new();
    let bench = ["bench", "upload", "--self", "--no-ceiling", "--duration", "3600", "--dir"];
    let mut load = Load::start(work.granary().args(bench).arg(work.0.path()));
    load.until_it_heeds_interrupts();
    load.signal(Signal::HUP);
    assert_eq!(load.0.wait().unwrap().code(), Some(1));
    let lines = load.lines();
    load.assert_reports_nothing(lines);
    work.assert_nothing_is_left();

    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP && exec \"$0\" \"$@\"", GRANARY]).args(bench);
    let mut load = Load::start(ignoring.arg(work.0.path()).current_dir(work.0.path()));
    let (heeded, ignored) = load.until_it_heeds_interrupts();
    assert_eq!((heeded & bit(Signal::HUP), ignored & bit(Signal::HUP)), (0, bit(Signal::HUP)));
    load.signal(Signal::INT);
    let lines = load.lines();
    load.assert_reports_nothing(lines);
    work.assert_nothing_is_left();
}

#[test]
fn a_load_that_is_interrupted_during_its_ceiling_makes_nothing() {
    let work = Work::new();
    let (server, url) = silent_server();
    let mut command = work.granary();
    command.env("GRANARY_PASSWORD", PASSWORD).args(["bench", "upload", "--url", &url]);
    // The ceiling is measured first, with as many.
    let mut load = Load::start(command.args(["--requests", "1000000000"]));
    load.until_it_heeds_interrupts();
    load.signal(Signal::INT);
    while load.0.try_wait().unwrap().is_none() {
        assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody came");
    }
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody came");
    let lines = load.lines();
    load.assert_reports_nothing(lines);
}

#[test]
fn a_load_of_a_plain_server_that_is_interrupted_speaks_of_no_removal() {
    let work = Work::new();
    let (server, url) = silent_server();
    let mut command = work.granary();
    command.args(["bench", "upload", "--plain", "--no-ceiling", "-c", "1", "--url", &url]);
    let mut load = Load::start(&mut command);
    let connection = load.until(|| server.accept().ok());
    load.signal(Signal::INT);
    let mut lines = load.lines();
    let first = lines.find(|line| line.contains("interrupted")).unwrap();
    assert!(!first.contains("removed"), "{first}");
    // It waits for the answer that is under way, which will not come.
    drop((connection, server));
    load.assert_reports_nothing(lines.inspect(|line| assert!(!line.contains("removed"), "{line}")));
}
