//! The parameters that operations share: parts of paths, `Node-Id`, and parameters of the query.

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat};
use utoipa::openapi::{ComponentsBuilder, Object, Ref, RefOr, Required, Type};

use crate::http::limits::{LISTED_FILES_MAX, PAGE_ROWS_MAX};

/// Parts of paths: the name in the path, its type, what it means, an example.
const PARTS: [(&str, Type, &str, &str); 7] = [
    ("pk", Type::Integer, "A primary key: digits. Anything else names nothing.", "1"),
    ("other", Type::Integer, "The primary key of the source dataset.", "2"),
    (
        "filename",
        Type::String,
        "The name of a file, percent-encoded once. Slashes may stand as they are.",
        "images/cat.png",
    ),
    ("username", Type::String, "The name of a user, percent-encoded once.", "admin"),
    (
        "user",
        Type::String,
        "The primary key of a user: digits. To show one, the name will do, percent-encoded once.",
        "1",
    ),
    (
        "handle",
        Type::String,
        "The handle of a content: its BLAKE3 digest in lower-case hexadecimal digits.",
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    ),
    ("asset", Type::String, "The name of a script or style sheet.", "start.js"),
];

/// The name of `Node-Id` among the components.
const NODE_ID: &str = "NodeId";

/// References to the parameters that a path names, in the path's order.
pub(crate) fn of_path(path: &str) -> Vec<RefOr<Parameter>> {
    let parts = path.split('{').skip(1).filter_map(|part| part.split('}').next());
    parts.map(refer).collect()
}

/// A reference to the parameter that every operation of the API has.
pub(crate) fn node_id() -> RefOr<Parameter> {
    refer(NODE_ID)
}

fn refer(name: &str) -> RefOr<Parameter> {
    RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")))
}

/// Puts all shared parameters among the components.
pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    let components =
        PARTS.into_iter().fold(components, |components, (name, kind, says, example)| {
            let part = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some(says))
                .schema(Some(schema_of_part(kind, example)))
                .build();
            components.parameter(name, part)
        });
    let says = "The primary key of the node that the request comes from. With a login it counts as \
                that node's, which may do more than its user alone; a node that is not there is \
                refused with 400.";
    let node = ParameterBuilder::new()
        .name("Node-Id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(says))
        .schema(Some(Object::with_type(Type::Integer)))
        .build();
    components.parameter(NODE_ID, node)
}

fn schema_of_part(kind: Type, example: &str) -> Object {
    let is_number = kind == Type::Integer;
    let part = ObjectBuilder::new().schema_type(kind);
    if is_number {
        let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
        let number: Option<u64> = example.parse().ok();
        part.format(Some(format)).minimum(Some(1)).examples(number).build()
    } else {
        part.min_length(Some(1)).examples([example]).build()
    }
}

/// `?files=false` of answers that hold a dataset.
pub(crate) struct ShowFiles;

impl IntoParams for ShowFiles {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::Boolean).default(Some(true.into()));
        vec![in_query("files", "`false` leaves the map of files out.", schema.build())]
    }
}

/// Pages of lists.
pub(crate) struct Page;

impl IntoParams for Page {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let after = "The place behind which the page begins, from the `Link` of the page before \
                     it. Goes with `limit`.";
        vec![
            in_query("limit", "Rows at most; without it the list is whole.", limit(PAGE_ROWS_MAX)),
            in_query("after", after, text("").build()),
        ]
    }
}

/// Pages of files.
pub(crate) struct PageOfFiles;

impl IntoParams for PageOfFiles {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let prefix = "The text that the names begin with.";
        vec![
            in_query("prefix", prefix, text("images/").build()),
            in_query("limit", "Files at most.", limit(LISTED_FILES_MAX)),
            in_query("after", "The name behind which the page begins.", text("images/").build()),
        ]
    }
}

/// `?from=` of what is sent from a byte on.
pub(crate) struct From;

impl IntoParams for From {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        let number = number.default(Some(0.into())).build();
        vec![in_query("from", "The first byte that is wanted.", number)]
    }
}

/// `?metadata=true` of listings of files.
pub(crate) struct WithMetadata;

impl IntoParams for WithMetadata {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::Boolean).default(Some(false.into()));
        vec![in_query("metadata", "`true` adds the metadata of each file.", schema.build())]
    }
}

fn limit(max: usize) -> Object {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    number.maximum(Some(max)).examples([100]).build()
}

fn text(example: &str) -> ObjectBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String);
    if example.is_empty() { text } else { text.examples([example]) }
}

/// `?content_type=guess` of contents.
pub(crate) struct GuessType;

impl IntoParams for GuessType {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let says = "`guess` guesses the type of the content from the name; without it the type is \
                    `application/data`.";
        let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["guess"]));
        vec![in_query("content_type", says, schema.build())]
    }
}

/// `?compression=` of archives that are zips.
pub(crate) struct Compression;

impl IntoParams for Compression {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let says =
            "`deflate` compresses a zip on its way; it has then neither a length nor ranges.";
        let names = ["store", "deflate"];
        let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
        vec![in_query("compression", says, schema.default(Some("store".into())).build())]
    }
}

/// The headers by which a content is had in part, or not again.
pub(crate) struct Conditions;

impl IntoParams for Conditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            in_header("Range", "One range of bytes; several are as if none.", "bytes=0-99"),
            in_header("If-None-Match", "Tags of contents that the client has.", "\"af1349b9\""),
            in_header("If-Range", "The tag of the content that the range is of.", "\"af1349b9\""),
        ]
    }
}

/// The same for archives, which may be another archive since.
pub(crate) struct ArchiveConditions;

impl IntoParams for ArchiveConditions {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let says = "Tags of archives of which one must be the present one.";
        let mut conditions = Conditions::into_params(place);
        conditions.push(in_header("If-Match", says, "\"af1349b9\""));
        conditions
    }
}

fn in_header(name: &str, says: &str, example: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).examples([example]);
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(says))
        .schema(Some(schema.build()))
        .build()
}

fn in_query(name: &str, says: &str, schema: Object) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(says))
        .schema(Some(schema))
        .build()
}
