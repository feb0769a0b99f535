//! Uploads that go on where they stopped, as clients of tus 1.0 make them.

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};
use granary_engine::model::Digest;
use granary_engine::model::PermissionLevel::Write;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::{Answer, Client, Dataset, Server, until};

const PART: &str = "application/offset+octet-stream";

fn metadata(filename: &str) -> String {
    format!("filetype dGV4dA==,filename {},empty", STANDARD.encode(filename))
}

async fn begin(client: &Client, dataset: &Dataset, filename: &str, length: usize) -> Answer {
    let client = client.with("Tus-Resumable", "1.0.0").with("Upload-Length", length.to_string());
    let client = client.with("Upload-Metadata", metadata(filename));
    client.send("POST", &dataset.path("/uploads"), "").await
}

/// Begins an upload; gives where to go on with it.
async fn begun(dataset: &Dataset, filename: &str, length: usize) -> String {
    let answer = begin(&dataset.client, dataset, filename, length).await.is(201);
    assert_eq!(answer.header("tus-resumable"), "1.0.0");
    answer.header("location").to_owned()
}

async fn go_on(client: &Client, upload: &str, offset: usize, body: impl Into<Body>) -> Answer {
    let client = client.with("Tus-Resumable", "1.0.0").with("Content-Type", PART);
    client.with("Upload-Offset", offset.to_string()).send("PATCH", upload, body).await
}

async fn offset(client: &Client, upload: &str) -> String {
    let answer = client.with("Tus-Resumable", "1.0.0").send("HEAD", upload, "").await.is(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.header("upload-offset").to_owned()
}

fn sha256(content: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(content)))
}

/// A body that ends in an error, as when a connection breaks.
fn broken(bytes: &[u8]) -> Body {
    let first = Ok(Bytes::copy_from_slice(bytes));
    Body::from_stream(stream::iter([first, Err(std::io::Error::other("cut"))]))
}

#[tokio::test]
async fn a_file_that_comes_in_parts_is_there_with_the_last_one() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    for (name, length) in [("small.bin", 3000), ("d/large.bin", (1 << 20) + 7)] {
        let content: Vec<u8> = (0..=250u8).cycle().take(length).collect();
        let upload = begun(&dataset, name, length).await;
        assert_eq!(offset(&dataset.client, &upload).await, "0");
        let half = length / 2;
        let first = go_on(&dataset.client, &upload, 0, content[..half].to_vec()).await.is(204);
        assert_eq!(first.header("upload-offset"), half.to_string());
        assert!(first.header("upload-expires").ends_with(" GMT"));
        assert!(!dataset.names().await.contains(&name.to_owned()));
        let shown = dataset.client.get(&upload).await.json(200);
        assert_eq!((&shown["filename"], &shown["length"]), (&json!(name), &json!(length)));
        let last = go_on(&dataset.client, &upload, half, content[half..].to_vec()).await.is(204);
        assert_eq!(last.header("upload-offset"), length.to_string());
        assert_eq!(last.header("etag"), format!("\"{}\"", Digest::of(&content)));
        assert!(dataset.content(name).await.is(200).body == content);
        // Who missed that answer hears of it, and may ask for it again.
        assert_eq!(offset(&dataset.client, &upload).await, length.to_string());
        go_on(&dataset.client, &upload, length, "").await.is(204);
        dataset.client.delete(&upload).await.is(204);
        dataset.client.get(&upload).await.is(404);
    }
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn what_came_of_a_part_that_broke_off_counts() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let upload = begun(&dataset, "a", 10).await;
    go_on(&dataset.client, &upload, 0, broken(b"0123")).await.is(400);
    assert_eq!(offset(&dataset.client, &upload).await, "4");
    for wrong in [0, 3, 5, 10] {
        let text = go_on(&dataset.client, &upload, wrong, "x").await.detail(409);
        assert_eq!(text, format!("Upload-Offset is {wrong}, and the upload goes on at 4."));
    }
    go_on(&dataset.client, &upload, 4, "0123456789").await.is(413);
    assert_eq!(offset(&dataset.client, &upload).await, "4");
    go_on(&dataset.client, &upload, 4, "456789").await.is(204);
    assert_eq!(dataset.content("a").await.body, "0123456789");
}

#[tokio::test]
async fn a_part_with_a_digest_counts_whole_or_not_at_all() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let upload = begun(&dataset, "a", 10).await;
    let client = dataset.client.with("Content-Digest", sha256(b"01234"));
    go_on(&client, &upload, 0, "0123x").await.is(400);
    go_on(&client, &upload, 0, broken(b"0123")).await.is(400);
    assert_eq!(offset(&dataset.client, &upload).await, "0");
    // Nor does the beginning of one that is refused before its end.
    let chunks = ["01234", "56789abc"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let too_long = Body::from_stream(stream::iter(chunks));
    go_on(&client, &upload, 0, too_long).await.is(413);
    assert_eq!(offset(&dataset.client, &upload).await, "0");
    go_on(&client, &upload, 0, "01234").await.is(204);
    go_on(&dataset.client, &upload, 5, "56789").await.is(204);
    assert_eq!(dataset.content("a").await.body, "0123456789");
}

#[tokio::test]
async fn who_is_overtaken_hears_what_of_it_counts() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let checked = dataset.client.with("Content-Digest", sha256(b"01234"));
    for (client, counted, offset_after) in
        [(&dataset.client, "what came with this one", "4"), (&checked, "nothing of this one", "0")]
    {
        let upload = begun(&dataset, "a", 10).await;
        let first = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"0123")) });
        let endless = Body::from_stream(first.chain(stream::pending()));
        let later = async {
            until_kept(&server, &[4]).await;
            offset(&dataset.client, &upload).await
        };
        let (overtaken, offset) = tokio::join!(go_on(client, &upload, 0, endless), later);
        let text = format!("Another request goes on with this upload; {counted} counts.");
        assert_eq!((overtaken.detail(409), offset.as_str()), (text, offset_after));
        dataset.client.delete(&upload).await.is(204);
    }
}

#[tokio::test]
async fn the_whole_must_have_the_digest_that_it_was_announced_with() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let client = dataset.client.with("Repr-Digest", sha256(b"the content"));
    for (name, content, status) in [("good", "the content", 204), ("bad", "the c0ntent", 400)] {
        let answer = begin(&client, &dataset, name, content.len()).await.is(201);
        let upload = answer.header("location").to_owned();
        go_on(&dataset.client, &upload, 0, content).await.is(status);
        dataset.client.get(&upload).await.is(if status == 204 { 200 } else { 404 });
    }
    assert_eq!(dataset.names().await, ["good"]);
}

#[tokio::test]
async fn the_first_part_may_come_with_the_beginning() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let client = dataset.client.with("Content-Type", PART).with("Upload-Length", "4");
    let client = client.with("Upload-Metadata", metadata("a"));
    let answer = client.send("POST", &dataset.path("/uploads"), "01").await.is(201);
    assert_eq!(answer.header("upload-offset"), "2");
    let upload = answer.header("location").to_owned();
    go_on(&dataset.client, &upload, 2, "23").await.is(204);
    assert_eq!(dataset.content("a").await.body, "0123");
    // Of an empty file nothing more will come.
    begin(&dataset.client, &dataset, "empty", 0).await.is(201);
    assert_eq!(dataset.content("empty").await.is(200).body, "");
}

/// Lengths of the files that hold bytes of uploads which go on.
fn kept(server: &Server) -> Vec<u64> {
    let staged = std::fs::read_dir(server.directory.path().join("staging")).unwrap();
    let staged = staged.map(|entry| entry.unwrap().path());
    let data = staged.filter(|path| path.extension().is_some_and(|end| end == "data"));
    data.filter_map(|path| Some(path.metadata().ok()?.len())).collect()
}

async fn until_kept(server: &Server, lengths: &[u64]) {
    let awaited = format!("uploads of {lengths:?} bytes are kept");
    until(&awaited, async || (kept(server) == lengths).then_some(())).await;
}

#[tokio::test]
async fn an_upload_whose_beginning_is_refused_has_not_begun() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let client = dataset.client.with("Content-Type", PART).with("Upload-Length", "8");
    let client = client.with("Upload-Metadata", metadata("a"));
    let path = dataset.path("/uploads");
    let wrong = client.with("Content-Digest", sha256(b"0124"));
    for answer in [
        client.send("POST", &path, "0123456789").await.is(413),
        client.send("POST", &path, broken(b"0123")).await.is(400),
        wrong.send("POST", &path, "0123").await.is(400),
    ] {
        assert_eq!((answer.header("location"), kept(&server)), ("", vec![]));
    }
    // Nor has one whose client goes away in the middle.
    let first = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"0123")) });
    let endless = Body::from_stream(first.chain(stream::pending()));
    let mut request = Box::pin(client.send("POST", &path, endless));
    tokio::select! {
        _ = &mut request => panic!("it does not end"),
        () = until_kept(&server, &[4]) => {}
    }
    drop(request);
    until_kept(&server, &[]).await;
}

#[tokio::test]
async fn what_the_server_can_do_is_told_before_an_upload_begins() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let upload = begun(&dataset, "a", 5).await;
    for path in [dataset.path("/uploads"), dataset.path("/uploads/"), upload.clone()] {
        // Without a login, and whatever version the client speaks.
        let nobody = server.anonymous().with("Tus-Resumable", "0.2.2");
        let answer = nobody.send("OPTIONS", &path, "").await.is(200);
        for (header, value) in [
            ("tus-version", "1.0.0"),
            ("tus-resumable", "1.0.0"),
            ("tus-extension", "creation,creation-with-upload,expiration,termination"),
            ("tus-max-size", "1099511627776"),
        ] {
            assert_eq!(answer.header(header), value, "{path}");
        }
        assert!(answer.header("allow").ends_with("OPTIONS"));
    }
    // Every other answer tells the version too, a refusal no less.
    let refused = server.anonymous().get(&upload).await.is(401);
    assert_eq!(refused.header("tus-resumable"), "1.0.0");
    let elsewhere = server.anonymous().send("OPTIONS", &dataset.path("/files"), "").await;
    assert_eq!(elsewhere.is(200).header("tus-version"), "");
}

#[tokio::test]
async fn clients_without_patch_and_delete_name_them_in_a_header() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let upload = begun(&dataset, "a", 5).await;
    let meaning = |client: &Client, method| client.with("X-HTTP-Method-Override", method);
    let patch = meaning(&dataset.client, "PATCH").with("Content-Type", PART);
    let patch = patch.with("Upload-Offset", "0");
    let answer = patch.send("POST", &upload, "012").await.is(204);
    assert_eq!(answer.header("upload-offset"), "3");
    meaning(&server.anonymous(), "DELETE").send("POST", &upload, "").await.is(401);
    meaning(&dataset.client, "DELETE").send("POST", &upload, "").await.is(204);
    dataset.client.get(&upload).await.is(404);
    // The audit log has what was meant.
    let upload = begun(&dataset, "c", 1).await;
    let patch = meaning(&dataset.client, "PATCH").with("Content-Type", PART);
    patch.with("Upload-Offset", "0").send("POST", &upload, "0").await.is(204);
    let entries = server.admin().await.get("/v1/audit?limit=2").await.json(200)["entries"].take();
    let entries = entries.as_array().unwrap();
    let added = entries.iter().find(|entry| entry["action"] == "files_resume_upload");
    assert_eq!(added.unwrap()["status"], 204, "{entries:?}");
    // Nowhere else: a proxy that lets POST through must not have let DELETE through.
    dataset.add("b", "content").await.is(200);
    let file = dataset.path("/files/b");
    meaning(&dataset.client, "DELETE").send("POST", &file, "x").await.is(400);
    assert_eq!(dataset.content("b").await.body, "content");
}

#[tokio::test]
async fn what_an_owner_said_of_an_upload_is_told_word_for_word() {
    let mut server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let upload = begun(&dataset, "a", 5).await;
    drop(dataset);
    for _ in 0..2 {
        let answer = server.admin().await.send("HEAD", &upload, "").await.is(200);
        assert_eq!(answer.header("upload-metadata"), metadata("a"));
        server = server.restart().await;
    }
}

#[tokio::test]
async fn uploads_that_cannot_become_files_are_refused_at_once() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("taken", "x").await.is(200);
    for name in ["taken", "..", "", "new/"] {
        begin(&dataset.client, &dataset, name, 5).await.is(400);
    }
    begin(&dataset.client, &dataset, "a", (1 << 40) + 1).await.is(413);
    let new = dataset.client.with("If-None-Match", "*");
    begin(&new, &dataset, "taken", 5).await.is(412);
    let old = dataset.client.with("Tus-Resumable", "0.2.2").with("Upload-Length", "5");
    let answer = old.send("POST", &dataset.path("/uploads"), "").await.is(412);
    assert_eq!(answer.header("tus-version"), "1.0.0");
    let path = dataset.path("/uploads");
    let with = |header, value: &str| dataset.client.with(header, value);
    with("Upload-Length", "5").send("POST", &path, "").await.is(400);
    with("Upload-Metadata", &metadata("a")).send("POST", &path, "").await.is(400);
    let long = with("Upload-Metadata", &metadata("a")).with("Upload-Length", "five");
    long.send("POST", &path, "").await.is(400);
    let bad = with("Upload-Metadata", "filename %%").with("Upload-Length", "5");
    bad.send("POST", &path, "").await.is(400);
    let tags = |count| vec![format!("\"{}\"", Digest::of(b"x")); count].join(", ");
    for (header, value) in
        [("If-None-Match", tags(65)), ("Repr-Digest", vec![sha256(b"x"); 65].join(","))]
    {
        begin(&with(header, &value), &dataset, "a", 5).await.is(400);
    }
    begin(&with("If-None-Match", &tags(64)), &dataset, "a", 5).await.is(201);
    let upload = begun(&dataset, "a", 5).await;
    let plain = with("Upload-Offset", "0").with("Content-Type", "application/data");
    plain.send("PATCH", &upload, "x").await.is(415);
    let unplaced = with("Content-Type", PART);
    unplaced.send("PATCH", &upload, "x").await.is(400);
    assert_eq!(dataset.names().await, ["taken"]);
}

#[tokio::test]
async fn conditions_are_looked_at_when_all_has_come() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "one").await.is(200);
    dataset.set_metadata("a", "label").await.is(200);
    let replaces = format!("{},replace {}", metadata("a"), STANDARD.encode("true"));
    let knows_one = dataset.client.with("If-Match", format!("\"{}\"", Digest::of(b"one")));
    let client = knows_one.with("Upload-Metadata", replaces).with("Upload-Length", "5");
    let begin = async || {
        let answer = client.send("POST", &dataset.path("/uploads"), "").await.is(201);
        answer.header("location").to_owned()
    };
    let (first, second) = (begin().await, begin().await);
    go_on(&dataset.client, &first, 0, "first").await.is(204);
    assert_eq!(dataset.content("a").await.body, "first");
    assert_eq!(dataset.metadata("a").await, "");
    go_on(&dataset.client, &second, 0, "later").await.is(412);
    assert_eq!(dataset.content("a").await.body, "first");
    // It is not lost: only its last byte is to be sent again.
    assert_eq!(offset(&dataset.client, &second).await, "4");
}

#[tokio::test]
async fn nobody_but_its_owner_goes_on_with_an_upload() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let (one, other) = (server.member("one", Write).await, server.member("other", Write).await);
    let answer = begin(&one, &dataset, "a", 5).await.is(201);
    let upload = answer.header("location").to_owned();
    for stranger in [&other, &dataset.client] {
        stranger.get(&upload).await.is(404);
        go_on(stranger, &upload, 0, "x").await.is(404);
        stranger.delete(&upload).await.is(404);
    }
    server.stranger("stranger").await.get(&upload).await.is(403);
    server.anonymous().get(&upload).await.is(401);
    // Nor through another dataset.
    let elsewhere = server.add_dataset("dogs").await;
    let id = upload.rsplit('/').next().unwrap();
    one.get(&elsewhere.path(&format!("/uploads/{id}"))).await.is(404);
    go_on(&one, &upload, 0, "01234").await.is(204);
    assert_eq!(dataset.content("a").await.body, "01234");
}

#[tokio::test]
async fn an_upload_goes_on_after_the_server_was_started_again() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let content: Vec<u8> = (0..=250u8).cycle().take((1 << 20) + 99).collect();
    let upload = begun(&dataset, "a", content.len()).await;
    go_on(&dataset.client, &upload, 0, content[..1000].to_vec()).await.is(204);
    drop(dataset);
    let server = server.restart().await;
    let admin = server.admin().await;
    assert_eq!(offset(&admin, &upload).await, "1000");
    go_on(&admin, &upload, 1000, content[1000..].to_vec()).await.is(204);
    let pk = upload.split('/').nth(3).unwrap();
    let path = format!("/v1/datasets/{pk}/files/a");
    assert!(admin.get(&path).await.is(200).body == content);
    assert_eq!(server.engine.check(true).unwrap(), []);
}
