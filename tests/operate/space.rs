//! `granary stats` and `granary gc`: what they show and what they give back.

use std::process::Command;

use serde_json::Value;

use crate::support::{PASSWORD, Server, Work, run};

fn serve(work: &Work) -> Server {
    let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    command.env("GRANARY_ADMIN_PASSWORD", PASSWORD);
    Server::start(&mut command, &work.path(""))
}

fn client(work: &Work, server: &Server, arguments: &[&str]) -> Command {
    let mut command = work.granary(arguments);
    let url = format!("http://{}", server.address);
    command.env("GRANARY_URL", url).env("GRANARY_PASSWORD", PASSWORD);
    command
}

#[track_caller]
fn said(work: &Work, server: &Server, arguments: &[&str]) -> String {
    let ended = run(&mut client(work, server, arguments));
    assert_eq!(ended.status, 0, "{arguments:?}: {ended:?}");
    ended.said
}

#[test]
fn stats_and_gc_tell_what_takes_space_and_give_back_what_serves_nobody() {
    let work = Work::new();
    let server = serve(&work);
    std::fs::create_dir(work.path("files")).unwrap();
    for number in 0..20 {
        work.file(&format!("files/{number}"), &format!("{number:05}").repeat(20_000));
    }
    work.file("files/large", &"a large content ".repeat(80_000));
    for dataset in ["cats", "dogs"] {
        said(&work, &server, &["push", "files", "--dataset", dataset]);
    }
    let stats = said(&work, &server, &["stats"]);
    assert!(stats.contains("21 contents") && stats.contains("42 files"), "{stats}");
    assert!(stats.contains("in 2 datasets: ratio 2.00"), "{stats}");
    let rows: Vec<&str> = stats.lines().filter(|line| line.contains("cats")).collect();
    assert_eq!(rows.len(), 1, "{stats}");
    assert!(rows[0].contains("2.00"), "{stats}");
    let few = said(&work, &server, &["stats", "--datasets", "0"]);
    assert!(!few.contains("cats"), "{few}");
    let json: Value = serde_json::from_str(&said(&work, &server, &["stats", "--json"])).unwrap();
    assert_eq!(json["contents"], 21);

    for pk in ["1", "2"] {
        let login = format!(r#"{{"username": "admin", "password": "{PASSWORD}"}}"#);
        let headers = "Content-Type: application/json\r\n";
        let answer = server.ask("POST", "/v1/auth/obtain", headers, &login);
        let tokens = answer.split_once("\r\n\r\n").unwrap().1;
        let tokens: Value = serde_json::from_str(tokens).unwrap();
        let headers = format!("Authorization: Bearer {}\r\n", tokens["access"].as_str().unwrap());
        let answer = server.ask("DELETE", &format!("/v1/datasets/{pk}/hard"), &headers, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let dry = said(&work, &server, &["gc", "--dry-run"]);
    assert!(dry.starts_with("could be given back: about "), "{dry}");
    let collected = said(&work, &server, &["gc", "--json"]);
    let collected: Value = serde_json::from_str(&collected).unwrap();
    assert_eq!(
        (&collected["after"]["contents"], &collected["after"]["large_files"]),
        (&0.into(), &0.into())
    );
    assert_eq!(work.path("data/blobs").read_dir().unwrap().count(), 0);
    let again = said(&work, &server, &["gc"]);
    assert!(again.starts_with("gave back ") && again.contains("what is left:"), "{again}");

    let file = work.file("password", "somebody's\n");
    said(&work, &server, &["user", "create", "ann", "--password-file", &file]);
    for command in ["stats", "gc"] {
        let mut somebody = client(&work, &server, &[command]);
        somebody.env("GRANARY_USERNAME", "ann").env("GRANARY_PASSWORD", "somebody's");
        let refused = run(&mut somebody);
        assert!(refused.status == 1 && refused.complained.contains("administrator"), "{refused:?}");
    }
}
