//! `granary check` and `granary scrub`: what they say, and the statuses they end with.

use std::os::unix::fs::FileExt;
use std::process::Command;

use rustix::process::Signal;

use crate::support::{Ended, PASSWORD, Server, Work, run};

/// A store with a few files; its server is left running.
fn store(work: &Work) -> Server {
    let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    command.env("GRANARY_ADMIN_PASSWORD", PASSWORD);
    let server = Server::start(&mut command, &work.path(""));
    std::fs::create_dir_all(work.path("files")).unwrap();
    work.file("files/small", &"small ".repeat(3000));
    work.file("files/large", &"a large content ".repeat(80_000));
    let pushed = run(&mut client(work, &server, &["push", "files", "--dataset", "cats"]));
    assert_eq!(pushed.status, 0, "{pushed:?}");
    server
}

/// A command that speaks to the server as its administrator.
fn client(work: &Work, server: &Server, arguments: &[&str]) -> Command {
    let mut command = work.granary(arguments);
    let url = format!("http://{}", server.address);
    command.env("GRANARY_URL", url).env("GRANARY_PASSWORD", PASSWORD);
    command
}

fn check(work: &Work, arguments: &[&str]) -> Ended {
    run(work.granary(&["check", "--data", "data"]).args(arguments))
}

/// Flips a byte of the one large content.
fn rot(work: &Work) {
    let path = work.path("data/blobs").read_dir().unwrap().next().unwrap().unwrap().path();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 600_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 600_000).unwrap();
}

/// Names and bytes of everything in the data directory.
fn image(work: &Work) -> Vec<(String, Vec<u8>)> {
    let mut image = Vec::new();
    for directory in ["data", "data/journal", "data/blobs", "data/staging"] {
        for entry in work.path(directory).read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                image.push((path.display().to_string(), std::fs::read(path).unwrap()));
            }
        }
    }
    image.sort();
    image
}

#[test]
fn a_sound_directory_ends_with_0_and_stays_as_it_is_even_after_a_kill() {
    let work = Work::new();
    drop(store(&work));
    let before = image(&work);
    for arguments in [&[][..], &["--deep"]] {
        let ended = check(&work, arguments);
        assert_eq!(ended.status, 0, "{ended:?}");
        assert!(ended.said.contains("sound: 2 rows of files, 2 contents"), "{ended:?}");
        assert_eq!(ended.complained, "");
    }
    assert!(image(&work) == before, "a check changes nothing");
}

#[test]
fn damage_ends_with_3_and_is_told_with_what_it_hits_and_what_to_do() {
    let work = Work::new();
    drop(store(&work));
    rot(&work);
    assert_eq!(check(&work, &[]).status, 0, "nobody reads it");
    let ended = check(&work, &["--deep"]);
    assert_eq!(ended.status, 3, "{ended:?}");
    for words in [
        "PROBLEM (I9): content ",
        "hits dataset 1 (\"cats\", version 1): large",
        "what to do: upload the same content again",
        "1 problem: 2 rows of files, 2 contents, 1.24 MiB of contents read",
    ] {
        assert!(ended.said.contains(words), "{words}: {}", ended.said);
    }
    let ended = check(&work, &["--deep", "--json"]);
    assert_eq!(ended.status, 3);
    let report: serde_json::Value = serde_json::from_str(&ended.said).unwrap();
    assert_eq!((&report["clean"], &report["findings"][0]["hit_count"]), (&false.into(), &1.into()));
}

#[test]
fn what_cannot_be_checked_ends_with_1_and_says_what_to_do() {
    let work = Work::new();
    let ended = check(&work, &[]);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(!work.path("data").exists(), "it makes none");
    std::fs::create_dir(work.path("data")).unwrap();
    let ended = check(&work, &[]);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.complained.contains("not a granary data directory"), "{ended:?}");
    let busy = Work::new();
    let _server = store(&busy);
    let ended = check(&busy, &[]);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.complained.contains("granary check --online"), "{ended:?}");
}

#[test]
fn a_server_checks_what_it_uses_and_heals_what_comes_again() {
    let work = Work::new();
    let server = store(&work);
    let online = ["check", "--online", "--deep"];
    let ended = run(&mut client(&work, &server, &online));
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(ended.said.starts_with("sound: 2 rows of files, 2 contents"), "{ended:?}");
    let ended = run(&mut client(&work, &server, &["scrub"]));
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(ended.said.contains("rate: at most 8.00 MiB/s"), "{ended:?}");
    assert!(ended.said.contains("nothing in quarantine"), "{ended:?}");

    rot(&work);
    let ended = run(&mut client(&work, &server, &online));
    assert_eq!(ended.status, 3, "{ended:?}");
    assert!(ended.said.contains("hits dataset 1 (\"cats\", version 1): large"), "{ended:?}");
    let ended = run(&mut client(&work, &server, &["scrub", "--json"]));
    assert_eq!(ended.status, 3, "{ended:?}");
    let known: serde_json::Value = serde_json::from_str(&ended.said).unwrap();
    assert_eq!(known["quarantine"][0]["files"][0]["filename"], "large");

    let again = ["push", "files/large", "--dataset", "again"];
    assert_eq!(run(&mut client(&work, &server, &again)).status, 0);
    let ended = run(&mut client(&work, &server, &online));
    assert_eq!(ended.status, 0, "{ended:?}");
    let pulled = run(&mut client(&work, &server, &["pull", "--dataset", "cats", "pulled"]));
    assert_eq!(pulled.status, 0, "{pulled:?}");
    assert!(std::fs::read(work.path("pulled/large")).unwrap().starts_with(b"a large content"));
    drop(server);
    assert_eq!(check(&work, &["--deep"]).status, 0);
}

#[test]
fn what_a_server_found_damaged_is_told_by_every_check_from_then_on() {
    let work = Work::new();
    let mut server = store(&work);
    rot(&work);
    let found = run(&mut client(&work, &server, &["check", "--online", "--deep"]));
    assert_eq!(found.status, 3, "{found:?}");
    let online = run(&mut client(&work, &server, &["check", "--online"]));
    assert_eq!(online.status, 3, "{online:?}");
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    let ended = check(&work, &[]);
    assert_eq!(ended.status, 3, "{ended:?}");
    assert!(ended.said.contains("hits dataset 1 (\"cats\", version 1): large"), "{ended:?}");
}

#[test]
fn a_pull_fetches_what_is_sound_and_names_what_is_damaged_without_trying_for_long() {
    let work = Work::new();
    let server = store(&work);
    rot(&work);
    let pulled = run(&mut client(&work, &server, &["pull", "--dataset", "cats", "copy"]));
    assert_eq!(pulled.status, 1, "{pulled:?}");
    assert!(pulled.said.contains("failed: large: the server refused: "), "{pulled:?}");
    assert!(pulled.said.contains("is damaged on the server's disk"), "{pulled:?}");
    assert!(!format!("{pulled:?}").contains("stopped early"), "{pulled:?}");
    assert!(pulled.said.contains("fetched 1 "), "{pulled:?}");
    assert_eq!(std::fs::read_to_string(work.path("copy/small")).unwrap(), "small ".repeat(3000));
}
