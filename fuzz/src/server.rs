//! The whole API in memory, for the targets that speak HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use granary::{AppState, bootstrap, router};
use granary_engine::disk::SimulatedDisk;
use granary_engine::{Engine, EngineOptions};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

const PASSWORD: &str = "correct horse battery staple";

/// Runs of one server. A token lasts five minutes, and a store that grows gets slower.
const RUNS_MAX: u32 = 2_000;

/// A server over a simulated disk, and its administrator.
pub struct Server {
    runtime: Runtime,
    pub engine: Engine,
    router: Router,
    authorization: String,
    runs: u32,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// `None` if the answer broke off.
    pub body: Option<Bytes>,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let options = EngineOptions {
            segment_bytes: 4 << 20,
            index_cache_bytes: 4 << 20,
            arbiters: 1,
            ..EngineOptions::default()
        };
        let within = runtime.enter();
        let engine = Engine::open_on(Arc::new(SimulatedDisk::new()), &options).expect("a store");
        let directory = tempfile::tempdir().expect("a directory for the key");
        let first = bootstrap(&engine, directory.path(), || Ok(Some(PASSWORD.to_owned())));
        runtime.block_on(first).expect("a first start");
        let key = granary::auth::load_or_create_key(directory.path()).expect("a key");
        let router = router(AppState::new(engine.clone(), key).expect("a state"));
        drop(within);
        let mut server = Self { runtime, engine, router, authorization: String::new(), runs: 0 };
        let credentials = json!({"username": "admin", "password": PASSWORD});
        let tokens = server.post("/v1/auth/obtain", &credentials);
        let tokens: Value = tokens.json().expect("tokens");
        server.authorization = format!("Bearer {}", tokens["access"].as_str().expect("a token"));
        server
    }

    /// Runs a story of the engine.
    pub fn block_on<T>(&self, story: impl Future<Output = T>) -> T {
        self.runtime.block_on(story)
    }

    /// Sends a JSON body as the administrator.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, body.to_string().into_bytes())
    }

    /// Sends bytes as a JSON body.
    pub fn post_text(&self, path: &str, body: Vec<u8>) -> Answer {
        let request = Request::post(path).header("Content-Type", "application/json");
        self.send(request.body(Body::from(body)).expect("a request"))
    }

    /// Fetches as the administrator.
    pub fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request"))
    }

    /// Sends a request, as the administrator unless it says otherwise.
    pub fn send(&self, mut request: Request<Body>) -> Answer {
        if let Ok(authorization) = self.authorization.parse() {
            request.headers_mut().entry("Authorization").or_insert(authorization);
        }
        self.block_on(async {
            let answered = self.router.clone().oneshot(request).await;
            let (parts, body) = answered.expect("an answer").into_parts();
            let body = body.collect().await.ok().map(http_body_util::Collected::to_bytes);
            Answer { status: parts.status, headers: parts.headers, body }
        })
    }
}

impl Answer {
    /// The body as JSON, if it is.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_ref()?).ok()
    }

    /// A success, or a refusal that says in JSON what is wrong; nothing that is the server's
    /// fault.
    pub fn expect_in_shape(&self) {
        if self.status.is_client_error() {
            assert!(self.json().is_some_and(|shape| shape.is_object()), "{self:?}");
        } else {
            assert!(self.status.is_success() || self.status.is_redirection(), "{self:?}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.runtime.block_on(self.engine.shutdown());
    }
}

/// A target's server, from one run to the next.
pub type Place = Mutex<Option<Server>>;

/// Runs with the server of a place, which is made and furnished where there is none.
pub fn with_server(place: &Place, furnish: impl Fn(&Server), run: impl FnOnce(&Server)) {
    // A run that broke a promise says so by itself.
    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
    if place.as_ref().is_some_and(|server| server.runs >= RUNS_MAX) {
        *place = None;
    }
    let server = place.get_or_insert_with(|| {
        let server = Server::start();
        furnish(&server);
        server
    });
    server.runs += 1;
    run(server);
}
