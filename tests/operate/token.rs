//! Access tokens and the key of logins, as the one at the command line meets them.

use std::process::Command;

use crate::support::{Ended, PASSWORD, Server, Work, run};

fn start(work: &Work) -> Server {
    let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    command.env("GRANARY_ADMIN_PASSWORD", PASSWORD);
    Server::start(&mut command, &work.path(""))
}

/// A command of somebody who knows nothing but the address.
fn at(work: &Work, server: &Server, arguments: &[&str]) -> Command {
    let mut command = work.granary(arguments);
    command.env("GRANARY_URL", format!("http://{}", server.address));
    command
}

fn as_admin(work: &Work, server: &Server, arguments: &[&str]) -> Ended {
    run(at(work, server, arguments).env("GRANARY_PASSWORD", PASSWORD))
}

#[test]
fn a_program_pushes_and_pulls_with_a_token_until_it_is_revoked() {
    let work = Work::new();
    let server = start(&work);
    work.file("content", "some bytes");
    let made = as_admin(
        &work,
        &server,
        &["token", "create", "nightly", "--level", "write", "--expires", "30d"],
    );
    assert_eq!(made.status, 0, "{made:?}");
    // The token alone, for scripts; the rest is for people.
    let token = made.said.trim().to_owned();
    assert!(token.starts_with("granary_1_") && !token.contains(char::is_whitespace), "{made:?}");
    assert!(made.complained.contains("this is access token 1; keep it now"), "{made:?}");
    let with_token =
        |arguments: &[&str]| run(at(&work, &server, arguments).env("GRANARY_TOKEN", &token));

    let pushed = with_token(&["push", "content", "--dataset", "d"]);
    assert_eq!(pushed.status, 0, "{pushed:?}");
    let pulled = with_token(&["pull", "--dataset", "d", "copy"]);
    assert_eq!(pulled.status, 0, "{pulled:?}");
    assert_eq!(std::fs::read_to_string(work.path("copy/content")).unwrap(), "some bytes");
    let refused = with_token(&["token", "create", "more", "--level", "read"]);
    assert_eq!(refused.status, 1, "{refused:?}");

    let listed = as_admin(&work, &server, &["token", "list"]);
    let line = listed.said.lines().nth(1).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..4], ["1", "1", "default", "W"], "{line}");
    assert!(line.ends_with("nightly") && !line.contains("never"), "{line}");
    let json = as_admin(&work, &server, &["token", "list", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.said).unwrap();
    assert_eq!(json[0]["name"], "nightly");

    let revoked = as_admin(&work, &server, &["token", "revoke", "1"]);
    assert_eq!((revoked.status, revoked.said.as_str()), (0, "revoked access token 1\n"));
    let ended = with_token(&["ls"]);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(
        ended.complained.contains("the access token in GRANARY_TOKEN was revoked"),
        "{ended:?}"
    );
    let again = as_admin(&work, &server, &["token", "revoke", "1"]);
    assert_eq!(again.status, 1, "{again:?}");
    assert!(again.complained.contains("access token 1 is not revoked"), "{again:?}");
    let secret = token.rsplit('_').next().unwrap();
    assert!(!server.log().contains(secret));
}

#[test]
fn what_is_asked_wrongly_is_told() {
    let work = Work::new();
    let server = start(&work);
    let create =
        |rest: &[&str]| as_admin(&work, &server, &[&["token", "create", "robot"], rest].concat());
    let no_level = create(&[]);
    assert_eq!(no_level.status, 2, "{no_level:?}");
    let no_unit = create(&["--level", "read", "--expires", "30"]);
    assert_eq!(no_unit.status, 2, "{no_unit:?}");
    assert!(no_unit.complained.contains("'30' is no time such as 12h, 30d or 52w"), "{no_unit:?}");
    let no_team = create(&["--level", "read", "--team", "nowhere"]);
    assert_eq!(no_team.status, 1, "{no_team:?}");
    assert!(no_team.complained.contains("there is no team \"nowhere\""), "{no_team:?}");
}

#[test]
fn a_new_key_ends_logins_at_once_and_lasts() {
    let work = Work::new();
    let server = start(&work);
    let login = run(at(&work, &server, &["login"]).env("GRANARY_PASSWORD", PASSWORD));
    assert_eq!(login.status, 0, "{login:?}");
    assert_eq!(run(&mut at(&work, &server, &["ls"])).status, 0);
    let made = as_admin(&work, &server, &["token", "create", "robot", "--level", "read"]);
    let token = made.said.trim().to_owned();

    let rotated = as_admin(&work, &server, &["token", "rotate-key"]);
    assert_eq!(rotated.status, 0, "{rotated:?}");
    let ended = run(&mut at(&work, &server, &["ls"]));
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.complained.contains("granary login"), "{ended:?}");
    assert!(server.log().contains("every login has ended"));
    drop(server);

    let server = start(&work);
    assert_eq!(run(&mut at(&work, &server, &["ls"])).status, 1);
    assert_eq!(run(at(&work, &server, &["ls"]).env("GRANARY_TOKEN", &token)).status, 0);
}
