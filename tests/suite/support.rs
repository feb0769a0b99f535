//! A server over a store in a temporary directory, and clients that read as a story.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use granary::{AppState, Outside, Peer, bootstrap, router};
use granary_engine::disk::SimulatedDisk;
use granary_engine::model::{PermissionLevel, TeamId, UserId};
use granary_engine::{Engine, EngineOptions};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt;

/// Password of the administrator and of every other user.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// How long what must come may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(1);

/// Looks again and again until something is there, and lets others run meanwhile.
///
/// # Panics
/// It does not come.
pub(crate) async fn until<T>(awaited: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited for {PATIENCE:?} in vain: {awaited}");
        tokio::task::yield_now().await;
    }
}

/// An empty store.
pub(crate) fn new_store(directory: &TempDir) -> Engine {
    let options = EngineOptions { segment_bytes: 4 << 20, arbiters: 1, ..EngineOptions::default() };
    Engine::open(directory.path().to_owned(), &options).unwrap()
}

/// A server with its first start done: user `admin`, team and project `default`.
pub(crate) struct Server {
    pub(crate) app: AppState,
    router: Router,
    pub(crate) engine: Engine,
    pub(crate) directory: TempDir,
    /// The project `default`.
    pub(crate) project: u64,
    /// The team `default`.
    pub(crate) team: u64,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|app| app).await
    }

    /// A server whose state is set up so.
    pub(crate) async fn start_with(set_up: impl FnOnce(AppState) -> AppState) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let engine = new_store(&directory);
        Self::first_start(engine, directory, set_up).await
    }

    /// A server over a disk of the test's.
    pub(crate) async fn on(disk: Arc<SimulatedDisk>) -> Self {
        let options = EngineOptions { arbiters: 1, ..EngineOptions::default() };
        let engine = Engine::open_on(disk, &options).unwrap();
        Self::first_start(engine, tempfile::tempdir().unwrap(), |app| app).await
    }

    async fn first_start(
        engine: Engine,
        directory: TempDir,
        set_up: impl FnOnce(AppState) -> AppState,
    ) -> Self {
        bootstrap(&engine, directory.path(), || Ok(Some(PASSWORD.to_owned()))).await.unwrap();
        Self::over_with(engine, directory, set_up)
    }

    /// The same server, facing those outside in another way.
    pub(crate) fn turned(self, outside: Outside) -> Self {
        Self::facing(self.engine, self.directory, outside)
    }

    /// A server over a store that is there and usable.
    pub(crate) fn over(engine: Engine, directory: TempDir) -> Self {
        Self::over_with(engine, directory, |app| app)
    }

    /// A server over such a store that faces those outside so.
    pub(crate) fn facing(engine: Engine, directory: TempDir, outside: Outside) -> Self {
        Self::over_with(engine, directory, |app| app.with_outside(outside))
    }

    fn over_with(
        engine: Engine,
        directory: TempDir,
        set_up: impl FnOnce(AppState) -> AppState,
    ) -> Self {
        let key = granary::auth::load_or_create_key(directory.path()).unwrap();
        let app = set_up(AppState::new(engine.clone(), key).unwrap());
        let router = router(app.clone());
        let (project, team) = {
            let snapshot = engine.snapshot().unwrap();
            let project = snapshot.projects().unwrap().next().unwrap().unwrap();
            (project.id.0, project.team.0)
        };
        Self { app, router, engine, directory, project, team }
    }

    /// The same server, stopped in order and started again; its clients must be gone.
    pub(crate) async fn restart(self) -> Self {
        let Self { app, router, engine, directory, .. } = self;
        engine.shutdown().await;
        drop((app, router, engine));
        Self::over(new_store(&directory), directory)
    }

    /// Takes connections, for as long as the test runs.
    pub(crate) async fn listens(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Somebody without a login.
    pub(crate) fn anonymous(&self) -> Client {
        Client { router: self.router.clone(), headers: Vec::new(), peer: None }
    }

    /// Somebody logged in.
    pub(crate) async fn login(&self, username: &str) -> Client {
        let tokens = self.tokens(username).await;
        self.anonymous().with("Authorization", bearer(&tokens["access"]))
    }

    /// The tokens of a fresh login.
    pub(crate) async fn tokens(&self, username: &str) -> Value {
        let credentials = json!({"username": username, "password": PASSWORD});
        let answer = self.anonymous().post("/v1/auth/obtain", &credentials).await;
        answer.json(200)
    }

    pub(crate) async fn admin(&self) -> Client {
        self.login("admin").await
    }

    /// Makes a user who belongs nowhere; logged in.
    pub(crate) async fn stranger(&self, username: &str) -> Client {
        self.add_user(username).await;
        self.login(username).await
    }

    /// Makes a member of the team `default`; logged in.
    pub(crate) async fn member(&self, username: &str, level: PermissionLevel) -> Client {
        let user = self.add_user(username).await;
        self.join(user, self.team, level).await;
        self.login(username).await
    }

    pub(crate) async fn add_user(&self, username: &str) -> u64 {
        let user = json!({"username": username, "password": PASSWORD});
        let answer = self.admin().await.post("/v1/users/create", &user).await;
        answer.json(201)["pk"].as_u64().unwrap()
    }

    pub(crate) async fn join(&self, user: u64, team: u64, level: PermissionLevel) {
        let joined = self.engine.add_member(TeamId(team), UserId(user), level, None);
        joined.await.unwrap();
    }

    /// Makes a project in the team `default`.
    pub(crate) async fn add_project(&self, name: &str) -> u64 {
        let project = json!({"name": name, "team": self.team});
        let answer = self.admin().await.post("/v1/projects/create", &project).await;
        answer.json(201)["pk"].as_u64().unwrap()
    }

    /// Makes a team and a project in it that nobody belongs to.
    pub(crate) async fn add_foreign_project(&self, name: &str) -> (u64, u64) {
        let admin = self.admin().await;
        let team = admin.post("/v1/teams/create", &json!({"name": name})).await.json(201);
        let project = json!({"name": name, "team": team["pk"]});
        let project = admin.post("/v1/projects/create", &project).await.json(201);
        (team["pk"].as_u64().unwrap(), project["pk"].as_u64().unwrap())
    }

    /// Makes a node.
    pub(crate) async fn add_node(&self) -> u64 {
        let node = json!({"ip": "10.0.0.1", "index": 0, "cpu_mem": 1});
        let answer = self.admin().await.post("/v1/nodes/create", &node).await;
        answer.json(201)["pk"].as_u64().unwrap()
    }

    /// The body that makes a dataset in the project `default`.
    pub(crate) fn dataset_body(&self, name: &str) -> Value {
        json!({"name": name, "project": self.project, "licence": 1, "tags": ""})
    }

    /// Makes a dataset in the project `default`.
    pub(crate) async fn add_dataset(&self, name: &str) -> Dataset {
        let admin = self.admin().await;
        let answer = admin.post("/v1/datasets/create", &self.dataset_body(name)).await;
        Dataset { pk: answer.json(201)["pk"].as_u64().unwrap(), client: admin }
    }
}

pub(crate) fn bearer(token: &Value) -> String {
    format!("Bearer {}", token.as_str().unwrap())
}

/// Somebody who sends requests.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    headers: Vec<(&'static str, String)>,
    /// Its connection, if it has one; clients that were made from each other share it.
    peer: Option<Peer>,
}

impl Client {
    /// The same client, with a header on every request.
    pub(crate) fn with(&self, name: &'static str, value: impl Into<String>) -> Self {
        let mut client = self.clone();
        client.headers.push((name, value.into()));
        client
    }

    /// The same client, over a connection from this address.
    pub(crate) fn at(&self, address: &str) -> Self {
        Self { peer: Some(Peer::new(address.parse().unwrap())), ..self.clone() }
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let (parts, body) = self.begin(method, path, body).await.into_parts();
        Answer {
            request: format!("{method} {path}"),
            status: parts.status,
            headers: parts.headers,
            // An answer that breaks off is seen as such by the test that provokes it.
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// Sends a request, and takes nothing of its answer's body.
    pub(crate) async fn begin(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Body>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(peer) = &self.peer {
            request = request.extension(peer.clone());
        }
        let request = request.body(body.into()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn send_json(&self, method: &str, path: &str, body: &Value) -> Answer {
        let client = self.with("Content-Type", "application/json");
        client.send(method, path, body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Body::empty()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json("POST", path, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send_json("PUT", path, body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send_json("PATCH", path, body).await
    }

    pub(crate) async fn upload(&self, path: &str, body: impl Into<Body>) -> Answer {
        let client = self.with("Content-Type", "application/data");
        client.send("POST", path, body).await
    }
}

/// What came back.
pub(crate) struct Answer {
    request: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Asserts the status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{}: {text}", self.request);
        self
    }

    /// Asserts the status and reads the body.
    #[track_caller]
    pub(crate) fn json(self, status: u16) -> Value {
        let answer = self.is(status);
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Asserts the status and reads the `detail`.
    #[track_caller]
    pub(crate) fn detail(self, status: u16) -> String {
        self.json(status)["detail"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// A dataset and the administrator who works on it.
pub(crate) struct Dataset {
    pub(crate) pk: u64,
    pub(crate) client: Client,
}

impl Dataset {
    /// `/v1/datasets/PK` and what follows.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/datasets/{}{rest}", self.pk)
    }

    pub(crate) async fn add(&self, name: &str, content: &str) -> Answer {
        let path = self.path(&format!("/files/{name}"));
        self.client.upload(&path, content.to_owned()).await
    }

    pub(crate) async fn content(&self, name: &str) -> Answer {
        self.client.get(&self.path(&format!("/files/{name}"))).await
    }

    pub(crate) async fn set_metadata(&self, name: &str, metadata: &str) -> Answer {
        let path = self.path(&format!("/metadata/{name}"));
        self.client.post(&path, &json!({"metadata": metadata})).await
    }

    pub(crate) async fn metadata(&self, name: &str) -> String {
        let path = self.path(&format!("/metadata/{name}"));
        let answer = self.client.get(&path).await.json(200);
        answer["metadata"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn fields(&self) -> Value {
        self.client.get(&self.path("")).await.json(200)
    }

    /// The names of the files.
    pub(crate) async fn names(&self) -> Vec<String> {
        let fields = self.fields().await;
        fields["files"].as_object().unwrap().keys().cloned().collect()
    }

    /// The dataset that an answer shows, worked on by the same client.
    pub(crate) fn shown(&self, fields: &Value) -> Self {
        Self { pk: fields["pk"].as_u64().unwrap(), client: self.client.clone() }
    }
}

/// A zip of these members; a name that ends in a slash makes a directory.
pub(crate) fn zip_of(members: &[(&str, &str)]) -> Vec<u8> {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, content) in members {
        if name.ends_with('/') {
            archive.add_directory(*name, options).unwrap();
        } else {
            archive.start_file(*name, options).unwrap();
            archive.write_all(content.as_bytes()).unwrap();
        }
    }
    archive.finish().unwrap().into_inner()
}
