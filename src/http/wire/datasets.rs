//! Shapes of datasets and their maps, written file by file.

use std::cell::Cell;
use std::io::Write;

use granary_engine::model::Dataset;
use granary_engine::{ReadError, Snapshot};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::{Handle, Time};
use crate::http::error::ApiError;

/// Writes a dataset's fields, with the map of its files if that is wanted.
///
/// The map goes from the snapshot to the writer file by file.
pub(crate) fn write_dataset(
    out: impl Write,
    snapshot: &Snapshot,
    dataset: &Dataset,
    with_files: bool,
) -> Result<(), ApiError> {
    let fault = Cell::new(None);
    let files = with_files.then_some(Files { snapshot, dataset, fault: &fault });
    let written = serde_json::to_writer(out, &Shape::of(dataset, files));
    settle(written, &fault)
}

/// Writes a dataset's fields without its files.
pub(crate) fn dataset_without_files(dataset: &Dataset) -> impl Serialize {
    Shape::of(dataset, None)
}

/// Writes the map from every file's name to its metadata.
pub(crate) fn write_all_metadata(
    out: impl Write,
    snapshot: &Snapshot,
    dataset: &Dataset,
) -> Result<(), ApiError> {
    let fault = Cell::new(None);
    let map = AllMetadata { snapshot, dataset, fault: &fault };
    let written = serde_json::to_writer(out, &map);
    settle(written, &fault)
}

/// A read that failed while serialising is told as what it was.
fn settle(
    written: serde_json::Result<()>,
    fault: &Cell<Option<ReadError>>,
) -> Result<(), ApiError> {
    match (written, fault.take()) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(fault)) => Err(fault.into()),
        (Err(error), None) => Err(ApiError::internal(error)),
    }
}

/// A dataset's fields, in the API's order.
#[derive(Serialize, ToSchema)]
#[schema(as = Dataset)]
pub(crate) struct Shape<'a> {
    #[schema(examples(1))]
    pk: u64,
    #[schema(examples("emoji"))]
    name: &'a str,
    #[schema(minimum = 1, examples(2))]
    version: u64,
    /// The version that this one is a copy of; -1 for none.
    #[schema(value_type = i64, minimum = -1, examples(1))]
    previous_version: PreviousVersion,
    description: &'a str,
    /// The primary key of the project that it is in.
    #[schema(examples(1))]
    project: u64,
    /// The primary key of its licence.
    #[schema(examples(14))]
    licence: u64,
    /// Whether everybody may see these fields. Files and metadata are for members only.
    is_public: bool,
    /// Kind of a domain dataset; these here are core datasets.
    #[schema(value_type = Option<String>, required = true)]
    domain: (),
    tags: &'a str,
    /// The primary key of the user who made it.
    #[schema(required = true, examples(1))]
    creator: Option<u64>,
    creation_time: Time,
    /// When it was soft-deleted; null while it is active.
    #[schema(required = true)]
    deletion_time: Option<Time>,
    /// From every file's name to its handle; not there if it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = BTreeMap<String, Handle>, required = false)]
    files: Option<Files<'a>>,
}

/// A version, or -1 for none.
#[derive(Serialize)]
#[serde(untagged)]
enum PreviousVersion {
    Version(u64),
    None(i8),
}

impl<'a> Shape<'a> {
    fn of(dataset: &'a Dataset, files: Option<Files<'a>>) -> Self {
        Self {
            pk: dataset.id.0,
            name: &dataset.name,
            version: dataset.version,
            previous_version: match dataset.previous_version {
                Some(version) => PreviousVersion::Version(version),
                None => PreviousVersion::None(-1),
            },
            description: &dataset.description,
            project: dataset.project.0,
            licence: dataset.licence.0,
            is_public: dataset.is_public,
            domain: (),
            tags: &dataset.tags,
            creator: dataset.creator.map(|creator| creator.0),
            creation_time: Time(dataset.creation_time),
            deletion_time: dataset.deletion_time.map(Time),
            files,
        }
    }
}

/// The map from names to handles, read as it is written.
struct Files<'a> {
    snapshot: &'a Snapshot,
    dataset: &'a Dataset,
    /// Where a read's error goes, as serde takes only texts.
    fault: &'a Cell<Option<ReadError>>,
}

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keep = |error| keep::<S::Error>(self.fault, error);
        let mut map = serializer.serialize_map(None)?;
        for file in self.snapshot.files(self.dataset).map_err(keep)? {
            let (filename, record) = file.map_err(keep)?;
            map.serialize_entry(&filename, &Handle(record.digest))?;
        }
        map.end()
    }
}

/// The map from names to metadata, read as it is written.
struct AllMetadata<'a> {
    snapshot: &'a Snapshot,
    dataset: &'a Dataset,
    fault: &'a Cell<Option<ReadError>>,
}

impl Serialize for AllMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keep = |error| keep::<S::Error>(self.fault, error);
        let mut map = serializer.serialize_map(None)?;
        for file in self.snapshot.all_metadata(self.dataset).map_err(keep)? {
            let (filename, metadata) = file.map_err(keep)?;
            map.serialize_entry(&filename, &metadata)?;
        }
        map.end()
    }
}

fn keep<E: serde::ser::Error>(fault: &Cell<Option<ReadError>>, error: ReadError) -> E {
    let text = error.to_string();
    fault.set(Some(error));
    E::custom(text)
}

/// A file's metadata: any text, kept exactly; empty at first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Metadata<'a> {
    #[schema(examples("{\"label\": \"cat\"}"))]
    pub(crate) metadata: &'a str,
}
