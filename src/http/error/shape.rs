//! The bodies of failures: what is sent and what the OpenAPI document says of it are one type.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// The body of a failure.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Shape {
    Detail(Detail),
    Coded(CodedDetail),
    Token(TokenRefusal),
    Fields(FieldErrors),
    Fault(Fault),
}

/// What was wrong, in words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Detail {
    #[schema(examples("No Dataset matches the given query."))]
    pub(super) detail: String,
}

/// What was wrong with a login or a token, in words and as a code.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CodedDetail {
    #[schema(examples("User is inactive"))]
    pub(super) detail: String,
    #[schema(examples("user_inactive"))]
    pub(super) code: String,
}

/// The access token of a request was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenRefusal {
    #[schema(examples("Given token not valid for any token type"))]
    pub(super) detail: String,
    #[schema(examples("token_not_valid"))]
    pub(super) code: String,
    /// Every kind of token that was tried, and why it was not one: there is one kind.
    pub(super) messages: [TokenMessage; 1],
}

/// Why a token was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenMessage {
    #[schema(examples("AccessToken"))]
    pub(super) token_class: &'static str,
    #[schema(examples("access"))]
    pub(super) token_type: &'static str,
    #[schema(examples("Token is expired"))]
    pub(super) message: &'static str,
}

/// Every wrong field of a body and what is wrong with it; `non_field_errors` is the body as a whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldErrors(pub(super) BTreeMap<String, Vec<String>>);

/// A failure that is not the request's fault; the id is the request's, and stands in the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fault {
    #[schema(examples("Internal server error."))]
    pub(super) detail: Cow<'static, str>,
    #[schema(examples("6f0c1b6d2a9e4f35"), min_length = 1, max_length = 128)]
    pub(super) id: String,
}

impl Shape {
    /// What was wrong, in words.
    pub(super) fn detail(text: impl Into<String>) -> Self {
        Self::Detail(Detail { detail: text.into() })
    }
}
