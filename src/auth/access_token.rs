//! Texts of access tokens: `granary_ID_SECRETCHECK`.
//!
//! ID is the token's primary key, by which its owner finds it in the list; SECRET has 160 random
//! bits and CHECK is the CRC-32 of all before it, both as hexadecimal digits. So scanners that look
//! for secrets in what people publish know one when they see one
//! (`granary_[0-9]+_[0-9a-f]{48}`), and can tell a real one from what merely looks alike.

use std::fmt::{self, Write as _};
use std::io;

use granary_engine::model::AccessTokenId;
use sha2::{Digest as _, Sha256};

/// What every access token begins with, and no other token.
pub(crate) const PREFIX: &str = "granary_";

const SECRET_BYTES: usize = 20;

/// Letters of the secret and of its check.
const SECRET_LETTERS: usize = 2 * SECRET_BYTES;
const CHECK_LETTERS: usize = 8;

/// A new token's secret, which is shown once.
pub(crate) struct Secret([u8; SECRET_BYTES]);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl Secret {
    /// A fresh one.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub(crate) fn random() -> io::Result<Self> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(bytes))
    }

    /// What is stored of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        hash(&self.letters())
    }

    /// The whole token, as it is shown.
    pub(crate) fn token(&self, id: AccessTokenId) -> String {
        let text = format!("{PREFIX}{id}_{}", self.letters());
        let check = crc32fast::hash(text.as_bytes());
        format!("{text}{check:08x}")
    }

    fn letters(&self) -> String {
        self.0.iter().fold(String::with_capacity(SECRET_LETTERS), |mut letters, byte| {
            // Writing to a string cannot fail.
            write!(letters, "{byte:02x}").unwrap_or_default();
            letters
        })
    }
}

/// A token that somebody shows: which one it claims to be, and the hash of its secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) id: AccessTokenId,
    secret_hash: [u8; 32],
}

impl Claim {
    /// Reads a token; `None` if the text is none.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let (letters, check) = secret.split_at_checked(SECRET_LETTERS)?;
        let before = text.get(..text.len().checked_sub(CHECK_LETTERS)?)?;
        let is_hex = |letter: u8| letter.is_ascii_digit() || (b'a'..=b'f').contains(&letter);
        if !secret.bytes().all(is_hex)
            || check != format!("{:08x}", crc32fast::hash(before.as_bytes()))
        {
            return None;
        }
        let is_number = !id.is_empty() && id.bytes().all(|letter| letter.is_ascii_digit());
        let id = is_number.then(|| id.parse().ok()).flatten()?;
        Some(Self { id: AccessTokenId(id), secret_hash: hash(letters) })
    }

    /// Whether the secret is the one of this hash; takes the same time either way.
    pub(crate) fn proves(&self, secret_hash: &[u8; 32]) -> bool {
        is_same_secret(&self.secret_hash, secret_hash)
    }
}

/// Whether two texts are the same; of those of the same length that takes the same time either way.
pub(crate) fn is_same_secret(one: &[u8], other: &[u8]) -> bool {
    let pairs = one.iter().zip(other);
    let difference = pairs.fold(0, |difference, (a, b)| difference | (a ^ b));
    one.len() == other.len() && difference == 0
}

fn hash(letters: &str) -> [u8; 32] {
    Sha256::digest(letters.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_text_and_proves_its_secret_alone() {
        let secret = Secret(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let token = secret.token(AccessTokenId(12));
        assert_eq!(
            token, "granary_12_000102030405060708090a0b0c0d0e0f10111213b84222ca",
            "what scanners were taught"
        );
        let claim = Claim::read(&token).unwrap();
        assert_eq!(claim.id, AccessTokenId(12));
        assert!(claim.proves(&secret.hash()));
        assert!(!claim.proves(&Secret::random().unwrap().hash()));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn whatever_is_changed_it_is_no_token_any_more() {
        let token = Secret::random().unwrap().token(AccessTokenId(12));
        for at in 0..token.len() {
            let other = if &token[at..=at] == "0" { "1" } else { "0" };
            let text = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert_eq!(Claim::read(&text), None, "{text}");
            assert_eq!(Claim::read(&token[..at]), None);
        }
        for text in
            ["", "granary_", "granary_1_", "granary__00", &format!("{token}0"), "granary_1_é"]
        {
            assert_eq!(Claim::read(text), None, "{text}");
        }
    }
}
