//! What takes the space, and what is given back to an administrator who asks for it.

use std::sync::Arc;

use granary_engine::disk::SimulatedDisk;
use serde_json::{Value, json};

use crate::support::{Client, Server, until, zip_of};

const USAGE: &str = "/v1/store/usage";
const GARBAGE: &str = "/v1/store/garbage";
const COLLECTION: &str = "/v1/store/collection";

/// Begins something and asks until it has ended.
async fn carry_out(admin: &Client, path: &str) -> Value {
    let begun = admin.post(path, &json!({})).await.json(202);
    until(path, async || {
        let now = admin.get(path).await.json(200);
        assert_eq!(now["number"], begun["number"]);
        if now["state"] == "running" {
            return None;
        }
        assert_eq!((&now["state"], &now["error"]), (&json!("finished"), &Value::Null), "{now}");
        Some(now["report"].clone())
    })
    .await
}

#[tokio::test]
async fn what_projects_and_datasets_take_is_told_with_what_deduplication_saves() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let admin = &dataset.client;
    let none = admin.get(USAGE).await.json(200);
    assert_eq!((&none["state"], &none["report"]), (&json!("none"), &Value::Null));
    dataset.add("one", &"1".repeat(6000)).await.is(200);
    dataset.add("again", &"1".repeat(6000)).await.is(200);
    dataset.add("other", &"2".repeat(3000)).await.is(200);
    let empty = server.add_project("empty").await;

    let usage = carry_out(admin, USAGE).await;

    assert_eq!((&usage["contents"], &usage["content_bytes"]), (&json!(2), &json!(9000)));
    assert_eq!((&usage["datasets"], &usage["taken"]["files"]), (&json!(1), &json!(3)));
    let project = &usage["projects"][0];
    assert_eq!(
        (&project["name"], &project["project"]),
        (&json!("default"), &json!(server.project))
    );
    let taken = ["file_bytes", "stored_bytes", "alone_bytes"].map(|field| project[field].clone());
    assert_eq!(taken, [json!(15_000), json!(9000), json!(3000)]);
    assert_eq!(
        (&usage["projects"][1]["project"], &usage["projects"][1]["datasets"]),
        (&json!(empty), &json!(0))
    );
    let largest = &usage["largest"][0];
    assert_eq!((&largest["name"], &largest["stored_bytes"]), (&json!("cats"), &json!(9000)));
    assert!(usage["disk_bytes"].as_u64() > usage["index_bytes"].as_u64(), "{usage}");
    // A soft-deleted one takes what it took.
    admin.delete(&dataset.path("")).await.is(204);
    let usage = carry_out(admin, USAGE).await;
    assert_eq!((&usage["largest"][0]["deleted"], &usage["contents"]), (&json!(true), &json!(2)));
    assert_eq!(admin.delete(USAGE).await.json(200)["state"], "finished");
}

#[tokio::test]
async fn a_collection_gives_back_what_was_deleted_for_good() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let admin = &dataset.client;
    dataset.add("large", &"x".repeat((1 << 20) + 1)).await.is(200);
    for number in 0..30 {
        let content = format!("{number:04}").repeat(50_000);
        dataset.add(&number.to_string(), &content).await.is(200);
    }
    dataset.add("stays", "stays").await.is(200);
    admin.delete(&dataset.path("/files/large")).await.is(200);
    for number in 0..30 {
        admin.delete(&dataset.path(&format!("/files/{number}"))).await.is(200);
    }

    let collected = carry_out(admin, COLLECTION).await;

    assert!(collected["freed_bytes"].is_u64(), "{collected}");
    // Of six megabytes in segments of four, some of them in the one that was written.
    let usage = carry_out(admin, USAGE).await;
    assert!(usage["journal_bytes"].as_u64().unwrap() < 1 << 20, "{usage}");
    assert_eq!((&usage["large_bytes"], &usage["contents"]), (&json!(0), &json!(1)));
    let garbage = admin.get(GARBAGE).await.json(200);
    for nothing in ["contents", "layers", "large_files", "empty_segments", "sparse_segments"] {
        assert_eq!(garbage[nothing], 0, "{garbage}");
    }
    assert_eq!(dataset.content("stays").await.is(200).body, "stays");
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_dataset_goes_for_good_where_there_is_no_space_to_list_its_files() {
    let disk = Arc::new(SimulatedDisk::new());
    let server = Server::on(Arc::clone(&disk)).await;
    let dataset = server.add_dataset("cats").await;
    // More than a list may have in memory.
    let names: Vec<String> = (0..600).map(|number| format!("{number:02000}")).collect();
    let members: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    dataset.client.upload(&dataset.path("/files-multi"), zip_of(&members)).await.is(200);
    disk.set_space(1 << 30, 20 << 20);
    dataset.client.get(&dataset.path("")).await.is(507);
    let detail = dataset.client.delete(&dataset.path("/hard")).await.detail(507);
    assert!(detail.ends_with("The change that was asked for is made."), "{detail}");
    dataset.client.get(&dataset.path("")).await.is(404);
}
