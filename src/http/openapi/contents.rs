//! The answers that are a file's content: whole, in part, or nothing where the client has it.

use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder, Type};
use utoipa::{IntoResponses, ToSchema as _};

use super::failures::{OUTSIDE, OVERTAKEN, Responses, set};
use super::header;
use crate::http::wire::Content;

/// Types of a content: the API's own, and any that a guess may give.
const TYPES: [&str; 2] = ["application/data", "*/*"];

/// Of actions that give a file's content.
pub(crate) struct Contents;

impl IntoResponses for Contents {
    fn responses() -> Responses {
        let digest = || header(Type::String, "If `Want-Repr-Digest` asks: the whole's digest.");
        let whole = with_content(answer("The content."))
            .header("Repr-Digest", digest())
            .header("Accept-Ranges", header(Type::String, "Always `bytes`."));
        let part = with_content(answer("The range of the content that was asked for."))
            .header("Repr-Digest", digest())
            .header("Content-Range", header(Type::String, "`bytes FIRST-LAST/LENGTH`."));
        let known = answer("The client has the content already.");
        let mut responses = set(&[OUTSIDE, OVERTAKEN]);
        for (status, response) in [("200", whole), ("206", part), ("304", known)] {
            responses.insert(status.to_owned(), response.build().into());
        }
        responses
    }
}

fn answer(says: &str) -> ResponseBuilder {
    let etag = header(Type::String, "The content's handle, in quotes.");
    ResponseBuilder::new().description(says).header("ETag", etag)
}

fn with_content(response: ResponseBuilder) -> ResponseBuilder {
    let schema = Ref::from_schema_name(Content::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    TYPES
        .iter()
        .fold(response, |response, kind| response.content(*kind, content.clone()))
        .header("Content-Length", header(Type::Integer, "Bytes that are sent."))
        .header("Content-Security-Policy", header(Type::String, "A sandbox, around a guess."))
}
