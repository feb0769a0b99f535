//! The failures that operations share: each is described once, and sets of them are what the
//! descriptions of handlers name in their `responses`.
//!
//! [`every`] holds of every operation of the API and is added by the builder of the routes.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, Header, Object, Ref, RefOr, Response, ResponseBuilder, Type,
};

use crate::http::error::{CodedDetail, Detail, Fault, FieldErrors, TokenMessage, TokenRefusal};

/// A failure: its name among the components, and what is said of it.
pub(super) struct Failure {
    status: &'static str,
    name: &'static str,
    says: &'static str,
    /// Names of the schemas that its body may have.
    shapes: &'static [&'static str],
    /// A header that comes with it, and what that says.
    header: Option<(&'static str, Type, &'static str)>,
    example: &'static str,
}

const DETAIL: &[&str] = &["Detail"];

const BAD_REQUEST: Failure = Failure {
    status: "400",
    name: "BadRequest",
    says: "The request cannot be understood or carried out: its `Node-Id` names no node, its body \
           is no JSON or not what the action takes, or a name cannot be used.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Bad Node-Id header '7': There is no such node"}"#,
};

/// What bodies with the fields of a record get.
const BAD_FIELDS: Failure = Failure {
    status: "400",
    name: "BadFields",
    says: "As a bad request; or fields of the body are wrong, and all of them are told at once.",
    shapes: &["FieldErrors", "Detail"],
    header: None,
    example: r#"{"name": ["This field may not be blank."], "licence": ["This field is required."]}"#,
};

const UNAUTHORIZED: Failure = Failure {
    status: "401",
    name: "Unauthorized",
    says: "The action needs a login and there is none, or the token or password is not a good \
           one. A bad token is refused even where none is needed.",
    shapes: &["Detail", "CodedDetail", "TokenRefusal"],
    header: Some(("WWW-Authenticate", Type::String, "Always `Bearer realm=\"api\"`.")),
    example: r#"{"detail": "Authentication credentials were not provided."}"#,
};

const FORBIDDEN: Failure = Failure {
    status: "403",
    name: "Forbidden",
    says: "The user is logged in and not allowed to do this.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "You do not have permission to perform this action."}"#,
};

const NOT_FOUND: Failure = Failure {
    status: "404",
    name: "NotFound",
    says: "There is no such thing; a primary key that is no number names nothing either.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "No Dataset matches the given query."}"#,
};

const NOT_ACCEPTABLE: Failure = Failure {
    status: "406",
    name: "NotAcceptable",
    says: "The answer is of none of the types in `Accept`.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Could not satisfy the request Accept header."}"#,
};

const TOO_SLOW: Failure = Failure {
    status: "408",
    name: "TooSlow",
    says: "The body stood still for too long.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "The request's body came too slowly."}"#,
};

const TOO_LARGE: Failure = Failure {
    status: "413",
    name: "TooLarge",
    says: "The body, or the change that it asks for, is beyond its bound.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Request body is larger than 16777216 bytes."}"#,
};

const UNSUPPORTED: Failure = Failure {
    status: "415",
    name: "UnsupportedMediaType",
    says: "The body, or the archive that is asked for, is of a type that is not known here.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Unsupported media type \"text/plain\" in request."}"#,
};

pub(super) const OUTSIDE: Failure = Failure {
    status: "416",
    name: "RangeNotSatisfiable",
    says: "The range lies outside the content.",
    shapes: DETAIL,
    header: Some(("Content-Range", Type::String, "`bytes */LENGTH`.")),
    example: r#"{"detail": "The content has 3 bytes."}"#,
};

const UNKNOWN_PARAMETERS: Failure = Failure {
    status: "422",
    name: "UnknownParameters",
    says: "The body has keys that mean nothing here.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Unknown parameters: foo=bar"}"#,
};

const FAULT: Failure = Failure {
    status: "500",
    name: "Fault",
    says: "A fault of the server; its log has the id.",
    shapes: &["Fault"],
    header: None,
    example: r#"{"detail": "Internal server error.", "id": "6f0c1b6d2a9e4f35"}"#,
};

const UNAVAILABLE: Failure = Failure {
    status: "503",
    name: "Unavailable",
    says: "Too much is under way, or the store takes no changes; if a change was asked for, it \
           was not made, unless the text says that its outcome is unknown.",
    shapes: DETAIL,
    header: Some(("Retry-After", Type::Integer, "Seconds after which to try again.")),
    example: r#"{"detail": "Too many requests of this kind are under way."}"#,
};

const FULL: Failure = Failure {
    status: "507",
    name: "OutOfSpace",
    says: "The disk is full; reads and deletes go on.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "The disk is full."}"#,
};

const ALL: [Failure; 14] = [
    BAD_REQUEST,
    BAD_FIELDS,
    UNAUTHORIZED,
    FORBIDDEN,
    NOT_FOUND,
    NOT_ACCEPTABLE,
    TOO_SLOW,
    TOO_LARGE,
    UNSUPPORTED,
    OUTSIDE,
    UNKNOWN_PARAMETERS,
    FAULT,
    UNAVAILABLE,
    FULL,
];

pub(super) type Responses = BTreeMap<String, RefOr<Response>>;

pub(super) fn set(failures: &[Failure]) -> Responses {
    let refer = |failure: &Failure| {
        (failure.status.to_owned(), Ref::from_response_name(failure.name).into())
    };
    failures.iter().map(refer).collect()
}

/// What every operation of the API may answer.
pub(crate) fn every() -> Responses {
    set(&[BAD_REQUEST, UNAUTHORIZED, FAULT, UNAVAILABLE])
}

/// Whether an operation reads the fields of a record, as told by its failures.
pub(crate) fn reads_fields(responses: &Responses) -> bool {
    let wanted = Ref::from_response_name(BAD_FIELDS.name);
    matches!(responses.get(BAD_FIELDS.status), Some(RefOr::Ref(told)) if *told == wanted)
}

/// Of actions for some only.
pub(crate) struct Restricted;

impl IntoResponses for Restricted {
    fn responses() -> Responses {
        set(&[FORBIDDEN])
    }
}

/// Of actions for some only, on a thing that the path names.
pub(crate) struct Guarded;

impl IntoResponses for Guarded {
    fn responses() -> Responses {
        set(&[FORBIDDEN, NOT_FOUND])
    }
}

/// Of things that may not be there.
pub(crate) struct Missing;

impl IntoResponses for Missing {
    fn responses() -> Responses {
        set(&[NOT_FOUND])
    }
}

/// Of changes that make the store grow.
pub(crate) struct Growing;

impl IntoResponses for Growing {
    fn responses() -> Responses {
        set(&[TOO_LARGE, FULL])
    }
}

/// Of actions that read a JSON body.
pub(crate) struct JsonBody;

impl IntoResponses for JsonBody {
    fn responses() -> Responses {
        set(&[TOO_SLOW, TOO_LARGE, UNSUPPORTED])
    }
}

/// Of actions that read the fields of a record, as JSON or from a form.
pub(crate) struct FieldsBody;

impl IntoResponses for FieldsBody {
    fn responses() -> Responses {
        set(&[BAD_FIELDS, TOO_SLOW, TOO_LARGE, UNSUPPORTED])
    }
}

/// Of actions that take contents.
pub(crate) struct ContentBody;

impl IntoResponses for ContentBody {
    fn responses() -> Responses {
        set(&[TOO_SLOW, TOO_LARGE, FULL])
    }
}

/// Of actions that refuse keys they do not know in their own way.
pub(crate) struct KnownParameters;

impl IntoResponses for KnownParameters {
    fn responses() -> Responses {
        set(&[UNKNOWN_PARAMETERS])
    }
}

/// Of archives, which are no JSON.
pub(crate) struct NoJson;

impl IntoResponses for NoJson {
    fn responses() -> Responses {
        set(&[NOT_ACCEPTABLE])
    }
}

/// Puts all failures and their shapes among the components.
pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    let components = components
        .schema_from::<Detail>()
        .schema_from::<CodedDetail>()
        .schema_from::<TokenRefusal>()
        .schema_from::<TokenMessage>()
        .schema_from::<FieldErrors>()
        .schema_from::<Fault>();
    ALL.iter().fold(components, |components, failure| {
        components.response(failure.name, failure.response())
    })
}

impl Failure {
    fn response(&self) -> Response {
        let content = ContentBuilder::new()
            .schema(Some(self.schema()))
            // The text is a constant; that it is JSON is tested.
            .example(serde_json::from_str::<Value>(self.example).ok())
            .build();
        let response =
            ResponseBuilder::new().description(self.says).content("application/json", content);
        match self.header.clone() {
            None => response.build(),
            Some((name, kind, says)) => response.header(name, header(kind, says)).build(),
        }
    }

    fn schema(&self) -> RefOr<utoipa::openapi::Schema> {
        match self.shapes {
            [shape] => Ref::from_schema_name(*shape).into(),
            shapes => {
                let any = AnyOfBuilder::new();
                let any =
                    shapes.iter().fold(any, |any, shape| any.item(Ref::from_schema_name(*shape)));
                RefOr::T(any.into())
            }
        }
    }
}

/// A header of an answer.
pub(super) fn header(kind: Type, says: &str) -> Header {
    HeaderBuilder::new().schema(Some(Object::with_type(kind))).description(Some(says)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_json() {
        for failure in ALL {
            let example: Value = serde_json::from_str(failure.example).unwrap();
            assert!(example.is_object(), "{}", failure.name);
        }
    }

    #[test]
    fn a_body_of_fields_is_known_by_its_failures() {
        assert!(reads_fields(&FieldsBody::responses()));
        assert!(!reads_fields(&every()));
        assert!(!reads_fields(&JsonBody::responses()));
    }
}
