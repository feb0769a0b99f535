//! The API actions that the client commands use, by name instead of by number.

use anyhow::{Context, bail};
use reqwest::StatusCode;
use serde::Deserialize;

use super::client::Client;
use super::failure::Failure;
use super::file_map::{self, FileMap};

/// Licence of the datasets that a push makes: the one that grants nobody anything.
const LICENCE_OF_NEW: &str = "Proprietary";

/// A project, as far as the client needs it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Project {
    /// Its primary key.
    pub(crate) pk: u64,
    /// Its name; unique in its team only.
    pub(crate) name: String,
    deletion_time: Option<String>,
}

/// A dataset's fields without its files, as far as the client needs them.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dataset {
    /// Its primary key.
    pub(crate) pk: u64,
    /// Its name, shared by its versions.
    pub(crate) name: String,
    /// Number of the version.
    pub(crate) version: u64,
    /// Primary key of its project.
    pub(crate) project: u64,
    /// When it was made, as the server writes it.
    pub(crate) creation_time: String,
    /// Free text.
    #[serde(default)]
    pub(crate) description: String,
    /// Whether strangers see it.
    #[serde(default)]
    pub(crate) is_public: bool,
    /// When it was deleted, if it was.
    pub(crate) deletion_time: Option<String>,
}

impl Dataset {
    /// Whether it is not deleted.
    pub(crate) fn is_active(&self) -> bool {
        self.deletion_time.is_none()
    }
}

#[derive(Debug, Deserialize)]
struct Licence {
    pk: u64,
    name: String,
}

impl Client {
    /// The projects that the user may see.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn projects(&self) -> Result<Vec<Project>, Failure> {
        let address = self.url.action("projects/list");
        let ask = || self.ask(self.http.post(&address));
        let mut projects: Vec<Project> = self.patience.persist_if_it_runs(ask).await?;
        projects.retain(|project| project.deletion_time.is_none());
        Ok(projects)
    }

    /// The one project of a name.
    ///
    /// # Errors
    /// There is none or more than one, or any [`Failure`].
    pub(crate) async fn project(&self, name: &str) -> anyhow::Result<Project> {
        let mut projects = self.projects().await?;
        projects.retain(|project| project.name == name);
        let found = projects.pop().with_context(|| {
            format!(
                "there is no project {name:?} at {} that you may see; name another with --project",
                self.url
            )
        })?;
        if !projects.is_empty() {
            bail!(
                "more than one team has a project {name:?} at {}; log in as a member of one of \
                 the teams, or rename a project",
                self.url
            );
        }
        Ok(found)
    }

    /// The datasets that the user may see, without their files.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn datasets(&self) -> Result<Vec<Dataset>, Failure> {
        let address = self.url.action("datasets/list?files=false");
        let ask = || self.ask(self.http.post(&address));
        let mut datasets: Vec<Dataset> = self.patience.persist_if_it_runs(ask).await?;
        datasets.retain(Dataset::is_active);
        Ok(datasets)
    }

    /// The datasets of a name in a project: its versions.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn versions(
        &self,
        project: &Project,
        name: &str,
    ) -> Result<Vec<Dataset>, Failure> {
        let mut datasets = self.datasets_named(name, false).await?;
        datasets.retain(|dataset| {
            dataset.project == project.pk && dataset.name == name && dataset.is_active()
        });
        Ok(datasets)
    }

    /// The datasets of a name in all projects, with those that are deleted if they are wanted.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn datasets_named(
        &self,
        name: &str,
        deleted_too: bool,
    ) -> Result<Vec<Dataset>, Failure> {
        let address = self.url.action("datasets/list?files=false");
        let filter = serde_json::json!({
            "expressions": [{ "type": "exact", "field": "name", "value": name }],
            "include_inactive": deleted_too,
        });
        // A filter has no empty text, and no dataset has an empty name.
        if name.is_empty() {
            return Ok(Vec::new());
        }
        let ask = || self.ask(self.http.post(&address).json(&filter));
        self.patience.persist_if_it_runs(ask).await
    }

    /// The dataset with this primary key, unless it is deleted.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn dataset_of_key(&self, key: u64) -> Result<Option<Dataset>, Failure> {
        Ok(self.any_dataset_of_key(key).await?.filter(Dataset::is_active))
    }

    /// The dataset with this primary key, deleted or not.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn any_dataset_of_key(&self, key: u64) -> Result<Option<Dataset>, Failure> {
        let address = self.url.action(&format!("datasets/{key}?files=false"));
        let ask = || self.ask(self.http.get(&address));
        match self.patience.persist_if_it_runs(ask).await {
            Ok(dataset) => Ok(Some(dataset)),
            Err(Failure::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Makes a dataset of this name; with whether it was made here.
    ///
    /// # Errors
    /// There is no licence to give it, or any [`Failure`].
    pub(crate) async fn made(
        &self,
        project: &Project,
        name: &str,
    ) -> anyhow::Result<(Dataset, bool)> {
        let licence = self.licence_of_new().await?;
        let mut tried = 0;
        loop {
            tried += 1;
            let failure = match self.create(project, name, licence).await {
                Ok(dataset) => return Ok((dataset, true)),
                Err(failure) => failure,
            };
            // Somebody else may have made it meanwhile, or an earlier attempt of ours did.
            let versions = self.versions(project, name).await?;
            if let Some(newest) = versions.into_iter().max_by_key(|dataset| dataset.version) {
                return Ok((newest, false));
            }
            match self.patience.after(tried, &failure) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure.into()),
            }
        }
    }

    /// Makes datasets of a load and gives their primary keys.
    ///
    /// # Errors
    /// There is no such project, or the server refused.
    pub(crate) async fn make_datasets(
        &self,
        project: &str,
        prefix: &str,
        number: u32,
    ) -> anyhow::Result<Vec<u64>> {
        let project = self.project(project).await?;
        let mut made = Vec::new();
        for number in 0..number {
            made.push(self.make(&project, &format!("{prefix}-{number}")).await?.pk);
        }
        Ok(made)
    }

    /// Removes for good all datasets whose names begin so, versions and copies too.
    ///
    /// # Errors
    /// Any [`Failure`]; some of them may be left then, and at once where the server does not run.
    pub(crate) async fn remove_datasets(&self, prefix: &str) -> Result<(), Failure> {
        let mut datasets = self.datasets().await?;
        datasets.retain(|dataset| dataset.name.starts_with(prefix));
        for dataset in datasets {
            let address = self.url.action(&format!("datasets/{}/hard?files=false", dataset.pk));
            let remove = || self.send(self.http.delete(&address));
            match self.patience.persist_if_it_runs(remove).await {
                Ok(_) => {}
                // An attempt before may have done it.
                Err(Failure::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    async fn make(&self, project: &Project, name: &str) -> anyhow::Result<Dataset> {
        let licence = self.licence_of_new().await?;
        Ok(self.create(project, name, licence).await?)
    }

    async fn licence_of_new(&self) -> anyhow::Result<u64> {
        let address = self.url.action("licences/list");
        let ask = || self.ask(self.http.post(&address));
        let licences: Vec<Licence> = self.patience.persist(ask).await?;
        let preferred = licences.iter().find(|licence| licence.name == LICENCE_OF_NEW);
        let licence = preferred
            .or_else(|| licences.iter().min_by_key(|licence| licence.pk))
            .context("the server has no licence that a new dataset could have; create one")?;
        Ok(licence.pk)
    }

    async fn create(
        &self,
        project: &Project,
        name: &str,
        licence: u64,
    ) -> Result<Dataset, Failure> {
        let fields = serde_json::json!({
            "name": name,
            "project": project.pk,
            "licence": licence,
            "tags": "",
        });
        let address = self.url.action("datasets/create?files=false");
        self.ask(self.http.post(address).json(&fields)).await
    }

    /// The names and handles of a dataset's files, in one committed state.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn files(&self, dataset: u64) -> Result<FileMap, Failure> {
        let address = self.url.action(&format!("datasets/{dataset}"));
        let ask = || async {
            let response = self.send(self.http.get(&address)).await?;
            file_map::read(&self.url, response).await
        };
        self.patience.persist(ask).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::net::TcpListener;

    use super::super::session::{Credentials, Session};
    use super::super::stand_in::StandIn;

    #[tokio::test]
    async fn of_a_server_that_does_not_run_it_is_said_at_once_that_a_loads_datasets_are_left() {
        let (_, mut client) = StandIn::start(&[]).await;
        // Who closes before TLS is agreed on gives no connection, and can count the attempts.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        client.url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (username, password) = ("admin".to_owned(), "secret".to_owned());
        let credentials = Credentials { username, password };
        client.session = Session::with(client.http.clone(), client.url.clone(), credentials);
        let attempts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&attempts);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                drop(connection);
            }
        });
        let failure = client.remove_datasets("granary-bench-").await.unwrap_err();
        assert!(failure.is_without_connection(), "{failure}");
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
    }
}
