//! A disk that is really full: what grows the store is refused with 507 and a clear text, reads
//! and deletes go on, and space that comes back is enough (I7). No answer is a 500, nothing
//! panics, and a server that is killed while the disk is full starts on the full disk.

use std::fs;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::api::{Answer, Api, Body};
use crate::content::Content;
use crate::server::{Server, faults_in_log};
use crate::small_disk::SmallDisk;
use crate::world::{Kind, archive};

/// Bytes of the files that fill the disk, and of those that get a file of their own.
const SMALL: usize = 300_000;
const LARGE: usize = 3 << 20;

/// Small files in a zip, where rows are what fills the disk.
const FILES_OF_A_ZIP: u64 = 5_000;

/// How long space that was freed may take to come back.
const SPACE_TIME_MAX: Duration = Duration::from_mins(2);

/// Longer than the store goes without a checkpoint after a change.
const CHECKPOINT_TIME: Duration = Duration::from_secs(7);

fn name(number: u64) -> String {
    format!("fill/{number}.bin")
}

fn content(number: u64) -> Content {
    // Of the first ones every tenth gets a file of its own. The last ones are small: they are taken
    // for longer.
    Content::new(number, if number % 10 == 9 && number < 60 { LARGE } else { SMALL })
}

/// Adds files until there is no space for the next one; gives their number.
async fn fill(api: &Api, dataset: u64) -> u64 {
    for number in 0..10_000 {
        let answer = api.upload(dataset, &name(number), content(number).bytes()).await;
        if answer.status == 507 {
            assert!(answer.text().contains("no space left on the disk"), "{}", answer.text());
            return number;
        }
        answer.expect(200);
    }
    panic!("the disk is never full");
}

/// Everything that grows the store is refused as such.
async fn assert_growth_is_refused(api: &Api, dataset: u64) {
    let large = Content::new(1 << 40, LARGE);
    let members: Vec<(String, Content)> = (0..8)
        .map(|number| (format!("in/{number}"), Content::new((1 << 41) + number, SMALL)))
        .collect();
    let mut refused = vec![("an upload", api.upload(dataset, "large", large.bytes()).await)];
    let path = format!("datasets/{dataset}/files-multi");
    for (what, kind) in [("a zip", Kind::Zip), ("a tar", Kind::Tar), ("a tar.gz", Kind::TarGz)] {
        let body = Body::Bytes(archive(kind, &members).into());
        refused.push((what, api.ask(Method::POST, &path, body).await));
    }
    for (what, answer) in refused {
        assert_eq!(answer.status, 507, "{what}: {}", answer.text());
        assert!(answer.text().contains("no space left on the disk"), "{what}: {}", answer.text());
    }
    // What takes hardly any space may still be done, or is refused in the same words.
    let metadata = format!("datasets/{dataset}/metadata/{}", name(0));
    let described = api.post(&metadata, json!({"metadata": "m"})).await;
    assert!(described.status == 200 || described.status == 507, "{}", described.text());
    let copied = api.post(&format!("datasets/{dataset}/copy"), json!({})).await;
    assert!(copied.status == 200 || copied.status == 507, "{}", copied.text());
    if copied.status == 200 {
        // It would keep the bytes that are to be freed.
        let copy = format!("datasets/{}/hard", copied.json()["pk"]);
        api.ask(Method::DELETE, &copy, Body::None).await.expect(200);
    }
}

/// What is there is read as ever, single files, lists and archives.
async fn assert_reads_go_on(api: &Api, dataset: u64, files: impl Iterator<Item = u64>) {
    let mut count = 0;
    for number in files {
        let answer = api.get(&format!("datasets/{dataset}/files/{}", name(number))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.bytes == content(number).bytes(), "{number}");
        count += 1;
    }
    let shown = api.get(&format!("datasets/{dataset}")).await.expect(200);
    assert_eq!(shown["files"].as_object().unwrap().len(), count);
    let zip = api.get(&format!("datasets/{dataset}/archive.zip")).await;
    assert_eq!(zip.status, 200, "{}", zip.text());
    let zip = zip::ZipArchive::new(std::io::Cursor::new(zip.bytes)).unwrap();
    assert_eq!(zip.len(), count);
    let tar = api.get(&format!("datasets/{dataset}/archive.tar.gz")).await;
    assert_eq!(tar.status, 200, "{}", tar.text());
    let tar = flate2::read::GzDecoder::new(&*tar.bytes);
    assert_eq!(tar::Archive::new(tar).entries().unwrap().count(), count);
}

async fn delete(api: &Api, dataset: u64, number: u64) {
    let path = format!("datasets/{dataset}/files/{}", name(number));
    let answer = api.ask(Method::DELETE, &path, Body::None).await;
    assert_eq!(answer.status, 200, "delete {number}: {}", answer.text());
}

/// Uploads until one is taken again.
async fn upload_again(api: &Api, dataset: u64, name: &str, content: &Content) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = api.upload(dataset, name, content.bytes()).await;
        if answer.status != 507 {
            return answer;
        }
        assert!(begun.elapsed() < SPACE_TIME_MAX, "the space does not come back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a file system of its own; run tests/disk.sh"]
async fn a_disk_that_the_server_filled_refuses_growth_and_deleting_is_enough() {
    let disk = SmallDisk::of(128);
    let server = Server::start(disk.work());
    let api = Api::new(&server.url);
    let dataset = api.create_dataset("full").await;
    let filled = fill(&api, dataset).await;
    println!("{filled} files filled the disk");
    assert!(filled > 50, "{filled}");
    assert_growth_is_refused(&api, dataset).await;
    assert_reads_go_on(&api, dataset, 0..filled).await;

    server.kill();
    let server = Server::start(disk.work());
    let api = Api::new(&server.url);
    assert_growth_is_refused(&api, dataset).await;
    assert_reads_go_on(&api, dataset, 0..filled).await;

    let kept = filled / 4;
    for number in kept..filled {
        delete(&api, dataset, number).await;
    }
    for number in 0..filled / 2 {
        let content = Content::new((1 << 42) + number, SMALL);
        let answer = upload_again(&api, dataset, &format!("again/{number}"), &content).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for number in 0..filled / 2 {
        let path = format!("datasets/{dataset}/files/again/{number}");
        let expected = Content::new((1 << 42) + number, SMALL).bytes();
        assert!(api.get(&path).await.bytes == expected, "{path}");
        api.ask(Method::DELETE, &path, Body::None).await.expect(200);
    }
    assert_reads_go_on(&api, dataset, 0..kept).await;
    assert!(server.terminate().success());
    let none: [String; 0] = [];
    assert_eq!(faults_in_log(disk.work()), none);
}

/// Adds zips of small files until there is no space for the next one; gives their number.
async fn fill_with_rows(api: &Api, dataset: u64) -> u64 {
    for zip in 0..1_000u64 {
        let member = |number: u64| {
            let content = Content::new((zip << 32) + number, 40);
            (format!("rows/{zip:03}/{:02}/{number:06}.txt", number / 100), content)
        };
        let members: Vec<(String, Content)> = (0..FILES_OF_A_ZIP).map(member).collect();
        let body = Body::Bytes(archive(Kind::Zip, &members).into());
        let path = format!("datasets/{dataset}/files-multi");
        let answer = api.ask(Method::POST, &path, body).await;
        if answer.status == 507 {
            return zip;
        }
        answer.expect(200);
    }
    panic!("the disk is never full");
}

/// Deletes files, however many were deleted just before.
async fn delete_below(api: &Api, dataset: u64, prefix: &str) {
    let body = json!({"prefix": prefix});
    let deleted = api.post(&format!("datasets/{dataset}/files-delete"), body).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
}

/// What fills the disk is the index, whose pages are written after the changes were answered, and
/// which the background writes again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a file system of its own; run tests/disk.sh"]
async fn a_disk_that_the_index_filled_refuses_growth_and_deleting_is_enough() {
    let disk = SmallDisk::of(160);
    let server = Server::start(disk.work());
    let api = Api::new(&server.url);
    let dataset = api.create_dataset("rows").await;
    let filled = fill_with_rows(&api, dataset).await;
    println!("{filled} zips of {FILES_OF_A_ZIP} files filled the disk");
    assert!(filled > 5, "{filled}");
    api.stays_writable(CHECKPOINT_TIME).await;

    server.kill();
    let server = Server::start(disk.work());
    let api = Api::new(&server.url);
    api.stays_writable(CHECKPOINT_TIME).await;
    for zip in 0..filled {
        delete_below(&api, dataset, &format!("rows/{zip:03}/")).await;
    }
    let begun = Instant::now();
    while api.ready().await.0 != 200 {
        assert!(begun.elapsed() < SPACE_TIME_MAX, "the space does not come back");
    }
    let answer = upload_again(&api, dataset, "again", &Content::new(77, LARGE)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(server.terminate().success());
    let none: [String; 0] = [];
    assert_eq!(faults_in_log(disk.work()), none);
}

/// The other program leaves so little that not even the reserve is there, or nothing at all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a file system of its own; run tests/disk.sh"]
async fn a_disk_that_another_program_filled_refuses_growth_until_it_lets_go() {
    for left in [1 << 20, 64 << 10, 0] {
        let disk = SmallDisk::of(128);
        let server = Server::start(disk.work());
        let api = Api::new(&server.url);
        let dataset = api.create_dataset("full").await;
        for number in 0..30 {
            api.upload(dataset, &name(number), content(number).bytes()).await.expect(200);
        }
        let foreign = disk.fill(left);
        assert_growth_is_refused(&api, dataset).await;
        assert_reads_go_on(&api, dataset, 0..30).await;
        for number in 20..30 {
            delete(&api, dataset, number).await;
        }
        // Checkpoints must find their space.
        api.stays_writable(CHECKPOINT_TIME).await;
        assert_reads_go_on(&api, dataset, 0..20).await;
        fs::remove_file(&foreign).unwrap();
        let answer = upload_again(&api, dataset, "again", &Content::new(77, LARGE)).await;
        assert_eq!(answer.status, 200, "{left} bytes left: {}", answer.text());

        disk.fill(left);
        server.kill();
        let server = Server::start(disk.work());
        let api = Api::new(&server.url);
        let answer = api.get(&format!("datasets/{dataset}/files/again")).await;
        assert!(answer.bytes == Content::new(77, LARGE).bytes());
        assert_growth_is_refused(&api, dataset).await;
        fs::remove_file(&foreign).unwrap();
        let answer = upload_again(&api, dataset, "and again", &Content::new(78, LARGE)).await;
        assert_eq!(answer.status, 200, "{left} bytes left: {}", answer.text());
        assert!(server.terminate().success());
        let none: [String; 0] = [];
        assert_eq!(faults_in_log(disk.work()), none);
        // Told once by each of the two servers, however many were refused: the log may be on the
        // same disk.
        let log = fs::read_to_string(disk.work().join("server.log")).unwrap();
        for words in ["no space left: what grows", "there is space again"] {
            assert_eq!(log.matches(words).count(), 2, "{words}: {log}");
        }
    }
}
