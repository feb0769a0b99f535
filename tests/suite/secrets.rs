//! Passwords, their hashes and tokens: given to the server in every way there is, and looked for in
//! every answer that shows something and in every line of the log.

use std::io;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::matrix::{ROWS, Row, State, World};
use crate::support::{Answer, Client, PASSWORD, bearer};

/// A password that stands nowhere else.
const MARKED: &str = "a marked password: 6c8b1f";

/// How every hash and every token begins.
const BEGINNINGS: [&str; 2] = ["$argon2", "eyJ"];

/// The log of the whole process, at its most talkative.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Captures what is logged from now on, on whatever thread and in whichever test.
fn capture() -> Log {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    log
}

struct Secrets(Vec<String>);

impl Secrets {
    #[track_caller]
    fn are_not_in(&self, text: &[u8], case: &str) {
        let text = String::from_utf8_lossy(text);
        for secret in &self.0 {
            assert!(!text.contains(secret.as_str()), "{case}: {secret}");
        }
    }

    #[track_caller]
    fn are_not_in_answer(&self, answer: &Answer, case: &str) {
        self.are_not_in(&answer.body, case);
        for value in answer.headers.values() {
            self.are_not_in(value.as_bytes(), case);
        }
    }
}

/// Sets the marked password in every way, and gives the answers.
async fn set_passwords(admin: &Client) -> Vec<Answer> {
    let user = json!({"username": "marked", "password": MARKED});
    let created = admin.post("/v1/users/create", &user).await.is(201);
    let fields: serde_json::Value = serde_json::from_slice(&created.body).unwrap();
    let path = format!("/v1/users/{}", fields["pk"]);
    let form = admin.with("Content-Type", "application/x-www-form-urlencoded");
    let encoded: String = form_urlencoded::byte_serialize(MARKED.as_bytes()).collect();
    let cut = format!("{{\"username\": \"x\", \"password\": \"{MARKED}\"");
    let json = admin.with("Content-Type", "application/json");
    vec![
        created,
        admin.put(&path, &user).await.is(200),
        admin.patch(&path, &json!({"password": MARKED})).await.is(200),
        form.send("PATCH", &path, format!("password={encoded}")).await.is(200),
        // Beside other fields that are wrong, in a body that is no JSON, and for a taken name.
        admin.patch(&path, &json!({"password": MARKED, "email": "nowhere"})).await.is(400),
        admin.patch(&path, &json!({"password": [MARKED]})).await.is(400),
        admin.patch(&path, &json!({"password": MARKED.repeat(9)})).await.is(400),
        admin.post("/v1/users/create", &user).await.is(400),
        json.send("POST", "/v1/users/create", cut.clone()).await.is(400),
        json.send("POST", "/v1/auth/obtain", cut).await.is(400),
    ]
}

/// Logs in with wrong credentials and sends tokens where they do not belong.
async fn misuse(nobody: &Client, access: &str, refresh: &str) -> Vec<Answer> {
    let wrong = json!({"username": "admin", "password": MARKED});
    let swapped = json!({"username": MARKED, "password": "marked"});
    let half = &access[..access.len() / 2];
    vec![
        nobody.post("/v1/auth/obtain", &wrong).await.is(401),
        nobody.post("/v1/auth/obtain", &swapped).await.is(401),
        nobody.post("/v1/auth/verify", &json!({"token": access})).await.is(200),
        nobody.post("/v1/auth/verify", &json!({"token": [access]})).await.is(400),
        nobody.post("/v1/auth/refresh", &json!({"refresh": access})).await.is(401),
        nobody.post("/v1/auth/refresh", &json!({"refresh": half})).await.is(401),
        nobody.with("Authorization", format!("Bearer {refresh}")).get("/v1/teams/1").await.is(401),
        nobody.with("Authorization", format!("Bearer {half}")).get("/v1/teams/1").await.is(401),
        nobody.with("Authorization", format!("Bearer {access} x")).get("/v1/teams/1").await.is(401),
    ]
}

/// A line of the log that is known to be written.
async fn a_body_that_ends_early(admin: &Client, path: &str) -> Answer {
    let chunks = [Ok(Bytes::from_static(b"half")), Err(io::Error::other("the client went away"))];
    admin.upload(path, Body::from_stream(stream::iter(chunks))).await.is(400)
}

#[tokio::test]
async fn no_answer_and_no_line_of_the_log_holds_a_password_a_hash_or_a_token() {
    let log = capture();
    let mut world = World::new(State::Alive).await;
    let tokens = world.server.tokens("admin").await;
    let admin = world.server.anonymous().with("Authorization", bearer(&tokens["access"]));
    let set = set_passwords(&admin).await;
    let login = json!({"username": "marked", "password": MARKED});
    let marked = world.server.anonymous().post("/v1/auth/obtain", &login).await.json(200);

    let hashes = ["admin", "marked"].map(|name| {
        let user = world.server.engine.snapshot().unwrap().user_by_name(name).unwrap();
        user.unwrap().password_hash
    });
    let texts = [&tokens["access"], &tokens["refresh"], &marked["access"], &marked["refresh"]];
    let texts = texts.map(|token| token.as_str().unwrap());
    let mut secrets: Vec<String> = [PASSWORD, MARKED].map(str::to_owned).into();
    secrets.extend(BEGINNINGS.map(str::to_owned));
    secrets.extend(hashes);
    secrets.extend(texts.map(str::to_owned));
    let secrets = Secrets(secrets);

    for answer in &set {
        secrets.are_not_in_answer(answer, "setting a password");
    }
    for answer in misuse(&world.server.anonymous(), texts[0], texts[1]).await {
        secrets.are_not_in_answer(&answer, "wrong credentials");
    }
    let path = world.filled("/v1/datasets/{D}/files/a");
    secrets.are_not_in_answer(&a_body_that_ends_early(&admin, &path).await, &path);

    let mut shown = 0;
    let everything = json!({"include_inactive": true}).to_string();
    for Row(method, path, ..) in ROWS {
        let list = path.ends_with("/list");
        if *method != "GET" && !list {
            continue;
        }
        let path = world.filled(path);
        let client = admin.with("Content-Type", "application/json");
        let body = if list { everything.clone() } else { String::new() };
        let answer = client.send(method, &path, body).await;
        secrets.are_not_in_answer(&answer, &path);
        shown += u32::from(answer.status.is_success());
    }
    assert!(shown >= 20, "{shown}");
    let users = admin.get("/v1/users/marked").await.is(200);
    assert!(String::from_utf8_lossy(&users.body).contains("marked"));
    secrets.are_not_in_answer(&users, "a user by name");

    let log = log.0.lock().unwrap();
    assert!(String::from_utf8_lossy(&log).contains("a request's body ended early"));
    secrets.are_not_in(&log, "the log");
}
