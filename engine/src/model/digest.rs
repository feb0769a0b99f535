//! The BLAKE3 name of a blob.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// BLAKE3 digest of a content; on the wire its 64 lower-case hexadecimal letters are a *handle*.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Digest of a content that is in memory.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A digest of a content that arrives in pieces.
#[derive(Debug, Clone, Default)]
pub struct DigestHasher(blake3::Hasher);

impl DigestHasher {
    /// Starts with the empty content.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of the content.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// A text that is not 64 hexadecimal letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: 64 hexadecimal letters are expected")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let lower_case = text.bytes().all(|letter| matches!(letter, b'0'..=b'9' | b'a'..=b'f'));
        let hash = blake3::Hash::from_hex(text).ok().filter(|_| lower_case);
        hash.map(|hash| Self(*hash.as_bytes())).ok_or(DigestError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_from_its_text() {
        let digest = Digest::of(b"granary");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        let mut hasher = DigestHasher::new();
        hasher.update(b"gran");
        hasher.update(b"ary");
        assert_eq!(hasher.finish(), Digest::of(b"granary"));
    }

    #[test]
    fn upper_case_and_short_texts_are_no_digests() {
        let text = Digest::of(b"granary").to_string();
        assert_eq!(text.to_uppercase().parse::<Digest>(), Err(DigestError));
        assert_eq!("00ff".parse::<Digest>(), Err(DigestError));
    }
}
