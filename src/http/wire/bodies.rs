//! Bodies of the actions on datasets: a record's fields, and the strict ones.

use granary_engine::limits::TEXT_BYTES_MAX;
use granary_engine::model::{DatasetPatch, LicenceId, NewDataset, Project, ProjectId, UserId};
use granary_engine::{ArchiveFormat, Snapshot, SourceAfterMerge};
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text, no_object};
use crate::http::strict::{Strict, refusal, text_of};

/// A dataset's name, letters.
const NAME: Text = Text::upto(200);

/// Free text, description and tags.
const FREE: Text = Text::upto_bytes(TEXT_BYTES_MAX).or_blank();

/// The fields of a new or wholly changed dataset. Fields that can only be read are passed over.
#[derive(ToSchema)]
#[schema(as = DatasetFields)]
#[expect(dead_code, reason = "describes what `DatasetBody` reads field by field")]
pub(crate) struct AllFields {
    /// Blanks at both ends are cut. Name, version and project together are unique.
    #[schema(min_length = 1, max_length = 200, examples("emoji"))]
    name: String,
    /// At most 64 KiB.
    #[schema(required = false, max_length = 65536, examples("Pictures of two makers."))]
    description: String,
    /// The primary key of an active project whose team the user may write to.
    #[schema(examples(1))]
    project: u64,
    /// The primary key of a licence.
    #[schema(examples(14))]
    licence: u64,
    /// Left out, a new dataset is not public, and another one stays as it is; left out of a form, whose
    /// boxes that are not ticked are not sent, another one is not public either.
    #[schema(required = false)]
    is_public: bool,
    /// May be empty; at most 64 KiB.
    #[schema(max_length = 65536, examples("pictures,small"))]
    tags: String,
}

/// The fields of a dataset that change; what is left out stays as it is.
#[derive(ToSchema)]
#[schema(as = DatasetChange)]
#[expect(dead_code, reason = "describes what `DatasetBody` reads field by field")]
pub(crate) struct SomeFields {
    #[schema(required = false, min_length = 1, max_length = 200, examples("emoji"))]
    name: String,
    /// At most 64 KiB.
    #[schema(required = false, max_length = 65536)]
    description: String,
    /// The primary key of an active project whose team the user may write to.
    #[schema(required = false, examples(1))]
    project: u64,
    #[schema(required = false, examples(14))]
    licence: u64,
    #[schema(required = false)]
    is_public: bool,
    /// At most 64 KiB.
    #[schema(required = false, max_length = 65536)]
    tags: String,
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
        let is_public = match need {
            Need::Required => fields.tick("is_public"),
            Need::Optional => fields.optional_boolean("is_public"),
        };
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

/// What becomes of the source of a merge.
#[derive(ToSchema)]
#[schema(as = Merge)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_merge` reads")]
pub(crate) struct MergeBody {
    /// Whether the source is deleted.
    #[schema(examples(false))]
    delete: bool,
    /// Whether it is deleted for good; without `delete` this says nothing.
    #[schema(required = false, default = false)]
    hard: bool,
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
#[derive(Debug, ToSchema)]
#[schema(as = Copy, examples(json!({"new_name": "cats", "only_files": ["images/cat.png"]})))]
#[serde(deny_unknown_fields)]
pub(crate) struct CopyBody {
    /// The name of a new dataset, version 1; without it the copy is the next version of the same.
    #[schema(min_length = 1, max_length = 200, examples("emoji-small"))]
    pub(crate) new_name: Option<String>,
    /// The files to copy, all if left out; names of files that are not there are passed over.
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
        return Err(ApiError::bad_name(&name, "Null characters are not allowed."));
    }
    let max = NAME.letters_max;
    if trimmed.chars().nth(max).is_some() {
        let text = format!("Ensure this field has no more than {max} characters.");
        return Err(ApiError::bad_name(&name, text));
    }
    Ok(trimmed.to_owned())
}

fn read_only_files(value: Value) -> Result<Vec<String>, ApiError> {
    let refused = || refusal("'only_files' must be an array of strings");
    let Value::Array(names) = value else { return Err(refused()) };
    let text = |name| if let Value::String(name) = name { Ok(name) } else { Err(refused()) };
    names.into_iter().map(text).collect()
}

/// What archive is wanted. Other keys are passed over.
#[derive(ToSchema)]
#[schema(as = Download)]
#[expect(dead_code, reason = "describes what `read_download` reads")]
pub(crate) struct DownloadBody {
    #[schema(required = false, default = "zip", examples("zip"))]
    filetype: FileType,
    /// Empty: core datasets have no parameters.
    #[schema(required = false)]
    params: NoParameters,
}

/// The kinds of archives.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `read_download` reads")]
enum FileType {
    #[serde(rename = "zip")]
    Zip,
    #[serde(rename = "tar.gz")]
    TarGz,
}

/// An empty object.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

/// Reads the body of a download.
pub(crate) fn read_download(body: Value) -> Result<ArchiveFormat, ApiError> {
    let mut body = Strict::of(body)?;
    if let Some(params) = body.take("params") {
        let mut params = Strict::of(params)?;
        // The published Java client sends the arguments of a converter with every download, of
        // core datasets too, which have none to convert: an empty list asks for nothing.
        params.forget_empty_arrays();
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

/// The metadata that a file gets: any text, kept exactly.
#[derive(ToSchema)]
#[schema(as = SetMetadata)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_metadata` reads")]
pub(crate) struct MetadataBody {
    #[schema(examples("{\"label\": \"cat\"}"))]
    metadata: String,
}

/// Reads the body of set metadata.
pub(crate) fn read_metadata(body: Value) -> Result<String, ApiError> {
    let mut body = Strict::of(body)?;
    let metadata = body.text("metadata")?;
    body.check()?;
    metadata.ok_or_else(|| refusal("'metadata' is required"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_takes_nothing_but_booleans() {
        let read = |body| read_merge(body).ok();
        assert_eq!(read(json!({"delete": false, "hard": true})), Some(SourceAfterMerge::Keep));
        assert_eq!(read(json!({"delete": true})), Some(SourceAfterMerge::Destroy));
        assert_eq!(read(json!({"delete": true, "hard": true})), Some(SourceAfterMerge::HardDelete));
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
        assert_eq!(name(json!({"new_name": null, "only_files": null})), Some(None));
        assert_eq!(name(json!({"new_name": "x".repeat(200)})), Some(Some("x".repeat(200))));
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
        assert_eq!(read(json!({"params": {}, "more": 1})), Some(ArchiveFormat::Zip));
        assert_eq!(read(json!({"filetype": "tar.gz"})), Some(ArchiveFormat::TarGz));
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
