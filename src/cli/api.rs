//! The API actions that the client commands use, by name instead of by number.

use anyhow::{Context, bail};
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
    deletion_time: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Licence {
    pk: u64,
    name: String,
}

impl Client {
    /// The projects that the user may see.
    ///
    /// Not repeated where there is no answer: a command's first request says at once that the
    /// server does not run.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn projects(&self) -> Result<Vec<Project>, Failure> {
        let request = self.http.post(self.url.action("projects/list"));
        let mut projects: Vec<Project> = self.ask(request).await?;
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
        let mut datasets: Vec<Dataset> = self.patience.persist(ask).await?;
        datasets.retain(|dataset| dataset.deletion_time.is_none());
        Ok(datasets)
    }

    /// The newest version of a dataset.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn newest(
        &self,
        project: &Project,
        name: &str,
    ) -> Result<Option<Dataset>, Failure> {
        let mut datasets = self.datasets().await?;
        datasets.retain(|dataset| dataset.project == project.pk && dataset.name == name);
        Ok(datasets.into_iter().max_by_key(|dataset| dataset.version))
    }

    /// The newest version of a dataset that must be there.
    ///
    /// # Errors
    /// It is not there, or any [`Failure`].
    pub(crate) async fn existing(&self, project: &Project, name: &str) -> anyhow::Result<Dataset> {
        let found = self.newest(project, name).await?;
        found.with_context(|| {
            format!(
                "there is no dataset {name:?} in project {:?} at {}; see what there is with: \
                 granary ls --url {}",
                project.name, self.url, self.url
            )
        })
    }

    /// The newest version of a dataset, made if there is none; with whether it was made.
    ///
    /// # Errors
    /// There is no licence to give it, or any [`Failure`].
    pub(crate) async fn found_or_made(
        &self,
        project: &Project,
        name: &str,
    ) -> anyhow::Result<(Dataset, bool)> {
        if let Some(dataset) = self.newest(project, name).await? {
            return Ok((dataset, false));
        }
        match self.make(project, name).await {
            Ok(dataset) => Ok((dataset, true)),
            // Somebody else may have made it meanwhile, or an earlier attempt of ours did.
            Err(error) => match self.newest(project, name).await {
                Ok(Some(dataset)) => Ok((dataset, false)),
                Ok(None) | Err(_) => Err(error),
            },
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
    /// Any [`Failure`]; some of them may be left then.
    pub(crate) async fn remove_datasets(&self, prefix: &str) -> Result<(), Failure> {
        let mut datasets = self.datasets().await?;
        datasets.retain(|dataset| dataset.name.starts_with(prefix));
        for dataset in datasets {
            let address = self.url.action(&format!("datasets/{}/hard?files=false", dataset.pk));
            self.send(self.http.delete(address)).await?;
        }
        Ok(())
    }

    async fn make(&self, project: &Project, name: &str) -> anyhow::Result<Dataset> {
        let request = self.http.post(self.url.action("licences/list"));
        let licences: Vec<Licence> = self.ask(request).await?;
        let preferred = licences.iter().find(|licence| licence.name == LICENCE_OF_NEW);
        let licence = preferred
            .or_else(|| licences.iter().min_by_key(|licence| licence.pk))
            .context("the server has no licence that a new dataset could have; create one")?;
        let fields = serde_json::json!({
            "name": name,
            "project": project.pk,
            "licence": licence.pk,
            "tags": "",
        });
        let address = self.url.action("datasets/create?files=false");
        Ok(self.ask(self.http.post(address).json(&fields)).await?)
    }

    /// The names and handles of a dataset's files, in one committed state.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn files(&self, dataset: &Dataset) -> Result<FileMap, Failure> {
        let address = self.url.action(&format!("datasets/{}", dataset.pk));
        let ask = || async {
            let response = self.send(self.http.get(&address)).await?;
            file_map::read(&self.url, response).await
        };
        self.patience.persist(ask).await
    }
}
