//! Cursors: the place of a page's last row, so that the next page begins behind it.
//!
//! A text that no page of this order gave is found out by its checksum. That guards against
//! mistakes, not against forgery: a made-up place tells its maker nothing that a filter would not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::http::limits::CURSOR_LETTERS_MAX;

/// Bytes of the checksum; what it guards against are mistakes.
const CHECKSUM_BYTES: usize = 8;

/// A place in the order of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor(Vec<u8>);

impl Cursor {
    /// The cursor of a place.
    pub(crate) fn of(place: &[u8]) -> Self {
        Self(place.to_vec())
    }

    /// The place.
    pub(crate) fn into_place(self) -> Vec<u8> {
        self.0
    }

    /// The cursor as a text that needs no escapes in a query.
    pub(crate) fn encode(&self, order: &str) -> String {
        let mut bytes = checksum(order, &self.0).to_vec();
        bytes.extend(&self.0);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor of this order; `None` if it is none.
    pub(crate) fn decode(text: &str, order: &str) -> Option<Self> {
        if text.len() > CURSOR_LETTERS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (sum, place) = bytes.split_first_chunk()?;
        (*sum == checksum(order, place)).then(|| Self(place.to_vec()))
    }
}

fn checksum(order: &str, place: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let length = order.len().to_string();
    let hash = Sha256::new().chain_update(length).chain_update("\n").chain_update(order);
    let hash = hash.chain_update(place).finalize();
    let mut sum = [0; CHECKSUM_BYTES];
    for (to, from) in sum.iter_mut().zip(hash) {
        *to = from;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_in_its_own_order_only() {
        let cursor = Cursor::of(b"\0place\xff");
        let text = cursor.encode("Dataset");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(text.bytes().all(plain), "{text}");
        assert_eq!(Cursor::decode(&text, "Dataset"), Some(cursor));
        assert_eq!(Cursor::decode(&text, "Team"), None);
        assert_eq!(Cursor::decode(&text, "Dataset\nname true false"), None);
    }

    #[test]
    fn what_no_page_gave_is_no_cursor() {
        let text = Cursor::of(&[7; 8]).encode("Dataset");
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(Cursor::decode(&changed, "Dataset"), None, "{changed}");
        }
        let long = "A".repeat(CURSOR_LETTERS_MAX + 1);
        for garbage in ["", "A", "1", "not base64!", &text[1..], &format!("{text}AA"), &long] {
            assert_eq!(Cursor::decode(garbage, "Dataset"), None, "{garbage}");
        }
    }
}
