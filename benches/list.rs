//! What do lists, filters and the question who may do what cost, with many of everything?
//!
//! All through the router, as requests come. `permission` asks 1,000 times for what a reader may
//! not: the token is checked, the dataset, its project and the membership are read, and the answer
//! is 403; its floor asks for `/livez` as often, and the difference is what the checks take (target:
//! 20 µs a request). `all` lists 10,000 datasets without files (target: 100 ms); `filter` looks
//! through 100,000 for a name and a team by two conditions, one of them through two related records
//! (target: one second). Their floors read the same rows from the index and do nothing with them:
//! if the ratio to the floor grew, evaluating or rendering would be doing per row what belongs to
//! the request.

use std::rc::Rc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use criterion::{Criterion, Throughput};
use granary::{AppState, bootstrap, router};
use granary_engine::model::{
    LicenceId, NewDataset, NewProject, NewTeam, NewUser, PermissionLevel, ProjectId, TeamId, UserId,
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::contest::{Contest, Contestant};
use crate::support::spread;
use crate::support::store::Store;

/// Teams, each with a project of its own.
const TEAMS: u64 = 1_000;

/// Users, ten in each team.
const USERS: u64 = 10_000;

/// Requests in one run of the permission check.
const REQUESTS: u64 = 1_000;

const LIST: &str = "/v1/datasets/list?files=false";

const PASSWORD: &str = "correct horse battery staple";

/// Measures all variants.
pub(crate) fn bench(criterion: &mut Criterion) {
    let permission = Contest {
        capability: "list",
        variants: ["permission/refused", "permission/retrieve", "permission/floor_livez"]
            .map(str::to_owned),
        throughput: Throughput::Elements(REQUESTS),
        measured: Duration::from_secs(3),
    };
    permission.run(criterion, || permission_contestants(&World::of(1)));
    let all = Contest {
        capability: "list",
        variants: ["all/admin", "all/member", "all/floor_rows"].map(|id| format!("{id}/10000")),
        throughput: Throughput::Elements(10_000),
        measured: Duration::from_secs(3),
    };
    all.run(criterion, || all_contestants(&World::of(10_000)));
    let filter = Contest {
        capability: "list",
        variants: [
            "filter/admin",
            "filter/member",
            "filter/sorted",
            "filter/page",
            "filter/floor_rows",
        ]
        .map(|id| format!("{id}/100000")),
        throughput: Throughput::Elements(100_000),
        measured: Duration::from_secs(5),
    };
    filter.run(criterion, || filter_contestants(&World::of(100_000)));
}

/// A server with teams, users and datasets spread over them.
#[derive(Debug)]
struct World {
    store: Rc<Store>,
    router: Router,
    /// Headers of the administrator and of a reader of the first team.
    admin: String,
    reader: String,
}

impl World {
    fn of(datasets: u64) -> Rc<Self> {
        let store = Store::new();
        let directory = store.directory().to_owned();
        let router = store.runtime.block_on(async {
            let engine = &store.engine;
            bootstrap(engine, &directory, || Ok(Some(PASSWORD.to_owned()))).await.unwrap();
            let key = granary::auth::load_or_create_key(&directory).unwrap();
            let router = router(AppState::new(engine.clone(), key).unwrap());
            let admin = login(&router, "admin").await;
            let user = json!({"username": "reader", "password": PASSWORD});
            let request = post("/v1/users/create", &admin, &user);
            let (_, user) = answer(&router, request).await;
            let user: Value = serde_json::from_slice(&user).unwrap();
            let user = UserId(user.get("pk").unwrap().as_u64().unwrap());
            fill(&store, user).await;
            router
        });
        let engine = store.engine.clone();
        spread(&store.runtime, 256, datasets, move |number| {
            let engine = engine.clone();
            async move {
                engine.create_dataset(dataset(number)).await.unwrap();
            }
        });
        store.runtime.block_on(store.engine.checkpoint()).unwrap();
        // Only now: tokens live five minutes.
        let login = |username: &str| store.runtime.block_on(login(&router, username));
        let (admin, reader) = (login("admin"), login("reader"));
        Rc::new(Self { store, router, admin, reader })
    }

    /// Sends requests, one after the other, and reads the answers.
    fn ask(
        self: &Rc<Self>,
        times: u64,
        status: u16,
        request: fn(&Self) -> Request<Body>,
    ) -> Contestant {
        let world = Rc::clone(self);
        Box::new(move || {
            world.store.runtime.block_on(async {
                let begun = Instant::now();
                for _ in 0..times {
                    let (found, body) = answer(&world.router, request(&world)).await;
                    assert_eq!(found, status);
                    std::hint::black_box(body);
                }
                begun.elapsed()
            })
        })
    }

    /// Reads all headers from the index.
    fn rows(self: &Rc<Self>) -> Contestant {
        let world = Rc::clone(self);
        Box::new(move || {
            let begun = Instant::now();
            for row in world.store.engine.snapshot().unwrap().datasets().unwrap() {
                std::hint::black_box(row.unwrap());
            }
            begun.elapsed()
        })
    }
}

/// Teams, projects and users by number, and a reader of every tenth team.
async fn fill(store: &Store, reader: UserId) {
    let engine = &store.engine;
    for number in 0..TEAMS {
        let team = NewTeam { name: format!("team {number}"), creator: Some(reader) };
        let team = engine.create_team(team).await.unwrap().id;
        let project = NewProject { name: format!("project {number}"), team, creator: None };
        assert_eq!(engine.create_project(project).await.unwrap().id, project_of(number));
        if number % 10 == 0 {
            engine.add_member(team, reader, PermissionLevel::Read, None).await.unwrap();
        }
    }
    let first_team = TeamId(project_of(0).0);
    let users = store.engine.clone();
    let handles: Vec<_> = (0..64_u64)
        .map(|task| {
            let users = users.clone();
            tokio::spawn(async move {
                for number in (task..USERS).step_by(64) {
                    let user = users.create_user(user(number)).await.unwrap().id;
                    let team = TeamId(first_team.0 + number % TEAMS);
                    users.add_member(team, user, PermissionLevel::Write, None).await.unwrap();
                }
            })
        })
        .collect();
    for handle in handles {
        handle.await.unwrap();
    }
}

/// The project of a team by number; the store and the server made one each before.
fn project_of(number: u64) -> ProjectId {
    ProjectId(3 + number % TEAMS)
}

fn user(number: u64) -> NewUser {
    NewUser {
        username: format!("user-{number}"),
        password_hash: "none".into(),
        first_name: "First".into(),
        last_name: "Last".into(),
        email: format!("user-{number}@example.org"),
        is_superuser: false,
        is_staff: false,
        is_active: true,
    }
}

fn dataset(number: u64) -> NewDataset {
    NewDataset {
        name: format!("dataset {number}"),
        description: "Pictures of cats, and of some that only look like cats.".into(),
        project: project_of(number),
        licence: LicenceId(1),
        tags: "cats pictures".into(),
        is_public: false,
        creator: None,
    }
}

async fn login(router: &Router, username: &str) -> String {
    let body = json!({"username": username, "password": PASSWORD});
    let (_, tokens) = answer(router, post("/v1/auth/obtain", "", &body)).await;
    let tokens: Value = serde_json::from_slice(&tokens).unwrap();
    format!("Bearer {}", tokens.get("access").unwrap().as_str().unwrap())
}

fn get(path: &str, authorization: &str) -> Request<Body> {
    let request = Request::get(path).header("Authorization", authorization);
    request.body(Body::empty()).unwrap()
}

fn post(path: &str, authorization: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header("Authorization", authorization);
    let request = request.header("Content-Type", "application/json");
    request.body(body.to_string().into()).unwrap()
}

async fn answer(router: &Router, request: Request<Body>) -> (u16, Vec<u8>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

fn permission_contestants(world: &Rc<World>) -> [Contestant; 3] {
    [
        world.ask(REQUESTS, 403, |world| {
            let request = Request::delete("/v1/datasets/1").header("Authorization", &world.reader);
            request.body(Body::empty()).unwrap()
        }),
        world.ask(REQUESTS, 200, |world| get("/v1/datasets/1?files=false", &world.reader)),
        world.ask(REQUESTS, 200, |_| get("/livez", "")),
    ]
}

fn all_contestants(world: &Rc<World>) -> [Contestant; 3] {
    [
        world.ask(1, 200, |world| post(LIST, &world.admin, &json!({}))),
        world.ask(1, 200, |world| post(LIST, &world.reader, &json!({}))),
        world.rows(),
    ]
}

/// Some hundred names of a tenth of the teams.
fn filter() -> Value {
    json!([
        {"type": "contains", "field": "name", "sub_string": "77", "case_insensitive": true},
        {"type": "contains", "field": "project.team.name", "sub_string": "7"},
    ])
}

fn filter_contestants(world: &Rc<World>) -> [Contestant; 5] {
    [
        world.ask(1, 200, |world| post(LIST, &world.admin, &json!({"expressions": filter()}))),
        world.ask(1, 200, |world| post(LIST, &world.reader, &json!({"expressions": filter()}))),
        world.ask(1, 200, |world| {
            let order = json!([{"field": "project.name"}, {"field": "name", "ascending": false}]);
            post(LIST, &world.admin, &json!({"order_by": order}))
        }),
        world.ask(1, 200, |world| {
            post("/v1/datasets/list?files=false&limit=100", &world.admin, &json!({}))
        }),
        world.rows(),
    ]
}
