//! What the server has already, asked before anything is sent.
//!
//! A granary answers `files-check` for a thousand files at a time, so that neither side lists a
//! dataset. Servers without it (another implementation of the API, an older granary) are asked for
//! all names and handles once, and can neither attach nor replace.

use std::sync::Arc;

use granary_engine::model::Digest;
use serde::{Deserialize, Serialize};

use crate::cli::api::Dataset;
use crate::cli::client::Client;
use crate::cli::content::{Handles, Identity};
use crate::cli::failure::Failure;
use crate::cli::file_map::FileMap;
use crate::cli::listing::is_no_route;

/// How a file of ours stands at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is there.
    Present,
    /// Another content has its name.
    Differs(Digest),
    /// The server has the content, and gives it the name when it is asked to.
    Attachable,
    /// Its bytes must be sent.
    Missing,
    /// No file can have the name there, for this reason.
    Refused(String),
}

/// A file that is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) name: &'a str,
    /// `None` if it was not needed; see [`Preflight::need`].
    pub(crate) identity: Option<Identity>,
}

/// What must be known of a file of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// Its BLAKE3.
    Digest,
    /// Whether it has this handle, of whichever kind it is.
    Comparison(Digest),
}

/// The way to ask.
pub(crate) enum Preflight {
    /// The server's own comparison.
    Asked { client: Arc<Client>, dataset: u64 },
    /// Names and handles as they were when the push began.
    Known(FileMap),
}

#[derive(Serialize)]
struct Claims<'a> {
    files: Vec<WireClaim<'a>>,
}

#[derive(Serialize)]
struct WireClaim<'a> {
    filename: &'a str,
    handle: String,
    size: u64,
}

#[derive(Deserialize)]
struct Checked {
    status: Status,
    handle: Option<String>,
    detail: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Present,
    Differs,
    Attach,
    Send,
    Refused,
}

#[derive(Deserialize)]
struct Attached {
    handle: String,
}

impl Preflight {
    /// Finds out which way there is.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn begin(client: &Arc<Client>, dataset: &Dataset) -> Result<Self, Failure> {
        let asked = Self::Asked { client: Arc::clone(client), dataset: dataset.pk };
        match client.patience.persist(|| asked.check(&[])).await {
            Ok(_) => Ok(asked),
            Err(failure) if is_no_route(&failure) => {
                Ok(Self::Known(client.files(dataset.pk).await?))
            }
            Err(failure) => Err(failure),
        }
    }

    /// For a dataset that is not there.
    pub(crate) fn of_nothing() -> Self {
        Self::Known(FileMap::default())
    }

    /// Whether the server compares, attaches, replaces and takes many files as one tar.
    pub(crate) fn is_of_granary(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    /// What the server's handles are.
    pub(crate) fn handles(&self) -> Handles {
        if self.is_of_granary() { Handles::Blake3 } else { Handles::Either }
    }

    /// What must be known of a file before it can be asked about.
    pub(crate) fn need(&self, name: &str) -> Need {
        match self {
            Self::Asked { .. } => Need::Digest,
            Self::Known(files) => files.get(name).map_or(Need::Nothing, Need::Comparison),
        }
    }

    /// How files stand, in their order.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn check(&self, files: &[Claim<'_>]) -> Result<Vec<Standing>, Failure> {
        let (client, dataset) = match self {
            Self::Asked { client, dataset } => (client, dataset),
            Self::Known(known) => {
                return Ok(files.iter().map(|claim| standing(known, claim)).collect());
            }
        };
        let address = client.url.action(&format!("datasets/{dataset}/files-check"));
        let request = client.http.post(address).json(&claims(files));
        let checked: Vec<Checked> = client.ask(request).await?;
        let strange = |reason: &str| Failure::Strange {
            url: client.url.clone(),
            reason: format!("files-check answered with {reason}"),
        };
        if checked.len() != files.len() {
            return Err(strange("another number of files than were asked about"));
        }
        let standings = checked.into_iter().map(|checked| {
            Ok(match checked.status {
                Status::Present => Standing::Present,
                Status::Differs => {
                    let digest = checked.handle.and_then(|handle| handle.parse().ok());
                    Standing::Differs(digest.ok_or_else(|| strange("a handle that is no digest"))?)
                }
                Status::Attach => Standing::Attachable,
                Status::Send => Standing::Missing,
                Status::Refused => Standing::Refused(checked.detail.unwrap_or_default()),
            })
        });
        standings.collect()
    }

    /// Adds files whose contents the server has, all or none.
    ///
    /// # Errors
    /// Any [`Failure`]; refused where one of them cannot be added so any longer.
    pub(crate) async fn attach(&self, files: &[Claim<'_>]) -> Result<(), Failure> {
        let Self::Asked { client, dataset } = self else {
            return Ok(());
        };
        let address = client.url.action(&format!("datasets/{dataset}/files-attach"));
        let request = client.http.post(address).json(&claims(files));
        let attached: Vec<Attached> = client.ask(request).await?;
        let handles =
            files.iter().map(|claim| claim.identity.map(|known| known.digest.to_string()));
        if handles.eq(attached.into_iter().map(|attached| Some(attached.handle))) {
            return Ok(());
        }
        Err(Failure::Altered { reason: "the server attached other contents than were named" })
    }
}

fn claims<'a>(files: &[Claim<'a>]) -> Claims<'a> {
    let known = files.iter().filter_map(|claim| {
        let Identity { digest, length, .. } = claim.identity?;
        Some(WireClaim { filename: claim.name, handle: digest.to_string(), size: length })
    });
    Claims { files: known.collect() }
}

fn standing(known: &FileMap, claim: &Claim<'_>) -> Standing {
    match (known.get(claim.name), claim.identity) {
        (None, _) => Standing::Missing,
        (Some(there), Some(here)) if here.has(there) => Standing::Present,
        (Some(there), _) => Standing::Differs(there),
    }
}
