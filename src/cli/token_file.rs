//! The file that remembers sessions: `tokens.json`, readable by its owner only.
//!
//! One entry for each server's address. The file is replaced whole by a rename, so a reader sees
//! the old or the new one, never half of one.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::private_file;
use super::server_url::ServerUrl;

/// What is remembered of one login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSession {
    /// Whose session it is; for messages only.
    pub(crate) username: String,
    /// The token that obtains others; the access token lives minutes and is not worth keeping.
    pub(crate) refresh: String,
}

/// The file, wherever it is; it need not exist.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// The file of this user: in `$XDG_CONFIG_HOME/granary`, or `~/.config/granary`.
    ///
    /// # Errors
    /// Neither variable says where.
    pub(crate) fn of_this_user() -> anyhow::Result<Self> {
        let absolute = |name: &str| {
            let path = env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let config = absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")))
            .context(
                "cannot tell where sessions are kept: neither HOME nor XDG_CONFIG_HOME is set; \
                 set GRANARY_USERNAME and GRANARY_PASSWORD instead",
            )?;
        Ok(Self::at(config.join("granary").join("tokens.json")))
    }

    fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The session at a server, if one is remembered.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub(crate) fn load(&self, url: &ServerUrl) -> anyhow::Result<Option<StoredSession>> {
        Ok(self.read()?.remove(url.as_str()))
    }

    /// Remembers a session in place of the one before.
    ///
    /// # Errors
    /// The file cannot be replaced; it is as it was then.
    pub(crate) fn store(&self, url: &ServerUrl, session: StoredSession) -> anyhow::Result<()> {
        let mut sessions = self.read()?;
        sessions.insert(url.as_str().to_owned(), session);
        let text = serde_json::to_vec_pretty(&sessions)?;
        private_file::replace(&self.path, &text)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn read(&self) -> anyhow::Result<BTreeMap<String, StoredSession>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", self.path.display()));
            }
        };
        serde_json::from_slice(&text).with_context(|| {
            format!("{} is damaged; remove it and log in again", self.path.display())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn session(username: &str) -> StoredSession {
        StoredSession { username: username.to_owned(), refresh: format!("refresh of {username}") }
    }

    #[test]
    fn each_server_has_its_own_session() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile::at(directory.path().join("granary/tokens.json"));
        let (here, there) = ("http://h".parse().unwrap(), "http://t".parse().unwrap());
        assert_eq!(file.load(&here).unwrap(), None);

        file.store(&here, session("a")).unwrap();
        file.store(&there, session("b")).unwrap();
        file.store(&here, session("c")).unwrap();

        assert_eq!(file.load(&here).unwrap(), Some(session("c")));
        assert_eq!(file.load(&there).unwrap(), Some(session("b")));
    }

    #[test]
    fn only_the_owner_reads_the_file_and_nothing_lies_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile::at(directory.path().join("granary/tokens.json"));
        file.store(&"http://h".parse().unwrap(), session("a")).unwrap();

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(file.path()), 0o600);
        let folder = file.path().parent().unwrap();
        assert_eq!(mode(folder), 0o700);
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.json");
        private_file::write(&path, b"{").unwrap();
        let error = TokenFile::at(path).load(&"http://h".parse().unwrap());
        assert!(format!("{:#}", error.unwrap_err()).contains("log in again"));
    }
}
