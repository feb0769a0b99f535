//! Users, teams and projects of a server, by name or by primary key.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::server_url::ServerUrl;
use super::session::first_password_file;
use super::{ServerOptions, say};

/// Somebody who may log in.
#[derive(Debug, Deserialize)]
pub(crate) struct User {
    pub(crate) pk: u64,
    pub(crate) username: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) email: String,
    pub(crate) is_staff: bool,
    pub(crate) is_active: bool,
    pub(crate) last_login: Option<String>,
    pub(crate) date_joined: String,
}

/// People who own projects together.
#[derive(Debug, Deserialize)]
pub(crate) struct Team {
    pub(crate) pk: u64,
    pub(crate) name: String,
    pub(crate) members: Vec<Member>,
    pub(crate) creation_time: String,
    pub(crate) deletion_time: Option<String>,
}

/// A present member of a team.
#[derive(Debug, Deserialize)]
pub(crate) struct Member {
    pub(crate) pk: u64,
    pub(crate) username: String,
}

/// Datasets of one team that belong together.
#[derive(Debug, Deserialize)]
pub(crate) struct Project {
    pub(crate) pk: u64,
    pub(crate) name: String,
    pub(crate) team: u64,
    pub(crate) creation_time: String,
    pub(crate) deletion_time: Option<String>,
}

/// Something that has a name and may be soft-deleted.
pub(crate) trait Named: DeserializeOwned {
    /// What it is called in sentences.
    const KIND: &'static str;

    /// Its primary key.
    fn pk(&self) -> u64;

    /// Whether it is soft-deleted.
    fn is_deleted(&self) -> bool;
}

impl Named for Team {
    const KIND: &'static str = "team";

    fn pk(&self) -> u64 {
        self.pk
    }

    fn is_deleted(&self) -> bool {
        self.deletion_time.is_some()
    }
}

impl Named for Project {
    const KIND: &'static str = "project";

    fn pk(&self) -> u64 {
        self.pk
    }

    fn is_deleted(&self) -> bool {
        self.deletion_time.is_some()
    }
}

/// Which of those that have a name are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that are not deleted.
    Active,
    /// Those that are.
    Deleted,
    /// Both.
    Any,
}

/// The records of a server.
pub(crate) struct Catalogue {
    client: Client,
    /// The right that the command needs, for who has it not.
    needed: &'static str,
}

impl Catalogue {
    /// The way to a server's records; nothing is sent yet.
    ///
    /// # Errors
    /// The stored login cannot be read, or the system's certificates.
    pub(crate) fn open(server: &ServerOptions, needed: &'static str) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(server)?, needed })
    }

    /// The way of a client that is there already.
    #[cfg(test)]
    pub(crate) fn with(client: Client) -> Self {
        Self { client, needed: "an administrator" }
    }

    /// Name of the user that the requests are sent as, as far as it is known.
    pub(crate) fn whose(&self) -> Option<&str> {
        self.client.session.username()
    }

    /// The file of the first user's first password, where the server is on this machine and it is
    /// there still.
    pub(crate) fn first_password_file(&self) -> Option<PathBuf> {
        let file = first_password_file();
        (self.client.url.is_loopback() && file.exists()).then_some(file)
    }

    /// Sends a request; an answer without a body is null. `path` begins behind `/v1/`.
    ///
    /// # Errors
    /// Any [`Failure`]; where a right is missing it says which.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        self.try_ask(method, path, body).await.map_err(|failure| self.explained(failure))
    }

    /// Gets something, and tries again for as long as a server takes to be restarted. That it does not
    /// run is said at once where it `is_first`.
    ///
    /// # Errors
    /// As of [`Catalogue::ask`].
    pub(crate) async fn get_patiently(&self, path: &str, is_first: bool) -> anyhow::Result<Value> {
        let ask = || self.try_ask(Method::GET, path, None);
        let patience = self.client.patience;
        let got = if is_first {
            patience.persist_if_it_runs(ask).await
        } else {
            patience.persist(ask).await
        };
        got.map_err(|failure| self.explained(failure))
    }

    /// Gets what the user may perhaps not see; `None` if so.
    ///
    /// # Errors
    /// As of [`Catalogue::ask`], but for a missing right.
    pub(crate) async fn ask_if_allowed(&self, path: &str) -> anyhow::Result<Option<Value>> {
        match self.try_ask(Method::GET, path, None).await {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Forbidden { .. }) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn try_ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let url = &self.client.url;
        let mut request = self.client.http.request(method, url.action(path));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.client.send(request).await?.bytes().await;
        let answer = answer.map_err(|error| Failure::on_the_way(url, &error))?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        let strange = |error: serde_json::Error| Failure::Strange {
            url: url.clone(),
            reason: error.to_string(),
        };
        serde_json::from_slice(&answer).map_err(strange)
    }

    fn explained(&self, failure: Failure) -> anyhow::Error {
        if let Failure::Refused { detail, .. } = &failure
            && detail.starts_with("UNIQUE constraint failed")
        {
            // The API's own words for it, which clients may know, are those of a database.
            return anyhow!(
                "the name is taken by another one in the same team; choose another name"
            );
        }
        failure.needing(self.needed)
    }

    /// The records of a kind, as the server writes them.
    ///
    /// # Errors
    /// As of [`Catalogue::ask`].
    pub(crate) async fn list(&self, kind: &str, with_inactive: bool) -> anyhow::Result<Vec<Value>> {
        let order = json!([{ "field": "pk" }]);
        let wanted = json!({ "include_inactive": with_inactive, "order_by": order });
        self.read(self.ask(Method::POST, &format!("{kind}/list"), Some(&wanted)).await?)
    }

    /// A record as its type has it.
    ///
    /// # Errors
    /// The server wrote something else.
    pub(crate) fn read<T: DeserializeOwned>(&self, value: Value) -> anyhow::Result<T> {
        let url = self.client.url.clone();
        serde_json::from_value(value)
            .map_err(|error| Failure::Strange { url, reason: error.to_string() }.into())
    }

    /// The user of a name or primary key.
    ///
    /// # Errors
    /// There is none, or as of [`Catalogue::ask`].
    pub(crate) async fn user(&self, named: &str) -> anyhow::Result<User> {
        let url = &self.client.url;
        let unknown = || {
            anyhow!(
                "there is no user {named:?} at {url}; see who there is: granary user list --all"
            )
        };
        if is_pk(named) {
            return self.by_pk("users", named).await?.ok_or_else(unknown);
        }
        let path = format!("users/{}", ServerUrl::escaped(named));
        let users: Vec<User> = self.read(self.ask(Method::GET, &path, None).await?)?;
        users.into_iter().next().ok_or_else(unknown)
    }

    /// The team of a name or primary key.
    ///
    /// # Errors
    /// There is none that one may see, or more than one; or as of [`Catalogue::ask`].
    pub(crate) async fn team(&self, named: &str, which: Which) -> anyhow::Result<Team> {
        self.named(named, which, |_| true).await
    }

    /// The project of a name or primary key, in a team if one is named.
    ///
    /// # Errors
    /// There is none that one may see, or more than one; or as of [`Catalogue::ask`].
    pub(crate) async fn project(
        &self,
        named: &str,
        team: Option<&str>,
        which: Which,
    ) -> anyhow::Result<Project> {
        let team = match team {
            Some(team) => Some(self.team(team, Which::Any).await?.pk),
            None => None,
        };
        self.named(named, which, |project: &Project| team.is_none_or(|team| project.team == team))
            .await
    }

    async fn by_pk<T: DeserializeOwned>(&self, kind: &str, pk: &str) -> anyhow::Result<Option<T>> {
        match self.try_ask(Method::GET, &format!("{kind}/{pk}"), None).await {
            Ok(value) => Ok(Some(self.read(value)?)),
            Err(Failure::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(failure) => Err(self.explained(failure)),
        }
    }

    async fn named<T: Named>(
        &self,
        named: &str,
        which: Which,
        fits: impl Fn(&T) -> bool,
    ) -> anyhow::Result<T> {
        let (kind, url) = (T::KIND, &self.client.url);
        let mut found: Vec<T> = if is_pk(named) {
            self.by_pk(&format!("{kind}s"), named).await?.into_iter().collect()
        } else {
            let name = json!({ "type": "exact", "field": "name", "value": named });
            let wanted =
                json!({ "expressions": [name], "include_inactive": which != Which::Active });
            let path = format!("{kind}s/list");
            self.read(self.ask(Method::POST, &path, Some(&wanted)).await?)?
        };
        found.retain(|found| fits(found) && (which != Which::Deleted || found.is_deleted()));
        if found.len() > 1 {
            let pks: Vec<String> = found.iter().map(|found| found.pk().to_string()).collect();
            bail!(
                "more than one {kind} {named:?} is at {url}; name it by its primary key, one of {}",
                pks.join(", ")
            );
        }
        found.pop().ok_or_else(|| {
            let state = if which == Which::Deleted { "deleted " } else { "" };
            anyhow!(
                "there is no {state}{kind} {named:?} at {url} that you may see; see which there \
                 are: granary {kind} list --all"
            )
        })
    }
}

/// What consists of digits is a primary key, as in the API's addresses.
pub(crate) fn is_pk(named: &str) -> bool {
    !named.is_empty() && named.bytes().all(|letter| letter.is_ascii_digit())
}

/// Prints the record for programs, or a sentence for people.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn tell(record: &Value, as_json: bool, sentence: &str) -> anyhow::Result<()> {
    if as_json {
        say(serde_json::to_string_pretty(record)?)?;
    } else {
        say(super::shown(sentence))?;
    }
    Ok(())
}

/// A time of the server's as a table shows it: to the second.
pub(crate) fn second_of(time: &str) -> String {
    time.get(..19).unwrap_or(time).to_owned()
}
