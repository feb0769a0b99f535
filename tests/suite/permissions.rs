use granary_engine::model::PermissionLevel::{Admin, Execute, Read, Write};
use serde_json::{Value, json};

use crate::support::{Client, Dataset, Server};

/// Who needs what, as the API's document has it.
#[derive(Clone, Copy, PartialEq)]
enum Right {
    /// Members, and everyone if the dataset is public.
    See,
    /// Members.
    Read,
    /// Writers, and executing members on a node.
    Change,
    /// Writers.
    Write,
    /// Administrators.
    Administer,
}

/// Every action on a dataset that is there, with a body that is refused after the permission was
/// given (or changes nothing), so that one dataset serves them all.
fn actions(dataset: &Dataset) -> Vec<(&'static str, String, Value, Right)> {
    let path = |rest: &str| dataset.path(rest);
    let bad = json!({"unknown": 1});
    vec![
        ("GET", path(""), Value::Null, Right::See),
        ("PUT", path(""), json!({}), Right::Change),
        ("PATCH", path(""), json!({}), Right::Change),
        ("DELETE", path("/clear"), Value::Null, Right::Change),
        ("POST", path(&format!("/merge/{}", dataset.pk)), bad.clone(), Right::Change),
        ("POST", path("/download"), json!({"filetype": 1}), Right::Read),
        ("POST", path("/copy"), bad.clone(), Right::Read),
        ("POST", path("/files/.."), Value::Null, Right::Change),
        ("POST", path("/files-multi"), Value::Null, Right::Change),
        ("GET", path("/files/nothing"), Value::Null, Right::Read),
        ("GET", path("/file-handles/nothing"), Value::Null, Right::Read),
        ("DELETE", path("/files/nothing"), Value::Null, Right::Change),
        ("POST", path("/metadata/nothing"), bad, Right::Change),
        ("GET", path("/metadata/nothing"), Value::Null, Right::Read),
        ("GET", path("/metadata"), Value::Null, Right::Read),
        ("GET", path("/files"), Value::Null, Right::Read),
        ("GET", path("/files/"), Value::Null, Right::Read),
        ("GET", path("/metadata?limit=1"), Value::Null, Right::Read),
        ("POST", path("/files-delete"), json!({}), Right::Change),
        ("POST", path("/metadata-multi"), json!({}), Right::Change),
        ("POST", path("/files-rename"), json!({}), Right::Change),
        ("DELETE", path("/reinstate"), Value::Null, Right::Administer),
        ("DELETE", path(""), Value::Null, Right::Write),
    ]
}

struct Caller {
    name: &'static str,
    client: Client,
    logged_in: bool,
    rights: &'static [Right],
}

async fn callers(server: &Server) -> Vec<Caller> {
    use Right::{Administer, Change, Read as Look, See, Write as Rule};
    let node = server.add_node().await.to_string();
    let on_node = |client: &Client| client.with("Node-Id", node.clone());
    let caller = |name, client: Client, rights| Caller { name, client, logged_in: true, rights };
    let reader = server.member("reader", Read).await;
    let executor = server.member("executor", Execute).await;
    let writer = server.member("writer", Write).await;
    let leader = server.member("leader", Admin).await;
    let stranger = server.stranger("stranger").await;
    let anonymous = |name, client| Caller { name, client, logged_in: false, rights: &[] };
    vec![
        anonymous("anonymous", server.anonymous()),
        anonymous("anonymous on a node", on_node(&server.anonymous())),
        caller("stranger on a node", on_node(&stranger), &[]),
        caller("stranger", stranger, &[]),
        caller("reader on a node", on_node(&reader), &[See, Look]),
        caller("reader", reader, &[See, Look]),
        caller("executor on a node", on_node(&executor), &[See, Look, Change]),
        caller("executor", executor, &[See, Look]),
        caller("writer on a node", on_node(&writer), &[See, Look, Change, Rule]),
        caller("writer", writer, &[See, Look, Change, Rule]),
        caller("leader", leader, &[See, Look, Change, Rule]),
        caller("administrator", server.admin().await, &[See, Look, Change, Rule, Administer]),
    ]
}

#[tokio::test]
async fn every_action_is_open_to_whom_the_document_says() {
    let server = Server::start().await;
    let closed = server.add_dataset("closed").await;
    let open = server.add_dataset("open").await;
    let public = json!({"is_public": true});
    open.client.patch(&open.path(""), &public).await.is(200);
    let callers = callers(&server).await;
    for (dataset, is_public) in [(&closed, false), (&open, true)] {
        for (method, path, body, right) in actions(dataset) {
            for Caller { name, client, logged_in, rights } in &callers {
                let client = if body.is_null() {
                    client.clone()
                } else {
                    client.with("Content-Type", "application/json")
                };
                let text = if body.is_null() { String::new() } else { body.to_string() };
                let answer = client.send(method, &path, text).await;
                let status = answer.status.as_u16();
                let allowed = rights.contains(&right) || (is_public && right == Right::See);
                let case = format!("{name}: {method} {path} gave {status}");
                match (allowed, logged_in) {
                    (true, _) => assert!(![401, 403].contains(&status), "{case}"),
                    (false, true) => assert_eq!(status, 403, "{case}"),
                    (false, false) => assert_eq!(status, 401, "{case}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_dataset_is_made_where_its_maker_may_write() {
    let server = Server::start().await;
    let body = server.dataset_body("new");
    for Caller { name, client, logged_in, rights } in callers(&server).await {
        let status = client.post("/v1/datasets/create", &body).await.status.as_u16();
        match (rights.contains(&Right::Write), logged_in) {
            // The first one makes it, the others find the name taken.
            (true, _) => assert!([201, 400].contains(&status), "{name}: {status}"),
            (false, true) => assert_eq!(status, 403, "{name}"),
            (false, false) => assert_eq!(status, 401, "{name}"),
        }
    }
}

#[tokio::test]
async fn a_dataset_moves_only_where_its_mover_may_write() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let (team, foreign) = server.add_foreign_project("foreign").await;
    let ann = server.add_user("ann").await;
    server.join(ann, server.team, Write).await;
    let client = server.login("ann").await;
    let moved = json!({"project": foreign});
    client.patch(&dataset.path(""), &moved).await.is(403);
    server.join(ann, team, Read).await;
    client.patch(&dataset.path(""), &moved).await.is(403);
    assert_eq!(dataset.fields().await["project"], server.project);

    let bob = server.add_user("bob").await;
    server.join(bob, server.team, Write).await;
    server.join(bob, team, Write).await;
    let client = server.login("bob").await;
    client.patch(&dataset.path(""), &moved).await.is(200);
    assert_eq!(dataset.fields().await["project"], foreign);
}

#[tokio::test]
async fn a_merge_needs_the_right_on_both() {
    let server = Server::start().await;
    let target = server.add_dataset("target").await;
    let (_, foreign) = server.add_foreign_project("foreign").await;
    let mut body = server.dataset_body("source");
    body["project"] = json!(foreign);
    body["is_public"] = json!(true);
    let admin = &target.client;
    let source = target.shown(&admin.post("/v1/datasets/create", &body).await.json(201));
    let ann = server.member("ann", Write).await;
    let body = json!({"delete": true});
    for (into, from) in [(&target, &source), (&source, &target)] {
        let path = into.path(&format!("/merge/{}", from.pk));
        ann.post(&path, &body).await.is(403);
        server.anonymous().post(&path, &body).await.is(401);
    }
    assert_eq!(source.fields().await["deletion_time"], Value::Null);
    assert_eq!(target.fields().await["deletion_time"], Value::Null);
}

#[tokio::test]
async fn people_see_themselves_and_their_teams() {
    let server = Server::start().await;
    let ann = server.member("ann", Read).await;
    let listed = server.admin().await.get("/v1/users/ann").await.json(200);
    let pk = &listed[0]["pk"];
    ann.get(&format!("/v1/users/{pk}")).await.is(200);
    ann.get("/v1/users/ann").await.is(200);
    ann.get("/v1/users/1").await.is(403);
    // Whether a name is taken is nobody's business.
    ann.get("/v1/users/admin").await.is(403);
    ann.get("/v1/users/nobody").await.is(403);
    server.anonymous().get("/v1/users/admin").await.is(401);
    ann.get(&format!("/v1/teams/{}", server.team)).await.is(200);
    let (team, project) = server.add_foreign_project("foreign").await;
    ann.get(&format!("/v1/teams/{team}")).await.is(403);
    ann.get(&format!("/v1/projects/{project}")).await.is(403);
    ann.get(&format!("/v1/projects/{}", server.project)).await.is(200);
    for resource in ["users", "teams", "licences"] {
        let body = json!({
            "username": "x", "password": "x", "name": "x", "url": "https://example.org",
        });
        let path = format!("/v1/{resource}/create");
        ann.post(&path, &body).await.is(403);
        server.anonymous().post(&path, &body).await.is(401);
    }
}
