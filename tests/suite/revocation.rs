//! Rights that end while a request is on its way: what its body asks for is not done any longer.

use axum::body::Body;
use futures_util::{StreamExt as _, stream};
use granary_engine::model::{
    AccessTokenId, DatasetId, DatasetPatch, PermissionLevel, ProjectId, ProjectPatch, TeamId,
    UserId, UserPatch,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Answer, Client, PASSWORD, Server, bearer, zip_of};

/// A request whose rights were looked at, and whose body is half there.
struct Held {
    end: oneshot::Sender<()>,
    answer: JoinHandle<Answer>,
}

impl Held {
    async fn begin(client: &Client, method: &'static str, path: &str, body: &[u8]) -> Self {
        let (tell_begun, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (start, rest) = body.split_at(body.len() / 2);
        let (start, rest) = (start.to_vec(), rest.to_vec());
        let rest = stream::once(async move {
            tell_begun.send(()).unwrap();
            ended.await.map(|()| rest).map_err(std::io::Error::other)
        });
        let body = Body::from_stream(stream::iter([Ok(start)]).chain(rest));
        let (client, path) = (client.clone(), path.to_owned());
        let answer = tokio::spawn(async move { client.send(method, &path, body).await });
        begun.await.unwrap();
        Self { end, answer }
    }

    async fn begin_json(client: &Client, method: &'static str, path: &str, body: &Value) -> Self {
        let client = client.with("Content-Type", "application/json");
        Self::begin(&client, method, path, body.to_string().as_bytes()).await
    }

    async fn finish(self) -> Answer {
        self.end.send(()).unwrap();
        self.answer.await.unwrap()
    }
}

async fn change_user(server: &Server, user: u64, patch: UserPatch) {
    server.engine.update_user(UserId(user), patch).await.unwrap();
}

#[tokio::test]
async fn an_administrator_who_was_deactivated_does_not_come_back_by_an_earlier_request() {
    let server = Server::start().await;
    let pk = server.add_user("mallory").await;
    let is_staff = |is_staff| UserPatch { is_staff: Some(is_staff), ..UserPatch::default() };
    change_user(&server, pk, is_staff(true)).await;
    let mallory = server.login("mallory").await;
    let path = format!("/v1/users/{pk}");
    let body = json!({"is_active": true, "is_staff": true});
    let own = Held::begin_json(&mallory, "PATCH", &path, &body).await;
    let list = Held::begin_json(&mallory, "POST", "/v1/users/list", &json!({})).await;
    change_user(&server, pk, is_staff(false)).await;
    list.finish().await.is(403);
    let list = Held::begin_json(&mallory, "POST", "/v1/teams/list", &json!({})).await;
    change_user(&server, pk, UserPatch { is_active: Some(false), ..UserPatch::default() }).await;
    list.finish().await.is(401);
    own.finish().await.is(401);
    let user = server.engine.snapshot().unwrap().user(UserId(pk)).unwrap().unwrap();
    assert!(!user.is_active && !user.is_staff);
}

#[tokio::test]
async fn who_was_removed_from_a_team_adds_neither_themselves_nor_files() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let pk = server.add_user("mallory").await;
    server.join(pk, server.team, PermissionLevel::Admin).await;
    let mallory = server.login("mallory").await;
    let path = format!("/v1/teams/{}/memberships", server.team);
    let body = json!({"username": "mallory", "method": "add", "permissions": "A"});
    let membership = Held::begin_json(&mallory, "PATCH", &path, &body).await;
    let file = Held::begin(&mallory, "POST", &dataset.path("/files/a"), b"content").await;
    let archive = zip_of(&[("b", "content")]);
    let archive = Held::begin(&mallory, "POST", &dataset.path("/files-multi"), &archive).await;
    let headers = [("Upload-Length", "7"), ("Upload-Metadata", "filename Yw==")];
    let headers =
        headers.into_iter().fold(mallory.clone(), |to, (name, value)| to.with(name, value));
    let begun = headers.send("POST", &dataset.path("/uploads"), "").await.is(201);
    let parts = mallory.with("Upload-Offset", "0");
    let parts = parts.with("Content-Type", "application/offset+octet-stream");
    let upload = Held::begin(&parts, "PATCH", begun.header("location"), b"content").await;
    let description =
        Held::begin_json(&mallory, "PATCH", &dataset.path(""), &json!({"description": "d"})).await;
    server.engine.remove_member(TeamId(server.team), UserId(pk)).await.unwrap();
    for held in [membership, file, archive, upload, description] {
        held.finish().await.is(403);
    }
    assert_eq!(dataset.names().await, [""; 0]);
    let snapshot = server.engine.snapshot().unwrap();
    let membership = snapshot.membership(TeamId(server.team), UserId(pk)).unwrap().unwrap();
    assert!(membership.deletion_time.is_some());
}

#[tokio::test]
async fn a_password_that_was_reset_is_not_changed_with_the_one_before() {
    let server = Server::start().await;
    let pk = server.add_user("ann").await;
    let thief = server.login("ann").await;
    let body = json!({"old_password": PASSWORD, "new_password": "another long password"});
    let change = Held::begin_json(&thief, "POST", "/v1/auth/password", &body).await;
    let reset = granary::auth::hash_password("the owner's own password").unwrap();
    let patch = UserPatch { password_hash: Some(reset.clone()), ..UserPatch::default() };
    change_user(&server, pk, patch).await;
    change.finish().await.is(401);
    let user = server.engine.snapshot().unwrap().user(UserId(pk)).unwrap().unwrap();
    assert_eq!(user.password_hash, reset);
}

#[tokio::test]
async fn a_dataset_that_was_moved_to_another_team_is_not_moved_back() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let writer = server.member("mallory", PermissionLevel::Write).await;
    let (_, foreign) = server.add_foreign_project("other").await;
    let body = json!({"project": server.project});
    let back = Held::begin_json(&writer, "PATCH", &dataset.path(""), &body).await;
    let project = Some(ProjectId(foreign));
    let patch = DatasetPatch { project, ..DatasetPatch::default() };
    server.engine.update_dataset(DatasetId(dataset.pk), patch).await.unwrap();
    back.finish().await.is(403);
    let moved = server.engine.snapshot().unwrap().dataset(DatasetId(dataset.pk)).unwrap().unwrap();
    assert_eq!(moved.project, ProjectId(foreign));
}

#[tokio::test]
async fn a_project_that_was_moved_to_another_team_is_not_moved_back() {
    let server = Server::start().await;
    let writer = server.member("mallory", PermissionLevel::Write).await;
    let (other, _) = server.add_foreign_project("other").await;
    let path = format!("/v1/projects/{}", server.project);
    let back = Held::begin_json(&writer, "PATCH", &path, &json!({"team": server.team})).await;
    let to = ProjectPatch { team: Some(TeamId(other)), ..ProjectPatch::default() };
    let project = ProjectId(server.project);
    server.engine.update_project(project, to).await.unwrap();
    back.finish().await.is(403);
    let moved = server.engine.snapshot().unwrap().project(project).unwrap().unwrap();
    assert_eq!(moved.team, TeamId(other));
}

#[tokio::test]
async fn a_dataset_that_one_may_no_longer_change_is_not_merged_into_another() {
    let server = Server::start().await;
    let (foreign, project) = server.add_foreign_project("foreign").await;
    let admin = server.admin().await;
    let target = server.add_dataset("target").await;
    let body = json!({"name": "source", "project": project, "licence": 1, "tags": ""});
    let source = admin.post("/v1/datasets/create", &body).await.json(201)["pk"].as_u64().unwrap();
    admin.upload(&format!("/v1/datasets/{source}/files/a"), "secret").await.is(200);
    let pk = server.add_user("mallory").await;
    server.join(pk, server.team, PermissionLevel::Write).await;
    server.join(pk, foreign, PermissionLevel::Write).await;
    let mallory = server.login("mallory").await;
    let path = target.path(&format!("/merge/{source}"));
    let merge = Held::begin_json(&mallory, "POST", &path, &json!({"delete": true})).await;
    server.engine.remove_member(TeamId(foreign), UserId(pk)).await.unwrap();
    merge.finish().await.is(403);
    assert_eq!(target.names().await, [""; 0]);
    admin.get(&format!("/v1/datasets/{source}/files/a")).await.is(200);
}

#[tokio::test]
async fn nobody_takes_a_backup_with_a_login_that_ended() {
    let server = Server::start().await;
    server.add_dataset("cats").await.add("a", "secret").await.is(200);
    let admin = server.admin().await;
    let backup = admin.post("/v1/backups/create", &json!({})).await.json(201);
    let path = format!("/v1/backups/{}/contents", backup["pk"]);
    let handles = json!({"handles": [granary_engine::model::Digest::of(b"secret").to_string()]});
    let contents = Held::begin_json(&admin, "POST", &path, &handles).await;
    let hash = Some(granary::auth::hash_password("another").unwrap());
    change_user(&server, 1, UserPatch { password_hash: hash, ..UserPatch::default() }).await;
    contents.finish().await.is(401);
}

#[tokio::test]
async fn a_login_or_token_that_ended_meanwhile_adds_nothing() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let ann = server.member("ann", PermissionLevel::Write).await;
    let fields = json!({"name": "robot", "team": server.team, "permissions": "W"});
    let token = ann.post("/v1/access-tokens/create", &fields).await.json(201);
    let robot = server.anonymous().with("Authorization", bearer(&token["token"]));
    let file = Held::begin(&robot, "POST", &dataset.path("/files/a"), b"content").await;
    server.engine.revoke_access_token(AccessTokenId(1)).await.unwrap();
    file.finish().await.is(401);

    let file = Held::begin(&ann, "POST", &dataset.path("/files/a"), b"content").await;
    server.admin().await.post("/v1/auth/rotate-key", &json!({})).await.is(204);
    file.finish().await.is(401);
}

/// The published clients repeat an upload after a 401, and of a stream nothing is left then.
#[tokio::test]
async fn a_stream_that_comes_again_after_its_login_ended_meanwhile_is_not_kept_as_an_empty_file() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    server.member("ann", PermissionLevel::Write).await;
    for (method, path) in [("POST", "/files/a"), ("PUT", "/files/b?replace=true")] {
        let path = dataset.path(path);
        let streaming = async || server.login("ann").await.with("Transfer-Encoding", "chunked");
        let file = Held::begin(&streaming().await, method, &path, b"content").await;
        server.admin().await.post("/v1/auth/rotate-key", &json!({})).await.is(204);
        file.finish().await.is(401);
        let detail = streaming().await.send(method, &path, "").await.detail(400);
        assert!(detail.contains("has been refused with 401 before"), "{detail}");
    }
    let shown = server.engine.snapshot().unwrap().dataset(DatasetId(dataset.pk)).unwrap().unwrap();
    assert_eq!(shown.file_count, 0);
}

#[tokio::test]
async fn who_keeps_their_rights_is_not_kept_from_anything_by_the_changes_of_others() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    let ann = server.member("ann", PermissionLevel::Write).await;
    let file = Held::begin(&ann, "POST", &dataset.path("/files/a"), b"content").await;
    let fields = Held::begin_json(&ann, "PATCH", &dataset.path(""), &json!({"tags": "t"})).await;
    server.stranger("bob").await;
    dataset.client.patch(&dataset.path(""), &json!({"description": "d"})).await.is(200);
    file.finish().await.is(200);
    fields.finish().await.is(200);
    let shown = dataset.fields().await;
    assert_eq!((&shown["tags"], &shown["description"]), (&json!("t"), &json!("d")));
}
