use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{GRANARY, PASSWORD, Server, Work, is_on_a_disk, operation, said};

#[test]
fn uploads_are_counted_and_measured() {
    let work = Work::new();
    let report = work.load(&["upload", "--requests", "300", "-c", "8", "--size", "3000"]);
    let run = &report["runs"][0];
    assert_eq!(run["requests"], 300);
    assert_eq!(run["bytes"], 900_000);
    assert_eq!(run["errors"], serde_json::json!({}));
    let latency = |name: &str| run["latency"][name].as_f64().unwrap();
    let inner = ["p50", "p90", "p99", "p99.9", "max"].map(latency);
    assert!(inner[0] > 0.0 && inner.is_sorted(), "{inner:?}");
    let counted = |pairs: &Value| -> u64 {
        pairs.as_array().unwrap().iter().map(|pair| pair[1].as_u64().unwrap()).sum()
    };
    assert_eq!(counted(&run["histogram"]), 300);
    let slices = run["slices"].as_array().unwrap().iter();
    assert_eq!(slices.map(|slice| counted(&slice["histogram"])).sum::<u64>(), 300);
    assert!(report["durability"].as_str().unwrap().starts_with("synced"));
    // What was sent is at least what was written, as nothing of it was known.
    let written = run["server"]["written"].as_u64();
    assert_eq!(written.is_some(), is_on_a_disk(work.0.path()));
    assert!(written.is_none_or(|written| written >= 900_000), "{written:?}");
    assert!(run["server"]["resident"].as_u64().unwrap() > 1 << 20);
    assert!(run["server"]["processor_per_request"].as_f64().unwrap() > 0.0);
}

#[test]
fn sizes_are_drawn_and_known_contents_are_sent_again_and_again() {
    let work = Work::new();
    let load = ["upload", "--requests", "200", "-c", "4", "--files", "20", "--duplicates", "100"];
    let report = work.load(&[&load[..], &["--size", "imagenet", "--datasets", "3"]].concat());
    let run = &report["runs"][0];
    assert_eq!(run["requests"], 200);
    let sent = run["bytes"].as_u64().unwrap();
    assert!((200 * 60_000..200 * 200_000).contains(&sent), "{sent}");
    assert_eq!(report["settings"]["files"], 20);
}

#[test]
fn an_open_loop_sends_as_many_as_are_due() {
    let work = Work::new();
    let report = work.load(&["upload", "--requests", "200", "-c", "8", "--rate", "400"]);
    let run = &report["runs"][0];
    assert_eq!(run["requests"], 200);
    // The last is due half a second after the first, so it cannot be over before.
    assert!(run["seconds"].as_f64().unwrap() > 0.49);
}

#[test]
fn a_time_bounds_a_load_as_well() {
    let work = Work::new();
    let timed = ["upload", "--duration", "0.5", "--warmup", "0.1", "-c", "2", "--threads", "8"];
    let report = work.load(&timed);
    assert_eq!(report["settings"]["threads"], 2, "a thread has one connection at least");
    let run = &report["runs"][0];
    assert!(run["requests"].as_u64().unwrap() > 0);
    assert!(run["seconds"].as_f64().unwrap() >= 0.4);
}

#[test]
fn every_other_workload_does_what_it_says() {
    let work = Work::new();
    let few = ["--requests", "60", "-c", "4", "--files", "30", "--size", "2K", "--datasets", "2"];
    let load = |workload: &str| work.load(&[&[workload], &few[..]].concat());

    let download = load("download");
    assert_eq!(operation(&download, "download")["requests"], 60);
    assert_eq!(download["runs"][0]["bytes"], 60 * 2048);

    let metadata = load("metadata");
    for half in ["set-metadata", "get-metadata"] {
        assert_eq!(operation(&metadata, half)["requests"], 30);
    }

    for (workload, name) in [("list", "list"), ("retrieve", "retrieve"), ("copy", "copy")] {
        assert_eq!(operation(&load(workload), name)["requests"], 60);
    }

    // An archive holds all files of its dataset, and a few bytes about each.
    let archive = load("archive");
    assert!(archive["runs"][0]["bytes"].as_u64().unwrap() > 60 * 30 * 2048);

    let merge = load("merge");
    for step in ["copy", "merge", "hard-delete"] {
        assert_eq!(operation(&merge, step)["requests"], 60);
    }

    let mixed = load("mixed");
    let kinds = mixed["runs"][0]["operations"].as_array().unwrap().len();
    assert!(kinds >= 3 && mixed["runs"][0]["requests"] == 60, "{kinds}");
}

#[test]
fn a_server_that_discards_uploads_says_so() {
    let work = Work::new();
    let report = work.load(&["upload", "--sink", "--requests", "300", "-c", "8"]);
    let run = &report["runs"][0];
    assert_eq!((&run["requests"], &run["errors"]), (&300.into(), &serde_json::json!({})));
    assert!(report["durability"].as_str().unwrap().starts_with("none"));
    // What is written is the whole disk's figure, which the other tests write to as well.
    assert_eq!(run["server"]["written"].is_u64(), is_on_a_disk(work.0.path()));
}

#[test]
fn a_server_that_discards_uploads_touches_no_store_that_is_there() {
    let work = Work::new();
    Server::start(&work).stop();
    let mut command = work.granary();
    command.args(["bench", "sink-server", "--listen", "127.0.0.1:0", "--data"]);
    let output = command.arg(work.path("data")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is there already"), "{}", said(&output));
    let help = work.granary().args(["serve", "--help"]).output().unwrap();
    assert!(!said(&help).contains("sink"));
}

#[test]
fn a_foreign_server_is_left_as_it_was() {
    let work = Work::new();
    let server = Server::start(&work);
    let mut command = work.granary();
    command.env("GRANARY_PASSWORD", PASSWORD).args(["bench", "copy", "--requests", "20"]);
    command.args(["--files", "10", "--url", &server.url, "--json", "report.json"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let report: Value =
        serde_json::from_slice(&fs::read(work.path("report.json")).unwrap()).unwrap();
    // It says of itself that it is a granary, and its process is found by its port.
    assert!(report["durability"].as_str().unwrap().starts_with("synced"));
    assert!(report["runs"][0]["server"]["resident"].as_u64().unwrap() > 0);

    let mut list = work.granary();
    list.env("GRANARY_PASSWORD", PASSWORD).args(["ls", "--url", &server.url]);
    assert_eq!(said(&list.output().unwrap()).lines().count(), 1, "nothing but the table's head");
}

#[test]
fn a_load_that_cannot_begin_says_why_in_one_sentence() {
    let work = Work::new();
    let mut server = Server::start(&work);
    let fails = |arguments: &[&str], password: &str, wanted: &str| {
        let mut command = work.granary();
        command.env("GRANARY_PASSWORD", password).args(["bench", "upload", "--requests", "9"]);
        let output = command.arg("--no-ceiling").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = said.lines().filter(|line| !line.contains("debug build")).collect::<Vec<_>>();
        assert_eq!(output.status.code(), Some(1), "{said:?}");
        assert!(said.len() == 1 && said[0].contains(wanted), "{said:?}");
    };
    let url = server.url.clone();
    fails(&["--url", &url], "wrong", "does not accept this user name and password");
    fails(&["--url", &url, "--project", "nowhere"], PASSWORD, "no project \"nowhere\"");
    server.stop();
    fails(&["--url", &url], PASSWORD, "no answer from the server");
    fails(&["--url", &url, "--plain"], PASSWORD, "no answer from 127.0.0.1");
    fails(&["--url", "https://127.0.0.1:1", "--plain"], PASSWORD, "is not plain HTTP");
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_begun() {
    let work = Work::new();
    for (arguments, wanted) in [
        (&["download", "--self", "--duplicates", "50"][..], "goes with upload and mixed"),
        (&["upload", "--self", "--sink", "--duplicates", "50"], "without --sink"),
        (&["upload", "--self", "--durability", "synced"], "leave --durability out"),
        (&["merge", "--self"], "say --datasets 2"),
        (&["upload", "--self", "--json", "nowhere/a.json"], "cannot write nowhere/a.json"),
        (&["upload", "--self", "--html", "."], "cannot write .: it is a directory"),
        (&["suite", "--only", "uplaod"], "the names are upload/sink, "),
        (&["growth", "--from", "2000", "--to", "50000"], "they are 1,000, 100,000, "),
    ] {
        let mut command = work.granary();
        command.arg("bench").args(arguments).arg("--dir").arg(work.0.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(said(&output).contains(wanted), "{arguments:?}: {}", said(&output));
        work.assert_nothing_is_left();
    }
}

#[test]
fn an_address_that_is_set_for_all_commands_is_not_in_the_way_of_a_server_of_its_own() {
    let work = Work::new();
    let mut command = work.granary();
    command.env("GRANARY_URL", "http://127.0.0.1:1").args(["bench", "upload", "--self"]);
    command.args(["--requests", "20", "--dir"]).arg(work.0.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("own server"), "{}", said(&output));
}

#[test]
fn a_load_needs_a_file_a_connection_and_with_a_ceiling_two() {
    let work = Work::new();
    let fails = |more: &[&str], wanted: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 300 && exec \"$0\" \"$@\"", GRANARY, "bench", "upload"]);
        command.args(["-c", "150", "--plain", "--url", "http://127.0.0.1:1"]).args(more);
        let output = command.current_dir(work.0.path()).output().unwrap();
        assert!(said(&output).contains(wanted), "{}", said(&output));
    };
    fails(&[], "150 connections need 400 open files");
    fails(&["--no-ceiling"], "no answer from 127.0.0.1");
}

#[test]
fn what_more_costs_is_measured_on_a_store_that_is_kept() {
    let work = Work::new();
    let run = || {
        let mut command = work.granary();
        command.args(["bench", "growth", "--to", "1000", "--seconds", "1", "--svg", "plots"]);
        let output = command.arg("--keep").arg(work.path("kept")).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    assert!(run().contains("storing 1,000 files"));
    let again = run();
    assert!(!again.contains("storing") && again.contains("       1,000 "), "{again}");
    assert!(work.path("plots").join("growth-rates.svg").is_file());

    leave_as_an_interrupt_does(&work, &work.path("kept"));
    let again = run();
    assert!(!again.contains("storing") && again.contains("       1,000 "), "{again}");
}

/// Makes the dataset that uploads are measured with, and one of the next step that is not full.
fn leave_as_an_interrupt_does(work: &Work, kept: &Path) {
    let server = Server::on(work, &kept.join("data"));
    let password = fs::read_to_string(kept.join("bench-password")).unwrap();
    for dataset in ["granary-growth-uploaded-0", "granary-growth-more-0-0"] {
        let mut push = work.granary();
        push.env("GRANARY_PASSWORD", &password).env("XDG_CACHE_HOME", work.path("cache"));
        push.args(["push", "plots", "--dataset", dataset, "--url", &server.url]);
        let output = push.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn refused_requests_are_counted_by_kind_with_what_the_server_said() {
    let work = Work::new();
    let server = Server::start(&work);
    let mut command = work.granary();
    // A granary knows no PUT of files.
    command.args(["bench", "upload", "--plain", "--requests", "30", "--no-ceiling"]);
    command.args(["--url", &server.url, "--json", "report.json"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("error: status 404, 30 times"), "{}", said(&output));
    let report: Value =
        serde_json::from_slice(&fs::read(work.path("report.json")).unwrap()).unwrap();
    assert_eq!(report["runs"][0]["errors"]["status 404"]["times"], 30);
    assert!(report["durability"].as_str().unwrap().starts_with("unknown"));
}

#[test]
fn reports_are_compared_and_shown() {
    let work = Work::new();
    let [one, two, page] = ["one.json", "two.json", "page.html"].map(|name| work.path(name));
    let run = |json: &Path, more: &[&str]| {
        let mut command = work.granary();
        command.args(["bench", "upload", "--self", "--requests", "100", "--runs", "3"]);
        command.args(more);
        command.arg("--dir").arg(work.0.path()).arg("--json").arg(json).arg("--html").arg(&page);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    };
    run(&one, &[]);
    run(&two, &["--floor", "-c", "2", "--size", "coco"]);
    let compare = |other: &Path| {
        let mut command = work.granary();
        command.args(["bench", "compare"]).arg(&one).arg(other).output().unwrap()
    };
    let output = compare(&two);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("Welch"), "{}", said(&output));
    let same = said(&compare(&one));
    let rows = same.lines().skip_while(|line| !line.contains("95% interval")).skip(1);
    // Runs without a stall have nothing to be tested by.
    let rows = rows.filter(|line| !line.starts_with("longest stall"));
    let verdicts: Vec<&str> = rows.filter_map(|line| line.split_whitespace().last()).collect();
    assert!(verdicts.len() >= 8 && verdicts.iter().all(|verdict| *verdict == "noise"), "{same}");

    let floor: Value = serde_json::from_slice(&fs::read(&two).unwrap()).unwrap();
    let groups = floor["floor"]["groups"].as_array().unwrap().iter();
    // The published mean, whatever size the first file has.
    let bytes: Vec<_> = groups.map(|group| [&group["files"], &group["bytes"]]).collect();
    assert_eq!(bytes, [[1, 163_474], [2, 2 * 163_474]]);

    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(
        html.matches("<svg").count(),
        3 * 4 + html.matches("The server's memory</h3>").count() * 2
    );
    assert!(html.contains("fdatasync of 4 KiB appended"));

    let output = compare(&page);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is no report of granary bench --json"), "{}", said(&output));
}

#[test]
fn the_suite_says_which_targets_are_met() {
    let work = Work::new();
    let mut command = work.granary();
    command.args(["bench", "suite", "--only", "upload/one", "--rounds", "1", "--seconds", "1"]);
    let output = command.arg("--dir").arg(work.0.path()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    // Below the machine, the three durabilities and the heading.
    let row = table.lines().nth(5).unwrap();
    assert!(row.contains(" met ") || row.contains(" MISSED "), "{table}");
    assert_eq!(table.lines().count(), 6, "{table}");
    work.assert_nothing_is_left();
}
