//! Passwords: argon2 hashes, made and checked on threads of their own, a few at a time.
//!
//! A hash costs 19 MiB and some 20 ms of a core, which is its purpose; the semaphore keeps a storm
//! of logins from taking the memory and the cores of everybody else.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use granary_engine::{Turn, Turns};
use tokio::sync::oneshot;

/// Letters of a password: without those that look alike.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Letters in a password; 32 of them to choose from make 120 bits.
pub(crate) const PASSWORD_LETTERS: usize = 24;

/// How long a login waits for its turn before it is told to come back.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

/// Logins that wait for their turn, for each core: two seconds' worth. The next one is told to come
/// back at once.
const WAITING_MAX: usize = 100;

/// Why a password was neither accepted nor refused.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many are being checked; the same call may be repeated.
    #[error("too many passwords are being checked")]
    Busy,
    /// Hashing itself is impossible.
    #[error("cannot hash a password: {reason}")]
    Hashing {
        /// What argon2 said.
        reason: String,
    },
}

/// A password that nobody can guess, to be told to its user.
///
/// # Errors
/// The system has no randomness to give.
pub fn made_up_password() -> io::Result<String> {
    let mut random = [0_u8; PASSWORD_LETTERS];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    // 32 letters divide 256 evenly, so each is as likely as the others.
    let letters = random.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
    Ok(letters.copied().map(char::from).collect())
}

/// Whether a text is one that [`made_up_password`] may have given.
pub(crate) fn is_made_up(text: &str) -> bool {
    text.len() == PASSWORD_LETTERS && text.bytes().all(|letter| LETTERS.contains(&letter))
}

/// Whether a password belongs to a hash. Blocks for some 20 ms, and bounds
/// nobody: where many may ask, [`Passwords::verify`] is the way.
pub(crate) fn is_password_of(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Hashes a password with a fresh salt, in PHC form. Blocks for some 20 ms.
///
/// # Errors
/// The system has no randomness for the salt.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| PasswordError::Hashing { reason: error.to_string() })?;
    Ok(hash.to_string())
}

/// Hashes and checks passwords, no more at a time than there are cores.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    turns: Turns,
    /// Hash of nobody's password: checking an unknown user takes as long as checking a known one.
    nobodys: Arc<str>,
}

impl Passwords {
    /// Prepares the checker; hashes once, so it blocks for some 20 ms.
    ///
    /// # Errors
    /// See [`hash_password`].
    pub(crate) fn new() -> Result<Self, PasswordError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            turns: Turns::new(cores, cores.saturating_mul(WAITING_MAX), TURN_WAIT_MAX),
            nobodys: hash_password("nobody's")?.into(),
        })
    }

    /// Hashes a password, see [`hash_password`].
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub(crate) async fn hash(&self, password: String) -> Result<String, PasswordError> {
        let turn = self.turn().await?;
        apart(move || {
            let _turn = turn;
            hash_password(&password)
        })
        .await?
    }

    /// Whether the password belongs to this hash; with none, no, after the same time. Whoever asks
    /// has waited for a turn, which ends with this.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub(crate) async fn verify(
        &self,
        turn: Turn,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, PasswordError> {
        let nobodys = Arc::clone(&self.nobodys);
        apart(move || {
            let _turn = turn;
            let known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(&nobodys);
            let matches = is_password_of(&password, hash);
            known && matches
        })
        .await
    }

    /// Leave to hash, for who counts it.
    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Waits for leave to hash.
    ///
    /// # Errors
    /// Too many wait, or it took too long.
    pub(crate) async fn turn(&self) -> Result<Turn, PasswordError> {
        self.turns.take().await.ok_or(PasswordError::Busy)
    }
}

/// Works on a new thread: the allocator keeps what a thread has freed for those that come after it,
/// and of the blocking pool's many threads each would come to hold a hash's memory.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PasswordError> {
    let (tell, told) = oneshot::channel();
    // Nobody listens if the client has gone.
    let thread = thread::Builder::new().name("granary-password".into());
    let spawned = thread.spawn(move || drop(tell.send(work())));
    spawned.map_err(|error| PasswordError::Hashing { reason: error.to_string() })?;
    told.await.map_err(|_panicked| PasswordError::Hashing { reason: "it panicked".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_accepted() {
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        let check = async |password: &str, hash: Option<&str>| {
            let hash = hash.map(str::to_owned);
            let turn = passwords.turn().await.unwrap();
            passwords.verify(turn, password.to_owned(), hash).await.unwrap()
        };
        assert!(check("correct horse", Some(&hash)).await);
        assert!(!check("wrong", Some(&hash)).await);
        assert!(!check("correct horse", Some("no hash at all")).await);
        assert!(!check("nobody's", None).await);
    }
}
