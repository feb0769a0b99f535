//! What the server has need not be sent, and nobody learns of what only others may read.

use granary_engine::model::Digest;
use granary_engine::model::PermissionLevel::{Read, Write};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Dataset, Server, bearer};

fn claim(name: &str, content: &str) -> Value {
    let handle = Digest::of(content.as_bytes()).to_string();
    json!({"filename": name, "handle": handle, "size": content.len()})
}

async fn check(client: &Client, pk: u64, files: &[Value]) -> Vec<String> {
    let path = format!("/v1/datasets/{pk}/files-check");
    let checked = client.post(&path, &json!({ "files": files })).await.json(200);
    let statuses = checked.as_array().unwrap().iter();
    statuses.map(|file| file["status"].as_str().unwrap().to_owned()).collect()
}

async fn attach(client: &Client, pk: u64, files: &[Value]) -> Answer {
    client.post(&format!("/v1/datasets/{pk}/files-attach"), &json!({ "files": files })).await
}

/// A dataset in a team of its own, with a writer who belongs to no other.
async fn foreign(server: &Server, name: &str) -> Dataset {
    let (team, project) = server.add_foreign_project(name).await;
    let user = server.add_user(name).await;
    server.join(user, team, Write).await;
    let client = server.login(name).await;
    let body = json!({"name": name, "project": project, "licence": 1, "tags": ""});
    let made = client.post("/v1/datasets/create", &body).await.json(201);
    Dataset { pk: made["pk"].as_u64().unwrap(), client }
}

#[tokio::test]
async fn each_file_is_told_what_is_to_be_done_with_it() {
    let server = Server::start().await;
    let here = server.add_dataset("here").await;
    let there = server.add_dataset("there").await;
    for (name, content) in [("a", "one"), ("d/x", "two")] {
        here.add(name, content).await.is(200);
    }
    there.add("elsewhere", "three").await.is(200);
    let path = here.path("/files-check");
    let wrong_size =
        json!({"filename": "w", "handle": Digest::of(b"three").to_string(), "size": 9});
    let files = json!({"files": [
        claim("a", "one"), claim("./a", "one"), claim("a", "other"), claim("b", "three"),
        claim("c", "two"), claim("e", "nobody has it"), claim("d", "one"), claim("a/b", "one"),
        claim("../x", "one"), claim("new/", "one"), wrong_size,
    ]});
    let checked = here.client.post(&path, &files).await.json(200);
    let statuses: Vec<&str> =
        checked.as_array().unwrap().iter().map(|file| file["status"].as_str().unwrap()).collect();
    let expected = [
        "present", "present", "differs", "attach", "attach", "send", "refused", "refused",
        "refused", "refused", "send",
    ];
    assert_eq!(statuses, expected);
    assert_eq!(checked[2]["handle"], Digest::of(b"one").to_string());
    assert_eq!(checked[0], json!({"filename": "a", "status": "present"}));
    assert_eq!(checked[1]["filename"], "./a");
    let directory = checked[6]["detail"].as_str().unwrap();
    assert_eq!(directory, "Bad name 'd': Filename is already a directory prefix");
    assert!(checked[8]["detail"].as_str().unwrap().contains("top-level"));
    assert_eq!(here.names().await, ["a", "d/x"], "nothing was changed");
    assert_eq!(here.client.post(&path, &json!({"files": []})).await.json(200), json!([]));
}

#[tokio::test]
async fn attached_files_are_as_if_they_had_been_sent() {
    let server = Server::start().await;
    let source = server.add_dataset("source").await;
    source.add("a", "one").await.is(200);
    source.set_metadata("a", "label").await.is(200);
    let target = server.add_dataset("target").await;
    let files = [claim("x/a", "one"), claim("x/b", "one")];
    let added = attach(&target.client, target.pk, &files).await.json(200);
    let handle = Digest::of(b"one").to_string();
    assert_eq!(added[0], json!({"filename": "x/a", "handle": handle}));
    assert_eq!(target.names().await, ["x/a", "x/b"]);
    assert_eq!(target.content("x/b").await.is(200).body, "one");
    assert_eq!(target.metadata("x/a").await, "", "a file starts without metadata");
    // They hold their content by themselves.
    source.client.delete(&source.path("/hard")).await.is(200);
    assert_eq!(target.content("x/a").await.is(200).body, "one");
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn of_files_that_are_attached_all_are_or_none() {
    let server = Server::start().await;
    let source = server.add_dataset("source").await;
    source.add("a", "one").await.is(200);
    let target = server.add_dataset("target").await;
    target.add("taken", "two").await.is(200);
    let refused = |files: Vec<Value>| attach_owned(&target, files);
    let unknown = refused(vec![claim("x", "one"), claim("y", "nobody has it")]).await;
    let text = unknown.detail(409);
    assert!(text.starts_with("The contents of 'y' (1 in all) are not"), "{text}");
    let taken = refused(vec![claim("x", "one"), claim("taken", "one")]).await;
    assert_eq!(taken.detail(400), "Bad name 'taken': Filename already in use");
    let twice = refused(vec![claim("x", "one"), claim("./x", "one")]).await;
    assert_eq!(twice.detail(400), "Bad name 'x': Filename already in use");
    refused(vec![claim("x", "one"), claim("x/y", "one")]).await.is(400);
    refused(vec![claim("x/", "one")]).await.is(400);
    assert_eq!(target.names().await, ["taken"]);

    // More than one record holds, and the last one is missing.
    let mut many: Vec<Value> = (0..1500).map(|n| claim(&format!("m/{n}"), "one")).collect();
    many.push(claim("z", "nobody has it"));
    refused(many.clone()).await.is(409);
    assert_eq!(target.names().await, ["taken"]);
    many.pop();
    assert_eq!(refused(many).await.json(200).as_array().unwrap().len(), 1500);
    assert_eq!(target.names().await.len(), 1501);
    assert_eq!(server.engine.check(true).unwrap(), []);
}

async fn attach_owned(target: &Dataset, files: Vec<Value>) -> Answer {
    attach(&target.client, target.pk, &files).await
}

#[tokio::test]
async fn a_content_that_only_others_may_read_is_like_one_that_nobody_has() {
    let server = Server::start().await;
    let theirs = foreign(&server, "theirs").await;
    theirs.add("secret", "their secret").await.is(200);
    let ours = foreign(&server, "ours").await;
    let secret = [claim("x", "their secret")];
    assert_eq!(check(&ours.client, ours.pk, &secret).await, ["send"]);
    attach(&ours.client, ours.pk, &secret).await.is(409);
    // A public dataset shows its fields to strangers, not its contents.
    let public = json!({"is_public": true});
    theirs.client.patch(&theirs.path(""), &public).await.is(200);
    assert_eq!(check(&ours.client, ours.pk, &secret).await, ["send"]);

    // Who may read it there need not send it here, and neither need an administrator.
    let (admin, team) = (server.admin().await, {
        let snapshot = server.engine.snapshot().unwrap();
        snapshot.teams().unwrap().map(Result::unwrap).find(|team| team.name == "theirs").unwrap().id
    });
    assert_eq!(check(&admin, ours.pk, &secret).await, ["attach"]);
    let user = {
        let snapshot = server.engine.snapshot().unwrap();
        snapshot.user_by_name("ours").unwrap().unwrap().id
    };
    server.engine.add_member(team, user, Read, None).await.unwrap();
    assert_eq!(check(&ours.client, ours.pk, &secret).await, ["attach"]);
    attach(&ours.client, ours.pk, &secret).await.is(200);
    // What was attached stays when the membership ends; what was not is out of reach again.
    server.engine.remove_member(team, user).await.unwrap();
    assert_eq!(ours.content("x").await.is(200).body, "their secret");
    theirs.add("more", "another").await.is(200);
    assert_eq!(check(&ours.client, ours.pk, &[claim("y", "another")]).await, ["send"]);
}

#[tokio::test]
async fn contents_of_two_teams_are_found_by_each() {
    let server = Server::start().await;
    let (first, second) = (foreign(&server, "first").await, foreign(&server, "second").await);
    for dataset in [&first, &second] {
        dataset.add("theirs", "the same").await.is(200);
    }
    let stranger = foreign(&server, "stranger").await;
    let same = [claim("again", "the same")];
    for dataset in [&first, &second] {
        assert_eq!(check(&dataset.client, dataset.pk, &same).await, ["attach"]);
    }
    assert_eq!(check(&stranger.client, stranger.pk, &same).await, ["send"]);
    // Whichever of the two goes, the other still has it.
    first.client.delete(&first.path("/files/theirs")).await.is(200);
    assert_eq!(check(&second.client, second.pk, &same).await, ["attach"]);
    assert_eq!(check(&first.client, first.pk, &same).await, ["send"]);
    assert_eq!(server.engine.check(true).unwrap(), []);
}

#[tokio::test]
async fn what_no_dataset_shows_any_more_must_be_sent() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    for (name, content) in [("a", "one"), ("b", "two")] {
        dataset.add(name, content).await.is(200);
    }
    let target = server.add_dataset("target").await;
    let claims = [claim("x", "one"), claim("y", "two")];
    // The next version shares its rows with the first, and hides one.
    let copy = dataset.client.post(&dataset.path("/copy"), &json!({})).await.json(200);
    let copy = dataset.shown(&copy);
    copy.client.delete(&copy.path("/files/a")).await.is(200);
    assert_eq!(check(&target.client, target.pk, &claims).await, ["attach", "attach"]);
    // Soft-deleted is readable; gone for good is not, though the row is there, hidden.
    dataset.client.delete(&dataset.path("")).await.is(204);
    assert_eq!(check(&target.client, target.pk, &claims).await, ["attach", "attach"]);
    dataset.client.delete(&dataset.path("/hard")).await.is(200);
    assert_eq!(check(&target.client, target.pk, &claims).await, ["send", "attach"]);
    attach(&target.client, target.pk, &claims).await.is(409);
    copy.client.delete(&copy.path("/files/b")).await.is(200);
    assert_eq!(check(&target.client, target.pk, &claims).await, ["send", "send"]);
}

#[tokio::test]
async fn a_dataset_that_moves_to_another_team_takes_its_readers_along() {
    let server = Server::start().await;
    let (first, second) = (foreign(&server, "first").await, foreign(&server, "second").await);
    first.add("a", "one").await.is(200);
    let project = second.fields().await["project"].clone();
    let moved = json!({ "project": project });
    server.admin().await.patch(&first.path(""), &moved).await.is(200);
    let claims = [claim("x", "one")];
    assert_eq!(check(&second.client, second.pk, &claims).await, ["attach"]);
    let own = foreign(&server, "third").await;
    assert_eq!(check(&own.client, own.pk, &claims).await, ["send"]);
}

#[tokio::test]
async fn bodies_that_are_no_claims_are_refused() {
    let server = Server::start().await;
    let dataset = server.add_dataset("cats").await;
    for action in ["/files-check", "/files-attach"] {
        let path = dataset.path(action);
        for body in [
            json!({}),
            json!({"files": "a"}),
            json!({"files": [{"filename": "a"}]}),
            json!({"files": [{"filename": "a", "handle": "AF", "size": 1}]}),
            json!({"files": [], "names": []}),
        ] {
            dataset.client.post(&path, &body).await.is(400);
        }
        assert_eq!(dataset.client.post(&path, &json!({"files": []})).await.json(200), json!([]));
    }
}

#[tokio::test]
async fn an_access_token_finds_contents_only_in_its_own_team() {
    let server = Server::start().await;
    let here = server.add_dataset("here").await;
    let there = foreign(&server, "theirs").await;
    there.add("a", "only theirs").await.is(200);
    here.add("a", "ours").await.is(200);
    let user = server.add_user("both").await;
    let fields = there.fields().await;
    let project = fields["project"].as_u64().unwrap();
    let project = server.admin().await.get(&format!("/v1/projects/{project}")).await.json(200);
    server.join(user, project["team"].as_u64().unwrap(), Read).await;
    server.join(user, server.team, Write).await;
    let person = server.login("both").await;
    let token = json!({"name": "robot", "team": server.team, "permissions": "W"});
    let token = person.post("/v1/access-tokens/create", &token).await.json(201);
    let robot = server.anonymous().with("Authorization", bearer(&token["token"]));

    let files = [claim("x", "only theirs"), claim("y", "ours")];
    assert_eq!(check(&person, here.pk, &files).await, ["attach", "attach"]);
    assert_eq!(check(&robot, here.pk, &files).await, ["send", "attach"]);
    attach(&robot, here.pk, &files).await.is(409);
    attach(&robot, here.pk, &files[1..]).await.is(200);
    let read = json!({"name": "reader", "team": server.team, "permissions": "R"});
    let read = person.post("/v1/access-tokens/create", &read).await.json(201);
    let reader = server.anonymous().with("Authorization", bearer(&read["token"]));
    attach(&reader, here.pk, &files[1..]).await.is(403);
}
