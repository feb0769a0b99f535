//! What the server shows, in a form in which a world can be compared with it.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::request::handles;
use super::{Files, World};
use crate::api::{Api, Body};

/// All that the server shows, of all clients.
#[derive(Debug)]
pub(crate) struct Everything {
    datasets: Vec<(u64, SeenDataset)>,
    shared: SeenFiles,
    users: Vec<Value>,
    teams: Vec<Value>,
}

/// What the server shows of one client's world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    datasets: BTreeMap<u64, SeenDataset>,
    shared: SeenFiles,
    /// Key, first name, whether active.
    users: BTreeMap<String, (u64, String, bool)>,
    /// Key, whether deleted, whether the administrator is a member.
    teams: BTreeMap<String, (u64, bool, bool)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SeenDataset {
    name: String,
    version: u64,
    description: String,
    is_deleted: bool,
    files: SeenFiles,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SeenFiles {
    handles: BTreeMap<String, String>,
    /// Those that are not empty.
    metadata: BTreeMap<String, String>,
}

impl SeenFiles {
    fn of(files: &Files) -> Self {
        let metadata = files.iter().filter(|(_, file)| !file.metadata.is_empty());
        let metadata = metadata.map(|(name, file)| (name.clone(), file.metadata.clone()));
        Self { handles: handles(files), metadata: metadata.collect() }
    }

    /// Those whose names begin with this.
    fn of_client(&self, prefix: &str) -> Self {
        let mut own = self.clone();
        own.handles.retain(|name, _| name.starts_with(prefix));
        own.metadata.retain(|name, _| name.starts_with(prefix));
        own
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn texts(value: &Value) -> impl Iterator<Item = (String, String)> {
    value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value)))
}

impl Everything {
    /// Asks a server that is up.
    pub(crate) async fn see(api: &Api, shared: u64) -> Self {
        let mut everything = Self {
            datasets: Vec::new(),
            shared: SeenFiles::default(),
            users: list(api, "users").await,
            teams: list(api, "teams").await,
        };
        for row in list(api, "datasets").await {
            let pk = row["pk"].as_u64().unwrap();
            let metadata = api.get(&format!("datasets/{pk}/metadata")).await.expect(200);
            let metadata = texts(&metadata).filter(|(_, text)| !text.is_empty()).collect();
            let files = SeenFiles { handles: texts(&row["files"]).collect(), metadata };
            if pk == shared {
                everything.shared = files;
                continue;
            }
            let seen = SeenDataset {
                name: text(&row["name"]),
                version: row["version"].as_u64().unwrap(),
                description: text(&row["description"]),
                is_deleted: !row["deletion_time"].is_null(),
                files,
            };
            everything.datasets.push((pk, seen));
        }
        everything
    }

    /// What belongs to the client whose names begin so.
    pub(crate) fn of_client(&self, prefix: &str) -> Seen {
        let is_own = |row: &&Value, name: &str| row[name].as_str().unwrap().starts_with(prefix);
        let users = self.users.iter().filter(|row| is_own(row, "username"));
        let teams = self.teams.iter().filter(|row| is_own(row, "name"));
        let own = self.datasets.iter().filter(|(_, seen)| seen.name.starts_with(prefix));
        Seen {
            datasets: own.cloned().collect(),
            shared: self.shared.of_client(prefix),
            users: users.map(seen_user).collect(),
            teams: teams.map(seen_team).collect(),
        }
    }
}

async fn list(api: &Api, what: &str) -> Vec<Value> {
    let body = Body::Json(json!({"include_inactive": true}));
    let rows = api.ask(Method::POST, &format!("{what}/list"), body).await.expect(200);
    rows.as_array().unwrap().clone()
}

fn seen_user(row: &Value) -> (String, (u64, String, bool)) {
    let active = row["is_active"].as_bool().unwrap();
    (text(&row["username"]), (row["pk"].as_u64().unwrap(), text(&row["first_name"]), active))
}

fn seen_team(row: &Value) -> (String, (u64, bool, bool)) {
    let has_member = !row["members"].as_array().unwrap().is_empty();
    let is_deleted = !row["deletion_time"].is_null();
    (text(&row["name"]), (row["pk"].as_u64().unwrap(), is_deleted, has_member))
}

impl World {
    /// What the server must show of this world. Keys that no answer told are taken from what it
    /// does show; whether they are the right ones shows in everything else.
    pub(crate) fn expected(&mut self, seen: &Seen) -> Seen {
        self.learn_keys(seen);
        let datasets = self.datasets.values().map(|set| {
            let seen = SeenDataset {
                name: set.name.clone(),
                version: set.version,
                description: set.description.clone(),
                is_deleted: set.is_deleted,
                files: SeenFiles::of(&set.files),
            };
            (set.pk.unwrap_or(u64::MAX), seen)
        });
        let users = self.users.iter().map(|(name, user)| {
            let pk = user.pk.unwrap_or(u64::MAX);
            (name.clone(), (pk, user.first_name.clone(), user.is_active))
        });
        let teams = self.teams.iter().map(|(name, team)| {
            let pk = team.pk.unwrap_or(u64::MAX);
            (name.clone(), (pk, team.is_deleted, team.member.is_some()))
        });
        Seen {
            datasets: datasets.collect(),
            shared: SeenFiles::of(&self.shared),
            users: users.collect(),
            teams: teams.collect(),
        }
    }

    fn learn_keys(&mut self, seen: &Seen) {
        let known: Vec<u64> = self.datasets.values().filter_map(|set| set.pk).collect();
        for set in self.datasets.values_mut().filter(|set| set.pk.is_none()) {
            let mut fresh = seen.datasets.iter().filter(|(pk, _)| !known.contains(pk));
            let same =
                fresh.find(|(_, seen)| (&seen.name, seen.version) == (&set.name, set.version));
            set.pk = same.map(|(pk, _)| *pk);
        }
        for (name, user) in self.users.iter_mut().filter(|(_, user)| user.pk.is_none()) {
            user.pk = seen.users.get(name).map(|user| user.0);
        }
        for (name, team) in self.teams.iter_mut().filter(|(_, team)| team.pk.is_none()) {
            team.pk = seen.teams.get(name).map(|team| team.0);
        }
    }
}

impl Seen {
    /// Where two differ first, for a person.
    pub(crate) fn difference(&self, found: &Self) -> String {
        for pk in self.datasets.keys().chain(found.datasets.keys()) {
            let (expected, found) = (self.datasets.get(pk), found.datasets.get(pk));
            if expected != found {
                return format!("dataset {pk}: expected {expected:?}\n found {found:?}");
            }
        }
        if self.shared != found.shared {
            return format!("shared: expected {:?}\n found {:?}", self.shared, found.shared);
        }
        let (expected, found) = ((&self.users, &self.teams), (&found.users, &found.teams));
        format!("records: expected {expected:?}\n found {found:?}")
    }
}
