//! Passwords that nobody knows but a command whose request was not answered.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::support::{PASSWORD, Server, Work, run};

/// Lets clients of a server hear everything but the answer to the first request that begins with
/// this line; gives its address.
fn deaf_to(server: &Server, line: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = server.address.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let is_deaf = Arc::new(AtomicBool::new(false));
            let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let heard = Arc::clone(&is_deaf);
            thread::spawn(move || pass(from, to, |_| !heard.load(Ordering::SeqCst)));
            thread::spawn(move || {
                pass(client, server, |request| {
                    is_deaf.fetch_or(request.starts_with(line.as_bytes()), Ordering::SeqCst);
                    true
                });
            });
        }
    });
    address
}

/// Passes pieces on as long as they may; the first that may not ends both ways.
fn pass(mut from: TcpStream, mut to: TcpStream, mut may: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if read == 0 || !may(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            from.shutdown(Shutdown::Both).ok();
            to.shutdown(Shutdown::Both).ok();
            return;
        }
    }
}

fn client(work: &Work, address: &str, who: (&str, &str), arguments: &[&str]) -> Command {
    let mut command = work.granary(arguments);
    command.env("GRANARY_URL", format!("http://{address}"));
    command.env("GRANARY_USERNAME", who.0).env("GRANARY_PASSWORD", who.1);
    command
}

#[test]
fn a_made_up_password_is_told_although_nobody_knows_whether_it_was_set() {
    let work = Work::new();
    let mut command = work.granary(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    command.env("GRANARY_ADMIN_PASSWORD", PASSWORD);
    let server = Server::start(&mut command, &work.path(""));
    let mut own = String::new();
    for (line, arguments) in [
        ("POST /v1/users/create", &["user", "create", "ann"][..]),
        ("PATCH /v1/users/2", &["user", "reset-password", "ann"]),
        ("POST /v1/auth/password", &["user", "change-password"]),
    ] {
        let is_own = arguments[1] == "change-password";
        let who = if is_own { ("ann", own.as_str()) } else { ("admin", PASSWORD) };
        let deaf = deaf_to(&server, line);
        let arguments = [arguments, &["--generate-password"]].concat();
        let mut command = client(&work, &deaf, who, &arguments);
        let old = work.file("old", &format!("{own}\n"));
        let ended = run(command.stdin(std::fs::File::open(old).unwrap()));
        assert_eq!(ended.status, 1, "{ended:?}");
        assert!(ended.complained.contains("no answer"), "{ended:?}");
        let told = ended.said.strip_prefix("if it was set, the password of ann is ");
        let told = told.unwrap_or_else(|| panic!("{ended:?}"));
        own = told.split(' ').next().unwrap().to_owned();
        let login = run(&mut client(&work, &server.address, ("ann", &own), &["ls"]));
        assert_eq!(login.status, 0, "{login:?}");
    }

    let deaf = deaf_to(&server, "PATCH /v1/users/2");
    let reset = ["user", "reset-password", "ann", "--generate-password", "--json"];
    let ended = run(&mut client(&work, &deaf, ("admin", PASSWORD), &reset));
    let told: Value = serde_json::from_str(&ended.said).unwrap();
    assert_eq!((ended.status, &told["is_certain"]), (1, &false.into()), "{ended:?}");
    // Nothing was asked for where there is no connection.
    let nobody = run(&mut client(&work, "127.0.0.1:1", ("admin", PASSWORD), &reset));
    assert_eq!((nobody.status, nobody.said.as_str()), (1, ""), "{nobody:?}");
}
