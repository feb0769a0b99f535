//! The first password in its file: commands of the machine find it, and name it once it is wrong.

use std::process::Command;

use crate::support::{Ended, PASSWORD, Server, Work, run};

fn serve(work: &Work, more: &[&str]) -> Server {
    let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    Server::start(command.args(more), &work.path(""))
}

/// A command that nobody gave a login.
fn granary(work: &Work, server: &Server, arguments: &[&str]) -> Command {
    let mut command = work.granary(arguments);
    command.env("GRANARY_URL", format!("http://{}", server.address)).env("GRANARY_DATA", "data");
    command
}

fn changed(work: &Work, server: &Server) -> Ended {
    let file = work.file("password", &format!("{PASSWORD}\n"));
    run(&mut granary(work, server, &["user", "reset-password", "admin", "--password-file", &file]))
}

#[test]
fn a_stale_first_password_makes_no_healthy_server_a_sick_one() {
    let work = Work::new();
    let bounds = ["--login-failures-per-account", "2"];
    let server = serve(&work, &bounds);
    let file = work.path("data/admin-password");
    let first = std::fs::read_to_string(&file).unwrap();
    let status = || run(&mut granary(&work, &server, &["status"]));
    assert!(status().said.contains("uploads stop at"), "the numbers, by the file");
    assert_eq!(changed(&work, &server).status, 0);
    assert!(!file.exists());
    let without = status();
    assert_eq!((without.status, without.said.as_str()), (0, "ready\n"), "{without:?}");
    assert!(without.complained.contains("for administrators: not logged in"), "{without:?}");

    work.file("data/admin-password", &first);
    let list = run(&mut granary(&work, &server, &["user", "list"]));
    assert_eq!(list.status, 1);
    let stale = status();
    assert_eq!((stale.status, stale.said.as_str()), (0, "ready\n"), "{stale:?}");
    for complained in [list.complained, stale.complained] {
        let words = "not accept the first password of admin in data/admin-password: it was changed";
        assert!(complained.contains(words), "{complained}");
    }
    // The account has had its failures.
    let locked = status();
    assert_eq!((locked.status, locked.said.as_str()), (0, "ready\n"), "{locked:?}");
    assert!(locked.complained.contains("429"), "{locked:?}");

    drop(server);
    let server = serve(&work, &bounds);
    assert!(!file.exists());
    let removed = "removed the first password, which was changed";
    assert_eq!(server.log().matches(removed).count(), 2, "by the change, and by the start");
}

#[test]
fn a_password_that_is_set_offline_takes_the_first_one_away() {
    let work = Work::new();
    drop(serve(&work, &[]));
    let file = work.path("data/admin-password");
    assert!(file.exists());
    let password = work.file("password", &format!("{PASSWORD}\n"));
    let arguments = ["user", "reset-password", "admin", "--data", "data"];
    let ended = run(work.granary(&arguments).args(["--password-file", &password]));
    assert_eq!((ended.status, ended.complained.as_str()), (0, ""), "{ended:?}");
    assert!(!file.exists());
}
