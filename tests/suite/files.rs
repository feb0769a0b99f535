use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::{Dataset, Server, bearer, zip_of};

/// Uploads under a raw path and gives the name it got.
async fn added_as(dataset: &Dataset, raw: &str) -> String {
    let answer = dataset.add(raw, "x").await.json(200);
    answer["filename"].as_str().unwrap().to_owned()
}

async fn refused(dataset: &Dataset, raw: &str) -> String {
    dataset.add(raw, "x").await.detail(400)
}

fn part_of_a_form(filename: &str, content: &str) -> String {
    format!(
        "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{filename}\"\r\n\
         Content-Type: image/png\r\n\r\n{content}\r\n"
    )
}

#[tokio::test]
async fn what_was_added_is_read_back() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let added = dataset.add("dir/a.txt", "content").await.json(200);
    let handle = added["handle"].as_str().unwrap();
    assert_eq!(added, json!({"filename": "dir/a.txt", "handle": handle}));
    assert_eq!(handle, blake3::hash(b"content").to_hex().as_str());
    assert_eq!(dataset.fields().await["files"], json!({"dir/a.txt": handle}));
    let answer = dataset.content("dir/a.txt").await.is(200);
    assert_eq!(answer.body, "content");
    assert_eq!(answer.header("content-type"), "application/data");
    assert_eq!(answer.header("content-length"), "7");

    // Equal content, equal handle, over all datasets.
    let other = server.add_dataset("dogs").await;
    assert_eq!(other.add("b", "content").await.json(200)["handle"], handle);
}

#[tokio::test]
async fn empty_large_and_chunked_contents_are_kept() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("empty", "").await.is(200);
    let answer = dataset.content("empty").await.is(200);
    assert_eq!(answer.header("content-length"), "0");
    assert!(answer.body.is_empty());

    let large: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let chunks: Vec<_> = large.chunks(70_000).map(Bytes::copy_from_slice).collect();
    let chunks = stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
    let path = dataset.path("/files/large");
    dataset.client.upload(&path, Body::from_stream(chunks)).await.is(200);
    let answer = dataset.content("large").await.is(200);
    assert_eq!(answer.header("content-length"), large.len().to_string());
    assert!(answer.body == large);
}

#[tokio::test]
async fn names_are_normalised_when_added() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    for (raw, name) in [
        ("a/../b", "b"),
        ("./x", "x"),
        ("d//e", "d/e"),
        ("%2Fabs", "abs"),
        ("/doubly", "doubly"),
        ("sub/", "sub/1"),
        ("sub/", "sub/2"),
        ("100%2525", "100%25"),
        ("space%20plus+", "space plus+"),
        ("%23%3F%25%3B%26%22'%5C", "#?%;&\"'\\"),
        ("%C3%A9/%F0%9F%90%88", "é/🐈"),
        ("query?x=1", "query"),
        ("Case", "Case"),
        ("case", "case"),
    ] {
        assert_eq!(added_as(&dataset, raw).await, name, "{raw}");
    }
    assert_eq!(dataset.content("%23%3F%25%3B%26%22'%5C").await.is(200).body, "x");
    assert_eq!(dataset.content("100%2525").await.is(200).body, "x");
}

#[tokio::test]
async fn names_that_cannot_be_are_refused() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let text = refused(&dataset, "../x").await;
    let beyond = "Cannot extend beyond top-level directory (start with ..)";
    assert_eq!(text, format!("Bad name '../x': {beyond}"));
    for raw in ["..foo", "...", "a/../../b", ".", "x/..", "", "./", "a%00b", "%FF"] {
        let text = refused(&dataset, raw).await;
        assert!(text.starts_with("Bad name '"), "{raw}: {text}");
    }
    assert_eq!(dataset.names().await, [""; 0]);
    // Whoever may not look for a file hears of no name.
    server.anonymous().get(&dataset.path("/files/%FF")).await.is(401);
}

#[tokio::test]
async fn files_and_directories_do_not_share_names() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a.txt", "1").await.is(200);
    dataset.add("dir/b", "2").await.is(200);
    let in_use = "Bad name 'a.txt': Filename already in use";
    assert_eq!(refused(&dataset, "a.txt").await, in_use);
    assert_eq!(dataset.add("a.txt", "1").await.detail(400), in_use);
    let text = refused(&dataset, "dir").await;
    assert_eq!(text, "Bad name 'dir': Filename is already a directory prefix");
    let text = refused(&dataset, "a.txt/below").await;
    assert_eq!(text, "Bad name 'a.txt/below': Directory prefix is already a filename");
    refused(&dataset, "a.txt/").await;
    assert_eq!(added_as(&dataset, "DIR").await, "DIR");
    assert_eq!(dataset.names().await, ["DIR", "a.txt", "dir/b"]);
}

#[tokio::test]
async fn look_ups_are_not_normalised() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("dir/a", "1").await.is(200);
    for raw in ["dir//a", "./dir/a", "/dir/a", "%2Fdir/a", "dir/a/", "dir", "Dir/a", "", "%00"] {
        // Read, the empty name is the list of all.
        dataset.content(raw).await.is(if raw.is_empty() { 200 } else { 404 });
        let path = dataset.path(&format!("/files/{raw}"));
        dataset.client.delete(&path).await.is(404);
    }
    let detail = dataset.content("nothing").await.detail(404);
    assert_eq!(detail, "Bad name 'nothing': Doesn't exist");
}

#[tokio::test]
async fn a_deleted_file_is_gone_and_its_name_free() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let added = dataset.add("dir/a", "1").await.json(200);
    let path = dataset.path("/files/dir/a");
    assert_eq!(dataset.client.delete(&path).await.json(200), added);
    dataset.content("dir/a").await.is(404);
    let detail = dataset.client.delete(&path).await.detail(404);
    assert_eq!(detail, "Bad name 'dir/a': Doesn't exist");
    dataset.add("dir", "2").await.is(200);
    assert_eq!(dataset.names().await, ["dir"]);
}

#[tokio::test]
async fn a_form_with_one_file_is_understood_as_that_file() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let form = dataset.client.with("Content-Type", "multipart/form-data; boundary=X");
    let one = part_of_a_form("ignored.png", "content") + "--X--\r\n";
    form.send("POST", &dataset.path("/files/a"), one).await.is(200);
    assert_eq!(dataset.content("a").await.body, "content");

    let two = part_of_a_form("1", "1") + &part_of_a_form("2", "2") + "--X--\r\n";
    form.send("POST", &dataset.path("/files/b"), two).await.is(400);
    form.send("POST", &dataset.path("/files/b"), "--X--\r\n").await.is(400);
    form.send("POST", &dataset.path("/files/b"), part_of_a_form("1", "cut")).await.is(400);
    assert_eq!(dataset.names().await, ["a"]);
}

#[tokio::test]
async fn a_content_disposition_is_accepted_and_not_used() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let client = dataset.client.with("Content-Disposition", "attachment; filename=other name");
    let added = client.upload(&dataset.path("/files/a"), "1").await.json(200);
    assert_eq!(added["filename"], "a");
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    for path in ["/files/a", "/files-multi"] {
        let broken = std::io::Error::other("the client went away");
        let chunks = [Ok(Bytes::from_static(b"half")), Err(broken)];
        let body = Body::from_stream(stream::iter(chunks));
        dataset.client.upload(&dataset.path(path), body).await.is(400);
    }
    assert_eq!(dataset.names().await, [""; 0]);
    dataset.add("a", "whole").await.is(200);
    assert_eq!(dataset.content("a").await.body, "whole");
}

/// Many clients read the answer only when all is sent, and take a closed connection for a fault.
#[tokio::test]
async fn a_refused_upload_is_read_out_behind_its_answer() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let strangers = server.anonymous().with("Authorization", "Bearer worn");
    for (client, path, status) in [
        (&strangers, dataset.path("/files/a"), 401),
        (&dataset.client, dataset.path("/files/..a"), 400),
        (&dataset.client, "/v1/datasets/999/files/a".to_owned(), 404),
        (&dataset.client, "/v1/nowhere".to_owned(), 404),
    ] {
        // Holds one piece, so the next one goes in only if somebody reads.
        let (sender, receiver) = mpsc::channel::<&str>(1);
        let pieces = stream::unfold(receiver, async |mut receiver| {
            let piece = receiver.recv().await?;
            Some((Ok::<_, std::io::Error>(piece), receiver))
        });
        client.upload(&path, Body::from_stream(pieces)).await.is(status);
        for _ in 0..100 {
            sender.send("more").await.unwrap();
        }
    }
    assert!(dataset.names().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_uploads_of_one_name_at_once_one_succeeds() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let uploads = (0..16).map(|number: u32| {
        let (client, path) = (dataset.client.clone(), dataset.path("/files/a"));
        tokio::spawn(async move { client.upload(&path, number.to_string()).await })
    });
    let mut statuses = Vec::new();
    for upload in uploads.collect::<Vec<_>>() {
        statuses.push(upload.await.unwrap().status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert_eq!(statuses[1..], [400; 15]);
    assert_eq!(dataset.names().await, ["a"]);
}

#[tokio::test]
async fn head_says_what_get_would() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "content").await.is(200);
    let path = dataset.path("/files/a");
    let get = dataset.client.get(&path).await.is(200);
    let head = dataset.client.send("HEAD", &path, "").await.is(200);
    assert!(head.body.is_empty());
    for name in ["content-length", "content-type", "etag", "accept-ranges"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
        assert!(!get.header(name).is_empty(), "{name}");
    }
    dataset.client.send("HEAD", &dataset.path("/files/b"), "").await.is(404);
    // What HEAD asks of has no bytes, so it is no part of them either.
    for range in ["bytes=0-1", "bytes=99-"] {
        let head = dataset.client.with("Range", range).send("HEAD", &path, "").await.is(200);
        assert_eq!(head.header("content-length"), "7");
        assert!(head.headers.get("content-range").is_none());
    }
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "content").await.is(200);
    let etag = dataset.content("a").await.header("etag").to_owned();
    let handle = dataset.fields().await["files"]["a"].clone();
    assert_eq!(etag, format!("\"{}\"", handle.as_str().unwrap()));
    let path = dataset.path("/files/a");
    for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let client = dataset.client.with("If-None-Match", known);
        for method in ["GET", "HEAD"] {
            let answer = client.send(method, &path, "").await.is(304);
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("etag"), etag);
            // It would be that of the content (RFC 9110, section 8.6).
            assert!(answer.headers.get("content-length").is_none());
        }
    }
    let client = dataset.client.with("If-None-Match", "\"x\"");
    assert_eq!(client.get(&path).await.is(200).body, "content");
}

/// Who writes the answer says nothing of a length either.
#[tokio::test]
async fn what_is_not_sent_again_has_no_length_on_the_wire() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "content").await.is(200);
    let etag = dataset.content("a").await.header("etag").to_owned();
    let path = dataset.path("/files/a");
    let authorization = bearer(&server.tokens("admin").await["access"]);
    let address = server.listens().await;
    for method in ["GET", "HEAD"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
             Authorization: {authorization}\r\nIf-None-Match: {etag}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 304 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.contains("content-length"), "{answer}");
        assert!(!answer.contains("transfer-encoding"), "{answer}");
    }
}

#[tokio::test]
async fn a_range_is_that_part() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "0123456789").await.is(200);
    let path = dataset.path("/files/a");
    for (range, body, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
    ] {
        let answer = dataset.client.with("Range", range).get(&path).await.is(206);
        assert_eq!(answer.body, body);
        assert_eq!(answer.header("content-range"), content_range);
        assert_eq!(answer.header("content-length"), body.len().to_string());
    }
    let answer = dataset.client.with("Range", "bytes=10-").get(&path).await.is(416);
    assert_eq!(answer.header("content-range"), "bytes */10");
    for range in ["bytes=0-1,4-5", "lines=1-2", "bytes=5-2"] {
        let answer = dataset.client.with("Range", range).get(&path).await.is(200);
        assert_eq!(answer.body, "0123456789", "{range}");
    }
    // The last bytes of an empty file are all of it, and there is no first one.
    dataset.add("empty", "").await.is(200);
    let empty = dataset.path("/files/empty");
    let answer = dataset.client.with("Range", "bytes=-5").get(&empty).await.is(200);
    assert!(answer.body.is_empty() && answer.headers.get("content-range").is_none());
    for range in ["bytes=-0", "bytes=0-"] {
        let answer = dataset.client.with("Range", range).get(&empty).await.is(416);
        assert_eq!(answer.header("content-range"), "bytes */0", "{range}");
    }

    let etag = &dataset.content("a").await.header("etag").to_owned();
    let ranged = dataset.client.with("Range", "bytes=4-");
    ranged.with("If-Range", etag).get(&path).await.is(206);
    for tags in [etag, "*", &format!("\"older\", {etag}")] {
        ranged.with("If-Match", tags).get(&path).await.is(206);
    }
    for tags in ["\"older\"", &format!("W/{etag}"), "older"] {
        let refused = ranged.with("If-Match", tags).get(&path).await.detail(412);
        assert!(refused.contains("ask without them"), "{refused}");
    }
    let answer = ranged.with("If-Range", "\"older\"").get(&path).await.is(200);
    assert_eq!(answer.body, "0123456789");
}

#[tokio::test]
async fn a_type_is_guessed_only_on_request() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a.html", "<p>").await.is(200);
    dataset.add("strange", "x").await.is(200);
    let answer = dataset.content("a.html").await.is(200);
    assert_eq!(answer.header("content-type"), "application/data");
    let answer = dataset.content("a.html?content_type=guess").await.is(200);
    assert_eq!(answer.header("content-type"), "text/html");
    assert!(answer.header("content-security-policy").contains("sandbox"));
    let answer = dataset.content("strange?content_type=guess").await.is(200);
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    let wrong = dataset.content("a.html?content_type=text/html").await.json(400);
    assert_eq!(wrong, json!({"content_type": ["Must be 'guess'."]}));
}

#[tokio::test]
async fn a_file_is_found_by_its_handle_in_its_dataset_only() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let added = dataset.add("a", "content").await.json(200);
    let handle = added["handle"].as_str().unwrap();
    let path = dataset.path(&format!("/file-handles/{handle}"));
    let answer = dataset.client.get(&path).await.is(200);
    assert_eq!(answer.body, "content");
    assert_eq!(answer.header("content-type"), "application/data");
    server.anonymous().get(&path).await.is(401);

    let other = server.add_dataset("dogs").await;
    other.add("b", "other").await.is(200);
    other.client.get(&other.path(&format!("/file-handles/{handle}"))).await.is(404);
    for bad in [handle.to_uppercase(), "x".to_owned()] {
        let path = dataset.path(&format!("/file-handles/{bad}"));
        dataset.client.get(&path).await.is(404);
    }
}

#[tokio::test]
async fn a_zip_adds_its_files_in_order_without_directories() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let archive = zip_of(&[("z", "1"), ("dir/", ""), ("dir/a", "2"), ("./m", "")]);
    let added = dataset.client.upload(&dataset.path("/files-multi/"), archive).await.json(200);
    let names: Vec<&Value> = added.as_array().unwrap().iter().map(|row| &row["filename"]).collect();
    assert_eq!(names, ["z", "dir/a", "m"]);
    assert_eq!(dataset.names().await, ["dir/a", "m", "z"]);
    assert_eq!(dataset.content("dir/a").await.body, "2");
    let handles = dataset.fields().await["files"].clone();
    assert_eq!(added[1]["handle"], handles["dir/a"]);
}

#[tokio::test]
async fn a_zip_with_one_bad_member_adds_nothing() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("taken", "1").await.is(200);
    let path = dataset.path("/files-multi");
    for members in [
        [("good", "1"), ("taken", "2")],
        [("good", "1"), ("../bad", "2")],
        [("good", "1"), ("taken/below", "2")],
        [("good", "1"), ("good/below", "2")],
        [("good", "1"), ("./good", "2")],
    ] {
        let detail = dataset.client.upload(&path, zip_of(&members)).await.detail(400);
        assert!(detail.starts_with("Bad name '"), "{members:?}: {detail}");
    }
    assert_eq!(dataset.names().await, ["taken"]);
}

#[tokio::test]
async fn what_is_no_zip_is_400_and_adds_nothing() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let path = dataset.path("/files-multi");
    let good = zip_of(&[("a", "content"), ("b", "more")]);
    let mut rotten = good.clone();
    let at = good.windows(7).position(|bytes| bytes == b"content");
    // Stored or deflated, a changed byte breaks the content or its checksum.
    rotten[at.unwrap_or(40)] ^= 1;
    for bad in [Vec::new(), b"no zip".to_vec(), good[..good.len() / 2].to_vec(), rotten] {
        dataset.client.upload(&path, bad).await.is(400);
    }
    assert_eq!(dataset.names().await, [""; 0]);
}

/// A zip with a member of each method: stored, deflated, bzip2 and lzma.
const METHODS: &str = "UEsDBBQAAAAAAAAAIVx9tohQQAAAAEAAAAAGAAAAc3RvcmVkY29udGVudCBjb250ZW50IGNvbnRl\
bnQgY29udGVudCBjb250ZW50IGNvbnRlbnQgY29udGVudCBjb250ZW50IFBLAwQUAAAACAAAACFcfbaIUA0AAABAAAAACAAA\
AGRlZmxhdGVkS87PK0nNK1FIJpMGAFBLAwQuAAAADAAAACFcfbaIUDEAAABAAAAABQAAAGJ6aXAyQlpoOTFBWSZTWbBJd70A\
AAeRgEAACgGEACAAMMACqBpBYsaIOEDxdyRThQkLBJd70FBLAwQ/AAIADgAAACFcfbaIUB0AAABAAAAABAAAAGx6bWEJBAUA\
XQAAgAAAMZvKGdrtpPLvhWrIUf///NUAAFBLAQIUAxQAAAAAAAAAIVx9tohQQAAAAEAAAAAGAAAAAAAAAAAAAACAAQAAAABz\
dG9yZWRQSwECFAMUAAAACAAAACFcfbaIUA0AAABAAAAACAAAAAAAAAAAAAAAgAFkAAAAZGVmbGF0ZWRQSwECLgMuAAAADAAA\
ACFcfbaIUDEAAABAAAAABQAAAAAAAAAAAAAAgAGXAAAAYnppcDJQSwECPwM/AAIADgAAACFcfbaIUB0AAABAAAAABAAAAAAA\
AAAAAAAAgAHrAAAAbHptYVBLBQYAAAAABAAEAM8AAAAqAQAAAAA=";

#[tokio::test]
async fn members_of_every_method_are_unpacked() {
    use base64::Engine as _;

    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let archive = base64::engine::general_purpose::STANDARD.decode(METHODS).unwrap();
    dataset.client.upload(&dataset.path("/files-multi"), archive).await.is(200);
    assert_eq!(dataset.names().await, ["bzip2", "deflated", "lzma", "stored"]);
    for name in dataset.names().await {
        assert_eq!(dataset.content(&name).await.is(200).body, "content ".repeat(8), "{name}");
    }
}

#[tokio::test]
async fn names_that_the_server_lengthens_are_never_too_long_to_be_asked_for() {
    let server = Server::start().await;
    let (cats, dogs) = (server.add_dataset("cats").await, server.add_dataset("dogs").await);
    let longest = format!("{}.png", "x".repeat(4092));
    for (dataset, content) in [(&cats, "a cat"), (&dogs, "a dog")] {
        dataset.add(&longest, content).await.is(200);
    }
    let merge = cats.path(&format!("/merge/{}", dogs.pk));
    cats.client.post(&merge, &json!({"delete": false})).await.is(200);
    let other = format!("{}-0001.png", "x".repeat(4087));
    assert_eq!(cats.content(&other).await.is(200).body, "a dog");
    cats.client.delete(&cats.path(&format!("/files/{other}"))).await.is(200);
    assert_eq!(cats.names().await, [longest]);

    let directory = "d".repeat(4076);
    let refused = cats.add(&format!("{directory}/"), "").await.json(400).to_string();
    assert!(refused.contains("at most 4075 bytes long where a number"), "{refused}");
    cats.add(&format!("{}/", &directory[1..]), "").await.is(200);
    let number = cats.path(&format!("/files/{}/1", &directory[1..]));
    cats.client.delete(&number).await.is(200);
}

/// Clients that resume by themselves send the rest of a file so; kept as the whole it would be a loss.
#[tokio::test]
async fn a_part_of_a_file_is_not_taken_for_the_whole() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "the whole").await.is(200);
    let client = dataset.client.with("Content-Range", "bytes 4-8/9");
    let path = dataset.path("/files/a?replace=true");
    let detail = client.send("PUT", &path, "whole").await.detail(400);
    assert!(detail.contains("/uploads"), "{detail}");
    client.upload(&dataset.path("/files/b"), "whole").await.is(400);
    assert_eq!(dataset.content("a").await.is(200).body, "the whole");
    assert_eq!(dataset.names().await, ["a"]);
}
