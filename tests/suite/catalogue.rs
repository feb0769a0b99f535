use granary_engine::model::PermissionLevel::{Read, Write};
use serde_json::{Value, json};

use crate::support::{PASSWORD, Server};

#[tokio::test]
async fn a_user_is_shown_without_the_password() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let body = json!({
        "username": " ann ", "password": PASSWORD, "email": "ann@example.org",
        "is_superuser": true, "date_joined": "2000-01-01",
    });
    let user = admin.post("/v1/users/create", &body).await.json(201);
    let pk = user["pk"].clone();
    let joined = user["date_joined"].clone();
    let expected = json!({
        "username": "ann", "pk": pk, "last_login": null, "is_superuser": false,
        "first_name": "", "last_name": "", "email": "ann@example.org", "is_staff": false,
        "is_active": true, "date_joined": joined,
    });
    assert_eq!(user, expected);
    assert_eq!(joined.as_str().unwrap().len(), "2000-01-01T00:00:00.000000Z".len());
    assert_eq!(admin.get(&format!("/v1/users/{pk}/")).await.json(200), expected);
    assert_eq!(admin.get("/v1/users/ann").await.json(200), json!([expected]));
    assert_eq!(admin.get("/v1/users/nobody").await.json(200), json!([]));
}

#[tokio::test]
async fn wrong_fields_of_a_user_are_told_all_at_once() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let body = json!({
        "username": "a b", "password": "x".repeat(129), "email": "nobody", "is_staff": "maybe",
    });
    let wrong = admin.post("/v1/users/create", &body).await.json(400);
    let mut fields: Vec<&String> = wrong.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["email", "is_staff", "password", "username"]);

    let taken = json!({"username": "admin", "password": PASSWORD});
    let wrong = admin.post("/v1/users/create", &taken).await.json(400);
    let text = "A user with that username already exists.";
    assert_eq!(wrong, json!({"username": [text]}));
}

#[tokio::test]
async fn lists_show_what_the_caller_may_see() {
    let server = Server::start().await;
    let (_, foreign) = server.add_foreign_project("foreign").await;
    let ann = server.member("ann", Read).await;
    let pks = |list: Value| -> Vec<u64> {
        let list = list.as_array().unwrap().iter();
        list.map(|row| row["pk"].as_u64().unwrap()).collect()
    };
    let all = json!({});
    let projects = pks(ann.post("/v1/projects/list", &all).await.json(200));
    assert_eq!(projects, [server.project]);
    assert_eq!(pks(ann.post("/v1/teams/list", &all).await.json(200)), [server.team]);
    assert_eq!(pks(ann.post("/v1/licences/list", &all).await.json(200)).len(), 14);
    ann.post("/v1/nodes/list", &all).await.is(200);
    ann.post("/v1/users/list", &all).await.is(403);
    ann.get(&format!("/v1/projects/{foreign}")).await.is(403);

    let admin = server.admin().await;
    let projects = pks(admin.post("/v1/projects/list", &all).await.json(200));
    assert_eq!(projects, [server.project, foreign]);
    for resource in ["users", "teams", "projects", "licences", "nodes"] {
        let path = format!("/v1/{resource}/list");
        server.anonymous().post(&path, &all).await.is(401);
    }
}

#[tokio::test]
async fn inactive_users_are_listed_on_request() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let idle = json!({"username": "idle", "password": PASSWORD, "is_active": false});
    admin.post("/v1/users/create", &idle).await.is(201);
    let names = |list: Value| list.as_array().unwrap().len();
    assert_eq!(names(admin.post("/v1/users/list", &json!({})).await.json(200)), 1);
    let all = json!({"include_inactive": true});
    assert_eq!(names(admin.post("/v1/users/list", &all).await.json(200)), 2);
}

#[tokio::test]
async fn a_project_belongs_to_a_team_that_is_there() {
    let server = Server::start().await;
    let ann = server.member("ann", Write).await;
    let project = json!({"name": "p", "team": server.team});
    let created = ann.post("/v1/projects/create", &project).await.json(201);
    assert_eq!(created["name"], "p");
    assert_eq!(created["deletion_time"], Value::Null);
    let detail = ann.post("/v1/projects/create", &project).await.detail(400);
    assert!(detail.starts_with("UNIQUE constraint failed: "), "{detail}");

    let nowhere = json!({"name": "q", "team": 999});
    let wrong = ann.post("/v1/projects/create", &nowhere).await.json(400);
    let text = "Invalid pk \"999\" - object does not exist.";
    assert_eq!(wrong, json!({"team": [text]}));

    let (team, _) = server.add_foreign_project("foreign").await;
    let foreign = json!({"name": "q", "team": team});
    ann.post("/v1/projects/create", &foreign).await.is(403);
    server.anonymous().post("/v1/projects/create", &project).await.is(401);
}

#[tokio::test]
async fn team_names_are_unique() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let wrong = admin.post("/v1/teams/create", &json!({"name": "default"})).await.json(400);
    assert_eq!(wrong, json!({"name": ["team with this name already exists."]}));
}

#[tokio::test]
async fn licences_are_there_under_both_spellings() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let body = json!({"name": "Mine", "url": "https://example.org/mine"});
    let created = admin.post("/v1/licenses/create", &body).await.json(201);
    let path = format!("/v1/licences/{}", created["pk"]);
    assert_eq!(admin.get(&path).await.json(200), created);
    assert_eq!(created["permissions"], json!([]));
    let taken = admin.post("/v1/licences/create", &body).await.json(400);
    assert!(taken["name"].is_array(), "{taken}");
    let bad = json!({"name": "Other", "url": "nowhere"});
    let wrong = admin.post("/v1/licences/create", &bad).await.json(400);
    assert_eq!(wrong, json!({"url": ["Enter a valid URL."]}));
}

#[tokio::test]
async fn a_node_is_unique_by_address_and_index() {
    let server = Server::start().await;
    let ann = server.stranger("ann").await;
    let body = json!({"ip": "10.0.0.1", "index": 1, "cpu_mem": 64, "gpu_mem": null});
    let node = ann.post("/v1/nodes/create", &body).await.json(201);
    assert_eq!(node["gpu_mem"], Value::Null);
    assert_eq!(node["last_seen"], Value::Null);
    let wrong = ann.post("/v1/nodes/create", &body).await.json(400);
    let text = "The fields ip, index must make a unique set.";
    assert_eq!(wrong, json!({"non_field_errors": [text]}));
    let wrong = ann.post("/v1/nodes/create", &json!({"index": 1e30, "ip": "x"})).await.json(400);
    assert_eq!(wrong["index"], json!(["A valid integer is required."]));
    assert_eq!(wrong["cpu_mem"], json!(["This field is required."]));
}

#[tokio::test]
async fn what_is_not_there_is_told_by_its_kind() {
    let server = Server::start().await;
    for (resource, kind) in [
        ("datasets", "Dataset"),
        ("teams", "Team"),
        ("projects", "Project"),
        ("users", "User"),
        ("licences", "Licence"),
        ("nodes", "Node"),
    ] {
        for pk in ["999", "18446744073709551616", "0"] {
            // Even for the anonymous: the object is looked for before the right.
            let answer = server.anonymous().get(&format!("/v1/{resource}/{pk}")).await;
            assert_eq!(answer.detail(404), format!("No {kind} matches the given query."));
        }
    }
}
