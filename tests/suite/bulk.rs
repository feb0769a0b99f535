use serde_json::{Value, json};

use crate::support::{Answer, Dataset, Server};

async fn post(dataset: &Dataset, action: &str, body: &Value) -> Answer {
    dataset.client.post(&dataset.path(action), body).await
}

async fn filled(server: &Server, names: &[&str]) -> Dataset {
    let dataset = server.add_dataset("cats").await;
    for name in names {
        dataset.add(name, &format!("content of {name}")).await.is(200);
    }
    dataset
}

#[tokio::test]
async fn files_are_deleted_by_name_all_or_none() {
    let server = Server::start().await;
    let dataset = filled(&server, &["a", "b", "d/x", "d/y"]).await;
    let one = post(&dataset, "/files-delete", &json!({"names": ["a", "nothing"]})).await;
    assert_eq!(one.detail(404), "Bad name 'nothing': Doesn't exist");
    let two = post(&dataset, "/files-delete", &json!({"names": ["a", "no", "d", "./b"]})).await;
    assert_eq!(two.detail(404), "Bad names './b', 'd', 'no' (3 in all): Don't exist");
    let many: Vec<String> = (0..3000).map(|number| format!("n{number:04}")).collect();
    let many = post(&dataset, "/files-delete", &json!({ "names": many })).await.detail(404);
    assert!(many.starts_with("Bad names 'n0000', 'n0001',"), "{many}");
    assert!(many.ends_with("'n0009' (3000 in all): Don't exist"), "{many}");
    let twice = post(&dataset, "/files-delete", &json!({"names": ["a", "b", "a"]})).await;
    assert_eq!(twice.detail(400), "Bad name 'a': Must be given only once");
    assert_eq!(dataset.names().await, ["a", "b", "d/x", "d/y"]);

    let answer = post(&dataset, "/files-delete", &json!({"names": ["d/x", "a"]})).await;
    assert_eq!(answer.json(200), json!({"count": 2}));
    assert_eq!(dataset.names().await, ["b", "d/y"]);
    let answer = post(&dataset, "/files-delete/", &json!({"names": []})).await;
    assert_eq!(answer.json(200), json!({"count": 0}));
    // The names are free again.
    dataset.add("a", "new").await.is(200);
}

#[tokio::test]
async fn files_are_deleted_by_what_their_names_begin_with() {
    let server = Server::start().await;
    let dataset = filled(&server, &["d", "e/1", "e/2", "e/f/3", "ee", "f"]).await;
    let answer = post(&dataset, "/files-delete", &json!({"prefix": "e/"})).await;
    assert_eq!(answer.json(200), json!({"count": 3}));
    assert_eq!(dataset.names().await, ["d", "ee", "f"]);
    let answer = post(&dataset, "/files-delete", &json!({"prefix": "e/"})).await;
    assert_eq!(answer.json(200), json!({"count": 0}));
}

#[tokio::test]
async fn metadata_of_many_files_is_set_all_or_none() {
    let server = Server::start().await;
    let dataset = filled(&server, &["a", "b", "d/x"]).await;
    dataset.set_metadata("a", "before").await.is(200);
    let body = json!({"metadata": {"a": "after", "nothing": "x"}});
    let answer = post(&dataset, "/metadata-multi", &body).await;
    assert_eq!(answer.detail(404), "Bad name 'nothing': Doesn't exist");
    let body = json!({"metadata": {"a": "after", "b": "x".repeat((1 << 20) + 1)}});
    post(&dataset, "/metadata-multi", &body).await.is(413);
    assert_eq!(dataset.metadata("a").await, "before");

    let body = json!({"metadata": {"a": " after ", "d/x": "é", "b": ""}});
    let answer = post(&dataset, "/metadata-multi", &body).await;
    assert_eq!(answer.json(200), json!({"count": 3}));
    let all = dataset.client.get(&dataset.path("/metadata")).await.json(200);
    assert_eq!(all, json!({"a": " after ", "b": "", "d/x": "é"}));
    let answer = post(&dataset, "/metadata-multi", &json!({"metadata": {}})).await;
    assert_eq!(answer.json(200), json!({"count": 0}));
}

#[tokio::test]
async fn a_file_under_a_new_name_is_the_same_file() {
    let server = Server::start().await;
    let dataset = filled(&server, &["a"]).await;
    dataset.set_metadata("a", "label").await.is(200);
    let listed = async || {
        let path = dataset.path("/files?metadata=true");
        dataset.client.get(&path).await.json(200)
    };
    let mut before = listed().await;
    let renamed = post(&dataset, "/files-rename", &json!({"from": "a", "to": "./d//b"})).await;
    before[0]["filename"] = json!("d/b");
    let handle = &before[0]["handle"];
    assert_eq!(renamed.json(200), json!({"filename": "d/b", "handle": handle}));
    assert_eq!(listed().await, before);
    assert_eq!(dataset.content("d/b").await.is(200).body, "content of a");
    dataset.content("a").await.is(404);
    // The old name is free, and starts anew.
    dataset.add("a", "another").await.is(200);
    assert_eq!(dataset.metadata("a").await, "");
}

#[tokio::test]
async fn a_new_name_is_checked_like_an_uploads() {
    let server = Server::start().await;
    let dataset = filled(&server, &["a", "b", "d/x"]).await;
    let rename = async |from: &str, to: &str| {
        post(&dataset, "/files-rename", &json!({"from": from, "to": to})).await
    };
    for (to, reason) in [
        ("b", "Filename already in use"),
        ("d", "Filename is already a directory prefix"),
        ("b/c", "Directory prefix is already a filename"),
        ("../a", "Cannot extend beyond top-level directory (start with ..)"),
        ("", "Must name a file (nothing is left after normalising)"),
        ("a", "Is the name of this very file"),
        ("nul\0", "Null characters are not allowed"),
    ] {
        let detail = rename("a", to).await.detail(400);
        assert_eq!(detail, format!("Bad name '{to}': {reason}"));
    }
    assert_eq!(rename("c", "e").await.detail(404), "Bad name 'c': Doesn't exist");
    assert_eq!(rename("./a", "e").await.detail(404), "Bad name './a': Doesn't exist");
    assert_eq!(dataset.names().await, ["a", "b", "d/x"]);

    assert_eq!(rename("a", "n/").await.json(200)["filename"], "n/1");
    assert_eq!(rename("b", "n/").await.json(200)["filename"], "n/2");
    assert_eq!(rename("d/x", "d").await.json(200)["filename"], "d");
    assert_eq!(rename("d", "d/y/z").await.json(200)["filename"], "d/y/z");
    assert_eq!(dataset.names().await, ["d/y/z", "n/1", "n/2"]);
}

#[tokio::test]
async fn bodies_that_are_not_exactly_right_are_400_and_change_nothing() {
    let server = Server::start().await;
    let dataset = filled(&server, &["a", "b"]).await;
    for (action, body) in [
        ("/files-delete", json!({})),
        ("/files-delete", json!({"prefix": ""})),
        ("/files-delete", json!({"names": ["a"], "prefix": "b"})),
        ("/files-delete", json!({"names": ["a", null]})),
        ("/files-delete", json!({"names": ["a"], "more": 1})),
        ("/metadata-multi", json!({})),
        ("/metadata-multi", json!({"metadata": {"a": 1}})),
        ("/metadata-multi", json!({"metadata": "x"})),
        ("/files-rename", json!({"from": "a"})),
        ("/files-rename", json!({"from": "a", "to": null})),
        ("/files-rename", json!({"from": "a", "to": "c", "more": 1})),
        ("/files-rename", json!(["a", "c"])),
    ] {
        let detail = post(&dataset, action, &body).await.detail(400);
        assert!(detail.starts_with("Unable to parse JSON: "), "{action} {body}: {detail}");
    }
    assert_eq!(dataset.names().await, ["a", "b"]);
    for action in ["/files-delete", "/metadata-multi", "/files-rename"] {
        dataset.client.get(&dataset.path(action)).await.is(405);
        dataset.client.post(&format!("/v1/datasets/999{action}"), &json!({})).await.is(404);
    }
}
