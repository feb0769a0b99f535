//! Settings from everywhere, and what is said of wrong ones.

use crate::support::{PASSWORD, Server, Work, run};

#[test]
fn the_server_runs_with_what_file_environment_and_flags_say_the_later_the_stronger() {
    let work = Work::new();
    work.file("password", &format!("{PASSWORD}\n"));
    let text = "data = 'from-file'\nlisten = '127.0.0.1:1'\nadmin_password_file = 'password'\n\
                [log]\nformat = 'json'\n";
    let file = work.file("granary.toml", text);
    let mut command = work.granary(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("GRANARY_CONFIG", file).env("GRANARY_DATA", "from-environment");
    let server = Server::start(&mut command, &work.path(""));

    assert!(server.announced.contains("password as password has it"), "{}", server.announced);
    assert!(work.path("from-environment/index.redb").exists());
    assert!(!work.path("from-file").exists());
    let log = server.log();
    let line = log.lines().nth(1).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["message"], "read the configuration");
    let login = format!(r#"{{"username": "admin", "password": "{PASSWORD}"}}"#);
    let headers = "Content-Type: application/json\r\n";
    let answer = server.ask("POST", "/v1/auth/obtain", headers, &login);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_file_with_the_first_password_counts_at_the_first_start_only() {
    let work = Work::new();
    let file = work.file("password", &format!("{PASSWORD}\n"));
    let start = || {
        let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
        command.args(["--admin-password-file", &file]);
        command
    };
    let check = || {
        let arguments = ["config", "check", "--data", "data", "--admin-password-file", &file];
        run(&mut work.granary(&arguments)).status
    };
    let hide = || std::fs::rename(&file, work.path("hidden")).unwrap();
    hide();
    assert_eq!(check(), 1, "the first start reads it");
    std::fs::rename(work.path("hidden"), &file).unwrap();
    drop(Server::start(&mut start(), &work.path("")));
    hide();
    assert_eq!(check(), 0);
    // The first start is under way as long as this is there.
    let marker = work.file("data/first-start", "");
    assert_eq!(check(), 1);
    std::fs::remove_file(marker).unwrap();
    drop(Server::start(&mut start(), &work.path("")));
    // Nor does it matter any longer that there are two.
    let mut twice = start();
    twice.env("GRANARY_ADMIN_PASSWORD", "another");
    drop(Server::start(&mut twice, &work.path("")));
}

#[test]
fn check_and_serve_refuse_a_bad_file_with_all_that_is_wrong_with_it() {
    let work = Work::new();
    let file = work.file("bad.toml", "archives = 0\nlisten = 'here'\n[log]\nfromat = 'json'\n");
    for command in [&["config", "check"][..], &["serve"], &["config", "show"]] {
        let ended = run(work.granary(command).args(["--config", &file]));
        assert_eq!(ended.status, 1, "{ended:?}");
        assert_eq!(ended.said, "");
        for wrong in [
            "bad.toml:1:12: archives: '0' is too little; a number from 1 to 256 is expected",
            "bad.toml:2:10: listen: 'here' is no address",
            "bad.toml:4:1: unknown key 'log.fromat'; the nearest known one is 'log.format'",
        ] {
            assert!(ended.complained.contains(wrong), "{wrong}: {}", ended.complained);
        }
    }
    assert!(!work.path("granary-data").exists());
}

#[test]
fn check_tells_that_a_configuration_is_good_and_starts_nothing() {
    let work = Work::new();
    let good = run(&mut work.granary(&["config", "check", "--archives", "9"]));
    assert_eq!(good.status, 0, "{good:?}");
    assert!(good.said.contains("is good; 1 setting is not"), "{good:?}");
    assert!(!work.path("granary-data").exists());
    let no_file = &["config", "check", "--admin-password-file", "nowhere"];
    let bad = run(&mut work.granary(no_file));
    assert_eq!(bad.status, 1);
    assert!(bad.complained.contains("cannot read the password in nowhere"), "{bad:?}");
    let blank = work.file("blank", " \n");
    let none = run(&mut work.granary(&["config", "check", "--admin-password-file", &blank]));
    assert!(none.complained.contains("holds no password"), "{none:?}");
    let file = work.file("password", "secret-12345\n");
    let twice = run(work
        .granary(&["config", "check", "--admin-password-file", &file])
        .env("GRANARY_ADMIN_PASSWORD", "secret-67890"));
    assert_eq!(twice.status, 1);
    assert!(twice.complained.contains("keep one of them"), "{twice:?}");
    assert!(!twice.complained.contains("secret-"), "{twice:?}");
}

#[test]
fn show_tells_where_each_value_came_from_and_no_secret() {
    let work = Work::new();
    let file = work.file("granary.toml", "archives = 7\n");
    let mut command = work.granary(&["config", "show", "--archive-level", "2"]);
    command.env("GRANARY_CONFIG", &file).env("GRANARY_ADMIN_PASSWORD", "secret-12345");
    // An older name, and an empty variable, which is as none.
    command.env("RUST_LOG", "debug").env("GRANARY_LOG_FORMAT", "");
    let ended = run(&mut command);
    assert_eq!(ended.status, 0, "{ended:?}");
    let holds = |what: &str| assert!(ended.said.contains(what), "{what}: {}", ended.said);
    holds(&format!("archives = 7  # {file}:1\n"));
    holds("archive_level = 2  # --archive-level\n");
    holds("filter = \"debug\"  # RUST_LOG\n");
    holds("format = \"text\"  # default");
    holds("GRANARY_ADMIN_PASSWORD is set (not shown)");
    assert!(!ended.said.contains("secret-12345"));
    // What is shown can be used.
    let shown = work.file("shown.toml", &ended.said);
    assert_eq!(run(&mut work.granary(&["config", "check", "--config", &shown])).status, 0);
}

#[test]
fn a_wrong_flag_or_variable_is_refused_by_its_name() {
    let work = Work::new();
    let flag = run(&mut work.granary(&["serve", "--archives", "257"]));
    assert_eq!(flag.status, 2, "{flag:?}");
    assert!(flag.complained.contains("'--archives <NUMBER>'"), "{flag:?}");
    assert!(flag.complained.contains("a number from 1 to 256 is expected"), "{flag:?}");
    let empty = run(work.granary(&["config", "check"]).env("GRANARY_CONFIG", ""));
    assert_eq!((empty.status, empty.complained.as_str()), (0, ""), "{empty:?}");
    let slip = run(work.granary(&["config", "check"]).env("GRANARY_ARCHIVS", "3"));
    assert_eq!(slip.status, 0, "{slip:?}");
    assert!(slip.complained.contains("GRANARY_ARCHIVES is the variable"), "{slip:?}");
    let variable = run(work.granary(&["serve"]).env("GRANARY_PURGE_AFTER", "30"));
    assert_eq!(variable.status, 1, "{variable:?}");
    assert!(variable.complained.contains("GRANARY_PURGE_AFTER: '30' has no unit"), "{variable:?}");
}

#[test]
fn an_empty_variable_is_as_none_for_the_commands_too() {
    let work = Work::new();
    let granary = |arguments: &[&str]| {
        let mut command = work.granary(arguments);
        for name in [
            "URL",
            "CA_FILE",
            "TOKEN",
            "USERNAME",
            "PASSWORD",
            "CONFIG",
            "ADMIN_PASSWORD",
            "DATA",
            "LISTEN",
            "LOG_FILTER",
        ] {
            command.env(format!("GRANARY_{name}"), "");
        }
        command
    };
    let server = Server::start(&mut granary(&["serve", "--listen", "127.0.0.1:0"]), &work.path(""));
    let url = format!("http://{}", server.address);
    let ready = run(&mut granary(&["status", "--ready", "--url", &url]));
    assert_eq!((ready.status, ready.said.as_str()), (0, "ready\n"), "{ready:?}");
    // At the usual address, where there may be anything.
    let ready = run(&mut granary(&["status", "--ready"]));
    assert!(ready.status != 2 && !ready.complained.contains("--url <URL>"), "{ready:?}");
    let status = run(&mut granary(&["status", "--url", &url]));
    assert!(status.status == 0 && status.said.contains("uploads stop at"), "{status:?}");
    let password = std::fs::File::open(work.path("granary-data/admin-password")).unwrap();
    let login = run(granary(&["login", "--url", &url]).stdin(password));
    assert!(login.said.contains("as admin"), "{login:?}");
    drop(server);
    let check = run(&mut granary(&["check"]));
    assert!(check.status == 0 && check.said.starts_with("sound"), "{check:?}");
    let shown = run(&mut granary(&["config", "show"]));
    assert!(shown.status == 0 && !shown.said.contains("is set"), "{shown:?}");
}

#[test]
fn the_example_is_that_of_the_repository_and_good() {
    let work = Work::new();
    let ended = run(&mut work.granary(&["config", "example"]));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/granary.example.toml");
    assert_eq!(ended.said, std::fs::read_to_string(path).unwrap());
    let file = work.file("example.toml", &ended.said);
    assert_eq!(run(&mut work.granary(&["config", "check", "--config", &file])).status, 0);
}
