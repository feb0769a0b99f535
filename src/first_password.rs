//! The file that holds a first password that nobody chose: there from the first start until that
//! password is changed.
//!
//! The commands of the same machine log in by it, and a password that is right no longer would only
//! be counted as a failed login each time. A crash between a change and the removal leaves the file
//! until the next start, which looks whether it is still right. A file of that name that was not written
//! here is nobody's here to remove.

use std::fs;
use std::io;
use std::path::Path;

use granary_engine::model::User;
use granary_engine::{Engine, ReadError};
use tracing::{info, warn};

use crate::auth::{PASSWORD_LETTERS, is_made_up, is_password_of, made_up_password};
use crate::private_file;

/// Name of the first user, whose password it is.
pub(crate) const ADMIN: &str = "admin";

/// Name of the file in the data directory.
pub(crate) const FILE: &str = "admin-password";

/// The password in the file, which an interrupted start may have left, or a fresh one that is on disk
/// when this returns.
///
/// # Errors
/// The file system's, or the system has no randomness to give.
pub(crate) fn written(directory: &Path) -> io::Result<String> {
    match fs::read_to_string(directory.join(FILE)) {
        Ok(text) if text.trim().len() >= PASSWORD_LETTERS => Ok(text.trim().to_owned()),
        Ok(_) | Err(_) => {
            let password = made_up_password()?;
            private_file::write(directory, FILE, format!("{password}\n").as_bytes())?;
            Ok(password)
        }
    }
}

/// Removes the file if it holds the password of this user, as they are now, no longer; says whether it did. Blocks,
/// and takes as long as a login where the file is there.
///
/// # Durability
/// When this returns, the file is gone for good.
///
/// # Errors
/// The file system's; the password is changed all the same.
pub fn remove_first_password_of(directory: &Path, user: &User) -> io::Result<bool> {
    let is_right = |password: String| is_password_of(&password, &user.password_hash);
    if user.username != ADMIN || held(directory).is_none_or(is_right) {
        return Ok(false);
    }
    private_file::remove(directory, FILE).map(|()| true)
}

/// As [`remove_first_password_of`], for a server that has set a password: what came of it is for the log.
pub(crate) async fn forget(directory: &Path, user: &User) {
    let (directory, user) = (directory.to_owned(), user.clone());
    let removed = tokio::task::spawn_blocking(move || remove_first_password_of(&directory, &user));
    tell(removed.await.map_err(io::Error::other).flatten());
}

/// Removes the file if its password is not the user's any longer. One of a user who is gone, or has
/// another name, stays: it may be the only note of that password.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn forget_if_stale(engine: &Engine, directory: &Path) -> Result<(), ReadError> {
    let Some(user) = engine.snapshot()?.user_by_name(ADMIN)? else { return Ok(()) };
    forget(directory, &user).await;
    Ok(())
}

/// The password in the file, if it is there and of the kind that is written here.
fn held(directory: &Path) -> Option<String> {
    let path = directory.join(FILE);
    if !fs::symlink_metadata(&path).ok()?.is_file() {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    text.strip_suffix('\n').filter(|password| is_made_up(password)).map(str::to_owned)
}

fn tell(removed: io::Result<bool>) {
    match removed {
        Ok(true) => info!(file = FILE, "removed the first password, which was changed"),
        Ok(false) => {}
        Err(error) => warn!(
            file = FILE,
            %error,
            "cannot remove the first password, which was changed; remove it from the data directory"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_was_written_down_is_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let first = written(directory.path()).unwrap();
        assert_eq!(first.len(), PASSWORD_LETTERS);
        assert_eq!(written(directory.path()).unwrap(), first);
        assert_ne!(made_up_password().unwrap(), first);
    }

    #[test]
    fn what_was_not_written_here_is_not_held() {
        let directory = tempfile::tempdir().unwrap();
        let password = written(directory.path()).unwrap();
        assert_eq!(held(directory.path()), Some(password.clone()));
        let put = |text: &str| private_file::write(directory.path(), FILE, text.as_bytes());
        for others in [password.clone(), format!("{password}1\n"), "chosen\n".into()] {
            put(&others).unwrap();
            assert_eq!(held(directory.path()), None, "{others:?}");
        }
        put(&format!("{password}\n")).unwrap();
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(directory.path().join(FILE), &elsewhere).unwrap();
        assert_eq!(held(directory.path()), None);
        std::os::unix::fs::symlink(elsewhere, directory.path().join(FILE)).unwrap();
        assert_eq!(held(directory.path()), None);
    }
}
