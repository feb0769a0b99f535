//! How a server is told to start and stop, what it says meanwhile, and `granary status`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{PASSWORD, PATIENCE, Server, Work, run, until};

fn serve(work: &Work, more: &[&str]) -> Command {
    let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    command.args(more).env("GRANARY_ADMIN_PASSWORD", PASSWORD);
    command
}

fn start(work: &Work, more: &[&str]) -> Server {
    Server::start(&mut serve(work, more), &work.path(""))
}

fn client(work: &Work, server: &Server, arguments: &[&str]) -> Command {
    let mut command = work.granary(arguments);
    command
        .env("GRANARY_URL", format!("http://{}", server.address))
        .env("GRANARY_PASSWORD", PASSWORD);
    command
}

fn access_token(server: &Server) -> String {
    let login = format!("{{\"username\": \"admin\", \"password\": \"{PASSWORD}\"}}");
    let headers = "Content-Type: application/json\r\n";
    let answer = server.ask("POST", "/v1/auth/obtain", headers, &login);
    let (_, rest) = answer.split_once("\"access\":\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// An upload of which a part has come, and the server reads.
struct HalfUpload {
    stream: TcpStream,
}

const HALF: usize = 600_000;

impl HalfUpload {
    fn begin(server: &Server, dataset: &str) -> Self {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let head = format!(
            "POST /v1/datasets/{dataset}/files/late HTTP/1.1\r\nHost: granary\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\nContent-Type: application/data\r\n\r\n",
            access_token(server),
            2 * HALF
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; HALF]).unwrap();
        // Asking is a request under way too.
        until("the upload is under way", || {
            let metrics = server.ask("GET", "/metrics", "", "");
            metrics.contains("granary_requests_in_flight 2\n").then_some(())
        });
        Self { stream }
    }

    fn end(mut self) -> String {
        self.stream.write_all(&vec![b'x'; HALF]).unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn make_dataset(work: &Work, server: &Server) {
    work.file("small", "small");
    let pushed = run(&mut client(work, server, &["push", "small", "--dataset", "cats"]));
    assert_eq!(pushed.status, 0, "{pushed:?}");
}

/// Waits until the server says that it stops; connections that it took just before may break.
fn wait_for_draining(server: &Server) {
    let is_draining = |answer: String| answer.contains("\"status\":\"draining\"");
    until("the server drains", || {
        let answer = server.try_to_ask("GET", "/readyz", "", "");
        answer.is_ok_and(is_draining).then_some(())
    });
}

#[test]
fn told_to_stop_a_server_finishes_uploads_under_way_and_says_meanwhile_that_it_drains() {
    let work = Work::new();
    let mut server = start(&work, &[]);
    make_dataset(&work, &server);
    let upload = HalfUpload::begin(&server, "1");

    server.signal(Signal::TERM);
    wait_for_draining(&server);
    assert!(server.ask("GET", "/livez", "", "").starts_with("HTTP/1.1 200 "));
    let refused = server.ask("POST", "/v1/datasets/list", "", "");
    assert!(
        refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1\r\n"),
        "{refused}"
    );
    let answer = upload.end();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.log().ends_with("stopped\n"), "{}", server.log());

    drop(server);
    let server = start(&work, &[]);
    let listed = run(&mut client(&work, &server, &["ls", "cats"]));
    assert!(listed.said.contains("late"), "{listed:?}");
}

#[test]
fn a_second_signal_ends_the_server_at_once_and_loses_nothing_answered() {
    let work = Work::new();
    let mut server = start(&work, &[]);
    make_dataset(&work, &server);
    let upload = HalfUpload::begin(&server, "1");
    server.signal(Signal::TERM);
    wait_for_draining(&server);
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(130));
    drop((upload, server));

    let server = start(&work, &[]);
    let listed = run(&mut client(&work, &server, &["ls", "cats"]));
    assert!(listed.said.contains("small") && !listed.said.contains("late"), "{listed:?}");
}

#[test]
fn a_signal_that_others_take_for_a_reload_leaves_the_server_as_it_is() {
    let work = Work::new();
    let mut server = start(&work, &[]);
    server.signal(Signal::HUP);
    lines_with(&server, "SIGHUP changes nothing");
    assert!(server.ask("GET", "/readyz", "", "").starts_with("HTTP/1.1 200 "));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_service_manager_is_told_that_the_server_is_ready_lives_and_stops() {
    let work = Work::new();
    let socket = UnixDatagram::bind(work.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = serve(&work, &[]);
    command.env("NOTIFY_SOCKET", work.path("notify")).env("WATCHDOG_USEC", "20000");
    let mut server = Server::start(&mut command, &work.path(""));
    let mut told = String::new();
    let mut hear = |words: &str| {
        while !told.contains(words) {
            let mut message = [0; 1024];
            let length = socket.recv(&mut message).unwrap();
            told.push_str(std::str::from_utf8(&message[..length]).unwrap());
        }
    };
    hear("READY=1\n");
    hear(&format!("STATUS=serving on {}", server.address));
    hear("WATCHDOG=1\n");
    server.signal(Signal::TERM);
    hear("STOPPING=1\n");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_whose_standard_output_is_full_or_closed_serves_and_says_so_in_its_log() {
    for is_full in [true, false] {
        let work = Work::new();
        let stdout = if is_full {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            Stdio::from(full)
        } else {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            Stdio::from(writer)
        };
        let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
        let server = Server::start_unheard(&mut command, &work.path(""), stdout);
        assert!(server.ask("GET", "/readyz", "", "").starts_with("HTTP/1.1 200 "));
        let log = server.log();
        assert_eq!(log.matches("cannot write to standard output").count(), 2, "{log}");
        let password = std::fs::read_to_string(work.path("data/admin-password")).unwrap();
        assert!(!log.contains(password.trim()));
    }
}

/// The kernel keeps some ten messages for who does not listen, and the next waits.
#[test]
fn a_service_manager_that_does_not_listen_holds_nothing_up() {
    let work = Work::new();
    let socket = UnixDatagram::bind(work.path("notify")).unwrap();
    let mut command = serve(&work, &[]);
    command.env("NOTIFY_SOCKET", work.path("notify")).env("WATCHDOG_USEC", "2000");
    let mut server = Server::start(&mut command, &work.path(""));
    // The server lets a sender wait only once there is no room for what it says.
    let filling = UnixDatagram::unbound().unwrap();
    filling.set_nonblocking(true).unwrap();
    while filling.send_to(b"FILLING=1", work.path("notify")).is_ok() {}
    assert!(server.ask("GET", "/readyz", "", "").starts_with("HTTP/1.1 200 "));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    drop(socket);
}

#[test]
fn the_log_of_a_start_says_what_is_where_and_how_durable() {
    let work = Work::new();
    let server = start(&work, &["--metrics", "127.0.0.1:0"]);
    let log = server.log();
    let data = work.path("data").canonicalize().unwrap();
    let data = format!("data={}", data.display());
    for words in [
        "granary starts version=",
        "opened the store",
        data.as_str(),
        "file_system=",
        "disk_free_bytes=",
        "reserve_bytes=",
        "a change is answered when fdatasync has returned for it and readers see it",
        &format!("serving address={}", server.address),
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    // Metrics are where the log says, and nowhere else.
    assert!(server.ask("GET", "/metrics", "", "").starts_with("HTTP/1.1 404 "));
    let (_, metrics) = log.split_once("metrics=\"at ").unwrap();
    let address = metrics.split_once('"').unwrap().0;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("granary_build_info{version=\""), "{answer}");
    // The real listener tells how many it takes.
    assert!(answer.contains("\ngranary_connections_limit "), "{answer}");
    assert!(!answer.contains("\ngranary_connections_limit 0\n"), "{answer}");
}

#[test]
fn a_request_is_found_in_the_log_by_its_id_without_what_is_secret_in_it() {
    let work = Work::new();
    let server = start(&work, &["--log-format", "json"]);
    make_dataset(&work, &server);
    let token = access_token(&server);
    let headers = format!("X-Request-Id: trace-7\r\nAuthorization: Bearer {token}\r\n");
    let answer = server.ask("GET", "/v1/datasets/1/files?prefix=sesame", &headers, "");
    assert!(answer.contains("x-request-id: trace-7\r\n"), "{answer}");
    let line: serde_json::Value = serde_json::from_str(&lines_with(&server, "trace-7")[0]).unwrap();
    assert_eq!((&line["target"], &line["level"]), (&"granary::access".into(), &"INFO".into()));
    assert_eq!(line["request_id"], "trace-7");
    assert_eq!((&line["action"], &line["status"]), (&"files_list_files".into(), &200.into()));
    assert_eq!((&line["path"], &line["user"]), (&"/v1/datasets/1/files".into(), &1.into()));
    assert!(line["sent"].as_u64().unwrap() > 0 && line["duration_ms"].is_string(), "{line}");
    for secret in [token.as_str(), PASSWORD, "sesame"] {
        assert!(!server.log().contains(secret), "{secret}");
    }
}

/// Gives the lines of the log that have these words, once there are any.
fn lines_with(server: &Server, words: &str) -> Vec<String> {
    until(words, || {
        let log = server.log();
        let found: Vec<_> = log.lines().filter(|line| line.contains(words)).collect();
        (!found.is_empty()).then(|| found.into_iter().map(str::to_owned).collect())
    })
}

#[test]
fn every_line_that_a_request_writes_has_its_id_once() {
    for format in ["text", "json"] {
        let work = Work::new();
        let server = start(&work, &["--log-format", format]);
        let headers = format!(
            "X-Request-Id: rotates-7\r\nAuthorization: Bearer {}\r\n",
            access_token(&server)
        );
        let answer = server.ask("POST", "/v1/auth/rotate-key", &headers, "");
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        // The one about the request is written last.
        lines_with(&server, "auth_rotate_key");
        let lines = lines_with(&server, "rotates-7");
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].contains("the key of tokens was changed"), "{lines:#?}");
        for line in lines {
            assert_eq!(line.matches("rotates-7").count(), 1, "{line}");
            if format == "json" {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(line["request_id"], "rotates-7");
            } else {
                assert!(line.ends_with(" request_id=\"rotates-7\""), "{line}");
            }
        }
    }
}

#[test]
fn whoever_asks_all_the_time_whether_a_server_is_ready_fills_no_log() {
    let work = Work::new();
    let mut server = start(&work, &[]);
    make_dataset(&work, &server);
    let upload = HalfUpload::begin(&server, "1");
    server.signal(Signal::TERM);
    wait_for_draining(&server);
    for _ in 0..10 {
        assert!(server.ask("GET", "/readyz", "", "").starts_with("HTTP/1.1 503 "));
    }
    upload.end();
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.log().contains("server_ready"), "{}", server.log());
}

#[test]
fn what_clients_write_into_heads_makes_no_lines_of_the_log() {
    for format in ["text", "json"] {
        let work = Work::new();
        let server = start(&work, &["--log-format", format, "--log-filter", "trace"]);
        let many = "x".repeat(10_000);
        let chosen = ["a\", \"level\": \"ERROR", "a\\nINFO sesame", "a\tsesame", many.as_str()];
        for id in chosen {
            let headers = format!("X-Request-Id: {id}\r\nAuthorization: Bearer sesame\r\n");
            let path = "/v1/datasets/1/files/a%0ASESAME%1b%5B2J%22?token=sesame";
            let answer = server.ask("GET", path, &headers, "");
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        }
        let method = "M".repeat(5_000);
        let answer = server.ask(&method, "/last", "X-Request-Id: last\r\n", "");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        lines_with(&server, "\"last\"");
        let log = server.log();
        // The libraries below log nothing that they were sent, at no level.
        assert!(!log.contains("sesame") && !log.contains(&many) && !log.contains(&method), "{log}");
        let abouts = log.lines().filter(|line| line.contains("files_get_file")).count();
        assert_eq!(abouts, chosen.len(), "{log}");
        for line in log.lines() {
            assert!(line.len() < 2_000, "{line}");
            if format == "json" {
                serde_json::from_str::<serde_json::Value>(line).unwrap();
            } else {
                assert!(line.starts_with("20"), "{line}");
            }
        }
    }
}

#[test]
fn status_tells_people_how_a_server_is() {
    let work = Work::new();
    let server = start(&work, &[]);
    let ended = run(&mut client(&work, &server, &["status"]));
    assert_eq!(ended.status, 0, "{ended:?}");
    for words in ["granary 0.", ": ready\n", "since ", "disk ", "busy ", "nothing is damaged"] {
        assert!(ended.said.contains(words), "{words}: {ended:?}");
    }
    let ended = run(&mut client(&work, &server, &["status", "--json"]));
    let status: serde_json::Value = serde_json::from_str(&ended.said).unwrap();
    assert_eq!((ended.status, &status["condition"]), (0, &"ready".into()));

    let mut stranger = work.granary(&["status"]);
    stranger
        .env("GRANARY_URL", format!("http://{}", server.address))
        .env("GRANARY_DATA", "elsewhere");
    let ended = run(&mut stranger);
    assert_eq!((ended.status, ended.said.as_str()), (0, "ready\n"), "{ended:?}");
    assert!(ended.complained.contains("for administrators"), "{ended:?}");
    let ended = run(stranger.arg("--ready"));
    assert_eq!((ended.status, ended.said.as_str(), ended.complained.as_str()), (0, "ready\n", ""));

    make_dataset(&work, &server);
    let upload = HalfUpload::begin(&server, "1");
    server.signal(Signal::TERM);
    wait_for_draining(&server);
    let ended = run(&mut client(&work, &server, &["status"]));
    assert_eq!(ended.status, 3, "{ended:?}");
    assert!(ended.said.starts_with("draining: "), "{ended:?}");
    let ended = run(&mut client(&work, &server, &["status", "--json"]));
    let status: serde_json::Value = serde_json::from_str(&ended.said).unwrap();
    assert_eq!((ended.status, &status["condition"]), (3, &"draining".into()), "{ended:?}");
    assert!(status["reason"].is_string(), "{ended:?}");
    drop(upload);
    drop(server);
    let ended = run(&mut work.granary(&["status", "--ready", "--url", "http://127.0.0.1:1"]));
    assert_eq!(ended.status, 1, "{ended:?}");
}
