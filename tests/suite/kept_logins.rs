//! Logins that are kept with their connections: whatever ends a token ends it there too, and a connection
//! of many users is each one's in turn.

use granary_engine::model::{UserId, UserPatch};
use serde_json::json;

use crate::support::{Client, PASSWORD, Server, bearer};

/// Administrators may read it, and nobody else.
const AUDIT: &str = "/v1/audit";

/// Somebody who is logged in, over a connection that keeps their login by now.
async fn kept(server: &Server, username: &str, staff: bool) -> (u64, Client) {
    let pk = server.add_user(username).await;
    change(server, pk, UserPatch { is_staff: Some(staff), ..UserPatch::default() }).await;
    let client = server.login(username).await.at("127.0.0.1");
    asks_twice(&client, if staff { 200 } else { 403 }).await;
    (pk, client)
}

async fn asks_twice(client: &Client, status: u16) {
    for _ in 0..2 {
        client.get(AUDIT).await.is(status);
    }
}

async fn change(server: &Server, user: u64, patch: UserPatch) {
    server.engine.update_user(UserId(user), patch).await.unwrap();
}

#[tokio::test]
async fn who_is_deactivated_or_deleted_is_nobody_over_their_connection() {
    let server = Server::start().await;
    let (ann, client) = kept(&server, "ann", true).await;
    let is_active = |is_active| UserPatch { is_active: Some(is_active), ..UserPatch::default() };
    change(&server, ann, is_active(false)).await;
    asks_twice(&client, 401).await;
    change(&server, ann, is_active(true)).await;
    asks_twice(&client, 200).await;
    let (bob, client) = kept(&server, "bob", true).await;
    server.admin().await.delete(&format!("/v1/users/{bob}")).await.is(204);
    asks_twice(&client, 401).await;
}

#[tokio::test]
async fn rights_that_were_taken_or_given_are_so_over_a_connection() {
    let server = Server::start().await;
    let (ann, client) = kept(&server, "ann", true).await;
    let is_staff = |is_staff| UserPatch { is_staff: Some(is_staff), ..UserPatch::default() };
    change(&server, ann, is_staff(false)).await;
    asks_twice(&client, 403).await;
    change(&server, ann, is_staff(true)).await;
    asks_twice(&client, 200).await;
}

#[tokio::test]
async fn a_new_password_ends_the_login_over_its_connection() {
    let server = Server::start().await;
    let (ann, client) = kept(&server, "ann", true).await;
    let hash = granary::auth::hash_password("another long password").unwrap();
    change(&server, ann, UserPatch { password_hash: Some(hash), ..UserPatch::default() }).await;
    asks_twice(&client, 401).await;
    let (_, client) = kept(&server, "bob", true).await;
    let body = json!({"old_password": PASSWORD, "new_password": "another long password"});
    let tokens = client.post("/v1/auth/password", &body).await.json(200);
    asks_twice(&client, 401).await;
    let connection = server.anonymous().at("127.0.0.1");
    asks_twice(&connection.with("Authorization", bearer(&tokens["access"])), 200).await;
}

#[tokio::test]
async fn a_new_key_ends_the_login_over_its_connection() {
    let server = Server::start().await;
    let (_, client) = kept(&server, "ann", true).await;
    client.post("/v1/auth/rotate-key", &json!({})).await.is(204);
    asks_twice(&client, 401).await;
}

#[tokio::test]
async fn a_connection_of_many_is_each_ones_in_turn_and_nobodys_without_a_token() {
    let server = Server::start().await;
    server.add_user("ann").await;
    let (admin, ann) = (server.tokens("admin").await, server.tokens("ann").await);
    let connection = server.anonymous().at("127.0.0.1");
    let shows = |token: &str| connection.with("Authorization", token);
    let access = bearer(&admin["access"]);
    let mut foreign = access.clone();
    let at = foreign.len() - 5;
    let other = if foreign[at..].starts_with('A') { "B" } else { "A" };
    foreign.replace_range(at..=at, other);
    for (token, status) in [
        (bearer(&ann["access"]), 403),
        (bearer(&admin["refresh"]), 401),
        (foreign, 401),
        (access.get(..access.len() - 1).unwrap().to_owned(), 401),
        (format!("{access} {access}"), 401),
        ("Bearer".to_owned(), 401),
    ] {
        asks_twice(&shows(&access), 200).await;
        asks_twice(&shows(&token), status).await;
        connection.get(AUDIT).await.is(401);
    }
    asks_twice(&shows(&access), 200).await;
}
