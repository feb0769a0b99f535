//! Requests to a server: with a login, and with every failure put into words.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ServerOptions;
use super::failure::Failure;
use super::retry::Patience;
use super::server_url::ServerUrl;
use super::session::Session;

/// How long a connection may take to come about.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an idle connection is kept; shorter than the server keeps it, so that a request is
/// not sent into a connection that is just being closed.
const IDLE_TIME_MAX: Duration = Duration::from_secs(15);

/// How long sent bytes may stay unconfirmed, and a silent peer unanswered, until the connection
/// counts as broken. The only time limit on a request, which may be an hour of upload.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// Letters of a server's own words that are passed on.
const DETAIL_LETTERS_MAX: usize = 500;

/// One command's way to one server.
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) url: ServerUrl,
    pub(crate) session: Session,
    pub(crate) patience: Patience,
}

impl Client {
    /// The way to a server, with the login that is at hand; nothing is sent yet.
    ///
    /// # Errors
    /// The stored login cannot be read, or the trusted certificates.
    pub(crate) fn new(server: &ServerOptions) -> anyhow::Result<Self> {
        let ServerOptions { url, ca_file } = server;
        let http = http_client(url, ca_file.as_deref())?;
        let session = Session::find(http.clone(), url.clone())?;
        Ok(Self { http, url: url.clone(), session, patience: Patience::USUAL })
    }

    /// Sends a request; a worn login is renewed once, and the request repeated if its body can be.
    ///
    /// # Errors
    /// Any [`Failure`]; the answer has a status of success otherwise.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let token = self.session.access().await?;
        let again = request.try_clone();
        let response = self.send_with(request, &token).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return successful(&self.url, response).await;
        }
        let token = self.session.replace(&token).await?;
        let again = again.ok_or(Failure::LoginRenewed)?;
        successful(&self.url, self.send_with(again, &token).await?).await
    }

    /// Sends a request and reads its answer as JSON.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Failure> {
        answer_of(&self.url, self.send(request).await?).await
    }

    async fn send_with(&self, request: RequestBuilder, token: &str) -> Result<Response, Failure> {
        let sent = request.bearer_auth(token).send().await;
        sent.map_err(|error| Failure::on_the_way(&self.url, &error))
    }
}

/// The HTTP library, set up for a server; `ca_file` holds the authorities that are trusted, in
/// place of the system's.
///
/// # Errors
/// The certificates cannot be used.
pub(crate) fn http_client(
    url: &ServerUrl,
    ca_file: Option<&Path>,
) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("granary/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIME_MAX)
        .pool_idle_timeout(IDLE_TIME_MAX)
        .tcp_nodelay(true)
        .tcp_keepalive(SILENCE_MAX / 2)
        .tcp_user_timeout(SILENCE_MAX)
        // The API has no redirects, and a body that was streamed could not follow one.
        .redirect(reqwest::redirect::Policy::none());
    if url.is_loopback() {
        builder = builder.no_proxy();
    }
    if let Some(file) = ca_file {
        builder = builder.tls_certs_only(authorities(file)?);
    } else if url.is_loopback() && url.as_str().starts_with("http://") {
        // Nobody is to vouch for anything: it works where the system has no authorities, as in
        // containers.
        builder = builder.tls_certs_only([]);
    }
    Ok(builder.build()?)
}

fn authorities(file: &Path) -> anyhow::Result<Vec<reqwest::Certificate>> {
    let shown = file.display();
    let text = std::fs::read(file);
    let text = text.with_context(|| format!("cannot read the authorities in {shown}"))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&text);
    let certificates =
        certificates.with_context(|| format!("{shown} holds no certificates in PEM form"))?;
    ensure!(!certificates.is_empty(), "{shown} holds no certificate in PEM form");
    Ok(certificates)
}

/// Reads a successful answer as JSON.
///
/// # Errors
/// The answer is no success, or not what was expected.
pub(crate) async fn answer_of<T: DeserializeOwned>(
    url: &ServerUrl,
    response: Response,
) -> Result<T, Failure> {
    let response = successful(url, response).await?;
    let text = response.bytes().await;
    let text = text.map_err(|error| Failure::on_the_way(url, &error))?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::Strange { url: url.clone(), reason: error.to_string() })
}

async fn successful(url: &ServerUrl, response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get(RETRY_AFTER);
    let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = response.text().await;
    let body = body.map_err(|error| Failure::on_the_way(url, &error))?;
    let url = url.clone();
    if is_of_another_kind_of_server(status, &body) {
        return Err(Failure::Strange { url, reason: format!("status {status}, and no JSON") });
    }
    let detail = detail(&body);
    Err(match status {
        StatusCode::UNAUTHORIZED => {
            Failure::NotLoggedIn { next_step: format!("run: granary login --url {url}"), url }
        }
        StatusCode::FORBIDDEN => Failure::Forbidden { url, detail },
        StatusCode::NOT_IMPLEMENTED | StatusCode::INSUFFICIENT_STORAGE => {
            Failure::Refused { status, detail }
        }
        // Nothing but the same content once more mends that, and it is that file's matter alone.
        StatusCode::INTERNAL_SERVER_ERROR if tells_of_damage(&detail) => {
            Failure::Refused { status, detail }
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Failure::Busy { url, status, detail, retry_after: seconds.map(Duration::from_secs) }
        }
        _ if status.is_server_error() => {
            Failure::Busy { url, status, detail, retry_after: seconds.map(Duration::from_secs) }
        }
        _ if status.is_client_error() => Failure::Refused { status, detail },
        _ => Failure::Strange { url, reason: format!("status {status}") },
    })
}

/// Whether the server's words are those about a content in quarantine.
fn tells_of_damage(detail: &str) -> bool {
    detail.starts_with("The content ") && detail.contains(" is damaged ")
}

/// Whether somebody answers who knows nothing of the API, which says everything in JSON. What a
/// proxy says of a server that is down, or of a body that is too large, is not meant.
fn is_of_another_kind_of_server(status: StatusCode, body: &str) -> bool {
    let unknown =
        [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
    unknown.contains(&status) && !body.trim_start().starts_with('{')
}

/// The server's words in an error's body, cut to one line: its `detail`, or what is wrong with
/// each field, or the body itself.
fn detail(body: &str) -> String {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Detail { detail: String },
        Fields(BTreeMap<String, Vec<String>>),
    }
    let text = match serde_json::from_str(body) {
        Ok(Words::Detail { detail }) => detail,
        Ok(Words::Fields(fields)) => {
            let fields =
                fields.iter().map(|(field, texts)| format!("{field}: {}", texts.join(" ")));
            fields.collect::<Vec<_>>().join(" ")
        }
        Err(_) => body.to_owned(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return "no reason given".to_owned();
    }
    line.chars().take(DETAIL_LETTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kind_of_server_is_told_by_its_words() {
        let is = is_of_another_kind_of_server;
        assert!(is(StatusCode::NOT_IMPLEMENTED, "<html>Unsupported method ('POST')"));
        assert!(is(StatusCode::NOT_FOUND, ""));
        assert!(!is(StatusCode::NOT_FOUND, r#"{"detail": "Not found."}"#));
        assert!(!is(StatusCode::BAD_GATEWAY, "<html>"));
        assert!(!is(StatusCode::PAYLOAD_TOO_LARGE, "<html>"));
    }

    #[test]
    fn a_servers_words_are_passed_on_as_one_line() {
        assert_eq!(detail(r#"{"detail": "Bad name 'x'"}"#), "Bad name 'x'");
        assert_eq!(detail("<html>\n <b>Bad\tgateway"), "<html> <b>Bad gateway");
        assert_eq!(
            detail(r#"{"name": ["Is taken.", "Is long."], "tags": ["Is missing."]}"#),
            "name: Is taken. Is long. tags: Is missing."
        );
        assert_eq!(detail(r#"{"name": "?"}"#), r#"{"name": "?"}"#);
        assert_eq!(detail(""), "no reason given");
        assert_eq!(detail(&"x".repeat(10_000)).len(), DETAIL_LETTERS_MAX);
    }
}
