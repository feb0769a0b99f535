//! Why a request of the client came to nothing, and whether it may be repeated.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;

use super::server_url::ServerUrl;

/// Why a request came to nothing; the message ends with the next step where there is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The request may or may not have reached the server; uploads are safe to repeat.
    #[error(
        "no answer from the server at {url} ({reason}); check that it runs and that --url is right"
    )]
    Unreachable { url: ServerUrl, reason: String, connected: bool },
    /// Refused for load or a passing fault; the server asks to come back.
    #[error("the server at {url} is busy ({status}: {detail}); try again later")]
    Busy { url: ServerUrl, status: StatusCode, detail: String, retry_after: Option<Duration> },
    /// The body of the request was used up by an attempt whose login had worn out.
    #[error("the login wore out during the request; try again")]
    LoginRenewed,
    #[error("not logged in at {url}; {next_step}")]
    NotLoggedIn { url: ServerUrl, next_step: String },
    #[error(
        "the server at {url} does not accept this user name and password ({username}); check them \
         and run: granary login --url {url} --username {username}"
    )]
    WrongPassword { url: ServerUrl, username: String },
    #[error(
        "the server at {url} does not accept the first password of {username} in {}: it was changed, or \
         is another server's; run: granary login --url {url} (and remove the file if it is this server's)",
        file.display()
    )]
    WrongFirstPassword { url: ServerUrl, username: String, file: PathBuf },
    #[error(
        "the user has no right to do this at {url} ({detail}); ask in the project's team for read \
         permission, or for write permission where something is to change, or log in as another user"
    )]
    Forbidden { url: ServerUrl, detail: String },
    #[error("the server refused: {detail} ({status})")]
    Refused { status: StatusCode, detail: String },
    #[error(
        "the server at {url} gave an answer that granary does not understand ({reason}); check \
         that --url names a granary server"
    )]
    Strange { url: ServerUrl, reason: String },
    #[error("{reason}; push or pull again")]
    Altered { reason: &'static str },
    #[error("{}", path.display())]
    Local {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Failure {
    /// What went wrong on the way to or from the server.
    pub(crate) fn on_the_way(url: &ServerUrl, error: &reqwest::Error) -> Self {
        let reason = root_cause(error);
        // A connection that breaks off counts as "decode" too; texts are parsed elsewhere.
        if error.is_builder() || error.is_redirect() {
            return Self::Strange { url: url.clone(), reason };
        }
        Self::Unreachable { url: url.clone(), reason, connected: !error.is_connect() }
    }

    /// Somebody wrote to the file between the first look at it and the end of its sending.
    pub(crate) fn changed_meanwhile() -> Self {
        Self::Altered { reason: "the file changed while it was sent" }
    }

    /// The message with its cause, on one line.
    pub(crate) fn chain(&self) -> String {
        match self.source() {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    /// The failure, with the right named that is missing where one is.
    pub(crate) fn needing(self, right: &str) -> anyhow::Error {
        if let Self::Forbidden { url, .. } = &self {
            return anyhow::anyhow!(
                "this needs {right} at {url}, which the user that you are logged in as is not; log \
                 in as another: granary login --url {url} --username NAME"
            );
        }
        self.into()
    }

    /// Whether the same request may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. } | Self::LoginRenewed)
    }

    /// Whether what was asked for may have been done all the same.
    pub(crate) fn leaves_open(&self) -> bool {
        let is_unanswered = matches!(self, Self::Busy { .. } | Self::Strange { .. });
        is_unanswered || matches!(self, Self::Unreachable { connected: true, .. })
    }

    /// Whether there was not even a connection, so that the server does not run or is elsewhere.
    pub(crate) fn is_without_connection(&self) -> bool {
        matches!(self, Self::Unreachable { connected: false, .. })
    }

    /// Whether every further request would fail for the same reason.
    pub(crate) fn concerns_all(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Busy { .. }
            | Self::LoginRenewed
            | Self::NotLoggedIn { .. }
            | Self::WrongPassword { .. }
            | Self::WrongFirstPassword { .. }
            | Self::Forbidden { .. }
            | Self::Strange { .. } => true,
            Self::Refused { status, detail } => {
                let file_is_missing = detail.starts_with("Bad name");
                *status == StatusCode::INSUFFICIENT_STORAGE
                    || (*status == StatusCode::NOT_FOUND && !file_is_missing)
            }
            // A full disk takes no other file either. What is read-only or beyond a quota may be one
            // folder.
            Self::Local { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Altered { .. } => false,
        }
    }

    /// How long the server asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::Busy { retry_after, .. } = self { *retry_after } else { None }
    }
}

/// The innermost cause, which names the fact (`Connection refused`); the outer ones only repeat
/// the address.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_concerns_all_and_one_file_or_folder_of_it_does_not() {
        let local =
            |kind| Failure::Local { path: PathBuf::from("f"), source: io::Error::from(kind) };
        assert!(local(io::ErrorKind::StorageFull).concerns_all());
        for kind in [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::IsADirectory,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::ReadOnlyFilesystem,
        ] {
            assert!(!local(kind).concerns_all(), "{kind:?}");
        }
    }
}
