use std::time::Duration;

use futures_util::FutureExt as _;
use granary::Outside;
use granary::auth::LoginBounds;
use granary_engine::model::{UserId, UserPatch};
use serde_json::{Value, json};

use crate::support::{Answer, Client, PASSWORD, Server, bearer, new_store};

#[tokio::test]
async fn a_login_gives_tokens_that_open_and_renew() {
    let server = Server::start().await;
    let tokens = server.tokens("admin").await;
    let nobody = server.anonymous();

    let user = nobody.with("Authorization", bearer(&tokens["access"]));
    user.post("/v1/users/list", &json!({})).await.is(200);

    let renewed = nobody.post("/v1/auth/refresh", &json!({"refresh": tokens["refresh"]})).await;
    let renewed = renewed.json(200);
    assert_eq!(renewed.as_object().unwrap().keys().collect::<Vec<_>>(), ["access"]);
    let user = nobody.with("Authorization", bearer(&renewed["access"]));
    user.post("/v1/users/list", &json!({})).await.is(200);

    for token in ["access", "refresh"] {
        let verified = nobody.post("/v1/auth/verify", &json!({"token": tokens[token]})).await;
        assert_eq!(verified.json(200), json!({}));
    }
}

#[tokio::test]
async fn blanks_around_a_token_are_cut_and_around_a_password_are_not() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    let tokens = server.tokens("admin").await;
    for (path, field, kind) in [("refresh", "refresh", "refresh"), ("verify", "token", "access")] {
        let token = tokens[kind].as_str().unwrap();
        let path = format!("/v1/auth/{path}");
        for sent in [format!("{token}\n"), format!(" \t{token}\r\n")] {
            nobody.post(&path, &json!({field: sent})).await.is(200);
        }
        for blank in ["", " ", "\n"] {
            let wrong = nobody.post(&path, &json!({field: blank})).await.json(400);
            assert_eq!(wrong, json!({field: ["This field may not be blank."]}));
        }
    }
    for password in [format!("{PASSWORD}\n"), format!(" {PASSWORD}")] {
        try_login(&nobody, "admin", &password).await.is(401);
    }
}

#[tokio::test]
async fn a_login_works_with_a_form_and_with_a_slash() {
    let server = Server::start().await;
    let form = server.anonymous().with("Content-Type", "application/x-www-form-urlencoded");
    let body = format!("username=admin&password={}", PASSWORD.replace(' ', "+"));
    form.send("POST", "/v1/auth/obtain/", body).await.is(200);
}

#[tokio::test]
async fn wrong_unknown_and_inactive_look_alike() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let idle = json!({"username": "idle", "password": PASSWORD, "is_active": false});
    admin.post("/v1/users/create", &idle).await.is(201);

    for (username, password) in [("admin", "wrong"), ("nobody", PASSWORD), ("idle", PASSWORD)] {
        let credentials = json!({"username": username, "password": password});
        let answer = server.anonymous().post("/v1/auth/obtain", &credentials).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"api\"");
        let text = "No active account found with the given credentials";
        assert_eq!(answer.json(401), json!({"detail": text}), "{username}");
    }
}

#[tokio::test]
async fn missing_fields_are_told_all_at_once() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    let required = json!(["This field is required."]);
    for (path, expected) in [
        ("obtain", json!({"username": required, "password": required})),
        ("refresh", json!({"refresh": required})),
        ("verify", json!({"token": required})),
    ] {
        let answer = nobody.post(&format!("/v1/auth/{path}"), &json!({})).await;
        assert_eq!(answer.json(400), expected);
    }
    let list = nobody.post("/v1/auth/obtain", &json!([1])).await.json(400);
    let text = "Invalid data. Expected a dictionary, but got list.";
    assert_eq!(list, json!({"non_field_errors": [text]}));
}

#[tokio::test]
async fn bad_tokens_are_401_also_where_the_anonymous_may_go() {
    let server = Server::start().await;
    let tokens = server.tokens("admin").await;
    let refresh = bearer(&tokens["refresh"]);
    let mut tampered = bearer(&tokens["access"]);
    let last = if tampered.pop() == Some('A') { 'Q' } else { 'A' };
    tampered.push(last);
    let none = "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJ1cGsiOiIxIn0.".to_owned();
    for header in ["Bearer junk".to_owned(), tampered, none, refresh] {
        let client = server.anonymous().with("Authorization", header.as_str());
        let answer = client.post("/v1/datasets/list", &json!({})).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"api\"");
        let body: Value = answer.json(401);
        assert_eq!(body["code"], "token_not_valid", "{header}");
        assert_eq!(body["detail"], "Given token not valid for any token type");
        assert_eq!(body["messages"][0]["token_class"], "AccessToken");
        assert_eq!(body["messages"][0]["token_type"], "access");
    }
}

#[tokio::test]
async fn malformed_headers_are_told_and_other_schemes_ignored() {
    let server = Server::start().await;
    for header in ["Bearer", "Bearer a b"] {
        let client = server.anonymous().with("Authorization", header);
        let body = client.post("/v1/datasets/list", &json!({})).await.json(401);
        assert_eq!(body["code"], "bad_authorization_header", "{header}");
    }
    for header in ["Basic YTpi", "bearer junk", ""] {
        let client = server.anonymous().with("Authorization", header);
        client.post("/v1/datasets/list", &json!({})).await.is(200);
    }
}

#[tokio::test]
async fn the_other_kind_of_token_does_not_refresh() {
    let server = Server::start().await;
    let tokens = server.tokens("admin").await;
    let nobody = server.anonymous();
    let wrong = nobody.post("/v1/auth/refresh", &json!({"refresh": tokens["access"]})).await;
    let text = "Token has wrong type";
    assert_eq!(wrong.json(401), json!({"detail": text, "code": "token_not_valid"}));
    for path in ["refresh", "verify"] {
        let body = json!({"refresh": "junk", "token": "junk"});
        let junk = nobody.post(&format!("/v1/auth/{path}"), &body).await;
        let text = "Token is invalid";
        assert_eq!(junk.json(401), json!({"detail": text, "code": "token_not_valid"}));
    }
}

#[tokio::test]
async fn a_get_is_not_allowed_and_says_what_is() {
    let server = Server::start().await;
    for path in ["obtain", "refresh", "verify"] {
        let answer = server.anonymous().get(&format!("/v1/auth/{path}")).await;
        assert_eq!(answer.header("allow"), "POST, OPTIONS");
        assert_eq!(answer.detail(405), "Method \"GET\" not allowed.");
    }
}

#[tokio::test]
async fn a_bad_node_is_400_on_every_action() {
    let server = Server::start().await;
    let node = server.add_node().await;
    let admin = server.admin().await;
    for text in ["x", "", "99", "-1", "18446744073709551616"] {
        let client = admin.with("Node-Id", text);
        let detail = client.get("/v1/licences/1").await.detail(400);
        assert!(detail.starts_with(&format!("Bad Node-Id header '{text}': ")), "{detail}");
        // Before the object is looked for, and before the login is asked for.
        client.get("/v1/datasets/999").await.is(400);
        let nobody = server.anonymous().with("Node-Id", text);
        nobody.post("/v1/datasets/list", &json!({})).await.is(400);
    }
    let client = admin.with("Node-Id", node.to_string());
    client.get("/v1/licences/1").await.is(200);
    let seen = client.get(&format!("/v1/nodes/{node}")).await.json(200);
    assert!(seen["last_seen"].is_string(), "{seen}");
}

#[tokio::test]
async fn a_request_is_remembered_as_the_last_login() {
    let server = Server::start().await;
    let ann = server.add_user("ann").await;
    let admin = server.admin().await;
    let path = format!("/v1/users/{ann}");
    assert_eq!(admin.get(&path).await.json(200)["last_login"], Value::Null);
    server.login("ann").await.post("/v1/licences/list", &json!({})).await.is(200);
    assert!(admin.get(&path).await.json(200)["last_login"].is_string());
}

#[tokio::test]
async fn the_first_start_happens_once_and_writes_no_chosen_password_down() {
    let server = Server::start().await;
    let again =
        granary::bootstrap(&server.engine, server.directory.path(), || Ok(None)).await.unwrap();
    assert!(again.is_none());
    assert!(!server.directory.path().join("admin-password").exists());
    let admin = server.admin().await;
    let licences = admin.post("/v1/licences/list", &json!({})).await.json(200);
    assert_eq!(licences.as_array().unwrap().len(), 14);
    assert_eq!(licences[13]["pk"], 14);
    let team = admin.get(&format!("/v1/teams/{}", server.team)).await.json(200);
    assert_eq!(team["name"], "default");
    assert_eq!(team["members"], json!([{"pk": 1, "username": "admin"}]));
}

#[tokio::test]
async fn a_made_up_password_is_written_down_and_opens() {
    let directory = tempfile::tempdir().unwrap();
    let engine = new_store(&directory);
    let first = granary::bootstrap(&engine, directory.path(), || Ok(None)).await.unwrap().unwrap();
    let file = first.password_file.unwrap();
    assert_eq!(file, directory.path().join("admin-password"));
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), first.password);
    assert!(first.password.len() >= 20);
    let (another, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other = new_store(&another);
    let other = granary::bootstrap(&other, elsewhere.path(), || Ok(None)).await.unwrap().unwrap();
    assert_ne!(other.password, first.password);

    let server = Server::over(engine, directory);
    let credentials = json!({"username": first.username, "password": first.password});
    server.anonymous().post("/v1/auth/obtain", &credentials).await.is(200);
}

/// A server whose first password was made up, the file that holds it, and the password.
async fn with_a_made_up_password() -> (Server, std::path::PathBuf, String) {
    let directory = tempfile::tempdir().unwrap();
    let engine = new_store(&directory);
    let first = granary::bootstrap(&engine, directory.path(), || Ok(None)).await.unwrap().unwrap();
    (Server::over(engine, directory), first.password_file.unwrap(), first.password)
}

async fn logged_in_with(server: &Server, password: &str) -> Client {
    let credentials = json!({"username": "admin", "password": password});
    let tokens = server.anonymous().post("/v1/auth/obtain", &credentials).await.json(200);
    server.anonymous().with("Authorization", bearer(&tokens["access"]))
}

#[tokio::test]
async fn the_file_with_the_first_password_goes_when_that_password_is_changed() {
    for by_oneself in [true, false] {
        let (server, file, password) = with_a_made_up_password().await;
        let admin = logged_in_with(&server, &password).await;
        admin.patch("/v1/users/1", &json!({"first_name": "Ada"})).await.is(200);
        let ann = json!({"username": "ann", "password": PASSWORD});
        admin.post("/v1/users/create", &ann).await.is(201);
        admin.patch("/v1/users/2", &json!({"password": "another of hers"})).await.is(200);
        admin.patch("/v1/users/1", &json!({"password": password})).await.is(200);
        let admin = logged_in_with(&server, &password).await;
        assert!(file.exists(), "neither another field, nor another user, nor the same password");
        if by_oneself {
            let fields = json!({"old_password": password, "new_password": PASSWORD});
            admin.post("/v1/auth/password", &fields).await.is(200);
        } else {
            admin.patch("/v1/users/1", &json!({"password": PASSWORD})).await.is(200);
        }
        assert!(!file.exists(), "by oneself: {by_oneself}");
        logged_in_with(&server, PASSWORD).await;
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test's own file needs no durability")]
async fn a_start_removes_the_first_password_only_if_it_is_wrong_and_was_made_up() {
    let (server, file, password) = with_a_made_up_password().await;
    granary::bootstrap(&server.engine, server.directory.path(), || Ok(None)).await.unwrap();
    assert!(file.exists(), "it is right");
    let admin = logged_in_with(&server, &password).await;
    admin.patch("/v1/users/1", &json!({"password": PASSWORD})).await.is(200);
    for (text, stays) in [(format!("{password}\n"), false), ("chosen by somebody\n".into(), true)] {
        // As a crash between the change and the removal leaves it.
        std::fs::write(&file, text).unwrap();
        let again = granary::bootstrap(&server.engine, server.directory.path(), || Ok(None)).await;
        assert!(again.unwrap().is_none());
        assert_eq!(file.exists(), stays);
    }
    let admin = logged_in_with(&server, PASSWORD).await;
    admin.patch("/v1/users/1", &json!({"password": "yet another one"})).await.is(200);
    assert!(file.exists(), "nobody wrote it here");
}

#[tokio::test]
async fn a_first_start_that_a_crash_ended_goes_on() {
    // Cut off after the user: the marker is there, team, project and licences are not.
    let cut_off = tempfile::tempdir().unwrap();
    let engine = new_store(&cut_off);
    let user = granary_engine::model::NewUser {
        username: "admin".to_owned(),
        password_hash: granary::auth::hash_password(PASSWORD).unwrap(),
        first_name: String::new(),
        last_name: String::new(),
        email: String::new(),
        is_superuser: true,
        is_staff: true,
        is_active: true,
    };
    engine.create_user(user).await.unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(cut_off.path().join("first-start"))
        .unwrap();
    let again = granary::bootstrap(&engine, cut_off.path(), || Ok(None)).await.unwrap();
    assert!(again.is_none(), "the user was there, so there is nothing to tell");
    assert!(!cut_off.path().join("first-start").exists());

    let server = Server::over(engine, cut_off);
    server.add_dataset("cats").await;
    let admin = server.admin().await;
    let licences = admin.post("/v1/licences/list", &json!({})).await.json(200);
    assert_eq!(licences.as_array().unwrap().len(), 14);
}

async fn is_good(server: &Server, token: &Value) -> bool {
    let client = server.anonymous().with("Authorization", bearer(token));
    client.post("/v1/licences/list", &json!({})).await.status == 200
}

async fn renews(server: &Server, token: &Value) -> bool {
    let body = json!({"refresh": token});
    let answer = server.anonymous().post("/v1/auth/refresh", &body).await;
    if answer.status != 200 {
        assert_eq!(answer.json(401)["code"], "token_not_valid");
        return false;
    }
    true
}

#[tokio::test]
async fn a_new_password_ends_every_token_from_before_and_nobody_elses() {
    let server = Server::start().await;
    let (ann, _ben) = (server.add_user("ann").await, server.add_user("ben").await);
    let (anns, bens) = (server.tokens("ann").await, server.tokens("ben").await);
    assert!(is_good(&server, &anns["access"]).await && renews(&server, &anns["refresh"]).await);

    let admin = server.admin().await;
    let path = format!("/v1/users/{ann}");
    // Another field ends nothing.
    admin.patch(&path, &json!({"last_name": "Lee"})).await.is(200);
    assert!(is_good(&server, &anns["access"]).await);
    // The same password again is a new one.
    admin.patch(&path, &json!({"password": PASSWORD})).await.is(200);

    assert!(!is_good(&server, &anns["access"]).await);
    assert!(!renews(&server, &anns["refresh"]).await);
    for token in ["access", "refresh"] {
        let body = json!({"token": anns[token]});
        server.anonymous().post("/v1/auth/verify", &body).await.is(401);
    }
    assert!(is_good(&server, &bens["access"]).await && renews(&server, &bens["refresh"]).await);
    let again = server.tokens("ann").await;
    assert!(is_good(&server, &again["access"]).await && renews(&server, &again["refresh"]).await);
}

#[tokio::test]
async fn everybody_changes_their_own_password_with_the_old_one() {
    let server = Server::start().await;
    server.add_user("ann").await;
    let before = server.tokens("ann").await;
    let ann = server.anonymous().with("Authorization", bearer(&before["access"]));
    let change = async |old: &str, new: &str| {
        let body = json!({"old_password": old, "new_password": new});
        ann.post("/v1/auth/password", &body).await
    };
    let wrong = change("wrong", "a new one").await.json(400);
    assert_eq!(wrong, json!({"old_password": ["This is not your password."]}));
    for blank in ["", " "] {
        let wrong = change(PASSWORD, blank).await.json(400);
        assert_eq!(wrong, json!({"new_password": ["This field may not be blank."]}));
    }
    change(PASSWORD, &"x".repeat(129)).await.is(400);
    assert!(is_good(&server, &before["access"]).await);

    let tokens = change(PASSWORD, " a new one ").await.json(200);

    assert!(is_good(&server, &tokens["access"]).await && renews(&server, &tokens["refresh"]).await);
    assert!(
        !is_good(&server, &before["access"]).await && !renews(&server, &before["refresh"]).await
    );
    for (password, status) in [(PASSWORD, 401), ("a new one", 401), (" a new one ", 200)] {
        let credentials = json!({"username": "ann", "password": password});
        server.anonymous().post("/v1/auth/obtain", &credentials).await.is(status);
    }
}

/// It was taken once.
#[tokio::test]
async fn a_password_of_blanks_that_is_there_opens_and_can_be_changed() {
    let server = Server::start().await;
    let pk = server.add_user("ann").await;
    let hash = granary::auth::hash_password(" ").unwrap();
    let patch = UserPatch { password_hash: Some(hash), ..UserPatch::default() };
    server.engine.update_user(UserId(pk), patch).await.unwrap();
    let tokens = try_login(&server.anonymous(), "ann", " ").await.json(200);
    let ann = server.anonymous().with("Authorization", bearer(&tokens["access"]));
    let body = json!({"old_password": " ", "new_password": PASSWORD});
    ann.post("/v1/auth/password", &body).await.is(200);
}

async fn try_login(client: &Client, username: &str, password: &str) -> Answer {
    let credentials = json!({"username": username, "password": password});
    client.post("/v1/auth/obtain", &credentials).await
}

/// Bounds that do not end within a test.
fn bounds(per_account: u32, per_address: u32) -> Outside {
    let logins = LoginBounds { per_account, per_address, window: Duration::from_hours(24) };
    let trusted_proxies = "127.0.0.1".parse().unwrap();
    Outside { logins, trusted_proxies, ..Outside::default() }
}

#[tokio::test]
async fn an_account_that_failed_too_often_has_to_wait_whether_it_is_there_or_not() {
    let server = Server::start().await.turned(bounds(3, 0));
    let nobody = server.anonymous();
    let mut refusals = Vec::new();
    for username in ["admin", "nobody"] {
        for place in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            try_login(&nobody.at(place), username, "wrong").await.is(401);
        }
        // The right password is not looked at either, or it could be found by trying on.
        let refused = try_login(&nobody, username, PASSWORD).await.is(429);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=8 * 3600).contains(&wait), "{wait}");
        refusals.push((refused.headers.len(), refused.detail(429).replace(char::is_numeric, "")));
    }
    assert_eq!(refusals[0], refusals[1]);
    assert_eq!(refusals[0].1, "Too many logins failed; try again in  s.");
}

/// The hash is made to its end all the same, which is what the bounds are for.
#[tokio::test]
async fn an_attempt_counts_when_whoever_made_it_goes_away_before_the_answer() {
    let server = Server::start().await.turned(bounds(1, 0));
    let nobody = server.anonymous();
    // Dropped while the hash is being made.
    assert!(try_login(&nobody, "admin", "wrong").now_or_never().is_none());
    try_login(&nobody, "admin", PASSWORD).await.is(429);
}

#[tokio::test]
async fn who_is_logged_in_or_logs_in_well_is_not_counted() {
    let server = Server::start().await;
    server.add_user("other").await;
    let admin = server.admin().await;
    let tokens = server.tokens("admin").await;
    let server = server.turned(bounds(2, 0));
    let nobody = server.anonymous();
    for _ in 0..5 {
        try_login(&nobody, "admin", PASSWORD).await.is(200);
    }
    for _ in 0..2 {
        try_login(&nobody, "admin", "wrong").await.is(401);
    }
    try_login(&nobody, "admin", PASSWORD).await.is(429);
    try_login(&nobody, "other", PASSWORD).await.is(200);
    let renewed = nobody.post("/v1/auth/refresh", &json!({"refresh": tokens["refresh"]})).await;
    let renewed = renewed.json(200);
    let user = nobody.with("Authorization", bearer(&renewed["access"]));
    user.post("/v1/users/list", &json!({})).await.is(200);
    admin.post("/v1/users/list", &json!({})).await.is(200);
}

#[tokio::test]
async fn an_address_that_failed_too_often_has_to_wait_and_cannot_claim_another() {
    let server = Server::start().await.turned(bounds(0, 3));
    let client = server.anonymous().at("10.0.0.1");
    for name in ["a", "b", "c"] {
        try_login(&client, name, "wrong").await.is(401);
    }
    try_login(&client, "admin", PASSWORD).await.is(429);
    let claims = client.with("X-Forwarded-For", "10.9.9.9");
    try_login(&claims, "admin", PASSWORD).await.is(429);
    try_login(&client.at("10.0.0.2"), "admin", PASSWORD).await.is(200);
    // Of a proxy that is trusted, the clients count each for itself.
    let proxied = |address: &str| client.at("127.0.0.1").with("X-Forwarded-For", address);
    for name in ["a", "b", "c"] {
        try_login(&proxied("192.0.2.1"), name, "wrong").await.is(401);
    }
    try_login(&proxied("192.0.2.1"), "admin", PASSWORD).await.is(429);
    try_login(&proxied("192.0.2.2"), "admin", PASSWORD).await.is(200);
}

#[tokio::test]
async fn wrong_old_passwords_count_as_failed_logins() {
    let server = Server::start().await.turned(bounds(2, 0));
    let admin = server.admin().await;
    let change = async |old: &str| {
        let body = json!({"old_password": old, "new_password": "a new one"});
        admin.post("/v1/auth/password", &body).await
    };
    for _ in 0..2 {
        change("wrong").await.is(400);
    }
    change(PASSWORD).await.is(429);
}
