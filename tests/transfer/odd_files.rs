//! Names, kinds, rights and times of files that are not as one would wish.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::{run, until};
use crate::world::{World, summary_of, write_noise};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

const PUSH: [&str; 4] = ["push", "files", "--dataset", "cats"];

/// The same command of a user without rights, by a copy of the program in the work's directory: the
/// way to the program itself may be closed.
fn by_nobody(world: &World, command: &Command) -> Command {
    let program = world.work.path("granary");
    // Not by this process: a child of another test's has the descriptor that is written to until it
    // begins its own program, and nobody can start a file that somebody may write to.
    let copied = Command::new("cp").arg(command.get_program()).arg(&program).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut theirs = Command::new(program);
    theirs.env_clear().current_dir(command.get_current_dir().unwrap()).args(command.get_args());
    theirs.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    theirs.uid(NOBODY).gid(NOBODY);
    theirs
}

#[test]
fn what_is_neither_a_file_nor_a_folder_is_refused_before_the_server_is_asked() {
    let world = World::new();
    let pipe = world.work.path("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    for path in ["pipe", "/dev/null"] {
        let ended = world.run(&["push", path, "--dataset", "cats"]);
        assert_eq!((ended.status, ended.said.as_str()), (1, ""), "{ended:?}");
        let words = format!("granary: {path} is neither a file nor a folder");
        assert!(ended.complained.starts_with(&words), "{ended:?}");
    }
    assert_eq!(world.done(&["ls"]).lines().count(), 1, "no dataset was made");
}

#[test]
fn names_in_any_script_and_of_any_letters_come_back_as_they_are() {
    let world = World::new();
    let names = [
        "кошка/мяу.txt",
        "猫/🐈.jpg",
        "قط",
        "e\u{301}",
        "é",
        " leading",
        "trailing ",
        "a b/c#d?e%20f",
        "semi;colon&amp",
        "back\\slash",
        "quote\"s'",
        "new\nline",
        "tab\t",
        "*[x]{y}",
        "-n",
        "@3",
        ".hidden/.git",
        "%2e%2e/x",
        "CON",
        "\u{202e}gnp",
    ];
    for (number, name) in (0..).zip(names) {
        write_noise(&world, &format!("files/{name}"), number, 50);
    }
    let long = "x".repeat(255);
    write_noise(&world, &format!("files/{long}/{long}/{long}"), 99, 50);
    // Again with large files, which go alone.
    for (number, name) in (100..).zip(names) {
        write_noise(&world, &format!("files/large/{name}"), number, 150_000);
    }
    let summary = world.summary(&PUSH);
    assert_eq!(summary["transferred"]["files"], 41, "{summary}");
    world.done(&["pull", "--dataset", "cats", "pulled"]);
    assert!(world.files("pulled") == world.files("files"));
    let listed = world.done(&["ls", "cats"]);
    assert!(!listed.contains('\u{202e}') && listed.contains("new\\nline"), "{listed}");
}

#[test]
fn what_is_no_file_is_passed_over_and_what_cannot_be_taken_is_named_and_the_rest_is_sent() {
    let world = World::new();
    world.write(&[("files/good", "1"), ("files/..odd", "2"), ("files/secret", "3")]);
    let path = |name: &str| world.work.path("files").join(name);
    let no_utf8 = world.work.path("files").join(OsStr::from_bytes(b"caf\xe9"));
    fs::copy(path("good"), no_utf8).unwrap();
    symlink("/nowhere", path("dangling")).unwrap();
    symlink("good", path("link")).unwrap();
    let _socket = UnixListener::bind(path("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs::create_dir(path("closed")).unwrap();
    for name in ["secret", "closed"] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let mut push = world.client(&[&PUSH[..], &["--json"]].concat());
    // Root may read everything, so somebody else pushes then.
    if rustix::process::geteuid().is_root() {
        for open in ["", "files"] {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(world.work.path(open), mode).unwrap();
        }
        push = by_nobody(&world, &push);
    }
    let ended = run(&mut push);
    assert_eq!(ended.status, 1, "{ended:?}");
    let summary = summary_of(&ended.said);
    assert_eq!(summary["transferred"]["files"], 1, "{}", ended.said);
    assert_eq!((&summary["failed"], &summary["skipped"]), (&4.into(), &4.into()), "{}", ended.said);
    for words in [
        r#""name":"secret","outcome":"failed","reason":"files/secret: Permission denied"#,
        "its name is not UTF-8; rename it",
        "a dataset cannot have this name",
        r#""name":"files/closed","outcome":"failed","reason":"Permission denied"#,
        "a symbolic link",
        "no regular file",
    ] {
        assert!(ended.said.contains(words), "{words}: {}", ended.said);
    }
    fs::set_permissions(path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    // What could not be read may be there: nothing is deleted then.
    let ended = run(&mut world.client(&[&PUSH[..], &["--delete", "--yes"]].concat()));
    assert_eq!(ended.status, 1);
    assert!(ended.complained.contains("nothing was deleted"), "{ended:?}");
}

#[test]
fn files_that_were_read_once_are_not_read_again_until_they_change() {
    let world = World::new();
    for number in 0..50 {
        write_noise(&world, &format!("files/{number}"), number, 100);
    }
    world.done(&PUSH);
    // What was written just before it was read is read again: it could have been written to again
    // within the same step of the clock.
    until("none of 50 is read", || (world.summary(&PUSH)["unread"] == 50).then_some(()));
    let path = world.work.path("files/7");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    write_noise(&world, "files/7", 1007, 100);
    // Whoever sets the clock back, or unpacks with the times of the archive.
    let file = File::options().write(true).open(&path).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    let ended = run(&mut world.client(&[&PUSH[..], &["--json"]].concat()));
    let summary = summary_of(&ended.said);
    assert_eq!((&summary["differ"], &summary["unread"]), (&1.into(), &49.into()), "{summary}");

    let checked = run(&mut world.client(&[&PUSH[..], &["--json", "--checksum"]].concat()));
    let summary = summary_of(&checked.said);
    assert_eq!((&summary["differ"], &summary["unread"]), (&1.into(), &0.into()), "{summary}");
}

#[test]
fn a_time_in_the_future_says_nothing_so_such_files_are_always_read() {
    let world = World::new();
    write_noise(&world, "files/a", 1, 100);
    let path = world.work.path("files/a");
    let future = FileTimes::new().set_modified(SystemTime::now() + Duration::from_hours(1));
    let set = || File::options().write(true).open(&path).unwrap().set_times(future).unwrap();
    set();
    for _ in 0..2 {
        assert_eq!(world.summary(&PUSH)["unread"], 0);
    }
    write_noise(&world, "files/a", 2, 100);
    set();
    let ended = run(&mut world.client(&PUSH));
    assert!(ended.said.contains("differ 1"), "{ended:?}");
}

#[test]
fn a_damaged_cache_or_none_costs_reading_and_nothing_else() {
    let world = World::new();
    for number in 0..20 {
        write_noise(&world, &format!("files/{number}"), number, 100);
    }
    world.done(&PUSH);
    until("none of 20 is read", || (world.summary(&PUSH)["unread"] == 20).then_some(()));
    let cache = world.work.path(".cache/granary/digests");
    for entry in cache.read_dir().unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut bytes = fs::read(&path).unwrap();
        bytes.iter_mut().step_by(40).for_each(|byte| *byte ^= 1);
        #[expect(clippy::disallowed_methods, reason = "a test's own file needs no durability")]
        fs::write(&path, bytes).unwrap();
    }
    let summary = world.summary(&PUSH);
    assert_eq!((&summary["unread"], &summary["already_there"]["files"]), (&0.into(), &20.into()));
    fs::remove_dir_all(&cache).unwrap();
    world.work.file(".cache/granary/digests", "in the way");
    assert_eq!(world.summary(&PUSH)["already_there"]["files"], 20);
}

#[test]
fn what_stands_in_the_way_of_a_pull_is_kept_and_named() {
    let world = World::new();
    world.write(&[("files/a", "1"), ("files/b", "2"), ("files/c", "3"), ("files/d", "4")]);
    world.done(&PUSH);
    world.write(&[("pulled/a", "mine"), ("pulled/b/c", "a folder"), ("elsewhere", "3")]);
    symlink("../elsewhere", world.work.path("pulled/c")).unwrap();
    let pull = ["pull", "--dataset", "cats", "pulled"];
    let ended = run(&mut world.client(&pull));
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.said.contains("differs: a"), "{ended:?}");
    assert!(ended.said.contains("failed: b: "), "{ended:?}");
    assert!(
        ended.said.contains("fetched 1 (1 B), already there 1, differ 1, failed 1"),
        "{ended:?}"
    );
    assert_eq!(fs::read_to_string(world.work.path("pulled/a")).unwrap(), "mine");

    let ended = run(&mut world.client(&[&pull[..], &["--overwrite"]].concat()));
    assert!(ended.said.contains("replaced 1 (1 B), already there 2"), "{ended:?}");
    assert_eq!(fs::read_to_string(world.work.path("pulled/a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(world.work.path("pulled/b/c")).unwrap(), "a folder");
}

#[test]
fn no_name_of_a_file_steers_the_terminal_whatever_goes_wrong_with_it() {
    let world = World::new();
    world.write(&[("files/a", "1")]);
    world.done(&PUSH);
    // No part of a name may be as long on a disk.
    let name = format!("\u{1b}[2J{}", "x".repeat(300));
    world.done(&["mv", "cats", "a", &name]);
    for command in [["pull", "--dataset", "cats", "pulled"], ["mv", "cats", "\u{1b}[2Jno", "b"]] {
        let ended = world.run(&command);
        assert_eq!(ended.status, 1, "{ended:?}");
        let told = ended.said + &ended.complained;
        assert!(told.contains("\\u{1b}[2J") && !told.contains('\u{1b}'), "{told:?}");
    }
}
