//! Traces reach a collector that the standard variables name, from the request to the group.
//! `cargo test --features otel --test traces`
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail by panicking, as tests do")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// A trace of the client's.
const TRACE: [u8; 16] = *b"\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Takes one request and answers it; gives its head and its body.
fn take(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            return (String::new(), Vec::new());
        }
    }
    let lower = head.to_ascii_lowercase();
    let (_, length) = lower.split_once("content-length: ").unwrap();
    let length = length.lines().next().unwrap().trim().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
    (&mut &*stream).write_all(answer.as_bytes()).unwrap();
    (head, body)
}

/// A collector; its address, and what it is sent.
fn collector() -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, tell) = (stream.unwrap(), tell.clone());
            std::thread::spawn(move || {
                loop {
                    let (head, body) = take(&stream);
                    if head.is_empty() || tell.send((head, body)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, told)
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_request_is_traced_to_the_group_that_made_its_change_durable() {
    let (address, sent) = collector();
    let work = tempfile::tempdir().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_granary"))
        .args(["serve", "--data", "data", "--listen", "127.0.0.1:0"])
        .env_clear()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_SERVICE_NAME", "a-name-of-the-tests")
        .env("GRANARY_ADMIN_PASSWORD", "a password of these tests only")
        .current_dir(work.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    while !line.contains("listening on") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    let listening = line.trim().rsplit_once("http://").unwrap().1.to_owned();
    let pushed = Command::new(env!("CARGO_BIN_EXE_granary"))
        .args(["push", "data/LOCK", "--dataset", "cats"])
        .env_clear()
        .env("GRANARY_URL", format!("http://{listening}"))
        .env("GRANARY_PASSWORD", "a password of these tests only")
        .current_dir(work.path())
        .output()
        .unwrap();
    assert!(pushed.status.success(), "{pushed:?}");
    let mut stream = TcpStream::connect(&listening).unwrap();
    let request = format!(
        "GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\ntraceparent: {TRACEPARENT}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let wanted: [&[u8]; 8] = [
        b"a-name-of-the-tests",
        b"files_add_file",
        b"http.response.status_code",
        b"change",
        b"group",
        b"sync",
        b"apply",
        &TRACE,
    ];
    let mut all = Vec::new();
    while !wanted.iter().all(|part| has(&all, part)) {
        let (head, body) = sent.recv_timeout(PATIENCE).expect("not everything was sent");
        assert!(head.starts_with("POST /v1/traces "), "{head}");
        all.extend(body);
    }
    let pid = Pid::from_raw(server.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
}
