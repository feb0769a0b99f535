use axum::body::Body;
use granary_engine::limits::READ_LEAN_CHUNK_BYTES;
use http_body_util::BodyExt as _;

use crate::support::Server;

const MEBIBYTE: usize = 1 << 20;

/// Each reader that has taken nothing yet keeps its content's first piece, or all of a small content.
#[tokio::test]
async fn files_that_thousands_read_slowly_go_in_short_pieces_and_are_right() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let (small, large) = ("s".repeat(MEBIBYTE), "l".repeat(MEBIBYTE + 5));
    dataset.add("small", &small).await.is(200);
    dataset.add("large", &large).await.is(200);
    let client = &dataset.client;
    let begin = async |name: &str, range: Option<&str>| {
        let client = range.map_or_else(|| client.clone(), |range| client.with("Range", range));
        client.begin("GET", &dataset.path(&format!("/files/{name}")), Body::empty()).await
    };
    // As many as would take half a gigabyte.
    let mut slow = Vec::new();
    for _ in 0..512 {
        slow.push(begin("small", None).await.into_body());
    }
    let mut pieces = Vec::new();
    for body in &mut slow {
        pieces.push(body.frame().await.unwrap().unwrap().into_data().unwrap().len());
    }
    assert!(pieces[0] > READ_LEAN_CHUNK_BYTES, "while there is memory they are as long as ever");
    let short = pieces.iter().filter(|piece| **piece <= READ_LEAN_CHUNK_BYTES).count();
    assert!(short >= 512 - 128, "{short} of 512 are short");

    for (name, content) in [("small", &small), ("large", &large)] {
        let whole = begin(name, None).await.into_body().collect().await.unwrap().to_bytes();
        assert!(whole == content.as_bytes(), "{name}");
        let part = begin(name, Some("bytes=1000-99999")).await;
        assert_eq!(part.status(), 206);
        let part = part.into_body().collect().await.unwrap().to_bytes();
        assert!(part == content.as_bytes()[1000..100_000], "{name}");
    }
    for (body, piece) in slow.into_iter().zip(pieces).step_by(100) {
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), MEBIBYTE - piece);
    }
    // Those that are gone gave their memory back.
    let mut next = begin("small", None).await.into_body();
    let piece = next.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(piece.len() > READ_LEAN_CHUNK_BYTES);
}

/// An answer that fits memory keeps nobody's turn, however slowly it is taken; nor is a change that was
/// made refused for those that do.
#[tokio::test]
async fn answers_that_many_read_slowly_keep_nobody_waiting() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let names = (0..2_000).map(|number| (format!("a rather long name of a file/{number}"), ""));
    let names: Vec<(String, &str)> = names.collect();
    let members: Vec<(&str, &str)> =
        names.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let client = dataset.client.with("Content-Disposition", "attachment; filename=data");
    let archive = crate::support::zip_of(&members);
    client.upload(&dataset.path("/files-multi"), archive).await.is(200);
    let mut slow = Vec::new();
    for _ in 0..200 {
        let answer = dataset.client.begin("GET", &dataset.path(""), Body::empty()).await;
        assert_eq!(answer.status(), 200);
        slow.push(answer.into_body());
    }
    dataset.client.post(&dataset.path("/copy"), &serde_json::json!({})).await.is(200);
    dataset.client.post("/v1/datasets/list", &serde_json::json!({})).await.is(200);
    for body in slow.into_iter().step_by(50) {
        let text = body.collect().await.unwrap().to_bytes();
        let fields: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(fields["files"].as_object().unwrap().len(), 2_000);
    }
}
