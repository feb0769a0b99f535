//! Backups of a server that works, and the servers that come of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{Ended, PASSWORD, Server, Work, run};

fn serve(work: &Work, data: &str) -> Server {
    let mut command = work.granary(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
    command.env("GRANARY_ADMIN_PASSWORD", PASSWORD).env("RUST_LOG", "error");
    Server::start(&mut command, &work.path(""))
}

/// A client command, logged in as the administrator.
fn client(work: &Work, server: &Server, arguments: &[&str]) -> Command {
    let mut command = work.granary(arguments);
    command.args(["--url", &format!("http://{}", server.address)]);
    command.env("GRANARY_USERNAME", "admin").env("GRANARY_PASSWORD", PASSWORD);
    command
}

fn back_up(work: &Work, server: &Server, dest: &str) -> String {
    let ended = run(&mut client(work, server, &["backup", dest]));
    assert_eq!(ended.status, 0, "{ended:?}");
    ended.said
}

fn restore(work: &Work, arguments: &[&str]) -> Ended {
    run(&mut work.granary(&[&["restore"], arguments].concat()))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn token(server: &Server) -> String {
    let login = format!(r#"{{"username": "admin", "password": "{PASSWORD}"}}"#);
    let headers = "Content-Type: application/json\r\n";
    let answer = server.ask("POST", "/v1/auth/obtain", headers, &login);
    let tokens: Value = serde_json::from_str(body(&answer)).unwrap();
    format!("Authorization: Bearer {}\r\n", tokens["access"].as_str().unwrap())
}

fn post(server: &Server, token: &str, path: &str, fields: &str) -> String {
    let headers = format!("{token}Content-Type: application/json\r\n");
    let answer = server.ask("POST", path, &headers, fields);
    assert!(answer.starts_with("HTTP/1.1 20"), "{path}: {answer}");
    body(&answer).to_owned()
}

/// What a server says to everything that can be asked of it, contents and tags of archives
/// included.
fn everything(server: &Server, token: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for kind in ["users", "teams", "projects", "licences", "nodes", "datasets"] {
        let path = format!("/v1/{kind}/list");
        all.insert(path.clone(), post(server, token, &path, "{}"));
    }
    // Asking is what changes these.
    let mut users: Value = serde_json::from_str(&all["/v1/users/list"]).unwrap();
    for user in users.as_array_mut().unwrap() {
        user["last_login"] = Value::Null;
    }
    all.insert("/v1/users/list".into(), users.to_string());
    let datasets: Value = serde_json::from_str(&all["/v1/datasets/list"]).unwrap();
    for dataset in datasets.as_array().unwrap() {
        let pk = &dataset["pk"];
        let mut paths = vec![
            format!("/v1/datasets/{pk}"),
            format!("/v1/datasets/{pk}/metadata"),
            format!("/v1/datasets/{pk}/files?metadata=true"),
            format!("/v1/datasets/{pk}/archive.zip"),
            format!("/v1/datasets/{pk}/archive.tar.gz"),
        ];
        let files = dataset["files"].as_object().unwrap().keys();
        paths.extend(files.map(|name| format!("/v1/datasets/{pk}/files/{name}")));
        for path in paths {
            let answer = server.ask("GET", &path, token, "");
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            // Heads have tags and lengths; how a tar.gz is cut into pieces is nobody's business.
            let is_archive = path.contains("archive");
            let said = if is_archive { answer.split_once("\r\n\r\n").unwrap().0 } else { &answer };
            // Of the answer, not of what is answered.
            let is_its_own = |line: &&str| {
                let line = line.to_lowercase();
                line.starts_with("date:") || line.starts_with("x-request-id:")
            };
            let lines = said.lines().filter(|line| !is_its_own(line));
            all.insert(path, lines.collect::<Vec<_>>().join("\n"));
        }
    }
    all
}

fn assert_same(ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) {
    assert!(ours.keys().eq(theirs.keys()), "{:?}, {:?}", ours.keys(), theirs.keys());
    for (path, said) in ours {
        assert!(*said == theirs[path], "{path}: {said:.2000} {:.2000}", theirs[path]);
    }
}

fn folder(work: &Work, name: &str, files: usize) {
    std::fs::create_dir_all(work.path(name)).unwrap();
    for number in 0..files {
        let length = if number % 20 == 7 { 400_000 } else { 50 + number * 13 };
        let text = format!("{number} of {name}, ").repeat(length / 10);
        work.file(&format!("{name}/{number}.txt"), &text);
    }
}

/// A server with datasets in versions, users, a team; and a token for it.
fn filled(work: &Work) -> (Server, String) {
    let server = serve(work, "data");
    folder(work, "pictures", 120);
    let pushed = run(&mut client(work, &server, &["push", "pictures", "--dataset", "pictures"]));
    assert_eq!(pushed.status, 0, "{pushed:?}");
    let token = token(&server);
    let user = r#"{"username": "somebody", "password": "a good long one"}"#;
    post(&server, &token, "/v1/users/create", user);
    post(&server, &token, "/v1/datasets/1/metadata/3.txt", r#"{"metadata": "a cat"}"#);
    post(&server, &token, "/v1/datasets/1/copy", "{}");
    let deleted = server.ask("DELETE", "/v1/datasets/2/files/5.txt", &token, "");
    assert!(deleted.starts_with("HTTP/1.1 200"), "{deleted}");
    (server, token)
}

#[test]
fn a_backup_taken_under_load_is_one_state_and_restores_to_a_server_that_answers_the_same() {
    let work = Work::new();
    let (server, token) = filled(&work);
    let before = everything(&server, &token);
    let fields = r#"{"name": "load", "project": 1, "licence": 1, "tags": ""}"#;
    post(&server, &token, "/v1/datasets/create", fields);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    // One file after the other: any state of the store has the first so many of them.
    let write = || {
        while !stop.load(Ordering::Relaxed) {
            let number = answered.load(Ordering::Relaxed);
            let path = format!("/v1/datasets/3/files/{number:06}");
            let answer = server.ask("POST", &path, &token, &format!("load {number}"));
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            answered.store(number + 1, Ordering::Relaxed);
        }
    };
    let least = std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        while answered.load(Ordering::Relaxed) < 20 && !writer.is_finished() {
            std::thread::yield_now();
        }
        let least = answered.load(Ordering::Relaxed);
        let said = back_up(&work, &server, "backups");
        assert!(said.starts_with("backup 2"), "{said}");
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        least
    });
    let most = answered.load(Ordering::Relaxed) + 1;

    let restored = restore(&work, &["backups", "--data", "twin"]);
    assert_eq!(restored.status, 0, "{restored:?}");
    let twin = serve(&work, "twin");
    // The old token is good there: the key came along.
    let load = twin.ask("GET", "/v1/datasets/3", &token, "");
    let load: Value = serde_json::from_str(body(&load)).unwrap();
    let names: Vec<&String> = load["files"].as_object().unwrap().keys().collect();
    assert!((least..=most).contains(&names.len()), "{least} {} {most}", names.len());
    for (number, name) in names.iter().enumerate() {
        assert_eq!(**name, format!("{number:06}"));
        let content = twin.ask("GET", &format!("/v1/datasets/3/files/{name}"), &token, "");
        assert_eq!(body(&content), format!("load {number}"));
    }
    for server in [&server, &twin] {
        let gone = server.ask("DELETE", "/v1/datasets/3/hard", &token, "");
        assert!(gone.starts_with("HTTP/1.1 200"), "{gone}");
    }
    assert_same(&everything(&twin, &token), &before);
    // Its users log in with the passwords that they had, and its numbers go on where they were.
    let login = r#"{"username": "somebody", "password": "a good long one"}"#;
    post(&twin, "", "/v1/auth/obtain", login);
    let next = post(&twin, &token, "/v1/datasets/1/copy", r#"{"new_name": "next"}"#);
    let next: Value = serde_json::from_str(&next).unwrap();
    assert_eq!(next["pk"], 4);
}

#[test]
fn a_second_backup_moves_only_new_bytes_and_one_of_a_stopped_server_goes_on_from_there() {
    let work = Work::new();
    let (server, token) = filled(&work);
    let first = back_up(&work, &server, "backups");
    assert!(first.contains("copied 120 ("), "{first}");
    let again = back_up(&work, &server, "backups");
    assert!(again.contains("copied 0 (0 B)"), "{again}");
    let added = server.ask("POST", "/v1/datasets/1/files/new", &token, "some new bytes");
    assert!(added.starts_with("HTTP/1.1 200"), "{added}");
    let more = back_up(&work, &server, "backups");
    assert!(more.contains("121 contents") && more.contains("copied 1 (14 B)"), "{more}");

    let in_use = run(&mut work.granary(&["backup", "backups", "--data", "data"]));
    assert_eq!(in_use.status, 1);
    assert!(in_use.complained.contains("leave --data out"), "{in_use:?}");
    drop(server);
    let stopped = run(&mut work.granary(&["backup", "backups", "--data", "data"]));
    assert_eq!(stopped.status, 0, "{stopped:?}");
    assert!(stopped.said.contains("copied 0 (0 B)"), "{stopped:?}");
    let none = run(&mut work.granary(&["backup", "backups", "--data", "nothing"]));
    assert_eq!(none.status, 1);
    assert!(none.complained.contains("no data directory") && !work.path("nothing").exists());

    let listed = restore(&work, &["backups", "--list"]);
    assert_eq!(listed.status, 0, "{listed:?}");
    let names: Vec<&str> =
        listed.said.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    // Two of them hold the same state and may have been taken within a second.
    assert!((3..=4).contains(&names.len()), "{listed:?}");
    let older = restore(&work, &["backups", "--data", "older", "--state", names[0]]);
    assert!(older.status == 0 && older.said.contains("120 contents"), "{older:?}");
    let newest = restore(&work, &["backups", "--data", "newest"]);
    assert!(newest.status == 0 && newest.said.contains("121 contents"), "{newest:?}");
    let bits = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(bits(&work.path("newest/token-key")), 0o600);
    for state in work.path("backups/states").read_dir().unwrap() {
        assert_eq!(bits(&state.unwrap().path()), 0o600);
    }

    let state = work.path("backups/states").read_dir().unwrap().next().unwrap().unwrap();
    work.file(state.path().to_str().unwrap(), "no state");
    let listed = restore(&work, &["backups", "--list"]);
    assert_eq!(listed.status, 1, "what cannot be read is not as it should be: {listed:?}");
    assert!(listed.complained.contains("passed over"), "{listed:?}");
    assert_eq!(listed.said.lines().count(), names.len(), "{listed:?}");
}

#[test]
fn wrong_places_are_refused_in_words_and_left_as_they_are() {
    let work = Work::new();
    let (server, _token) = filled(&work);
    std::fs::create_dir(work.path("home")).unwrap();
    std::fs::create_dir(work.path("home/photos")).unwrap();
    let refused = run(&mut client(&work, &server, &["backup", "home"]));
    assert_eq!(refused.status, 1);
    assert!(refused.complained.contains(r#"it holds "photos""#), "{refused:?}");
    assert_eq!(work.path("home").read_dir().unwrap().count(), 1);

    let refused = restore(&work, &["home", "--data", "twin"]);
    assert!(refused.status == 1 && refused.complained.contains("no backup"), "{refused:?}");
    assert!(!work.path("twin").exists());
    back_up(&work, &server, "backups");
    for target in ["home", "data"] {
        let refused = restore(&work, &["backups", "--data", target]);
        assert!(refused.status == 1 && refused.complained.contains("is not empty"), "{refused:?}");
    }
    let unknown = restore(&work, &["backups", "--data", "twin", "--state", "never"]);
    assert!(unknown.status == 1 && unknown.complained.contains("--list"), "{unknown:?}");
    assert_eq!(restore(&work, &["backups", "--data", "twin"]).status, 0);
    let twice = restore(&work, &["backups", "--data", "twin"]);
    assert!(twice.status == 1 && twice.complained.contains("is not empty"), "{twice:?}");

    let mut somebody = client(&work, &server, &["backup", "theirs"]);
    somebody.env("GRANARY_USERNAME", "somebody").env("GRANARY_PASSWORD", "a good long one");
    let refused = run(&mut somebody);
    assert!(refused.status == 1 && refused.complained.contains("administrators"), "{refused:?}");
}

#[test]
fn a_backup_that_was_killed_is_run_again_and_is_whole() {
    let work = Work::new();
    let (server, token) = filled(&work);
    // More than a pack of contents, so that it takes a moment.
    let large = "0123456789abcdef".repeat(1 << 16);
    for number in 0..24 {
        let path = format!("/v1/datasets/1/files/large/{number}");
        let added = server.ask("POST", &path, &token, &format!("{number}{large}"));
        assert!(added.starts_with("HTTP/1.1 200"), "{added}");
    }
    let mut killed = client(&work, &server, &["backup", "backups"]);
    let mut killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !work.path("backups/packs/incoming").exists() && killed.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    back_up(&work, &server, "backups");
    assert!(!work.path("backups/packs/incoming").exists());
    assert_eq!(restore(&work, &["backups", "--data", "twin"]).status, 0);
    let twin = serve(&work, "twin");
    assert_same(&everything(&twin, &token), &everything(&server, &token));
}
