use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use granary::config::MetricsAccess;
use granary::{METRICS, MetricKind, Outside, draining_router, metrics_router, recovering_router};
use granary_engine::CollectionProgress;
use granary_engine::disk::{At, Fault, SimulatedDisk};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Client, Server, zip_of};

/// The numbers by series, as their text has them.
type Series = BTreeMap<String, String>;

async fn scrape(client: &Client) -> Series {
    let answer = client.get("/metrics").await.is(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let series = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        (name.to_owned(), value.to_owned())
    });
    series.collect()
}

#[track_caller]
fn value(series: &Series, name: &str) -> u64 {
    let value = series.get(name).unwrap_or_else(|| panic!("no {name} in {series:#?}"));
    value.parse().unwrap()
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_status_with_their_times_and_bytes() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let nobody = server.anonymous();
    let before = scrape(&nobody).await;
    for name in ["a", "b", "c"] {
        dataset.add(name, "twelve bytes").await.is(200);
    }
    dataset.add("a", "taken").await.is(400);
    let sent: usize = [dataset.content("a").await, dataset.content("nothing").await]
        .iter()
        .map(|answer| answer.body.len())
        .sum();
    nobody.get("/v1/datasets/1").await.is(401);
    nobody.get("/v1/who/knows/what").await.is(404);
    nobody.send("PUT", "/v1/datasets/list", "").await.is(405);

    let after = scrape(&nobody).await;
    let count = |action: &str, status: &str| {
        let name = format!("granary_requests_total{{action=\"{action}\",status=\"{status}\"}}");
        value(&after, &name)
    };
    assert_eq!((count("files_add_file", "200"), count("files_add_file", "400")), (3, 1));
    assert_eq!((count("files_get_file", "200"), count("files_get_file", "404")), (1, 1));
    assert_eq!(count("datasets_retrieve", "401"), 1);
    assert_eq!((count("none", "404"), count("none", "405")), (1, 1));
    let of = |name: &str, action: &str| value(&after, &format!("{name}{{action=\"{action}\"}}"));
    assert_eq!(of("granary_request_duration_seconds_count", "files_add_file"), 4);
    let took = &after["granary_request_duration_seconds_sum{action=\"files_add_file\"}"];
    assert!(took.parse::<f64>().unwrap() > 0.0);
    assert!(of("granary_request_body_bytes_total", "files_add_file") >= 36);
    let counted = of("granary_response_body_bytes_total", "files_get_file");
    assert_eq!(usize::try_from(counted).unwrap(), sent);
    // A series that began with the first fault would have no increase then.
    assert_eq!(value(&after, "granary_faults_total"), 0);
    // This very request is the only one under way.
    assert_eq!(value(&after, "granary_requests_in_flight"), 1);

    let grown = |name: &str| value(&after, name) - value(&before, name);
    assert_eq!(grown("granary_duplicate_contents_total"), 2);
    assert_eq!(grown("granary_duplicate_bytes_total"), 24);
    assert_eq!(grown("granary_group_changes_sum"), 3);
    assert!(grown("granary_group_changes_count") <= 3);
    assert!(grown("granary_group_size_bytes_sum") >= 3 * 4096);
    assert_eq!(
        grown("granary_journal_sync_duration_seconds_count"),
        grown("granary_group_changes_count")
    );
    assert_eq!(
        grown("granary_group_apply_duration_seconds_count"),
        grown("granary_group_changes_count")
    );
    assert_eq!(grown("granary_actors_started_total"), 1);
    assert_eq!(value(&after, "granary_actors"), 1);
    assert_eq!(value(&after, "granary_open_snapshots"), 0);
    assert_eq!(value(&after, "granary_condition{condition=\"ready\"}"), 1);
    assert_eq!(value(&after, "granary_condition{condition=\"read-only\"}"), 0);
    assert!(value(&after, "granary_journal_bytes{state=\"live\"}") >= 12);
}

#[tokio::test]
async fn a_broken_actor_and_what_was_reclaimed_are_counted() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let large = "large".repeat(300_000);
    dataset.add("large", &large).await.is(200);
    let broken = server.engine.break_actor(granary_engine::model::DatasetId(dataset.pk)).await;
    assert!(broken.is_err());
    dataset.client.delete(&dataset.path("/files/large")).await.is(200);
    let series = scrape(&server.anonymous()).await;
    assert_eq!(value(&series, "granary_actors_started_total"), 2);
    assert_eq!(value(&series, "granary_actors_restarted_total"), 1);
    let engine = server.engine.clone();
    let collect = move || engine.collect_garbage(&CollectionProgress::default());
    tokio::task::spawn_blocking(collect).await.unwrap().unwrap();
    let series = scrape(&server.anonymous()).await;
    assert!(value(&series, "granary_reclaimed_bytes_total") >= 1_500_000, "{series:#?}");
}

/// Whoever asks for what there is not, in however many ways, makes no series.
#[tokio::test]
async fn no_label_has_what_clients_choose() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let nobody = server.anonymous();
    let ask = async |mark: &str| {
        nobody.send(&format!("BREW{mark}"), "/livez", "").await.is(405);
        nobody.send(&format!("BREW{mark}"), &format!("/{mark}"), "").await.is(404);
        nobody.get(&format!("/v1/{mark}/{mark}")).await.is(404);
        dataset.add(&format!("name-{mark}"), mark).await.is(200);
        dataset.content(&format!("other-{mark}")).await.is(404);
        nobody.with("X-Request-Id", mark).get(&format!("/livez?{mark}={mark}")).await.is(200);
        let text = nobody.get("/metrics").await.is(200).body.to_vec();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains(mark), "{text}");
        text.lines().filter(|line| line.contains('{')).count()
    };
    // What is counted for the first time makes its series.
    ask("sesame0").await;
    let series = ask("sesame1").await;
    for round in 2..20 {
        assert_eq!(ask(&format!("sesame{round}")).await, series);
    }
}

#[tokio::test]
async fn every_metric_is_described_and_shown_and_nothing_else_is() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.client.upload(&dataset.path("/files-multi"), zip_of(&[("a", "a")])).await;
    let answer = server.anonymous().get("/metrics").await.is(200);
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let mut shown = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let of = METRICS.iter().find(|metric| {
            let ends: &[&str] = match metric.kind {
                MetricKind::Histogram => &["_bucket", "_sum", "_count"],
                MetricKind::Counter | MetricKind::Gauge => &[""],
            };
            ends.iter().any(|end| name.strip_suffix(end) == Some(metric.name))
        });
        shown.insert(of.unwrap_or_else(|| panic!("{line} is of no metric")).name);
    }
    // What there is only while, or after, the scrub reads.
    let of_the_scrub = |name: &str| name.starts_with("granary_scrub_");
    for metric in METRICS.iter() {
        let name = metric.name;
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        assert!(shown.contains(name) || of_the_scrub(name), "{name}");
    }
}

#[tokio::test]
async fn who_may_read_metrics_is_a_setting() {
    let server = Server::start_with(|app| app.with_metrics(MetricsAccess::Admin)).await;
    server.anonymous().get("/metrics").await.is(401);
    server.stranger("anna").await.get("/metrics").await.is(403);
    server.admin().await.get("/metrics").await.is(200);
    let elsewhere = MetricsAccess::At("127.0.0.1:1".parse().unwrap());
    for access in [MetricsAccess::Off, elsewhere] {
        let server = Server::start_with(|app| app.with_metrics(access)).await;
        server.admin().await.get("/metrics").await.is(404);
    }
    // Open means open: a token that has worn out keeps nobody from them.
    let server = Server::start().await;
    server.anonymous().with("Authorization", "Bearer worn").get("/metrics").await.is(200);
}

#[tokio::test]
async fn every_answer_has_the_requests_id_which_a_sane_client_may_choose() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    let chosen = nobody.with("X-Request-Id", "proxy-7:a/b=c");
    assert_eq!(chosen.get("/livez").await.is(200).header("x-request-id"), "proxy-7:a/b=c");
    assert_eq!(chosen.get("/nowhere").await.is(404).header("x-request-id"), "proxy-7:a/b=c");
    let mut made = BTreeSet::new();
    for bad in ["", "two words", "<script>", &"x".repeat(129)] {
        let answer = nobody.with("X-Request-Id", bad).get("/livez").await;
        let id = answer.header("x-request-id").to_owned();
        assert!(id.len() == 16 && id.chars().all(|letter| letter.is_ascii_hexdigit()), "{id}");
        assert!(made.insert(id));
    }
}

#[tokio::test]
async fn every_failure_of_the_servers_has_the_id_in_its_body() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let client = dataset.client.with("X-Request-Id", "mine");
    server.engine.shutdown().await;
    let answer = client.patch(&dataset.path(""), &json!({"tags": "t"})).await.json(503);
    assert_eq!(answer["id"], "mine");
    assert_eq!(client.get("/readyz").await.json(503)["id"], "mine");
    let answer = dataset.client.patch(&dataset.path(""), &json!({"tags": "t"})).await;
    let id = answer.header("x-request-id").to_owned();
    assert_eq!(answer.json(503)["id"], Value::from(id));
}

#[tokio::test]
async fn a_server_on_a_nearly_full_disk_says_so_until_there_is_space() {
    let disk = Arc::new(SimulatedDisk::new());
    disk.set_space(1 << 30, 900 << 20);
    let server = Server::on(Arc::clone(&disk)).await;
    let (nobody, dataset) = (server.anonymous(), server.add_dataset("cats").await);
    nobody.get("/readyz").await.is(200);
    disk.set_space(1 << 30, 100 << 20);
    let answer = nobody.get("/readyz").await.json(503);
    assert_eq!(answer["status"], "nearly-full");
    let reason = answer["reason"].as_str().unwrap();
    assert!(reason.contains("104857600 bytes left") && reason.contains("delete data"), "{reason}");
    nobody.get("/livez").await.is(200);
    let series = scrape(&nobody).await;
    assert_eq!(value(&series, "granary_condition{condition=\"nearly-full\"}"), 1);
    assert_eq!(value(&series, "granary_disk_available_bytes"), 100 << 20);
    // A large upload is refused before anything of it reaches the journal, and counts all the same.
    assert_eq!(value(&series, "granary_space_refusals_total"), 0);
    dataset.add("small", "text").await.is(200);
    dataset.add("large", &"large".repeat(500_000)).await.is(507);
    assert_eq!(value(&scrape(&nobody).await, "granary_space_refusals_total"), 1);
    disk.set_space(1 << 30, 900 << 20);
    nobody.get("/readyz").await.is(200);
}

#[tokio::test]
async fn a_server_whose_disk_failed_says_what_failed() {
    let disk = Arc::new(SimulatedDisk::new());
    let server = Server::on(Arc::clone(&disk)).await;
    let dataset = server.add_dataset("cats").await;
    // Or the next sync may be that of a checkpoint, which is due a few seconds after a change.
    server.engine.checkpoint().await.unwrap();
    disk.fail(At::Sync(disk.syncs() + 1), Fault::Io);
    let answer = dataset.add("a", "text").await.json(503);
    assert!(answer["detail"].as_str().unwrap().contains("unknown"), "{answer}");
    let answer = server.anonymous().get("/readyz").await.json(503);
    assert_eq!(answer["status"], "read-only");
    assert!(answer["reason"].as_str().unwrap().contains("the journal failed"), "{answer}");
    dataset.fields().await;
}

#[tokio::test]
async fn a_server_that_is_closed_says_why_and_tells_to_come_back() {
    let server = Server::start().await;
    let app = server.app.clone();
    app.drain();
    let outside = Outside { is_encrypted: true, ..Outside::default() };
    let app = app.with_outside(outside.clone());
    let closed = [("recovering", recovering_router(&outside)), ("draining", draining_router(&app))];
    for (condition, router) in closed {
        let ask = async |path: &str| {
            let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (head, serde_json::from_slice::<Value>(&body).unwrap())
        };
        let head = ask("/livez").await.0;
        assert_eq!(head.status, 200);
        assert!(head.headers.contains_key("strict-transport-security"), "{condition}");
        let (head, body) = ask("/readyz").await;
        assert_eq!((head.status.as_u16(), &body["status"]), (503, &json!(condition)));
        assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
        let (head, body) = ask("/v1/datasets/1").await;
        assert_eq!(
            (head.status.as_u16(), &head.headers["retry-after"]),
            (503, &"1".parse().unwrap())
        );
        assert_eq!(body["id"], head.headers["x-request-id"].to_str().unwrap());
    }
    let request = axum::http::Request::get("/metrics").body(axum::body::Body::empty()).unwrap();
    assert_eq!(metrics_router(&app).oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn administrators_are_told_how_the_server_is() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "text").await.is(200);
    let status = dataset.client.get("/v1/store/status").await.json(200);
    assert_eq!((&status["condition"], &status["quarantined"]), (&json!("ready"), &json!(0)));
    assert_eq!(status["data"], server.directory.path().to_str().unwrap());
    assert!(status["requests"].as_u64().unwrap() >= 3, "{status}");
    assert_eq!(status["requests_in_flight"], 1);
    assert!(status["disk_available_bytes"].as_u64().unwrap() > 0);
}
