//! What administrators ask of the store itself: the check, the scrub, the quarantine; and what
//! users see of a damaged content.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use granary_engine::model::Digest;
use serde_json::{Value, json};

use crate::support::{Client, Server};

const CHECK: &str = "/v1/store/check";
const SCRUB: &str = "/v1/store/scrub";
const QUARANTINE: &str = "/v1/store/quarantine";

/// Flips a byte in the middle of a content, wherever it lies in the data directory.
fn rot(server: &Server, content: &[u8]) {
    for directory in ["journal", "blobs"] {
        for entry in server.directory.path().join(directory).read_dir().unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let start = &content[..64];
            if let Some(at) = bytes.windows(64).position(|window| window == start) {
                let at = at + content.len() / 2;
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.write_all_at(&[bytes[at] ^ 1], u64::try_from(at).unwrap()).unwrap();
                return;
            }
        }
    }
    panic!("the content is nowhere");
}

/// Asks until the answer is what is waited for.
async fn wait(client: &Client, path: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = client.get(path).await.json(200);
        if is_there(&answer) {
            return answer;
        }
        assert!(begun.elapsed().as_secs() < 60, "it never came to that: {answer}");
        tokio::task::yield_now().await;
    }
}

async fn check(client: &Client, is_deep: bool) -> Value {
    let begun = client.post(CHECK, &json!({"deep": is_deep})).await.json(202);
    assert!(["running", "finished"].contains(&begun["state"].as_str().unwrap()), "{begun}");
    let check = wait(client, CHECK, |check| check["state"] != "running").await;
    assert_eq!((&check["state"], &check["number"]), (&json!("finished"), &begun["number"]));
    check["report"].clone()
}

fn content(length: usize) -> String {
    let parts: Vec<String> = (0..length / 8).map(|number| format!("{number:08}")).collect();
    parts.concat()
}

#[tokio::test]
async fn a_sound_store_is_checked_beside_its_users() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let admin = &dataset.client;
    let none = admin.get(CHECK).await.json(200);
    assert_eq!((&none["state"], &none["report"]), (&json!("none"), &Value::Null));
    assert_eq!(admin.delete(CHECK).await.json(200)["state"], "none");
    dataset.add("a", &content(5000)).await.is(200);
    dataset.add("b", &content(5000)).await.is(200);
    for is_deep in [false, true] {
        let report = check(admin, is_deep).await;
        assert_eq!(report["clean"], true, "{report}");
        assert_eq!((&report["files"], &report["contents"]), (&json!(2), &json!(1)));
        assert_eq!(report["bytes_read"], json!(if is_deep { 5000 } else { 0 }));
    }
    // Depth is an answer to yes or no.
    admin.post(CHECK, &json!({"deep": "perhaps"})).await.is(400);
    let scrub = admin.get(SCRUB).await.json(200);
    assert_eq!((&scrub["last"], &scrub["bytes_per_second"]), (&Value::Null, &json!(0)));
    admin.post(SCRUB, &json!({})).await.is(202);
    let scrub = wait(admin, SCRUB, |scrub| scrub["last"] != Value::Null).await;
    assert_eq!((&scrub["last"]["damaged"], &scrub["last"]["contents"]), (&json!(0), &json!(1)));
    assert_eq!(admin.get(QUARANTINE).await.json(200), json!([]));
}

#[tokio::test]
async fn a_damaged_content_is_refused_by_name_listed_and_healed_by_the_same_content() {
    for length in [20_000, (1 << 20) + 8000] {
        let server = Server::start().await;
        let dataset = server.add_dataset("cats").await;
        let admin = &dataset.client;
        let text = content(length);
        dataset.add("a/cat", &text).await.is(200);
        dataset.add("sound", "sound").await.is(200);
        rot(&server, text.as_bytes());
        let handle = Digest::of(text.as_bytes()).to_string();

        let report = check(admin, true).await;
        assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report}");
        let finding = &report["findings"][0];
        assert_eq!((&finding["handle"], &finding["hit_count"]), (&json!(handle), &json!(1)));
        assert_eq!(finding["hits"][0]["filename"], "a/cat");
        let ranged = admin.with("Range", "bytes=0-9");
        for client in [admin, &ranged] {
            let answer = client.get(&dataset.path("/files/a/cat")).await.json(500);
            let detail = answer["detail"].as_str().unwrap();
            assert!(detail.contains(&handle) && detail.contains("heals it"), "{detail}");
            assert_eq!(answer["id"].as_str().unwrap().len(), 16);
        }
        dataset.content("sound").await.is(200);
        let listed = admin.get(QUARANTINE).await.json(200);
        assert_eq!((&listed[0]["handle"], &listed[0]["file_count"]), (&json!(handle), &json!(1)));
        assert_eq!(listed[0]["files"][0]["name"], "cats");

        dataset.add("brought-again", &text).await.is(200);

        assert_eq!(dataset.content("a/cat").await.is(200).body, text);
        assert_eq!(admin.get(QUARANTINE).await.json(200), json!([]));
        assert_eq!(check(admin, true).await["clean"], true);
    }
}

#[tokio::test]
async fn a_read_that_meets_damage_names_the_content_at_once() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let text = content(20_000);
    dataset.add("cat", &text).await.is(200);
    rot(&server, text.as_bytes());
    let detail = dataset.content("cat").await.detail(500);
    assert!(detail.contains(&Digest::of(text.as_bytes()).to_string()), "{detail}");
    assert_eq!(dataset.client.get(QUARANTINE).await.json(200).as_array().unwrap().len(), 1);
}
