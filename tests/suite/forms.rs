//! Multipart forms that never come to an end, or to a part: refused after some of it, whoever sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use futures_util::{StreamExt as _, stream};

use crate::support::{Client, Server};

const FORM: &str = "multipart/form-data; boundary=X";

/// Bytes of each piece.
const PIECE: usize = 16 << 10;

/// A body that begins so and goes on with the same piece for ever; and how many pieces were read.
fn endless(start: &str, piece: String) -> (Arc<AtomicUsize>, Body) {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let pieces = stream::unfold(Some(start.to_owned()), move |start| {
        counted.fetch_add(1, Ordering::Relaxed);
        let piece = start.unwrap_or_else(|| piece.clone());
        async move {
            // As a connection does: others come to run meanwhile.
            tokio::task::yield_now().await;
            Some((Ok::<_, std::io::Error>(piece), None))
        }
    });
    (read, Body::from_stream(pieces))
}

fn piece_of(text: &str) -> String {
    text.repeat(PIECE / text.len())
}

#[tokio::test]
async fn what_is_no_content_is_bounded_for_everybody() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let text = "Content-Disposition: form-data; name=\"a\"\r\n\r\n";
    let stories = [
        ("no part begins", String::new(), piece_of("x")),
        ("a part's head has no end", "--X\r\n".to_owned(), piece_of("A: b\r\n")),
        ("empty texts", String::new(), piece_of(&format!("--X\r\n{text}\r\n"))),
        ("one text", format!("--X\r\n{text}"), piece_of("x")),
    ];
    let (obtain, upload) = ("/v1/auth/obtain", dataset.path("/files/a"));
    let archive = dataset.path("/files-multi");
    for (story, start, piece) in stories {
        let anonymous = server.anonymous();
        let requests = [
            (&anonymous, obtain),
            (&dataset.client, upload.as_str()),
            (&dataset.client, archive.as_str()),
        ];
        for (client, path) in requests {
            let (read, body) = endless(&start, piece.clone());
            let detail =
                client.with("Content-Type", FORM).send("POST", path, body).await.detail(413);
            assert!(detail.contains("bytes"), "{story}: {detail}");
            // What the handler leaves unread is read out for a while, and kept nowhere.
            assert!(read.load(Ordering::Relaxed) > 2, "{story} {path}");
        }
    }
    assert!(dataset.names().await.is_empty());
}

/// What waits for more is memory, as often as there are connections.
#[tokio::test]
async fn a_form_of_texts_is_refused_before_it_is_as_long_as_one_with_a_file() {
    let server = Server::start().await;
    let pieces = vec![piece_of("x"); 7].into_iter().map(Ok::<_, std::io::Error>);
    let body = Body::from_stream(stream::iter(pieces).chain(stream::pending()));
    let anonymous = server.anonymous().with("Content-Type", FORM);
    let detail = anonymous.send("POST", "/v1/auth/obtain", body).await.detail(413);
    assert!(detail.contains("81920 bytes"), "{detail}");
}

#[tokio::test]
async fn a_form_has_a_thousand_fields_at_most() {
    let server = Server::start().await;
    let part = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n";
    for fields in [1_000, 1_001] {
        let forms = [
            ("application/x-www-form-urlencoded", "a=&".repeat(fields)),
            (FORM, format!("{}--X--\r\n", part.repeat(fields))),
        ];
        for (kind, form) in forms {
            let anonymous = server.anonymous().with("Content-Type", kind);
            let answer = anonymous.send("POST", "/v1/auth/obtain", form).await.json(400);
            let detail = answer["detail"].as_str().unwrap_or_default();
            assert_eq!(detail.contains("1000 fields"), fields > 1_000, "{kind}: {answer}");
        }
    }
}

async fn upload(client: &Client, path: &str, pieces: Vec<String>) {
    let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
    let body = Body::from_stream(stream::iter(pieces));
    client.with("Content-Type", FORM).send("POST", path, body).await.is(200);
}

/// Its beginning comes with its head, and with texts before that.
#[tokio::test]
async fn a_form_that_comes_in_one_piece_is_a_form() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let content = piece_of("0123456789abcdef").repeat(40);
    let text = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nsome text\r\n";
    let head = "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n";
    let pieces = vec![format!("{text}{head}{content}"), "\r\n--X--\r\n".to_owned()];
    upload(&dataset.client, &dataset.path("/files/a"), pieces).await;
    assert_eq!(dataset.content("a").await.is(200).body, content);
}

#[tokio::test]
async fn a_files_content_may_be_as_long_as_it_is() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let head = "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n";
    let text = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nsome text\r\n";
    let mut pieces = vec![text.to_owned(), head.to_owned()];
    pieces.extend(std::iter::repeat_n(piece_of("0123456789abcdef"), 200));
    pieces.push(format!("\r\n{text}--X--\r\n"));
    upload(&dataset.client, &dataset.path("/files/a"), pieces).await;
    let content = dataset.content("a").await.is(200).body.clone();
    assert_eq!(content.len(), 200 * PIECE);
    assert!(content.ends_with(b"0123456789abcdef"));
}
