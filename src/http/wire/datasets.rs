//! Shapes of datasets, their maps, and the bodies of their actions.

use std::cell::Cell;
use std::io::Write;

use granary_engine::limits::TEXT_BYTES_MAX;
use granary_engine::model::{
    Dataset, DatasetPatch, LicenceId, NewDataset, Project, ProjectId, UserId,
};
use granary_engine::{ArchiveFormat, ReadError, Snapshot, SourceAfterMerge};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{Handle, Time};
use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text, no_object};
use crate::http::strict::{Strict, refusal, text_of};

/// A dataset's name, letters.
const NAME: Text = Text::upto(200);

/// Free text; the bound is the engine's, which counts bytes.
const FREE: Text = Text::upto(TEXT_BYTES_MAX / 4).or_blank();

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
    let files = with_files.then_some(Files {
        snapshot,
        dataset,
        fault: &fault,
    });
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
    let map = AllMetadata {
        snapshot,
        dataset,
        fault: &fault,
    };
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
#[derive(Serialize)]
struct Shape<'a> {
    pk: u64,
    name: &'a str,
    version: u64,
    previous_version: PreviousVersion,
    description: &'a str,
    project: u64,
    licence: u64,
    is_public: bool,
    /// Kind of a domain dataset; these here are core datasets.
    domain: (),
    tags: &'a str,
    creator: Option<u64>,
    creation_time: Time,
    deletion_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// The fields of a dataset in a body, none of them granted.
#[derive(Debug)]
pub(crate) struct DatasetBody {
    patch: DatasetPatch,
    /// The project that the body names.
    pub(crate) project: Option<Project>,
}

impl DatasetBody {
    /// Reads the body of create, update (all needed) or partial update (none).
    ///
    /// A project must be there and not deleted, unless it is the one that the dataset is in.
    pub(crate) fn read(
        mut fields: Fields,
        snapshot: &Snapshot,
        need: Need,
        current: Option<ProjectId>,
    ) -> Result<Self, ApiError> {
        let name = fields.text("name", need, NAME);
        let description = fields.text("description", Need::Optional, FREE);
        let project = match fields.pk("project", need).map(ProjectId) {
            None => None,
            Some(pk) => {
                let project = snapshot.project(pk)?.filter(|project| {
                    project.deletion_time.is_none() || current == Some(project.id)
                });
                if project.is_none() {
                    fields.refuse("project", no_object(pk));
                }
                project
            }
        };
        let licence = fields.pk("licence", need).map(LicenceId);
        if let Some(licence) = licence
            && snapshot.licence(licence)?.is_none()
        {
            fields.refuse("licence", no_object(licence));
        }
        let tags = fields.text("tags", need, FREE);
        let is_public = fields.boolean("is_public", Need::Optional);
        fields.check()?;
        let patch = DatasetPatch {
            name,
            description,
            project: project.as_ref().map(|project| project.id),
            licence,
            tags,
            is_public,
        };
        Ok(Self { patch, project })
    }

    /// The change of a dataset.
    pub(crate) fn patch(self) -> DatasetPatch {
        self.patch
    }

    /// A new dataset; `None` if the body was not read as one that needs all fields.
    pub(crate) fn dataset(self, creator: Option<UserId>) -> Option<NewDataset> {
        let patch = self.patch;
        Some(NewDataset {
            name: patch.name?,
            description: patch.description.unwrap_or_default(),
            project: patch.project?,
            licence: patch.licence?,
            tags: patch.tags?,
            is_public: patch.is_public.unwrap_or(false),
            creator,
        })
    }
}

/// Reads the body of a merge.
pub(crate) fn read_merge(body: Value) -> Result<SourceAfterMerge, ApiError> {
    let mut body = Strict::of(body)?;
    let delete = body.boolean("delete")?;
    let hard = body.boolean("hard")?.unwrap_or(false);
    body.check()?;
    match (delete, hard) {
        (None, _) => Err(refusal("'delete' is required")),
        (Some(false), _) => Ok(SourceAfterMerge::Keep),
        (Some(true), false) => Ok(SourceAfterMerge::Destroy),
        (Some(true), true) => Ok(SourceAfterMerge::HardDelete),
    }
}

/// What a copy is to be.
#[derive(Debug)]
pub(crate) struct CopyBody {
    pub(crate) new_name: Option<String>,
    pub(crate) only_files: Option<Vec<String>>,
}

impl CopyBody {
    /// Reads a body; null is as if there were nothing.
    pub(crate) fn read(body: Value) -> Result<Self, ApiError> {
        let mut body = Strict::of(body)?;
        let new_name = body.take("new_name").filter(|value| !value.is_null());
        let only_files = body.take("only_files").filter(|value| !value.is_null());
        if let Some(parameters) = body.left_over() {
            return Err(ApiError::unknown_parameters(&parameters));
        }
        Ok(Self {
            new_name: new_name.map(read_new_name).transpose()?,
            only_files: only_files.map(read_only_files).transpose()?,
        })
    }
}

fn read_new_name(value: Value) -> Result<String, ApiError> {
    let name = text_of(value, "new_name")?;
    let trimmed = name.trim();
    if trimmed.is_empty() {
        return Err(ApiError::bad_name(&name, "This field may not be blank."));
    }
    if trimmed.contains('\0') {
        return Err(ApiError::bad_name(
            &name,
            "Null characters are not allowed.",
        ));
    }
    let max = NAME.letters_max;
    if trimmed.chars().nth(max).is_some() {
        let text = format!("Ensure this field has no more than {max} characters.");
        return Err(ApiError::bad_name(&name, text));
    }
    Ok(trimmed.to_owned())
}

fn read_only_files(value: Value) -> Result<Vec<String>, ApiError> {
    let Value::Array(names) = value else {
        return Err(refusal("'only_files' must be an array of strings"));
    };
    let names = names.into_iter().map(|name| text_of(name, "only_files"));
    names.collect()
}

/// Reads the body of a download.
pub(crate) fn read_download(body: Value) -> Result<ArchiveFormat, ApiError> {
    let mut body = Strict::of(body)?;
    if let Some(params) = body.take("params") {
        let params = Strict::of(params).map_err(|_| refusal("'params' must be an object"))?;
        if !params.has_only_texts() {
            return Err(refusal("'params' must hold strings only"));
        }
        if let Some(parameters) = params.left_over() {
            return Err(ApiError::unknown_parameters(&parameters));
        }
    }
    match body.text("filetype")?.as_deref() {
        None | Some("zip") => Ok(ArchiveFormat::Zip),
        Some("tar.gz") => Ok(ArchiveFormat::TarGz),
        Some(other) => Err(ApiError::unsupported_media_type(other)),
    }
}

/// Reads the body of set metadata.
pub(crate) fn read_metadata(body: Value) -> Result<String, ApiError> {
    let mut body = Strict::of(body)?;
    let metadata = body.text("metadata")?;
    body.check()?;
    metadata.ok_or_else(|| refusal("'metadata' is required"))
}

/// A file's metadata.
#[derive(Serialize)]
pub(crate) struct Metadata<'a> {
    pub(crate) metadata: &'a str,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_takes_nothing_but_booleans() {
        let read = |body| read_merge(body).ok();
        assert_eq!(
            read(json!({"delete": false, "hard": true})),
            Some(SourceAfterMerge::Keep)
        );
        assert_eq!(
            read(json!({"delete": true})),
            Some(SourceAfterMerge::Destroy)
        );
        assert_eq!(
            read(json!({"delete": true, "hard": true})),
            Some(SourceAfterMerge::HardDelete)
        );
        for body in [
            json!({}),
            json!({"delete": 1}),
            json!({"delete": "true"}),
            json!({"delete": null}),
            json!({"delete": true, "hard": null}),
            json!({"delete": true, "more": 1}),
            json!([1]),
        ] {
            assert_eq!(read(body.clone()), None, "{body}");
        }
    }

    #[test]
    fn a_copy_refuses_what_is_no_name() {
        let name = |body| CopyBody::read(body).ok().map(|body| body.new_name);
        assert_eq!(name(json!({})), Some(None));
        assert_eq!(
            name(json!({"new_name": null, "only_files": null})),
            Some(None)
        );
        assert_eq!(
            name(json!({"new_name": "x".repeat(200)})),
            Some(Some("x".repeat(200)))
        );
        for body in [
            json!({"new_name": " "}),
            json!({"new_name": 1}),
            json!({"new_name": "a\u{0}"}),
            json!({"new_name": "x".repeat(201)}),
            json!({"only_files": "a"}),
            json!({"only_files": ["a", 1]}),
            json!({"creator": 1}),
        ] {
            assert_eq!(name(body.clone()), None, "{body}");
        }
    }

    #[test]
    fn a_download_knows_two_kinds() {
        let read = |body| read_download(body).ok();
        assert_eq!(
            read(json!({"params": {}, "more": 1})),
            Some(ArchiveFormat::Zip)
        );
        assert_eq!(
            read(json!({"filetype": "tar.gz"})),
            Some(ArchiveFormat::TarGz)
        );
        for body in [
            json!({"filetype": "rar"}),
            json!({"filetype": 1}),
            json!({"params": {"foo": "bar"}}),
            json!({"params": {"foo": 1}}),
            json!({"params": []}),
            json!(null),
        ] {
            assert_eq!(read(body.clone()), None, "{body}");
        }
    }
}
