//! Clients and servers that are killed, connections that are cut, pushers side by side.

use std::io::{BufRead, BufReader};
use std::process::{Child, Output, Stdio};

use crate::proxy::{Faults, Proxy};
use crate::support::{run, until};
use crate::world::{World, events, killed_after, summary_of, write_noise};

/// A folder with files that go in tars, files that go alone, and one that streams.
fn folder(world: &World) {
    for number in 0..1500 {
        write_noise(world, &format!("files/small/{}/{number}", number % 7), number, 100);
    }
    for number in 2000..2012 {
        write_noise(world, &format!("files/medium/{number}"), number, 200_000);
    }
    write_noise(world, "files/large", 3000, 5 << 20);
}

/// The dataset holds what the folder holds, and a pull of it does too.
fn assert_whole(world: &World) {
    world.done(&["pull", "--dataset", "cats", "pulled"]);
    assert!(world.files("pulled") == world.files("files"));
}

#[test]
fn a_push_whose_client_is_killed_again_and_again_goes_on_where_it_was() {
    let world = World::new();
    folder(&world);
    let push = ["push", "files", "--dataset", "cats", "--json", "--jobs", "2"];
    for files in [1, 300] {
        killed_after(&mut world.client(&push), files);
    }
    let summary = world.summary(&["push", "files", "--dataset", "cats"]);
    let count = |key: &str| summary[key]["files"].as_u64().unwrap();
    assert!(count("already_there") >= 300, "{summary}");
    assert_eq!(count("already_there") + count("transferred") + count("attached"), 1513);
    assert_whole(&world);
}

#[test]
fn a_push_outlives_its_server() {
    let mut world = World::new();
    folder(&world);
    let push = ["push", "files", "--dataset", "cats", "--json", "--jobs", "2"];
    let mut client = world.client(&push);
    let mut child = client.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    for _ in 0..3 {
        for line in told.by_ref().take(200) {
            said.extend([&line.unwrap(), "\n"]);
        }
        world.kill_and_restart();
    }
    for line in told {
        said.extend([&line.unwrap(), "\n"]);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    let summary = summary_of(&said);
    assert_eq!(summary["failed"], 0, "{summary}");
    assert_eq!(events(&said).len(), 1515, "each file is told of once");
    assert_whole(&world);
}

#[test]
fn connections_that_break_at_any_byte_cost_time_and_nothing_else() {
    let world = World::new();
    folder(&world);
    for (seed, within) in [(1, 2_000), (2, 400_000), (3, 3_000_000)] {
        let proxy = Proxy::new(&world.address, Faults { seed, cuts: 3, within });
        let dataset = format!("cats{seed}");
        // Another content of each file, so that nothing is known to the server.
        write_noise(&world, "files/large", 4000 + seed, 5 << 20);
        let push = ["push", "files", "--dataset", &dataset, "--jobs", "3", "--json"];
        let ended = run(&mut world.client_at(&proxy.address, &push));
        assert_eq!(ended.status, 0, "{ended:?}");
        assert!(proxy.cuts() > 0, "seed {seed}: no connection was cut");

        let proxy = Proxy::new(&world.address, Faults { seed, cuts: 3, within });
        let pulled = format!("pulled{seed}");
        let pull = ["pull", "--dataset", &dataset, &pulled, "--jobs", "3"];
        let ended = run(&mut world.client_at(&proxy.address, &pull));
        assert_eq!(ended.status, 0, "{ended:?}");
        assert!(proxy.cuts() > 0, "seed {seed}: no connection was cut");
        assert!(world.files(&pulled) == world.files("files"), "seed {seed}");
    }
}

#[test]
fn a_pull_that_is_killed_goes_on_within_a_large_file() {
    let world = World::new();
    write_noise(&world, "files/large", 1, 24 << 20);
    world.done(&["push", "files", "--dataset", "cats"]);
    // Killed when some of it has been written, and before the rest has come.
    let proxy = Proxy::standing_still_after(&world.address, 8 << 20);
    let pull = ["pull", "--dataset", "cats", "pulled"];
    let mut client = world.client_at(&proxy.address, &pull);
    let mut child = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let partial = world.work.path("pulled/.granary-partial");
    let arrived = || {
        let entries = partial.read_dir().ok()?;
        entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).max()
    };
    until("some of the file", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        arrived().filter(|bytes| *bytes >= 2 << 20)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let left = arrived().unwrap();

    let proxy = Proxy::faithful(&world.address);
    let ended = run(&mut world.client_at(&proxy.address, &pull));
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(proxy.down() < (24 << 20) - left + 100_000, "{} bytes after {left}", proxy.down());
    assert!(proxy.up() < 100_000, "nothing is sent but requests");
    assert!(world.files("pulled") == world.files("files"));
    assert!(!partial.exists(), "nothing is left behind");
}

#[test]
fn a_pull_outlives_its_server_and_its_client() {
    let mut world = World::new();
    folder(&world);
    world.done(&["push", "files", "--dataset", "cats"]);
    let pull = ["pull", "--dataset", "cats", "pulled", "--json", "--jobs", "2"];
    killed_after(&mut world.client(&pull), 400);
    let mut client = world.client(&pull);
    let mut child = client.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(told.by_ref().take(100).count(), 100);
    world.kill_and_restart();
    let summary = summary_of(&told.last().unwrap().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(0), "{summary}");
    assert!(summary["already_there"]["files"].as_u64().unwrap() >= 400, "{summary}");
    assert!(summary["unread"].as_u64().unwrap() > 0, "what was fetched is not read: {summary}");
    assert!(world.files("pulled") == world.files("files"));
}

/// How both ended. They are read at the same time: a full pipe would hold one up until the other's end.
fn both_ended(pushers: [Child; 2]) -> [Output; 2] {
    std::thread::scope(|scope| {
        let readers = pushers.map(|pusher| scope.spawn(|| pusher.wait_with_output().unwrap()));
        readers.map(|reader| reader.join().unwrap())
    })
}

#[test]
fn two_pushers_of_one_folder_both_account_for_each_file_and_succeed() {
    let world = World::new();
    folder(&world);
    world.done(&["push", "files/large", "--dataset", "cats"]);
    let push = ["push", "files", "--dataset", "cats", "--json"];
    let spawn = || {
        let mut client = world.client(&push);
        client.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    for ended in both_ended([spawn(), spawn()]) {
        let said = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{said}");
        let summary = summary_of(&said);
        let count = |key: &str| summary[key]["files"].as_u64().unwrap();
        let of_each_kind = ["transferred", "attached", "already_there"].map(count);
        assert_eq!(of_each_kind.iter().sum::<u64>(), 1513, "{summary}");
        assert!(count("already_there") >= 1, "one was there before: {summary}");
    }
    assert_whole(&world);
}

#[test]
fn two_pushers_of_other_contents_leave_one_of_them_and_tell_the_other() {
    let world = World::new();
    for number in 0..300 {
        write_noise(&world, &format!("one/{number}"), number, 500);
        write_noise(&world, &format!("two/{number}"), 1000 + number, 500);
    }
    world.done(&["push", "one/0", "--dataset", "cats"]);
    let spawn = |folder| {
        let mut client = world.client(&["push", folder, "--dataset", "cats", "--json"]);
        client.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut stored = 0;
    for ended in both_ended([spawn("one"), spawn("two")]) {
        let summary = summary_of(&String::from_utf8(ended.stdout).unwrap());
        assert_eq!(summary["failed"], 0, "{summary}");
        let differ = summary["differ"].as_u64().unwrap();
        assert_eq!(ended.status.code(), Some(i32::from(differ > 0)), "{summary}");
        stored += 300 - differ;
    }
    assert_eq!(stored, 300, "each name has the content of one of them");
    world.done(&["pull", "--dataset", "cats", "pulled"]);
    let (one, two) = (world.files("one"), world.files("two"));
    let pulled = world.files("pulled");
    assert_eq!(pulled.len(), 300);
    assert!(pulled.iter().all(|(name, content)| [&one[name], &two[name]].contains(&content)));
}
