//! Access tokens: made and shown once, good within a team and a level, listed, revoked.

use granary_engine::MutationError;
use granary_engine::model::{
    AccessTokenId, NewAccessToken, PermissionLevel, TeamId, Timestamp, UserId, UserPatch,
};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Server, bearer};

const CREATE: &str = "/v1/access-tokens/create";

fn fields(name: &str, team: u64, level: &str) -> Value {
    json!({"name": name, "team": team, "permissions": level})
}

/// Makes a token for whoever asks; gives its fields.
async fn make(client: &Client, team: u64, level: &str) -> Value {
    client.post(CREATE, &fields("robot", team, level)).await.json(201)
}

/// Somebody who shows a token.
fn robot(server: &Server, token: &Value) -> Client {
    server.anonymous().with("Authorization", bearer(&token["token"]))
}

async fn listed(client: &Client) -> Vec<u64> {
    let listed = client.get("/v1/access-tokens").await.json(200);
    let listed = listed.as_array().unwrap().iter();
    listed.map(|token| token["pk"].as_u64().unwrap()).collect()
}

async fn pks(client: &Client, path: &str) -> Vec<u64> {
    let listed = client.post(path, &json!({})).await.json(200);
    listed.as_array().unwrap().iter().map(|row| row["pk"].as_u64().unwrap()).collect()
}

fn is_no_token(answer: Answer) {
    assert_eq!(answer.json(401)["code"], "token_not_valid");
}

#[tokio::test]
async fn a_token_is_shown_once_and_only_its_hash_is_kept() {
    let server = Server::start().await;
    let ann = server.member("ann", PermissionLevel::Write).await;
    let made = make(&ann, server.team, "W").await;
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("granary_1_"), "{token}");
    for (field, value) in [
        ("name", json!("robot")),
        ("team", json!(server.team)),
        ("permissions", json!("W")),
        ("expiry_time", Value::Null),
        ("last_use", Value::Null),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    robot(&server, &made).post("/v1/teams/list", &json!({})).await.is(200);
    let listed = ann.get("/v1/access-tokens").await.is(200);
    let text = String::from_utf8(listed.body.to_vec()).unwrap();
    let secret = token.rsplit('_').next().unwrap();
    assert!(!text.contains(secret) && !text.contains("hash"), "{text}");
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert!(listed[0]["last_use"].is_string(), "{listed}");

    let stored = server.engine.snapshot().unwrap().access_token(AccessTokenId(1)).unwrap();
    assert!(!format!("{stored:?}").contains(secret));
    server.engine.checkpoint().await.unwrap();
    for file in ["index.redb", "store"] {
        let bytes = std::fs::read(server.directory.path().join(file)).unwrap();
        let is_there = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!is_there, "{file} holds the secret");
    }
}

#[tokio::test]
async fn a_token_works_within_its_team_and_level_and_nowhere_else() {
    let server = Server::start().await;
    let (other_team, other_project) = server.add_foreign_project("other").await;
    let ann = server.add_user("ann").await;
    server.join(ann, server.team, PermissionLevel::Write).await;
    server.join(ann, other_team, PermissionLevel::Admin).await;
    let ann = server.login("ann").await;
    let (writer, reader) = (make(&ann, server.team, "W").await, make(&ann, server.team, "R").await);
    let (writer, reader) = (robot(&server, &writer), robot(&server, &reader));

    let dataset = writer.post("/v1/datasets/create", &server.dataset_body("d")).await.json(201);
    let file = format!("/v1/datasets/{}/files/a", dataset["pk"]);
    writer.upload(&file, "content").await.is(200);
    assert_eq!(reader.get(&file).await.is(200).body, "content");
    reader.upload(&format!("{file}b"), "content").await.is(403);
    reader.delete(&file).await.is(403);

    // Its owner may do that, and in another team.
    let body = json!({"name": "o", "project": other_project, "licence": 1, "tags": ""});
    let foreign = ann.post("/v1/datasets/create", &body).await.json(201);
    writer.get(&format!("/v1/datasets/{}", foreign["pk"])).await.is(403);
    writer.post("/v1/datasets/create", &body).await.is(403);
    writer.patch(&format!("/v1/teams/{}", server.team), &json!({"name": "x"})).await.is(403);
    writer.get(&format!("/v1/teams/{other_team}")).await.is(403);
    assert_eq!(pks(&writer, "/v1/datasets/list").await, [dataset["pk"].as_u64().unwrap()]);
    assert_eq!(pks(&writer, "/v1/teams/list").await, [server.team]);
    assert_eq!(pks(&writer, "/v1/projects/list").await, [server.project]);
}

#[tokio::test]
async fn a_token_of_an_administrator_is_no_administrator() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let (foreign, _) = server.add_foreign_project("foreign").await;
    let token = robot(&server, &make(&admin, server.team, "W").await);
    token.post("/v1/datasets/create", &server.dataset_body("d")).await.is(201);
    token.post("/v1/users/list", &json!({})).await.is(403);
    token.post("/v1/users/create", &json!({"username": "u", "password": "p"})).await.is(403);
    token.get("/v1/store/scrub").await.is(403);
    token.post("/v1/backups/create", &json!({})).await.is(403);
    token.post("/v1/auth/rotate-key", &json!({})).await.is(403);
    token.get(&format!("/v1/teams/{foreign}")).await.is(403);
    assert_eq!(pks(&token, "/v1/teams/list").await, [server.team]);
}

#[tokio::test]
async fn a_token_makes_sees_and_revokes_no_tokens() {
    let server = Server::start().await;
    let ann = server.member("ann", PermissionLevel::Admin).await;
    let made = make(&ann, server.team, "W").await;
    let token = robot(&server, &made);
    token.post(CREATE, &fields("more", server.team, "R")).await.is(403);
    token.get("/v1/access-tokens").await.is(403);
    token.delete(&format!("/v1/access-tokens/{}", made["pk"])).await.is(403);
    // Nor is it good for what logins are renewed with.
    for action in ["refresh", "verify"] {
        let body = json!({"refresh": made["token"], "token": made["token"]});
        token.post(&format!("/v1/auth/{action}"), &body).await.is(401);
    }
}

#[tokio::test]
async fn a_token_never_goes_beyond_what_its_owner_may_at_that_moment() {
    let server = Server::start().await;
    let ann = server.add_user("ann").await;
    server.join(ann, server.team, PermissionLevel::Write).await;
    let (user, team) = (UserId(ann), TeamId(server.team));
    let token = make(&server.login("ann").await, server.team, "W").await;
    let token = robot(&server, &token);
    let dataset = server.add_dataset("d").await;
    let add = async |name: &str| {
        token.upload(&dataset.path(&format!("/files/{name}")), "content").await.status.as_u16()
    };
    assert_eq!(add("a").await, 200);
    server.engine.update_member(team, user, PermissionLevel::Read).await.unwrap();
    assert_eq!(add("b").await, 403);
    token.get(&dataset.path("")).await.is(200);
    server.engine.remove_member(team, user).await.unwrap();
    token.get(&dataset.path("")).await.is(401);
}

/// What took the ground from a token may be undone; the token stays ended, and no other one ends.
#[tokio::test]
async fn a_token_that_ended_with_its_owners_rights_does_not_come_back_with_them() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let [ann, bob] = [server.add_user("ann").await, server.add_user("bob").await];
    let (of_ann, of_team) = (format!("/v1/users/{ann}"), format!("/v1/teams/{}", server.team));
    let other_team = admin.post("/v1/teams/create", &json!({"name": "others"})).await.json(201);
    let other_team = other_team["pk"].as_u64().unwrap();
    server.join(bob, server.team, PermissionLevel::Read).await;
    server.join(ann, other_team, PermissionLevel::Read).await;
    let bobs = make(&server.login("bob").await, server.team, "R").await;
    let mut elsewhere = make(&server.login("ann").await, other_team, "R").await;
    let works = async |token: &Value| {
        robot(&server, token).post("/v1/teams/list", &json!({})).await.status == 200
    };
    let (user, team) = (UserId(ann), TeamId(server.team));
    server.join(ann, server.team, PermissionLevel::Write).await;
    for end in ["membership", "account", "team"] {
        let token = make(&server.login("ann").await, server.team, "W").await;
        assert!(works(&token).await && works(&bobs).await && works(&elsewhere).await, "{end}");
        match end {
            "membership" => drop(server.engine.remove_member(team, user).await.unwrap()),
            "account" => drop(admin.delete(&of_ann).await.is(204)),
            _ => drop(admin.delete(&of_team).await.is(204)),
        }
        assert!(!works(&token).await, "{end}");
        match end {
            "membership" => server.join(ann, server.team, PermissionLevel::Write).await,
            "account" => drop(admin.patch(&of_ann, &json!({"is_active": true})).await.is(200)),
            _ => drop(server.engine.reinstate_team(team).await.unwrap()),
        }
        if end == "team" {
            server.join(ann, server.team, PermissionLevel::Write).await;
        }
        assert!(!works(&token).await, "{end}");
        assert_eq!(works(&bobs).await, end != "team", "{end}");
        if end == "account" {
            assert!(!works(&elsewhere).await, "it ended with the account too");
            elsewhere = make(&server.login("ann").await, other_team, "R").await;
        }
    }
}

/// An administrator needs no membership to have one, and so there is none to end it with.
#[tokio::test]
async fn a_token_of_an_administrator_ends_with_the_team_and_with_the_office() {
    let server = Server::start().await;
    let pk = server.add_user("ann").await;
    let is_staff = |is_staff| UserPatch { is_staff: Some(is_staff), ..UserPatch::default() };
    let appoint = async |yes| server.engine.update_user(UserId(pk), is_staff(yes)).await.unwrap();
    appoint(true).await;
    let ann = server.login("ann").await;
    let (foreign, _) = server.add_foreign_project("foreign").await;
    let team = TeamId(foreign);
    let token = make(&ann, foreign, "W").await;
    server.engine.destroy_team(team).await.unwrap();
    is_no_token(robot(&server, &token).get("/v1/datasets/1").await);
    server.engine.reinstate_team(team).await.unwrap();
    is_no_token(robot(&server, &token).get("/v1/datasets/1").await);

    server.join(pk, server.team, PermissionLevel::Read).await;
    let (token, own) = (make(&ann, foreign, "W").await, make(&ann, server.team, "R").await);
    appoint(false).await;
    appoint(true).await;
    is_no_token(robot(&server, &token).get("/v1/datasets/1").await);
    robot(&server, &own).post("/v1/teams/list", &json!({})).await.is(200);
}

/// Whatever the request found when it began.
#[tokio::test]
async fn nobody_gets_a_token_without_the_ground_for_one() {
    let server = Server::start().await;
    let pk = server.add_user("ann").await;
    let new = |user| NewAccessToken {
        name: "robot".into(),
        user: UserId(user),
        team: TeamId(server.team),
        level: PermissionLevel::Read,
        secret_hash: [7; 32],
        expiry_time: None,
    };
    let refused = server.engine.create_access_token(new(pk)).await;
    assert!(matches!(refused, Err(MutationError::NotAMember { .. })), "{refused:?}");
    server.join(pk, server.team, PermissionLevel::Read).await;
    server.engine.create_access_token(new(pk)).await.unwrap();
    let patch = UserPatch { is_active: Some(false), ..UserPatch::default() };
    server.engine.update_user(UserId(pk), patch).await.unwrap();
    let refused = server.engine.create_access_token(new(pk)).await;
    assert!(matches!(refused, Err(MutationError::UserNotFound { .. })), "{refused:?}");
}

#[tokio::test]
async fn who_asks_for_more_than_they_may_is_told_and_gets_none() {
    let server = Server::start().await;
    let ann = server.member("ann", PermissionLevel::Read).await;
    let beyond = ann.post(CREATE, &fields("robot", server.team, "W")).await.json(400);
    let text = "You may not do that in this team yourself; ask for less.";
    assert_eq!(beyond, json!({"permissions": [text]}));
    let stranger = server.stranger("stranger").await;
    stranger.post(CREATE, &fields("robot", server.team, "R")).await.is(403);
    for (body, field) in [
        (json!({"team": 1, "permissions": "R"}), "name"),
        (json!({"name": "n", "permissions": "R"}), "team"),
        (fields("n", server.team, "A"), "permissions"),
        (fields("n", server.team, "w"), "permissions"),
        (fields(" ", server.team, "R"), "name"),
        (json!({"name": "n", "team": 1, "permissions": "R", "expiry_time": "soon"}), "expiry_time"),
        (
            json!({"name": "n", "team": 1, "permissions": "R", "expiry_time": "2001-01-01T00:00:00Z"}),
            "expiry_time",
        ),
    ] {
        let wrong = ann.post(CREATE, &body).await.json(400);
        assert!(wrong[field].is_array(), "{body}: {wrong}");
    }
    let admin = server.admin().await;
    let unknown = admin.post(CREATE, &fields("n", 999, "R")).await.json(400);
    assert!(unknown["team"].is_array(), "{unknown}");
    assert_eq!(listed(&admin).await, [0; 0]);
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_tokens() {
    let server = Server::start().await;
    let ann = server.member("ann", PermissionLevel::Read).await;
    for _ in 0..granary_engine::limits::ACCESS_TOKENS_MAX {
        make(&ann, server.team, "R").await;
    }
    let refused = ann.post(CREATE, &fields("more", server.team, "R")).await.detail(400);
    assert!(refused.contains("at most 100"), "{refused}");
    server.admin().await.delete("/v1/access-tokens/7").await.is(204);
    make(&ann, server.team, "R").await;
}

#[tokio::test]
async fn owners_leaders_of_the_team_and_administrators_see_and_revoke_tokens() {
    let server = Server::start().await;
    let ann = server.member("ann", PermissionLevel::Write).await;
    let leader = server.member("leader", PermissionLevel::Admin).await;
    let other = server.member("other", PermissionLevel::Write).await;
    let admin = server.admin().await;
    let of_ann = make(&ann, server.team, "R").await;
    let of_leader = make(&leader, server.team, "R").await;
    assert_eq!(listed(&ann).await, [1]);
    assert_eq!(listed(&leader).await, [1, 2]);
    assert_eq!(listed(&admin).await, [1, 2]);
    assert_eq!(listed(&other).await, [0; 0]);

    other.delete("/v1/access-tokens/1").await.is(403);
    ann.delete("/v1/access-tokens/2").await.is(403);
    ann.delete("/v1/access-tokens/3").await.is(404);
    server.anonymous().delete("/v1/access-tokens/1").await.is(401);
    ann.delete("/v1/access-tokens/1").await.is(204);
    is_no_token(robot(&server, &of_ann).get("/v1/licences/1").await);
    robot(&server, &of_leader).get("/v1/licences/1").await.is(200);
    admin.delete("/v1/access-tokens/2").await.is(204);
    is_no_token(robot(&server, &of_leader).get("/v1/licences/1").await);
    ann.delete("/v1/access-tokens/1").await.is(404);
}

#[tokio::test]
async fn what_is_no_good_token_is_refused_even_where_the_anonymous_may_go() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let made = make(&admin, server.team, "R").await;
    let good = made["token"].as_str().unwrap();
    let of_another = good.replacen("granary_1_", "granary_2_", 1);
    for text in ["granary_", "granary_1_0", &of_another, &good[..good.len() - 1]] {
        let shown = server.anonymous().with("Authorization", format!("Bearer {text}"));
        is_no_token(shown.post("/v1/datasets/list", &json!({})).await);
    }
    // One that is well made, of this number, and of another server.
    let twin = Server::start().await;
    let foreign = make(&twin.admin().await, twin.team, "R").await;
    is_no_token(robot(&server, &foreign).post("/v1/datasets/list", &json!({})).await);
}

#[tokio::test]
async fn a_token_ends_when_its_time_is_over() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let later = json!({
        "name": "n", "team": server.team, "permissions": "R",
        "expiry_time": "2999-01-01T02:00:00+02:00",
    });
    let made = admin.post(CREATE, &later).await.json(201);
    assert_eq!(made["expiry_time"], "2999-01-01T00:00:00.000000Z");
    robot(&server, &made).get("/v1/licences/1").await.is(200);
    // The API makes none that is over; the engine does not look at clocks.
    let over = NewAccessToken {
        name: "over".into(),
        user: UserId(1),
        team: TeamId(server.team),
        level: PermissionLevel::Read,
        secret_hash: server
            .engine
            .snapshot()
            .unwrap()
            .access_token(AccessTokenId(1))
            .unwrap()
            .unwrap()
            .secret_hash,
        expiry_time: Some(Timestamp::now()),
    };
    server.engine.revoke_access_token(AccessTokenId(1)).await.unwrap();
    let over = server.engine.create_access_token(over).await.unwrap();
    assert_eq!(over.id, AccessTokenId(2));
    let text = made["token"].as_str().unwrap();
    let body = &text["granary_1_".len()..text.len() - 8];
    let text = format!("granary_2_{body}");
    let text = format!("{text}{:08x}", crc32(text.as_bytes()));
    let answer = server.anonymous().with("Authorization", format!("Bearer {text}"));
    let answer = answer.get("/v1/licences/1").await.json(401);
    assert_eq!(answer["messages"][0]["message"], "Token is expired");
}

/// CRC-32 by its definition, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let register = bytes.iter().fold(u32::MAX, |register, byte| {
        (0..8).fold(register ^ u32::from(*byte), |register, _| {
            (register >> 1) ^ (0xedb8_8320 & (register & 1).wrapping_neg())
        })
    });
    !register
}

#[tokio::test]
async fn a_team_that_is_removed_for_good_takes_its_tokens_with_it() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let team = admin.post("/v1/teams/create", &json!({"name": "short"})).await.json(201);
    let team = team["pk"].as_u64().unwrap();
    let token = make(&admin, team, "R").await;
    make(&admin, server.team, "R").await;
    admin.delete(&format!("/v1/teams/{team}/hard")).await.is(200);
    assert_eq!(listed(&admin).await, [2]);
    is_no_token(robot(&server, &token).get("/v1/licences/1").await);
    assert_eq!(server.engine.check(false).unwrap(), []);
}

#[tokio::test]
async fn a_new_key_ends_every_login_and_no_access_token() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let ann = server.member("ann", PermissionLevel::Read).await;
    let tokens = server.tokens("ann").await;
    let made = make(&ann, server.team, "R").await;
    ann.post("/v1/auth/rotate-key", &json!({})).await.is(403);
    server.anonymous().post("/v1/auth/rotate-key", &json!({})).await.is(401);
    ann.get("/v1/licences/1").await.is(200);
    let file = server.directory.path().join("token-key");
    let before = std::fs::read(&file).unwrap();

    admin.post("/v1/auth/rotate-key", &json!({})).await.is(204);

    for ended in [&admin, &ann] {
        is_no_token(ended.get("/v1/licences/1").await);
    }
    let refresh = json!({"refresh": tokens["refresh"]});
    server.anonymous().post("/v1/auth/refresh", &refresh).await.is(401);
    robot(&server, &made).get("/v1/licences/1").await.is(200);
    server.login("ann").await.get("/v1/licences/1").await.is(200);
    assert_ne!(std::fs::read(&file).unwrap(), before);
}
