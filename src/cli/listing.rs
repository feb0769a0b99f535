//! The files of a dataset in order of name, page by page, so that a million are never held.
//!
//! Servers that list no pages (another implementation of the API, an older granary) are asked for
//! the whole map of names and handles at once; sizes are unknown then.

use std::collections::HashMap;

use granary_engine::model::Digest;
use reqwest::Response;
use reqwest::header::LINK;
use serde::Deserialize;

use super::api::Dataset;
use super::client::{Client, answer_of};
use super::content::Handles;
use super::failure::Failure;
use super::file_map::FileMap;

/// Files of a page: about a megabyte and a half of JSON.
const PAGE_FILES: usize = 10_000;

/// A file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    pub(crate) name: String,
    /// Its content's handle; see [`RemoteFile::handles`].
    pub(crate) digest: Digest,
    /// Bytes, if the server tells.
    pub(crate) size: Option<u64>,
    /// When it was added, as the server writes it.
    pub(crate) time: Option<String>,
    /// Empty unless it was asked for.
    pub(crate) metadata: String,
}

impl RemoteFile {
    /// What the digest is. A server that tells no sizes may be another one than a granary.
    pub(crate) fn handles(&self) -> Handles {
        if self.size.is_some() { Handles::Blake3 } else { Handles::Either }
    }
}

/// What is asked for of each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    Plain,
    WithMetadata,
}

/// A walk over the files of a dataset.
pub(crate) struct Listing<'a> {
    client: &'a Client,
    dataset: Dataset,
    detail: Detail,
    next: Next,
}

enum Next {
    /// The page behind this name.
    After(Option<String>),
    End,
}

#[derive(Deserialize)]
struct Row {
    filename: String,
    handle: String,
    size: u64,
    creation_time: String,
    #[serde(default)]
    metadata: String,
}

impl<'a> Listing<'a> {
    /// Begins with the first name.
    pub(crate) fn new(client: &'a Client, dataset: &Dataset, detail: Detail) -> Self {
        Self { client, dataset: dataset.clone(), detail, next: Next::After(None) }
    }

    /// The next files, in order of name; none are left where it gives none.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn next_page(&mut self) -> Result<Vec<RemoteFile>, Failure> {
        loop {
            let after = match &self.next {
                Next::After(after) => after.clone(),
                Next::End => return Ok(Vec::new()),
            };
            let ask = || self.page(after.as_deref());
            let (files, next) = match self.client.patience.persist(ask).await {
                Err(failure) if after.is_none() && is_no_route(&failure) => {
                    (self.whole_map().await?, Next::End)
                }
                page => page?,
            };
            self.next = next;
            // A page may be empty and still not be the last.
            if !files.is_empty() {
                return Ok(files);
            }
        }
    }

    async fn page(&self, after: Option<&str>) -> Result<(Vec<RemoteFile>, Next), Failure> {
        let address = self.client.url.action(&format!("datasets/{}/files", self.dataset.pk));
        let mut query = vec![("limit", PAGE_FILES.to_string())];
        if let Some(after) = after {
            query.push(("after", after.to_owned()));
        }
        if self.detail == Detail::WithMetadata {
            query.push(("metadata", "true".to_owned()));
        }
        let request = self.client.http.get(address).query(&query);
        let response = self.client.send(request).await?;
        let after = next_after(&response);
        let rows: Vec<Row> = answer_of(&self.client.url, response).await?;
        let mut files = Vec::with_capacity(rows.len());
        for row in rows {
            files.push(self.file(row)?);
        }
        let next = after.map_or(Next::End, |after| Next::After(Some(after)));
        Ok((files, next))
    }

    fn file(&self, row: Row) -> Result<RemoteFile, Failure> {
        let digest = row.handle.parse();
        Ok(RemoteFile {
            digest: digest.map_err(|_error| self.strange("a handle that is no digest"))?,
            name: row.filename,
            size: Some(row.size),
            time: Some(row.creation_time),
            metadata: row.metadata,
        })
    }

    async fn whole_map(&self) -> Result<Vec<RemoteFile>, Failure> {
        let files: FileMap = self.client.files(self.dataset.pk).await?;
        let mut metadata: HashMap<String, String> = HashMap::new();
        if self.detail == Detail::WithMetadata {
            let address = self.client.url.action(&format!("datasets/{}/metadata", self.dataset.pk));
            let ask = || self.client.ask(self.client.http.get(&address));
            metadata = self.client.patience.persist(ask).await?;
        }
        let files = files.iter().map(|(name, digest)| RemoteFile {
            name: name.to_owned(),
            digest,
            size: None,
            time: None,
            metadata: metadata.remove(name).unwrap_or_default(),
        });
        Ok(files.collect())
    }

    fn strange(&self, reason: &str) -> Failure {
        Failure::Strange { url: self.client.url.clone(), reason: reason.to_owned() }
    }
}

/// Whether the server has no such action.
pub(crate) fn is_no_route(failure: &Failure) -> bool {
    match failure {
        Failure::Refused { status, .. } => matches!(status.as_u16(), 404 | 405 | 501),
        Failure::Strange { .. } => true,
        Failure::Unreachable { .. }
        | Failure::Busy { .. }
        | Failure::LoginRenewed
        | Failure::NotLoggedIn { .. }
        | Failure::WrongPassword { .. }
        | Failure::WrongFirstPassword { .. }
        | Failure::Forbidden { .. }
        | Failure::Altered { .. }
        | Failure::Local { .. } => false,
    }
}

/// Where the next page begins, by the link to it: its name may be that of a deleted file.
fn next_after(response: &Response) -> Option<String> {
    let links = response.headers().get_all(LINK).iter();
    let mut links = links.filter_map(|link| link.to_str().ok());
    let link = links.find(|link| link.contains("rel=\"next\""))?;
    let (address, _) = link.strip_prefix('<')?.split_once('>')?;
    let (_, query) = address.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == "after").map(|(_, after)| after.into_owned())
}
