//! `granary user`, `team`, `project` and `audit`: what they do, say and refuse.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Ended, PASSWORD, Server, Work, run};

fn serve(work: &Work) -> Server {
    let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    command.env("GRANARY_ADMIN_PASSWORD", PASSWORD);
    Server::start(&mut command, &work.path(""))
}

/// A command that speaks to the server as somebody.
fn as_user(work: &Work, server: &Server, who: (&str, &str), arguments: &[&str]) -> Command {
    let mut command = work.granary(arguments);
    command.env("GRANARY_URL", format!("http://{}", server.address));
    command.env("GRANARY_USERNAME", who.0).env("GRANARY_PASSWORD", who.1);
    command
}

const ADMIN: (&str, &str) = ("admin", PASSWORD);

/// What the administrator's command says.
#[track_caller]
fn said(work: &Work, server: &Server, arguments: &[&str]) -> String {
    let ended = run(&mut as_user(work, server, ADMIN, arguments));
    assert_eq!(ended.status, 0, "{arguments:?}: {ended:?}");
    ended.said
}

/// What somebody's command is refused with.
#[track_caller]
fn refused(work: &Work, server: &Server, who: (&str, &str), arguments: &[&str]) -> String {
    let ended = run(&mut as_user(work, server, who, arguments));
    assert_eq!((ended.status, ended.said.as_str()), (1, ""), "{arguments:?}: {ended:?}");
    ended.complained
}

/// A table's rows as words.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

/// Runs a command with these lines of standard input.
fn run_with(command: &mut Command, input: &str) -> Ended {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let status = output.status.code().unwrap();
    Ended { status, said: text(output.stdout), complained: text(output.stderr) }
}

#[test]
fn users_are_made_changed_deactivated_and_listed_by_name_and_by_number() {
    let work = Work::new();
    let server = serve(&work);
    let file = work.file("password", "the password of ann\n");
    let made = said(&work, &server, &["user", "create", "ann", "--password-file", &file]);
    assert_eq!(made, "made user ann (2)\n");
    let ann = ("ann", "the password of ann");
    // Everybody may be told what they are not.
    let needs = refused(&work, &server, ann, &["user", "list"]);
    assert!(needs.contains("this needs an administrator"), "{needs}");

    let changed = said(&work, &server, &["user", "change", "ann", "--name", "anna", "--admin"]);
    assert_eq!(changed, "changed user anna (2): administrator\n");
    let table = said(&work, &server, &["user", "list"]);
    assert_eq!(rows(&table)[1][..3], ["2", "anna", "administrator"], "{table}");
    said(&work, &server, &["user", "deactivate", "2"]);
    let table = said(&work, &server, &["user", "list"]);
    assert!(!table.contains("anna"), "{table}");
    let table = said(&work, &server, &["user", "list", "--all"]);
    assert_eq!(rows(&table)[1][..3], ["2", "anna", "deactivated"], "{table}");
    let anna = ("anna", "the password of ann");
    let ended = refused(&work, &server, anna, &["team", "list"]);
    assert!(ended.contains("does not accept this user name and password"), "{ended}");
    said(&work, &server, &["user", "activate", "anna"]);
    assert_eq!(run(&mut as_user(&work, &server, anna, &["user", "list"])).status, 0);

    let shown = said(&work, &server, &["user", "show", "anna", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["pk"], &shown["is_staff"]), (&json!(2), &json!(true)));
    let blank = work.file("blank", " \n");
    for (arguments, words) in [
        (&["user", "show", "ann"][..], "there is no user \"ann\""),
        (&["user", "show", "99"], "there is no user \"99\""),
        (&["user", "change", "anna"], "nothing to change was given"),
        (&["user", "change", "anna", "--email", "no"], "Enter a valid email address"),
        (&["user", "create", "anna", "--generate-password"], "already exists"),
        (&["user", "create", "eve", "--password-file", "nowhere"], "cannot read the password"),
        (&["user", "create", "eve", "--password-file", &blank], "the new password is blank"),
    ] {
        let complained = refused(&work, &server, ADMIN, arguments);
        assert!(complained.contains(words), "{arguments:?}: {complained}");
    }
    // There is no way to say a password where others see it.
    let on_the_line = ["user", "create", "eve", "--password", "secret"];
    assert_eq!(run(&mut as_user(&work, &server, ADMIN, &on_the_line)).status, 2);
}

#[test]
fn passwords_are_made_up_reset_and_changed_by_oneself() {
    let work = Work::new();
    let server = serve(&work);
    let made = said(&work, &server, &["user", "create", "ann", "--generate-password", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let first = made["password"].as_str().unwrap().to_owned();
    let list = &["team", "list"];
    assert_eq!(run(&mut as_user(&work, &server, ("ann", &first), list)).status, 0);

    let reset = said(&work, &server, &["user", "reset-password", "ann", "--generate-password"]);
    let second = reset.split_once("password ").unwrap().1;
    let second = second.rsplit_once("password ").unwrap().1.split(' ').next().unwrap();
    assert_ne!(first, second);
    refused(&work, &server, ("ann", &first), list);
    let change = &["user", "change-password"];
    let mut command = as_user(&work, &server, ("ann", second), change);
    let wrong = run_with(&mut command, "not hers\nsomething else\n");
    assert!(wrong.status == 1 && wrong.complained.contains("not your password"), "{wrong:?}");
    let mut command = as_user(&work, &server, ("ann", second), change);
    let ended = run_with(&mut command, &format!("{second}\nher own choice\n"));
    assert_eq!(ended.status, 0, "{ended:?}");
    refused(&work, &server, ("ann", second), list);
    assert_eq!(run(&mut as_user(&work, &server, ("ann", "her own choice"), list)).status, 0);
    let mut command = as_user(&work, &server, ADMIN, &["user", "reset-password", "ann"]);
    let none = run_with(&mut command, "");
    assert!(none.status == 1 && none.complained.contains("no line"), "{none:?}");
}

#[test]
fn a_session_that_is_kept_survives_the_change_of_its_password_and_others_end() {
    let work = Work::new();
    let server = serve(&work);
    let url = format!("http://{}", server.address);
    let granary = |home: &str, arguments: &[&str]| {
        let mut command = work.granary(arguments);
        command.env("GRANARY_URL", &url).env("HOME", work.path(home));
        command
    };
    for home in ["here", "there"] {
        let login = run_with(&mut granary(home, &["login"]), &format!("{PASSWORD}\n"));
        assert_eq!(login.status, 0, "{login:?}");
    }
    let mut change = granary("here", &["user", "change-password"]);
    let changed = run_with(&mut change, &format!("{PASSWORD}\nanother one\n"));
    assert_eq!(changed.status, 0, "{changed:?}");
    assert_eq!(run(&mut granary("here", &["user", "list"])).status, 0);
    let ended = run(&mut granary("there", &["user", "list"]));
    assert!(ended.status == 1 && ended.complained.contains("granary login"), "{ended:?}");
}

#[test]
fn teams_have_members_with_levels() {
    let work = Work::new();
    let server = serve(&work);
    let file = work.file("password", "somebody's\n");
    for name in ["ann", "ben"] {
        said(&work, &server, &["user", "create", name, "--password-file", &file]);
    }
    assert_eq!(said(&work, &server, &["team", "create", "vision"]), "made team vision (2)\n");
    said(&work, &server, &["team", "add-member", "vision", "ann", "--level", "admin"]);
    let ann = ("ann", "somebody's");
    let add = ["team", "add-member", "2", "ben", "--level", "read"];
    let added = run(&mut as_user(&work, &server, ann, &add));
    assert_eq!(added.said, "ben has the level read in team vision\n", "{added:?}");
    let twice = refused(&work, &server, ann, &add);
    assert!(twice.contains("already a member"), "{twice}");
    said(&work, &server, &["team", "change-member", "vision", "3", "--level", "write"]);
    let table = said(&work, &server, &["team", "show", "vision"]);
    assert!(table.contains("ben     write") && table.contains("ann     admin"), "{table}");
    // A member sees who is there, and not what the others may do.
    let shown = run(&mut as_user(&work, &server, ("ben", "somebody's"), &["team", "show", "2"]));
    assert!(shown.status == 0 && shown.said.contains("for its administrators"), "{shown:?}");
    let ben = ("ben", "somebody's");
    let needs = refused(&work, &server, ben, &["team", "rename", "vision", "hearing"]);
    assert!(needs.contains("an administrator of the team or of the server"), "{needs}");
    said(&work, &server, &["team", "remove-member", "vision", "ben"]);
    let unseen = refused(&work, &server, ben, &["team", "show", "vision"]);
    assert!(unseen.contains("there is no team \"vision\""), "{unseen}");

    said(&work, &server, &["team", "rename", "vision", "hearing"]);
    said(&work, &server, &["team", "rm", "hearing"]);
    refused(&work, &server, ADMIN, &["team", "rm", "hearing"]);
    assert!(said(&work, &server, &["team", "list", "--all"]).contains("deleted"));
    said(&work, &server, &["team", "reinstate", "hearing"]);
    let shown = said(&work, &server, &["team", "show", "hearing", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["members"], json!([]));
    said(&work, &server, &["team", "rm", "hearing", "--hard"]);
    refused(&work, &server, ADMIN, &["team", "show", "hearing"]);
    let level = ["team", "add-member", "default", "ann", "--level", "much"];
    assert_eq!(run(&mut as_user(&work, &server, ADMIN, &level)).status, 2);
}

#[test]
fn projects_of_one_name_are_told_apart_by_team_or_number() {
    let work = Work::new();
    let server = serve(&work);
    said(&work, &server, &["team", "create", "vision"]);
    let made = said(&work, &server, &["project", "create", "cats", "--team", "vision"]);
    assert_eq!(made, "made project cats (2) of team vision\n");
    said(&work, &server, &["project", "create", "cats"]);
    let taken = refused(&work, &server, ADMIN, &["project", "create", "cats"]);
    assert!(taken.contains("the name is taken"), "{taken}");
    let unclear = refused(&work, &server, ADMIN, &["project", "rm", "cats"]);
    assert!(unclear.contains("one of 2, 3"), "{unclear}");
    let change = ["project", "change", "cats", "--in-team", "vision", "--name", "dogs"];
    assert_eq!(said(&work, &server, &change), "changed project dogs (2)\n");
    said(&work, &server, &["project", "change", "dogs", "--team", "default"]);
    let table = said(&work, &server, &["project", "list"]);
    assert_eq!(rows(&table)[1][..3], ["2", "default", "dogs"], "{table}");
    let none = said(&work, &server, &["project", "list", "--team", "vision", "--json"]);
    assert_eq!(none, "[]\n");

    said(&work, &server, &["project", "rm", "dogs"]);
    said(&work, &server, &["project", "reinstate", "dogs"]);
    said(&work, &server, &["project", "rm", "dogs"]);
    said(&work, &server, &["project", "rm", "dogs", "--hard"]);
    assert!(!said(&work, &server, &["project", "list", "--all"]).contains("dogs"));
}

#[test]
fn whoever_may_write_the_data_directory_finds_the_way_back_in() {
    let work = Work::new();
    let server = serve(&work);
    said(&work, &server, &["user", "create", "ann", "--generate-password", "--admin"]);
    said(&work, &server, &["user", "create", "77", "--generate-password"]);
    said(&work, &server, &["user", "deactivate", "admin"]);
    let file = work.file("password", "found again\n");
    let reset = |who: &str, data: &str| {
        let arguments = ["user", "reset-password", who, "--data", data, "--password-file", &file];
        run(&mut work.granary(&arguments))
    };
    let in_use = reset("admin", "data");
    assert!(in_use.status == 1 && in_use.complained.contains("stop it first"), "{in_use:?}");
    drop(server);
    let nowhere = reset("admin", "nowhere");
    assert!(nowhere.status == 1 && nowhere.complained.contains("no store"), "{nowhere:?}");
    assert!(!work.path("nowhere").exists());
    let nobody = reset("nobody", "data");
    assert!(nobody.complained.contains("its administrators are admin (1), ann (2)"), "{nobody:?}");
    let digits = reset("77", "data");
    assert!(digits.said.contains("password of user 77, who is active"), "{digits:?}");

    let sentence = "set the password of user admin, who is active and an administrator\n";
    // By name, and by primary key.
    for who in ["admin", "1"] {
        let ended = reset(who, "data");
        assert_eq!((ended.status, ended.said.as_str()), (0, sentence), "{ended:?}");
    }
    let server = serve(&work);
    let admin = ("admin", "found again");
    assert_eq!(run(&mut as_user(&work, &server, admin, &["user", "list"])).status, 0);
    let log = ["audit", "--action", "reset_password_offline"];
    let log = run(&mut as_user(&work, &server, admin, &log)).said;
    let cells = rows(&log);
    assert_eq!(cells.len(), 3, "{log}");
    assert_eq!(cells[0][2..9], ["-", "-", "200", "reset_password_offline", "user", "3", "(77)"]);
    assert_eq!(cells[1][2..9], ["-", "-", "200", "reset_password_offline", "user", "1", "(admin)"]);
}

#[test]
fn the_audit_log_tells_people_and_programs_who_did_what() {
    let work = Work::new();
    let server = serve(&work);
    let file = work.file("password", "the password of ann\n");
    said(&work, &server, &["user", "create", "ann", "--password-file", &file]);
    said(&work, &server, &["team", "add-member", "default", "ann", "--level", "write"]);
    let ann = ("ann", "the password of ann");
    let table = said(&work, &server, &["audit", "--user", "admin", "--action", "users_create"]);
    let cells = rows(&table);
    assert_eq!(cells.len(), 1, "{table}");
    assert_eq!(cells[0][2..], ["admin", "127.0.0.1", "201", "users_create", "user", "2", "(ann)"]);
    refused(&work, &server, ann, &["audit"]);
    refused(&work, &server, ("ann", "not the password"), &["ls"]);
    let lines = said(&work, &server, &["audit", "--json", "--since", "1h", "--limit", "all"]);
    let entries: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> =
        entries.iter().map(|entry| entry["sequence"].as_u64().unwrap()).collect();
    assert_eq!(
        numbers,
        (1..=u64::try_from(numbers.len()).unwrap()).collect::<Vec<_>>(),
        "the oldest first"
    );
    assert_eq!(entries[0]["action"], "first_start");
    let failed = entries.iter().filter(|entry| entry["status"] == 401);
    let failed: Vec<_> = failed.map(|entry| (&entry["action"], &entry["name"])).collect();
    assert_eq!(failed, [(&json!("auth_obtain"), &json!("ann"))]);
    assert!(!lines.contains("password of ann") && !lines.contains("not the password"));

    let after = said(&work, &server, &["audit", "--json", "--after", "1"]);
    let first: Value = serde_json::from_str(after.lines().next().unwrap()).unwrap();
    assert_eq!(first["sequence"], 2);
    assert!(after.lines().count() >= numbers.len(), "all that came since, and it has grown");
    let beyond = run(&mut as_user(&work, &server, ADMIN, &["audit", "--after", "1000000"]));
    assert!(beyond.complained.contains("before entry 1000000: the store"), "{beyond:?}");
    let present = run(&mut as_user(&work, &server, ADMIN, &["audit", "--after", "1"]));
    assert_eq!(present.complained, "");
}

#[test]
fn following_the_audit_log_ends_where_nobody_reads_on() {
    let work = Work::new();
    let server = serve(&work);
    for format in [&[][..], &["--json"]] {
        let follow = [&["audit", "--follow"], format].concat();
        let mut command = as_user(&work, &server, ADMIN, &follow);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut String::new()).unwrap();
        drop(output);
        // Something new, which it then cannot tell.
        while child.try_wait().unwrap().is_none() {
            said(&work, &server, &["audit", "--limit", "1"]);
        }
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn following_the_audit_log_outlives_the_server() {
    let work = Work::new();
    let server = serve(&work);
    let mut command = as_user(&work, &server, ADMIN, &["audit", "--follow", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("first_start"));
    let address = server.address.clone();
    drop(server);
    // It asks, and gets no answer.
    drop(TcpListener::bind(&address).unwrap().accept().unwrap());
    let mut command = work.granary(&["serve", "--data", "data", "--listen", &address]);
    let server = Server::start(&mut command, &work.path(""));
    said(&work, &server, &["team", "create", "vision"]);
    let mut numbers = Vec::new();
    let told = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut told = told.inspect(|entry| numbers.push(entry["sequence"].as_u64().unwrap()));
    assert!(told.any(|entry| entry["action"] == "teams_create"), "it ended");
    assert!(numbers.is_sorted_by(|one, next| one + 1 == *next), "each once: {numbers:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn quotas_of_teams_are_shown_and_set_with_units() {
    let work = Work::new();
    let server = serve(&work);
    let shown = said(&work, &server, &["team", "quota", "default"]);
    assert_eq!(shown, "team default holds 0 B (no bound), and of files 0 (no bound)\n");
    let set = said(&work, &server, &["team", "quota", "default", "--bytes", "2KiB"]);
    assert_eq!(set, "team default holds 0 B of 2.00 KiB, and of files 0 (no bound)\n");
    // What is not named stays.
    let set = said(&work, &server, &["team", "quota", "1", "--files", "7", "--json"]);
    let set: Value = serde_json::from_str(&set).unwrap();
    assert_eq!((&set["bytes"], &set["files"]), (&json!(2048), &json!(7)));
    let set = said(&work, &server, &["team", "quota", "default", "--bytes", "none"]);
    assert_eq!(set, "team default holds 0 B (no bound), and of files 0 of 7\n");
    let ended = run(&mut as_user(&work, &server, ADMIN, &["team", "quota", "1", "--bytes", "2"]));
    assert_eq!(ended.status, 2, "{ended:?}");
    assert!(ended.complained.contains("no unit"), "{ended:?}");
}
