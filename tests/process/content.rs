//! Contents that nobody keeps: from its number each can be made again, byte for byte.

use std::sync::Arc;

use crate::chance::Chance;

/// Contents that every client uploads now and then, so that equal ones meet.
const COMMON: u64 = 64;

/// A content: its number, its length in bytes, and the name that the server gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    number: u64,
    pub(crate) length: usize,
    pub(crate) handle: Arc<str>,
}

impl Content {
    /// Mostly a fresh content, now and then one that others have too.
    pub(crate) fn any(chance: &mut Chance) -> Self {
        let number = if chance.percent(25) { chance.next() % COMMON } else { chance.next() };
        let length = length(&mut Chance::new(number));
        Self::new(number, length)
    }

    /// The content of this number and length.
    pub(crate) fn new(number: u64, length: usize) -> Self {
        let handle = blake3::hash(&bytes(number, length)).to_hex();
        Self { number, length, handle: handle.as_str().into() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        bytes(self.number, self.length)
    }
}

/// Empty ones, small ones as most images are, and some that get a file of their own.
fn length(chance: &mut Chance) -> usize {
    match chance.below(100) {
        0 => 0,
        1..=4 => (1 << 20) + 1 + chance.below(2 << 20),
        5..=14 => chance.below(400_000),
        _ => 1 + chance.below(30_000),
    }
}

/// From the digest's own stream of bytes, which is fast in a build without optimisation too.
fn bytes(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
