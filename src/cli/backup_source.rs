//! Where a backup comes from: a server, or a data directory that no server uses.

use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;
use granary_engine::Engine;
use granary_engine::backup::Backup;
use granary_engine::model::Digest;
use serde::Deserialize;
use tokio::sync::mpsc::Sender;

use super::client::Client;
use super::failure::Failure;
use super::offline_store::{expect_own_store, open_offline};

/// A backup under way.
pub(crate) enum Source {
    /// Kept by a server.
    Server { client: Box<Client>, pk: u64 },
    /// Of a store that this process has open.
    Directory { engine: Engine, backup: Backup },
}

#[derive(Deserialize)]
struct Begun {
    pk: u64,
}

impl Source {
    /// Begins a backup at a server.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn of_server(client: Client) -> anyhow::Result<Self> {
        let begun: Result<Begun, Failure> =
            client.ask(client.http.post(client.url.action("backups/create"))).await;
        match begun {
            Ok(Begun { pk }) => Ok(Self::Server { client: Box::new(client), pk }),
            Err(Failure::Forbidden { url, .. }) => bail!(
                "only administrators may back up the store at {url}; log in as one: granary login \
                 --url {url} --username NAME"
            ),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Opens a store and begins a backup of it.
    ///
    /// # Errors
    /// As [`open_offline`], or the token key cannot be read.
    pub(crate) async fn of_directory(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let files = files_beside(&path)?;
            let if_in_use = "leave --data out to back it up through the server (--url)";
            anyhow::Ok((open_offline(&path, if_in_use)?, files))
        });
        let opened = opened.await.context("opening the store broke; please report this")?;
        let (engine, files) = opened?;
        let backup = engine.begin_backup(files).await?;
        Ok(Self::Directory { engine, backup })
    }

    /// Sends the state from a byte on.
    pub(crate) fn send_state(
        &self,
        from: u64,
    ) -> impl AsyncFnOnce(Sender<Bytes>) -> Result<(), Failure> {
        async move |sender: Sender<Bytes>| match self {
            Self::Server { client, pk } => {
                let address = client.url.action(&format!("backups/{pk}/state?from={from}"));
                pass_on(client, client.http.get(address), &sender).await
            }
            Self::Directory { backup, .. } => {
                let mut at = from;
                loop {
                    // Asked for anew each time, which keeps the contents for another while.
                    let chunk = backup.state().chunk(at).await.map_err(local)?;
                    at += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                    // Whoever stops reading says why himself.
                    if chunk.is_empty() || sender.send(chunk).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sends contents.
    pub(crate) fn send_contents(
        &self,
        digests: Vec<Digest>,
    ) -> impl AsyncFnOnce(Sender<Bytes>) -> Result<(), Failure> {
        async move |sender: Sender<Bytes>| match self {
            Self::Server { client, pk } => {
                let address = client.url.action(&format!("backups/{pk}/contents"));
                let handles: Vec<String> = digests.iter().map(ToString::to_string).collect();
                let body = serde_json::json!({ "handles": handles });
                pass_on(client, client.http.post(address).json(&body), &sender).await
            }
            Self::Directory { backup, .. } => {
                let mut frames = backup.read(digests);
                while let Some(chunk) = frames.next().await {
                    if sender.send(chunk).await.is_err() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// What an answer is that ended without an error and without all that was asked for.
    pub(crate) fn cut_short(&self) -> Failure {
        let reason = "the answer ended early".to_owned();
        match self {
            Self::Server { client, .. } => {
                Failure::Unreachable { url: client.url.clone(), reason, connected: true }
            }
            Self::Directory { .. } => local(io::Error::other(reason)),
        }
    }

    /// Ends the backup; a server that cannot be told forgets it by itself.
    pub(crate) async fn end(self) {
        match self {
            Self::Server { client, pk } => {
                let address = client.url.action(&format!("backups/{pk}"));
                client.send(client.http.delete(address)).await.ok();
            }
            Self::Directory { engine, backup } => {
                drop(backup);
                engine.shutdown().await;
            }
        }
    }
}

/// Files that belong to a backup beside the store, which must be there and be ours. Blocks.
fn files_beside(directory: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    // Another user cannot read the key, and would be told of that alone.
    expect_own_store(directory)?;
    match std::fs::read(directory.join("token-key")) {
        Ok(key) => Ok(vec![("token-key".to_owned(), key)]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context("cannot read the token key"),
    }
}

fn local(source: io::Error) -> Failure {
    Failure::Local { path: "the data directory".into(), source }
}

async fn pass_on(
    client: &Client,
    request: reqwest::RequestBuilder,
    sender: &Sender<Bytes>,
) -> Result<(), Failure> {
    let mut response = client.send(request).await?;
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| Failure::on_the_way(&client.url, &error))?;
        let Some(chunk) = chunk else { return Ok(()) };
        if sender.send(chunk).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_the_store_may_be_opened_is_looked_at_before_its_key_is_read() {
        let directory = tempfile::tempdir().unwrap();
        // A key that nobody can read.
        std::fs::create_dir(directory.path().join("token-key")).unwrap();
        let refused = files_beside(directory.path()).unwrap_err().to_string();
        assert!(refused.starts_with("there is no store in"), "{refused}");
    }
}
