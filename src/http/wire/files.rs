//! Shapes of listings of files, and of changes of many files at once.

use std::collections::BTreeMap;
use std::io::Write;

use granary_engine::{FilePage, FileSelection, ListedFile};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Handle, Time};
use crate::http::error::ApiError;
use crate::http::respond::Rows;
use crate::http::strict::{Strict, refusal, text_of};

/// A file of a listing.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedFile)]
pub(crate) struct Listed<'a> {
    #[schema(examples("images/cat.png"))]
    filename: &'a str,
    handle: Handle,
    /// Bytes.
    #[schema(examples(48213))]
    size: u64,
    creation_time: Time,
    /// Only there if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    metadata: Option<&'a str>,
}

impl<'a> From<&'a ListedFile> for Listed<'a> {
    fn from(file: &'a ListedFile) -> Self {
        Self {
            filename: &file.name,
            handle: Handle(file.record.digest),
            size: file.record.length,
            creation_time: Time(file.record.creation_time),
            metadata: file.metadata.as_deref(),
        }
    }
}

/// Writes a page of files as an array.
pub(crate) fn write_files(out: &mut dyn Write, page: &mut FilePage<'_>) -> Result<(), ApiError> {
    let mut rows = Rows::begin(out);
    for file in page {
        rows.push(&Listed::from(&file?))?;
    }
    rows.end()
}

/// Writes a page of files as a map from name to metadata.
pub(crate) fn write_metadata(out: &mut dyn Write, page: &mut FilePage<'_>) -> Result<(), ApiError> {
    let mut before = "{";
    for file in page {
        let file = file?;
        out.write_all(before.as_bytes()).map_err(ApiError::internal)?;
        before = ",";
        serde_json::to_writer(&mut *out, &file.name).map_err(ApiError::internal)?;
        out.write_all(b":").map_err(ApiError::internal)?;
        let metadata = file.metadata.unwrap_or_default();
        serde_json::to_writer(&mut *out, &metadata).map_err(ApiError::internal)?;
    }
    let end: &[u8] = if before == "{" { b"{}" } else { b"}" };
    out.write_all(end).map_err(ApiError::internal)
}

/// How many files a change was about.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Count {
    #[schema(examples(2))]
    pub(crate) count: u64,
}

/// The files that are to be deleted.
#[derive(ToSchema)]
#[schema(as = FileSelection)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `read_selection` reads")]
pub(crate) enum Selection {
    Named(Named),
    Prefixed(Prefixed),
}

/// Files by name, none of them twice.
#[derive(ToSchema)]
#[schema(as = FilesNamed, examples(json!({"names": ["images/cat.png", "notes.txt"]})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_selection` reads")]
pub(crate) struct Named {
    names: Vec<String>,
}

/// Files by the text that their names begin with.
#[derive(ToSchema)]
#[schema(as = FilesWithPrefix, examples(json!({"prefix": "images/"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_selection` reads")]
pub(crate) struct Prefixed {
    #[schema(min_length = 1)]
    prefix: String,
}

/// Reads which files are to be deleted.
pub(crate) fn read_selection(body: Value) -> Result<FileSelection, ApiError> {
    let mut body = Strict::of(body)?;
    let names = body.array("names")?;
    let prefix = body.text("prefix")?;
    body.check()?;
    match (names, prefix) {
        (Some(names), None) => {
            let names = names.into_iter().map(|name| text_of(name, "names"));
            names.collect::<Result<_, _>>().map(FileSelection::Named)
        }
        (None, Some(prefix)) if prefix.is_empty() => Err(refusal("'prefix' must not be empty")),
        (None, Some(prefix)) => Ok(FileSelection::Prefix(prefix)),
        (None, None) | (Some(_), Some(_)) => {
            Err(refusal("exactly one of 'names' and 'prefix' is expected"))
        }
    }
}

/// Metadata by name of file: any texts, kept exactly.
#[derive(ToSchema)]
#[schema(examples(json!({"metadata": {"images/cat.png": "a cat"}})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read_metadata_map` reads")]
pub(crate) struct MetadataMap {
    metadata: BTreeMap<String, String>,
}

/// Reads metadata by name of file.
pub(crate) fn read_metadata_map(body: Value) -> Result<BTreeMap<String, String>, ApiError> {
    let mut body = Strict::of(body)?;
    let metadata = body.take("metadata").ok_or_else(|| refusal("'metadata' is required"))?;
    body.check()?;
    let Value::Object(texts) = metadata else {
        return Err(refusal("'metadata' must be an object from file names to strings"));
    };
    let texts = texts.into_iter().map(|(name, text)| match text {
        Value::String(text) => Ok((name, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(refusal(&format!("the metadata of '{name}' must be a string")))
        }
    });
    texts.collect()
}

/// A file's name and the one that it is to get.
#[derive(Debug, PartialEq, Eq, ToSchema)]
#[schema(as = Rename)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenameBody {
    #[schema(examples("images/cat.png"))]
    pub(crate) from: String,
    #[schema(examples("images/tabby.png"))]
    pub(crate) to: String,
}

impl RenameBody {
    /// Reads a body.
    pub(crate) fn read(body: Value) -> Result<Self, ApiError> {
        let mut body = Strict::of(body)?;
        let (from, to) = (body.text("from")?, body.text("to")?);
        body.check()?;
        match (from, to) {
            (Some(from), Some(to)) => Ok(Self { from, to }),
            (None, _) => Err(refusal("'from' is required")),
            (_, None) => Err(refusal("'to' is required")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selection_is_one_of_two_things() {
        let read = |body| read_selection(body).ok();
        let named = FileSelection::Named(vec!["a".into(), "b/c".into()]);
        assert_eq!(read(json!({"names": ["a", "b/c"]})), Some(named));
        assert_eq!(read(json!({"names": []})), Some(FileSelection::Named(vec![])));
        assert_eq!(read(json!({"prefix": "d/"})), Some(FileSelection::Prefix("d/".into())));
        for body in [
            json!({}),
            json!({"prefix": ""}),
            json!({"prefix": null}),
            json!({"names": "a"}),
            json!({"names": [1]}),
            json!({"names": ["a"], "prefix": "a"}),
            json!({"names": ["a"], "all": true}),
            json!(["a"]),
            json!(null),
        ] {
            assert_eq!(read(body.clone()), None, "{body}");
        }
    }

    #[test]
    fn a_map_of_metadata_holds_texts_only() {
        let read = |body| read_metadata_map(body).ok();
        let map = BTreeMap::from([("a".to_owned(), " x ".to_owned())]);
        assert_eq!(read(json!({"metadata": {"a": " x "}})), Some(map));
        for body in [
            json!({}),
            json!({"metadata": "x"}),
            json!({"metadata": ["x"]}),
            json!({"metadata": {"a": null}}),
            json!({"metadata": {"a": 1}}),
            json!({"metadata": {}, "more": 1}),
            json!([]),
        ] {
            assert_eq!(read(body.clone()), None, "{body}");
        }
    }

    #[test]
    fn a_new_name_needs_both_names() {
        let read = |body| RenameBody::read(body).ok();
        let both = RenameBody { from: "a".into(), to: "b/".into() };
        assert_eq!(read(json!({"from": "a", "to": "b/"})), Some(both));
        for body in [json!({"from": "a"}), json!({"to": "a"}), json!({"from": "a", "to": 1})] {
            assert_eq!(read(body.clone()), None, "{body}");
        }
    }
}
