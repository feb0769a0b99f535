//! What is selected, deleted, and only said.

use std::fs;

use crate::world::{World, events, summary_of};

/// Names of the files of a dataset.
fn names(world: &World, dataset: &str) -> Vec<String> {
    let listed = world.done(&["ls", dataset, "--json"]);
    events(&listed).iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect()
}

fn world() -> World {
    let world = World::new();
    let files = ["a.jpg", "a.txt", "raw/b.jpg", "raw/deep/c.jpg", "tmp/d.jpg"];
    for name in files {
        world.write(&[(&format!("files/{name}"), name)]);
    }
    world
}

#[test]
fn globs_choose_what_is_pushed_and_pulled_and_listed() {
    let world = world();
    world.done(&["push", "files", "--dataset", "some", "--include", "*.jpg", "--exclude", "tmp"]);
    assert_eq!(names(&world, "some"), ["a.jpg", "raw/b.jpg", "raw/deep/c.jpg"]);
    world.done(&["pull", "--dataset", "some", "pulled", "--include", "/raw/*"]);
    let pulled: Vec<_> = world.files("pulled").into_keys().collect();
    assert_eq!(pulled, ["raw/b.jpg", "raw/deep/c.jpg"], "a folder stands for all below it");
    let listed = world.done(&["ls", "some", "--exclude", "raw/"]);
    assert!(listed.ends_with("  a.jpg\n") && listed.lines().count() == 1, "{listed}");
    let ended = world.run(&["push", "files", "--dataset", "some", "--include", "a["]);
    assert_eq!(ended.status, 1);
    assert!(ended.complained.contains("\"a[\" is no glob"), "{ended:?}");
}

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let world = world();
    let said = world.done(&["push", "files", "--dataset", "cats", "--dry-run"]);
    assert!(said.contains("dry run, nothing was changed: sent 5 "), "{said}");
    assert_eq!(world.done(&["ls"]).lines().count(), 1, "no dataset was made");

    world.done(&["push", "files", "--dataset", "cats"]);
    world.write(&[("files/a.txt", "changed"), ("files/new", "new")]);
    fs::remove_file(world.work.path("files/tmp/d.jpg")).unwrap();
    let push = ["push", "files", "--dataset", "cats", "--delete", "--dry-run", "--json"];
    let ended = world.run(&push);
    assert_eq!(ended.status, 1, "a file differs");
    let summary = summary_of(&ended.said);
    for (key, files) in [("transferred", 1), ("replaced", 0), ("already_there", 3)] {
        assert_eq!(summary[key]["files"], files, "{key}: {summary}");
    }
    assert_eq!((&summary["deleted"], &summary["differ"]), (&1.into(), &1.into()));
    assert!(ended.said.contains(r#""name":"tmp/d.jpg","outcome":"deleted""#), "{ended:?}");
    assert_eq!(names(&world, "cats").len(), 5);

    let pull = ["pull", "--dataset", "cats", "pulled", "--dry-run"];
    let said = world.done(&pull);
    assert!(said.contains("dry run, nothing was changed: fetched 5 "), "{said}");
    assert!(!world.work.path("pulled").exists());
}

#[test]
fn delete_makes_the_other_side_hold_the_same_of_what_is_selected() {
    let world = world();
    world.done(&["push", "files", "--dataset", "cats"]);
    fs::remove_dir_all(world.work.path("files/raw")).unwrap();
    fs::remove_file(world.work.path("files/a.jpg")).unwrap();
    let push = ["push", "files", "--dataset", "cats", "--delete"];
    let ended = world.run(&push);
    assert_eq!(ended.status, 1, "nobody is there to be asked");
    assert!(ended.complained.contains("add --yes"), "{ended:?}");
    assert_eq!(names(&world, "cats").len(), 5);

    let said = world.done(&[&push[..], &["--yes", "--exclude", "deep/"]].concat());
    assert!(said.contains("deleted 2"), "{said}");
    assert_eq!(names(&world, "cats"), ["a.txt", "raw/deep/c.jpg", "tmp/d.jpg"]);

    world.write(&[("pulled/a.txt", "a.txt"), ("pulled/mine", "m"), ("pulled/kept/mine", "m")]);
    let pull = ["pull", "--dataset", "cats", "pulled", "--delete", "--yes", "--exclude", "kept"];
    let said = world.done(&pull);
    assert!(said.contains("fetched 2 ") && said.contains("deleted 1"), "{said}");
    let pulled: Vec<_> = world.files("pulled").into_keys().collect();
    assert_eq!(pulled, ["a.txt", "kept/mine", "raw/deep/c.jpg", "tmp/d.jpg"]);
}

#[test]
fn what_a_mirror_cannot_look_at_or_name_is_a_failure() {
    let world = world();
    world.done(&["push", "files", "--dataset", "cats"]);
    world.write(&[("pulled/..odd", "mine"), ("pulled/mine", "m")]);
    let ended = world.run(&["pull", "--dataset", "cats", "pulled", "--delete", "--yes"]);
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.said.contains("failed: pulled/..odd: "), "{ended:?}");
    assert!(ended.said.contains("deleted 1") && ended.said.contains("failed 1"), "{ended:?}");
}

#[test]
fn a_pull_of_some_files_keeps_what_has_come_of_others() {
    let world = world();
    world.done(&["push", "files", "--dataset", "cats"]);
    let come = format!("pulled/.granary-partial/{}", blake3::hash(b"a large file"));
    world.write(&[(&come, "a lar")]);
    world.done(&["pull", "--dataset", "cats", "pulled", "--include", "a.txt"]);
    assert!(world.work.path(&come).exists());
    world.done(&["pull", "--dataset", "cats", "pulled"]);
    assert!(!world.work.path("pulled/.granary-partial").exists());
}
