//! The parameters that operations share: parts of paths, `Node-Id`, and parameters of the query.

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat};
use utoipa::openapi::{ComponentsBuilder, Object, Ref, RefOr, Required, Type};

use crate::http::limits::{AUDIT_ENTRIES_MAX, LISTED_FILES_MAX, PAGE_ROWS_MAX};

/// Parts of paths: the name in the path, its type, what it means, an example.
const PARTS: [(&str, Type, &str, &str); 8] = [
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
    (
        "upload",
        Type::String,
        "The name of an upload, from the `Location` of the answer that began it.",
        "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
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

/// Pages and filters of the audit log.
pub(crate) struct PageOfAudit;

impl IntoParams for PageOfAudit {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let number = || {
            let number = ObjectBuilder::new().schema_type(Type::Integer);
            number.minimum(Some(1)).maximum(Some(i64::MAX)).build()
        };
        let time = || {
            let time = ObjectBuilder::new().schema_type(Type::String);
            let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
            time.format(Some(format)).examples(["2027-01-01T00:00:00Z"]).build()
        };
        let order = ObjectBuilder::new().schema_type(Type::String);
        let order = order.enum_values(Some(["newest", "oldest"])).default(Some("newest".into()));
        vec![
            in_query("limit", "Entries at most.", limit(AUDIT_ENTRIES_MAX)),
            in_query("after", "The number of the entry behind which the page begins.", number()),
            in_query("order", "Which entries come first.", order.build()),
            in_query("user", "The primary key of the user who asked.", number()),
            in_query("username", "The name that the user had.", text("ann").build()),
            in_query("action", "What was asked for.", text("files_add_file").build()),
            in_query("team", "The primary key of the team.", number()),
            in_query("dataset", "The primary key of the dataset.", number()),
            in_query("request_id", "The id of the request.", text("6f1c2a9be0d4f783").build()),
            in_query("from", "The time from which on entries are wanted.", time()),
            in_query("to", "The time before which entries are wanted.", time()),
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

/// The headers by which a content or an archive is had in part, only as it was, or not again.
pub(crate) struct Conditions;

impl IntoParams for Conditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            in_header(
                "Range",
                "One range of bytes; several, and any of HEAD, are as if none.",
                "bytes=0-99",
            ),
            in_header("If-Match", "Tags of which what is there must have one.", "\"af1349b9\""),
            in_header("If-None-Match", "Tags of what the client has.", "\"af1349b9\""),
            in_header("If-Range", "The tag of what the range is of.", "\"af1349b9\""),
        ]
    }
}

/// The headers by which what is small is had only as it was, or not again.
pub(crate) struct ReadConditions;

impl IntoParams for ReadConditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            in_header("If-Match", "Tags of which what is there must have one.", "\"af1349b9\""),
            in_header("If-None-Match", "Tags of what the client has.", "\"af1349b9\""),
        ]
    }
}

/// The headers by which a change asks for a state of what it changes.
pub(crate) struct WriteConditions;

impl IntoParams for WriteConditions {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let is = "Tags of states of which what is there must have one; `*` is any.";
        let is_not =
            "Tags of states of which what is there may have none; `*` wants nothing there.";
        vec![in_header("If-Match", is, "\"af1349b9\""), in_header("If-None-Match", is_not, "*")]
    }
}

/// The headers by which a client tells the digest of the body that it sends.
pub(crate) struct BodyDigests;

impl IntoParams for BodyDigests {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let says = "The body's digest (RFC 9530), checked before anything is stored: `sha-256`, or \
                    `blake3`, which is in no registry. Others are passed over.";
        let same = "As `Content-Digest`: no body is coded here.";
        let example = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        vec![in_header("Content-Digest", says, example), in_header("Repr-Digest", same, example)]
    }
}

/// The headers that begin an upload which goes on where it stopped.
pub(crate) struct UploadHeaders;

impl IntoParams for UploadHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let metadata = "Names, each with a value in base64, between commas: `filename`, and \
                        `replace` with `true`. Others are passed over.";
        vec![
            tus_version(),
            required(in_header("Upload-Length", "Bytes of the whole file.", "5000000000")),
            required(in_header("Upload-Metadata", metadata, "filename aW1hZ2VzL2FsbC50YXI=")),
        ]
    }
}

/// The headers that go on with such an upload.
pub(crate) struct PartHeaders;

impl IntoParams for PartHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let says = "The byte that comes next.";
        vec![tus_version(), required(in_header("Upload-Offset", says, "1048576"))]
    }
}

fn tus_version() -> Parameter {
    in_header("Tus-Resumable", "The version of tus; there is one.", "1.0.0")
}

fn required(mut parameter: Parameter) -> Parameter {
    parameter.required = Required::True;
    parameter
}

/// The digest that a whole file must have which comes in parts.
pub(crate) struct WholeDigests;

impl IntoParams for WholeDigests {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let says = "Digests of the whole file (RFC 9530), `sha-256` or `blake3`, checked when all \
                    has come.";
        let example = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        let part = "The digest of this body; if it is wrong, nothing of the body counts.";
        vec![in_header("Repr-Digest", says, example), in_header("Content-Digest", part, example)]
    }
}

/// The digest of a part.
pub(crate) struct PartDigest;

impl IntoParams for PartDigest {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let says =
            "The digest of this body (RFC 9530); if it is wrong, nothing of the body counts.";
        let example = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        vec![in_header("Content-Digest", says, example)]
    }
}

/// The headers by which a client asks for the digest of what it gets.
pub(crate) struct WantedDigests;

impl IntoParams for WantedDigests {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let says = "Asks for `Repr-Digest` (RFC 9530), the digest of the whole content, and says by \
                    numbers up to 10 which one is liked best: `blake3`, or `sha-256` of contents up \
                    to 1 MiB.";
        let sent = "The same for `Content-Digest`, of the bytes that are sent; of ranges of contents \
                    up to 1 MiB only.";
        vec![
            in_header("Want-Repr-Digest", says, "sha-256=3, blake3=10"),
            in_header("Want-Content-Digest", sent, "sha-256=10"),
        ]
    }
}

/// `?replace=true` of files that take another's place.
pub(crate) struct Replace;

impl IntoParams for Replace {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true]));
        let says = "Must be `true`.";
        let mut replace = in_query("replace", says, schema.build());
        replace.required = Required::True;
        vec![replace]
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
