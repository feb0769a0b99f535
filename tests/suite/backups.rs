//! Backups under way: what a server gives, to whom, and until when.

use granary_engine::model::Digest;
use serde_json::json;

use crate::support::Server;

/// What a content looks like on its way: length, bytes, and a zero at its end.
fn framed(content: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    if !content.is_empty() {
        frames.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        frames.extend(content);
    }
    frames.extend([0; 4]);
    frames
}

#[tokio::test]
async fn a_backup_gives_its_state_and_contents_that_are_gone_since() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "the content").await.is(200);
    dataset.add("empty", "").await.is(200);
    let admin = server.admin().await;
    let backup = admin.post("/v1/backups/create", &json!({})).await.json(201);
    assert_eq!((&backup["contents"], &backup["content_bytes"]), (&json!(2), &json!(11)));
    let path = |rest: &str| format!("/v1/backups/{}{rest}", backup["pk"]);

    let state = admin.get(&path("/state")).await.is(200);
    assert_eq!(state.header("content-type"), "application/octet-stream");
    assert_eq!(json!(state.body.len()), backup["state_bytes"]);
    assert!(state.body.starts_with(b"granstat"));
    let rest = admin.get(&path("/state?from=100")).await.is(200);
    assert_eq!(rest.body, state.body[100..]);
    let end = admin.get(&path(&format!("/state?from={}", state.body.len()))).await.is(200);
    assert!(end.body.is_empty());
    admin.get(&path(&format!("/state?from={}", state.body.len() + 1))).await.is(400);

    let pk = dataset.pk;
    admin.delete(&format!("/v1/datasets/{pk}/hard")).await.is(200);
    for _ in 0..8 {
        server.engine.checkpoint().await.unwrap();
    }
    let handles = [b"the content".as_slice(), b""].map(|content| Digest::of(content).to_string());
    let contents = admin.post(&path("/contents"), &json!({"handles": handles})).await.is(200);
    assert_eq!(contents.body, [framed(b"the content"), framed(b"")].concat());

    admin.delete(&path("")).await.is(204);
    for answer in [
        admin.delete(&path("")).await,
        admin.get(&path("/state")).await,
        admin.post(&path("/contents"), &json!({"handles": handles})).await,
    ] {
        assert_eq!(answer.detail(404), "No Backup matches the given query.");
    }
}

#[tokio::test]
async fn a_content_that_is_not_there_is_told_in_its_place() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "x").await.is(200);
    let admin = server.admin().await;
    let backup = admin.post("/v1/backups/create", &json!({})).await.json(201);
    let path = format!("/v1/backups/{}/contents", backup["pk"]);
    let handles = [Digest::of(b"never"), Digest::of(b"x")].map(|digest| digest.to_string());
    let contents = admin.post(&path, &json!({"handles": handles})).await.is(200);
    assert!(contents.body.starts_with(&[255; 4]));
    assert!(contents.body.ends_with(&framed(b"x")));

    let many = vec![handles[1].as_str(); 1025];
    for (wrong, reason) in [
        (json!({}), "'handles' is expected"),
        (json!({"handles": "x"}), "must be an array"),
        (json!({"handles": [1]}), "must be a string"),
        (json!({"handles": ["x"]}), "is not a digest"),
        (json!({"handles": [], "more": 1}), "unknown key 'more'"),
        (json!({ "handles": many }), "1024 contents at most"),
    ] {
        let detail = admin.post(&path, &wrong).await.detail(400);
        assert!(detail.contains(reason), "{detail}");
    }
}

#[tokio::test]
async fn a_few_backups_are_kept_and_the_one_used_longest_ago_goes() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let mut paths = Vec::new();
    for _ in 0..4 {
        let backup = admin.post("/v1/backups/create", &json!({})).await.json(201);
        paths.push(format!("/v1/backups/{}/state", backup["pk"]));
    }
    admin.get(&paths[0]).await.is(200);
    admin.post("/v1/backups/create", &json!({})).await.is(201);
    admin.get(&paths[1]).await.is(404);
    for kept in [&paths[0], &paths[2], &paths[3]] {
        admin.get(kept).await.is(200);
    }
}
