use std::io::{Cursor, Read, Write};
use std::process::{Command, Stdio};

use granary::bootstrap;
use granary_engine::limits::ARCHIVES_WAITING_MAX;
use granary_engine::model::DatasetId;
use granary_engine::{ArchiveFormat, Engine, EngineOptions};
use serde_json::json;

use crate::support::{Answer, Client, Dataset, PASSWORD, Server};

/// A dataset with files of some length, one of them empty, in two directories.
async fn cats(server: &Server) -> Dataset {
    let dataset = server.add_dataset("cats").await;
    let files = [("a.txt", "one ".repeat(3000)), ("dir/b", String::new())];
    for (name, content) in files.iter().map(|(name, content)| (*name, content.as_str())) {
        dataset.add(name, content).await.is(200);
    }
    dataset.add("%C3%A9/%E6%BC%A2", &"two".repeat(5000)).await.is(200);
    dataset
}

async fn ask(client: &Client, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let client =
        headers.iter().fold(client.clone(), |client, (name, value)| client.with(name, *value));
    client.get(path).await
}

#[tokio::test]
async fn any_part_of_a_zip_is_that_of_the_whole() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let path = dataset.path("/archive.zip");
    let whole = dataset.client.get(&path).await.is(200);
    let length = whole.body.len();
    assert_eq!(whole.header("content-type"), "application/zip");
    assert_eq!(whole.header("content-length"), length.to_string());
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.header("content-disposition"), "attachment; filename=\"cats.v1.zip\"");
    let etag = whole.header("etag").to_owned();
    assert!(etag.starts_with('"'), "strong");

    for start in (0..length).step_by(997) {
        let end = (start + 1500).min(length);
        let range = format!("bytes={start}-{}", end - 1);
        let part = ask(&dataset.client, &path, &[("Range", &range), ("If-Range", &etag)]).await;
        let part = part.is(206);
        assert_eq!(part.header("content-range"), format!("bytes {start}-{}/{length}", end - 1));
        assert_eq!(part.header("content-length"), (end - start).to_string());
        assert_eq!(part.header("etag"), etag);
        assert!(part.body == whole.body[start..end]);
    }
    let suffix = ask(&dataset.client, &path, &[("Range", "bytes=-22")]).await.is(206);
    assert_eq!(&suffix.body[..4], b"PK\x05\x06");
    let several = ask(&dataset.client, &path, &[("Range", "bytes=0-0,5-6")]).await.is(200);
    assert!(several.body == whole.body);
    let outside = format!("bytes={length}-");
    let outside = ask(&dataset.client, &path, &[("Range", &outside)]).await.is(416);
    assert_eq!(outside.header("content-range"), format!("bytes */{length}"));

    let post = dataset.client.with("Range", "bytes=100-").with("If-Range", etag);
    let rest = post.post(&dataset.path("/download"), &json!({})).await.is(206);
    assert!(rest.body == whole.body[100..]);
}

/// The tag is the same as long as the files are, and what was begun is never continued with bytes
/// of another state.
#[tokio::test]
async fn a_stale_tag_gets_the_new_archive_or_412_and_never_a_mixture() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let path = dataset.path("/archive.zip");
    let old = dataset.client.get(&path).await.is(200);
    let etag = old.header("etag").to_owned();
    dataset.set_metadata("a.txt", "no part of the archive").await.is(200);
    let unchanged = ask(&dataset.client, &path, &[("If-None-Match", &etag)]).await.is(304);
    assert_eq!((unchanged.header("etag"), unchanged.body.len()), (etag.as_str(), 0));
    assert!(unchanged.headers.get("content-length").is_none());
    ask(&dataset.client, &path, &[("If-Match", &etag)]).await.is(200);
    let tar_gz = dataset.path("/archive.tar.gz");
    let weak = dataset.client.get(&tar_gz).await.is(200).header("etag").to_owned();
    ask(&dataset.client, &tar_gz, &[("If-None-Match", &weak)]).await.is(304);
    // No POST is answered with 304.
    let post = dataset.client.with("If-None-Match", etag.clone());
    post.post(&dataset.path("/download"), &json!({})).await.is(412);

    dataset.add("new", "file").await.is(200);

    ask(&dataset.client, &path, &[("If-None-Match", &etag)]).await.is(200);
    ask(&dataset.client, &path, &[("If-Match", &etag), ("Range", "bytes=9-")]).await.is(412);
    let new = ask(&dataset.client, &path, &[("If-Range", &etag), ("Range", "bytes=9-")]).await;
    let new = new.is(200);
    assert_ne!(new.header("etag"), etag);
    assert!(new.body.len() > old.body.len() && new.body[..9] == old.body[..9]);
    ask(&dataset.client, &tar_gz, &[("If-None-Match", &weak)]).await.is(200);

    dataset.client.delete(&dataset.path("/files/new")).await.is(200);
    let again = dataset.client.get(&path).await.is(200);
    assert_eq!(again.header("etag"), etag, "the same files, the same archive");
    assert!(again.body == old.body);
}

#[tokio::test]
async fn a_head_tells_what_a_get_would_send() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    for (path, accept_ranges) in [
        ("/archive.zip", "bytes"),
        ("/archive.tar.gz/", "none"),
        ("/archive.zip?compression=deflate", "none"),
    ] {
        let path = dataset.path(path);
        let head = dataset.client.send("HEAD", &path, "").await.is(200);
        let get = dataset.client.get(&path).await.is(200);
        assert!(head.body.is_empty() && !get.body.is_empty());
        assert_eq!(head.header("accept-ranges"), accept_ranges);
        for name in ["content-length", "etag", "content-type", "content-disposition"] {
            assert_eq!(head.header(name), get.header(name), "{name}");
        }
        // What HEAD asks of has no bytes, so it is no part of them either.
        let ranged =
            dataset.client.with("Range", "bytes=0-1").send("HEAD", &path, "").await.is(200);
        assert_eq!(ranged.header("content-length"), get.header("content-length"));
    }
}

#[tokio::test]
async fn what_is_compressed_on_its_way_has_no_length_and_no_ranges() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let stored = dataset.client.get(&dataset.path("/archive.zip?compression=store")).await.is(200);
    for path in ["/archive.zip?compression=deflate", "/archive.tar.gz"] {
        let client = dataset.client.with("Range", "bytes=5-");
        let answer = client.get(&dataset.path(path)).await.is(200);
        assert!(answer.headers.get("content-length").is_none());
        assert!(answer.header("etag").starts_with("W/"));
        assert!(answer.body.len() < stored.body.len() / 4, "it is smaller");
    }
    let deflated = dataset.path("/download?compression=deflate");
    let deflated = dataset.client.post(&deflated, &json!({})).await.is(200);
    let mut zip = zip::ZipArchive::new(Cursor::new(&deflated.body)).unwrap();
    let mut content = String::new();
    zip.by_name("a.txt").unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "one ".repeat(3000));
    for path in ["/archive.zip?compression=lzma", "/archive.tar.gz?compression=deflate"] {
        let wrong = dataset.client.get(&dataset.path(path)).await.json(400);
        assert!(wrong["compression"][0].is_string(), "{wrong}");
    }
}

#[tokio::test]
async fn an_archive_is_for_whom_the_download_is_for() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    for path in ["/archive.zip", "/archive.tar.gz"] {
        let path = dataset.path(path);
        server.anonymous().get(&path).await.is(401);
        server.anonymous().send("HEAD", &path, "").await.is(401);
        let json = dataset.client.with("Accept", "application/json");
        json.get(&path).await.is(406);
        dataset.client.post(&path, &json!({})).await.is(405);
    }
    let stranger = server.stranger("stranger").await;
    stranger.get(&dataset.path("/archive.zip")).await.is(403);
    dataset.client.get("/v1/datasets/999/archive.zip").await.is(404);
}

/// Runs a program that reads an archive from a file, if it is there; its output.
fn told_by(program: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // A program that fails early takes less than it is given; its output says why.
    child.stdin.take().unwrap().write_all(input).unwrap_or_default();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program}: {}", text(&output.stderr));
    Some(text(&output.stdout))
}

/// Python, `unzip` and `tar`, where they are installed.
#[tokio::test]
async fn common_programs_read_every_kind_of_archive() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    dataset.add(&"long/".repeat(60), "numbered").await.is(200);
    let directory = tempfile::tempdir().unwrap();
    for path in ["/archive.zip", "/archive.zip?compression=deflate"] {
        let zip = dataset.client.get(&dataset.path(path)).await.is(200).body;
        let file = directory.path().join("archive.zip");
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&file)
            .unwrap()
            .write_all(&zip)
            .unwrap();
        let file = file.to_str().unwrap();
        if let Some(told) = told_by("unzip", &["-tq", file], b"") {
            assert!(told.starts_with("No errors"), "{told}");
        }
        let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); \
                      assert z.testzip() is None; print(sum(i.file_size for i in z.infolist()))";
        if let Some(told) = told_by("python3", &["-c", script, file], b"") {
            assert_eq!(told.trim(), "27008");
        }
    }
    let tar_gz = dataset.client.get(&dataset.path("/archive.tar.gz")).await.is(200).body;
    for mode in ["r|gz", "r:gz"] {
        let script = format!(
            "import io, sys, tarfile; data = sys.stdin.buffer; \
             data = io.BytesIO(data.read()) if '{mode}' == 'r:gz' else data; \
             t = tarfile.open(fileobj=data, mode='{mode}'); \
             print(sum(len(t.extractfile(m).read()) for m in t))"
        );
        if let Some(told) = told_by("python3", &["-c", &script], &tar_gz) {
            assert_eq!(told.trim(), "27008", "{mode}");
        }
    }
    for program in ["tar", "bsdtar"] {
        if let Some(told) = told_by(program, &["-tzf", "-"], &tar_gz) {
            assert_eq!(told.lines().count(), 4, "{told}");
        }
    }
    told_by("gzip", &["-t"], &tar_gz);
}

/// A tar of these files.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Contents that differ from place to place.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
}

#[tokio::test]
async fn a_tar_is_taken_in_whatever_it_is_called() {
    let server = Server::start().await;
    let large = content(6 << 20);
    let long = "directory/".repeat(20) + "file";
    let many: Vec<String> = (0..1100).map(|number| format!("many/{number}")).collect();
    let mut files: Vec<(&str, &[u8])> = vec![("a", b"1"), (&long, b"2"), ("large", &large)];
    files.extend(many.iter().map(|name| (name.as_str(), name.as_bytes())));
    let tar = tar_of(&files);
    for (media_type, body) in [
        ("application/x-tar", tar.clone()),
        ("application/data", gzipped(&tar)),
        ("application/zip", gzipped(&tar)),
    ] {
        let dataset = server.add_dataset(&format!("from {media_type}")).await;
        let client = dataset.client.with("Content-Type", media_type);
        let added = client.send("POST", &dataset.path("/files-multi"), body).await.json(200);
        let added = added.as_array().unwrap();
        assert_eq!(added.len(), files.len());
        assert_eq!(added[2]["filename"], "large");
        assert!(dataset.content("large").await.is(200).body == large);
        assert_eq!(dataset.content("many/1099").await.is(200).body, "many/1099");
        assert_eq!(dataset.content(&long).await.is(200).body, "2");
    }
}

/// The bad part comes last, when the others are stored already.
#[tokio::test]
async fn an_archive_with_anything_bad_in_it_adds_nothing() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("taken", "mine").await.is(200);
    let large = content(5 << 20);
    let tar = |last: &str| tar_of(&[("large", &large), ("b", b"2"), (last, b"3")]);
    let cut = |mut bytes: Vec<u8>, less: usize| {
        bytes.truncate(bytes.len() - less);
        bytes
    };
    let mut bad_gzip = gzipped(&tar("c"));
    let last = bad_gzip.len() - 5;
    bad_gzip[last] ^= 1;
    let mut linked = tar::Builder::new(tar("c")[..(5 << 20) + 512].to_vec());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    linked.append_link(&mut header, "evil", "/etc/passwd").unwrap();
    let zip = |last: &str, content: &str| -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for (name, content) in [("large", large.as_slice()), (last, content.as_bytes())] {
            zip.start_file(name, stored).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let mut bad_crc = zip("c", "a content to be found");
    let at = bad_crc.windows(9).position(|part| part == b"a content").unwrap();
    bad_crc[at] ^= 1;
    for (body, word) in [
        (zip("taken", ""), "taken"),
        (zip("large/below", ""), "directory"),
        (cut(zip("c", ""), 1), "no end record"),
        (bad_crc, "CRC-32"),
        (tar("taken"), "taken"),
        (gzipped(&tar("b/below")), "directory"),
        (tar("large"), "in use"),
        (cut(tar("c"), 1), "cut"),
        (cut(gzipped(&tar("c")), 1), "cut"),
        (bad_gzip, "unpacked"),
        (linked.into_inner().unwrap(), "evil"),
    ] {
        let path = dataset.path("/files-multi");
        let detail = dataset.client.upload(&path, body).await.detail(400);
        assert!(detail.contains(word), "{word}: {detail}");
        assert_eq!(dataset.names().await, ["taken"], "{word}");
    }
    assert_eq!(server.engine.check(true).unwrap(), []);
    dataset.client.upload(&dataset.path("/files-multi"), tar("c")).await.is(200);
    assert_eq!(dataset.names().await, ["b", "c", "large", "taken"]);
}

/// The body breaks off within the second part of the archive.
#[tokio::test]
async fn a_sender_that_goes_away_leaves_nothing() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let large = content(5 << 20);
    let tar = tar_of(&[("one", &large), ("two", &large[1..]), ("three", b"")]);
    for body in [tar[..9 << 20].to_vec(), tar[..100].to_vec(), gzipped(&tar)[..5000].to_vec()] {
        let pieces = [Ok(body), Err(std::io::Error::other("gone"))];
        let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
        dataset.client.upload(&dataset.path("/files-multi"), body).await.is(400);
        assert_eq!(dataset.names().await, [""; 0]);
    }
    dataset.client.upload(&dataset.path("/files-multi"), tar).await.is(200);
    assert_eq!(dataset.names().await, ["one", "three", "two"]);
}

/// What leaves as an archive comes in again, as any of its kinds.
#[tokio::test]
async fn every_kind_of_archive_comes_in_as_it_left() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let names = dataset.names().await;
    for path in ["/archive.zip", "/archive.zip?compression=deflate", "/archive.tar.gz"] {
        let archive = dataset.client.get(&dataset.path(path)).await.is(200).body;
        let copy = server.add_dataset(&format!("copy{}", path.len())).await;
        copy.client.upload(&copy.path("/files-multi"), archive).await.is(200);
        assert_eq!(copy.names().await, names, "{path}");
        assert_eq!(copy.fields().await["files"], dataset.fields().await["files"], "{path}");
    }
}

/// One archive may be built, 64 may wait: of 65 requests that come while one is under way, one is
/// refused at once, and the others are answered when it ends.
#[tokio::test]
async fn archives_take_turns_and_too_many_are_told_to_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let options = EngineOptions { archives_max: 1, ..EngineOptions::default() };
    let engine = Engine::open(directory.path().to_owned(), &options).unwrap();
    bootstrap(&engine, directory.path(), || Ok(Some(PASSWORD.to_owned()))).await.unwrap();
    let server = Server::over(engine, directory);
    let large = server.add_dataset("large").await;
    let tar = tar_of(&[("large", &content(8 << 20))]);
    large.client.upload(&large.path("/files-multi"), tar).await.is(200);
    let small = cats(&server).await;
    let path = small.path("/archive.zip");
    let etag = small.client.get(&path).await.is(200).header("etag").to_owned();

    // More than fits on its way, and nobody takes it.
    let held = server.engine.prepare_archive(DatasetId(large.pk), ArchiveFormat::Zip).await;
    let held = held.unwrap().unwrap().start(None).await.unwrap();
    // What needs no content needs no turn.
    small.client.send("HEAD", &path, "").await.is(200);
    ask(&small.client, &path, &[("If-None-Match", &etag)]).await.is(304);
    let requests = (0..=ARCHIVES_WAITING_MAX).map(|_| Box::pin(small.client.get(&path)));
    let (refused, _, waiting) = futures_util::future::select_all(requests).await;
    let refused = refused.is(503);
    assert_eq!(refused.header("retry-after"), "1");

    // Its reader goes away, and with it everything that it held.
    drop(held);
    for answer in futures_util::future::join_all(waiting).await {
        answer.is(200);
    }
}
