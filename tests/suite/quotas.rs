//! How much teams may hold: refused before it is too much, whichever way it would come.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granary_engine::model::Digest;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Dataset, Server, zip_of};

async fn set(server: &Server, team: u64, quota: Value) -> Value {
    server.admin().await.put(&format!("/v1/teams/{team}/quota"), &quota).await.json(200)
}

async fn used(server: &Server, team: u64) -> (u64, u64) {
    let shown = server.admin().await.get(&format!("/v1/teams/{team}/quota")).await.json(200);
    (shown["used_files"].as_u64().unwrap(), shown["used_bytes"].as_u64().unwrap())
}

#[track_caller]
fn is_refused(answer: Answer, words: &str) {
    let detail = answer.detail(507);
    assert!(detail.contains(words) && detail.contains("for good"), "{detail}");
}

async fn zip(dataset: &Dataset, members: &[(&str, &str)]) -> Answer {
    dataset.client.upload(&dataset.path("/files-multi"), zip_of(members)).await
}

#[tokio::test]
async fn a_quota_is_shown_to_members_and_set_by_administrators() {
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    dataset.add("a", "12345").await.is(200);
    let unbounded = json!({"files": null, "bytes": null, "used_files": 1, "used_bytes": 5});
    let member = server.member("ann", granary_engine::model::PermissionLevel::Read).await;
    let quota = format!("/v1/teams/{}/quota", server.team);
    assert_eq!(member.get(&quota).await.json(200), unbounded);
    let shown = set(&server, server.team, json!({"bytes": 100})).await;
    assert_eq!(shown, json!({"files": null, "bytes": 100, "used_files": 1, "used_bytes": 5}));
    member.put(&quota, &json!({})).await.is(403);
    for wrong in [json!({"files": -1}), json!({"bytes": "many"}), json!({"files": 1.5})] {
        server.admin().await.put(&quota, &wrong).await.is(400);
    }
    // A misspelt bound is not taken for none; what a quota shows may come back.
    let misspelt = server.admin().await.put(&quota, &json!({"file": 6, "bytes": 7})).await;
    let detail = misspelt.detail(400);
    assert!(detail.contains("\"file\"") && detail.contains("files and bytes"), "{detail}");
    assert_eq!(set(&server, server.team, shown.clone()).await, shown);
    assert_eq!(set(&server, server.team, json!({})).await, unbounded);
}

#[tokio::test]
async fn single_files_are_taken_up_to_the_quota_and_not_beyond() {
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    set(&server, server.team, json!({"files": 3, "bytes": 10})).await;
    dataset.add("a", "12345").await.is(200);
    let words = "may hold 10 bytes, holds 5, and 6 more were asked for";
    is_refused(dataset.add("b", "123456").await, words);
    dataset.add("b", "12345").await.is(200);
    dataset.add("empty", "").await.is(200);
    is_refused(dataset.add("more", "").await, "may hold 3 files, holds 3, and 1 more");
    assert_eq!(dataset.names().await, ["a", "b", "empty"]);
    assert_eq!(used(&server, server.team).await, (3, 10));

    // What does not grow is not refused: other names, metadata, deletions.
    let rename = json!({"from": "a", "to": "c"});
    dataset.client.post(&dataset.path("/files-rename"), &rename).await.is(200);
    dataset.set_metadata("b", "text").await.is(200);
    dataset.client.delete(&dataset.path("/files/b")).await.is(200);
    dataset.add("d", "12345").await.is(200);
    assert_eq!(server.engine.check(false).unwrap(), []);
}

#[tokio::test]
async fn what_is_too_much_is_refused_before_it_is_read() {
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    set(&server, server.team, json!({"bytes": 1_000_000})).await;
    let client = dataset.client.with("Content-Length", "2000000");
    // Only what it says of its length is looked at: there is nothing in it.
    let answer = client.upload(&dataset.path("/files/large"), "").await;
    is_refused(answer, "may hold 1000000 bytes, holds 0, and 2000000 more");
}

#[tokio::test]
async fn archives_copies_and_merges_count_what_they_make_visible() {
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    set(&server, server.team, json!({"files": 5})).await;
    zip(&dataset, &[("a", "1"), ("b", "2"), ("c", "3")]).await.is(200);
    is_refused(zip(&dataset, &[("d", "1"), ("e", "2"), ("f", "3")]).await, "holds 3, and 3 more");
    // A copy shares its contents and counts in full.
    is_refused(dataset.client.post(&dataset.path("/copy"), &json!({})).await, "and 3 more");
    let some = json!({"only_files": ["a", "b"], "new_name": "some"});
    let some = dataset.client.post(&dataset.path("/copy"), &some).await.json(200);
    let some = dataset.shown(&some);
    assert_eq!(used(&server, server.team).await.0, 5);
    let empty = server.add_dataset("empty").await;
    let merge = format!("/merge/{}", some.pk);
    let merge = empty.path(&merge);
    let merged = async |body: Value| empty.client.post(&merge, &body).await;
    is_refused(merged(json!({"delete": false})).await, "holds 5, and 2 more");
    // Soft-deleted it counts on; removed for good in the same change it makes the room.
    is_refused(merged(json!({"delete": true})).await, "holds 5, and 2 more");
    merged(json!({"delete": true, "hard": true})).await.is(200);
    assert_eq!(empty.names().await, ["a", "b"]);
    assert_eq!(used(&server, server.team).await.0, 5);
    // Nothing of what was refused is there.
    assert_eq!(dataset.names().await, ["a", "b", "c"]);
    assert_eq!(server.engine.check(false).unwrap(), []);
}

#[tokio::test]
async fn a_large_archive_is_refused_whole() {
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    set(&server, server.team, json!({"files": 1_500})).await;
    let names: Vec<String> = (0..1_100).map(|number| format!("f{number:04}")).collect();
    let members: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "same")).collect();
    zip(&dataset, &members).await.is(200);
    let other = server.add_dataset("other").await;
    is_refused(zip(&other, &members).await, "holds 1100, and 1100 more");
    assert_eq!(other.names().await.len(), 0);
    assert_eq!(used(&server, server.team).await, (1_100, 4_400));
    assert_eq!(server.engine.check(false).unwrap(), []);
}

#[tokio::test]
async fn only_what_is_removed_for_good_makes_room() {
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    let other = server.add_dataset("other").await;
    set(&server, server.team, json!({"files": 1})).await;
    dataset.add("a", "content").await.is(200);
    dataset.client.delete(&dataset.path("")).await.is(204);
    is_refused(other.add("a", "content").await, "holds 1, and 1 more");
    dataset.client.delete(&dataset.path("/hard")).await.is(200);
    assert_eq!(used(&server, server.team).await, (0, 0));
    other.add("a", "content").await.is(200);
    assert_eq!(server.engine.check(false).unwrap(), []);
}

async fn project_of(client: &Client, name: &str, team: u64) -> u64 {
    let made = client.post("/v1/projects/create", &json!({"name": name, "team": team})).await;
    made.json(201)["pk"].as_u64().unwrap()
}

#[tokio::test]
async fn what_moves_to_another_team_counts_there() {
    let server = Server::start().await;
    let (team, project) = server.add_foreign_project("other").await;
    let admin = server.admin().await;
    let dataset = server.add_dataset("d").await;
    dataset.add("a", "12345").await.is(200);
    set(&server, team, json!({"bytes": 4})).await;
    let to_other = json!({"project": project});
    is_refused(admin.patch(&dataset.path(""), &to_other).await, "holds 0, and 5 more");
    set(&server, team, json!({"bytes": 5})).await;
    admin.patch(&dataset.path(""), &to_other).await.is(200);
    assert_eq!(used(&server, server.team).await, (0, 0));
    assert_eq!(used(&server, team).await, (1, 5));

    // A whole project, with what is soft-deleted in it.
    let moving = project_of(&admin, "moving", server.team).await;
    let body = json!({"name": "m", "project": moving, "licence": 1, "tags": ""});
    let second = dataset.shown(&admin.post("/v1/datasets/create", &body).await.json(201));
    second.add("b", "123").await.is(200);
    admin.delete(&second.path("")).await.is(204);
    let move_it = json!({"team": team});
    let moved = admin.patch(&format!("/v1/projects/{moving}"), &move_it).await;
    is_refused(moved, "may hold 5 bytes, holds 5, and 3 more");
    assert_eq!(used(&server, server.team).await, (1, 3));
    set(&server, team, json!({"bytes": 8})).await;
    admin.patch(&format!("/v1/projects/{moving}"), &move_it).await.is(200);
    assert_eq!(used(&server, server.team).await, (0, 0));
    assert_eq!(used(&server, team).await, (2, 8));
    assert_eq!(server.engine.check(false).unwrap(), []);
}

#[tokio::test]
async fn many_uploads_at_once_to_many_datasets_come_to_the_quota_and_not_beyond() {
    let server = Server::start().await;
    let datasets = [server.add_dataset("one").await, server.add_dataset("two").await];
    set(&server, server.team, json!({"files": 10})).await;
    let uploads = (0..40).map(|number| {
        let path = datasets[number % 2].path(&format!("/files/{number}"));
        let client = datasets[0].client.clone();
        tokio::spawn(async move { client.upload(&path, number.to_string()).await.status.as_u16() })
    });
    let uploads: Vec<_> = uploads.collect();
    let mut taken = 0;
    for upload in uploads {
        match upload.await.unwrap() {
            200 => taken += 1,
            other => assert_eq!(other, 507),
        }
    }
    assert_eq!(taken, 10);
    assert_eq!(used(&server, server.team).await.0, 10);
    assert_eq!(server.engine.check(false).unwrap(), []);
}

#[tokio::test]
async fn a_file_is_replaced_under_any_spelling_of_its_name_where_no_other_has_room() {
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    dataset.add("a", "12345").await.is(200);
    set(&server, server.team, json!({"files": 1})).await;
    for (name, content) in [("a", "1"), ("%2Fa", "2")] {
        let path = dataset.path(&format!("/files/{name}?replace=true"));
        dataset.client.send("PUT", &path, content).await.is(200);
        assert_eq!(dataset.content("a").await.body, content);
    }
    let other = dataset.path("/files/%2Fb?replace=true");
    is_refused(dataset.client.send("PUT", &other, "3").await, "may hold 1 files");
    assert_eq!(dataset.names().await, ["a"]);
}

#[tokio::test]
async fn replacing_attaching_and_uploads_that_go_on_obey_the_quota() {
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    dataset.add("a", "12345").await.is(200);
    set(&server, server.team, json!({"files": 2, "bytes": 10})).await;
    let replace = dataset.path("/files/a?replace=true");
    let put = async |content: &'static str| dataset.client.send("PUT", &replace, content).await;
    // Only the growth counts, of a body that tells its length and of one that does not.
    is_refused(put("12345678901").await, "holds 5, and 6 more");
    let client = dataset.client.with("Content-Length", "11");
    is_refused(client.send("PUT", &replace, "").await, "holds 5, and 6 more");
    assert_eq!(dataset.content("a").await.body, "12345");
    put("1234567890").await.is(200);
    put("1234").await.is(200);
    assert_eq!(used(&server, server.team).await, (1, 4));

    let handle = Digest::of(b"1234").to_string();
    let claim = |name: &str| json!({"filename": name, "handle": handle, "size": 4});
    let attach = dataset.path("/files-attach");
    let attached = async |files: Value| dataset.client.post(&attach, &files).await;
    let two = json!({"files": [claim("b"), claim("c")]});
    is_refused(attached(two).await, "may hold 2 files, holds 1, and 2 more");

    // Refused when it begins, if it is too much then; or else with its last byte, and it stays.
    let begin = async |name: &str, length: &'static str| {
        let metadata = format!("filename {}", STANDARD.encode(name));
        let client = dataset.client.with("Upload-Length", length);
        let client = client.with("Upload-Metadata", metadata);
        client.send("POST", &dataset.path("/uploads"), "").await
    };
    is_refused(begin("u", "7").await, "holds 4, and 7 more");
    let upload = begin("u", "6").await.is(201).header("location").to_owned();
    attached(json!({"files": [claim("b")]})).await.is(200);
    let part = dataset.client.with("Content-Type", "application/offset+octet-stream");
    let first = part.with("Upload-Offset", "0");
    is_refused(first.send("PATCH", &upload, "123456").await, "may hold 2 files");
    dataset.client.delete(&dataset.path("/files/b")).await.is(200);
    let last = part.with("Upload-Offset", "5");
    last.send("PATCH", &upload, "6").await.is(204);
    assert_eq!(dataset.content("u").await.body, "123456");
    assert_eq!(used(&server, server.team).await, (2, 10));
    assert_eq!(server.engine.check(false).unwrap(), []);
}

#[tokio::test]
async fn a_large_upload_that_the_quota_refused_at_its_end_goes_on_when_there_is_room() {
    const LENGTH: usize = 2 << 20;
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    set(&server, server.team, json!({"files": 1})).await;
    let client = dataset.client.with("Upload-Length", LENGTH.to_string());
    let client = client.with("Upload-Metadata", "filename bGFyZ2U=");
    let upload = client.send("POST", &dataset.path("/uploads"), "").await.is(201);
    let upload = upload.header("location").to_owned();
    dataset.add("a", "1").await.is(200);
    let part = dataset.client.with("Content-Type", "application/offset+octet-stream");
    let all = part.with("Upload-Offset", "0").send("PATCH", &upload, vec![7; LENGTH]).await;
    is_refused(all, "may hold 1 files, holds 1, and 1 more");
    assert_eq!(dataset.names().await, ["a"]);
    dataset.client.delete(&dataset.path("/files/a")).await.is(200);
    let last = part.with("Upload-Offset", (LENGTH - 1).to_string());
    last.send("PATCH", &upload, vec![7]).await.is(204);
    assert!(dataset.content("large").await.is(200).body == vec![7; LENGTH]);
    assert_eq!(server.engine.check(true).unwrap(), []);
}
