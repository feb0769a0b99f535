//! What people and programs are told, with a terminal and without.

use std::process::{Command, Stdio};

use unicode_width::UnicodeWidthStr as _;

use crate::terminal;
use crate::world::{World, events};

fn world() -> World {
    let world = World::new();
    world.write(&[("files/a", "1"), ("files/b", "2")]);
    world.done(&["push", "files", "--dataset", "cats"]);
    world.done(&["cp", "cats"]);
    world.write(&[("more/c", "3")]);
    world.done(&["push", "more", "--dataset", "cats"]);
    world
}

#[test]
fn programs_are_told_the_same_names_in_every_version() {
    let world = world();
    world.write(&[("files/a", "changed"), ("files/d", "4")]);
    let ended = world.run(&["push", "files", "--dataset", "cats@1", "--json", "--verbose"]);
    let told = events(&ended.said);
    let begin = &told[0];
    assert_eq!((&begin["event"], &begin["command"]), (&"begin".into(), &"push".into()));
    assert_eq!((&begin["dataset"], &begin["version"]), (&1.into(), &1.into()));
    let file = |name: &str| told.iter().find(|event| event["name"] == name).unwrap();
    assert_eq!(file("a")["outcome"], "differs");
    assert_eq!(file("b")["outcome"], "already_there");
    assert_eq!((&file("d")["outcome"], &file("d")["bytes"]), (&"transferred".into(), &1.into()));
    let summary = told.last().unwrap().as_object().unwrap();
    let keys: Vec<_> = summary.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "already_there",
            "attached",
            "complete",
            "deleted",
            "differ",
            "dry_run",
            "event",
            "failed",
            "replaced",
            "seconds",
            "skipped",
            "stopped_by",
            "transferred",
            "unread",
        ]
    );
    assert_eq!(summary["complete"], false);
}

#[test]
fn colours_follow_the_terminal_and_the_variables() {
    let world = world();
    let diff = ["diff", "cats@1", "cats@2"];
    let coloured = |said: &str| said.contains("\u{1b}[");
    assert!(!coloured(&world.run(&diff).said), "a pipe has no colours");
    let with = |name: &str| {
        let ended = crate::support::run(world.client(&diff).env(name, "1"));
        ended.said
    };
    assert!(coloured(&with("CLICOLOR_FORCE")));
    assert!(!coloured(&with("NO_COLOR")));
    let (_, screen) = terminal::start(&mut world.client(&diff), 80).end();
    assert!(screen.contains("\u{1b}[32m+ c\u{1b}[0m"), "{screen:?}");
    let (_, screen) = terminal::start(world.client(&diff).env("NO_COLOR", "1"), 80).end();
    assert!(!coloured(&screen), "{screen:?}");
}

#[test]
fn a_narrow_terminal_is_not_written_beyond() {
    let world = world();
    let (status, screen) =
        terminal::start(world.client(&["push", "--help"]).env_remove("GRANARY_URL"), 50).end();
    assert_eq!(status, 0);
    let plain = anstream::adapter::strip_str(&screen).to_string();
    // The line of usage is there to be copied.
    let lines = plain.lines().filter(|line| !line.starts_with("Usage: "));
    let longest = lines.map(|line| line.trim_end().chars().count()).max().unwrap();
    assert!(longest <= 50, "{longest} columns: {plain}");

    for number in 0..40 {
        world.write(&[(&format!("files/{number}"), &"x".repeat(400_000 + number))]);
    }
    let push = ["push", "files", "--dataset", "cats@1", "--jobs", "1"];
    let (status, screen) = terminal::start(&mut world.client(&push), 30).end();
    assert_eq!(status, 0, "{screen}");
    // Bar and figures are drawn over and over, each a line as wide as the terminal; what comes
    // behind the last bar is the report.
    let plain = anstream::adapter::strip_str(&screen).to_string();
    let mut drawn: Vec<_> = plain.split('[').skip(1).collect();
    drawn.pop();
    assert!(drawn.iter().all(|drawn| drawn.trim_end().chars().count() < 60), "{plain}");
}

#[test]
fn lists_fit_a_narrow_terminal_and_a_pipe_gets_all_of_them() {
    let world = World::new();
    let name = format!("folder/{}/{}/the-end.jpg", "deep".repeat(9), "日本語".repeat(9));
    world.write(&[(&name, "content")]);
    let dataset = "a-name-of-some-length-".repeat(4);
    world.done(&["push", "folder", "--dataset", &dataset]);
    let lists: [&[&str]; 5] =
        [&["ls"], &["ls", "-l"], &["ls", &dataset], &["ls", "-l", &dataset], &["team", "list"]];
    for list in lists {
        let whole = world.done(list);
        for columns in [80, 64] {
            let (status, screen) = terminal::start(&mut world.client(list), columns).end();
            let shown = anstream::adapter::strip_str(&screen).to_string();
            let case = format!("{list:?} at {columns}: {shown}");
            assert_eq!((status, shown.lines().count()), (0, whole.lines().count()), "{case}");
            assert!(shown.lines().all(|line| line.width() <= columns.into()), "{case}");
        }
        // Whatever the shell says of a terminal, which this is not.
        let piped = world.client(list).env("COLUMNS", "40").output().unwrap();
        assert_eq!(String::from_utf8(piped.stdout).unwrap(), whole);
    }
    assert!(world.done(&["ls", "-l"]).contains(&dataset));
    let long = ["ls", "-l", &dataset];
    let (_, screen) = terminal::start(&mut world.client(&long), 80).end();
    assert!(screen.contains('…') && screen.contains("the-end.jpg"), "{screen}");
}

#[test]
fn a_question_is_asked_on_a_terminal_and_taken_for_no_without_a_yes() {
    let world = world();
    let remove = ["rm", "cats@1", "--hard"];
    for answer in ["n", "", "maybe"] {
        let (status, screen) = terminal::start(&mut world.client(&remove), 80).answer(answer);
        assert_eq!(status, 1, "{screen}");
        assert!(screen.contains("goes for good. This cannot be undone. Go on? [y/N]"), "{screen}");
        assert!(screen.contains("nothing was changed"), "{screen}");
    }
    assert_eq!(world.done(&["ls", "cats@1"]).lines().count(), 2);
    let (status, screen) = terminal::start(&mut world.client(&remove), 80).answer("y");
    assert_eq!(status, 0, "{screen}");
    assert_eq!(world.run(&["ls", "cats@1"]).status, 1);
}

#[test]
fn a_list_that_nobody_reads_on_is_no_failure() {
    let world = World::new();
    for number in 0..3000 {
        world.write(&[(&format!("files/{number}"), "")]);
    }
    world.done(&["push", "files", "--dataset", "cats"]);
    world.done(&["cp", "cats"]);
    world.done(&["rm", "cats", "7", "--yes"]);
    world.done(&["meta", "set", "cats", "8", "a label"]);
    for (arguments, status) in [
        (&["ls", "cats"][..], 0),
        (&["meta", "get", "cats"], 0),
        (&["diff", "cats@1", "cats"], 1),
        (&["diff", "cats@1", "cats@1", "--json"], 0),
    ] {
        let mut list = world.client(arguments).stdout(Stdio::piped()).spawn().unwrap();
        drop(list.stdout.take());
        assert_eq!(list.wait().unwrap().code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.done(&["completions", shell]);
        for word in ["reinstate", "dry-run", "checksum"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = world.work.file("granary.bash", &world.done(&["completions", "bash"]));
    if let Ok(checked) = Command::new("bash").args(["-n", &script]).status() {
        assert!(checked.success());
    }
    world.done(&["man", "pages"]);
    let pages = world.files("pages");
    let page = |name: &str| String::from_utf8(pages[name].clone()).unwrap();
    assert!(page("granary.1").contains("granary\\-push(1)"), "{}", page("granary.1"));
    assert!(page("granary-push.1").contains("\\-\\-dry\\-run"));
    assert!(page("granary-meta-set.1").contains(".TH granary-meta-set 1"));
}
