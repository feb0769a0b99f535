//! The permissions as one matrix: every action, asked by everybody, in every state of what it is
//! asked of; and what the refusals say.
//!
//! The table below is written from the API's documents, not from the server's own policy.

use granary_engine::model::PermissionLevel::{self, Admin, Execute, Read, Write};
use granary_engine::model::{AccessTokenId, NewAccessToken, TeamId, UserId};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Server, bearer};

/// An action: method, path, a body that changes nothing, and to whom it is open beside the
/// administrators.
///
/// Words of the last: `anyone`; `user`, who is logged in; `self`, the one it is about; `owner`, whose
/// it is; `R`, `X`, `W`, `A`, a member of that level or above; `X@node`, such a member on a node;
/// `node`, a user on the node that it is about; `@node`, a user on any node. `login` and `R@login`
/// are as `user` and `R`, and not open to access tokens, nor are `self`, `owner` and `node`.
pub(crate) struct Row(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) Order,
);

/// What is looked at first.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    /// What it is asked of: 404 whoever asks.
    Object,
    /// The right: who has none learns nothing.
    Right,
    /// The body: 400 whoever asks. The body given here is a good one.
    Body,
}

use Order::{Body as B, Object as O, Right as R};

pub(crate) const ROWS: &[Row] = &[
    Row("POST", "/v1/datasets/list", "{}", "anyone", R),
    Row(
        "POST",
        "/v1/datasets/create",
        r#"{"name":"FRESH","project":{P},"licence":1,"tags":""}"#,
        "W",
        B,
    ),
    Row("GET", "/v1/datasets/{D}", "", "R", O),
    Row("GET", "/v1/datasets/{public}", "", "anyone", O),
    Row("PUT", "/v1/datasets/{D}", "{}", "W X@node", O),
    Row("PATCH", "/v1/datasets/{D}", "{}", "W X@node", O),
    Row("PATCH", "/v1/datasets/{public}", "{}", "W X@node", O),
    Row("DELETE", "/v1/datasets/{D}/clear", "", "W X@node", O),
    Row("POST", "/v1/datasets/{D}/merge/{D}", r#"{"unknown":1}"#, "W X@node", O),
    Row("POST", "/v1/datasets/{D}/download", r#"{"filetype":1}"#, "R", O),
    Row("POST", "/v1/datasets/{public}/download", r#"{"filetype":1}"#, "R", O),
    Row("GET", "/v1/datasets/{D}/archive.zip", "", "R", O),
    Row("GET", "/v1/datasets/{public}/archive.zip", "", "R", O),
    Row("GET", "/v1/datasets/{D}/archive.tar.gz", "", "R", O),
    Row("POST", "/v1/datasets/{D}/copy", r#"{"unknown":1}"#, "R", O),
    Row("POST", "/v1/datasets/{D}/files/..", "", "W X@node", O),
    Row("POST", "/v1/datasets/{public}/files/..", "", "W X@node", O),
    Row("POST", "/v1/datasets/{D}/files-multi", "", "W X@node", O),
    Row("GET", "/v1/datasets/{D}/files", "", "R", O),
    Row("GET", "/v1/datasets/{D}/files/nothing", "", "R", O),
    Row("GET", "/v1/datasets/{public}/files/nothing", "", "R", O),
    Row("GET", "/v1/datasets/{D}/file-handles/nothing", "", "R", O),
    Row("DELETE", "/v1/datasets/{D}/files/nothing", "", "W X@node", O),
    Row("POST", "/v1/datasets/{D}/files-delete", r#"{"unknown":1}"#, "W X@node", O),
    Row("POST", "/v1/datasets/{D}/files-rename", r#"{"unknown":1}"#, "W X@node", O),
    Row("POST", "/v1/datasets/{D}/files-check", r#"{"unknown":1}"#, "W X@node", O),
    Row("POST", "/v1/datasets/{public}/files-check", r#"{"unknown":1}"#, "W X@node", O),
    Row("POST", "/v1/datasets/{D}/files-attach", r#"{"unknown":1}"#, "W X@node", O),
    Row("PUT", "/v1/datasets/{D}/files/..?replace=true", "", "W X@node", O),
    Row("POST", "/v1/datasets/{D}/uploads", "", "W X@node", O),
    Row("GET", "/v1/datasets/{D}/uploads/nothing", "", "W X@node", O),
    Row("PATCH", "/v1/datasets/{D}/uploads/nothing", "", "W X@node", O),
    Row("DELETE", "/v1/datasets/{D}/uploads/nothing", "", "W X@node", O),
    Row("POST", "/v1/datasets/{D}/metadata-multi", r#"{"unknown":1}"#, "W X@node", O),
    Row("POST", "/v1/datasets/{D}/metadata/nothing", r#"{"unknown":1}"#, "W X@node", O),
    Row("GET", "/v1/datasets/{D}/metadata/nothing", "", "R", O),
    Row("GET", "/v1/datasets/{D}/metadata", "", "R", O),
    Row("GET", "/v1/datasets/{public}/metadata", "", "R", O),
    Row("POST", "/v1/users/list", "{}", "", R),
    Row("POST", "/v1/users/create", r#"{"username":"FRESH","password":"a long one"}"#, "", B),
    Row("GET", "/v1/users/{stranger}", "", "self", O),
    Row("GET", "/v1/users/stranger", "", "self", R),
    Row("GET", "/v1/users/nobody", "", "", R),
    Row("PUT", "/v1/users/{stranger}", "{}", "", O),
    Row("PATCH", "/v1/users/{stranger}", "{}", "", O),
    Row("DELETE", "/v1/users/{gone}", "", "", O),
    Row("POST", "/v1/auth/password", "{}", "login", R),
    Row("POST", "/v1/teams/list", "{}", "user", R),
    Row("POST", "/v1/teams/create", r#"{"name":"FRESH"}"#, "", B),
    Row("GET", "/v1/teams/{T}", "", "R", O),
    Row("PUT", "/v1/teams/{T}", "{}", "A", O),
    Row("PATCH", "/v1/teams/{T}", "{}", "A", O),
    Row("PATCH", "/v1/teams/{T}/memberships", "{}", "A", O),
    Row("GET", "/v1/teams/{T}/permissions/nobody", "", "A", O),
    Row("GET", "/v1/teams/{T}/quota", "", "R", O),
    Row("PUT", "/v1/teams/{T}/quota", "{}", "", O),
    Row("DELETE", "/v1/teams/{T}/hard", "", "", R),
    Row("POST", "/v1/projects/list", "{}", "user", R),
    Row("POST", "/v1/projects/create", r#"{"name":"FRESH","team":{T}}"#, "W", B),
    Row("GET", "/v1/projects/{P}", "", "R", O),
    Row("PUT", "/v1/projects/{P}", "{}", "W", O),
    Row("PATCH", "/v1/projects/{P}", "{}", "W", O),
    Row("DELETE", "/v1/projects/{P}/hard", "", "", R),
    Row("POST", "/v1/licences/list", "{}", "user", R),
    Row("POST", "/v1/licences/create", r#"{"name":"FRESH","url":"https://example.org"}"#, "", B),
    Row("GET", "/v1/licences/1", "", "user", O),
    Row("PUT", "/v1/licences/1", "{}", "", O),
    Row("PATCH", "/v1/licences/1", "{}", "", O),
    Row("PATCH", "/v1/licences/1/subdescriptors", "{}", "", O),
    Row("DELETE", "/v1/licences/1", "", "", O),
    Row("POST", "/v1/licenses/list", "{}", "user", R),
    Row("PATCH", "/v1/licenses/1", "{}", "", O),
    Row("POST", "/v1/nodes/list", "{}", "user", R),
    Row("POST", "/v1/nodes/create", r#"{"ip":"FRESH","index":1,"cpu_mem":1}"#, "login", B),
    Row("GET", "/v1/nodes/{N}", "", "user", O),
    Row("PUT", "/v1/nodes/{N}", "{}", "node", O),
    Row("PATCH", "/v1/nodes/{N}", "{}", "node", O),
    Row("PATCH", "/v1/nodes/{other node}", "{}", "", O),
    Row("DELETE", "/v1/nodes/{other node}", "", "", O),
    Row("GET", "/v1/nodes/{N}/ping", "", "@node", O),
    Row("GET", "/v1/access-tokens", "", "login", R),
    Row(
        "POST",
        "/v1/access-tokens/create",
        r#"{"name":"FRESH","team":{T},"permissions":"R"}"#,
        "R@login",
        B,
    ),
    Row("DELETE", "/v1/access-tokens/{K}", "", "owner A", O),
    Row("POST", "/v1/backups/create", "", "", R),
    Row("GET", "/v1/backups/1/state", "", "", R),
    Row("POST", "/v1/backups/1/contents", r#"{"handles":[]}"#, "", R),
    Row("DELETE", "/v1/backups/1", "", "", R),
    Row("GET", "/v1/store/check", "", "", R),
    Row("POST", "/v1/store/check", r#"{"deep":true}"#, "", R),
    Row("DELETE", "/v1/store/check", "", "", R),
    Row("GET", "/v1/store/scrub", "", "", R),
    Row("POST", "/v1/store/scrub", "", "", R),
    Row("GET", "/v1/store/quarantine", "", "", R),
    Row("GET", "/v1/store/usage", "", "", R),
    Row("POST", "/v1/store/usage", "", "", R),
    Row("DELETE", "/v1/store/usage", "", "", R),
    Row("GET", "/v1/store/garbage", "", "", R),
    Row("GET", "/v1/store/collection", "", "", R),
    Row("POST", "/v1/store/collection", "", "", R),
    Row("DELETE", "/v1/store/collection", "", "", R),
    Row("GET", "/v1/store/status", "", "", R),
    Row("GET", "/v1/audit?limit=1", "", "", R),
    // From here on what it is asked of is not the same afterwards.
    Row("DELETE", "/v1/datasets/{D}", "", "W", O),
    Row("DELETE", "/v1/datasets/{D}/reinstate", "", "", R),
    Row("DELETE", "/v1/projects/{P}", "", "W", O),
    Row("DELETE", "/v1/projects/{P}/reinstate", "", "", R),
    Row("DELETE", "/v1/teams/{T}", "", "A", O),
    Row("DELETE", "/v1/teams/{T}/reinstate", "", "", R),
    Row("DELETE", "/v1/datasets/{public}/hard", "", "", R),
    Row("DELETE", "/v1/nodes/{N}", "", "node", O),
];

/// What has become of the things that the actions are asked of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    Alive,
    DatasetDeleted,
    ProjectDeleted,
    TeamDeleted,
}

/// Somebody who asks.
struct Caller {
    name: &'static str,
    client: Client,
    on_node: bool,
    login: Login,
    /// Level in the team; of an access token the lower one of its own and its owner's.
    level: Option<PermissionLevel>,
}

impl Caller {
    fn is_token(&self) -> bool {
        self.login == Login::AccessToken
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Login {
    None,
    Active,
    AccessToken,
    /// An access token that is good no longer.
    EndedToken,
    Administrator,
    Deactivated,
}

/// A team, a project and two datasets, and everybody who may ask for them.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) admin: Client,
    state: State,
    team: u64,
    project: u64,
    dataset: u64,
    public: u64,
    stranger: u64,
    gone: u64,
    pub(crate) node: u64,
    other_node: u64,
    /// An access token of the member `R`, who does not show it.
    token: AccessTokenId,
    members: Vec<(u64, PermissionLevel)>,
    callers: Vec<Caller>,
    fresh: u32,
}

pub(crate) fn pk(fields: &Value) -> u64 {
    fields["pk"].as_u64().unwrap()
}

impl World {
    pub(crate) async fn new(state: State) -> Self {
        let server = Server::start().await;
        let admin = server.admin().await;
        let (team, project) = server.add_foreign_project("team").await;
        let mut made = Vec::new();
        for (name, is_public) in [("closed", false), ("public", true)] {
            let body = json!({
                "name": name, "project": project, "licence": 1, "tags": "", "is_public": is_public,
            });
            made.push(pk(&admin.post("/v1/datasets/create", &body).await.json(201)));
        }
        let mut members = Vec::new();
        let mut callers = vec![
            ("anonymous", server.anonymous(), Login::None, None),
            ("administrator", admin.clone(), Login::Administrator, None),
        ];
        for (name, level) in [("R", Read), ("X", Execute), ("W", Write), ("A", Admin)] {
            let user = server.add_user(name).await;
            members.push((user, level));
            let level = (state != State::TeamDeleted).then_some(level);
            callers.push((name, server.login(name).await, Login::Active, level));
        }
        let stranger = server.add_user("stranger").await;
        callers.push(("stranger", server.login("stranger").await, Login::Active, None));
        let foreign = server.member("foreign", Admin).await;
        callers.push(("leader of another team", foreign, Login::Active, None));
        let deactivated = server.add_user("deactivated").await;
        members.push((deactivated, Admin));
        callers.push(("deactivated", server.login("deactivated").await, Login::Deactivated, None));
        admin.delete(&format!("/v1/users/{deactivated}")).await.is(204);
        let gone = server.add_user("gone").await;
        let node = server.add_node().await;
        let other = json!({"ip": "10.0.0.2", "index": 0, "cpu_mem": 1});
        let other_node = pk(&admin.post("/v1/nodes/create", &other).await.json(201));
        let callers = callers.into_iter().flat_map(|(name, client, login, level)| {
            [false, true].map(|on_node| Caller {
                name,
                client: client.clone(),
                on_node,
                login,
                level,
            })
        });
        let callers = callers.collect();
        let mut world = Self {
            server,
            admin,
            state,
            team,
            project,
            stranger,
            gone,
            node,
            other_node,
            token: AccessTokenId(0),
            members,
            callers,
            dataset: made[0],
            public: made[1],
            fresh: 0,
        };
        world.join_all().await;
        let mut callers = std::mem::take(&mut world.callers);
        world.add_access_tokens(&mut callers).await;
        world.callers = callers;
        world.make_token_of_member().await;
        world.bring_about(state).await;
        world
    }

    /// Programs that act for some of the callers.
    async fn add_access_tokens(&self, callers: &mut Vec<Caller>) {
        let default = self.server.team;
        for (name, owner, team, letter, level) in [
            ("token R of W", "W", self.team, "R", Some(Read)),
            ("token X of X", "X", self.team, "X", Some(Execute)),
            ("token W of A", "A", self.team, "W", Some(Write)),
            ("token W of the administrator", "administrator", self.team, "W", Some(Write)),
            ("token of another team", "leader of another team", default, "W", None),
        ] {
            let owner = callers.iter().find(|caller| caller.name == owner).unwrap();
            let body = json!({"name": name, "team": team, "permissions": letter});
            let made = owner.client.post("/v1/access-tokens/create", &body).await.json(201);
            let client = self.server.anonymous().with("Authorization", bearer(&made["token"]));
            let ends = self.state == State::TeamDeleted && level.is_some();
            let login = if ends { Login::EndedToken } else { Login::AccessToken };
            for on_node in [false, true] {
                callers.push(Caller { name, client: client.clone(), on_node, login, level });
            }
        }
    }

    /// Makes those anew that have ended, with what the last caller was allowed to do.
    async fn renew_access_tokens(&self, callers: &mut Vec<Caller>) {
        let is_token = |caller: &Caller| caller.is_token();
        let Some(first) = callers.iter().position(is_token) else { return };
        callers.truncate(first);
        self.add_access_tokens(callers).await;
    }

    async fn make_token_of_member(&mut self) {
        let token = NewAccessToken {
            name: "of a member".into(),
            user: UserId(self.members[0].0),
            team: TeamId(self.team),
            level: Read,
            secret_hash: [0; 32],
            expiry_time: None,
        };
        self.token = self.server.engine.create_access_token(token).await.unwrap().id;
    }

    async fn join_all(&self) {
        for (user, level) in &self.members {
            let (team, user) = (TeamId(self.team), UserId(*user));
            self.server.engine.add_member(team, user, *level, None).await.unwrap();
        }
    }

    async fn bring_about(&self, state: State) {
        let path = match state {
            State::Alive => return,
            State::DatasetDeleted => format!("/v1/datasets/{}", self.dataset),
            State::ProjectDeleted => format!("/v1/projects/{}", self.project),
            State::TeamDeleted => format!("/v1/teams/{}", self.team),
        };
        self.admin.delete(&path).await.is(204);
    }

    /// Undoes what the last caller was allowed to do, where the next would find it done.
    async fn restore(&mut self, Row(method, path, ..): &Row, callers: &mut Vec<Caller>) {
        match (*method, *path) {
            ("DELETE", "/v1/access-tokens/{K}") => {
                let token = self.server.engine.snapshot().unwrap().access_token(self.token);
                if token.unwrap().is_none() && self.state != State::TeamDeleted {
                    self.make_token_of_member().await;
                }
            }
            ("DELETE", "/v1/teams/{T}") if self.state != State::TeamDeleted => {
                let team = self.admin.get(&format!("/v1/teams/{}", self.team)).await.json(200);
                if !team["deletion_time"].is_null() {
                    let path = format!("/v1/teams/{}/reinstate", self.team);
                    self.admin.delete(&path).await.is(200);
                    self.join_all().await;
                    self.renew_access_tokens(callers).await;
                }
            }
            ("DELETE", "/v1/nodes/{N}" | "/v1/nodes/{other node}") => {
                self.fresh += 1;
                let body = json!({"ip": format!("new {}", self.fresh), "index": 0, "cpu_mem": 1});
                let made = pk(&self.admin.post("/v1/nodes/create", &body).await.json(201));
                if *path == "/v1/nodes/{N}" { self.node = made } else { self.other_node = made }
            }
            _ => {}
        }
    }

    pub(crate) fn filled(&mut self, text: &str) -> String {
        self.fresh += 1;
        [
            ("{D}", self.dataset),
            ("{public}", self.public),
            ("{P}", self.project),
            ("{T}", self.team),
            ("{stranger}", self.stranger),
            ("{gone}", self.gone),
            ("{K}", self.token.0),
            ("{N}", self.node),
            ("{other node}", self.other_node),
            ("FRESH", u64::from(self.fresh)),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (word, value)| text.replace(word, &value.to_string()))
    }

    /// Whether what this action is asked of went with this state.
    fn is_gone(&self, Row(_, path, ..): &Row) -> bool {
        self.state == State::TeamDeleted && *path == "/v1/access-tokens/{K}"
    }

    /// Whether the body of this action is refused in this state, whoever sends it.
    fn refuses_body(&self, Row(_, path, ..): &Row) -> bool {
        matches!(
            (self.state, *path),
            (State::ProjectDeleted, "/v1/datasets/create")
                | (State::TeamDeleted, "/v1/projects/create")
        )
    }
}

fn is_open(Row(_, path, _, open_to, _): &Row, caller: &Caller) -> bool {
    if caller.login == Login::Administrator {
        return true;
    }
    let logged_in = caller.login == Login::Active;
    let user = logged_in || caller.is_token();
    open_to.split_whitespace().any(|word| match word {
        "anyone" => true,
        "user" => user,
        "login" => logged_in,
        "R@login" => logged_in && caller.level >= Some(Read),
        "self" => caller.name == "stranger",
        "owner" => caller.name == "R",
        "R" => caller.level >= Some(Read),
        "W" => caller.level >= Some(Write),
        "A" => caller.level >= Some(Admin),
        "X@node" => caller.on_node && caller.level >= Some(Execute),
        "node" => caller.on_node && logged_in,
        "@node" => caller.on_node && user,
        other => panic!("{path}: {other} is no word of the table"),
    })
}

async fn ask(caller: &Caller, node: u64, method: &str, path: &str, body: String) -> Answer {
    let mut client = caller.client.clone();
    if caller.on_node {
        client = client.with("Node-Id", node.to_string());
    }
    if !body.is_empty() {
        client = client.with("Content-Type", "application/json");
    }
    client.send(method, path, body).await
}

/// Asserts what a refusal says.
#[track_caller]
fn is_refusal(answer: &Answer, login: Login, case: &str) {
    let status = answer.status.as_u16();
    let challenge = answer.header("www-authenticate").to_owned();
    let text: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match login {
        Login::None => {
            assert_eq!(status, 401, "{case}: {text}");
            assert_eq!(challenge, "Bearer realm=\"api\"", "{case}");
            let detail = "Authentication credentials were not provided.";
            assert_eq!(text, json!({"detail": detail}), "{case}");
        }
        Login::Deactivated => {
            assert_eq!(status, 401, "{case}: {text}");
            let expected = json!({"detail": "User is inactive", "code": "user_inactive"});
            assert_eq!(text, expected, "{case}");
        }
        Login::EndedToken => {
            assert_eq!(status, 401, "{case}: {text}");
            assert_eq!(text["code"], "token_not_valid", "{case}");
        }
        Login::Active | Login::AccessToken | Login::Administrator => {
            assert_eq!(status, 403, "{case}: {text}");
            let detail = "You do not have permission to perform this action.";
            assert_eq!(text, json!({"detail": detail}), "{case}");
        }
    }
}

async fn walk(state: State) -> usize {
    let mut world = World::new(state).await;
    let mut callers = std::mem::take(&mut world.callers);
    let mut cells = 0;
    for row in ROWS {
        let Row(method, path, body, ..) = row;
        for number in 0..callers.len() {
            world.restore(row, &mut callers).await;
            let caller = &callers[number];
            let (path, body) = (world.filled(path), world.filled(body));
            let answer = ask(caller, world.node, method, &path, body).await;
            let node = if caller.on_node { " on a node" } else { "" };
            let case = format!("{state:?}, {}{node}: {method} {path}", caller.name);
            let status = answer.status.as_u16();
            if matches!(caller.login, Login::Deactivated | Login::EndedToken) {
                is_refusal(&answer, caller.login, &case);
            } else if world.is_gone(row) {
                assert_eq!(status, 404, "{case}");
            } else if world.refuses_body(row) {
                assert_eq!(status, 400, "{case}");
            } else if is_open(row, caller) {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(![401, 403].contains(&status) && status < 500, "{case}: {status} {text}");
            } else {
                is_refusal(&answer, caller.login, &case);
            }
            cells += 1;
        }
    }
    cells
}

#[tokio::test]
async fn every_action_is_open_to_whom_the_documents_say() {
    assert_eq!(walk(State::Alive).await, ROWS.len() * 28);
}

#[tokio::test]
async fn a_deleted_dataset_is_open_to_the_same() {
    walk(State::DatasetDeleted).await;
}

#[tokio::test]
async fn a_deleted_project_leaves_its_members_their_rights() {
    walk(State::ProjectDeleted).await;
}

#[tokio::test]
async fn a_deleted_team_has_no_members() {
    walk(State::TeamDeleted).await;
}

#[tokio::test]
async fn what_is_not_there_is_told_to_all_but_where_the_right_comes_first() {
    let mut world = World::new(State::Alive).await;
    let callers = std::mem::take(&mut world.callers);
    for row in ROWS.iter().filter(|Row(.., order)| *order != B) {
        let Row(method, path, body, _, order) = row;
        // Where an id stands that nothing has; by name, only users are asked for.
        let missing = path.split('/').nth(3).filter(|part| part.starts_with('{') || *part == "1");
        let Some(missing) = missing else { continue };
        let path = path.replacen(&format!("/{missing}"), "/999999", 1);
        for caller in &callers {
            let (path, body) = (world.filled(&path), world.filled(body));
            let answer = ask(caller, world.node, method, &path, body).await;
            let case = format!("{}: {method} {path}", caller.name);
            let refused = caller.login == Login::Deactivated
                || (*order == R && caller.login != Login::Administrator);
            if refused {
                is_refusal(&answer, caller.login, &case);
            } else {
                assert_eq!(answer.status.as_u16(), 404, "{case}");
            }
        }
    }
}
