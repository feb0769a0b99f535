//! Who is asking: the tokens of one command, obtained and renewed when they are needed.
//!
//! An access token in `GRANARY_TOKEN` is sent as it is. Without it credentials come from
//! `GRANARY_USERNAME` and `GRANARY_PASSWORD`, else from a stored session, else, if the server is on this machine, from the `admin-password` file that its first start
//! left in the data directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::client::answer_of;
use super::environment;
use super::failure::Failure;
use super::server_url::ServerUrl;
use super::token_file::TokenFile;

/// Age at which an access token is renewed unasked. It lives five minutes, and an upload that
/// is refused for a worn one has sent its bytes in vain.
const ACCESS_AGE_MAX: Duration = Duration::from_mins(4);

/// Variable that holds an access token.
const ACCESS_TOKEN_VARIABLE: &str = "GRANARY_TOKEN";

/// Name of the user that a server's first start makes.
pub(crate) const FIRST_USER: &str = "admin";

/// A user's name and password.
#[derive(Clone, Serialize)]
pub(crate) struct Credentials {
    /// The name.
    pub(crate) username: String,
    /// The password; never shown.
    pub(crate) password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those that the environment gives to scripts.
    pub(crate) fn from_environment() -> Option<Self> {
        let password = environment::text("GRANARY_PASSWORD")?;
        let username = environment::text("GRANARY_USERNAME");
        let username = username.unwrap_or_else(|| FIRST_USER.to_owned());
        Some(Self { username, password })
    }

    /// Those that a server's first start left in its data directory.
    fn from_first_start(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let password = text.trim_end_matches(['\r', '\n']).to_owned();
        Some(Self { username: FIRST_USER.to_owned(), password })
    }
}

/// The tokens that the server gave for credentials.
#[derive(Clone, Deserialize)]
pub(crate) struct Tokens {
    /// Goes with every request; lives minutes.
    pub(crate) access: String,
    /// Obtains another access token; lives hours.
    pub(crate) refresh: String,
}

#[derive(Deserialize)]
struct Renewed {
    access: String,
}

#[derive(Default)]
struct State {
    access: Option<(String, Instant)>,
    refresh: Option<String>,
}

/// The login of one command at one server; shared by all its requests.
pub(crate) struct Session {
    http: reqwest::Client,
    url: ServerUrl,
    credentials: Option<Credentials>,
    /// The file of a server's first start that the credentials are from, if they are.
    first_password_file: Option<PathBuf>,
    /// Whose login was stored; for messages only.
    stored_username: Option<String>,
    /// An access token, which takes the place of all others and is never renewed.
    access_token: Option<String>,
    /// Held while tokens are renewed, so that many requests renew them once.
    state: Mutex<State>,
}

impl Session {
    /// The session that the environment and the stored tokens give.
    ///
    /// # Errors
    /// The stored tokens cannot be read.
    pub(crate) fn find(http: reqwest::Client, url: ServerUrl) -> anyhow::Result<Self> {
        let access_token = environment::text(ACCESS_TOKEN_VARIABLE);
        let access_token = access_token.map(|token| token.trim().to_owned());
        let access_token = access_token.filter(|token| !token.is_empty());
        let mut credentials = Credentials::from_environment();
        let (mut refresh, mut stored_username, mut first_password_file) = (None, None, None);
        if credentials.is_none() && access_token.is_none() {
            let stored = match TokenFile::of_this_user() {
                Ok(file) => file.load(&url)?,
                // Without a home there is nothing stored; the server's answer is the better error.
                Err(_) => None,
            };
            if let Some(session) = stored {
                (refresh, stored_username) = (Some(session.refresh), Some(session.username));
            }
            if refresh.is_none() && url.is_loopback() {
                let file = self::first_password_file();
                credentials = Credentials::from_first_start(&file);
                first_password_file = credentials.is_some().then_some(file);
            }
        }
        let state = State { access: None, refresh };
        let state = Mutex::new(state);
        Ok(Self {
            http,
            url,
            credentials,
            first_password_file,
            stored_username,
            access_token,
            state,
        })
    }

    /// A session of a user whose password is known.
    pub(crate) fn with(http: reqwest::Client, url: ServerUrl, credentials: Credentials) -> Self {
        let credentials = Some(credentials);
        let (first_password_file, stored_username, access_token) = (None, None, None);
        let state = Mutex::default();
        Self { http, url, credentials, first_password_file, stored_username, access_token, state }
    }

    /// Whose login it is, as far as that is known.
    pub(crate) fn username(&self) -> Option<&str> {
        let given = self.credentials.as_ref().map(|credentials| credentials.username.as_str());
        given.or(self.stored_username.as_deref())
    }

    /// Whether nobody said who is asking, and the file of a server's first start is taken at its word.
    pub(crate) fn is_by_first_password(&self) -> bool {
        self.first_password_file.is_some()
    }

    /// A token that should be accepted now.
    ///
    /// # Errors
    /// No token could be had.
    pub(crate) async fn access(&self) -> Result<String, Failure> {
        if let Some(token) = &self.access_token {
            return Ok(token.clone());
        }
        let mut state = self.state.lock().await;
        match &state.access {
            Some((token, since)) if since.elapsed() < ACCESS_AGE_MAX => Ok(token.clone()),
            Some(_) | None => self.renewed(&mut state).await,
        }
    }

    /// A token in place of one that the server did not accept.
    ///
    /// # Errors
    /// No token could be had.
    pub(crate) async fn replace(&self, worn: &str) -> Result<String, Failure> {
        if self.access_token.is_some() {
            let next_step = format!(
                "the access token in {ACCESS_TOKEN_VARIABLE} was revoked, has ended, or is of \
                 another server; make one with: granary token create"
            );
            return Err(Failure::NotLoggedIn { url: self.url.clone(), next_step });
        }
        let mut state = self.state.lock().await;
        match &state.access {
            // Another request was here first.
            Some((token, _)) if token != worn => Ok(token.clone()),
            Some(_) | None => self.renewed(&mut state).await,
        }
    }

    async fn renewed(&self, state: &mut State) -> Result<String, Failure> {
        state.access = None;
        if let Some(refresh) = &state.refresh {
            match refresh_access(&self.http, &self.url, refresh).await? {
                Some(access) => {
                    state.access = Some((access.clone(), Instant::now()));
                    return Ok(access);
                }
                None => state.refresh = None,
            }
        }
        let Some(credentials) = &self.credentials else {
            return Err(self.not_logged_in());
        };
        let tokens = obtain(&self.http, &self.url, credentials).await;
        let tokens = tokens.map_err(|failure| self.naming_the_file(failure))?;
        state.refresh = Some(tokens.refresh);
        state.access = Some((tokens.access.clone(), Instant::now()));
        Ok(tokens.access)
    }

    /// Whoever typed no password would not know which one was wrong.
    fn naming_the_file(&self, failure: Failure) -> Failure {
        match (&self.first_password_file, failure) {
            (Some(file), Failure::WrongPassword { url, username }) => {
                Failure::WrongFirstPassword { url, username, file: file.clone() }
            }
            (_, failure) => failure,
        }
    }

    fn not_logged_in(&self) -> Failure {
        let mut next_step = format!("run: granary login --url {}", self.url);
        if self.url.is_loopback() {
            next_step.push_str(
                " (the first user is admin; the server's first start wrote the password to the \
                 file admin-password in its data directory, where it is until it is changed)",
            );
        }
        Failure::NotLoggedIn { url: self.url.clone(), next_step }
    }
}

/// Where a server that was started here has written the first password, if it made one up.
pub(crate) fn first_password_file() -> PathBuf {
    let data = environment::variable("GRANARY_DATA");
    data.map_or_else(|| PathBuf::from("granary-data"), PathBuf::from).join("admin-password")
}

/// Asks the server for tokens.
///
/// # Errors
/// [`Failure::WrongPassword`], or why there was no answer.
pub(crate) async fn obtain(
    http: &reqwest::Client,
    url: &ServerUrl,
    credentials: &Credentials,
) -> Result<Tokens, Failure> {
    let request = http.post(url.action("auth/obtain")).json(credentials);
    let response = request.send().await;
    let response = response.map_err(|error| Failure::on_the_way(url, &error))?;
    if response.status() == StatusCode::UNAUTHORIZED {
        return Err(Failure::WrongPassword {
            url: url.clone(),
            username: credentials.username.clone(),
        });
    }
    answer_of(url, response).await
}

/// A new access token, or `None` if the refresh token has worn out.
async fn refresh_access(
    http: &reqwest::Client,
    url: &ServerUrl,
    refresh: &str,
) -> Result<Option<String>, Failure> {
    let body = serde_json::json!({ "refresh": refresh });
    let request = http.post(url.action("auth/refresh")).json(&body);
    let response = request.send().await;
    let response = response.map_err(|error| Failure::on_the_way(url, &error))?;
    if response.status() == StatusCode::UNAUTHORIZED {
        return Ok(None);
    }
    let renewed: Renewed = answer_of(url, response).await?;
    Ok(Some(renewed.access))
}
