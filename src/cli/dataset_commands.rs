//! `granary cp`, `merge`, `rm`, `reinstate` and `mv`: datasets as wholes, and single files of them.

use anyhow::{Context, bail};
use clap::Args;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::api::Dataset;
use super::client::Client;
use super::confirm::ConfirmOptions;
use super::dataset_name::{DatasetName, ProjectOptions};
use super::errand::ADMINISTRATOR;
use super::style::{ADDED, Painted};
use super::{Ending, ServerOptions, say, shown};

/// Copy a dataset: as its next version, or under another name.
///
/// The copy has the files and their metadata as they are now, and takes no space until it changes.
#[derive(Debug, Args)]
pub(crate) struct CopyOptions {
    /// NAME (its newest version), NAME@VERSION or primary key.
    #[arg(value_name = "DATASET")]
    dataset: DatasetName,
    /// Name of the copy; without it the copy is the next version of DATASET.
    new_name: Option<String>,
    #[command(flatten)]
    common: CommonOptions,
}

/// Merge the files of a dataset into another one.
///
/// A file that TARGET has with the same content stays as it is; one that it has with other content
/// comes under a new name (cat.png as cat-0001.png).
#[derive(Debug, Args)]
pub(crate) struct MergeOptions {
    /// Dataset that gets the files: NAME (its newest version), NAME@VERSION or primary key.
    target: DatasetName,
    /// Dataset that they come from.
    source: DatasetName,
    /// Delete SOURCE in the same step; granary reinstate brings it back.
    #[arg(long)]
    delete: bool,
    /// Delete SOURCE for good.
    #[arg(long, requires = "delete")]
    hard: bool,
    #[command(flatten)]
    common: CommonOptions,
    #[command(flatten)]
    confirm: ConfirmOptions,
}

/// Delete a dataset (granary reinstate brings it back), or files of one for good.
///
/// Without FILE the dataset is marked as deleted: its name and its files are kept until it is
/// reinstated, deleted with --hard, or purged by the server's administrator. Files are deleted from
/// this version alone; other versions keep theirs.
#[derive(Debug, Args)]
pub(crate) struct RemoveOptions {
    /// NAME (its newest version), NAME@VERSION or primary key.
    #[arg(value_name = "DATASET")]
    dataset: DatasetName,
    /// Files of the dataset to delete, in place of the dataset.
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    /// Delete the dataset for good; for administrators.
    #[arg(long, conflicts_with = "files")]
    hard: bool,
    #[command(flatten)]
    common: CommonOptions,
    #[command(flatten)]
    confirm: ConfirmOptions,
}

/// Bring a deleted dataset back; for administrators.
#[derive(Debug, Args)]
pub(crate) struct ReinstateOptions {
    /// NAME (the version that was deleted last), NAME@VERSION or primary key.
    #[arg(value_name = "DATASET")]
    dataset: DatasetName,
    #[command(flatten)]
    common: CommonOptions,
}

/// Give a file of a dataset, or a dataset, another name.
///
/// With FILE, that file gets the name; its content and metadata come along. Without it, the dataset
/// does, this version of it alone.
#[derive(Debug, Args)]
#[command(override_usage = "granary mv [OPTIONS] <DATASET> [FILE] <NEW_NAME>")]
pub(crate) struct MoveOptions {
    /// NAME (its newest version), NAME@VERSION or primary key.
    #[arg(value_name = "DATASET")]
    dataset: DatasetName,
    /// File to rename if there are two, and the new name.
    #[arg(value_names = ["FILE", "NEW_NAME"], num_args = 1..=2, required = true)]
    names: Vec<String>,
    #[command(flatten)]
    common: CommonOptions,
}

/// What all of them take.
#[derive(Debug, Args)]
struct CommonOptions {
    #[command(flatten)]
    project: ProjectOptions,
    #[command(flatten)]
    server: ServerOptions,
    /// Write the result as JSON.
    #[arg(long)]
    json: bool,
}

impl CommonOptions {
    async fn open(&self, name: &DatasetName) -> anyhow::Result<(Client, Dataset)> {
        let client = Client::new(&self.server)?;
        let dataset = client.dataset(&self.project, name).await?;
        Ok((client, dataset))
    }

    /// Tells what was done, for people or as the server's answer.
    fn tell(&self, done: &str, answer: &Value) -> anyhow::Result<Ending> {
        if self.json {
            say(answer)?;
        } else {
            say(Painted(ADDED, done))?;
        }
        Ok(Ending::Complete)
    }
}

/// Runs `granary cp`.
pub(crate) async fn copy(options: CopyOptions) -> anyhow::Result<Ending> {
    let (client, dataset) = options.common.open(&options.dataset).await?;
    let body = options.new_name.map_or_else(|| json!({}), |name| json!({ "new_name": name }));
    let request = client.http.post(action(&client, &dataset, "/copy")).json(&body);
    let answer = answer(&client, request).await?;
    let copy: Dataset = serde_json::from_value(answer.clone())
        .context("the server's answer is not that of a copy; check that --url names a granary")?;
    let done = format!("made {}, primary key {}", full_name(&copy), copy.pk);
    options.common.tell(&done, &answer)
}

/// Runs `granary merge`.
pub(crate) async fn merge(options: MergeOptions) -> anyhow::Result<Ending> {
    let (client, target) = options.common.open(&options.target).await?;
    let source = client.dataset(&options.common.project, &options.source).await?;
    if options.hard {
        options.confirm.confirm(&format!("{} goes for good", full_name(&source)))?;
    }
    let path = format!("/merge/{}", source.pk);
    let body = json!({ "delete": options.delete, "hard": options.hard });
    let request = client.http.post(action(&client, &target, &path)).json(&body);
    let answer = answer(&client, request).await?;
    let (source, target) = (full_name(&source), full_name(&target));
    options.common.tell(&format!("merged {source} into {target}"), &answer)
}

/// Runs `granary rm`.
pub(crate) async fn remove(options: RemoveOptions) -> anyhow::Result<Ending> {
    let RemoveOptions { dataset, files, hard, common, confirm } = options;
    let client = Client::new(&common.server)?;
    let dataset = match (&dataset, hard) {
        // What is deleted already may go for good.
        (DatasetName::Key(key), true) => client.any_dataset_of_key(*key).await?,
        _ => Some(client.dataset(&common.project, &dataset).await?),
    };
    let dataset = dataset.context("there is no dataset with this primary key")?;
    let name = full_name(&dataset);
    if !files.is_empty() {
        let count = super::counted(files.len());
        confirm.confirm(&format!("{count} of {name} go for good"))?;
        let request = client.http.post(action(&client, &dataset, "/files-delete"));
        let answer = answer(&client, request.json(&json!({ "names": files }))).await?;
        return common.tell(&format!("deleted {count} of {name}"), &answer);
    }
    if hard {
        confirm.confirm(&format!("{name} goes for good"))?;
        let request = client.http.delete(action(&client, &dataset, "/hard"));
        let answer = answer_to_administrator(&client, request).await?;
        return common.tell(&format!("deleted {name} for good"), &answer);
    }
    client.send(client.http.delete(action(&client, &dataset, ""))).await?;
    let key = dataset.pk;
    let done = format!("deleted {name}; bring it back with: granary reinstate {key}");
    common.tell(&done, &json!({ "pk": key, "deleted": true }))
}

/// Runs `granary reinstate`.
pub(crate) async fn reinstate(options: ReinstateOptions) -> anyhow::Result<Ending> {
    let ReinstateOptions { dataset, common } = options;
    let client = Client::new(&common.server)?;
    let found = match &dataset {
        DatasetName::Key(key) => client.any_dataset_of_key(*key).await?,
        DatasetName::Newest(name) => deleted(&client, &common.project, name, None).await?,
        DatasetName::Version(name, version) => {
            deleted(&client, &common.project, name, Some(*version)).await?
        }
    };
    let Some(found) = found else {
        bail!("there is no deleted dataset {dataset} at {}", client.url);
    };
    let request = client.http.delete(action(&client, &found, "/reinstate"));
    let answer = answer_to_administrator(&client, request).await?;
    common.tell(&format!("{} is back", full_name(&found)), &answer)
}

/// The deleted dataset of a name that was made last.
async fn deleted(
    client: &Client,
    project: &ProjectOptions,
    name: &str,
    version: Option<u64>,
) -> anyhow::Result<Option<Dataset>> {
    let project = client.project(&project.project).await?;
    let mut datasets = client.datasets_named(name, true).await?;
    datasets.retain(|dataset| {
        let wanted = version.is_none_or(|version| dataset.version == version);
        wanted && !dataset.is_active() && dataset.project == project.pk && dataset.name == name
    });
    Ok(datasets.into_iter().max_by_key(|dataset| dataset.deletion_time.clone()))
}

/// Runs `granary mv`.
pub(crate) async fn rename(options: MoveOptions) -> anyhow::Result<Ending> {
    let (client, dataset) = options.common.open(&options.dataset).await?;
    let name = full_name(&dataset);
    let (request, done) = match options.names.as_slice() {
        [new_name] => {
            let request = client.http.patch(action(&client, &dataset, ""));
            let done = format!("{name} is called {:?} now", shown(new_name));
            (request.json(&json!({ "name": new_name })), done)
        }
        [from, to] => {
            let request = client.http.post(action(&client, &dataset, "/files-rename"));
            let done = format!("{:?} of {name} is called {:?} now", shown(from), shown(to));
            (request.json(&json!({ "from": from, "to": to })), done)
        }
        _ => bail!("one or two names are expected; see granary mv --help"),
    };
    let answer = answer(&client, request).await?;
    options.common.tell(&done, &answer)
}

/// An action of a dataset, with its fields in the answer but not its files.
fn action(client: &Client, dataset: &Dataset, path: &str) -> String {
    client.url.action(&format!("datasets/{}{path}?files=false", dataset.pk))
}

async fn answer(client: &Client, request: RequestBuilder) -> anyhow::Result<Value> {
    Ok(client.ask(request).await?)
}

async fn answer_to_administrator(
    client: &Client,
    request: RequestBuilder,
) -> anyhow::Result<Value> {
    client.ask(request).await.map_err(|failure| failure.needing(ADMINISTRATOR))
}

fn full_name(dataset: &Dataset) -> String {
    format!("dataset {:?}, version {}", shown(&dataset.name), dataset.version)
}
