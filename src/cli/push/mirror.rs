//! `push --delete`: removes from the dataset what is not in the folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use granary_engine::model::Filename;
use reqwest::StatusCode;
use reqwest::header::IF_MATCH;

use crate::cli::api::Dataset;
use crate::cli::client::Client;
use crate::cli::content::{local, on_blocking_pool};
use crate::cli::failure::Failure;
use crate::cli::listing::{Detail, Listing, RemoteFile};
use crate::cli::report::Outcome;
use crate::cli::selection::Selection;
use crate::cli::transfer::Transfers;
use crate::cli::upload::tag;

/// A folder, and the dataset that is to hold nothing else.
pub(crate) struct Mirror {
    pub(crate) client: Arc<Client>,
    pub(crate) dataset: Dataset,
    pub(crate) root: PathBuf,
    /// Only files that are selected are deleted.
    pub(crate) selection: Selection,
    pub(crate) dry_run: bool,
}

impl Mirror {
    /// Deletes what is selected there and not here. If the dataset cannot be listed, or the folder not
    /// looked at, that stops it.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(crate) async fn run(self: Arc<Self>, transfers: &mut Transfers) -> anyhow::Result<()> {
        let mut listing = Listing::new(&self.client, &self.dataset, Detail::Plain);
        loop {
            let doomed = match Arc::clone(&self).next_doomed(&mut listing).await {
                Ok(Some(doomed)) => doomed,
                Ok(None) => return Ok(()),
                Err(failure) => {
                    transfers.ledger.report.stop(failure);
                    return Ok(());
                }
            };
            for file in doomed {
                let this = Arc::clone(&self);
                let deletion = async move {
                    let result = this.delete(&file).await;
                    (file.name, result)
                };
                transfers.start(deletion).await?;
                if transfers.ledger.report.is_stopped() {
                    return Ok(());
                }
            }
        }
    }

    /// The files of the next page that are not in the folder; none if there is no next page.
    async fn next_doomed(
        self: Arc<Self>,
        listing: &mut Listing<'_>,
    ) -> Result<Option<Vec<RemoteFile>>, Failure> {
        let page = listing.next_page().await?;
        if page.is_empty() {
            return Ok(None);
        }
        let root = self.root.clone();
        on_blocking_pool(&root, move |root| self.not_here(root, page)).await.map(Some)
    }

    /// The files of a page that are not in the folder. A name that is there, whatever it is, is no
    /// reason to delete; nor is one that could not be looked at.
    fn not_here(&self, root: &Path, page: Vec<RemoteFile>) -> io::Result<Vec<RemoteFile>> {
        let mut doomed = Vec::new();
        for file in page {
            if !self.selection.takes(&file.name) || Filename::exact(&file.name).is_none() {
                continue;
            }
            match fs::symlink_metadata(root.join(&file.name)) {
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::NotADirectory
                            | io::ErrorKind::InvalidFilename
                    ) =>
                {
                    doomed.push(file);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(doomed)
    }

    async fn delete(&self, file: &RemoteFile) -> Result<Outcome, Failure> {
        if self.dry_run {
            return Ok(Outcome::Deleted);
        }
        delete_file(&self.client, &self.dataset, file).await
    }
}

/// Deletes a file that has not changed since it was listed.
///
/// # Errors
/// Any [`Failure`].
async fn delete_file(
    client: &Client,
    dataset: &Dataset,
    file: &RemoteFile,
) -> Result<Outcome, Failure> {
    let address = client.url.file(dataset.pk, &file.name);
    let ask = || client.send(client.http.delete(&address).header(IF_MATCH, tag(&file.digest)));
    match client.patience.persist(ask).await {
        // Gone already: an earlier attempt was answered by a broken connection.
        Err(Failure::Refused { status: StatusCode::NOT_FOUND, detail })
            if detail.starts_with("Bad name") =>
        {
            Ok(Outcome::Deleted)
        }
        // Somebody put other content there, which was not in the list.
        Err(Failure::Refused { status: StatusCode::PRECONDITION_FAILED, .. }) => {
            Ok(Outcome::Differs)
        }
        Err(failure) => Err(failure),
        Ok(_) => Ok(Outcome::Deleted),
    }
}

/// The root of a mirror must be a folder.
///
/// # Errors
/// It is none.
pub(crate) fn check_root(root: &Path) -> anyhow::Result<()> {
    let metadata = fs::metadata(root).map_err(|error| local(root, error))?;
    anyhow::ensure!(
        metadata.is_dir(),
        "--delete makes the dataset hold what a folder holds, and {} is no folder",
        root.display()
    );
    Ok(())
}
