//! What is sent at all.

use std::process::Stdio;

use crate::proxy::{Faults, Proxy};
use crate::support::run;
use crate::world::{World, summary_of, write_noise};

#[test]
fn content_that_the_server_has_elsewhere_gets_its_names_without_its_bytes() {
    let world = World::new();
    for number in 0..200 {
        write_noise(&world, &format!("files/{number}"), number, 20_000);
    }
    write_noise(&world, "files/large", 1000, 10 << 20);
    world.done(&["push", "files", "--dataset", "cats"]);
    std::fs::rename(world.work.path("files"), world.work.path("moved")).unwrap();
    let proxy = Proxy::faithful(&world.address);
    let push = ["push", "moved", "--dataset", "dogs", "--json"];
    let ended = run(&mut world.client_at(&proxy.address, &push));
    let summary = summary_of(&ended.said);
    assert_eq!(summary["attached"]["files"], 201, "{summary}");
    assert_eq!(summary["transferred"]["files"], 0, "{summary}");
    assert!(proxy.up() < 100_000, "{} bytes went", proxy.up());
    world.done(&["pull", "--dataset", "dogs", "pulled"]);
    assert!(world.files("pulled") == world.files("moved"));
}

#[test]
fn a_content_that_is_in_a_folder_many_times_is_sent_once() {
    let world = World::new();
    for number in 0..100 {
        write_noise(&world, &format!("files/{number}"), number % 2, 300_000);
    }
    let proxy = Proxy::faithful(&world.address);
    let push = ["push", "files", "--dataset", "cats", "--json"];
    let ended = run(&mut world.client_at(&proxy.address, &push));
    let summary = summary_of(&ended.said);
    assert_eq!(summary["transferred"]["files"], 2, "{summary}");
    assert_eq!(summary["attached"]["files"], 98, "{summary}");
    assert!(proxy.up() < 700_000, "{} bytes went", proxy.up());
}

#[test]
fn changed_files_take_the_place_of_the_old_ones_where_that_is_wanted() {
    let world = World::new();
    for (number, length) in [(1, 10), (2, 500_000), (3, 20 << 20)] {
        write_noise(&world, &format!("files/{number}"), number, length);
    }
    world.done(&["push", "files", "--dataset", "cats"]);
    for (number, length) in [(1, 11), (2, 500_000), (3, 20 << 20)] {
        write_noise(&world, &format!("files/{number}"), 10 + number, length);
    }
    let ended = world.run(&["push", "files", "--dataset", "cats"]);
    assert_eq!(ended.status, 1);
    assert!(ended.complained.contains("--replace"), "{ended:?}");
    let summary = world.summary(&["push", "files", "--dataset", "cats", "--replace"]);
    assert_eq!(summary["replaced"]["files"], 3, "{summary}");
    world.done(&["pull", "--dataset", "cats", "pulled"]);
    assert!(world.files("pulled") == world.files("files"));
}

#[test]
fn a_dry_run_tells_what_would_be_attached_and_replaced() {
    let world = World::new();
    world.write(&[("files/a", "1"), ("files/b", "2")]);
    world.done(&["push", "files", "--dataset", "cats"]);
    world.write(&[("files/a", "changed"), ("files/c", "2"), ("files/d", "new")]);
    let push = ["push", "files", "--dataset", "cats", "--replace", "--dry-run"];
    let summary = world.summary(&push);
    for key in ["transferred", "attached", "replaced", "already_there"] {
        assert_eq!(summary[key]["files"], 1, "{key}: {summary}");
    }
    assert_eq!(world.done(&["ls", "cats"]).lines().count(), 2);
}

#[test]
fn a_large_file_goes_on_where_it_was_when_the_client_was_killed() {
    let world = World::new();
    write_noise(&world, "files/large", 1, 64 << 20);
    let proxy = Proxy::faithful(&world.address);
    let push = ["push", "files", "--dataset", "cats"];
    let mut client = world.client_at(&proxy.address, &push);
    let mut child = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while proxy.up() < 24 << 20 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let before = proxy.up();
    let ended = run(&mut world.client_at(&proxy.address, &push));
    assert_eq!(ended.status, 0, "{ended:?}");
    let again = proxy.up() - before;
    assert!(again < 50 << 20, "{again} bytes went again");
    world.done(&["pull", "--dataset", "cats", "pulled"]);
    assert!(world.files("pulled") == world.files("files"));
    let kept = world.work.path(".cache/granary/uploads").read_dir().unwrap().count();
    assert_eq!(kept, 0, "nothing is kept of what is done");
}

#[test]
fn a_large_file_outlives_cuts_and_the_end_of_the_server() {
    let mut world = World::new();
    write_noise(&world, "files/large", 1, 64 << 20);
    let proxy = Proxy::new(&world.address, Faults { seed: 7, cuts: 4, within: 20 << 20 });
    let push = ["push", "files", "--dataset", "cats"];
    let mut client = world.client_at(&proxy.address, &push);
    let mut child = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while proxy.up() < 16 << 20 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before the server did");
        std::thread::yield_now();
    }
    world.kill_and_restart();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(proxy.cuts() > 0);
    assert!(proxy.up() < 200 << 20, "{} bytes went", proxy.up());
    world.done(&["pull", "--dataset", "cats", "pulled"]);
    assert!(world.files("pulled") == world.files("files"));
}
