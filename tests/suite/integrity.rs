//! Digests of what is sent and of what is got, as RFC 9530 has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granary_engine::model::Digest;
use sha2::{Digest as _, Sha256};

use crate::support::{Answer, Dataset, Server, zip_of};

fn sha256(content: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(content)))
}

fn blake3(content: &[u8]) -> String {
    format!("blake3=:{}:", STANDARD.encode(Digest::of(content).as_bytes()))
}

async fn send(dataset: &Dataset, name: &str, header: &'static str, value: &str) -> Answer {
    let client = dataset.client.with(header, value);
    client.upload(&dataset.path(&format!("/files/{name}")), "the content").await
}

#[tokio::test]
async fn a_body_is_stored_only_if_it_has_the_digests_that_it_should_have() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let (right, wrong) = (b"the content", b"another one");
    let mut number = 0;
    for header in ["Content-Digest", "Repr-Digest"] {
        for digest in [sha256, blake3] {
            number += 1;
            send(&dataset, &format!("good/{number}"), header, &digest(right)).await.is(200);
            let text = send(&dataset, "bad", header, &digest(wrong)).await.detail(400);
            assert!(text.starts_with(header), "{text}");
            assert!(text.contains(&digest(wrong)) && text.contains(&digest(right)), "{text}");
            // One that is right does not excuse one that is wrong.
            let both = format!("{}, {}", sha256(right), blake3(wrong));
            send(&dataset, "bad", header, &both).await.is(400);
            let both = format!("{}, {};x=1", sha256(right), blake3(right));
            number += 1;
            send(&dataset, &format!("good/{number}"), header, &both).await.is(200);
        }
    }
    assert_eq!(dataset.names().await.len(), number);
    assert!(dataset.names().await.iter().all(|name| name.starts_with("good/")));
}

#[tokio::test]
async fn what_is_not_known_is_passed_over_and_what_is_misspelled_is_not() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    for (number, value) in
        ["md5=:AAAA:", "unixsum=30637, sha-512=:AA==:", "nonsense", ""].into_iter().enumerate()
    {
        send(&dataset, &format!("good/{number}"), "Content-Digest", value).await.is(200);
    }
    let hex = "5d41402abc4b2a76b9719d911017c592";
    for value in [
        format!("sha-256={hex}"),
        format!("sha-256=:{hex}:"),
        "sha-256".to_owned(),
        "sha-256=:!:".to_owned(),
        format!("md5=:AAAA:, blake3=\"{hex}\""),
    ] {
        let text = send(&dataset, "bad", "Content-Digest", &value).await.detail(400);
        assert!(text.starts_with("Bad Content-Digest header:"), "{value}: {text}");
    }
    assert_eq!(dataset.names().await.len(), 4);
}

#[tokio::test]
async fn forms_and_archives_are_checked_as_the_bodies_that_they_are() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let form = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\nthe content\
                \r\n--b--\r\nan epilogue that nobody reads";
    let multipart = dataset.client.with("Content-Type", "multipart/form-data; boundary=b");
    let path = dataset.path("/files/form");
    for wrong in [sha256(b"the content"), blake3(form.trim_end_matches('s').as_bytes())] {
        multipart.with("Content-Digest", wrong).send("POST", &path, form).await.is(400);
    }
    let right = multipart.with("Content-Digest", sha256(form.as_bytes()));
    right.with("Repr-Digest", blake3(form.as_bytes())).send("POST", &path, form).await.is(200);
    assert_eq!(dataset.content("form").await.body, "the content");

    let archive = zip_of(&[("a", "one"), ("b", "two")]);
    let path = dataset.path("/files-multi");
    let client = dataset.client.with("Content-Digest", sha256(b"x"));
    client.upload(&path, archive.clone()).await.is(400);
    assert_eq!(dataset.names().await, ["form"]);
    let client = dataset.client.with("Content-Digest", blake3(&archive));
    client.upload(&path, archive).await.is(200);
    assert_eq!(dataset.names().await, ["a", "b", "form"]);
}

#[tokio::test]
async fn a_content_is_told_with_the_digest_that_its_reader_likes() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let small = "the content";
    dataset.add("small", small).await.is(200);
    let long = "0123456789abcdef".repeat((1 << 16) + 1);
    dataset.add("long", &long).await.is(200);
    let told = async |name: &str, header: &'static str, wants: &str| {
        let client = dataset.client.with(header, wants);
        let answer = client.get(&dataset.path(&format!("/files/{name}"))).await.is(200);
        let answers = if header == "Want-Repr-Digest" { "repr-digest" } else { "content-digest" };
        answer.header(answers).to_owned()
    };
    let (of_small, of_long) = (small.as_bytes(), long.as_bytes());
    for header in ["Want-Repr-Digest", "Want-Content-Digest"] {
        for (wants, small, long) in [
            ("blake3=5", blake3(of_small), blake3(of_long)),
            ("sha-256=5", sha256(of_small), blake3(of_long)),
            ("sha-256=5, blake3=7", blake3(of_small), blake3(of_long)),
            ("sha-256=7, blake3=5", sha256(of_small), blake3(of_long)),
            ("sha-256=7, blake3=0", sha256(of_small), String::new()),
            ("sha-512=10, sha-256=0", blake3(of_small), blake3(of_long)),
            ("blake3=0", String::new(), String::new()),
        ] {
            assert_eq!(told("small", header, wants).await, small, "{header}: {wants}");
            assert_eq!(told("long", header, wants).await, long, "{header}: {wants}");
        }
    }
    assert_eq!(dataset.content("small").await.header("repr-digest"), "", "nobody asked");
}

#[tokio::test]
async fn a_part_is_told_with_the_digest_of_the_whole_and_with_its_own() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("small", "the content").await.is(200);
    let wants = dataset.client.with("Want-Repr-Digest", "sha-256=1");
    let wants = wants.with("Want-Content-Digest", "sha-256=1");
    let path = dataset.path("/files/small");
    let part = wants.with("Range", "bytes=4-6").get(&path).await.is(206);
    assert_eq!(part.body, "con");
    assert_eq!(part.header("repr-digest"), sha256(b"the content"));
    assert_eq!(part.header("content-digest"), sha256(b"con"));
    let head = wants.send("HEAD", &path, "").await.is(200);
    assert_eq!(head.header("repr-digest"), sha256(b"the content"));
    assert_eq!(head.header("content-digest"), "");
}
