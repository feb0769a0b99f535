//! An upload that goes on where it stopped, whenever the server is killed in the middle of it.

use std::path::Path;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::HeaderMap;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::chance::{Chance, seed};
use crate::server::{PASSWORD, Server, faults_in_log};

const MIB: usize = 1 << 20;

/// Longer than what is synced at a time, several times over.
const LENGTH: usize = 40 * MIB + 12_345;

/// Bytes that a connection brings at a time.
const CHUNK: usize = 256 << 10;

/// Times that the server is killed.
const KILLS: usize = 4;

/// Who uploads.
struct Uploader {
    http: Client,
    token: String,
}

impl Uploader {
    async fn log_in(server: &Server) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = Client::builder().no_proxy().build().unwrap();
        let body = json!({"username": "admin", "password": PASSWORD});
        let answer = http.post(format!("{}/v1/auth/obtain", server.url)).json(&body).send().await;
        let tokens: Value = answer.unwrap().json().await.unwrap();
        Self { http, token: tokens["access"].as_str().unwrap().to_owned() }
    }

    fn request(&self, method: &str, url: String) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        self.http.request(method, url).bearer_auth(&self.token).header("Tus-Resumable", "1.0.0")
    }

    async fn begin(&self, server: &Server, dataset: u64, digest: &str) -> String {
        let url = format!("{}/v1/datasets/{dataset}/uploads", server.url);
        let begun = self
            .request("POST", url)
            .header("Upload-Length", LENGTH.to_string())
            .header("Upload-Metadata", "filename bGFyZ2UuYmlu")
            .header("Repr-Digest", digest)
            .send()
            .await
            .unwrap();
        assert_eq!(begun.status(), StatusCode::CREATED);
        begun.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn offset(&self, server: &Server, upload: &str) -> usize {
        let answer = self.request("HEAD", format!("{}{upload}", server.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        number(answer.headers(), "upload-offset")
    }

    /// Sends the rest, and has the server killed when so many bytes of it have gone.
    async fn go_on(
        &self,
        server: Server,
        upload: &str,
        content: &Bytes,
        kill_after: usize,
    ) -> Option<Server> {
        let offset = self.offset(&server, upload).await;
        let url = format!("{}{upload}", server.url);
        let mut server = Some(server);
        let (kill, killed) = tokio::sync::oneshot::channel();
        let mut kill = Some(kill);
        let (rest, mut at) = (content.slice(offset..), 0);
        let body = stream::iter(std::iter::from_fn(move || {
            if at >= kill_after
                && let Some(kill) = kill.take()
            {
                kill.send(()).ok();
            }
            let chunk = rest.slice(at..rest.len().min(at + CHUNK));
            at += chunk.len();
            (!chunk.is_empty()).then_some(Ok::<Bytes, std::io::Error>(chunk))
        }));
        let sending = self
            .request("PATCH", url)
            .header("Content-Type", "application/offset+octet-stream")
            .header("Upload-Offset", offset.to_string())
            .body(reqwest::Body::wrap_stream(body))
            .send();
        let sending = tokio::spawn(sending);
        if killed.await.is_ok() {
            tokio::task::block_in_place(|| server.take().unwrap().kill());
        }
        match sending.await.unwrap() {
            Ok(answer) => assert_eq!(answer.status(), StatusCode::NO_CONTENT),
            Err(_cut_off) => assert!(server.is_none(), "a living server broke the connection"),
        }
        server
    }
}

fn number(headers: &HeaderMap, name: &str) -> usize {
    headers[name].to_str().unwrap().parse().unwrap()
}

fn content() -> Bytes {
    let mut state = 7u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(LENGTH / 8 + 1).flatten().collect();
    bytes.truncate(LENGTH);
    bytes.into()
}

fn digest_of(content: &[u8]) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(content);
    format!("sha-256=:{}:", base64::engine::general_purpose::STANDARD.encode(digest))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_server_is_killed_goes_on_and_loses_no_byte_that_was_told() {
    let seed = seed(1);
    println!("GRANARY_SEED={seed}");
    let mut chance = Chance::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let work: &Path = directory.path();
    let content = content();
    let mut server = Server::start(work);
    let uploader = Uploader::log_in(&server).await;
    let body = json!({"name": "large", "project": 1, "licence": 1, "tags": ""});
    let created = uploader.request("POST", format!("{}/v1/datasets/create", server.url));
    let created: Value = created.json(&body).send().await.unwrap().json().await.unwrap();
    let dataset = created["pk"].as_u64().unwrap();
    let upload = uploader.begin(&server, dataset, &digest_of(&content)).await;
    let mut told = 0;
    for _ in 0..KILLS {
        let kill_after = chance.below(12 * MIB);
        if let Some(alive) = uploader.go_on(server, &upload, &content, kill_after).await {
            // All of it had gone before there was anything to kill.
            alive.kill();
        }
        server = Server::start(work);
        let offset = uploader.offset(&server, &upload).await;
        assert!(offset >= told, "{offset} after {told}");
        told = offset;
    }
    println!("{told} of {LENGTH} bytes outlived {KILLS} kills");
    let server = uploader.go_on(server, &upload, &content, usize::MAX).await.unwrap();
    assert_eq!(uploader.offset(&server, &upload).await, LENGTH);
    let file = format!("{}/v1/datasets/{dataset}/files/large.bin", server.url);
    let answer = uploader.request("GET", file).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.bytes().await.unwrap() == content);
    assert!(server.terminate().success());
    assert_eq!(faults_in_log(work), [""; 0]);
}
