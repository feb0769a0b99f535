//! Every failure that operations share: its status, what is said of it, its body, an example.

use serde_json::Value;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema, Type};

use crate::http::openapi::header;

/// A failure: its name among the components, and what is said of it.
pub(crate) struct Failure {
    pub(super) status: &'static str,
    pub(super) name: &'static str,
    says: &'static str,
    /// Names of the schemas that its body may have.
    shapes: &'static [&'static str],
    /// A header that comes with it, and what that says.
    header: Option<(&'static str, Type, &'static str)>,
    example: &'static str,
}

const DETAIL: &[&str] = &["Detail"];

pub(crate) const BAD_REQUEST: Failure = Failure {
    status: "400",
    name: "BadRequest",
    says: "The request cannot be understood or carried out: its `Node-Id` names no node, its body \
           is no JSON or not what the action takes, or a name cannot be used.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Bad Node-Id header '7': There is no such node"}"#,
};

/// What bodies with the fields of a record get.
pub(crate) const BAD_FIELDS: Failure = Failure {
    status: "400",
    name: "BadFields",
    says: "As a bad request; or fields of the body are wrong, and all of them are told at once.",
    shapes: &["FieldErrors", "Detail"],
    header: None,
    example: r#"{"name": ["This field may not be blank."], "licence": ["This field is required."]}"#,
};

/// What operations with parameters in their query get.
pub(crate) const BAD_PARAMETERS: Failure = Failure {
    status: "400",
    name: "BadParameters",
    says: "As a bad request; or a parameter of the query is wrong.",
    shapes: &["FieldErrors", "Detail"],
    header: None,
    example: r#"{"limit": ["Must be a whole number from 1 to 10000."]}"#,
};

pub(crate) const TAKEN: Failure = Failure {
    status: "400",
    name: "Taken",
    says: "As a bad request; or another one has the name by now.",
    shapes: &["FieldErrors", "Detail"],
    header: None,
    example: r#"{"name": ["team with this name already exists."]}"#,
};

pub(crate) const UNAUTHORIZED: Failure = Failure {
    status: "401",
    name: "Unauthorized",
    says: "The action needs a login and there is none, or the token or password is not a good \
           one. A bad token is refused even where none is needed.",
    shapes: &["Detail", "CodedDetail", "TokenRefusal"],
    header: Some(("WWW-Authenticate", Type::String, "Always `Bearer realm=\"api\"`.")),
    example: r#"{"detail": "Authentication credentials were not provided."}"#,
};

pub(crate) const FORBIDDEN: Failure = Failure {
    status: "403",
    name: "Forbidden",
    says: "The user is logged in and not allowed to do this.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "You do not have permission to perform this action."}"#,
};

pub(crate) const NOT_FOUND: Failure = Failure {
    status: "404",
    name: "NotFound",
    says: "There is no such thing; a primary key that is no number names nothing either.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "No Dataset matches the given query."}"#,
};

pub(crate) const NOT_ACCEPTABLE: Failure = Failure {
    status: "406",
    name: "NotAcceptable",
    says: "The answer is of none of the types in `Accept`.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Could not satisfy the request Accept header."}"#,
};

pub(crate) const TOO_SLOW: Failure = Failure {
    status: "408",
    name: "TooSlow",
    says: "The body stood still for too long.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "The request's body came too slowly."}"#,
};

pub(crate) const OVERTAKEN: Failure = Failure {
    status: "412",
    name: "PreconditionFailed",
    says: "What is there is in no state that `If-Match` names, or for a POST in one that \
           `If-None-Match` names.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "What is there now is not in the state that the request's conditions ask for; ask without them for the present one."}"#,
};

/// What files that are added without their bytes get.
pub(crate) const UNKNOWN_CONTENTS: Failure = Failure {
    status: "409",
    name: "UnknownContents",
    says: "Contents are in no dataset that the caller may read: their bytes must be sent.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "The contents of 'images/cat.png' (1 in all) are not in datasets that you may read: send their bytes. Nothing was added."}"#,
};

/// What uploads get that go on elsewhere.
pub(crate) const UPLOAD_CONFLICT: Failure = Failure {
    status: "409",
    name: "UploadConflict",
    says: "The upload goes on at another byte, or another request goes on with it.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Upload-Offset is 0, and the upload goes on at 1048576."}"#,
};

/// What uploads that go on get when they begin and are too many.
pub(crate) const UNFINISHED_UPLOADS: Failure = Failure {
    status: "429",
    name: "TooManyUnfinishedUploads",
    says: "The user, or the server, has too many unfinished uploads, or they announce too many \
           bytes; finish or delete some. Nothing was begun.",
    shapes: DETAIL,
    header: Some(("Retry-After", Type::Integer, "Seconds after which to try again.")),
    example: r#"{"detail": "You have 256 unfinished uploads of 10240 bytes, and 256 of 1099511627776 bytes are allowed; finish or delete some."}"#,
};

/// What changes get that are for another state of a file.
pub(crate) const CONDITION_FAILED: Failure = Failure {
    status: "412",
    name: "ConditionFailed",
    says: "The file is not in the state that `If-Match` or `If-None-Match` asks for; nothing was \
           changed.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "'images/cat.png' is not in the state that If-Match or If-None-Match asks for; nothing was changed. Look at what is there now."}"#,
};

pub(crate) const TOO_LARGE: Failure = Failure {
    status: "413",
    name: "TooLarge",
    says: "The body, or the change that it asks for, is beyond its bound.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Request body is larger than 16777216 bytes."}"#,
};

pub(crate) const UNSUPPORTED: Failure = Failure {
    status: "415",
    name: "UnsupportedMediaType",
    says: "The body, or the archive that is asked for, is of a type that is not known here.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Unsupported media type \"text/plain\" in request."}"#,
};

pub(crate) const OUTSIDE: Failure = Failure {
    status: "416",
    name: "RangeNotSatisfiable",
    says: "The range lies outside the content.",
    shapes: DETAIL,
    header: Some(("Content-Range", Type::String, "`bytes */LENGTH`.")),
    example: r#"{"detail": "The content has 3 bytes."}"#,
};

pub(crate) const UNKNOWN_PARAMETERS: Failure = Failure {
    status: "422",
    name: "UnknownParameters",
    says: "The body has keys that mean nothing here.",
    shapes: DETAIL,
    header: None,
    example: r#"{"detail": "Unknown parameters: foo=bar"}"#,
};

pub(crate) const FAILED_LOGINS: Failure = Failure {
    status: "429",
    name: "TooManyFailedLogins",
    says: "Too many logins failed, of this user name or from this address; the password was not \
           looked at.",
    shapes: DETAIL,
    header: Some(("Retry-After", Type::Integer, "Seconds after which to try again.")),
    example: r#"{"detail": "Too many logins failed; try again in 30 s."}"#,
};

pub(crate) const FAULT: Failure = Failure {
    status: "500",
    name: "Fault",
    says: "A fault of the server; its log has the id.",
    shapes: &["Fault"],
    header: None,
    example: r#"{"detail": "Internal server error.", "id": "6f0c1b6d2a9e4f35"}"#,
};

pub(crate) const UNAVAILABLE: Failure = Failure {
    status: "503",
    name: "Unavailable",
    says: "Too much is under way, or the store takes no changes; if a change was asked for, it \
           was not made, unless the text says that its outcome is unknown.",
    shapes: &["Fault"],
    header: Some(("Retry-After", Type::Integer, "Seconds after which to try again.")),
    example: r#"{"detail": "Too many requests of this kind are under way.", "id": "6f0c1b6d2a9e4f35"}"#,
};

pub(crate) const FULL: Failure = Failure {
    status: "507",
    name: "OutOfSpace",
    says: "The disk is full, or the team's quota; reads and deletes go on.",
    shapes: &["Fault"],
    header: None,
    example: r#"{"detail": "There is no space left on the disk of the data directory: remove files or datasets for good, or enlarge it.", "id": "6f0c1b6d2a9e4f35"}"#,
};

pub(crate) const ALL: [Failure; 22] = [
    BAD_REQUEST,
    BAD_FIELDS,
    BAD_PARAMETERS,
    TAKEN,
    UNAUTHORIZED,
    FORBIDDEN,
    NOT_FOUND,
    NOT_ACCEPTABLE,
    TOO_SLOW,
    OVERTAKEN,
    UNKNOWN_CONTENTS,
    UPLOAD_CONFLICT,
    UNFINISHED_UPLOADS,
    CONDITION_FAILED,
    TOO_LARGE,
    UNSUPPORTED,
    OUTSIDE,
    UNKNOWN_PARAMETERS,
    FAILED_LOGINS,
    FAULT,
    UNAVAILABLE,
    FULL,
];

impl Failure {
    /// The failure as the document has it.
    pub(super) fn response(&self) -> Response {
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

    fn schema(&self) -> RefOr<Schema> {
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
}
