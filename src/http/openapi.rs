//! The OpenAPI document: what holds of the whole API; the rest comes from the routes themselves.
//!
//! Every route is registered together with its description (`routes.rs`), so the document lacks
//! none. What operations share (`failures.rs`, `parameters.rs`) is described once and referred to.

pub(crate) mod archives;

pub(crate) mod contents;

pub(crate) mod failures;

pub(crate) mod parameters;

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, Header, Info, InfoBuilder, License, Object, OpenApi, OpenApiBuilder, Paths,
    SecurityRequirement, Type,
};

use super::error::ApiError;

/// The name of the security scheme; `bearer` in the descriptions of handlers.
const BEARER: &str = "bearer";

const ABOUT: &str = "A durable dataset server.

Log in with `POST /v1/auth/obtain` and send the access token as `Authorization: Bearer TOKEN`. It \
lasts five minutes; `POST /v1/auth/refresh` gives another one.

Every path works with and without one slash at its end, except those that end in a name, where the \
slash belongs to the name. Every GET answers HEAD too, and every path OPTIONS; a wrong method is \
405, an unknown path 404, both with a `detail` as every error.

Every answer of a known path has `Allow`. Every answer has `X-Content-Type-Options`, `X-Frame-Options`, `Referrer-Policy` and `Vary`; \
where the operator allows origins (`cors.origins`), requests of one of them get `Access-Control-Allow-Origin`.

Every answer has `X-Request-Id`: the one that the request brought, if it has at most 128 letters, \
digits and `-_.:/+=@`, otherwise one that the server made. It stands in the server's log, and as `id` \
in the body of every answer of 500 and above.

Fields of records are read leniently: a number will do for a text and its digits for a number, and \
fields that are unknown are passed over. Other bodies are strict. So are the parameters of a query \
that are known; others are passed over.

A success is sent when the change is on disk and visible to every reader.";

/// The groups of operations, in the order in which they are shown.
const TAGS: [(&str, &str); 14] = [
    ("auth", "Logins and tokens."),
    ("access-tokens", "What programs prove with that they may act for a user, in one team."),
    ("users", "Who may log in."),
    ("teams", "Teams, and who may do what as a member of one."),
    ("projects", "Projects of teams, which datasets are in."),
    ("licences", "Licences that datasets are under, and what they say."),
    ("nodes", "Machines that work on datasets."),
    ("backups", "The whole store, for `granary backup`."),
    ("datasets", "Datasets as a whole."),
    ("files", "The files of a dataset, their contents and their metadata."),
    ("metadata", "What is remembered about each file."),
    ("store", "Whether what is stored is sound: for administrators."),
    ("audit", "Who changed what, when, from where: for administrators."),
    ("server", "The server itself."),
];

/// The document, rendered once: it is the same for every server of this build.
static DOCUMENT: LazyLock<Result<Bytes, serde_json::Error>> = LazyLock::new(|| {
    let (_, document) = super::routes().split();
    serde_json::to_vec(&document).map(Bytes::from)
});

/// The document before any route is in it.
pub(crate) fn begin() -> OpenApi {
    let components = failures::describe(parameters::describe(ComponentsBuilder::new()));
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The access token of a login."))
        .build();
    let components = components.security_scheme(BEARER, SecurityScheme::Http(scheme));
    let tags =
        TAGS.map(|(name, says)| TagBuilder::new().name(name).description(Some(says)).build());
    OpenApiBuilder::new()
        .info(info())
        .paths(Paths::new())
        .components(Some(components.build()))
        .security(Some([login()]))
        .tags(Some(tags))
        .build()
}

/// What operations need that do not say otherwise.
fn login() -> SecurityRequirement {
    SecurityRequirement::new::<_, _, &str>(BEARER, [])
}

/// A header of an answer.
fn header(kind: Type, says: &str) -> Header {
    HeaderBuilder::new().schema(Some(Object::with_type(kind))).description(Some(says)).build()
}

fn info() -> Info {
    let mut licence = License::new("Apache-2.0");
    licence.identifier = Some("Apache-2.0".to_owned());
    InfoBuilder::new()
        .title("granary")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(licence))
        .build()
}

/// Describes the API as OpenAPI 3.1: this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses((status = OK, description = "The document.", body = serde_json::Value)),
    security(()),
)]
pub(crate) async fn document() -> Result<Response, ApiError> {
    match &*DOCUMENT {
        Ok(document) => {
            let mut response = Response::new(Body::from(document.clone()));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            Ok(response)
        }
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}
