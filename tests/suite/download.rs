use std::io::{Cursor, Read};

use serde_json::json;

use crate::support::{Answer, Dataset, Server};

fn unzipped(answer: &Answer) -> Vec<(String, String)> {
    let mut archive = zip::ZipArchive::new(Cursor::new(&answer.body)).unwrap();
    let files = (0..archive.len()).map(|index| {
        let mut file = archive.by_index(index).unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        (file.name().unwrap().into_owned(), content)
    });
    files.collect()
}

fn untarred(answer: &Answer) -> Vec<(String, String)> {
    let unzipped = flate2::read::GzDecoder::new(Cursor::new(&answer.body));
    let mut archive = tar::Archive::new(unzipped);
    let files = archive.entries().unwrap().map(|file| {
        let mut file = file.unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        (file.path().unwrap().to_str().unwrap().to_owned(), content)
    });
    files.collect()
}

async fn download(dataset: &Dataset, filetype: &str) -> Answer {
    let body = json!({"filetype": filetype, "params": {}});
    let answer = dataset.client.post(&dataset.path("/download"), &body).await;
    answer.is(200)
}

#[tokio::test]
async fn an_archive_holds_the_files() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let files = [("a", "1"), ("dir/b", ""), ("é", "2")];
    for (name, content) in [("a", "1"), ("dir/b", ""), ("%C3%A9", "2")] {
        dataset.add(name, content).await.is(200);
    }
    let expected = files.map(|(name, content)| (name.to_owned(), content.to_owned()));

    let zip = download(&dataset, "zip").await;
    assert_eq!(zip.header("content-type"), "application/data");
    assert_eq!(zip.header("content-length"), zip.body.len().to_string());
    let disposition = zip.header("content-disposition");
    assert_eq!(disposition, "attachment; filename=\"cats.v1.zip\"");
    assert_eq!(unzipped(&zip), expected);

    let tar = download(&dataset, "tar.gz").await;
    let disposition = tar.header("content-disposition");
    assert_eq!(disposition, "attachment; filename=\"cats.v1.tar.gz\"");
    assert_eq!(untarred(&tar), expected);
}

#[tokio::test]
async fn an_empty_dataset_is_an_empty_archive() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    assert_eq!(unzipped(&download(&dataset, "zip").await), []);
    assert_eq!(untarred(&download(&dataset, "tar.gz").await), []);
    // A zip is what comes if nothing is asked for.
    let answer = dataset.client.send("POST", &dataset.path("/download/"), "").await.is(200);
    assert_eq!(unzipped(&answer), []);
}

#[tokio::test]
async fn a_strange_name_does_not_break_the_header() {
    let server = Server::start().await;
    let dataset = server.add_dataset("a\"b\r\nX-Evil: é").await;
    let answer = download(&dataset, "zip").await;
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"a_b__X-Evil: _.v1.zip\"; \
         filename*=UTF-8''a%22b%0D%0AX-Evil%3A%20%C3%A9.v1.zip"
    );
    assert!(answer.headers.get("x-evil").is_none());
}

#[tokio::test]
async fn bad_requests_get_the_status_that_fits() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let path = dataset.path("/download");
    for (body, status) in [
        (json!({"filetype": "rar"}), 415),
        (json!({"filetype": 1}), 400),
        (json!({"filetype": null}), 400),
        (json!({"params": []}), 400),
        (json!({"params": {"foo": 1}}), 400),
        (json!({"params": {"foo": "bar"}}), 422),
        (json!({"unknown": 1}), 200),
        (json!([1]), 400),
        (json!("x"), 400),
        (json!(null), 400),
    ] {
        dataset.client.post(&path, &body).await.is(status);
    }
    let body = json!({"params": {"foo": "bar"}});
    let detail = dataset.client.post(&path, &body).await.detail(422);
    assert_eq!(detail, "Unknown parameters: foo=bar");
    let client = dataset.client.with("Accept", "application/json");
    client.post(&path, &json!({})).await.is(406);
    let client = dataset.client.with("Accept", "application/json, */*");
    client.post(&path, &json!({})).await.is(200);
}

#[tokio::test]
async fn members_have_the_modes_and_times_that_clients_know() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "content").await.is(200);
    let zip = download(&dataset, "zip").await;
    let mut archive = zip::ZipArchive::new(Cursor::new(&zip.body)).unwrap();
    let member = archive.by_index(0).unwrap();
    assert_eq!(member.compression(), zip::CompressionMethod::Stored);
    assert_eq!(member.unix_mode().unwrap() & 0o777, 0o600);
    // The time when the file was added, in years: no clock of a test is that far behind.
    assert!(member.last_modified().unwrap().year() >= 2024);

    let tar = download(&dataset, "tar.gz").await;
    let unzipped = flate2::read::GzDecoder::new(Cursor::new(&tar.body));
    let mut archive = tar::Archive::new(unzipped);
    let member = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(member.header().mode().unwrap() & 0o777, 0o644);
    assert_eq!(member.header().mtime().unwrap(), 0);
}
