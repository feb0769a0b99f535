//! The parameters that operations share: parts of paths, `Node-Id`, and parameters of the query.

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat};
use utoipa::openapi::{ComponentsBuilder, Object, Ref, RefOr, Required, Type};

/// Parts of paths: the name in the path, its type, what it means, an example.
const PARTS: [(&str, Type, &str, &str); 6] = [
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

/// The headers by which a content is had in part, or not again.
pub(crate) struct Conditions;

impl IntoParams for Conditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let header = |name: &str, says: &str, example: &str| {
            let schema = ObjectBuilder::new().schema_type(Type::String).examples([example]);
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some(says))
                .schema(Some(schema.build()))
                .build()
        };
        vec![
            header("Range", "One range of bytes; several are as if there were none.", "bytes=0-99"),
            header("If-None-Match", "Tags of contents that the client has.", "\"af1349b9\""),
            header("If-Range", "The tag of the content that the range is of.", "\"af1349b9\""),
        ]
    }
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
