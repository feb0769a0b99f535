//! The audit log: who did what to which dataset, when, from where; for administrators alone.

use std::net::IpAddr;

use granary_engine::model::PermissionLevel;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Server, zip_of};

/// The entries that a query gives, as administrators see them.
async fn entries(admin: &Client, query: &str) -> Vec<Value> {
    let page = admin.get(&format!("/v1/audit?{query}")).await.json(200);
    page["entries"].as_array().unwrap().clone()
}

/// The newest entry.
async fn last(admin: &Client) -> Value {
    entries(admin, "limit=1").await.remove(0)
}

/// Asserts success, whichever it is.
#[track_caller]
fn done(answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(answer.status.is_success(), "{}: {text}", answer.status);
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_change_is_in_the_log_before_it_is_answered_with_who_what_and_which_request() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let dataset = server.add_dataset("birds").await;
    let pk = dataset.pk;
    let ann = server.member("ann", PermissionLevel::Write).await;
    let who = admin.get("/v1/users/ann").await.json(200)[0]["pk"].as_u64().unwrap();
    let path = dataset.path("/files/d/robin.png");
    ann.with("X-Request-Id", "my-request").upload(&path, "bytes").await.is(200);
    let entry = last(&admin).await;
    assert_eq!(entry["user"], who);
    assert_eq!(entry["username"], "ann");
    assert_eq!(entry["access_token"], Value::Null);
    assert_eq!(entry["action"], "files_add_file");
    assert_eq!(entry["status"], 200);
    assert_eq!(entry["request_id"], "my-request");
    assert_eq!(entry["dataset"], pk);
    assert_eq!(entry["team"], server.team);
    assert_eq!(entry["name"], "birds");
    assert_eq!(entry["filename"], "d/robin.png");
    let time: jiff::Timestamp = entry["time"].as_str().unwrap().parse().unwrap();
    assert!(time <= jiff::Timestamp::now());

    ann.delete(&path).await.is(200);
    let deleted = last(&admin).await;
    assert_eq!(
        (&deleted["action"], &deleted["filename"]),
        (&json!("files_delete_file"), &json!("d/robin.png"))
    );
    assert_eq!(deleted["sequence"], entry["sequence"].as_u64().unwrap() + 1);
    // What was refused, or changed nothing, is no change.
    ann.delete(&path).await.is(404);
    ann.get(&dataset.path("")).await.is(200);
    assert_eq!(last(&admin).await, deleted);
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn every_kind_of_change_to_a_dataset_has_its_entry() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let dataset = server.add_dataset("one").await;
    let before = last(&admin).await["sequence"].as_u64().unwrap();
    done(&dataset.add("a", "a").await);
    done(
        &dataset
            .client
            .upload(&dataset.path("/files-multi"), zip_of(&[("z/1", "1"), ("z/2", "2")]))
            .await,
    );
    done(&dataset.set_metadata("a", "text").await);
    let post = async |rest: &str, body: Value| {
        done(&dataset.client.post(&dataset.path(rest), &body).await);
    };
    post("/metadata-multi", json!({"metadata": {"a": "x", "z/1": "y"}})).await;
    post("/files-rename", json!({"from": "a", "to": "b"})).await;
    post("/files-delete", json!({"prefix": "z/"})).await;
    done(&dataset.client.delete(&dataset.path("/clear")).await);
    done(&admin.patch(&dataset.path(""), &json!({"is_public": true})).await);
    let copy =
        admin.post(&dataset.path("/copy"), &json!({})).await.json(200)["pk"].as_u64().unwrap();
    done(&admin.delete(&format!("/v1/datasets/{copy}")).await);
    done(&admin.delete(&format!("/v1/datasets/{copy}/reinstate")).await);
    done(&admin.delete(&format!("/v1/datasets/{copy}/hard")).await);
    let log = entries(&admin, &format!("order=oldest&after={before}&limit=100")).await;
    let expected = [
        "files_add_file",
        "files_add_files",
        "metadata_set_metadata",
        "metadata_set_many_metadata",
        "files_rename_file",
        "files_delete_files",
        "datasets_clear",
        "datasets_partial_update",
        "datasets_copy",
        "datasets_destroy",
        "datasets_reinstate",
        "datasets_hard_delete",
    ];
    assert_eq!(actions(&log), expected);
    let of = |action: &str| log.iter().rfind(|entry| entry["action"] == action).unwrap();
    assert_eq!(of("files_add_files")["files"], 2);
    assert_eq!(of("files_delete_files")["files"], 2);
    assert_eq!(of("files_rename_file")["detail"], "to b");
    assert_eq!(of("datasets_partial_update")["detail"], "public");
    assert_eq!(of("datasets_copy")["detail"], format!("of dataset {}", dataset.pk));
    assert_eq!(of("datasets_hard_delete")["dataset"], copy);
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn every_kind_of_change_to_who_may_what_has_its_entry() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let dataset = server.add_dataset("one").await;
    let before = last(&admin).await["sequence"].as_u64().unwrap();
    let user = admin
        .post("/v1/users/create", &json!({"username": "eve", "password": "a long enough secret"}))
        .await
        .json(201)["pk"]
        .clone();
    let team = admin.post("/v1/teams/create", &json!({"name": "t"})).await.json(201)["pk"].clone();
    let membership = json!({"method": "add", "username": "eve", "permissions": "W"});
    done(&admin.patch(&format!("/v1/teams/{team}/memberships"), &membership).await);
    done(&admin.patch(&format!("/v1/users/{user}"), &json!({"is_active": false})).await);
    done(&admin.put(&format!("/v1/teams/{team}/quota"), &json!({"files": 7})).await);
    let project = json!({"name": "p", "team": team});
    let project = admin.post("/v1/projects/create", &project).await.json(201)["pk"].clone();
    done(&admin.delete(&format!("/v1/projects/{project}")).await);
    let licence = json!({"name": "l", "url": "https://example.org/"});
    let licence = admin.post("/v1/licences/create", &licence).await.json(201)["pk"].clone();
    done(&admin.delete(&format!("/v1/licences/{licence}")).await);
    let token = json!({"name": "robot", "team": server.team, "permissions": "W"});
    let token = admin.post("/v1/access-tokens/create", &token).await.json(201);
    let robot = server
        .anonymous()
        .with("Authorization", format!("Bearer {}", token["token"].as_str().unwrap()));
    done(&robot.upload(&dataset.path("/files/by-robot"), "r").await);
    done(&admin.delete(&format!("/v1/access-tokens/{}", token["pk"])).await);

    let log = entries(&admin, &format!("order=oldest&after={before}&limit=100")).await;
    let expected = [
        "users_create",
        "teams_create",
        "teams_modify_memberships",
        "users_partial_update",
        "teams_update_quota",
        "projects_create",
        "projects_destroy",
        "licences_create",
        "licences_destroy",
        "access-tokens_create",
        "files_add_file",
        "access-tokens_revoke",
    ];
    assert_eq!(actions(&log), expected);
    let of = |action: &str| log.iter().rfind(|entry| entry["action"] == action).unwrap();
    assert_eq!(of("users_create")["status"], 201);
    assert_eq!(
        (&of("users_create")["record"], &of("users_create")["record_pk"]),
        (&json!("user"), &user)
    );
    assert_eq!(of("users_partial_update")["detail"], "not active");
    assert_eq!(of("teams_modify_memberships")["detail"], "write");
    assert_eq!(of("teams_update_quota")["detail"], "any number of bytes, 7 files");
    assert_eq!(of("files_add_file")["access_token"], token["pk"]);
    assert_eq!(of("access-tokens_revoke")["access_token"], Value::Null);
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn files_that_are_added_one_by_one_have_no_entry_where_the_operator_does_without() {
    let server = Server::start_with(|app| app.with_audit_of_additions(false)).await;
    let admin = server.admin().await;
    let dataset = server.add_dataset("one").await;
    done(&dataset.add("a", "a").await);
    assert_eq!(last(&admin).await["action"], "datasets_create");
    done(&dataset.client.send("PUT", &dataset.path("/files/a?replace=true"), "b").await);
    assert_eq!(last(&admin).await["action"], "files_replace_file");
    done(&dataset.client.delete(&dataset.path("/files/a")).await);
    assert_eq!(last(&admin).await["action"], "files_delete_file");
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn logins_that_fail_and_succeed_are_in_the_log_and_no_secret_is() {
    let server = Server::start().await;
    let admin = server.admin().await;
    server.add_user("ann").await;
    let wrong = json!({"username": "ann", "password": "hunter2-wrong"});
    server.anonymous().post("/v1/auth/obtain", &wrong).await.is(401);
    let entry = last(&admin).await;
    assert_eq!((&entry["action"], &entry["status"]), (&json!("auth_obtain"), &json!(401)));
    assert_eq!((&entry["user"], &entry["name"]), (&Value::Null, &json!("ann")));
    // A name that is nobody's may be a password.
    let mistaken = json!({"username": "correct horse battery", "password": "hunter2-wrong"});
    server.anonymous().post("/v1/auth/obtain", &mistaken).await.is(401);
    let entry = last(&admin).await;
    assert_eq!((&entry["status"], &entry["name"]), (&json!(401), &Value::Null));
    let ann = server.login("ann").await;
    let entry = last(&admin).await;
    assert_eq!((&entry["action"], &entry["status"]), (&json!("auth_obtain"), &json!(200)));
    assert_eq!(entry["username"], "ann");
    let password = json!({"old_password": "not it", "new_password": "another-long-secret"});
    ann.post("/v1/auth/password", &password).await.is(400);
    assert_eq!(last(&admin).await["status"], 400);
    admin.post("/v1/auth/rotate-key", &json!({})).await.is(204);
    let admin = server.admin().await;
    let log = entries(&admin, "limit=1000&order=oldest").await;
    assert!(actions(&log).contains(&"auth_rotate_key"));
    let text = Value::from(log).to_string();
    for secret in ["hunter2", "correct horse", "not it", "another-long", "argon2", "Bearer"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn refused_changes_are_in_the_log_and_refused_reads_are_not() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let dataset = server.add_dataset("d").await;
    let reader = server.member("ann", PermissionLevel::Read).await;
    reader.upload(&dataset.path("/files/a"), "a").await.is(403);
    let entry = last(&admin).await;
    assert_eq!((&entry["status"], &entry["username"]), (&json!(403), &json!("ann")));
    assert_eq!(entry["dataset"], dataset.pk);
    let detail = format!("refused: POST {}", dataset.path("/files/a"));
    assert_eq!(entry["detail"], detail);
    server.anonymous().delete(&dataset.path("")).await.is(401);
    let entry = last(&admin).await;
    assert_eq!((&entry["status"], &entry["user"]), (&json!(401), &Value::Null));
    reader.get("/v1/audit").await.is(403);
    reader.post("/v1/users/list", &json!({})).await.is(403);
    assert_eq!(last(&admin).await, entry);
}

#[tokio::test]
async fn entries_say_where_a_request_came_from() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let dataset = server.add_dataset("d").await;
    let near = dataset.client.at("192.0.2.7");
    near.upload(&dataset.path("/files/a"), "a").await.is(200);
    let entry = last(&admin).await;
    let address: IpAddr = entry["address"].as_str().unwrap().parse().unwrap();
    assert_eq!(address, IpAddr::from([192, 0, 2, 7]));
}

#[tokio::test]
async fn filters_and_pages_lead_through_the_log() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let (one, two) = (server.add_dataset("one").await, server.add_dataset("two").await);
    let ann = server.member("ann", PermissionLevel::Write).await;
    for number in 0..5 {
        ann.upload(&one.path(&format!("/files/{number}")), "x").await.is(200);
    }
    two.add("a", "a").await.is(200);
    let of_one = entries(&admin, &format!("dataset={}&username=ann", one.pk)).await;
    assert_eq!(of_one.len(), 5);
    assert_eq!(of_one[0]["filename"], "4", "the newest first");
    let action = entries(&admin, "action=files_add_file&order=oldest").await;
    assert_eq!(action.len(), 6);
    let request = of_one[2]["request_id"].as_str().unwrap();
    assert_eq!(entries(&admin, &format!("request_id={request}")).await, [of_one[2].clone()]);
    let time = of_one[2]["time"].as_str().unwrap();
    let later = entries(&admin, &format!("from={time}&dataset={}", one.pk)).await;
    let earlier = entries(&admin, &format!("to={time}&dataset={}", one.pk)).await;
    assert!(later.contains(&of_one[2]) && !earlier.contains(&of_one[2]));
    let team = entries(&admin, &format!("team={}&user=999", server.team)).await;
    assert!(team.is_empty());

    let (mut found, mut path) = (Vec::new(), "/v1/audit?limit=2&order=oldest".to_owned());
    loop {
        let answer = admin.get(&path).await;
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        let page = answer.json(200);
        found.extend(page["entries"].as_array().unwrap().clone());
        let Some(link) = link else {
            assert_eq!(page["next"], Value::Null);
            break;
        };
        path = link.split(['<', '>']).nth(1).unwrap().to_owned();
    }
    let all = entries(&admin, "limit=1000&order=oldest").await;
    assert_eq!(found, all);
    let numbers: Vec<u64> = all.iter().map(|entry| entry["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=u64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    for wrong in ["limit=0", "limit=1001", "order=up", "from=yesterday", "user=ann", "after=x"] {
        admin.get(&format!("/v1/audit?{wrong}")).await.is(400);
    }
}

#[tokio::test]
async fn the_log_outlives_a_restart() {
    let server = Server::start().await;
    let dataset = server.add_dataset("d").await;
    dataset.add("a", "a").await.is(200);
    let before = entries(&server.admin().await, "action=files_add_file").await;
    drop(dataset);
    let server = server.restart().await;
    assert_eq!(entries(&server.admin().await, "action=files_add_file").await, before);
    assert_eq!(before.len(), 1);
}
