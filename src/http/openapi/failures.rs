//! The failures that operations share: each is described once, and sets of them are what the
//! descriptions of handlers name in their `responses`.
//!
//! [`every`] holds of every operation of the API and is added by the builder of the routes.

mod table;

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{ComponentsBuilder, Ref, RefOr, Response};

use crate::http::error::{CodedDetail, Detail, Fault, FieldErrors, TokenMessage, TokenRefusal};

use table::{
    ALL, BAD_FIELDS, BAD_PARAMETERS, BAD_REQUEST, CONDITION_FAILED, FAILED_LOGINS, FAULT,
    FORBIDDEN, FULL, NOT_FOUND, TAKEN, TOO_LARGE, TOO_SLOW, UNAUTHORIZED, UNAVAILABLE,
    UNFINISHED_UPLOADS, UNKNOWN_CONTENTS, UNKNOWN_PARAMETERS, UNSUPPORTED, UPLOAD_CONFLICT,
};
pub(crate) use table::{Failure, NOT_ACCEPTABLE, OUTSIDE, OVERTAKEN};

/// Answers by their status.
pub(crate) type Responses = BTreeMap<String, RefOr<Response>>;

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

/// What every operation with parameters in its query may answer.
pub(crate) fn of_query() -> Responses {
    set(&[BAD_PARAMETERS])
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

/// Of things whose name may be another's when they come back.
pub(crate) struct Taken;

impl IntoResponses for Taken {
    fn responses() -> Responses {
        set(&[TAKEN])
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

/// Of logins.
pub(crate) struct Throttled;

impl IntoResponses for Throttled {
    fn responses() -> Responses {
        set(&[FAILED_LOGINS])
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

/// Of changes that ask for a state of what they change.
pub(crate) struct Conditional;

impl IntoResponses for Conditional {
    fn responses() -> Responses {
        set(&[CONDITION_FAILED])
    }
}

/// Of reads that ask for what is there only as it was.
pub(crate) struct Overtaken;

impl IntoResponses for Overtaken {
    fn responses() -> Responses {
        set(&[OVERTAKEN])
    }
}

/// Of files that are added without their bytes.
pub(crate) struct UnknownContents;

impl IntoResponses for UnknownContents {
    fn responses() -> Responses {
        set(&[UNKNOWN_CONTENTS])
    }
}

/// Of uploads that go on where they stopped.
pub(crate) struct UploadConflict;

impl IntoResponses for UploadConflict {
    fn responses() -> Responses {
        set(&[UPLOAD_CONFLICT, UNSUPPORTED])
    }
}

/// Of uploads that begin, and go on later.
pub(crate) struct UnfinishedUploads;

impl IntoResponses for UnfinishedUploads {
    fn responses() -> Responses {
        set(&[UNFINISHED_UPLOADS])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_fields_is_known_by_its_failures() {
        assert!(reads_fields(&FieldsBody::responses()));
        assert!(!reads_fields(&every()));
        assert!(!reads_fields(&JsonBody::responses()));
    }
}
