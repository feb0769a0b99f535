use serde_json::{Value, json};

use crate::support::{Answer, Client, Dataset, Server};

/// Where the next page is, if there is one.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    let target = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    Some(target.to_owned())
}

/// The pages from a path on, link by link.
async fn pages(client: &Client, path: String) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut path = Some(path);
    while let Some(here) = path {
        let answer = client.get(&here).await;
        path = next(&answer);
        pages.push(answer.json(200));
    }
    pages
}

fn names(page: &Value) -> Vec<&str> {
    let files = page.as_array().unwrap().iter();
    files.map(|file| file["filename"].as_str().unwrap()).collect()
}

async fn filled(server: &Server, files: &[(&str, &str)]) -> Dataset {
    let dataset = server.add_dataset("cats").await;
    for (raw, content) in files {
        dataset.add(raw, content).await.is(200);
    }
    dataset
}

#[tokio::test]
async fn a_listing_tells_name_handle_size_and_time_in_order_of_name() {
    let server = Server::start().await;
    let dataset =
        filled(&server, &[("b", "22"), ("a/x", "1"), ("Z", ""), ("%C3%A9", "4444")]).await;
    dataset.set_metadata("b", "label").await.is(200);
    let files = dataset.fields().await["files"].clone();
    for path in [dataset.path("/files"), dataset.path("/files/")] {
        let answer = dataset.client.get(&path).await;
        assert_eq!(answer.header("link"), "");
        let listed = answer.json(200);
        assert_eq!(names(&listed), ["Z", "a/x", "b", "é"]);
        for (file, size) in listed.as_array().unwrap().iter().zip([0, 1, 2, 4]) {
            assert_eq!(file["size"], size);
            assert_eq!(file["handle"], files[file["filename"].as_str().unwrap()]);
            assert!(file["creation_time"].as_str().unwrap().ends_with('Z'));
            assert_eq!(file.as_object().unwrap().len(), 4);
        }
    }
    let listed = dataset.client.get(&dataset.path("/files?metadata=true")).await.json(200);
    assert_eq!(listed[2]["metadata"], "label");
    assert_eq!(listed[0]["metadata"], "");
}

#[tokio::test]
async fn links_lead_through_all_files_whatever_they_are_called() {
    let server = Server::start().await;
    let raw =
        ["a%20b", "a%2Bb", "a%26limit=1", "a%23%3F%25", "%C3%A9/%F0%9F%90%88", "%22%3E%3B", "z"];
    let files: Vec<(&str, &str)> = raw.iter().map(|raw| (*raw, "x")).collect();
    let dataset = filled(&server, &files).await;
    let all = dataset.names().await;
    for limit in 1..=8 {
        let path = dataset.path(&format!("/files?metadata=true&limit={limit}"));
        let pages = pages(&dataset.client, path).await;
        assert_eq!(pages.len(), all.len().div_ceil(limit));
        assert_eq!(pages.iter().flat_map(names).collect::<Vec<_>>(), all);
        assert!(
            pages
                .iter()
                .flat_map(|page| page.as_array().unwrap())
                .all(|file| { file["metadata"] == "" })
        );
    }
}

#[tokio::test]
async fn a_prefix_and_a_name_before_narrow_the_listing() {
    let server = Server::start().await;
    let files = ["a", "d/1", "d/2", "d/e/3", "dd", "e"].map(|name| (name, "x"));
    let dataset = filled(&server, &files).await;
    let list = async |query: &str| {
        let path = dataset.path(&format!("/files?{query}"));
        let pages = pages(&dataset.client, path).await;
        pages.iter().flat_map(|page| names(page)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list("prefix=d/").await, ["d/1", "d/2", "d/e/3"]);
    assert_eq!(list("prefix=d%2F&limit=1").await, ["d/1", "d/2", "d/e/3"]);
    assert_eq!(list("prefix=d").await, ["d/1", "d/2", "d/e/3", "dd"]);
    assert_eq!(list("after=d/1").await, ["d/2", "d/e/3", "dd", "e"]);
    assert_eq!(list("after=d/11").await, ["d/2", "d/e/3", "dd", "e"]);
    assert_eq!(list("prefix=d/&after=a").await, ["d/1", "d/2", "d/e/3"]);
    assert_eq!(list("prefix=d/&after=d/2").await, ["d/e/3"]);
    assert_eq!(list("prefix=d/&after=e").await, [""; 0]);
    assert_eq!(list("prefix=nothing").await, [""; 0]);
    assert_eq!(list("after=z").await, [""; 0]);
}

#[tokio::test]
async fn the_last_page_has_no_link_even_when_it_is_full() {
    let server = Server::start().await;
    let dataset = filled(&server, &[("a", "1"), ("b", "2"), ("gone", "3")]).await;
    dataset.client.delete(&dataset.path("/files/gone")).await.is(200);
    let answer = dataset.client.get(&dataset.path("/files?limit=2")).await;
    assert_eq!(next(&answer), None);
    let answer = dataset.client.get(&dataset.path("/files?limit=1")).await;
    assert_eq!(next(&answer), Some(dataset.path("/files?limit=1&after=a")));
    let head = dataset.client.send("HEAD", &dataset.path("/files?limit=1"), "").await.is(200);
    assert_eq!(next(&head), Some(dataset.path("/files?limit=1&after=a")));
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn parameters_that_mean_nothing_are_400_and_say_what_would_be_right() {
    let server = Server::start().await;
    let dataset = filled(&server, &[("a", "1")]).await;
    let limit = json!({"limit": ["Must be a whole number from 1 to 10000."]});
    for wrong in ["0", "10001", "-1", "x", "", "1.0", "99999999999999999999"] {
        for path in ["/files", "/metadata"] {
            let path = dataset.path(&format!("{path}?limit={wrong}"));
            assert_eq!(dataset.client.get(&path).await.json(400), limit, "{path}");
        }
    }
    let answer = dataset.client.get(&dataset.path("/files?metadata=1")).await;
    assert_eq!(answer.json(400), json!({"metadata": ["Must be true or false."]}));
    let answer = dataset.client.get(&dataset.path("/files?after=%FF")).await;
    assert_eq!(answer.json(400), json!({"after": ["Must be valid UTF-8."]}));
    dataset.client.get("/v1/datasets/999/files").await.is(404);
    // The empty name is none for an upload.
    dataset.client.upload(&dataset.path("/files/"), "x").await.is(400);
}

#[tokio::test]
async fn the_map_of_metadata_comes_in_pages_too() {
    let server = Server::start().await;
    let dataset = filled(&server, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    dataset.set_metadata("b", "\"label\"").await.is(200);
    let two = pages(&dataset.client, dataset.path("/metadata?limit=2")).await;
    assert_eq!(two, [json!({"a": "", "b": "\"label\""}), json!({"c": ""})]);
    let some = pages(&dataset.client, dataset.path("/metadata?after=a&limit=1")).await;
    assert_eq!(some, [json!({"b": "\"label\""}), json!({"c": ""})]);
    let none = pages(&dataset.client, dataset.path("/metadata?prefix=x")).await;
    assert_eq!(none, [json!({})]);
    let answer = dataset.client.get(&dataset.path("/metadata")).await;
    assert_eq!(answer.header("link"), "");
    assert_eq!(answer.json(200), json!({"a": "", "b": "\"label\"", "c": ""}));
}
