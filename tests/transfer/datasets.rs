//! Datasets compared, copied, merged, renamed, deleted, and their metadata.

use crate::support::{Ended, PASSWORD, run};
use crate::world::{World, events, summary_of};

fn world() -> World {
    let world = World::new();
    world.write(&[("files/a", "1"), ("files/b", "2"), ("files/d/c", "3")]);
    world.done(&["push", "files", "--dataset", "cats"]);
    world
}

/// Lets everybody know that there is the first dataset; its files are its team's still.
fn publish(world: &World) {
    let server = world.server.as_ref().unwrap();
    let json = "Content-Type: application/json\r\n";
    let login = format!(r#"{{"username": "admin", "password": "{PASSWORD}"}}"#);
    let login = server.ask("POST", "/v1/auth/obtain", json, &login);
    let (_, token) = login.split_once(r#""access":""#).unwrap();
    let (token, _) = token.split_once('"').unwrap();
    let headers = format!("{json}Authorization: Bearer {token}\r\n");
    let answer = server.ask("PATCH", "/v1/datasets/1", &headers, r#"{"is_public": true}"#);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Runs a command of a user who is made for it, and who is no administrator.
fn run_by_ann(world: &World, arguments: &[&str]) -> Ended {
    let mut client = world.client(arguments);
    run(client.env("GRANARY_USERNAME", "ann").env("GRANARY_PASSWORD", "ann's password"))
}

#[test]
fn versions_are_made_compared_and_told_apart() {
    let world = world();
    assert_eq!(world.done(&["cp", "cats"]), "made dataset \"cats\", version 2, primary key 2\n");
    assert_eq!(world.run(&["diff", "cats@1", "cats"]).status, 0);
    world.write(&[("files/a", "changed"), ("files/e", "4")]);
    std::fs::remove_file(world.work.path("files/b")).unwrap();
    world.done(&["rm", "cats", "a", "b", "--yes"]);
    world.done(&["push", "files", "--dataset", "cats"]);
    world.done(&["meta", "set", "cats", "d/c", "a label"]);
    let ended = world.run(&["diff", "cats@1", "2"]);
    assert_eq!((ended.status, ended.said.as_str()), (1, "~ a\n- b\nm d/c\n+ e\n"));
    let ended = world.run(&["diff", "cats@1", "cats", "--json", "--no-metadata"]);
    let told = events(&ended.said);
    assert_eq!(told.len(), 4, "{ended:?}");
    assert_eq!((&told[0]["difference"], &told[0]["name"]), (&"changed".into(), &"a".into()));
    assert_eq!((&told[0]["a"]["size"], &told[0]["b"]["size"]), (&1.into(), &7.into()));
    assert_eq!((&told[3]["added"], &told[3]["same"]), (&1.into(), &1.into()));
    let ended = world.run(&["diff", "cats@1", "cats", "--quiet"]);
    assert_eq!((ended.status, ended.said.as_str()), (1, ""));
    let ended = world.run(&["diff", "cats@1", "cats@9"]);
    assert_eq!(ended.status, 2, "trouble is no difference");
    assert!(ended.complained.contains("no dataset \"cats\", version 9,"), "{ended:?}");
}

#[test]
fn datasets_are_copied_merged_and_renamed() {
    let world = world();
    world.done(&["cp", "cats", "dogs"]);
    world.write(&[("more/a", "other"), ("more/x", "5")]);
    world.done(&["push", "more", "--dataset", "more"]);
    world.done(&["merge", "dogs", "more", "--delete"]);
    let names = |dataset: &str| {
        let listed = world.done(&["ls", dataset, "--json"]);
        events(&listed)
            .iter()
            .map(|file| file["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("dogs"), ["a", "a-0001", "b", "d/c", "x"]);
    assert!(world.run(&["ls", "more"]).complained.contains("no dataset \"more\""));
    world.done(&["mv", "dogs", "d/c", "e/f"]);
    world.done(&["mv", "dogs", "wolves"]);
    assert_eq!(names("wolves"), ["a", "a-0001", "b", "e/f", "x"]);
    let ended = world.run(&["mv", "wolves", "nothing", "x"]);
    assert_eq!(ended.status, 1);
    assert!(ended.complained.contains("nothing"), "{ended:?}");
}

#[test]
fn what_is_deleted_comes_back_and_what_goes_for_good_is_asked_about() {
    let world = world();
    let said = world.done(&["rm", "cats"]);
    assert!(said.contains("granary reinstate 1"), "{said}");
    assert_eq!(world.done(&["ls"]).lines().count(), 1);
    world.done(&["reinstate", "cats"]);
    assert_eq!(world.done(&["ls", "cats"]).lines().count(), 3);
    for gone in [&["rm", "cats", "a", "b"][..], &["rm", "cats", "--hard"]] {
        let ended = world.run(gone);
        assert_eq!(ended.status, 1, "{ended:?}");
        assert!(ended.complained.contains("cannot be undone"), "{ended:?}");
        assert_eq!(world.done(&["ls", "cats"]).lines().count(), 3);
    }
    world.done(&["rm", "cats", "a", "b", "--yes"]);
    assert_eq!(world.done(&["ls", "cats"]).lines().count(), 1);
    let ended = world.run(&["rm", "cats", "a", "--yes"]);
    assert_eq!(ended.status, 1, "{ended:?}");
    world.done(&["rm", "cats", "--hard", "--yes"]);
    assert!(world.run(&["reinstate", "cats"]).complained.contains("no deleted dataset \"cats\""));
}

#[test]
fn metadata_is_kept_letter_by_letter() {
    let world = world();
    let text = "{\"label\": \"кот\"}\n  ";
    world.done(&["meta", "set", "cats", "d/c", text]);
    assert_eq!(world.done(&["meta", "get", "cats", "d/c"]), text);
    world.done(&["meta", "set", "cats", "a", "-1"]);
    assert_eq!(world.done(&["meta", "get", "cats"]), "a: -1\nd/c: {\"label\": \"кот\"}\\n  \n");
    let said = world.done(&["meta", "get", "cats", "--json"]);
    assert_eq!(events(&said)[1]["metadata"], text);
    let ended = world.run(&["meta", "get", "cats", "nothing"]);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.complained.contains("nothing"), "{ended:?}");
}

#[test]
fn long_lists_tell_sizes() {
    let world = world();
    world.write(&[("big/x", &"x".repeat(1_234_567))]);
    world.done(&["push", "big", "--dataset", "big"]);
    let said = world.done(&["ls", "-l"]);
    let line = said.lines().find(|line| line.ends_with("  big")).unwrap();
    assert!(line.ends_with("  1  1.18 MiB  big"), "{said}");
    let said = world.done(&["ls", "-l", "big"]);
    assert!(said.contains("  1,234,567  20") && said.ends_with("  x\n"), "{said}");
    let said = world.done(&["ls", "-l", "--json"]);
    assert_eq!(
        (&events(&said)[0]["bytes"], &events(&said)[1]["files"]),
        (&1_234_567.into(), &3.into())
    );
}

#[test]
fn whoever_lacks_a_right_is_told_which_one() {
    let world = world();
    let file = world.work.file("password", "ann's password");
    world.done(&["user", "create", "ann", "--password-file", &file]);
    publish(&world);
    let ended = run_by_ann(&world, &["pull", "--dataset", "1", "pulled", "--json"]);
    let summary = summary_of(&ended.said);
    assert_eq!((ended.status, &summary["complete"]), (1, &false.into()), "{ended:?}");
    assert!(summary["stopped_by"].as_str().unwrap().contains("read permission"), "{summary}");
    for reads in [&["pull", "--dataset", "1", "pulled"][..], &["ls", "1"], &["meta", "get", "1"]] {
        let ended = run_by_ann(&world, reads);
        assert_eq!(ended.status, 1, "{ended:?}");
        let told = ended.said + &ended.complained;
        assert!(told.contains("ask in the project's team for read permission"), "{told}");
    }
    world.done(&["team", "add-member", "default", "ann", "--level", "write"]);
    for administers in [&["rm", "cats", "--hard", "--yes"][..], &["reinstate", "1"]] {
        let ended = run_by_ann(&world, administers);
        assert_eq!(ended.status, 1, "{ended:?}");
        assert!(ended.complained.contains("this needs an administrator"), "{ended:?}");
    }
}
