//! Requests with a login, and answers that may not come.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::PASSWORD;

/// How long a request may take before the server counts as hung, which no test allows.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(2);

/// One client's way to the server, as its administrator.
#[derive(Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    url: String,
    token: Mutex<String>,
}

/// What a request carries.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    None,
    Json(Value),
    Bytes(Bytes),
}

/// What the server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The answer as JSON, which must have this status.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }
}

impl Api {
    pub(crate) fn new(url: &str) -> Self {
        // Never used, but the library wants one.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().timeout(ANSWER_TIME_MAX).no_proxy().build().unwrap();
        Self { http, url: url.to_owned(), token: Mutex::default() }
    }

    /// The token of the last login.
    pub(crate) fn token(&self) -> String {
        self.token.lock().unwrap().clone()
    }

    /// Sends a request; `None` if there was no whole answer. A worn login is renewed.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Body) -> Option<Answer> {
        let mut token = self.token.lock().unwrap().clone();
        if token.is_empty() {
            // Some actions are open to the anonymous, and show them less.
            token = self.log_in().await?;
            self.token.lock().unwrap().clone_from(&token);
        }
        let answer = self.send_once(&token, method.clone(), path, body.clone()).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Some(answer);
        }
        let token = self.log_in().await?;
        self.token.lock().unwrap().clone_from(&token);
        self.send_once(&token, method, path, body).await
    }

    async fn log_in(&self) -> Option<String> {
        let credentials = json!({"username": "admin", "password": PASSWORD});
        let body = Body::Json(credentials);
        let answer = self.send_once("", Method::POST, "auth/obtain", body).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        Some(answer.json()["access"].as_str().unwrap().to_owned())
    }

    async fn send_once(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Body,
    ) -> Option<Answer> {
        let mut request = self.http.request(method.clone(), format!("{}/v1/{path}", self.url));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        request = match body {
            Body::None => request,
            Body::Json(value) => request.json(&value),
            Body::Bytes(bytes) => request.body(bytes),
        };
        let answered = request.send().await;
        let response = whole(&method, path, answered)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = whole(&method, path, response.bytes().await)?;
        Some(Answer { status, headers, bytes })
    }

    /// As [`Self::send`], of a server that must answer.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Body) -> Answer {
        let answer = self.send(method, path, body).await;
        answer.unwrap_or_else(|| panic!("no answer to {path}"))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Body::None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Body::Json(body)).await
    }

    /// Uploads a file.
    pub(crate) async fn upload(&self, dataset: u64, name: &str, bytes: Vec<u8>) -> Answer {
        let path = format!("datasets/{dataset}/files/{name}");
        self.ask(Method::POST, &path, Body::Bytes(bytes.into())).await
    }

    /// Makes a dataset in the project of the first start.
    pub(crate) async fn create_dataset(&self, name: &str) -> u64 {
        let body = json!({"name": name, "project": 1, "licence": 1, "tags": ""});
        let created = self.post("datasets/create", body).await.expect(201);
        created["pk"].as_u64().unwrap()
    }

    /// Asks for so long whether the server failed, which it must not.
    pub(crate) async fn stays_writable(&self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let (_, health) = self.ready().await;
            assert_ne!(health["status"], "read-only", "{health}");
        }
    }

    /// What the server says of its health, and with which status.
    pub(crate) async fn ready(&self) -> (u16, Value) {
        let answer = self.http.get(format!("{}/readyz", self.url)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }
}

/// A broken connection is no answer; a server that is silent for minutes is a fault.
fn whole<T>(method: &Method, path: &str, result: reqwest::Result<T>) -> Option<T> {
    if let Err(error) = &result {
        assert!(!error.is_timeout(), "{method} {path} was never answered");
    }
    result.ok()
}
