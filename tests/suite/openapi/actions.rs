//! Every action of the API by hand, so that none can get lost from the routes and the document.

use std::collections::BTreeSet;

use crate::support::Server;

/// The datasets' own document, in its order, and the actions beyond it.
const DATASETS: [&str; 38] = [
    "POST /v1/datasets/list",
    "POST /v1/datasets/create",
    "GET /v1/datasets/{pk}",
    "PUT /v1/datasets/{pk}",
    "PATCH /v1/datasets/{pk}",
    "DELETE /v1/datasets/{pk}",
    "DELETE /v1/datasets/{pk}/clear",
    "POST /v1/datasets/{pk}/merge/{other}",
    "POST /v1/datasets/{pk}/download",
    "POST /v1/datasets/{pk}/copy",
    "POST /v1/datasets/{pk}/files/{filename}",
    "POST /v1/datasets/{pk}/files-multi",
    "GET /v1/datasets/{pk}/files/{filename}",
    "DELETE /v1/datasets/{pk}/files/{filename}",
    "POST /v1/datasets/{pk}/metadata/{filename}",
    "GET /v1/datasets/{pk}/metadata/{filename}",
    "GET /v1/datasets/{pk}/metadata",
    "DELETE /v1/datasets/{pk}/hard",
    "DELETE /v1/datasets/{pk}/reinstate",
    "GET /v1/datasets/{pk}/file-handles/{handle}",
    "GET /v1/datasets/{pk}/files",
    "POST /v1/datasets/{pk}/files-delete",
    "POST /v1/datasets/{pk}/files-rename",
    "POST /v1/datasets/{pk}/metadata-multi",
    "POST /v1/datasets/{pk}/files-check",
    "POST /v1/datasets/{pk}/files-attach",
    "PUT /v1/datasets/{pk}/files/{filename}",
    "POST /v1/datasets/{pk}/uploads",
    "GET /v1/datasets/{pk}/uploads/{upload}",
    "PATCH /v1/datasets/{pk}/uploads/{upload}",
    "DELETE /v1/datasets/{pk}/uploads/{upload}",
    "GET /v1/datasets/{pk}/archive.zip",
    "GET /v1/datasets/{pk}/archive.tar.gz",
    // Every GET answers HEAD; these have more to say of it.
    "HEAD /v1/datasets/{pk}/files/{filename}",
    "HEAD /v1/datasets/{pk}/uploads/{upload}",
    "HEAD /v1/datasets/{pk}/file-handles/{handle}",
    "HEAD /v1/datasets/{pk}/archive.zip",
    "HEAD /v1/datasets/{pk}/archive.tar.gz",
];

/// The actions on what datasets need.
const CATALOGUE: [&str; 24] = [
    "POST /v1/users/list",
    "POST /v1/users/create",
    "GET /v1/users/{user}",
    "PUT /v1/users/{user}",
    "PATCH /v1/users/{user}",
    "DELETE /v1/users/{user}",
    "PATCH /v1/teams/{pk}/memberships",
    "GET /v1/teams/{pk}/permissions/{username}",
    "DELETE /v1/teams/{pk}/hard",
    "DELETE /v1/teams/{pk}/reinstate",
    "DELETE /v1/projects/{pk}/hard",
    "DELETE /v1/projects/{pk}/reinstate",
    "PATCH /v1/licences/{pk}/subdescriptors",
    "PATCH /v1/licenses/{pk}/subdescriptors",
    "GET /v1/nodes/ping",
    "GET /v1/nodes/{pk}/ping",
    "POST /v1/auth/obtain",
    "POST /v1/auth/refresh",
    "POST /v1/auth/verify",
    "POST /v1/auth/password",
    "POST /v1/backups/create",
    "GET /v1/backups/{pk}/state",
    "POST /v1/backups/{pk}/contents",
    "DELETE /v1/backups/{pk}",
];

/// Who programs act for, and how much teams may hold.
const SECURITY: [&str; 6] = [
    "POST /v1/auth/rotate-key",
    "GET /v1/access-tokens",
    "POST /v1/access-tokens/create",
    "DELETE /v1/access-tokens/{pk}",
    "GET /v1/teams/{pk}/quota",
    "PUT /v1/teams/{pk}/quota",
];

/// What has the six actions of every record; users have them under names too.
const RECORDS: [&str; 5] = ["teams", "projects", "licences", "licenses", "nodes"];

const SERVER: [&str; 6] = [
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/{asset}",
];

/// Whether what is stored is sound.
const STORE: [&str; 15] = [
    "GET /v1/audit",
    "GET /v1/store/check",
    "POST /v1/store/check",
    "DELETE /v1/store/check",
    "GET /v1/store/scrub",
    "POST /v1/store/scrub",
    "GET /v1/store/quarantine",
    "GET /v1/store/usage",
    "POST /v1/store/usage",
    "DELETE /v1/store/usage",
    "GET /v1/store/garbage",
    "GET /v1/store/collection",
    "POST /v1/store/collection",
    "DELETE /v1/store/collection",
    "GET /v1/store/status",
];

fn actions() -> BTreeSet<String> {
    let mut actions: BTreeSet<String> = DATASETS
        .into_iter()
        .chain(CATALOGUE)
        .chain(SECURITY)
        .chain(STORE)
        .chain(SERVER)
        .map(str::to_owned)
        .collect();
    for record in RECORDS {
        actions.insert(format!("POST /v1/{record}/list"));
        actions.insert(format!("POST /v1/{record}/create"));
        for method in ["GET", "PUT", "PATCH", "DELETE"] {
            actions.insert(format!("{method} /v1/{record}/{{pk}}"));
        }
    }
    actions
}

#[tokio::test]
async fn the_document_has_every_action_and_no_other() {
    let document = super::document().await;
    let mut described = BTreeSet::new();
    super::each_operation(&document, |path, method, _| {
        described.insert(format!("{} {path}", method.to_uppercase()));
    });
    let actions = actions();
    let missing: Vec<_> = actions.difference(&described).collect();
    let unknown: Vec<_> = described.difference(&actions).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

#[tokio::test]
async fn the_router_has_every_action() {
    let server = Server::start().await;
    let client = server.anonymous();
    for action in actions() {
        let (method, path) = action.split_once(' ').unwrap();
        let path = path.replace(['{', '}'], "");
        let allow = client.send("OPTIONS", &path, Vec::new()).await.is(200);
        let allowed: Vec<_> = allow.header("allow").split(", ").collect();
        assert!(allowed.contains(&method), "{action}: {allowed:?}");
        let answer = client.send(method, &path, Vec::new()).await;
        assert_ne!(answer.status, 405, "{action}");
        assert_eq!(answer.header("allow"), allow.header("allow"), "{action}: {}", answer.status);
    }
}
