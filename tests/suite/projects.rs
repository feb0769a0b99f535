use granary_engine::model::PermissionLevel::{Execute, Read, Write};
use serde_json::{Value, json};

use crate::support::Server;

const TAKEN: &str = "UNIQUE constraint failed: project.name, project.team";

fn path(project: u64, rest: &str) -> String {
    format!("/v1/projects/{project}{rest}")
}

#[tokio::test]
async fn a_project_is_updated_by_its_writers() {
    let server = Server::start().await;
    let ann = server.member("ann", Write).await;
    let project = path(server.project, "");
    let before = ann.get(&project).await.json(200);
    assert_eq!(ann.patch(&project, &json!({})).await.json(200), before);
    let required = json!(["This field is required."]);
    let wrong = ann.put(&project, &json!({})).await.json(400);
    assert_eq!(wrong, json!({"name": required, "team": required}));

    let body = json!({"name": "renamed", "team": server.team, "creator": 9, "pk": 9});
    let mut expected = before.clone();
    expected["name"] = json!("renamed");
    assert_eq!(ann.put(&project, &body).await.json(200), expected);
    assert_eq!(ann.get(&project).await.json(200), expected);
    for (name, level) in [("r", Read), ("x", Execute)] {
        let member = server.member(name, level).await;
        member.put(&project, &body).await.is(403);
        member.patch(&project, &json!({})).await.is(403);
        member.delete(&project).await.is(403);
    }
    server.anonymous().patch(&project, &json!([])).await.is(401);
    server.anonymous().patch(&path(999, ""), &json!([])).await.is(404);
    assert_eq!(ann.get(&project).await.json(200), expected);
}

#[tokio::test]
async fn a_taken_name_in_the_team_is_told() {
    let server = Server::start().await;
    let ann = server.member("ann", Write).await;
    let other = server.add_project("other").await;
    let body = json!({"name": "default"});
    assert_eq!(ann.patch(&path(other, ""), &body).await.detail(400), TAKEN);
    let body = json!({"name": "default", "team": server.team});
    assert_eq!(ann.put(&path(other, ""), &body).await.detail(400), TAKEN);
    ann.patch(&path(other, ""), &json!({"name": "other"})).await.is(200);

    ann.patch(&path(server.project, ""), &json!({"name": "first"})).await.is(200);
    ann.patch(&path(other, ""), &json!({"name": "default"})).await.is(200);
}

#[tokio::test]
async fn a_project_moves_only_where_its_mover_may_write() {
    let server = Server::start().await;
    let ann = server.add_user("ann").await;
    server.join(ann, server.team, Write).await;
    let client = server.login("ann").await;
    let (team, foreign) = server.add_foreign_project("foreign").await;
    let project = path(server.project, "");
    let moved = json!({"team": team});
    client.patch(&project, &moved).await.is(403);
    server.join(ann, team, Read).await;
    client.patch(&project, &moved).await.is(403);
    client.put(&project, &json!({"name": "default", "team": team})).await.is(403);
    assert_eq!(client.get(&project).await.json(200)["team"], server.team);

    let admin = server.admin().await;
    let body = json!({"username": "ann", "method": "update", "permissions": "W"});
    admin.patch(&format!("/v1/teams/{team}/memberships"), &body).await.is(200);
    // A name that is taken there stops it too.
    client.patch(&path(foreign, ""), &json!({"name": "default"})).await.is(200);
    assert_eq!(client.patch(&project, &moved).await.detail(400), TAKEN);
    client.patch(&path(foreign, ""), &json!({"name": "foreign"})).await.is(200);
    assert_eq!(client.patch(&project, &moved).await.json(200)["team"], team);

    // What it left lets go of it, what it came to holds it.
    let detail = admin.delete(&format!("/v1/teams/{team}/hard")).await.detail(400);
    assert!(detail.contains(&format!("project {} belongs", server.project)), "{detail}");
    admin.delete(&format!("/v1/teams/{}/hard", server.team)).await.is(200);
}

#[tokio::test]
async fn a_project_moves_only_to_a_team_that_is_there() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let (team, _) = server.add_foreign_project("foreign").await;
    admin.delete(&format!("/v1/teams/{team}")).await.is(204);
    let project = path(server.project, "");
    for pk in [json!(team), json!(999)] {
        let wrong = admin.patch(&project, &json!({"team": pk})).await.json(400);
        let text = format!("Invalid pk \"{pk}\" - object does not exist.");
        assert_eq!(wrong, json!({"team": [text]}));
    }
    let wrong = admin.patch(&project, &json!({"team": null, "name": true})).await.json(400);
    assert_eq!(wrong["team"], json!(["This field may not be null."]));
    assert_eq!(wrong["name"], json!(["Not a valid string."]));
    let wrong = admin.patch(&project, &json!({"team": "99999999999999999999"})).await.json(400);
    assert!(wrong["team"].is_array(), "{wrong}");

    // One whose own team was deleted may stay where it is.
    admin.delete(&format!("/v1/teams/{}", server.team)).await.is(204);
    let body = json!({"name": "stays", "team": server.team});
    assert_eq!(admin.put(&project, &body).await.json(200)["name"], "stays");
}

#[tokio::test]
async fn a_destroyed_project_takes_its_datasets_along() {
    let server = Server::start().await;
    let ann = server.member("ann", Write).await;
    let cats = server.add_dataset("cats").await;
    let dogs = server.add_dataset("dogs").await;
    let other = server.add_project("other").await;
    let mut body = server.dataset_body("birds");
    body["project"] = json!(other);
    let birds = cats.shown(&cats.client.post("/v1/datasets/create", &body).await.json(201));
    dogs.client.delete(&dogs.path("")).await.is(204);
    let deleted_before = dogs.fields().await["deletion_time"].clone();
    cats.add("a.txt", "meow").await.is(200);

    let project = path(server.project, "");
    ann.delete(&project).await.is(204);
    let deleted = ann.get(&project).await.json(200)["deletion_time"].clone();
    assert!(deleted.is_string());
    assert_eq!(cats.fields().await["deletion_time"], deleted);
    assert_eq!(dogs.fields().await["deletion_time"], deleted_before);
    assert_eq!(birds.fields().await["deletion_time"], Value::Null);
    ann.delete(&project).await.is(204);
    assert_eq!(ann.get(&project).await.json(200)["deletion_time"], deleted);

    // Still there for who could see it, and it takes nothing new.
    assert_eq!(cats.content("a.txt").await.is(200).body, "meow");
    let wrong = ann.post("/v1/datasets/create", &server.dataset_body("new")).await.json(400);
    assert!(wrong["project"].is_array(), "{wrong}");
    ann.post("/v1/projects/create", &json!({"name": "default", "team": server.team})).await.is(201);
}

#[tokio::test]
async fn a_reinstated_project_does_not_bring_its_datasets_back() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let ann = server.member("ann", Write).await;
    let cats = server.add_dataset("cats").await;
    let (project, reinstate) = (path(server.project, ""), path(server.project, "/reinstate"));
    let before = admin.get(&project).await.json(200);
    assert_eq!(admin.delete(&reinstate).await.json(200), before);
    ann.delete(&project).await.is(204);
    ann.delete(&reinstate).await.is(403);

    let team = json!({"name": "default", "team": server.team});
    let other = ann.post("/v1/projects/create", &team).await.json(201);
    assert_eq!(admin.delete(&reinstate).await.detail(400), TAKEN);
    let other = path(other["pk"].as_u64().unwrap(), "");
    ann.patch(&other, &json!({"name": "other"})).await.is(200);

    assert_eq!(admin.delete(&reinstate).await.json(200), before);
    assert!(cats.fields().await["deletion_time"].is_string());
    assert_eq!(ann.patch(&other, &json!({"name": "default"})).await.detail(400), TAKEN);
    // Its datasets' names were let go of, and one comes back by itself.
    let again = server.add_dataset("cats").await;
    assert_ne!(again.pk, cats.pk);
    admin.delete(&again.path("")).await.is(204);
    admin.delete(&cats.path("/reinstate")).await.is(200);
    assert_eq!(cats.fields().await["deletion_time"], Value::Null);
}

#[tokio::test]
async fn a_project_is_hard_deleted_when_nothing_is_inside() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let cats = server.add_dataset("cats").await;
    let copy = cats.client.post(&cats.path("/copy"), &json!({})).await.json(200);
    let copy = cats.shown(&copy);
    let other = server.add_project("other").await;
    let hard = path(server.project, "/hard");
    admin.delete(&path(server.project, "")).await.is(204);
    let before = admin.get(&path(server.project, "")).await.json(200);

    let detail = admin.delete(&hard).await.detail(400);
    assert!(detail.contains(&format!("dataset {} belongs to it", cats.pk)), "{detail}");
    cats.client.delete(&cats.path("/hard")).await.is(200);
    let detail = admin.delete(&hard).await.detail(400);
    assert!(detail.contains(&format!("dataset {} belongs to it", copy.pk)), "{detail}");
    assert_eq!(admin.get(&path(server.project, "")).await.json(200), before);
    // What moves away is inside no longer.
    admin.patch(&copy.path(""), &json!({"project": other})).await.is(200);
    let mut gone = before.clone();
    gone["pk"] = Value::Null;
    assert_eq!(admin.delete(&hard).await.json(200), gone);
    admin.get(&path(server.project, "")).await.is(404);
    admin.delete(&hard).await.is(404);
    admin.delete(&path(other, "/hard")).await.is(400);
}

#[tokio::test]
async fn hard_and_reinstate_look_at_the_right_first() {
    let server = Server::start().await;
    let ann = server.member("ann", Write).await;
    for project in [server.project, 999] {
        for rest in ["/hard", "/reinstate"] {
            ann.delete(&path(project, rest)).await.is(403);
            server.anonymous().delete(&path(project, rest)).await.is(401);
        }
    }
    let admin = server.admin().await;
    for rest in ["/hard", "/reinstate"] {
        let detail = admin.delete(&path(999, rest)).await.detail(404);
        assert_eq!(detail, "No Project matches the given query.");
    }
    admin.get(&path(server.project, "")).await.is(200);
}

#[tokio::test]
async fn a_complete_project_of_the_anonymous_needs_a_login() {
    let server = Server::start().await;
    let body = json!({"name": "p", "team": server.team});
    server.anonymous().post("/v1/projects/create", &body).await.is(401);
    server.anonymous().post("/v1/projects/create", &json!({"name": ""})).await.is(400);
}
