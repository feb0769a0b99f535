//! JSON that would take a server down, or all of its memory, from anybody who can reach it.

use crate::support::Server;

const OBTAIN: &str = "/v1/auth/obtain";

/// Arrays as deep as a parser goes, around an object that names JSON within a text, and so on within that text.
/// A parser that takes that name for its own begins anew at each, until no stack is left.
fn texts_within_texts(levels: usize) -> String {
    let mut text = "1".to_owned();
    for _ in 0..levels {
        // Escapes that do not double from level to level.
        let within = text.replace('\\', r"\u005c").replace('"', r"\u0022");
        let (open, close) = ("[".repeat(120), "]".repeat(120));
        text = format!(r#"{open}{{"$serde_json::private::RawValue":"{within}"}}{close}"#);
    }
    text
}

#[tokio::test]
async fn texts_within_texts_are_texts() {
    let server = Server::start().await;
    let anonymous = server.anonymous().with("Content-Type", "application/json");
    let body = texts_within_texts(200);
    assert!(body.len() < 16 << 20);
    let refused = anonymous.send("POST", OBTAIN, body).await.json(400).to_string();
    assert!(refused.contains("Expected a dictionary"), "{refused}");
    server.anonymous().get("/livez").await.is(200);
}

#[tokio::test]
async fn a_body_is_no_heavier_in_memory_than_it_may_be() {
    let server = Server::start().await;
    let anonymous = server.anonymous().with("Content-Type", "application/json");
    // A map of one entry takes 600 bytes, and its text five.
    let chain = format!("{}1{}", r#"{"":"#.repeat(120), "}".repeat(120));
    let body = format!("[{}]", vec![chain; 20_000].join(","));
    assert!(body.len() < 16 << 20);
    let detail = anonymous.send("POST", OBTAIN, body).await.detail(413);
    assert!(detail.contains("bytes of memory"), "{detail}");
}
