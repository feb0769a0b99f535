//! What a load does: the workloads that can be named, and the requests that they consist of.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a load consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Files are added, some of them with contents that the server knows.
    Upload,
    /// Files are fetched, in random order.
    Download,
    /// Of 100 requests 50 fetch a file, 30 add one, 10 read and 5 set metadata, 5 list datasets.
    Mixed,
    /// Metadata are set and read in turn.
    Metadata,
    /// Datasets are listed, 100 a page.
    List,
    /// A dataset's fields are fetched with the names of all its files.
    Retrieve,
    /// A dataset is copied.
    Copy,
    /// A dataset is merged into a copy of another one, and the result deleted for good.
    Merge,
    /// A dataset is fetched as a zip.
    Archive,
}

impl Workload {
    /// Whether files must be there before it begins.
    pub(crate) fn needs_files(self) -> bool {
        self != Self::Upload
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Mixed => "mixed",
            Self::Metadata => "metadata",
            Self::List => "list",
            Self::Retrieve => "retrieve",
            Self::Copy => "copy",
            Self::Merge => "merge",
            Self::Archive => "archive",
        })
    }
}

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    Upload,
    Download,
    SetMetadata,
    GetMetadata,
    List,
    Retrieve,
    Copy,
    Merge,
    HardDelete,
    Archive,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Upload => "upload",
            Self::Download => "download",
            Self::SetMetadata => "set metadata",
            Self::GetMetadata => "get metadata",
            Self::List => "list",
            Self::Retrieve => "retrieve",
            Self::Copy => "copy",
            Self::Merge => "merge",
            Self::HardDelete => "hard delete",
            Self::Archive => "archive",
        })
    }
}
