//! `ApiError`: the one place where a failure becomes a status, a body and headers.
//!
//! The matches over the engine's errors have no wildcard, so that a new variant does not compile
//! until it has a status. Server faults answer with a fixed body and an id, and are logged here,
//! once, with their chain of causes; nothing else of them leaves the server.

use std::error::Error;
use std::fmt::Write as _;

use axum::http::header::{CONTENT_RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use granary_engine::{IntakeError, MutationError, ReadError, UniqueRule};
use serde_json::{Value, json};

use crate::auth::{PasswordError, TokenFault};
use crate::permission::Denied;

/// Seconds after which a refused request is worth another try.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a request was not answered with what it asked for.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Answer>);

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Value,
    header: Option<(HeaderName, HeaderValue)>,
    /// What the log gets of a server's fault.
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    fn new(status: StatusCode, body: Value) -> Self {
        let header = (status == StatusCode::UNAUTHORIZED).then_some((
            WWW_AUTHENTICATE,
            HeaderValue::from_static(r#"Bearer realm="api""#),
        ));
        Self(Box::new(Answer {
            status,
            body,
            header,
            cause: None,
        }))
    }

    fn detail(status: StatusCode, text: impl Into<String>) -> Self {
        Self::new(status, json!({ "detail": text.into() }))
    }

    fn coded(text: &str, code: &str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            json!({ "detail": text, "code": code }),
        )
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// 401: the action needs a login.
    pub(crate) fn not_logged_in() -> Self {
        Self::detail(
            StatusCode::UNAUTHORIZED,
            "Authentication credentials were not provided.",
        )
    }

    /// 401: the `Authorization` header is no pair of a scheme and a token.
    pub(crate) fn bad_authorization_header() -> Self {
        Self::coded(
            "Authorization header must contain two space-delimited values",
            "bad_authorization_header",
        )
    }

    /// 401: the access token of a request is not one.
    pub(crate) fn bad_access_token(fault: TokenFault) -> Self {
        let body = json!({
            "detail": "Given token not valid for any token type",
            "code": "token_not_valid",
            "messages": [{
                "token_class": "AccessToken",
                "token_type": "access",
                "message": match fault {
                    TokenFault::Invalid => "Token is invalid",
                    TokenFault::Expired => "Token is expired",
                    TokenFault::WrongKind => "Token has wrong type",
                },
            }],
        });
        Self::new(StatusCode::UNAUTHORIZED, body)
    }

    /// 401: the token that is to be refreshed or verified is not one.
    pub(crate) fn bad_token(fault: TokenFault) -> Self {
        let text = match fault {
            TokenFault::Invalid | TokenFault::Expired => "Token is invalid",
            TokenFault::WrongKind => "Token has wrong type",
        };
        Self::coded(text, "token_not_valid")
    }

    /// 401: a good token of somebody who is not there.
    pub(crate) fn unknown_user() -> Self {
        Self::coded("User not found", "user_not_found")
    }

    /// 401: a good token of somebody who was deactivated.
    pub(crate) fn inactive_user() -> Self {
        Self::coded("User is inactive", "user_inactive")
    }

    /// 401: no login for this name and password, whichever of them is wrong.
    pub(crate) fn no_active_account() -> Self {
        Self::detail(
            StatusCode::UNAUTHORIZED,
            "No active account found with the given credentials",
        )
    }

    /// 400: the `Node-Id` header names no node.
    pub(crate) fn bad_node_id(text: &str, reason: &str) -> Self {
        Self::bad_request(format!("Bad Node-Id header '{text}': {reason}"))
    }

    /// 403: logged in, and not allowed.
    pub(crate) fn forbidden() -> Self {
        Self::detail(
            StatusCode::FORBIDDEN,
            "You do not have permission to perform this action.",
        )
    }

    /// 404: there is no such record.
    pub(crate) fn no_record(kind: &str) -> Self {
        Self::detail(
            StatusCode::NOT_FOUND,
            format!("No {kind} matches the given query."),
        )
    }

    /// 404: the dataset has no file of this name.
    pub(crate) fn no_file(name: &str) -> Self {
        Self::detail(
            StatusCode::NOT_FOUND,
            format!("Bad name '{name}': Doesn't exist"),
        )
    }

    /// 404: nothing is served at this path.
    pub(crate) fn no_route() -> Self {
        Self::detail(StatusCode::NOT_FOUND, "Not found.")
    }

    /// 405; the router adds `Allow`.
    pub(crate) fn method_not_allowed(method: &Method) -> Self {
        Self::detail(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("Method \"{method}\" not allowed."),
        )
    }

    /// 400 with a text.
    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::detail(StatusCode::BAD_REQUEST, text)
    }

    /// 400: a name that cannot be used.
    pub(crate) fn bad_name(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("Bad name '{name}': {reason}"))
    }

    /// 400: fields and what is wrong with each.
    pub(crate) fn fields(wrong: Vec<(&'static str, Vec<String>)>) -> Self {
        let fields = wrong
            .into_iter()
            .map(|(field, texts)| (field.to_owned(), Value::from(texts)));
        Self::new(StatusCode::BAD_REQUEST, Value::Object(fields.collect()))
    }

    /// 400: one field and what is wrong with it.
    fn field(field: &'static str, text: impl Into<String>) -> Self {
        Self::fields(vec![(field, vec![text.into()])])
    }

    /// 400: a primary key in a body that names nothing.
    fn no_object(field: &'static str, pk: impl std::fmt::Display) -> Self {
        Self::field(field, super::fields::no_object(pk))
    }

    /// 422: keys of a body that mean nothing.
    pub(crate) fn unknown_parameters(parameters: &str) -> Self {
        Self::detail(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("Unknown parameters: {parameters}"),
        )
    }

    /// 415: a body of a type that is not understood here.
    pub(crate) fn unsupported_media_type(content_type: &str) -> Self {
        Self::detail(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Unsupported media type \"{content_type}\" in request."),
        )
    }

    /// 406: the answer is of none of the types that the client takes.
    pub(crate) fn not_acceptable() -> Self {
        Self::detail(
            StatusCode::NOT_ACCEPTABLE,
            "Could not satisfy the request Accept header.",
        )
    }

    /// 413: a body beyond its bound.
    pub(crate) fn body_too_large(limit: usize) -> Self {
        Self::detail(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Request body is larger than {limit} bytes."),
        )
    }

    /// 416: a range that lies outside the content.
    pub(crate) fn range_not_satisfiable(length: u64) -> Self {
        let error = Self::detail(
            StatusCode::RANGE_NOT_SATISFIABLE,
            format!("The content has {length} bytes."),
        );
        match HeaderValue::try_from(format!("bytes */{length}")) {
            Ok(value) => error.with_header(CONTENT_RANGE, value),
            Err(_) => error,
        }
    }

    /// 503: nothing was done, or its outcome is unknown; another try makes sense.
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::detail(StatusCode::SERVICE_UNAVAILABLE, text)
            .with_header(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// 500: our fault; the cause goes to the log only.
    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let mut error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, Value::Null);
        error.0.cause = Some(cause.into());
        error
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Answer {
            status,
            mut body,
            header,
            cause,
        } = *self.0;
        if let Some(cause) = cause {
            body = fault_body(&*cause);
        }
        let mut response = (status, axum::Json(body)).into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Logs a fault of the server; its body has an id by which the log line can be found.
fn fault_body(cause: &(dyn Error + 'static)) -> Value {
    let mut id = [0; 8];
    // Without randomness the id is zeros: the answer matters more than its uniqueness.
    getrandom::fill(&mut id).unwrap_or_default();
    let id = format!("{:016x}", u64::from_ne_bytes(id));
    let mut chain = cause.to_string();
    let mut next = cause.source();
    while let Some(source) = next {
        // Writing to a string cannot fail.
        write!(chain, ": {source}").unwrap_or_default();
        next = source.source();
    }
    tracing::error!(%id, error = %chain, "request failed");
    json!({ "detail": "Internal server error.", "id": id })
}

/// The answer to a request whose handler panicked; the panic's text is in the log already.
pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text");
    ApiError::internal(format!("the handler panicked: {text}")).into_response()
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotLoggedIn => Self::not_logged_in(),
            Denied::Forbidden => Self::forbidden(),
            Denied::Unreadable(error) => error.into(),
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::unavailable("Too many logins are under way."),
            PasswordError::Hashing { .. } => Self::internal(error),
        }
    }
}

impl From<MutationError> for ApiError {
    fn from(error: MutationError) -> Self {
        match error {
            MutationError::DatasetNotFound { .. } => Self::no_record("Dataset"),
            MutationError::UserNotFound { .. } => Self::no_record("User"),
            MutationError::FileNotFound { filename, .. } => Self::no_file(&filename),
            MutationError::BadFilename { filename, reason } => Self::bad_name(&filename, reason),
            MutationError::FilenameTaken { filename } => {
                Self::bad_name(&filename, "Filename already in use")
            }
            MutationError::FilenameIsDirectory { filename } => {
                Self::bad_name(&filename, "Filename is already a directory prefix")
            }
            MutationError::DirectoryIsFile { filename } => {
                Self::bad_name(&filename, "Directory prefix is already a filename")
            }
            MutationError::Taken { rule } => taken(rule),
            MutationError::ProjectNotFound { project } => Self::no_object("project", project),
            MutationError::LicenceNotFound { licence } => Self::no_object("licence", licence),
            MutationError::TeamNotFound { team } => Self::no_object("team", team),
            MutationError::MemberAlready { .. } => {
                Self::bad_request("User is already a member of this team")
            }
            MutationError::MergeIntoItself { .. } => {
                Self::bad_request("Cannot merge a dataset into itself")
            }
            MutationError::TooLarge { .. } => {
                Self::detail(StatusCode::PAYLOAD_TOO_LARGE, sentence(&error))
            }
            MutationError::OutOfSpace => {
                Self::detail(StatusCode::INSUFFICIENT_STORAGE, sentence(&error))
            }
            MutationError::Moved { .. }
            | MutationError::Busy { .. }
            | MutationError::ReadOnly { .. }
            | MutationError::OutcomeUnknown { .. }
            | MutationError::Stopping => Self::unavailable(sentence(&error)),
            MutationError::Read(cause) => {
                read_error(&cause).unwrap_or_else(|| Self::internal(cause))
            }
            MutationError::Panicked | MutationError::Staging { .. } => Self::internal(error),
        }
    }
}

/// The original's words for each thing that may be there only once.
fn taken(rule: UniqueRule) -> ApiError {
    match rule {
        UniqueRule::DatasetName => ApiError::bad_request(
            "UNIQUE constraint failed: dataset.name, dataset.version, dataset.project",
        ),
        UniqueRule::ProjectName => {
            ApiError::bad_request("UNIQUE constraint failed: project.name, project.team")
        }
        UniqueRule::Username => {
            ApiError::field("username", "A user with that username already exists.")
        }
        UniqueRule::TeamName => ApiError::field("name", "team with this name already exists."),
        UniqueRule::LicenceName => {
            ApiError::field("name", "licence with this name already exists.")
        }
        UniqueRule::NodeAddress => ApiError::field(
            "non_field_errors",
            "The fields ip, index must make a unique set.",
        ),
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        read_error(&error).unwrap_or_else(|| Self::internal(error))
    }
}

/// The answer to a failed read, if it is not the server's fault.
fn read_error(error: &ReadError) -> Option<ApiError> {
    match error {
        ReadError::Gone { .. } => Some(ApiError::no_route()),
        // Nothing else is read until the store is opened again (I7).
        ReadError::IndexFailed { .. } | ReadError::Busy => {
            Some(ApiError::unavailable(sentence(error)))
        }
        ReadError::Corrupt { .. } | ReadError::Io { .. } => None,
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::NotAnArchive { .. } | IntakeError::BadMember { .. } => {
                Self::bad_request(sentence(&error))
            }
            IntakeError::BadFilename { filename, reason } => Self::bad_name(&filename, reason),
            IntakeError::DuplicateFilename { filename } => {
                Self::bad_name(&filename, "Filename already in use")
            }
            IntakeError::FileAndDirectory { filename } => {
                Self::bad_name(&filename, "Filename is already a directory prefix")
            }
            IntakeError::TooLarge { .. } => {
                Self::detail(StatusCode::PAYLOAD_TOO_LARGE, sentence(&error))
            }
            IntakeError::Mutation(error) => error.into(),
        }
    }
}

/// An error's message as a sentence for people.
fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}
