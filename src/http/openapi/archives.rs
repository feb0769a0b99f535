//! The answers that are an archive: whole, in part, or nothing where the client has it.

use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder, Type};
use utoipa::{IntoResponses, ToSchema as _};

use super::failures::{Failure, NOT_ACCEPTABLE, OUTSIDE, OVERTAKEN, Responses, set};
use super::header;
use crate::http::wire::Content;

/// Of `archive.zip`.
pub(crate) struct ZipArchive;

impl IntoResponses for ZipArchive {
    fn responses() -> Responses {
        let kind = "application/zip";
        responses(&[OUTSIDE], [("200", whole(kind)), ("206", part(kind)), ("304", known())])
    }
}

/// Of `archive.tar.gz`, which is made on its way and so has no parts.
pub(crate) struct TarGzArchive;

impl IntoResponses for TarGzArchive {
    fn responses() -> Responses {
        responses(&[], [("200", whole("application/gzip")), ("304", known())])
    }
}

/// Of a download, which is a POST and so never 304.
pub(crate) struct AnyArchive;

impl IntoResponses for AnyArchive {
    fn responses() -> Responses {
        let kind = "application/data";
        responses(&[OUTSIDE], [("200", whole(kind)), ("206", part(kind))])
    }
}

fn responses<const N: usize>(
    failures: &[Failure],
    answers: [(&str, ResponseBuilder); N],
) -> Responses {
    let mut responses = set(&[NOT_ACCEPTABLE, OVERTAKEN]);
    responses.extend(set(failures));
    for (status, answer) in answers {
        responses.insert(status.to_owned(), answer.build().into());
    }
    responses
}

fn whole(kind: &str) -> ResponseBuilder {
    with_content(answer("The archive."), kind)
}

fn part(kind: &str) -> ResponseBuilder {
    with_content(answer("The range of the archive that was asked for."), kind)
        .header("Content-Range", header(Type::String, "`bytes FIRST-LAST/LENGTH`."))
}

fn known() -> ResponseBuilder {
    answer("The client has the archive already.")
}

fn answer(says: &str) -> ResponseBuilder {
    let etag = "Names the archive; it begins with `W/` where the archive is compressed on its way.";
    ResponseBuilder::new().description(says).header("ETag", header(Type::String, etag))
}

fn with_content(response: ResponseBuilder, kind: &str) -> ResponseBuilder {
    let schema = Ref::from_schema_name(Content::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let length = "Bytes that are sent; not there where the archive is compressed on its way.";
    response
        .content(kind, content)
        .header("Accept-Ranges", header(Type::String, "`bytes` or `none`."))
        .header("Content-Disposition", header(Type::String, "The archive's name."))
        .header("Content-Length", header(Type::Integer, length))
}
