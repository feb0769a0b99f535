use granary_engine::model::PermissionLevel::{Admin, Execute, Read, Write};
use serde_json::{Value, json};

use crate::support::{Client, Server};

fn path(team: u64, rest: &str) -> String {
    format!("/v1/teams/{team}{rest}")
}

async fn change(client: &Client, team: u64, body: Value) -> crate::support::Answer {
    client.patch(&path(team, "/memberships"), &body).await
}

async fn members(client: &Client, team: u64) -> Vec<String> {
    let team = client.get(&path(team, "")).await.json(200);
    let members = team["members"].as_array().unwrap().iter();
    members.map(|member| member["username"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_team_is_renamed_by_its_administrators() {
    let server = Server::start().await;
    let leader = server.member("leader", Admin).await;
    let team = path(server.team, "");
    let wrong = leader.put(&team, &json!({})).await.json(400);
    assert_eq!(wrong, json!({"name": ["This field is required."]}));
    for name in [json!("x".repeat(201)), json!(" "), json!(null), json!(["x"]), json!("a\u{0}")] {
        let wrong = leader.patch(&team, &json!({"name": name})).await.json(400);
        assert!(wrong["name"].is_array(), "{name}: {wrong}");
    }
    let before = leader.get(&team).await.json(200);
    assert_eq!(leader.patch(&team, &json!({"creator": 7, "pk": 9})).await.json(200), before);
    let renamed = leader.put(&team, &json!({"name": " a team "})).await.json(200);
    assert_eq!(renamed["name"], "a team");
    assert_eq!(renamed["members"], before["members"]);
    assert_eq!(leader.patch(&team, &json!({"name": "b"})).await.json(200)["name"], "b");

    // The name that was left is free, the one that is held is not.
    let admin = server.admin().await;
    admin.post("/v1/teams/create", &json!({"name": "a team"})).await.is(201);
    let taken = json!({"name": ["team with this name already exists."]});
    assert_eq!(leader.patch(&team, &json!({"name": "a team"})).await.json(400), taken);
    assert_eq!(leader.put(&team, &json!({"name": "a team"})).await.json(400), taken);
    leader.patch(&team, &json!({"name": "b"})).await.is(200);
    assert_eq!(leader.get(&team).await.json(200)["name"], "b");
}

#[tokio::test]
async fn members_of_a_lower_level_change_nothing_of_a_team() {
    let server = Server::start().await;
    let body = json!({"name": "x", "username": "admin", "method": "remove"});
    for (name, level) in [("r", Read), ("x", Execute), ("w", Write)] {
        let member = server.member(name, level).await;
        member.get(&path(server.team, "")).await.is(200);
        member.put(&path(server.team, ""), &body).await.is(403);
        member.patch(&path(server.team, ""), &body).await.is(403);
        member.delete(&path(server.team, "")).await.is(403);
        change(&member, server.team, body.clone()).await.is(403);
        member.get(&path(server.team, "/permissions/admin")).await.is(403);
    }
    let leader = server.member("a", Admin).await;
    for rest in ["/hard", "/reinstate"] {
        leader.delete(&path(server.team, rest)).await.is(403);
        // The right is looked at first: who may not does not learn what is there.
        leader.delete(&path(999, rest)).await.is(403);
        server.anonymous().delete(&path(999, rest)).await.is(401);
        let detail = server.admin().await.delete(&path(999, rest)).await.detail(404);
        assert_eq!(detail, "No Team matches the given query.");
    }
    server.anonymous().put(&path(server.team, ""), &body).await.is(401);
    server.anonymous().put(&path(999, ""), &body).await.is(404);
}

#[tokio::test]
async fn a_member_is_added_updated_and_removed() {
    let server = Server::start().await;
    let leader = server.member("leader", Admin).await;
    let ann = server.stranger("ann").await;
    let team = server.team;
    ann.get(&path(team, "")).await.is(403);

    let added = change(&leader, team, json!({"username": "ann", "method": "add"})).await;
    let added = added.json(200);
    let admin = server.admin().await;
    let pk = |list: Value| list[0]["pk"].clone();
    let expected = json!({
        "user": pk(admin.get("/v1/users/ann").await.json(200)),
        "team": team,
        "permissions": "R",
        "creator": pk(admin.get("/v1/users/leader").await.json(200)),
        "creation_time": added["creation_time"],
        "deletion_time": null,
    });
    assert_eq!(added, expected);
    ann.get(&path(team, "")).await.is(200);
    let project = json!({"name": "p", "team": team});
    ann.post("/v1/projects/create", &project).await.is(403);

    let body = json!({"username": "ann", "method": "update", "permissions": "W"});
    let updated = change(&leader, team, body).await.json(200);
    assert_eq!(updated["permissions"], "W");
    assert_eq!(updated["creation_time"], added["creation_time"]);
    ann.post("/v1/projects/create", &project).await.is(201);
    // Whoever says no level means R, also for an update.
    let updated = change(&leader, team, json!({"username": "ann", "method": "update"})).await;
    assert_eq!(updated.json(200)["permissions"], "R");

    let removed = change(&leader, team, json!({"username": "ann", "method": "remove"})).await;
    assert!(removed.json(200)["deletion_time"].is_string());
    ann.get(&path(team, "")).await.is(403);
    assert_eq!(members(&leader, team).await, ["admin", "leader"]);
    let again = json!({"username": "ann", "method": "add", "permissions": "X"});
    let again = change(&leader, team, again).await.json(200);
    assert_eq!(again["permissions"], "X");
    assert_eq!(again["deletion_time"], Value::Null);
    assert_eq!(members(&leader, team).await, ["admin", "leader", "ann"]);
}

#[tokio::test]
async fn a_name_that_cannot_be_changed_in_a_team_is_told() {
    let server = Server::start().await;
    let admin = server.admin().await;
    server.add_user("ann").await;
    let idle = json!({"username": "idle", "password": "x", "is_active": false});
    admin.post("/v1/users/create", &idle).await.is(201);
    let team = server.team;
    for (username, method) in [
        ("nobody", "add"),
        ("nobody", "remove"),
        ("idle", "add"),
        ("ann", "update"),
        ("ann", "remove"),
        // Already one.
        ("admin", "add"),
    ] {
        let body = json!({"username": username, "method": method});
        let detail = change(&admin, team, body).await.detail(400);
        assert!(detail.starts_with(&format!("Bad name '{username}': ")), "{detail}");
    }
    for body in [
        json!({}),
        json!({"username": "ann", "method": "add", "more": 1}),
        json!({"username": "ann", "method": "join"}),
        json!({"username": "ann", "method": "add", "permissions": "Z"}),
        json!(["ann"]),
    ] {
        let detail = change(&admin, team, body).await.detail(400);
        assert!(detail.starts_with("Unable to parse JSON: "), "{detail}");
    }
    assert_eq!(members(&admin, team).await, ["admin"]);
}

#[tokio::test]
async fn who_may_not_change_members_does_not_learn_who_exists() {
    let server = Server::start().await;
    let writer = server.member("writer", Write).await;
    for username in ["admin", "nobody"] {
        let body = json!({"username": username, "method": "add"});
        change(&writer, server.team, body.clone()).await.is(403);
        change(&server.anonymous(), server.team, body).await.is(401);
        let permissions = path(server.team, &format!("/permissions/{username}"));
        writer.get(&permissions).await.is(403);
        server.anonymous().get(&permissions).await.is(401);
    }
    change(&writer, server.team, json!({"bad": 1})).await.is(403);
}

#[tokio::test]
async fn permissions_are_told_as_a_bare_letter() {
    let server = Server::start().await;
    let leader = server.member("leader", Admin).await;
    for (name, level, letter) in
        [("r", Read, "R"), ("x", Execute, "X"), ("w", Write, "W"), ("a", Admin, "A")]
    {
        server.member(name, level).await;
        let permissions = path(server.team, &format!("/permissions/{name}"));
        assert_eq!(leader.get(&permissions).await.json(200), json!(letter));
    }
    server.add_user("stranger").await;
    // A slash at the end belongs to the name.
    for name in ["stranger", "nobody", "r/", ""] {
        let detail = leader.get(&path(server.team, &format!("/permissions/{name}"))).await;
        let detail = detail.detail(400);
        assert!(detail.starts_with(&format!("Bad name '{name}': ")), "{detail}");
    }
}

#[tokio::test]
async fn a_destroyed_team_ends_its_memberships_and_keeps_its_projects() {
    let server = Server::start().await;
    let leader = server.member("leader", Admin).await;
    let admin = server.admin().await;
    let team = path(server.team, "");
    leader.delete(&team).await.is(204);
    // Who was a member is none now.
    leader.delete(&team).await.is(403);
    let destroyed = admin.get(&team).await.json(200);
    let deleted = destroyed["deletion_time"].clone();
    assert!(deleted.is_string());
    assert_eq!(destroyed["members"], json!([]));
    admin.delete(&team).await.is(204);
    assert_eq!(admin.get(&team).await.json(200)["deletion_time"], deleted);
    let project = admin.get(&format!("/v1/projects/{}", server.project)).await.json(200);
    assert_eq!(project["deletion_time"], Value::Null);

    // It takes nothing new, and its name is free.
    let project = json!({"name": "new", "team": server.team});
    let wrong = admin.post("/v1/projects/create", &project).await.json(400);
    let text = format!("Invalid pk \"{}\" - object does not exist.", server.team);
    assert_eq!(wrong, json!({"team": [text]}));
    let body = json!({"username": "leader", "method": "add"});
    change(&admin, server.team, body).await.is(400);
    admin.post("/v1/teams/create", &json!({"name": "default"})).await.is(201);
}

#[tokio::test]
async fn a_reinstated_team_has_no_members() {
    let server = Server::start().await;
    let leader = server.member("leader", Admin).await;
    let admin = server.admin().await;
    let team = path(server.team, "");
    let reinstate = path(server.team, "/reinstate");
    // One that is active stays as it is.
    assert_eq!(admin.delete(&reinstate).await.json(200), admin.get(&team).await.json(200));
    admin.delete(&team).await.is(204);

    let other = admin.post("/v1/teams/create", &json!({"name": "default"})).await.json(201);
    let taken = json!({"name": ["team with this name already exists."]});
    assert_eq!(admin.delete(&reinstate).await.json(400), taken);
    let other = path(other["pk"].as_u64().unwrap(), "");
    admin.patch(&other, &json!({"name": "other"})).await.is(200);

    let reinstated = admin.delete(&reinstate).await.json(200);
    assert_eq!(reinstated["deletion_time"], Value::Null);
    assert_eq!(reinstated["members"], json!([]));
    leader.get(&team).await.is(403);
    let again = admin.patch(&other, &json!({"name": "default"})).await.json(400);
    assert_eq!(again, taken);
}

#[tokio::test]
async fn a_deleted_team_takes_a_name_without_holding_it() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let (team, _) = server.add_foreign_project("foreign").await;
    admin.delete(&path(team, "")).await.is(204);
    admin.patch(&path(team, ""), &json!({"name": "default"})).await.is(200);
    admin.delete(&path(team, "/reinstate")).await.is(400);
    // The team that holds the name holds it still.
    let wrong = admin.post("/v1/teams/create", &json!({"name": "default"})).await;
    assert!(wrong.json(400)["name"].is_array());
}

#[tokio::test]
async fn a_team_is_hard_deleted_when_nothing_is_inside() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let (team, project) = server.add_foreign_project("foreign").await;
    let ann = server.add_user("ann").await;
    server.join(ann, team, Admin).await;
    let before = admin.get(&path(team, "")).await.json(200);

    let detail = admin.delete(&path(team, "/hard")).await.detail(400);
    assert!(detail.contains(&format!("project {project} belongs to it")), "{detail}");
    admin.delete(&format!("/v1/projects/{project}")).await.is(204);
    let detail = admin.delete(&path(team, "/hard")).await.detail(400);
    assert!(detail.contains("hard-delete it, first"), "{detail}");
    assert_eq!(admin.get(&path(team, "")).await.json(200), before);

    admin.delete(&format!("/v1/projects/{project}/hard")).await.is(200);
    assert_eq!(admin.delete(&path(team, "/hard")).await.json(200), before);
    for rest in ["", "/hard", "/reinstate"] {
        admin.delete(&path(team, rest)).await.is(404);
    }
    admin.post("/v1/teams/create", &json!({"name": "foreign"})).await.is(201);
    server.login("ann").await.get(&path(team, "")).await.is(404);
}
