//! What is better here than in the server that the API comes from: a story for each of its faults,
//! numbered as in the list of them.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::stream;
use granary_engine::model::PermissionLevel::{Read, Write};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Dataset, Server, zip_of};

async fn cats(server: &Server) -> Dataset {
    server.add_dataset("cats").await
}

async fn add_zip(dataset: &Dataset, archive: Vec<u8>) -> Answer {
    dataset.client.upload(&dataset.path("/files-multi"), archive).await
}

async fn copy(dataset: &Dataset, body: Value) -> Answer {
    dataset.client.post(&dataset.path("/copy"), &body).await
}

async fn merge(target: &Dataset, source: &Dataset, body: Value) -> Answer {
    let path = target.path(&format!("/merge/{}", source.pk));
    target.client.post(&path, &body).await
}

fn exact(field: &str, value: impl Into<Value>) -> Value {
    json!({"type": "exact", "field": field, "value": value.into()})
}

async fn listed(client: &Client, expression: Value) -> Answer {
    client.post("/v1/datasets/list", &json!({"expressions": [expression]})).await
}

/// Fault 1.
#[tokio::test]
async fn a_dataset_is_downloaded() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    dataset.add("a", "1").await.is(200);
    for filetype in ["zip", "tar.gz"] {
        let body = json!({"filetype": filetype});
        let answer = dataset.client.post(&dataset.path("/download"), &body).await.is(200);
        assert!(answer.body.len() > 20, "{filetype}");
    }
}

/// Fault 2.
#[tokio::test]
async fn a_hard_delete_answers_with_what_was_there() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let fields = dataset.fields().await;
    assert_eq!(dataset.client.delete(&dataset.path("/hard")).await.json(200), fields);
    let admin = &dataset.client;
    let team = admin.post("/v1/teams/create", &json!({"name": "t"})).await.json(201);
    let hard = format!("/v1/teams/{}/hard", team["pk"]);
    assert_eq!(admin.delete(&hard).await.json(200), team);
    admin.delete(&hard).await.is(404);
}

/// Fault 3.
#[tokio::test]
async fn of_a_zip_with_one_taken_name_nothing_is_added() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    dataset.add("taken", "1").await.is(200);
    for bad in ["taken", "../beyond"] {
        add_zip(&dataset, zip_of(&[("first", "1"), (bad, "2"), ("last", "3")])).await.is(400);
        assert_eq!(dataset.names().await, ["taken"]);
    }
}

/// Fault 4.
#[tokio::test]
async fn what_is_no_whole_zip_is_refused() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let good = zip_of(&[("a", "some content")]);
    let mut bad_sum = good.clone();
    // Stored or deflated, the content begins behind a header of 30 bytes and a name of one.
    bad_sum[31] ^= 0xFF;
    for bad in [Vec::new(), b"no zip".to_vec(), good[..good.len() - 9].to_vec(), bad_sum] {
        add_zip(&dataset, bad).await.detail(400);
    }
    assert!(dataset.names().await.is_empty());
}

/// Fault 5.
#[tokio::test]
async fn directories_of_a_zip_are_passed_over() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    add_zip(&dataset, zip_of(&[("dir/", ""), ("dir/a", "1"), ("other/", "")])).await.is(200);
    assert_eq!(dataset.names().await, ["dir/a"]);
}

/// Fault 6.
#[tokio::test]
async fn an_empty_file_and_one_in_chunks_are_kept() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    dataset.add("empty", "").await.is(200);
    assert!(dataset.content("empty").await.is(200).body.is_empty());
    let chunks = ["in ", "two"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let body = Body::from_stream(stream::iter(chunks));
    dataset.client.upload(&dataset.path("/files/chunked"), body).await.is(200);
    assert_eq!(dataset.content("chunked").await.body, "in two");
}

/// Fault 7.
#[tokio::test]
async fn a_wrong_method_is_405_and_options_200() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    for (path, allow) in [
        ("/v1/datasets/list", "POST, OPTIONS"),
        ("/v1/datasets/1/clear", "DELETE, OPTIONS"),
        ("/v1/teams/1/memberships", "PATCH, OPTIONS"),
        ("/v1/licences/1/subdescriptors", "PATCH, OPTIONS"),
    ] {
        let answer = nobody.put(path, &json!({})).await;
        assert_eq!(answer.header("allow"), allow, "{path}");
        assert_eq!(answer.detail(405), "Method \"PUT\" not allowed.");
        let answer = nobody.send("OPTIONS", path, "").await.is(200);
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
}

/// Fault 8; more of it in `filter_secrets`.
#[tokio::test]
async fn no_filter_reads_a_hash_letter_by_letter() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    dataset.client.patch(&dataset.path(""), &json!({"is_public": true})).await.is(200);
    for field in ["creator.password", "creator__password", "creator.password_hash"] {
        for client in [&dataset.client, &server.anonymous()] {
            let text = json!({"type": "contains", "field": field, "sub_string": "argon2"});
            assert!(listed(client, text).await.detail(400).contains("unknown field"));
        }
    }
}

/// Fault 9.
#[tokio::test]
async fn a_filter_over_what_is_not_there_is_told_so() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    for wrong in [exact("colour", "red"), exact("version", "one"), exact("name", 1)] {
        assert!(listed(&nobody, wrong).await.detail(400).starts_with("Bad filter: "));
    }
    let order = json!({"order_by": [{"field": "colour"}]});
    nobody.post("/v1/datasets/list", &order).await.is(400);
}

/// Fault 10.
#[tokio::test]
async fn a_filter_over_files_shows_a_dataset_once() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    for name in ["1.txt", "2.txt", "3.txt"] {
        dataset.add(name, name).await.is(200);
    }
    let any = json!({"type": "contains", "field": "files.name", "sub_string": ".txt"});
    let list = listed(&dataset.client, any).await.json(200);
    assert_eq!(list.as_array().unwrap().len(), 1);
}

/// Fault 11.
#[tokio::test]
async fn a_fraction_equals_no_integer() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    dataset.add("a", "1").await.is(200);
    copy(&dataset, json!({})).await.is(200);
    let second = dataset.client.post("/v1/datasets/list", &json!({})).await.json(200);
    assert_eq!(second[1]["version"], 2);
    assert_eq!(listed(&dataset.client, exact("version", 2.5)).await.json(200), json!([]));
}

/// Fault 12.
#[tokio::test]
async fn a_body_that_is_no_object_is_refused() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    dataset.add("a", "1").await.is(200);
    let other = server.add_dataset("dogs").await;
    for path in [
        "/v1/datasets/list".to_owned(),
        dataset.path("/copy"),
        dataset.path("/download"),
        dataset.path(&format!("/merge/{}", other.pk)),
        dataset.path("/metadata/a"),
    ] {
        for body in [json!([1]), json!("x"), json!(null)] {
            dataset.client.post(&path, &body).await.detail(400);
        }
    }
}

/// Fault 13.
#[tokio::test]
async fn the_anonymous_make_nothing() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    nobody.post("/v1/datasets/create", &server.dataset_body("new")).await.is(401);
    let project = json!({"name": "new", "team": server.team});
    nobody.post("/v1/projects/create", &project).await.is(401);
}

/// Fault 14.
#[tokio::test]
async fn a_member_is_added_once() {
    let server = Server::start().await;
    let admin = server.admin().await;
    server.add_user("ann").await;
    let path = format!("/v1/teams/{}/memberships", server.team);
    let add = json!({"username": "ann", "method": "add", "permissions": "W"});
    admin.patch(&path, &add).await.is(200);
    assert!(admin.patch(&path, &add).await.detail(400).starts_with("Bad name 'ann': "));
}

/// Fault 15.
#[tokio::test]
async fn a_taken_name_is_neither_patched_nor_reinstated_onto() {
    let server = Server::start().await;
    let first = cats(&server).await;
    let other = server.add_dataset("dogs").await;
    let named = json!({"name": "cats"});
    other.client.patch(&other.path(""), &named).await.detail(400);
    first.client.delete(&first.path("")).await.is(204);
    other.client.patch(&other.path(""), &named).await.is(200);
    first.client.delete(&first.path("/reinstate")).await.detail(400);
    assert!(first.fields().await["deletion_time"].is_string());
}

/// Fault 16.
#[tokio::test]
async fn nothing_moves_to_where_its_mover_may_not_write() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let (team, project) = server.add_foreign_project("foreign").await;
    let ann = server.member("ann", Write).await;
    ann.patch(&dataset.path(""), &json!({"project": project})).await.is(403);
    let own = format!("/v1/projects/{}", server.project);
    ann.patch(&own, &json!({"team": team})).await.is(403);
    assert_eq!(dataset.fields().await["project"], server.project);
}

/// Fault 17.
#[tokio::test]
async fn a_node_without_a_login_may_nothing() {
    let server = Server::start().await;
    let node = server.add_node().await;
    let nobody = server.anonymous().with("Node-Id", node.to_string());
    let path = format!("/v1/nodes/{node}");
    nobody.get(&format!("{path}/ping")).await.is(401);
    nobody.get("/v1/nodes/ping").await.is(401);
    nobody.patch(&path, &json!({"cpu_mem": 9})).await.is(401);
    nobody.delete(&path).await.is(401);
    assert_eq!(server.admin().await.get(&path).await.json(200)["cpu_mem"], 1);
}

/// Fault 18.
#[tokio::test]
async fn one_sees_oneself_by_primary_key() {
    let server = Server::start().await;
    let pk = server.add_user("ann").await;
    let ann = server.login("ann").await;
    assert_eq!(ann.get(&format!("/v1/users/{pk}")).await.json(200)["username"], "ann");
}

/// Fault 19.
#[tokio::test]
async fn a_merge_into_itself_deletes_nothing() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    for body in [json!({"delete": true}), json!({"delete": true, "hard": true})] {
        merge(&dataset, &dataset, body).await.detail(400);
        assert_eq!(dataset.fields().await["deletion_time"], Value::Null);
    }
    dataset.add("a", "1").await.is(200);
    dataset.set_metadata("a", "kept").await.is(200);
    let before = dataset.fields().await;
    assert_eq!(merge(&dataset, &dataset, json!({"delete": false})).await.json(200), before);
    assert_eq!(dataset.metadata("a").await, "kept");
}

/// Fault 20.
#[tokio::test]
async fn a_merge_leaves_no_file_beside_a_directory_of_its_name() {
    let server = Server::start().await;
    for (target_has, source_has) in [("x", "x/y"), ("x/y", "x")] {
        let target = server.add_dataset(&format!("target of {source_has}")).await;
        let source = server.add_dataset(&format!("source of {source_has}")).await;
        target.add(target_has, "1").await.is(200);
        source.add(source_has, "2").await.is(200);
        let answer = merge(&target, &source, json!({"delete": false})).await;
        assert!([200, 400].contains(&answer.status.as_u16()));
        let names = target.names().await;
        let clash = names.contains(&"x".to_owned()) && names.contains(&"x/y".to_owned());
        assert!(!clash && names.contains(&target_has.to_owned()), "{names:?}");
        if answer.status == StatusCode::OK {
            assert_eq!(names.len(), 2, "{names:?}");
        }
    }
}

/// Faults 21 and 22.
#[tokio::test]
async fn names_that_name_no_file_are_refused() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    for raw in [".", "x/..", "", "./", "%2E", "%00", "a%00b"] {
        let detail = dataset.add(raw, "1").await.detail(400);
        assert!(detail.starts_with("Bad name '"), "{raw}: {detail}");
    }
    assert!(dataset.names().await.is_empty());
}

/// Faults 23 and 24.
#[tokio::test]
async fn a_file_is_no_directory_and_letters_have_their_case() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    dataset.add("a.txt", "1").await.is(200);
    dataset.add("a.txt/", "2").await.detail(400);
    dataset.add("A.TXT/b", "3").await.is(200);
    dataset.add("dir/c", "4").await.is(200);
    dataset.add("DIR", "5").await.is(200);
    assert_eq!(dataset.names().await, ["A.TXT/b", "DIR", "a.txt", "dir/c"]);
}

/// Fault 25. A key that means nothing is 422, as the same table has it for all of them.
#[tokio::test]
async fn a_copy_is_asked_for_in_the_right_types() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    for body in [
        json!({"new_name": ""}),
        json!({"new_name": " "}),
        json!({"new_name": "x".repeat(201)}),
        json!({"only_files": "a"}),
        json!({"only_files": {}}),
        json!({"only_files": [1]}),
    ] {
        copy(&dataset, body).await.detail(400);
    }
    copy(&dataset, json!({"creator": 1})).await.detail(422);
    let list = dataset.client.post("/v1/datasets/list", &json!({})).await.json(200);
    assert_eq!(list.as_array().unwrap().len(), 1);
}

/// Fault 26.
#[tokio::test]
async fn nothing_is_made_in_a_deleted_project() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let dataset = cats(&server).await;
    let project = format!("/v1/projects/{}", server.project);
    admin.delete(&project).await.is(204);
    let wrong = admin.post("/v1/datasets/create", &server.dataset_body("new")).await.json(400);
    assert!(wrong["project"].is_array(), "{wrong}");
    for body in [json!({}), json!({"new_name": "new"}), json!({"only_files": []})] {
        let detail = copy(&dataset, body).await.detail(400);
        let told = format!("project {}, which is deleted", server.project);
        assert!(detail.contains(&told), "{detail}");
    }
    admin.delete(&format!("{project}/reinstate")).await.is(200);
    copy(&dataset, json!({})).await.is(200);
}

/// Fault 27.
#[tokio::test]
async fn what_others_need_is_not_removed() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    for path in [
        "/v1/licences/1".to_owned(),
        format!("/v1/teams/{}/hard", server.team),
        format!("/v1/projects/{}/hard", server.project),
    ] {
        let detail = dataset.client.delete(&path).await.detail(400);
        assert!(detail.contains("first"), "{detail}");
    }
    dataset.fields().await;
}

/// Fault 28.
#[tokio::test]
async fn numbers_beyond_64_bits_are_refused() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let beyond = "99999999999999999999";
    for resource in ["datasets", "teams", "projects", "users", "licences", "nodes"] {
        admin.get(&format!("/v1/{resource}/{beyond}")).await.is(404);
    }
    let client = admin.with("Content-Type", "application/json");
    for (path, body) in [
        ("/v1/nodes/create", format!(r#"{{"ip":"x","index":{beyond},"cpu_mem":1}}"#)),
        ("/v1/projects/create", format!(r#"{{"name":"x","team":{beyond}}}"#)),
        (
            "/v1/teams/list",
            format!(r#"{{"expressions":[{{"type":"exact","field":"pk","value":{beyond}}}]}}"#),
        ),
    ] {
        client.send("POST", path, body).await.is(400);
    }
}

/// Fault 29.
#[tokio::test]
async fn deep_json_is_refused() {
    let server = Server::start().await;
    let client = server.anonymous().with("Content-Type", "application/json");
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let detail = client.send("POST", "/v1/datasets/list", deep).await.detail(400);
    assert!(detail.starts_with("JSON parse error - "), "{detail}");
}

/// Fault 30.
#[tokio::test]
async fn who_may_not_change_members_hears_of_no_user() {
    let server = Server::start().await;
    let ann = server.member("ann", Write).await;
    let path = format!("/v1/teams/{}/memberships", server.team);
    let ask = async |name: &str| {
        let answer = ann.patch(&path, &json!({"username": name, "method": "add"})).await;
        answer.detail(403)
    };
    assert_eq!(ask("admin").await, ask("nobody").await);
}

/// Fault 31.
#[tokio::test]
async fn no_name_breaks_the_header_of_a_download() {
    let server = Server::start().await;
    let dataset = server.add_dataset("a\"b\r\nX-Evil: 1").await;
    let answer = dataset.client.post(&dataset.path("/download"), &json!({})).await.is(200);
    let disposition = answer.header("content-disposition");
    assert!(disposition.starts_with("attachment; filename=\"a_b__X-Evil: 1.v1.zip\""));
    assert!(answer.headers.get("x-evil").is_none());
}

/// Fault 32.
#[tokio::test]
async fn an_unknown_route_is_404_in_json() {
    let server = Server::start().await;
    for path in ["/", "/v1/cats", "/v1/datasets/1/2/3", "/v1/datasets/1/hard/2"] {
        let answer = server.anonymous().get(path).await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.json(404), json!({"detail": "Not found."}), "{path}");
    }
}

/// Fault 33.
#[tokio::test]
async fn json_of_three_megabytes_is_read() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    copy(&dataset, json!({"only_files": vec!["x".repeat(1000); 3000]})).await.is(200);
    let beyond = json!({"only_files": ["x".repeat(17 << 20)]});
    copy(&dataset, beyond).await.detail(413);
}

/// Fault 34.
#[tokio::test]
async fn head_tells_the_length_and_type_of_a_file() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    dataset.add("a", "content").await.is(200);
    let head = dataset.client.send("HEAD", &dataset.path("/files/a"), "").await.is(200);
    assert_eq!(head.header("content-length"), "7");
    assert_eq!(head.header("content-type"), "application/data");
    assert!(head.body.is_empty());
}

/// Fault 35.
#[tokio::test(flavor = "multi_thread")]
async fn of_equal_names_at_once_one_is_kept() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let uploads = (0..12).map(|number: u32| {
        let (client, path) = (dataset.client.clone(), dataset.path("/files/a"));
        tokio::spawn(async move { client.upload(&path, number.to_string()).await.status })
    });
    let mut statuses = Vec::new();
    for upload in uploads.collect::<Vec<_>>() {
        statuses.push(upload.await.unwrap());
    }
    let kept = statuses.iter().filter(|status| **status == StatusCode::OK).count();
    let refused = statuses.iter().filter(|status| **status == StatusCode::BAD_REQUEST).count();
    assert_eq!((kept, refused), (1, 11), "{statuses:?}");
    assert_eq!(dataset.names().await, ["a"]);
}

/// Fault 36.
#[tokio::test(flavor = "multi_thread")]
async fn copies_at_once_get_versions_in_a_row() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let copies = (0..6).map(|_| {
        let (client, path) = (dataset.client.clone(), dataset.path("/copy"));
        tokio::spawn(async move { client.post(&path, &json!({})).await.json(200) })
    });
    let mut versions = Vec::new();
    for copy in copies.collect::<Vec<_>>() {
        versions.push(copy.await.unwrap()["version"].as_u64().unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5, 6, 7]);
}

/// Fault 37.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_goes_while_it_comes_is_kept() {
    let server = Server::start().await;
    let (old, new) = (cats(&server).await, server.add_dataset("dogs").await);
    for round in 0..10 {
        // Once within the journal, once as a file of its own.
        let content = if round % 2 == 0 { "shared".to_owned() } else { "shared".repeat(300_000) };
        let name = format!("f{round}");
        old.add(&name, &content).await.is(200);
        let (client, path) = (old.client.clone(), old.path(&format!("/files/{name}")));
        let delete = tokio::spawn(async move { client.delete(&path).await.status });
        let (client, path) = (new.client.clone(), new.path(&format!("/files/{name}")));
        let sent = content.clone();
        let upload = tokio::spawn(async move { client.upload(&path, sent).await.status });
        assert_eq!(delete.await.unwrap(), StatusCode::OK);
        assert_eq!(upload.await.unwrap(), StatusCode::OK);
        assert!(new.content(&name).await.is(200).body == content);
        old.content(&name).await.is(404);
    }
}

/// Fault 38.
#[tokio::test]
async fn a_file_is_read_by_its_handle() {
    let server = Server::start().await;
    let dataset = cats(&server).await;
    let added = dataset.add("a", "content").await.json(200);
    let path = dataset.path(&format!("/file-handles/{}", added["handle"].as_str().unwrap()));
    let ann = server.member("ann", Read).await;
    assert_eq!(ann.get(&path).await.is(200).body, "content");
    server.stranger("bob").await.get(&path).await.is(403);
    let unknown = dataset.path(&format!("/file-handles/{}", "0".repeat(64)));
    ann.get(&unknown).await.is(404);
}
