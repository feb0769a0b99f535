use serde_json::{Value, json};

use crate::support::{Client, PASSWORD, Server};

async fn shown(client: &Client, pk: u64) -> Value {
    client.get(&format!("/v1/users/{pk}")).await.json(200)
}

async fn logs_in(server: &Server, username: &str, password: &str) -> bool {
    let credentials = json!({"username": username, "password": password});
    let answer = server.anonymous().post("/v1/auth/obtain", &credentials).await;
    answer.status.as_u16() == 200
}

#[tokio::test]
async fn an_update_needs_name_and_password_and_keeps_what_is_left_out() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let pk = server.add_user("ann").await;
    let path = format!("/v1/users/{pk}");
    let details = json!({"first_name": "Ann", "last_name": "Lee", "email": "ann@example.org"});
    admin.patch(&path, &details).await.is(200);

    let required = json!(["This field is required."]);
    let wrong = admin.put(&path, &json!({"is_staff": "maybe"})).await.json(400);
    let boolean = json!(["Must be a valid boolean."]);
    assert_eq!(wrong, json!({"username": required, "password": required, "is_staff": boolean}));

    let body = json!({"username": "anna", "password": "another one", "is_staff": true});
    let updated = admin.put(&path, &body).await.json(200);
    assert_eq!(updated["username"], "anna");
    assert_eq!(updated["first_name"], "Ann");
    assert_eq!(updated["email"], "ann@example.org");
    assert_eq!(updated["is_staff"], true);
    assert_eq!(updated.get("password"), None);
    assert_eq!(shown(&admin, pk).await, updated);
    assert!(logs_in(&server, "anna", "another one").await);
    assert!(!logs_in(&server, "anna", PASSWORD).await);
    assert!(!logs_in(&server, "ann", "another one").await);
}

#[tokio::test]
async fn a_partial_update_changes_what_it_names() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let pk = server.add_user("ann").await;
    let path = format!("/v1/users/{pk}/");
    let before = shown(&admin, pk).await;
    assert_eq!(admin.patch(&path, &json!({})).await.json(200), before);

    let body = json!({
        "last_name": " Lee ", "is_superuser": true, "date_joined": "2000-01-01", "last_login": null,
        "pk": 7,
    });
    let mut expected = before.clone();
    expected["last_name"] = json!("Lee");
    assert_eq!(admin.patch(&path, &body).await.json(200), expected);

    admin.patch(&path, &json!({"password": "changed alone"})).await.is(200);
    assert!(logs_in(&server, "ann", "changed alone").await);
    for (body, field) in [
        (json!({"password": ""}), "password"),
        (json!({"password": " \t\u{a0}"}), "password"),
        (json!({"password": null}), "password"),
        (json!({"username": " "}), "username"),
        (json!({"username": "a b"}), "username"),
        (json!({"username": "x".repeat(151)}), "username"),
        (json!({"email": "nobody"}), "email"),
        (json!({"first_name": "x".repeat(151)}), "first_name"),
        (json!({"is_active": 2}), "is_active"),
    ] {
        let wrong = admin.patch(&path, &body).await.json(400);
        assert!(wrong[field].is_array(), "{body}: {wrong}");
    }
    assert!(logs_in(&server, "ann", "changed alone").await);
}

#[tokio::test]
async fn a_taken_name_is_told_and_a_left_one_is_free() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let pk = server.add_user("ann").await;
    let path = format!("/v1/users/{pk}");
    let taken = json!({"username": ["A user with that username already exists."]});
    let body = json!({"username": "admin"});
    assert_eq!(admin.patch(&path, &body).await.json(400), taken);
    let body = json!({"username": "admin", "password": PASSWORD});
    assert_eq!(admin.put(&path, &body).await.json(400), taken);
    admin.patch(&path, &json!({"username": "ann"})).await.is(200);

    admin.patch(&path, &json!({"username": "bob"})).await.is(200);
    assert_eq!(admin.get("/v1/users/ann").await.json(200), json!([]));
    assert_eq!(admin.get("/v1/users/bob").await.json(200)[0]["pk"], pk);
    let free = json!({"username": "ann", "password": PASSWORD});
    assert_ne!(admin.post("/v1/users/create", &free).await.json(201)["pk"], pk);
}

#[tokio::test]
async fn a_destroyed_user_is_inactive_and_may_come_back() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let ann = server.stranger("ann").await;
    let pk = admin.get("/v1/users/ann").await.json(200)[0]["pk"].as_u64().unwrap();
    let path = format!("/v1/users/{pk}");
    ann.get(&path).await.is(200);
    let answer = admin.delete(&path).await.is(204);
    assert!(answer.body.is_empty());
    admin.delete(&path).await.is(204);
    assert_eq!(shown(&admin, pk).await["is_active"], false);
    assert_eq!(ann.get(&path).await.json(401)["code"], "user_inactive");
    assert!(!logs_in(&server, "ann", PASSWORD).await);

    admin.patch(&path, &json!({"is_active": true})).await.is(200);
    assert!(logs_in(&server, "ann", PASSWORD).await);
    ann.get(&path).await.is(200);
}

#[tokio::test]
async fn only_administrators_change_users() {
    let server = Server::start().await;
    let ann = server.stranger("ann").await;
    let admin = server.admin().await;
    let pk = admin.get("/v1/users/ann").await.json(200)[0]["pk"].as_u64().unwrap();
    let before = shown(&admin, pk).await;
    let body = json!({"username": "x", "password": "x", "is_staff": true});
    for path in [format!("/v1/users/{pk}"), "/v1/users/1".to_owned()] {
        ann.put(&path, &body).await.is(403);
        ann.patch(&path, &body).await.is(403);
        ann.delete(&path).await.is(403);
        let nobody = server.anonymous();
        nobody.put(&path, &body).await.is(401);
        nobody.patch(&path, &json!([])).await.is(401);
        nobody.delete(&path).await.is(401);
    }
    let mut after = shown(&admin, pk).await;
    after["last_login"] = before["last_login"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn what_names_no_user_is_not_there() {
    let server = Server::start().await;
    for client in [server.anonymous(), server.admin().await] {
        for pk in ["999", "0", "18446744073709551616", "ann", "admin", "1/2", "-1"] {
            let path = format!("/v1/users/{pk}");
            for method in ["PUT", "PATCH", "DELETE"] {
                let detail = client.send(method, &path, "").await.detail(404);
                assert_eq!(detail, "No User matches the given query.", "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn no_answer_holds_a_password_or_its_hash() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let pk = server.add_user("ann").await;
    let path = format!("/v1/users/{pk}");
    let body = json!({"username": "ann", "password": "a very secret one"});
    let answers = [
        admin.put(&path, &body).await,
        admin.patch(&path, &body).await,
        admin.get(&path).await,
        admin.get("/v1/users/ann").await,
        admin.post("/v1/users/list", &json!({})).await,
        admin.patch(&path, &json!({"password": "a very secret one", "email": "x"})).await,
    ];
    for answer in answers {
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains("secret") && !text.contains("argon2"), "{text}");
    }
}
