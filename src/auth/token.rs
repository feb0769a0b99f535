//! Signed tokens: HS256 JSON web tokens as the API's published clients know them.
//!
//! Made and checked by hand, since one algorithm, one header and six claims are all there is:
//! whatever says another algorithm, or is signed with another key, is no token of ours.
//!
//! A token also bears a mark of the password that its user had when it was made. A new password has
//! another mark, so that every token from before ends with the change, and nothing is stored of
//! tokens for that.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use granary_engine::model::{User, UserId};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use super::known::Known;
use crate::private_file;

/// File in the data directory that holds the signing key.
const KEY_FILE: &str = "token-key";

/// Bytes of the signing key: what SHA-256 can make use of.
const KEY_BYTES: usize = 32;

/// Bytes of a password's mark: more than anybody can guess.
const MARK_BYTES: usize = 16;

/// Bytes of the longest token that is looked at; ours have about 300.
const TOKEN_BYTES_MAX: usize = 4096;

/// Life of an access token; the API's own figure.
const ACCESS_SECONDS: u64 = 5 * 60;

/// Life of a refresh token; the API's own figure.
const REFRESH_SECONDS: u64 = 8 * 60 * 60;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenKind {
    /// Proves who asks.
    Access,
    /// Obtains access tokens, and nothing else.
    Refresh,
}

/// Why a text is not the token that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenFault {
    /// Not made by us, or not a token at all.
    Invalid,
    /// Ours, and its time is over.
    Expired,
    /// Ours, and of the other kind.
    WrongKind,
}

/// Signs and checks tokens; whoever has it can be anybody. Clones are handles to the same key.
#[derive(Clone)]
pub struct TokenKey(Arc<Kept>);

type Key = [u8; KEY_BYTES];

struct Kept {
    key: RwLock<Key>,
    /// What tokens that this key signed say; written only while the key is held.
    verified: Known<Verified>,
    /// Marks that this key makes, of users' records; written only while the key is held.
    marks: Known<Arc<str>>,
    /// How often the key was changed since it was loaded.
    rotations: AtomicU64,
    /// Data directory that the key is in.
    directory: PathBuf,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenKey(..)")
    }
}

/// Loads the data directory's signing key, or makes one on the first start. Blocks.
///
/// # Durability
/// A key that was made is on disk when this returns, so that no token outlives it by a crash.
///
/// # Errors
/// The file system's, and `InvalidData` for a file that is no key.
pub fn load_or_create_key(directory: &Path) -> io::Result<TokenKey> {
    let path = directory.join(KEY_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|error| {
                let text = format!(
                    "{} is not a key of {KEY_BYTES} bytes ({error}); removing it makes \
                     a new one and ends every login",
                    path.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            Ok(TokenKey::kept(key, directory))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(TokenKey::kept(made(directory)?, directory))
        }
        Err(error) => Err(error),
    }
}

/// Makes a key and puts it in place of the one that was.
fn made(directory: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    private_file::write(directory, KEY_FILE, &key)?;
    Ok(key)
}

/// What a token says.
#[derive(Deserialize)]
struct Claims {
    jtt: TokenKind,
    exp: u64,
    upk: UserKey,
    /// The password's mark; earlier versions made tokens without one, which are good no longer.
    #[serde(default)]
    pwd: String,
}

/// What a token that we signed, and whose time is not over, says of its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// Whose it says it is.
    pub(crate) user: UserId,
    mark: Arc<str>,
}

/// When a token's time is over, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expiry(u64);

impl Expiry {
    pub(crate) fn is_over(self) -> bool {
        self.is_over_at(seconds_now())
    }

    fn is_over_at(self, now: u64) -> bool {
        self.0 <= now
    }

    #[cfg(test)]
    pub(crate) fn in_seconds(seconds: u64) -> Self {
        Self(seconds_now() + seconds)
    }
}

/// What a token that we signed says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verified {
    kind: TokenKind,
    expiry: Expiry,
    bearer: Bearer,
}

/// A user's primary key; a text in our tokens, a number in some of the original's.
#[derive(Deserialize)]
#[serde(untagged)]
enum UserKey {
    Text(String),
    Number(u64),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

impl TokenKey {
    fn kept(key: [u8; KEY_BYTES], directory: &Path) -> Self {
        Self(Arc::new(Kept {
            rotations: AtomicU64::new(0),
            key: RwLock::new(key),
            verified: Known::nothing(),
            marks: Known::nothing(),
            directory: directory.to_owned(),
        }))
    }

    /// The key as its file has it, for a backup.
    pub(crate) fn to_bytes(&self) -> [u8; KEY_BYTES] {
        *self.key()
    }

    /// The key in force, and as long as it is held what is known by it.
    fn key(&self) -> RwLockReadGuard<'_, Key> {
        self.0.key.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the key by a new one: no token that was signed so far is a good one any more. Blocks.
    ///
    /// # Durability
    /// The new key is on disk before it signs anything, so that a crash brings no old token back.
    ///
    /// # Errors
    /// The file system's; the old key then stays in force.
    pub(crate) fn rotate(&self) -> io::Result<()> {
        // Held meanwhile, so that the key in force is the one in the file, whoever rotates.
        let mut key = self.0.key.write().unwrap_or_else(PoisonError::into_inner);
        *key = made(&self.0.directory)?;
        // Who finds it as it was before found out of a token what still holds.
        self.0.rotations.fetch_add(1, Ordering::Release);
        self.0.verified.forget();
        self.0.marks.forget();
        Ok(())
    }

    /// How often the key was changed since the server began.
    pub(crate) fn rotations(&self) -> u64 {
        self.0.rotations.load(Ordering::Acquire)
    }

    /// The data directory, in which other small secrets are, too.
    pub(crate) fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Makes a token for a user.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub(crate) fn issue(&self, user: &User, kind: TokenKind) -> io::Result<String> {
        let mut number = [0; 16];
        getrandom::fill(&mut number).map_err(io::Error::other)?;
        let number = u128::from_ne_bytes(number);
        let bearer = Bearer { user: user.id, mark: self.mark_of(user) };
        Ok(self.sign(&bearer, kind, number, seconds_now()))
    }

    /// Whether a token was made since its user got the password that they have now.
    pub(crate) fn is_current(&self, bearer: &Bearer, user: &User) -> bool {
        bearer.user == user.id && bearer.mark == self.mark_of(user)
    }

    /// A mark of a user's password. The hash has a fresh salt for every password, be it the same
    /// one again, and without our key nothing can be learnt of it from its mark.
    fn mark_of(&self, user: &User) -> Arc<str> {
        let key = self.key();
        let marked = format!("password of user {}: {}", user.id, user.password_hash);
        let marks = &self.0.marks;
        let mark = marks.get_or_find(&marked, || {
            let whole = mac(&key, &marked).finalize().into_bytes();
            let mark = URL_SAFE_NO_PAD.encode(whole.get(..MARK_BYTES).unwrap_or(&whole));
            Ok::<_, Infallible>(mark.into())
        });
        let Ok(mark) = mark;
        mark
    }

    fn sign(&self, bearer: &Bearer, kind: TokenKind, number: u128, now: u64) -> String {
        let Bearer { user, mark } = bearer;
        let (name, life) = match kind {
            TokenKind::Access => ("access", ACCESS_SECONDS),
            TokenKind::Refresh => ("refresh", REFRESH_SECONDS),
        };
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = URL_SAFE_NO_PAD.encode(format!(
            r#"{{"jtt":"{name}","exp":{},"iat":{now},"jti":"{number:032x}","pwd":"{mark}","upk":"{user}"}}"#,
            now + life
        ));
        let signed = format!("{header}.{claims}");
        let signature = mac(&self.key(), &signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Whose token this is, if it is of this kind, or of any if none is named; whether it still is
    /// has to be asked of the user's record ([`TokenKey::is_current`]).
    ///
    /// # Errors
    /// It is not such a token, or its time is over.
    pub(crate) fn verify(
        &self,
        token: &str,
        wanted: Option<TokenKind>,
    ) -> Result<Bearer, TokenFault> {
        self.verify_at(token, wanted, seconds_now()).map(|verified| verified.bearer)
    }

    /// As [`TokenKey::verify`], of an access token; and until when it is one.
    ///
    /// # Errors
    /// It is not such a token, or its time is over.
    pub(crate) fn verify_access(&self, token: &str) -> Result<(Bearer, Expiry), TokenFault> {
        let verified = self.verify_at(token, Some(TokenKind::Access), seconds_now())?;
        Ok((verified.bearer, verified.expiry))
    }

    fn verify_at(
        &self,
        token: &str,
        wanted: Option<TokenKind>,
        now: u64,
    ) -> Result<Verified, TokenFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::Invalid);
        }
        let key = self.key();
        let verified = self.0.verified.get_or_find(token, || verified(&key, token).ok_or(()));
        let verified = verified.map_err(|()| TokenFault::Invalid)?;
        if verified.expiry.is_over_at(now) {
            Err(TokenFault::Expired)
        } else if wanted.is_some_and(|wanted| wanted != verified.kind) {
            Err(TokenFault::WrongKind)
        } else {
            Ok(verified)
        }
    }
}

/// What a token says that bears our signature. The signature is compared in constant time.
fn verified(key: &Key, token: &str) -> Option<Verified> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    mac(key, signed).verify_slice(&signature).ok()?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.alg != "HS256" {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let user = match claims.upk {
        UserKey::Number(number) => number,
        UserKey::Text(text) => text.parse().ok()?,
    };
    let bearer = Bearer { user: UserId(user), mark: claims.pwd.into() };
    Some(Verified { kind: claims.jtt, expiry: Expiry(claims.exp), bearer })
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn mac(key: &Key, signed: &str) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is taken");
    mac.chain_update(signed)
}

fn seconds_now() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn key() -> TokenKey {
        TokenKey::kept([7; KEY_BYTES], Path::new("nowhere"))
    }

    fn bearer() -> Bearer {
        Bearer { user: UserId(5), mark: "mark".into() }
    }

    /// What such an access token says that was made now.
    fn access() -> Verified {
        let (kind, expiry) = (TokenKind::Access, Expiry(NOW + ACCESS_SECONDS));
        Verified { kind, expiry, bearer: bearer() }
    }

    #[test]
    fn a_token_is_good_for_its_kind_until_its_time_is_over() {
        let token = key().sign(&bearer(), TokenKind::Access, 1, NOW);
        let check = |kind, now| key().verify_at(&token, kind, now);

        assert_eq!(check(Some(TokenKind::Access), NOW + 299), Ok(access()));
        assert_eq!(check(None, NOW + 299), Ok(access()));
        assert_eq!(check(Some(TokenKind::Refresh), NOW), Err(TokenFault::WrongKind));
        assert_eq!(check(Some(TokenKind::Access), NOW + 300), Err(TokenFault::Expired));
    }

    #[test]
    fn foreign_tampered_and_unsigned_tokens_are_refused() {
        let token = key().sign(&bearer(), TokenKind::Access, 1, NOW);
        let refused = |key: &TokenKey, token: &str| {
            assert_eq!(key.verify_at(token, None, NOW), Err(TokenFault::Invalid), "{token}");
        };
        refused(&TokenKey::kept([8; KEY_BYTES], Path::new("nowhere")), &token);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        refused(&key(), &format!("{signed}."));
        refused(&key(), signed);
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let (_, claims) = signed.split_once('.').unwrap();
        refused(&key(), &format!("{none}.{claims}."));
        refused(&key(), &format!("{none}.{claims}.{signature}"));
        refused(&key(), "");
        refused(&key(), &"a".repeat(TOKEN_BYTES_MAX + 1));
    }

    #[test]
    fn a_numeric_user_key_is_understood() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256"}"#);
        let claims =
            URL_SAFE_NO_PAD.encode(format!(r#"{{"jtt":"access","exp":{},"upk":9}}"#, NOW + 1));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(mac(&key().key(), &signed).finalize().into_bytes());
        let token = format!("{signed}.{signature}");
        let bearer = Bearer { user: UserId(9), mark: "".into() };
        let verified = key().verify_at(&token, None, NOW).unwrap();
        assert_eq!((verified.bearer, verified.expiry), (bearer, Expiry(NOW + 1)));
    }

    #[test]
    fn the_key_survives_a_restart_and_a_bad_one_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let first = load_or_create_key(directory.path()).unwrap();
        let second = load_or_create_key(directory.path()).unwrap();
        assert_eq!(first.to_bytes(), second.to_bytes());
        let token = first.sign(&bearer(), TokenKind::Access, 1, NOW);
        assert_eq!(first.verify_at(&token, None, NOW), Ok(access()));
        first.rotate().unwrap();
        assert_eq!(first.verify_at(&token, None, NOW), Err(TokenFault::Invalid));
        let third = load_or_create_key(directory.path()).unwrap();
        assert_eq!(first.to_bytes(), third.to_bytes());
        assert_ne!(second.to_bytes(), third.to_bytes());

        private_file::write(directory.path(), KEY_FILE, b"short").unwrap();
        let error = load_or_create_key(directory.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
