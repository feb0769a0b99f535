use axum::body::Body;
use futures_util::stream;
use granary_engine::model::PermissionLevel::Read;
use serde_json::{Value, json};

use crate::support::Server;

const FORM: &str = "application/x-www-form-urlencoded";

fn pks(list: &Value) -> Vec<u64> {
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| row["pk"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn create_answers_with_every_field() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let mut body = server.dataset_body("  cats ");
    body["pk"] = json!(77);
    body["version"] = json!(9);
    let fields = admin.post("/v1/datasets/create", &body).await.json(201);
    let created = fields["creation_time"].as_str().unwrap();
    assert_eq!(created.len(), "2026-11-23T06:52:39.097827Z".len());
    assert!(created.ends_with('Z'), "{created}");
    let expected = json!({
        "pk": 1, "name": "cats", "version": 1, "previous_version": -1, "description": "",
        "project": server.project, "licence": 1, "is_public": false, "domain": null, "tags": "",
        "creator": 1, "creation_time": created, "deletion_time": null, "files": {},
    });
    assert_eq!(fields, expected);
    for path in ["/v1/datasets/1", "/v1/datasets/1/", "/v1/datasets/01"] {
        assert_eq!(admin.get(path).await.json(200), expected);
    }
}

#[tokio::test]
async fn wrong_fields_are_told_all_at_once() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let body = json!({
        "name": "x".repeat(201), "description": "a\u{0}b", "project": 999, "licence": "one",
        "tags": ["a"], "is_public": "maybe",
    });
    let expected = json!({
        "name": ["Ensure this field has no more than 200 characters."],
        "description": ["Null characters are not allowed."],
        "project": ["Invalid pk \"999\" - object does not exist."],
        "licence": ["Incorrect type. Expected pk value, received str."],
        "tags": ["Not a valid string."],
        "is_public": ["Must be a valid boolean."],
    });
    assert_eq!(admin.post("/v1/datasets/create", &body).await.json(400), expected);
    // The body comes first, whoever sends it.
    let nobody = server.anonymous();
    assert_eq!(nobody.post("/v1/datasets/create", &body).await.json(400), expected);

    let required = json!(["This field is required."]);
    let expected =
        json!({"name": required, "project": required, "licence": required, "tags": required});
    assert_eq!(admin.post("/v1/datasets/create", &json!({})).await.json(400), expected);
    let mut body = server.dataset_body(" ");
    body["licence"] = json!(null);
    let expected = json!({
        "name": ["This field may not be blank."],
        "licence": ["This field may not be null."],
    });
    assert_eq!(admin.post("/v1/datasets/create", &body).await.json(400), expected);
}

/// Forms have nothing but texts.
#[tokio::test]
async fn primary_keys_that_are_texts_are_read_as_the_original_does() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let form = admin.with("Content-Type", FORM);
    for (licence, told) in [
        ("", "This field may not be null."),
        ("-1", "Invalid pk \"-1\" - object does not exist."),
        ("one", "Incorrect type. Expected pk value, received str."),
    ] {
        let encoded = format!("name=cats&project={}&tags=&licence={licence}", server.project);
        let mut body = server.dataset_body("cats");
        body["licence"] = json!(licence);
        let expected = json!({"licence": [told]});
        for refused in [
            form.send("POST", "/v1/datasets/create", encoded).await,
            admin.post("/v1/datasets/create", &body).await,
        ] {
            assert_eq!(refused.json(400), expected, "{licence:?}");
        }
    }
    let body = format!("name=cats&project=+{}+&tags=&licence=+2+", server.project);
    let made = form.send("POST", "/v1/datasets/create", body).await.json(201);
    assert_eq!((&made["project"], &made["licence"]), (&json!(server.project), &json!(2)));
}

#[tokio::test]
async fn bodies_of_the_wrong_kind_are_refused_by_kind() {
    let server = Server::start().await;
    let admin = server.admin().await;
    for (body, text) in [
        (json!([1]), "Invalid data. Expected a dictionary, but got list."),
        (json!("x"), "Invalid data. Expected a dictionary, but got str."),
        (json!(null), "No data provided"),
    ] {
        let answer = admin.post("/v1/datasets/create", &body).await;
        assert_eq!(answer.json(400), json!({"non_field_errors": [text]}));
    }
}

#[tokio::test]
async fn a_form_makes_a_dataset_too() {
    let server = Server::start().await;
    let project = server.project;
    let form = server.admin().await.with("Content-Type", FORM);
    let body = format!("name=a+b&project={project}&licence=2&tags=&is_public=true");
    let fields = form.send("POST", "/v1/datasets/create", body).await.json(201);
    assert_eq!(fields["name"], "a b");
    assert_eq!(fields["licence"], 2);
    assert_eq!(fields["is_public"], true);

    let form = server.admin().await.with("Content-Type", "multipart/form-data; boundary=X");
    let part = |name: &str, value: &str| {
        format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = [
        part("name", "c"),
        part("project", &project.to_string()),
        part("licence", "1"),
        part("tags", "t"),
        "--X--\r\n".to_owned(),
    ];
    let fields = form.send("POST", "/v1/datasets/create/", body.concat()).await.json(201);
    assert_eq!(fields["tags"], "t");

    // An empty body has no fields, whatever it is said to be, in chunks too.
    let path = format!("/v1/datasets/{}", fields["pk"]);
    let chunks = || Body::from_stream(stream::empty::<std::io::Result<&str>>());
    for kind in ["multipart/form-data; boundary=X", "multipart/form-data", FORM, "application/json"]
    {
        let client = server.admin().await.with("Content-Type", kind);
        assert_eq!(client.send("PATCH", &path, "").await.json(200), fields, "{kind}");
        assert_eq!(client.send("PATCH", &path, chunks()).await.json(200), fields, "{kind}");
    }
}

#[tokio::test]
async fn a_name_is_taken_once_in_a_project() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let client = &dataset.client;
    let body = server.dataset_body("cats");
    let detail = client.post("/v1/datasets/create", &body).await.detail(400);
    assert!(detail.starts_with("UNIQUE constraint failed: "), "{detail}");

    let other = server.add_dataset("dogs").await;
    let taken = client.patch(&other.path(""), &json!({"name": "cats"})).await;
    assert!(taken.detail(400).starts_with("UNIQUE constraint failed: "));
    assert_eq!(other.fields().await["name"], "dogs");

    client.delete(&dataset.path("")).await.is(204);
    client.patch(&other.path(""), &json!({"name": "cats"})).await.is(200);
    let detail = client.delete(&dataset.path("/reinstate")).await.detail(400);
    assert!(detail.starts_with("UNIQUE constraint failed: "), "{detail}");
}

#[tokio::test]
async fn an_update_leaves_alone_what_it_does_not_name() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let client = &dataset.client;
    let described = json!({"description": "d", "is_public": true});
    client.patch(&dataset.path(""), &described).await.is(200);
    let before = dataset.fields().await;

    assert_eq!(client.patch(&dataset.path(""), &json!({})).await.json(200), before);

    let project = server.add_project("other").await;
    let body = json!({"name": "dogs", "project": project, "licence": 3, "tags": "t"});
    let after = client.put(&dataset.path("/"), &body).await.json(200);
    let mut expected = before;
    for field in ["name", "project", "licence", "tags"] {
        expected[field] = body[field].clone();
    }
    assert_eq!(after, expected);
    assert_eq!(dataset.fields().await, expected);

    let missing = client.put(&dataset.path(""), &json!({"name": "x"})).await.json(400);
    let required = json!(["This field is required."]);
    assert_eq!(missing, json!({"project": required, "licence": required, "tags": required}));
}

#[tokio::test]
async fn a_destroyed_dataset_is_hidden_and_still_there() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let client = &dataset.client;
    let answer = client.delete(&dataset.path("")).await.is(204);
    assert!(answer.body.is_empty());
    let destroyed = dataset.fields().await["deletion_time"].clone();
    assert!(destroyed.is_string());
    client.delete(&dataset.path("")).await.is(204);
    assert_eq!(dataset.fields().await["deletion_time"], destroyed);

    let listed = client.post("/v1/datasets/list", &json!({})).await.json(200);
    assert_eq!(listed, json!([]));
    let all = json!({"include_inactive": true});
    let listed = client.post("/v1/datasets/list", &all).await.json(200);
    assert_eq!(pks(&listed), [dataset.pk]);
    dataset.add("late", "x").await.is(200);
    client.patch(&dataset.path(""), &json!({"tags": "t"})).await.is(200);
    assert_eq!(dataset.content("late").await.is(200).body, "x");
    let copy = client.post(&dataset.path("/copy"), &json!({"new_name": "copy"})).await.json(200);
    assert_eq!(copy["deletion_time"], Value::Null);
    let copy = dataset.shown(&copy);
    for (target, source) in [(&dataset, &copy), (&copy, &dataset)] {
        let path = target.path(&format!("/merge/{}", source.pk));
        client.post(&path, &json!({"delete": false})).await.is(200);
    }
    client.delete(&copy.path("/hard")).await.is(200);

    let back = client.delete(&dataset.path("/reinstate")).await.json(200);
    assert_eq!(back["deletion_time"], Value::Null);
    assert_eq!(client.delete(&dataset.path("/reinstate/")).await.json(200), back);
}

#[tokio::test]
async fn a_hard_delete_shows_what_there_was() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "1").await.is(200);
    let before = dataset.fields().await;
    let answer = dataset.client.delete(&dataset.path("/hard")).await;
    assert_eq!(answer.json(200), before);
    let again = dataset.client.delete(&dataset.path("/hard")).await;
    assert_eq!(again.detail(404), "No Dataset matches the given query.");
    dataset.client.get(&dataset.path("")).await.is(404);

    // Others are refused before the dataset is looked for.
    let ann = server.stranger("ann").await;
    for action in ["hard", "reinstate"] {
        let path = dataset.path(&format!("/{action}"));
        ann.delete(&path).await.is(403);
        server.anonymous().delete(&path).await.is(401);
    }
}

#[tokio::test]
async fn lists_show_the_public_to_all_and_the_rest_to_members() {
    let server = Server::start().await;
    let open = server.add_dataset("open").await;
    let closed = server.add_dataset("closed").await;
    let admin = &open.client;
    admin.patch(&open.path(""), &json!({"is_public": true})).await.is(200);
    let member = server.member("ann", Read).await;
    let stranger = server.stranger("bob").await;
    let nobody = server.anonymous();
    for (client, expected) in [
        (admin, vec![open.pk, closed.pk]),
        (&member, vec![open.pk, closed.pk]),
        (&stranger, vec![open.pk]),
        (&nobody, vec![open.pk]),
    ] {
        let listed = client.post("/v1/datasets/list", &json!({})).await.json(200);
        assert_eq!(pks(&listed), expected);
        // No body at all is no filter.
        let listed = client.send("POST", "/v1/datasets/list/", "").await.json(200);
        assert_eq!(pks(&listed), expected);
    }
    admin.delete(&open.path("")).await.is(204);
    let listed = nobody.post("/v1/datasets/list", &json!({})).await.json(200);
    assert_eq!(pks(&listed), [0; 0]);
    let all = json!({"include_inactive": true});
    let listed = nobody.post("/v1/datasets/list", &all).await.json(200);
    assert_eq!(pks(&listed), [open.pk]);
}

#[tokio::test]
async fn the_map_of_files_can_be_left_out() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "1").await.is(200);
    let client = &dataset.client;
    let without = |fields: Value| {
        assert!(fields.get("files").is_none(), "{fields}");
        assert_eq!(fields["pk"], dataset.pk);
    };
    without(client.get(&dataset.path("?files=false")).await.json(200));
    without(client.patch(&dataset.path("?files=false"), &json!({})).await.json(200));
    without(client.delete(&dataset.path("/clear?files=false")).await.json(200));
    without(client.delete(&dataset.path("/reinstate?files=false")).await.json(200));
    let listed = client.post("/v1/datasets/list?files=false", &json!({})).await.json(200);
    without(listed[0].clone());
    without(client.delete(&dataset.path("/hard?files=false")).await.json(200));
}

#[tokio::test]
async fn a_map_of_many_files_is_whole_and_has_its_length() {
    let server = Server::start().await;
    let dataset = server.add_dataset("many").await;
    let names: Vec<String> = (0..2000).map(|number| format!("file-{number:04}")).collect();
    let members: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let archive = crate::support::zip_of(&members);
    dataset.client.upload(&dataset.path("/files-multi"), archive).await.is(200);
    let answer = dataset.client.get(&dataset.path("")).await.is(200);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(dataset.names().await, names);
}

#[tokio::test]
async fn clear_empties_metadata_and_leaves_files() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "1").await.is(200);
    dataset.add("b", "2").await.is(200);
    dataset.set_metadata("a", "label").await.is(200);
    dataset.set_metadata("b", "another").await.is(200);
    let cleared = dataset.client.delete(&dataset.path("/clear")).await.json(200);
    assert_eq!(cleared, dataset.fields().await);
    assert_eq!(dataset.metadata("a").await, "");
    assert_eq!(dataset.metadata("b").await, "");
    assert_eq!(dataset.names().await, ["a", "b"]);
    dataset.set_metadata("a", "again").await.is(200);
    assert_eq!(dataset.metadata("a").await, "again");
}

#[tokio::test]
async fn a_merge_keeps_what_is_equal_and_renames_what_differs() {
    let server = Server::start().await;
    let target = server.add_dataset("target").await;
    let source = server.add_dataset("source").await;
    for (dataset, files) in [
        (&target, [("same", "1"), ("t.tar.gz", "old"), (".dot", "old")]),
        (&source, [("same", "1"), ("t.tar.gz", "new"), (".dot", "new")]),
    ] {
        for (name, content) in files {
            dataset.add(name, content).await.is(200);
        }
    }
    source.add("dir/free", "f").await.is(200);
    source.set_metadata("dir/free", "comes along").await.is(200);
    source.set_metadata("same", "stays behind").await.is(200);
    target.set_metadata("same", "kept").await.is(200);

    let path = target.path(&format!("/merge/{}", source.pk));
    let merged = target.client.post(&path, &json!({"delete": false})).await.json(200);
    assert_eq!(merged, target.fields().await);
    assert_eq!(
        target.names().await,
        [".dot", ".dot-0001", "dir/free", "same", "t.tar-0001.gz", "t.tar.gz"]
    );
    assert_eq!(target.content("t.tar-0001.gz").await.body, "new");
    assert_eq!(target.content("t.tar.gz").await.body, "old");
    assert_eq!(target.metadata("dir/free").await, "comes along");
    assert_eq!(target.metadata("same").await, "kept");
    assert_eq!(source.fields().await["deletion_time"], Value::Null);

    target.client.post(&path, &json!({"delete": true})).await.is(200);
    assert!(target.names().await.contains(&"t.tar-0002.gz".to_owned()));
    assert!(source.fields().await["deletion_time"].is_string());

    target.client.post(&path, &json!({"delete": true, "hard": true})).await.is(200);
    source.client.get(&source.path("")).await.is(404);
}

#[tokio::test]
async fn a_number_goes_before_the_last_extension_of_the_last_part() {
    let server = Server::start().await;
    let target = server.add_dataset("target").await;
    let source = server.add_dataset("source").await;
    for (name, expected) in [
        ("a.txt", "a-0001.txt"),
        ("v1.2/plain", "v1.2/plain-0001"),
        ("d/.hidden", "d/.hidden-0001"),
        ("t.tar.gz", "t.tar-0001.gz"),
        // A number that is taken is passed over, by the target's own file or by a source's.
        ("n.png", "n-0002.png"),
    ] {
        target.add(name, "old").await.is(200);
        source.add(name, "new").await.is(200);
        if name == "n.png" {
            target.add("n-0001.png", "taken").await.is(200);
        }
        let path = target.path(&format!("/merge/{}", source.pk));
        // Where the source stays, `hard` says nothing.
        target.client.post(&path, &json!({"delete": false, "hard": true})).await.is(200);
        assert_eq!(target.content(expected).await.is(200).body, "new", "{name}");
        assert_eq!(target.content(name).await.is(200).body, "old", "{name}");
        source.client.delete(&source.path(&format!("/files/{name}"))).await.is(200);
    }
    assert_eq!(source.fields().await["deletion_time"], Value::Null);
}

#[tokio::test]
async fn a_merge_is_strict_about_its_body_and_its_source() {
    let server = Server::start().await;
    let target = server.add_dataset("target").await;
    let source = server.add_dataset("source").await;
    let client = &target.client;
    let path = target.path(&format!("/merge/{}/", source.pk));
    for body in [
        json!({}),
        json!({"delete": "true"}),
        json!({"delete": 1}),
        json!({"delete": true, "hard": 0}),
        json!({"delete": true, "more": true}),
        json!([true]),
        json!(null),
    ] {
        client.post(&path, &body).await.is(400);
    }
    assert_eq!(source.fields().await["deletion_time"], Value::Null);

    let body = json!({"delete": true});
    for other in ["999", "letters", "99999999999999999999"] {
        let path = target.path(&format!("/merge/{other}"));
        let detail = client.post(&path, &body).await.detail(404);
        assert_eq!(detail, "No Dataset matches the given query.");
    }
    let itself = target.path(&format!("/merge/{}", target.pk));
    client.post(&itself, &body).await.is(400);
    assert_eq!(target.fields().await["deletion_time"], Value::Null);
}

#[tokio::test]
async fn a_copy_without_a_name_is_the_next_version() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    dataset.add("a", "1").await.is(200);
    dataset.set_metadata("a", "label").await.is(200);
    let client = &dataset.client;
    let fields = client.post(&dataset.path("/copy"), &json!({})).await.json(200);
    let mut expected = dataset.fields().await;
    for field in ["pk", "creation_time"] {
        assert_ne!(fields[field], expected[field]);
        expected[field] = fields[field].clone();
    }
    expected["version"] = json!(2);
    expected["previous_version"] = json!(1);
    assert_eq!(fields, expected);
    let copy = dataset.shown(&fields);
    assert_eq!(copy.metadata("a").await, "label");

    let third = client.post(&dataset.path("/copy"), &json!({"new_name": null})).await.json(200);
    assert_eq!(third["version"], 3);
    assert_eq!(third["previous_version"], 1);

    // The project of a copy, its licence and the rest are those of its source.
    let described = json!({
        "description": "d", "licence": 3, "tags": "t", "is_public": true, "name": "  cats  ",
    });
    client.patch(&dataset.path(""), &described).await.is(200);
    let fourth = client.post(&dataset.path("/copy"), &json!({})).await.json(200);
    let source = dataset.fields().await;
    for field in ["name", "description", "project", "licence", "tags", "is_public", "files"] {
        assert_eq!(fourth[field], source[field], "{field}");
    }
    // Versions count from the highest active one.
    let fourth = dataset.shown(&fourth);
    client.delete(&fourth.path("")).await.is(204);
    let again = client.post(&copy.path("/copy"), &json!({})).await.json(200);
    assert_eq!((&again["version"], &again["previous_version"]), (&json!(4), &json!(2)));
    client.delete(&fourth.path("/reinstate")).await.detail(400);

    // The copies are their own.
    copy.add("b", "2").await.is(200);
    copy.client.delete(&copy.path("/files/a")).await.is(200);
    assert_eq!(dataset.names().await, ["a"]);
    assert_eq!(copy.names().await, ["b"]);
}

#[tokio::test]
async fn a_copy_by_a_reader_is_the_readers() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let ann = server.member("ann", Read).await;
    let copy = ann.post(&dataset.path("/copy"), &json!({"new_name": "mine"})).await.json(200);
    assert_eq!(copy["version"], 1);
    assert_eq!(copy["previous_version"], -1);
    assert_eq!(copy["project"], server.project);
    assert_ne!(copy["creator"], dataset.fields().await["creator"]);
}

#[tokio::test]
async fn a_copy_takes_the_files_that_are_named() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    for name in ["a", "b", "c"] {
        dataset.add(name, name).await.is(200);
    }
    dataset.set_metadata("c", "label").await.is(200);
    for (only_files, expected) in [
        (json!(["c", "a", "nothing", "../x"]), vec!["a", "c"]),
        (json!([]), vec![]),
        (json!(null), vec!["a", "b", "c"]),
    ] {
        let body = json!({"only_files": only_files});
        let fields = dataset.client.post(&dataset.path("/copy"), &body).await.json(200);
        let copy = dataset.shown(&fields);
        assert_eq!(copy.names().await, expected, "{only_files}");
        if expected.contains(&"c") {
            assert_eq!(copy.metadata("c").await, "label");
        }
    }
}

#[tokio::test]
async fn a_copy_refuses_what_it_does_not_understand() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let path = dataset.path("/copy");
    let client = &dataset.client;
    let detail = client.post(&path, &json!({"new_name": "cats"})).await.detail(400);
    assert_eq!(detail, "Bad name 'cats': New dataset name is already taken");
    let detail = client.post(&path, &json!({"creator": "x"})).await.detail(422);
    assert_eq!(detail, "Unknown parameters: creator=x");
    for body in [
        json!({"new_name": 1}),
        json!({"new_name": " "}),
        json!({"new_name": "x".repeat(201)}),
        json!({"only_files": "a"}),
        json!({"only_files": [1]}),
        json!([1]),
        json!(null),
    ] {
        client.post(&path, &body).await.is(400);
    }
    let listed = client.post("/v1/datasets/list", &json!({})).await.json(200);
    assert_eq!(pks(&listed), [dataset.pk]);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_at_once_are_versions_in_a_row() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let copies = (0..8).map(|_| {
        let (client, path) = (dataset.client.clone(), dataset.path("/copy"));
        tokio::spawn(async move { client.post(&path, &json!({})).await.json(200) })
    });
    let mut versions = Vec::new();
    for copy in copies.collect::<Vec<_>>() {
        versions.push(copy.await.unwrap()["version"].as_u64().unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn a_wrong_parameter_is_told_before_anything_is_done() {
    let server = Server::start().await;
    let dataset = server.add_dataset("kept").await;
    let client = &dataset.client;
    let expected = json!({"files": ["Must be true or false."]});
    for files in ["", "0", "no", "False"] {
        let path = |rest: &str| dataset.path(&format!("{rest}?files={files}"));
        assert_eq!(client.get(&path("")).await.json(400), expected, "{files}");
        assert_eq!(client.delete(&path("/hard")).await.json(400), expected, "{files}");
        assert_eq!(client.delete(&path("/clear")).await.json(400), expected, "{files}");
        assert_eq!(client.post(&path("/copy"), &json!({})).await.json(400), expected, "{files}");
        let name = json!({"name": "other"});
        assert_eq!(client.patch(&path(""), &name).await.json(400), expected, "{files}");
        let list = format!("/v1/datasets/list?files={files}");
        assert_eq!(client.post(&list, &json!({})).await.json(400), expected, "{files}");
        let create = format!("/v1/datasets/create?files={files}");
        let body = server.dataset_body("other");
        assert_eq!(client.post(&create, &body).await.json(400), expected, "{files}");
    }
    let list = client.post("/v1/datasets/list", &json!({})).await.json(200);
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["name"], "kept");
}
