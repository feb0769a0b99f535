//! `ApiError`: the one place where a failure becomes a status, a body and headers.
//!
//! What the engine refuses is mapped in `mapping.rs`. Every answer of 500 and above has the request's
//! id. Faults of the server answer with a fixed text and are logged here, once, with their chain of
//! causes; nothing else of them leaves the server.

mod mapping;

mod shape;

use std::error::Error;
use std::fmt::Write as _;

use axum::http::header::{CONTENT_RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use granary_engine::model::{Digest, ProjectId};
use granary_engine::{MutationError, ReadError};

use super::exchange::current_id;
use super::limits::ERROR_BYTES_MAX;
use crate::auth::{TokenFault, TooManyFailures};

use shape::Shape;
pub(crate) use shape::{CodedDetail, Detail, Fault, FieldErrors, TokenMessage, TokenRefusal};

/// Seconds after which a refused request is worth another try.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// All that a client learns of a fault of the server, but for an id.
const FAULT: &str = "Internal server error.";

/// Cuts a text that repeats more of what was sent than anybody wants to read, and would be in memory for as
/// long as its reader takes.
fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub(ELLIPSIS.len_utf8())));
        text.push(ELLIPSIS);
    }
}

const ELLIPSIS: char = '…';

/// Some names, each as far as it leaves room for what is said of them.
fn quoted(names: &[String]) -> String {
    let quoted = names.iter().map(|name| {
        let mut name = name.clone();
        cut(&mut name, ERROR_BYTES_MAX / names.len().saturating_add(1).saturating_mul(2));
        format!("'{name}'")
    });
    quoted.collect::<Vec<_>>().join(", ")
}

/// Whether an error is one of a kind, or comes from one.
pub(super) fn comes_from<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    cause::<T>(error).is_some()
}

/// The error of a kind that an error is, or comes from.
pub(super) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.find_map(|error| error.downcast_ref())
}

/// Why a request was not answered with what it asked for.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Answer>);

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Shape,
    header: Option<(HeaderName, HeaderValue)>,
    /// What the log gets of a server's fault.
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    fn new(status: StatusCode, body: Shape) -> Self {
        let header = (status == StatusCode::UNAUTHORIZED)
            .then_some((WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="api""#)));
        Self(Box::new(Answer { status, body, header, cause: None }))
    }

    fn detail(status: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        cut(&mut text, ERROR_BYTES_MAX);
        Self::new(status, Shape::detail(text))
    }

    fn coded(text: &str, code: &str) -> Self {
        let body = CodedDetail { detail: text.to_owned(), code: code.to_owned() };
        Self::new(StatusCode::UNAUTHORIZED, Shape::Coded(body))
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// 401: the action needs a login.
    pub(crate) fn not_logged_in() -> Self {
        Self::detail(StatusCode::UNAUTHORIZED, "Authentication credentials were not provided.")
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
        let message = TokenMessage {
            token_class: "AccessToken",
            token_type: "access",
            message: match fault {
                TokenFault::Invalid => "Token is invalid",
                TokenFault::Expired => "Token is expired",
                TokenFault::WrongKind => "Token has wrong type",
            },
        };
        let body = TokenRefusal {
            detail: "Given token not valid for any token type".to_owned(),
            code: "token_not_valid".to_owned(),
            messages: [message],
        };
        Self::new(StatusCode::UNAUTHORIZED, Shape::Token(body))
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
        Self::detail(StatusCode::UNAUTHORIZED, "No active account found with the given credentials")
    }

    /// 400: the `Node-Id` header names no node.
    pub(crate) fn bad_node_id(text: &str, reason: &str) -> Self {
        Self::bad_request(format!("Bad Node-Id header '{text}': {reason}"))
    }

    /// 403: logged in, and not allowed.
    pub(crate) fn forbidden() -> Self {
        Self::detail(StatusCode::FORBIDDEN, "You do not have permission to perform this action.")
    }

    /// 404: there is no such record.
    pub(crate) fn no_record(kind: &str) -> Self {
        Self::detail(StatusCode::NOT_FOUND, format!("No {kind} matches the given query."))
    }

    /// 404: the dataset has no file of this name.
    pub(crate) fn no_file(name: &str) -> Self {
        Self::detail(StatusCode::NOT_FOUND, format!("Bad name '{name}': Doesn't exist"))
    }

    /// 404: the dataset has no files of these names, and of more if there are more.
    pub(crate) fn no_files(names: &[String], count: u64) -> Self {
        let shown = quoted(names);
        Self::detail(
            StatusCode::NOT_FOUND,
            format!("Bad names {shown} ({count} in all): Don't exist"),
        )
    }

    /// 404: nothing is served at this path.
    pub(crate) fn no_route() -> Self {
        Self::detail(StatusCode::NOT_FOUND, "Not found.")
    }

    /// 405; `Allow` is added where the path is known.
    pub(crate) fn method_not_allowed(method: &Method) -> Self {
        Self::detail(StatusCode::METHOD_NOT_ALLOWED, format!("Method \"{method}\" not allowed."))
    }

    /// 405: PUT on a file, which replaces it only if that is said.
    pub(crate) fn put_replaces() -> Self {
        let text = "Method \"PUT\" not allowed. With ?replace=true it puts the file in the place of the \
                    one of its name; POST adds a file.";
        Self::detail(StatusCode::METHOD_NOT_ALLOWED, text)
    }

    /// 400 with a text.
    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::detail(StatusCode::BAD_REQUEST, text)
    }

    /// 400: a name that cannot be used.
    pub(crate) fn bad_name(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("Bad name '{name}': {reason}"))
    }

    /// Whether it is 401, upon which clients renew their token and ask again.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.0.status == StatusCode::UNAUTHORIZED
    }

    /// 400: a copy would be made in a deleted project.
    pub(crate) fn project_deleted(project: ProjectId) -> Self {
        Self::bad_request(format!(
            "The copy would be in project {project}, which is deleted, and nothing is made there. \
             Have an administrator reinstate the project first: DELETE \
             /v1/projects/{project}/reinstate."
        ))
    }

    /// 400: an upload comes again after it was refused for its token, and without its content.
    pub(crate) fn stream_read_before() -> Self {
        Self::bad_request(
            "The body is empty, and an upload to this path that was not has been refused with 401 \
             before: a client that renews its token and repeats a request has nothing left of a \
             stream that it has read. Send the content again from its beginning; if it is empty, \
             with 'Content-Length: 0'.",
        )
    }

    /// 400: an upload comes again after it was refused for its token and cut off, and is shorter.
    pub(crate) fn rest_of_stream() -> Self {
        Self::bad_request(
            "An upload to this path has been refused with 401 before, and was cut off; what comes \
             now does not have its length, so it may be what was left of a stream that was sent in \
             part. Send the content again from its beginning, with a valid token and its \
             'Content-Length'. If it is another, shorter file, send it once more.",
        )
    }

    /// 400: fields and what is wrong with each.
    pub(crate) fn fields(wrong: Vec<(&'static str, Vec<String>)>) -> Self {
        let mut left = ERROR_BYTES_MAX;
        let fields = wrong.into_iter().map(|(field, mut texts)| {
            texts.retain_mut(|text| {
                let is_room = left > ELLIPSIS.len_utf8();
                cut(text, left);
                left -= text.len().min(left);
                is_room
            });
            (field.to_owned(), texts)
        });
        Self::new(StatusCode::BAD_REQUEST, Shape::Fields(FieldErrors(fields.collect())))
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
        Self::detail(StatusCode::UNPROCESSABLE_ENTITY, format!("Unknown parameters: {parameters}"))
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
        Self::detail(StatusCode::NOT_ACCEPTABLE, "Could not satisfy the request Accept header.")
    }

    /// 408: a body that did not come in time.
    pub(crate) fn too_slow() -> Self {
        Self::detail(StatusCode::REQUEST_TIMEOUT, "The request's body came too slowly.")
    }

    /// 507: a change is made, and its answer finds no place among those that are being read. No 503, since
    /// who comes again would make the change again.
    pub(crate) fn no_turn_to_answer() -> Self {
        let text = "The change that was asked for is made. Its answer, which is long, is left out, since too \
                    many such answers are being read: ask for it later, or with files=false.";
        Self::detail(StatusCode::INSUFFICIENT_STORAGE, text)
    }

    /// 507: the disk has no room for an answer until it is sent.
    pub(crate) fn no_space_to_answer(is_made: bool) -> Self {
        let text = "There is no space left on the disk of the data directory to put so long an answer \
                    together: ask for less at once, or make space.";
        let done = " The change that was asked for is made.";
        let text = if is_made { [text, done].concat() } else { text.to_owned() };
        Self::detail(StatusCode::INSUFFICIENT_STORAGE, text)
    }

    /// Whether it is for want of space.
    pub(crate) fn is_for_space(&self) -> bool {
        self.0.status == StatusCode::INSUFFICIENT_STORAGE
    }

    /// 412: what would be sent is not in the state that the client names.
    pub(crate) fn precondition_failed() -> Self {
        Self::detail(
            StatusCode::PRECONDITION_FAILED,
            "What is there now is not in the state that the request's conditions ask for; ask \
             without them for the present one.",
        )
    }

    /// 412: the file is not in the state that the client names.
    fn condition_failed(name: &str) -> Self {
        let text = format!(
            "'{name}' is not in the state that If-Match or If-None-Match asks for; nothing was \
             changed. Look at what is there now."
        );
        Self::detail(StatusCode::PRECONDITION_FAILED, text)
    }

    /// 409: an upload goes on from elsewhere.
    pub(crate) fn wrong_offset(sent: u64, offset: u64) -> Self {
        Self::detail(
            StatusCode::CONFLICT,
            format!("Upload-Offset is {sent}, and the upload goes on at {offset}."),
        )
    }

    /// 409: another request goes on with the upload. What was to be checked first does not count.
    pub(crate) fn upload_taken_over(is_checked: bool) -> Self {
        let counted = if is_checked { "nothing of this one" } else { "what came with this one" };
        let text = format!("Another request goes on with this upload; {counted} counts.");
        Self::detail(StatusCode::CONFLICT, text)
    }

    /// 412: a client of another version of tus.
    pub(crate) fn other_tus_version() -> Self {
        let text = "Tus-Resumable must be 1.0.0, the version that is spoken here.";
        Self::detail(StatusCode::PRECONDITION_FAILED, text)
            .with_header(HeaderName::from_static("tus-version"), HeaderValue::from_static("1.0.0"))
    }

    /// 409: contents that are not where the client may read them.
    fn unknown_contents(names: &[String], count: u64) -> Self {
        let text = format!(
            "The contents of {} ({count} in all) are not in datasets that you may read: send their \
             bytes. Nothing was added.",
            quoted(names)
        );
        Self::detail(StatusCode::CONFLICT, text)
    }

    /// 413: a body beyond its bound.
    pub(crate) fn body_too_large(limit: usize) -> Self {
        Self::detail(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Request body is larger than {limit} bytes."),
        )
    }

    /// 413: a JSON body that would take too much memory.
    pub(crate) fn json_too_large(limit: usize) -> Self {
        let text = format!(
            "Request body would take more than {limit} bytes of memory once it is read: send less of it at a time."
        );
        Self::detail(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    /// 400: a part of a file where the whole of one is expected.
    pub(crate) fn content_range() -> Self {
        Self::bad_request(
            "A body with Content-Range is a part of a file, and would be kept as the whole of it: send all of it \
             at once, or in parts by POST to .../uploads.",
        )
    }

    /// 413: a form of more than its bound, a file's content left out.
    pub(crate) fn form_too_large(limit: usize) -> Self {
        let text = format!(
            "Multipart form parse error - more than {limit} bytes came that are no file's content"
        );
        Self::detail(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    /// 400: a form of more fields than one may have.
    pub(crate) fn too_many_fields(limit: usize) -> Self {
        Self::bad_request(format!("The form has more than {limit} fields."))
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

    /// 400: an access token that could do more than who makes it.
    pub(crate) fn level_beyond_own() -> Self {
        Self::field("permissions", "You may not do that in this team yourself; ask for less.")
    }

    /// 401: an access token that is none, was revoked or has ended.
    pub(crate) fn bad_machine_token(is_expired: bool) -> Self {
        Self::bad_access_token(if is_expired { TokenFault::Expired } else { TokenFault::Invalid })
    }

    /// 429: too many logins failed.
    pub(crate) fn too_many_failures(refused: TooManyFailures) -> Self {
        // A moment too early would be refused again.
        let seconds = refused.retry_after.as_secs() + 1;
        let text = format!("Too many logins failed; try again in {seconds} s.");
        Self::detail(StatusCode::TOO_MANY_REQUESTS, text)
            .with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 503: nothing was done, or its outcome is unknown; another try makes sense.
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::detail(StatusCode::SERVICE_UNAVAILABLE, text)
            .with_header(RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// 500: the content is damaged, and who brings it again heals it.
    fn damaged_content(digest: Digest, cause: ReadError) -> Self {
        let text = format!(
            "The content {digest} is damaged on the server's disk and in quarantine. Uploading the \
             same content again, under any name in any dataset, heals it."
        );
        let mut error = Self::detail(StatusCode::INTERNAL_SERVER_ERROR, text);
        error.0.cause = Some(cause.into());
        error
    }

    /// 500: our fault; the cause goes to the log only.
    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let mut error = Self::detail(StatusCode::INTERNAL_SERVER_ERROR, FAULT);
        error.0.cause = Some(cause.into());
        error
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Answer { status, mut body, header, cause } = *self.0;
        if status.is_server_error() {
            let detail = match body {
                Shape::Detail(Detail { detail }) => detail.into(),
                Shape::Coded(_) | Shape::Token(_) | Shape::Fields(_) | Shape::Fault(_) => {
                    FAULT.into()
                }
            };
            let id = current_id().to_string();
            if let Some(cause) = cause {
                log_fault(&*cause, &id);
            }
            body = Shape::Fault(Fault { detail, id });
        }
        let mut response = (status, axum::Json(body)).into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// What a client would be told of a refusal.
pub(crate) fn refusal_text(refusal: MutationError) -> String {
    match ApiError::from(refusal).0.body {
        Shape::Detail(Detail { detail }) => detail,
        Shape::Coded(_) | Shape::Token(_) | Shape::Fields(_) | Shape::Fault(_) => FAULT.to_owned(),
    }
}

/// Logs a fault of the server, under the request's id, which the answer has too.
fn log_fault(cause: &(dyn Error + 'static), id: &str) {
    let mut chain = cause.to_string();
    let mut next = cause.source();
    while let Some(source) = next {
        // Writing to a string cannot fail.
        write!(chain, ": {source}").unwrap_or_default();
        next = source.source();
    }
    tracing::error!(error = %chain, request_id = id, "request failed");
}

/// The answer to a request whose handler panicked; the panic's text is in the log already.
#[expect(clippy::needless_pass_by_value, reason = "the layer calls it so")]
pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text");
    ApiError::internal(format!("the handler panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn a_fault_tells_its_id_and_nothing_else() {
        for response in [
            panicked(Box::new("a secret".to_owned())),
            ApiError::internal("a secret").into_response(),
        ] {
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["detail"], "Internal server error.");
            assert_eq!(body["id"].as_str().unwrap().len(), 16);
            assert_eq!(body.as_object().unwrap().len(), 2);
        }
    }
}
