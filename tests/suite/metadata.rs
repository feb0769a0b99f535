use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn metadata_is_empty_at_first_and_kept_exactly() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("dir/a%20b", "1").await.is(200);
    assert_eq!(dataset.metadata("dir/a%20b").await, "");
    for text in ["  {\"label\": \"cat\"}\n ", "", "é 🐈 \\ \"", &"x".repeat(100_000)] {
        let answer = dataset.set_metadata("dir/a%20b", text).await;
        assert_eq!(answer.json(200), json!({"metadata": text}));
        assert_eq!(dataset.metadata("dir/a%20b").await, text);
    }
}

#[tokio::test]
async fn all_metadata_is_a_map_of_all_files() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let all = dataset.path("/metadata");
    assert_eq!(dataset.client.get(&all).await.json(200), json!({}));
    dataset.add("a", "1").await.is(200);
    dataset.add("b", "2").await.is(200);
    dataset.set_metadata("b", "label").await.is(200);
    for path in [all.clone(), format!("{all}/")] {
        let map = dataset.client.get(&path).await.json(200);
        assert_eq!(map, json!({"a": "", "b": "label"}));
    }
    // A file that is added again starts without.
    dataset.client.delete(&dataset.path("/files/b")).await.is(200);
    dataset.add("b", "2").await.is(200);
    let map = dataset.client.get(&all).await.json(200);
    assert_eq!(map, json!({"a": "", "b": ""}));
}

#[tokio::test]
async fn unknown_files_are_404_and_bad_bodies_400() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "1").await.is(200);
    for name in ["b", "./a", "a/", "A"] {
        let detail = dataset.set_metadata(name, "x").await.detail(404);
        assert_eq!(detail, format!("Bad name '{name}': Doesn't exist"));
        let path = dataset.path(&format!("/metadata/{name}"));
        let detail = dataset.client.get(&path).await.detail(404);
        assert_eq!(detail, format!("Bad name '{name}': Doesn't exist"));
    }
    let path = dataset.path("/metadata/a");
    for body in [
        json!({}),
        json!({"metadata": 1}),
        json!({"metadata": null}),
        json!({"metadata": "x", "more": "y"}),
        json!(["x"]),
        json!("x"),
        json!(null),
    ] {
        dataset.client.post(&path, &body).await.is(400);
    }
    assert_eq!(dataset.metadata("a").await, "");
}

#[tokio::test]
async fn metadata_beyond_its_bound_is_413() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "1").await.is(200);
    dataset.set_metadata("a", &"x".repeat((1 << 20) + 1)).await.is(413);
    assert_eq!(dataset.metadata("a").await, "");
}

/// As for files, an empty name is a name that no file has.
#[tokio::test]
async fn metadata_of_no_name_is_that_of_an_unknown_file() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "1").await.is(200);
    let detail = dataset.set_metadata("", "x").await.detail(404);
    assert_eq!(detail, "Bad name '': Doesn't exist");
    for path in [dataset.path("/metadata"), dataset.path("/metadata/")] {
        assert_eq!(dataset.client.get(&path).await.json(200), json!({"a": ""}));
    }
    dataset.client.post(&dataset.path("/metadata"), &json!({"metadata": "x"})).await.is(405);
}
